/* SPDX-License-Identifier: Apache-2.0 */
/* resolver.c - name look-ups as jobs of a pool of their own.
 *
 * A look-up may outlast its runtime by a resolver's time-out, and nobody waits
 * for it; core/job.c says how. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/job.h"
#include "core/runtime_impl.h"
#include "net/resolver_impl.h"

typedef struct lookup_job {
    rsl_lookup lookup; /* first: every rsl_lookup is one of these */
    rsl_job job;
    rsl_resolver_libc libc;          /* [K] */
    struct addrinfo hints;           /* [K] of an address query */
    struct sockaddr_storage address; /* [K] of a name query */
    socklen_t length;                /* [K] of a name query */
    int flags;                       /* [K] of a name query */
    char text[]; /* arguments of an address query, results of a name query */
} lookup_job;

static rsl_resolver_libc resolver_libc = {getaddrinfo, freeaddrinfo,
                                          getnameinfo};

void
rsl_resolver_set_libc(const rsl_resolver_libc *libc)
{
    static const rsl_resolver_libc own = {getaddrinfo, freeaddrinfo,
                                          getnameinfo};
    resolver_libc = libc == NULL ? own : *libc;
}

/* --- A look-up --- */

void
rsl_lookup_free(rsl_lookup *lookup)
{
    lookup_job *job = (lookup_job *)lookup;
    assert(job->job.owner.object == NULL);
    if (lookup->addresses != NULL) {
        job->libc.freeaddrinfo(lookup->addresses);
    }
    free(job);
}

static void
lookup_free(rsl_job *job)
{
    rsl_lookup_free(&RSL_LIST_ENTRY(job, lookup_job, job)->lookup);
}

void *
rsl_lookup_claim(rsl_lookup *lookup)
{
    return rsl_job_claim(&((lookup_job *)lookup)->job);
}

static void
lookup_discard(rsl_msg *msg)
{
    rsl_job_discard(&((lookup_job *)(void *)msg)->job);
}

static void
lookup_run(rsl_job *pool_job)
{
    lookup_job *job = RSL_LIST_ENTRY(pool_job, lookup_job, job);
    rsl_lookup *lookup = &job->lookup;
    if (lookup->kind == RSL_LOOKUP_ADDRESSES) {
        lookup->gai_error = job->libc.getaddrinfo(
            lookup->host, lookup->service, &job->hints, &lookup->addresses);
    } else {
        lookup->gai_error = job->libc.getnameinfo(
            (const struct sockaddr *)&job->address, job->length, lookup->host,
            NI_MAXHOST, lookup->service, NI_MAXSERV, job->flags);
    }
    lookup->sys_errno = lookup->gai_error == EAI_SYSTEM ? errno : 0;
    if (lookup->gai_error != 0) {
        /* libc leaves what it likes there after a failure. */
        lookup->addresses = NULL;
    }
}

static lookup_job *
lookup_new(size_t text_bytes)
{
    lookup_job *job = calloc(1, sizeof(*job) + text_bytes);
    if (job == NULL) {
        return NULL;
    }
    job->lookup.msg.event.tag = rsl_tag(RSL_EV_MESSAGE, RSL_MSG_LOOKUP);
    job->lookup.msg.event.u.ptr = job;
    job->lookup.msg.discard = lookup_discard;
    rsl_job_init(&job->job);
    job->job.msg = &job->lookup.msg;
    job->job.run = lookup_run;
    job->job.free = lookup_free;
    job->libc = resolver_libc;
    return job;
}

static rsl_status
lookup_start(rsl_runtime *rt, lookup_job *job, rsl_job_owner owner,
             rsl_err *err)
{
    job->job.owner = owner;
    return rsl_job_start(rt, &rt->lookups, &rsl_pool_of_look_ups, &job->job,
                         err);
}

/* A copy of `text` at *cursor, which moves past it; NULL for NULL. */
static char *
lookup_copy(char **cursor, const char *text)
{
    if (text == NULL) {
        return NULL;
    }
    char *copy = *cursor;
    size_t bytes = strlen(text) + 1;
    memcpy(copy, text, bytes);
    *cursor += bytes;
    return copy;
}

rsl_status
rsl_resolve_address(rsl_runtime *rt, const rsl_address_query *query,
                    rsl_job_owner owner, rsl_err *err)
{
    size_t text_bytes =
        (query->host == NULL ? 0 : strlen(query->host) + 1)
        + (query->service == NULL ? 0 : strlen(query->service) + 1);
    lookup_job *job = lookup_new(text_bytes);
    if (job == NULL) {
        return RSL_NOMEM;
    }
    char *cursor = job->text;
    job->lookup.host = lookup_copy(&cursor, query->host);
    job->lookup.service = lookup_copy(&cursor, query->service);
    job->hints.ai_family = query->family;
    job->hints.ai_socktype = query->type;
    job->hints.ai_protocol = query->proto;
    job->hints.ai_flags = query->flags;
    return lookup_start(rt, job, owner, err);
}

rsl_status
rsl_resolve_name(rsl_runtime *rt, const rsl_name_query *query,
                 rsl_job_owner owner, rsl_err *err)
{
    assert(query->length > 0
           && query->length <= sizeof(struct sockaddr_storage));
    lookup_job *job = lookup_new(NI_MAXHOST + NI_MAXSERV);
    if (job == NULL) {
        return RSL_NOMEM;
    }
    job->lookup.kind = RSL_LOOKUP_NAME;
    job->lookup.host = job->text;
    job->lookup.service = job->text + NI_MAXHOST;
    memcpy(&job->address, query->address, query->length);
    job->length = query->length;
    job->flags = query->flags;
    return lookup_start(rt, job, owner, err);
}

/* --- All look-ups of a runtime --- */

int
rsl_resolver_visit(rsl_runtime *rt, int (*visit)(void *owner, void *arg),
                   void *arg)
{
    return rsl_jobs_visit(rt->lookups, visit, arg);
}

void
rsl_resolver_fini(rsl_runtime *rt)
{
    rsl_jobs_fini(rt, &rt->lookups);
}
