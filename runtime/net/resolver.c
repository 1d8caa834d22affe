/* SPDX-License-Identifier: Apache-2.0 */
/* resolver.c - look-ups in flight and the post box that they come home to.
 *
 * A look-up may outlast its runtime by a resolver's time-out, and nobody waits
 * for it. So a pool thread knows the runtime only through a post box, the
 * rsl_resolver: under its lock a finished look-up is either pushed to the
 * mailbox, which then exists, or finds the runtime gone and frees itself. The
 * box goes with the last look-up that can still come.
 *
 * Owners and the list of look-ups belong to the loop thread alone; pool threads
 * see neither. In a forked child, where a lock may be held by a thread that
 * does not exist, they can therefore be given up without any lock. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/pool.h"
#include "core/runtime_impl.h"
#include "net/resolver_impl.h"

struct rsl_resolver {
    rsl_list lookups; /* [L] with an owner: waiting, running or delivered */

    pthread_mutex_t lock;
    rsl_runtime *rt;    /* lock; NULL once the runtime has closed */
    unsigned in_flight; /* lock; look-ups that the pool still has */
};

typedef struct lookup_job {
    rsl_lookup lookup; /* first: every rsl_lookup is one of these */
    rsl_pool_job pool; /* the pool's, from submit to run */
    rsl_list link;     /* [L] in rsl_resolver.lookups while there is an owner */
    rsl_lookup_owner owner;          /* [L] */
    rsl_resolver *box;               /* [K] valid until the look-up is posted */
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

/* --- The post box --- */

static rsl_resolver *
resolver_of(rsl_runtime *rt)
{
    if (rt->resolver != NULL) {
        return rt->resolver;
    }
    rsl_resolver *box = calloc(1, sizeof(*box));
    if (box == NULL) {
        return NULL;
    }
    if (pthread_mutex_init(&box->lock, NULL) != 0) {
        free(box);
        return NULL;
    }
    rsl_list_init(&box->lookups);
    box->rt = rt;
    rt->resolver = box;
    return box;
}

static void
resolver_free(rsl_resolver *box)
{
    pthread_mutex_destroy(&box->lock);
    free(box);
}

/* `count` look-ups will not come any more, with the lock held. True when the
 * caller is to free the box after unlocking. */
static bool
resolver_forget(rsl_resolver *box, unsigned count)
{
    assert(box->in_flight >= count);
    box->in_flight -= count;
    return box->in_flight == 0 && box->rt == NULL;
}

/* --- A look-up --- */

static void
lookup_job_free(lookup_job *job)
{
    if (job->lookup.addresses != NULL) {
        job->libc.freeaddrinfo(job->lookup.addresses);
    }
    free(job);
}

void
rsl_lookup_free(rsl_lookup *lookup)
{
    lookup_job *job = (lookup_job *)lookup;
    assert(job->owner.object == NULL);
    lookup_job_free(job);
}

void *
rsl_lookup_claim(rsl_lookup *lookup)
{
    lookup_job *job = (lookup_job *)lookup;
    void *object = job->owner.object;
    job->owner.object = NULL;
    rsl_list_remove(&job->link);
    return object;
}

static void
lookup_abandon(lookup_job *job)
{
    void (*abandon)(void *object) = job->owner.abandon;
    void *object = rsl_lookup_claim(&job->lookup);
    if (object != NULL) {
        abandon(object);
    }
}

/* rsl_msg.discard: the mailbox or the receiver could not keep it. */
static void
lookup_discard(rsl_msg *msg)
{
    lookup_job *job = (lookup_job *)(void *)msg;
    lookup_abandon(job);
    lookup_job_free(job);
}

static void
lookup_call(lookup_job *job)
{
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

/* On a pool thread. After the push the look-up belongs to the loop thread. */
static void
lookup_run(rsl_pool_job *pool_job)
{
    lookup_job *job = RSL_LIST_ENTRY(pool_job, lookup_job, pool);
    rsl_resolver *box = job->box;
    lookup_call(job);

    pthread_mutex_lock(&box->lock);
    bool severed = box->rt == NULL;
    if (!severed) {
        rsl_runtime_post(box->rt, &job->lookup.msg);
    }
    bool last = resolver_forget(box, 1);
    pthread_mutex_unlock(&box->lock);

    if (severed) {
        lookup_job_free(job);
    }
    if (last) {
        resolver_free(box);
    }
}

static lookup_job *
lookup_job_new(rsl_resolver *box, rsl_lookup_owner owner, size_t text_bytes)
{
    lookup_job *job = calloc(1, sizeof(*job) + text_bytes);
    if (job == NULL) {
        return NULL;
    }
    job->lookup.msg.event.tag = rsl_tag(RSL_EV_MESSAGE, 0);
    job->lookup.msg.event.u.ptr = job;
    job->lookup.msg.discard = lookup_discard;
    job->pool.run = lookup_run;
    job->owner = owner;
    job->box = box;
    job->libc = resolver_libc;
    rsl_list_init(&job->link);
    return job;
}

static rsl_status
lookup_start(lookup_job *job, rsl_err *err)
{
    rsl_resolver *box = job->box;
    pthread_mutex_lock(&box->lock);
    box->in_flight++;
    pthread_mutex_unlock(&box->lock);
    rsl_list_push(&box->lookups, &job->link);

    rsl_status status = rsl_pool_submit(&rsl_pool_of_look_ups, &job->pool, err);
    if (status != RSL_OK) {
        pthread_mutex_lock(&box->lock);
        bool last = resolver_forget(box, 1);
        pthread_mutex_unlock(&box->lock);
        assert(!last);
        (void)last;                           /* only assert() reads it */
        (void)rsl_lookup_claim(&job->lookup); /* it stays the caller's */
        lookup_job_free(job);
    }
    return status;
}

static rsl_status
resolver_check(rsl_runtime *rt)
{
    if (rsl_runtime_is_forked(rt)) {
        return RSL_FORKED;
    }
    return rt->closed ? RSL_CLOSED : RSL_OK;
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
                    rsl_lookup_owner owner, rsl_err *err)
{
    rsl_status status = resolver_check(rt);
    if (status != RSL_OK) {
        return status;
    }
    size_t text_bytes =
        (query->host == NULL ? 0 : strlen(query->host) + 1)
        + (query->service == NULL ? 0 : strlen(query->service) + 1);
    rsl_resolver *box = resolver_of(rt);
    lookup_job *job =
        box == NULL ? NULL : lookup_job_new(box, owner, text_bytes);
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
    return lookup_start(job, err);
}

rsl_status
rsl_resolve_name(rsl_runtime *rt, const rsl_name_query *query,
                 rsl_lookup_owner owner, rsl_err *err)
{
    assert(query->length > 0
           && query->length <= sizeof(struct sockaddr_storage));
    rsl_status status = resolver_check(rt);
    if (status != RSL_OK) {
        return status;
    }
    rsl_resolver *box = resolver_of(rt);
    lookup_job *job = box == NULL
                          ? NULL
                          : lookup_job_new(box, owner, NI_MAXHOST + NI_MAXSERV);
    if (job == NULL) {
        return RSL_NOMEM;
    }
    job->lookup.kind = RSL_LOOKUP_NAME;
    job->lookup.host = job->text;
    job->lookup.service = job->text + NI_MAXHOST;
    memcpy(&job->address, query->address, query->length);
    job->length = query->length;
    job->flags = query->flags;
    return lookup_start(job, err);
}

/* --- All look-ups of a runtime --- */

int
rsl_resolver_visit(rsl_runtime *rt, int (*visit)(void *owner, void *arg),
                   void *arg)
{
    if (rt->resolver == NULL) {
        return 0;
    }
    rsl_list *list = &rt->resolver->lookups;
    for (rsl_list *link = list->next; link != list; link = link->next) {
        lookup_job *job = RSL_LIST_ENTRY(link, lookup_job, link);
        int result = visit(job->owner.object, arg);
        if (result != 0) {
            return result;
        }
    }
    return 0;
}

static bool
lookup_is_of(rsl_pool_job *pool_job, void *box)
{
    return RSL_LIST_ENTRY(pool_job, lookup_job, pool)->box == box;
}

/* Look-ups that no thread has begun are freed; the others free themselves. */
static void
resolver_sever(rsl_resolver *box)
{
    rsl_list withdrawn;
    rsl_list_init(&withdrawn);
    unsigned count =
        rsl_pool_withdraw(&rsl_pool_of_look_ups, lookup_is_of, box, &withdrawn);
    while (!rsl_list_is_empty(&withdrawn)) {
        rsl_pool_job *job = RSL_LIST_ENTRY(withdrawn.next, rsl_pool_job, link);
        rsl_list_remove(&job->link);
        lookup_job_free(RSL_LIST_ENTRY(job, lookup_job, pool));
    }

    pthread_mutex_lock(&box->lock);
    box->rt = NULL;
    bool last = resolver_forget(box, count);
    pthread_mutex_unlock(&box->lock);
    if (last) {
        resolver_free(box);
    }
}

void
rsl_resolver_fini(rsl_runtime *rt)
{
    /* abandon() may run code that starts a look-up, hence a new box, or that
     * comes here again. */
    while (rt->resolver != NULL) {
        rsl_resolver *box = rt->resolver;
        rt->resolver = NULL;
        while (!rsl_list_is_empty(&box->lookups)) {
            lookup_abandon(RSL_LIST_ENTRY(box->lookups.next, lookup_job, link));
        }
        if (!rsl_runtime_is_forked(rt)) {
            resolver_sever(box);
        }
        /* In a forked child the box and what was in flight stay behind: the
         * pool thread that has them is the parent's. */
    }
}
