/* SPDX-License-Identifier: Apache-2.0 */
/* resolver_pool.c - one pool for the process.
 *
 * One, not one a loop: look-ups are rare and slow, and a thread that waits in
 * libc for a dead loop's name would otherwise be lost to the others. Threads
 * are detached and hold no job of anyone who waits, so neither closing a loop
 * nor the end of the process waits for them. */
#include "net/resolver_pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "net/resolver_impl.h"

/* NSS modules are foreign code with foreign stack use; pages that stay
 * untouched cost nothing. */
#define POOL_STACK_BYTES (1024 * 1024)

#define NS_PER_S INT64_C(1000000000)

/* How long a fork waits for look-ups to come out of libc, so that the child
 * inherits none of its locks from a thread that it does not have. Most are out
 * by then; one that waits for a server waits without a lock. */
#define POOL_FORK_PATIENCE_NS (50 * INT64_C(1000000))

static struct {
    pthread_once_t once;
    int init_errno;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t work;  /* on CLOCK_MONOTONIC, as the next one */
    pthread_cond_t quiet; /* no thread is in libc; for a fork */
    bool forking;         /* no job begins */
    rsl_list queue;
    unsigned queued;  /* length of `queue` */
    unsigned threads; /* started and not ended */
    unsigned idle;    /* of those, waiting for work */
    int64_t idle_ns;
} pool = {
    .once = PTHREAD_ONCE_INIT,
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .idle_ns = 10 * NS_PER_S,
};

static void
pool_init_empty(void)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&pool.work, &attr);
    pthread_cond_init(&pool.quiet, &attr);
    pthread_condattr_destroy(&attr);
    rsl_list_init(&pool.queue);
    pool.forking = false;
    pool.queued = pool.threads = pool.idle = 0;
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

/* Before a fork; it keeps the lock. */
static void
pool_fork_begins(void)
{
    pthread_mutex_lock(&pool.lock);
    pool.forking = true;
    struct timespec until = pool_deadline(POOL_FORK_PATIENCE_NS);
    int status = 0;
    while (pool.threads > pool.idle && status != ETIMEDOUT) {
        status = pthread_cond_timedwait(&pool.quiet, &pool.lock, &until);
    }
}

static void
pool_fork_ended(void)
{
    pool.forking = false;
    pthread_cond_broadcast(&pool.work);
    pthread_mutex_unlock(&pool.lock);
}

/* In the child of a fork: the parent's threads do not exist here, and one of
 * them may wait for the lock. The child has one thread, so all is made anew
 * without touching it. */
static void
pool_forked(void)
{
    pthread_mutex_init(&pool.lock, NULL);
    pool_init_empty();
}

static void
pool_init(void)
{
    pool_init_empty();
    pool.init_errno =
        pthread_atfork(pool_fork_begins, pool_fork_ended, pool_forked);
}

/* The next job, or NULL after idle_ns without one. With the lock. */
static rsl_pool_job *
pool_take(void)
{
    struct timespec until = pool_deadline(pool.idle_ns);
    pool.idle++;
    if (pool.forking) {
        pthread_cond_signal(&pool.quiet);
    }
    int status = 0;
    while (pool.forking || (pool.queued == 0 && status != ETIMEDOUT)) {
        status = pthread_cond_timedwait(&pool.work, &pool.lock, &until);
    }
    pool.idle--;
    if (pool.queued == 0) {
        return NULL;
    }
    rsl_pool_job *job = RSL_LIST_ENTRY(pool.queue.next, rsl_pool_job, link);
    rsl_list_remove(&job->link);
    pool.queued--;
    return job;
}

static void *
pool_thread(void *unused)
{
    (void)unused;
    pthread_setname_np(pthread_self(), "rsl-resolver");
    rsl_pool_job *job;
    pthread_mutex_lock(&pool.lock);
    while ((job = pool_take()) != NULL) {
        pthread_mutex_unlock(&pool.lock);
        job->run(job);
        pthread_mutex_lock(&pool.lock);
    }
    pool.threads--;
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

/* One more thread. It inherits a mask without signals: a handler of the
 * program's must not run here, and Ctrl-C has to reach the main thread. */
static int
pool_start_thread(void)
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
    status = pthread_create(&thread, &attr, pool_thread, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return status;
}

rsl_status
rsl_pool_submit(rsl_pool_job *job, rsl_err *err)
{
    pthread_once(&pool.once, pool_init);
    err->code = pool.init_errno;
    err->call = "pthread_atfork";
    if (err->code != 0) {
        return RSL_OS;
    }
    pthread_mutex_lock(&pool.lock);
    /* An idle thread may have been woken for an earlier job already. */
    if (pool.queued >= pool.idle && pool.threads < RSL_RESOLVER_THREADS_MAX) {
        err->code = pool_start_thread();
        err->call = "pthread_create";
        if (err->code == 0) {
            pool.threads++;
        } else if (pool.threads == 0) {
            pthread_mutex_unlock(&pool.lock);
            return RSL_OS;
        }
    }
    rsl_list_push(&pool.queue, &job->link);
    pool.queued++;
    pthread_cond_signal(&pool.work);
    pthread_mutex_unlock(&pool.lock);
    return RSL_OK;
}

unsigned
rsl_pool_withdraw(bool (*match)(rsl_pool_job *job, void *arg), void *arg,
                  rsl_list *out)
{
    unsigned count = 0;
    pthread_once(&pool.once, pool_init);
    pthread_mutex_lock(&pool.lock);
    rsl_list *link = pool.queue.next;
    while (link != &pool.queue) {
        rsl_list *next = link->next;
        rsl_pool_job *job = RSL_LIST_ENTRY(link, rsl_pool_job, link);
        if (match(job, arg)) {
            rsl_list_remove(link);
            rsl_list_push(out, link);
            count++;
        }
        link = next;
    }
    pool.queued -= count;
    pthread_mutex_unlock(&pool.lock);
    return count;
}

void
rsl_resolver_set_idle_ns(int64_t idle_ns)
{
    pthread_mutex_lock(&pool.lock);
    pool.idle_ns = idle_ns;
    pthread_mutex_unlock(&pool.lock);
}

unsigned
rsl_resolver_threads(void)
{
    pthread_mutex_lock(&pool.lock);
    unsigned threads = pool.threads;
    pthread_mutex_unlock(&pool.lock);
    return threads;
}
