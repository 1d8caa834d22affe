/* SPDX-License-Identifier: Apache-2.0 */
/* sock_ops.h - single socket calls that every backend makes alike.
 *
 * Role:    recv, send and accept as backend operations, and what the runtime
 *          thread does with one readable conn.
 * Thread:  as the operation of rsl_backend_ops that it implements.
 * Memory:  none but the stealer's spare chunk. */
#ifndef RSL_IO_SOCK_OPS_H
#define RSL_IO_SOCK_OPS_H

#include <sys/epoll.h>

#include "io/backend.h"

rsl_status rsl_sock_recv(rsl_backend *backend, rsl_conn *conn, void *buf,
                         size_t cap, size_t *out, rsl_err *err);
rsl_status
rsl_sock_send(rsl_backend *backend, rsl_conn *conn, const struct iovec *iov,
              unsigned count, size_t *out, rsl_err *err);
rsl_status rsl_sock_accept(rsl_backend *backend, rsl_listener *listener,
                           int *out, rsl_addr *peer, rsl_err *err);

/* send_batch one conn after the other. */
void rsl_sock_send_batch(rsl_backend *backend, rsl_conn **conns, unsigned count,
                         bool has_token);

enum { RSL_STEALER_ONCE_MAX = 256 };

/* The runtime thread's reading. [T] */
typedef struct rsl_stealer {
    rsl_chunk *spare; /* to receive into; NULL until first used */
    /* Watches that epoll reports once and that came with the conns: kept for
     * the loop thread, which alone may report them. */
    struct epoll_event once[RSL_STEALER_ONCE_MAX];
    unsigned once_count;
} rsl_stealer;

void rsl_stealer_fini(rsl_stealer *stealer);

/* [T] steal() over the epoll set `epfd`, whose conns are tagged READABLE.
 * Does nothing while there is no room for watches in `once`. */
size_t rsl_steal_from(rsl_stealer *stealer, rsl_runtime *rt, int epfd,
                      size_t budget, rsl_sink *sink);

#endif
