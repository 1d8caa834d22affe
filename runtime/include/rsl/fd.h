/* SPDX-License-Identifier: Apache-2.0 */
/* fd.h - one try of an operation on a socket that is the user's.
 *
 * Role:    loop.sock_recv() and its relatives. Never blocks, whatever the
 *          socket's mode, and never changes it; never raises SIGPIPE.
 * Thread:  any.
 * Memory:  none held; the fd and the buffers are borrowed.
 *
 * All return RSL_OK, RSL_AGAIN, or RSL_OS with *err. */
#ifndef RSL_FD_H
#define RSL_FD_H

#include <stddef.h>

#include <rsl/addr.h>
#include <rsl/status.h>

/* recv(2). *out is 0 at the end of a stream, and for an empty datagram. */
rsl_status
rsl_fd_recv(int fd, void *buf, size_t cap, size_t *out, rsl_err *err);

typedef struct rsl_fd_datagram {
    size_t size;
    rsl_addr from; /* of length 0 where the sender has no address */
} rsl_fd_datagram;

/* recvfrom(2) */
rsl_status rsl_fd_recvfrom(int fd, void *buf, size_t cap, rsl_fd_datagram *out,
                           rsl_err *err);

/* send(2): *out bytes have left, maybe fewer than `len`. */
rsl_status
rsl_fd_send(int fd, const void *data, size_t len, size_t *out, rsl_err *err);

/* accept4(2): *out is the caller's, non-blocking and close-on-exec. */
rsl_status rsl_fd_accept(int fd, int *out, rsl_addr *peer, rsl_err *err);

#endif
