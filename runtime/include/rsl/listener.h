/* SPDX-License-Identifier: Apache-2.0 */
/* listener.h - one listening stream socket.
 *
 * Role:    turns a listening fd into accepted fds. The fd stays the caller's.
 * Thread:  loop thread.
 * Memory:  valid from rsl_listener_open() to rsl_listener_close(). */
#ifndef RSL_LISTENER_H
#define RSL_LISTENER_H

#include <stdint.h>

#include <rsl/addr.h>
#include <rsl/conn.h>

typedef struct rsl_listener rsl_listener;

/* Begin accepting on borrowed, listening, non-blocking `fd`. */
rsl_status rsl_listener_open(rsl_runtime *rt, int fd, void *owner,
                             rsl_listener **out, rsl_err *err);

uint64_t rsl_listener_id(const rsl_listener *listener);
void *rsl_listener_owner(const rsl_listener *listener);
rsl_listener *rsl_listener_find(rsl_runtime *rt, uint64_t id);

/* Answer RSL_EV_ACCEPTABLE: one connection as a non-blocking, close-on-exec
 * fd, and whose it is, which getpeername() cannot tell once that one has reset
 * it. RSL_AGAIN when there is none; RSL_OS with *err. */
rsl_status rsl_listener_accept(rsl_listener *listener, int *out, rsl_addr *peer,
                               rsl_err *err);

/* Stop and start accepting without closing (out of descriptors). */
void rsl_listener_pause(rsl_listener *listener);
rsl_status rsl_listener_resume(rsl_listener *listener, rsl_err *err);

/* Stop for good. The kernel holds no reference to the fd on return, so that a
 * close() by the caller really stops listening. */
void rsl_listener_close(rsl_listener *listener);

#endif
