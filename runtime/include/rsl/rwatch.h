/* SPDX-License-Identifier: Apache-2.0 */
/* rwatch.h - an fd that the runtime thread watches, with a C callback.
 *
 * Role:    what has to go on while the loop thread is stuck. A timer is a
 *          timerfd. The runtime thread serves its watches whether the loop
 *          runs or not, until rsl_runtime_close().
 * Thread:  the callback runs on the runtime thread, between two of its reads
 *          for the loop: it must be short, must not block, and has no Python.
 *          Functions: the loop's owner, or the runtime thread in a callback.
 * Memory:  the watch is the caller's, from add to remove or to the end of
 *          rsl_runtime_close(). The fd is borrowed. */
#ifndef RSL_RWATCH_H
#define RSL_RWATCH_H

#include <stdint.h>

#include <rsl/runtime.h>

typedef struct rsl_rwatch rsl_rwatch;

struct rsl_rwatch {
    int fd;                                            /* [K] */
    void (*ready)(rsl_rwatch *watch, uint32_t events); /* [K] EPOLL* bits */
};

/* Watch for `events` (EPOLLIN, EPOLLOUT; level-triggered, unless they have
 * EPOLLET or EPOLLONESHOT). Starts the runtime thread if there is none yet.
 * RSL_OS with *err, RSL_CLOSED, RSL_FORKED, RSL_NOMEM. */
rsl_status rsl_rwatch_add(rsl_runtime *rt, rsl_rwatch *watch, uint32_t events,
                          rsl_err *err);

/* Watch for other events from now on; 0: none. */
rsl_status rsl_rwatch_change(rsl_runtime *rt, rsl_rwatch *watch,
                             uint32_t events, rsl_err *err);

/* Watch no more. When this returns the callback is not running, unless it is
 * the caller, and will not be called again. The fd is still open. */
void rsl_rwatch_remove(rsl_runtime *rt, rsl_rwatch *watch);

#endif
