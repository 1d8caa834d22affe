/* SPDX-License-Identifier: Apache-2.0 */
/* watch.h - level-triggered readiness of fds that the user owns.
 *
 * Role:    add_reader and add_writer. Never changes the fd's blocking mode.
 * Thread:  loop thread.
 * Memory:  none held; the fd is borrowed. */
#ifndef RSL_WATCH_H
#define RSL_WATCH_H

#include <rsl/conn.h>

enum { RSL_WATCH_READ = 1, RSL_WATCH_WRITE = 2 };

/* Watch `fd` for `mask`, replacing what was watched; 0 forgets the fd. Errors
 * are the kernel's (EPERM for a regular file, EBADF); forgetting an fd that
 * was closed meanwhile is RSL_OK. A hang-up or error reports both bits that
 * were asked for. */
rsl_status rsl_watch_set(rsl_runtime *rt, int fd, unsigned mask, rsl_err *err);

#endif
