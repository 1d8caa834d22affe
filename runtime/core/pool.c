/* SPDX-License-Identifier: Apache-2.0 */
/* pool.c - pools of the process, not of a loop.
 *
 * Calls that block are rare and slow, and a thread that waits for something of
 * a dead loop's would otherwise be lost to the others. Threads are detached and
 * hold no job of anyone who waits, so neither closing a loop nor the end of the
 * process waits for them; but both do for jobs that are short. */
#include "core/pool.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include <rsl/jobs.h>
#include <rsl/runtime.h>

#include "core/background.h"
#include "net/resolver_impl.h"

/* NSS modules and extensions are foreign code with foreign stack use; pages
 * that stay untouched cost nothing. */
#define POOL_STACK_BYTES (1024 * 1024)

#define NS_PER_S INT64_C(1000000000)

/* Most look-ups are out of libc by then; one that waits for a server waits
 * without a lock. Steps of handshakes take some milliseconds. */
#define LOOK_UP_PATIENCE_NS   (50 * INT64_C(1000000))
#define HANDSHAKE_PATIENCE_NS (50 * INT64_C(1000000))

/* The end of the process waits so long for short jobs: enough for any, and an
 * end all the same. */
#define EXIT_PATIENCE_NS (5 * NS_PER_S)

/* Jobs compute: more of them than cores gain nothing but fairness. */
#define JOB_THREADS_MAX 16

/* More than one, so that one RSA signature does not hold up everybody. On one
 * core several cost less than one: what they finish in turns comes home
 * together. */
#define HANDSHAKE_THREADS_MAX 4

rsl_pool rsl_pool_of_handshakes = RSL_POOL_INIT(
    "rsl-handshake", HANDSHAKE_THREADS_MAX, HANDSHAKE_PATIENCE_NS, true);
rsl_pool rsl_pool_of_look_ups = RSL_POOL_INIT(
    "rsl-resolver", RSL_RESOLVER_THREADS_MAX, LOOK_UP_PATIENCE_NS, false);
rsl_pool rsl_pool_of_jobs = RSL_POOL_INIT("rsl-job", JOB_THREADS_MAX, 0, false);

static rsl_pool *const pools[] = {
    &rsl_pool_of_handshakes,
    &rsl_pool_of_look_ups,
    &rsl_pool_of_jobs,
};
enum { POOL_COUNT = sizeof(pools) / sizeof(pools[0]) };

static pthread_once_t pools_once = PTHREAD_ONCE_INIT;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static int pools_errno; /* written inside the once */

static void
pool_init_empty(rsl_pool *pool)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->work, &attr);
    pthread_cond_init(&pool->quiet, &attr);
    pthread_condattr_destroy(&attr);
    rsl_list_init(&pool->queue);
    pool->held = false;
    pool->looking = false;
    pool->threads = pool->idle = pool->coming = 0;
    atomic_store(&pool->queued, 0);
}

static struct timespec
pool_deadline(int64_t delay_ns)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t until_ns = until.tv_nsec + delay_ns;
    until.tv_sec += (time_t)(until_ns / NS_PER_S);
    until.tv_nsec = (long)(until_ns % NS_PER_S);
    return until;
}

/* No job begins from here on, and those that run have ended, or take longer
 * than `patience_ns`. With the lock. */
static void
pool_hold(rsl_pool *pool, int64_t patience_ns)
{
    pool->held = true;
    struct timespec until = pool_deadline(patience_ns);
    int status = 0;
    while (pool->threads > pool->idle && patience_ns > 0
           && status != ETIMEDOUT) {
        status = pthread_cond_timedwait(&pool->quiet, &pool->lock, &until);
    }
}

/* Before a fork; it keeps the locks. */
static void
pools_fork_begins(void)
{
    for (unsigned i = 0; i < POOL_COUNT; i++) {
        pthread_mutex_lock(&pools[i]->lock);
        pool_hold(pools[i], pools[i]->fork_patience_ns);
    }
}

