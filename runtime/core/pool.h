/* SPDX-License-Identifier: Apache-2.0 */
/* pool.h - threads of the process for what the loop thread must not wait for.
 *
 * Role:    runs jobs in the order of submission on a few threads, made when
 *          there is work and gone when there has been none for a while. One
 *          pool for libc's look-ups (net/resolver.c), one for what native
 *          extensions bring (rsl/jobs.h), and one for steps of handshakes
 *          (rsl/handshake.h): none keeps another waiting.
 * Thread:  any. Its own threads block every signal.
 * Memory:  static. Intrusive: a job belongs to the pool from submit until its
 *          run() begins or it is withdrawn. Jobs of a forked parent are
 *          forgotten. */
#ifndef RSL_CORE_POOL_H
#define RSL_CORE_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rsl/looks.h>
#include <rsl/status.h>

#include "base/list.h"

typedef struct rsl_pool_job {
    rsl_list link;
    void (*run)(struct rsl_pool_job *job); /* on a pool thread; takes it */
} rsl_pool_job;

typedef struct rsl_pool {
    const char *name;         /* [K] of its threads; at most 15 characters */
    unsigned threads_max;     /* [K] */
    int64_t fork_patience_ns; /* [K] how long a fork waits for the threads to
                               * come out of their calls: libc's locks, which a
                               * child would inherit for good, but not others */
    bool short_jobs;          /* [K] none waits for anything, all compute:
                               * whoever ends, a runtime or the process, waits
                               * for those that run; and threads are in the
                               * background */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t work;  /* on CLOCK_MONOTONIC, as the next one */
    pthread_cond_t quiet; /* no thread is in a call; for who holds it */
    bool held;            /* a fork, or the end of the process: none begins */
    rsl_list queue;
    atomic_uint queued; /* length of `queue`; whoever looks has no lock */
    unsigned threads;   /* started and not ended */
    unsigned idle;      /* of those, waiting for work */
    unsigned coming;    /* of the idle, woken and not there yet */
    bool looking;       /* one of the idle looks for work before it sleeps */
    rsl_looks looks;    /* whether that pays */
    int64_t idle_ns;    /* how long a thread without work stays */
} rsl_pool;

#define RSL_POOL_INIT(pool_name, max, patience_ns, is_short) \
    {                                                        \
        .name = (pool_name),                                 \
        .threads_max = (max),                                \
        .fork_patience_ns = (patience_ns),                   \
        .short_jobs = (is_short),                            \
        .lock = PTHREAD_MUTEX_INITIALIZER,                   \
        .looks = {.limit_ns = 30000},                        \
        .idle_ns = INT64_C(10000000000),                     \
    }

/* The pools there are: a fork holds all of them. */
extern rsl_pool rsl_pool_of_handshakes;
extern rsl_pool rsl_pool_of_look_ups;
extern rsl_pool rsl_pool_of_jobs;

/* RSL_OS when there is no thread and none can be made. */
rsl_status rsl_pool_submit(rsl_pool *pool, rsl_pool_job *job, rsl_err *err);

/* Move the jobs that no thread has begun and that match() picks to `out`;
 * returns how many. match() runs under the pool's lock. */
unsigned
rsl_pool_withdraw(rsl_pool *pool, bool (*match)(rsl_pool_job *job, void *arg),
                  void *arg, rsl_list *out);

/* For tests: a shorter patience, and how many threads there are. */
void rsl_pool_set_idle_ns(rsl_pool *pool, int64_t idle_ns);
unsigned rsl_pool_threads(rsl_pool *pool);

#endif
