/* SPDX-License-Identifier: Apache-2.0 */
/* resolver.h - getaddrinfo(3) and getnameinfo(3) on native threads.
 *
 * Role:    a bounded pool that turns blocking name look-ups into messages.
 * Thread:  loop thread; the look-up itself runs on a pool thread that never
 *          touches Python, and its result arrives through the mailbox.
 * Memory:  a look-up owns copies of its arguments and its result until
 *          rsl_lookup_free(). One that outlives its runtime frees itself. Its
 *          owner is given back exactly once: by rsl_lookup_claim(), or to
 *          abandon() when the runtime closes first. */
#ifndef RSL_RESOLVER_H
#define RSL_RESOLVER_H

#include <netdb.h>
#include <sys/socket.h>

#include <rsl/runtime.h>

typedef enum rsl_lookup_kind {
    RSL_LOOKUP_ADDRESSES = 0, /* by rsl_resolve_address() */
    RSL_LOOKUP_NAME,          /* by rsl_resolve_name() */
} rsl_lookup_kind;

typedef struct rsl_lookup {
    rsl_msg msg; /* first; RSL_EV_MESSAGE, RSL_MSG_LOOKUP; u.ptr is this */
    rsl_lookup_kind kind;
    int gai_error;              /* 0, or EAI_* */
    int sys_errno;              /* with EAI_SYSTEM */
    struct addrinfo *addresses; /* what was found for ADDRESSES */
    char *host, *service;       /* what was found for a NAME */
} rsl_lookup;

/* Arguments of getaddrinfo(3); host or service may be NULL. */
typedef struct rsl_address_query {
    const char *host, *service;
    int family, type, proto, flags;
} rsl_address_query;

/* Arguments of getnameinfo(3). */
typedef struct rsl_name_query {
    const struct sockaddr *address;
    socklen_t length;
    int flags;
} rsl_name_query;

/* Start a look-up. On RSL_OK it has taken `owner`, and one RSL_EV_MESSAGE will
 * follow unless the runtime closes first; on any other status the owner stays
 * the caller's. RSL_OS when no thread could be made, RSL_NOMEM, RSL_FORKED, or
 * RSL_CLOSED after rsl_runtime_close(). */
rsl_status rsl_resolve_address(rsl_runtime *rt, const rsl_address_query *query,
                               rsl_job_owner owner, rsl_err *err);
rsl_status rsl_resolve_name(rsl_runtime *rt, const rsl_name_query *query,
                            rsl_job_owner owner, rsl_err *err);

/* The owner of a delivered look-up, or NULL when it was abandoned before. */
void *rsl_lookup_claim(rsl_lookup *lookup);

/* Takes a delivered look-up that has been claimed. */
void rsl_lookup_free(rsl_lookup *lookup);

/* Show visit() the owner of each look-up that is on its way; stops at and
 * returns the first result that is not 0. */
int rsl_resolver_visit(rsl_runtime *rt, int (*visit)(void *owner, void *arg),
                       void *arg);

/* Abandon every look-up of this runtime without waiting for any; part of
 * rsl_runtime_close(). */
void rsl_resolver_fini(rsl_runtime *rt);

#endif