static void
pools_fork_ended(void)
{
    for (unsigned i = 0; i < POOL_COUNT; i++) {
        pools[i]->held = false;
        pthread_cond_broadcast(&pools[i]->work);
        pthread_mutex_unlock(&pools[i]->lock);
    }
}

/* In the child of a fork: the parent's threads do not exist here, and one of
 * them may wait for the lock. The child has one thread, so all is made anew
 * without touching it. */
static void
pools_forked(void)
{
    for (unsigned i = 0; i < POOL_COUNT; i++) {
        pthread_mutex_init(&pools[i]->lock, NULL);
        pool_init_empty(pools[i]);
    }
}

/* exit() goes on to free what libraries have, also those that a job is in. */
static void
pools_exit(void)
{
    for (unsigned i = 0; i < POOL_COUNT; i++) {
        if (pools[i]->short_jobs) {
            pthread_mutex_lock(&pools[i]->lock);
            pool_hold(pools[i], EXIT_PATIENCE_NS);
            pthread_mutex_unlock(&pools[i]->lock);
        }
    }
}

static void
exit_watch(void)
{
    /* Fails without memory: then nobody waits. */
    (void)atexit(pools_exit);
}

static void
pools_init(void)
{
    for (unsigned i = 0; i < POOL_COUNT; i++) {
        pool_init_empty(pools[i]);
    }
    pools_errno =
        pthread_atfork(pools_fork_begins, pools_fork_ended, pools_forked);
}

/* One of those that sleep is woken, unless somebody will come anyway: who comes
 * wakes the next one if there is more to do. So a burst of short jobs costs few
 * wakes, and long ones are soon on as many threads as they need. With the lock.
 */
static void
pool_call(rsl_pool *pool)
{
    if (pool->coming == 0 && !pool->looking && pool->idle > 0) {
        pool->coming++;
        pthread_cond_signal(&pool->work);
    }
}

/* Look for work for a moment. With the lock, which is left meanwhile. */
static void
pool_look(rsl_pool *pool)
{
    pool->looking = true;
    pthread_mutex_unlock(&pool->lock);
    int64_t start_ns = rsl_clock_now_ns(), spent_ns;
    bool found;
    do {
        found = atomic_load(&pool->queued) > 0;
        spent_ns = rsl_clock_now_ns() - start_ns;
    } while (!found && spent_ns < pool->looks.limit_ns);
    pthread_mutex_lock(&pool->lock);
    pool->looking = false;
    rsl_looks_looked(&pool->looks, found, spent_ns);
}

/* Sleep until there is work, or for idle_ns. With the lock. */
static void
pool_sleep(rsl_pool *pool)
{
    int64_t start_ns = rsl_clock_now_ns();
    struct timespec until = pool_deadline(pool->idle_ns);
    int status = 0;
    while (pool->held || (pool->queued == 0 && status != ETIMEDOUT)) {
        status = pool->held
                     ? pthread_cond_wait(&pool->work, &pool->lock)
                     : pthread_cond_timedwait(&pool->work, &pool->lock, &until);
        /* Whoever it was meant for: a thread that comes for another's wake
         * leaves the count too low, which costs one wake. */
        pool->coming -= pool->coming > 0;
    }
    rsl_looks_slept(&pool->looks, rsl_clock_now_ns() - start_ns);
}

/* The next job, or NULL after idle_ns without one. With the lock. */
static rsl_pool_job *
pool_take(rsl_pool *pool)
{
    pool->idle++;
    if (pool->held) {
        pthread_cond_signal(&pool->quiet);
    } else if (pool->queued == 0 && !pool->looking
               && rsl_looks_pay(&pool->looks)) {
        pool_look(pool);
    }
    if (pool->held || pool->queued == 0) {
        pool_sleep(pool);
    }
    pool->idle--;
    if (pool->queued == 0) {
        return NULL;
    }
    rsl_pool_job *job = RSL_LIST_ENTRY(pool->queue.next, rsl_pool_job, link);
    rsl_list_remove(&job->link);
    pool->queued--;
    if (pool->queued > 0) {
        pool_call(pool);
    }
    return job;
}

