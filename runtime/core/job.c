/* SPDX-License-Identifier: Apache-2.0 */
/* job.c - jobs in flight and the post box that they come home to.
 *
 * A look-up may outlast its runtime by a resolver's time-out, and nobody waits
 * for it. So a pool thread knows the runtime only through a post box, the
 * rsl_jobs: under its lock a finished job is either pushed to the mailbox,
 * which then exists, or finds the runtime gone and is freed. The box goes with
 * the last job that can still come.
 *
 * Owners and the list of jobs belong to the loop thread alone; pool threads see
 * neither. In a forked child, where a lock may be held by a thread that does
 * not exist, they can therefore be given up without any lock. */
#include "core/job.h"

#include <assert.h>
#include <stdlib.h>

#include "core/runtime_impl.h"

struct rsl_jobs {
    rsl_list list;  /* [L] with an owner: waiting, running or delivered */
    rsl_pool *pool; /* [K] */

    pthread_mutex_t lock;
    pthread_cond_t fewer; /* in_flight has sunk */
    rsl_runtime *rt;      /* lock, or in flight where jobs are short; NULL once
                           * the runtime has closed */
    unsigned in_flight;   /* lock; jobs that the pool still has */
};

/* --- The post box --- */

static rsl_jobs *
jobs_of(rsl_runtime *rt, rsl_jobs **slot, rsl_pool *pool)
{
    if (*slot != NULL) {
        return *slot;
    }
    rsl_jobs *jobs = calloc(1, sizeof(*jobs));
    if (jobs == NULL) {
        return NULL;
    }
    if (pthread_mutex_init(&jobs->lock, NULL) != 0) {
        free(jobs);
        return NULL;
    }
    pthread_cond_init(&jobs->fewer, NULL);
    rsl_list_init(&jobs->list);
    jobs->pool = pool;
    jobs->rt = rt;
    *slot = jobs;
    return jobs;
}

static void
jobs_free(rsl_jobs *jobs)
{
    pthread_cond_destroy(&jobs->fewer);
    pthread_mutex_destroy(&jobs->lock);
    free(jobs);
}

/* `count` jobs will not come any more, with the lock held. True when the caller
 * is to free the box after unlocking. */
static bool
jobs_forget(rsl_jobs *jobs, unsigned count)
{
    assert(jobs->in_flight >= count);
    jobs->in_flight -= count;
    pthread_cond_signal(&jobs->fewer);
    return jobs->in_flight == 0 && jobs->rt == NULL;
}

/* --- A job --- */

void *
rsl_job_claim(rsl_job *job)
{
    void *object = job->owner.object;
    job->owner.object = NULL;
    rsl_list_remove(&job->link);
    return object;
}

static void
job_abandon(rsl_job *job)
{
    void (*abandon)(void *object) = job->owner.abandon;
    void *object = rsl_job_claim(job);
    if (object != NULL) {
        abandon(object);
    }
}

void
rsl_job_discard(rsl_job *job)
{
    job_abandon(job);
    job->free(job);
}

/* On a pool thread. After the push the job belongs to the loop thread.
 *
 * A runtime waits for short jobs, so that it is there as long as one is in
 * flight. No lock is held then: the push wakes the loop thread, perhaps on this
 * core and at once, and that is about to start the next job. */
static void
job_run(rsl_pool_job *pool_job)
{
    rsl_job *job = RSL_LIST_ENTRY(pool_job, rsl_job, pool);
    rsl_jobs *jobs = job->jobs;
    bool awaited = jobs->pool->short_jobs;
    job->run(job);
    if (awaited) {
        rsl_runtime_post(jobs->rt, job->msg);
    }

    pthread_mutex_lock(&jobs->lock);
    bool severed = jobs->rt == NULL;
    if (!severed && !awaited) {
        rsl_runtime_post(jobs->rt, job->msg);
    }
    bool last = jobs_forget(jobs, 1);
    pthread_mutex_unlock(&jobs->lock);

    assert(!severed || !awaited);
    if (severed) {
        job->free(job);
    }
    if (last) {
        jobs_free(jobs);
    }
}

void
rsl_job_init(rsl_job *job)
{
    job->pool.run = job_run;
    rsl_list_init(&job->link);
}

