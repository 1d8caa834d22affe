/* SPDX-License-Identifier: Apache-2.0 */
/* watch.h - readiness of fds that the user owns.
 *
 * Role:    add_reader and add_writer (level-triggered), and single waits for a
 *          socket (once). Never changes the fd's blocking mode.
 * Thread:  loop thread.
 * Memory:  none held; the fd is borrowed. */
#ifndef RSL_WATCH_H
#define RSL_WATCH_H

#include <rsl/conn.h>

enum { RSL_WATCH_READ = 1, RSL_WATCH_WRITE = 2, RSL_WATCH_ONCE = 4 };

/* Watch `fd` for `mask`, replacing what was watched; 0 forgets the fd. Errors
 * are the kernel's (EPERM for a regular file, EBADF); forgetting an fd that
 * was closed meanwhile is RSL_OK. A hang-up or error reports both bits that
 * were asked for.
 *
 * With RSL_WATCH_ONCE a bit that has been reported is no longer watched; the
 * other one still is. To forget it then costs nothing, and to watch it again
 * one system call, whatever has become of the fd in between: nothing is
 * reported of a file that nobody waits for, even if a dup keeps it open. */
rsl_status rsl_watch_set(rsl_runtime *rt, int fd, unsigned mask, rsl_err *err);

#endif
