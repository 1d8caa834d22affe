/* SPDX-License-Identifier: Apache-2.0 */
/* addr.h - socket addresses of any family.
 *
 * Role:    room for an address, and the two addresses that a socket has.
 * Thread:  any.
 * Memory:  values only. */
#ifndef RSL_ADDR_H
#define RSL_ADDR_H

#include <sys/socket.h>

#include <rsl/status.h>

/* What lies beyond `length` is zero, so that a unix path that fills its
 * structure still ends. */
typedef struct rsl_addr {
    struct sockaddr_storage storage;
    socklen_t length;
} rsl_addr;

static inline const struct sockaddr *
rsl_addr_sockaddr(const rsl_addr *addr)
{
    return (const struct sockaddr *)&addr->storage;
}

/* The address that `fd` is bound to; RSL_OS with *err. */
rsl_status rsl_addr_local(int fd, rsl_addr *out, rsl_err *err);

/* The address that `fd` is connected to; RSL_OS with *err, ENOTCONN too. */
rsl_status rsl_addr_peer(int fd, rsl_addr *out, rsl_err *err);

#endif
