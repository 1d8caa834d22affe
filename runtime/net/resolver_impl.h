/* SPDX-License-Identifier: Apache-2.0 */
/* resolver_impl.h - the seams of the resolver that tests pull at.
 *
 * Role:    other functions in libc's place, how many at once.
 * Thread:  any, while no look-up is being started.
 * Memory:  none. */
#ifndef RSL_NET_RESOLVER_IMPL_H
#define RSL_NET_RESOLVER_IMPL_H

#include <stdint.h>

#include <rsl/resolver.h>

#define RSL_RESOLVER_THREADS_MAX 16

typedef struct rsl_resolver_libc {
    int (*getaddrinfo)(const char *host, const char *service,
                       const struct addrinfo *hints, struct addrinfo **out);
    void (*freeaddrinfo)(struct addrinfo *addresses);
    int (*getnameinfo)(const struct sockaddr *address, socklen_t length,
                       char *host, socklen_t host_bytes, char *service,
                       socklen_t service_bytes, int flags);
} rsl_resolver_libc;

/* What look-ups call from now on; NULL for libc's own again. */
void rsl_resolver_set_libc(const rsl_resolver_libc *libc);

#endif
