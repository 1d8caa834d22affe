/* SPDX-License-Identifier: Apache-2.0 */
/* reactor.h - tasks, watched descriptors and timers on the runtime thread.
 *
 * Role:    lets native code run beside a loop that is busy with Python. It
 *          neither polls nor reads what the loop does: the token is not asked.
 * Thread:  any, but rsl_runtime_reactor(); callbacks run on the runtime thread,
 *          one at a time, and must neither block nor wait for the GIL: closing
 *          the loop joins that thread.
 * Memory:  the reactor is the runtime's, until rsl_runtime_close(). Whoever
 *          calls must keep that from happening meanwhile. A source is held by
 *          the reactor until it is over, and by its maker until
 *          rsl_source_close(). */
#ifndef RSL_REACTOR_H
#define RSL_REACTOR_H

#include <stdint.h>

#include <rsl/status.h>

typedef struct rsl_runtime rsl_runtime;
typedef struct rsl_reactor rsl_reactor;
typedef struct rsl_source rsl_source;

/* `event` is called with what happened: a mask of EPOLL*, or how many periods
 * of a timer are over. `over` is called once, after the last event, also when
 * the runtime closes first: then on the thread that closes it. */
typedef struct rsl_source_calls {
    void (*event)(void *arg, uint64_t what);
    void (*over)(void *arg);
    void *arg;
} rsl_source_calls;

/* Events of a descriptor: `events` are EPOLL* flags, level-triggered unless
 * EPOLLET or EPOLLONESHOT is among them. */
typedef struct rsl_fd_events {
    int fd;
    uint32_t events;
} rsl_fd_events;

/* The runtime's reactor, made at first use, and with it the runtime thread.
 * Loop thread. RSL_CLOSED, RSL_FORKED, RSL_NOMEM, or RSL_OS. */
rsl_status
rsl_runtime_reactor(rsl_runtime *rt, rsl_reactor **out, rsl_err *err);

/* Call calls.event(arg, 0) once on the runtime thread, then calls.over(arg).
 * What is posted by one thread runs in its order. RSL_NOMEM. */
rsl_status rsl_reactor_post(rsl_reactor *reactor, rsl_source_calls calls);

/* Call calls.event() whenever epoll(7) says so of the descriptor, which stays
 * the caller's and must stay open until calls.over(). RSL_OS: EPERM, EBADF,
 * EEXIST and so on. */
rsl_status
rsl_reactor_watch(rsl_reactor *reactor, rsl_fd_events wanted,
                  rsl_source_calls calls, rsl_source **out, rsl_err *err);

/* Call calls.event() once after `delay_ns`, or again and again after
 * `period_ns` if that is not 0. A timer without a period is over when it has
 * fired. `out` may be NULL: then nobody holds it but the reactor. */
rsl_status
rsl_reactor_timer(rsl_reactor *reactor, int64_t delay_ns, int64_t period_ns,
                  rsl_source_calls calls, rsl_source **out);

/* Other events for a watch; also what arms EPOLLONESHOT again. RSL_OS, or
 * RSL_UNSUPPORTED for a timer and for what is closed. */
rsl_status rsl_reactor_change(rsl_reactor *reactor, rsl_source *source,
                              uint32_t events, rsl_err *err);

/* Takes `source`: no event begins any more once the runtime thread knows, which
 * is at once for a callback of its own. `reactor` is NULL once it is gone. */
void rsl_source_close(rsl_reactor *reactor, rsl_source *source);

#endif
