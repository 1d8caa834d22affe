/* SPDX-License-Identifier: Apache-2.0 */
/* resolver.h - getaddrinfo(3) and getnameinfo(3) on native threads.
 *
 * Role:    a bounded pool that turns blocking name look-ups into messages.
 * Thread:  start on the loop thread; the look-up runs on a pool thread that
 *          never touches Python; the result arrives through the mailbox.
 * Memory:  a request owns copies of its arguments and its result; it is freed
 *          by rsl_lookup_free() after delivery, or by its msg.discard. A look-up
 *          that outlives its runtime frees itself. */
#ifndef RSL_RESOLVER_H
#define RSL_RESOLVER_H

#include <netdb.h>
#include <sys/socket.h>

#include <rsl/runtime.h>

typedef struct rsl_lookup rsl_lookup;

struct rsl_lookup {
    rsl_msg msg; /* first; event is RSL_EV_MESSAGE, event.u.ptr is the lookup */
    void *owner; /* opaque: the receiver's, for both outcomes */
    void (*abandon)(void *owner); /* called with msg.discard, loop thread */
    int gai_error;                /* 0, or EAI_* */
    int sys_errno;                /* with EAI_SYSTEM */
    struct addrinfo *addresses;   /* getaddrinfo's, owned */
    char *host, *service;         /* getnameinfo's results; inputs before */
};

/* Look up `host`/`service` (either may be NULL) with `hints`. On RSL_OK the
 * request is delivered exactly once as RSL_EV_MESSAGE or discarded. */
rsl_status rsl_resolve_address(rsl_runtime *rt, const char *host,
                               const char *service,
                               const struct addrinfo *hints, void *owner,
                               void (*abandon)(void *owner), rsl_err *err);

/* The reverse. */
rsl_status rsl_resolve_name(rsl_runtime *rt, const struct sockaddr *address,
                            socklen_t length, int flags, void *owner,
                            void (*abandon)(void *owner), rsl_err *err);

void rsl_lookup_free(rsl_lookup *lookup);

#endif