static rsl_status
job_submit(rsl_job *job, rsl_err *err)
{
    rsl_jobs *jobs = job->jobs;
    pthread_mutex_lock(&jobs->lock);
    jobs->in_flight++;
    pthread_mutex_unlock(&jobs->lock);
    rsl_list_push(&jobs->list, &job->link);

    rsl_status status = rsl_pool_submit(jobs->pool, &job->pool, err);
    if (status != RSL_OK) {
        pthread_mutex_lock(&jobs->lock);
        bool last = jobs_forget(jobs, 1);
        pthread_mutex_unlock(&jobs->lock);
        assert(!last);
        (void)last;               /* only assert() reads it */
        (void)rsl_job_claim(job); /* it stays the caller's */
        job->free(job);
    }
    return status;
}

rsl_status
rsl_job_start(rsl_runtime *rt, rsl_jobs **slot, rsl_pool *pool, rsl_job *job,
              rsl_err *err)
{
    rsl_status status = RSL_OK;
    if (rsl_runtime_is_forked(rt)) {
        status = RSL_FORKED;
    } else if (rt->closed) {
        status = RSL_CLOSED;
    } else if ((job->jobs = jobs_of(rt, slot, pool)) == NULL) {
        status = RSL_NOMEM;
    }
    if (status != RSL_OK) {
        (void)rsl_job_claim(job); /* it stays the caller's */
        job->free(job);
        return status;
    }
    return job_submit(job, err);
}

/* --- All jobs of a runtime in a pool --- */

int
rsl_jobs_visit(rsl_jobs *jobs, int (*visit)(void *owner, void *arg), void *arg)
{
    if (jobs == NULL) {
        return 0;
    }
    rsl_list *list = &jobs->list;
    for (rsl_list *link = list->next; link != list; link = link->next) {
        rsl_job *job = RSL_LIST_ENTRY(link, rsl_job, link);
        int result = visit(job->owner.object, arg);
        if (result != 0) {
            return result;
        }
    }
    return 0;
}

static bool
job_is_of(rsl_pool_job *pool_job, void *jobs)
{
    return RSL_LIST_ENTRY(pool_job, rsl_job, pool)->jobs == jobs;
}

/* Take back what no thread has begun; where jobs are short, the others have
 * been posted when this returns. */
static unsigned
jobs_withdraw(rsl_jobs *jobs, rsl_list *withdrawn)
{
    unsigned count = rsl_pool_withdraw(jobs->pool, job_is_of, jobs, withdrawn);
    if (jobs->pool->short_jobs) {
        pthread_mutex_lock(&jobs->lock);
        while (jobs->in_flight > count) {
            pthread_cond_wait(&jobs->fewer, &jobs->lock);
        }
        pthread_mutex_unlock(&jobs->lock);
    }
    return count;
}

/* Withdrawn jobs are freed; those that run free themselves. */
static void
jobs_sever(rsl_jobs *jobs, rsl_list *withdrawn, unsigned count)
{
    while (!rsl_list_is_empty(withdrawn)) {
        rsl_pool_job *pool =
            RSL_LIST_ENTRY(withdrawn->next, rsl_pool_job, link);
        rsl_job *job = RSL_LIST_ENTRY(pool, rsl_job, pool);
        rsl_list_remove(&pool->link);
        job->free(job);
    }
    pthread_mutex_lock(&jobs->lock);
    jobs->rt = NULL;
    bool last = jobs_forget(jobs, count);
    pthread_mutex_unlock(&jobs->lock);
    if (last) {
        jobs_free(jobs);
    }
}

void
rsl_jobs_fini(rsl_runtime *rt, rsl_jobs **slot)
{
    /* abandon() may run code that starts a job, hence a new box, or that comes
     * here again. */
    while (*slot != NULL) {
        rsl_jobs *jobs = *slot;
        bool forked = rsl_runtime_is_forked(rt);
        rsl_list withdrawn;
        unsigned count = 0;
        *slot = NULL;
        rsl_list_init(&withdrawn);
        if (!forked) {
            count = jobs_withdraw(jobs, &withdrawn);
        }
        while (!rsl_list_is_empty(&jobs->list)) {
            job_abandon(RSL_LIST_ENTRY(jobs->list.next, rsl_job, link));
        }
        if (!forked) {
            jobs_sever(jobs, &withdrawn, count);
        }
        /* In a forked child the box and what was in flight stay behind: the
         * pool thread that has them is the parent's. */
    }
}