static void *
pool_thread(void *arg)
{
    rsl_pool *pool = arg;
    (void)pthread_setname_np(pthread_self(), pool->name); /* cosmetic */
    if (pool->short_jobs) {
        rsl_background_enter();
    }
    rsl_pool_job *job;
    pthread_mutex_lock(&pool->lock);
    while ((job = pool_take(pool)) != NULL) {
        pthread_mutex_unlock(&pool->lock);
        job->run(job);
        pthread_mutex_lock(&pool->lock);
    }
    pool->threads--;
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* One more thread. It inherits a mask without signals: a handler of the
 * program's must not run here, and Ctrl-C has to reach the main thread. */
static int
pool_start_thread(rsl_pool *pool)
{
    pthread_attr_t attr;
    int status = pthread_attr_init(&attr);
    if (status != 0) {
        return status;
    }
    pthread_attr_setstacksize(&attr, POOL_STACK_BYTES);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    status = pthread_create(&thread, &attr, pool_thread, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return status;
}

rsl_status
rsl_pool_submit(rsl_pool *pool, rsl_pool_job *job, rsl_err *err)
{
    pthread_once(&pools_once, pools_init);
    err->code = pools_errno;
    err->call = "pthread_atfork";
    if (err->code != 0) {
        return RSL_OS;
    }
    if (pool->short_jobs) {
        /* Now: the last to register is called first, and what a job uses has
         * been set up. */
        pthread_once(&exit_once, exit_watch);
    }
    pthread_mutex_lock(&pool->lock);
    /* An idle thread may have been woken for an earlier job already. */
    if (pool->queued >= pool->idle && pool->threads < pool->threads_max) {
        err->code = pool_start_thread(pool);
        err->call = "pthread_create";
        if (err->code == 0) {
            pool->threads++;
        } else if (pool->threads == 0) {
            pthread_mutex_unlock(&pool->lock);
            return RSL_OS;
        }
    }
    rsl_list_push(&pool->queue, &job->link);
    pool->queued++;
    pool_call(pool);
    pthread_mutex_unlock(&pool->lock);
    return RSL_OK;
}

unsigned
rsl_pool_withdraw(rsl_pool *pool, bool (*match)(rsl_pool_job *job, void *arg),
                  void *arg, rsl_list *out)
{
    unsigned count = 0;
    pthread_once(&pools_once, pools_init);
    pthread_mutex_lock(&pool->lock);
    rsl_list *link = pool->queue.next;
    while (link != &pool->queue) {
        rsl_list *next = link->next;
        rsl_pool_job *job = RSL_LIST_ENTRY(link, rsl_pool_job, link);
        if (match(job, arg)) {
            rsl_list_remove(link);
            rsl_list_push(out, link);
            count++;
        }
        link = next;
    }
    pool->queued -= count;
    pthread_mutex_unlock(&pool->lock);
    return count;
}

void
rsl_pool_set_idle_ns(rsl_pool *pool, int64_t idle_ns)
{
    pthread_mutex_lock(&pool->lock);
    pool->idle_ns = idle_ns;
    pthread_mutex_unlock(&pool->lock);
}

unsigned
rsl_pool_threads(rsl_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    unsigned threads = pool->threads;
    pthread_mutex_unlock(&pool->lock);
    return threads;
}

/* --- Jobs --- */

typedef struct job_call {
    rsl_pool_job job;
    void (*run)(void *arg);
    void *arg;
} job_call;

static void
job_run(rsl_pool_job *job)
{
    job_call call = *RSL_LIST_ENTRY(job, job_call, job);
    free(RSL_LIST_ENTRY(job, job_call, job));
    call.run(call.arg);
}

rsl_status
rsl_job_submit(void (*run)(void *arg), void *arg, rsl_err *err)
{
    job_call *call = malloc(sizeof(*call));
    if (call == NULL) {
        return RSL_NOMEM;
    }
    *call = (job_call){.job = {.run = job_run}, .run = run, .arg = arg};
    rsl_status status = rsl_pool_submit(&rsl_pool_of_jobs, &call->job, err);
    if (status != RSL_OK) {
        free(call);
    }
    return status;
}
