/* SPDX-License-Identifier: Apache-2.0 */
/* inotify.h - inotify(7), which the standard library does not have.
 *
 * Role:    three module functions; python/rsloop_c/_fs_events.py does the rest.
 * Thread:  any.
 * Memory:  the descriptor that _inotify_init() returns is the caller's. */
#ifndef PYRSL_INOTIFY_H
#define PYRSL_INOTIFY_H

#include <Python.h>

/* _inotify_init, _inotify_add_watch, _inotify_rm_watch */
extern PyMethodDef pyrsl_inotify_functions[];

#endif
