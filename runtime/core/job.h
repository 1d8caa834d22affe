/* SPDX-License-Identifier: Apache-2.0 */
/* job.h - work of one runtime on a pool's threads, and its way home.
 *
 * Role:    posts a job, and brings it back through the mailbox once its run()
 *          has returned; for name look-ups, handshakes and whatever else the
 *          loop thread must not wait for.
 * Thread:  loop thread, but run() and, of a job that its runtime did not wait
 *          for, free().
 * Memory:  a job lives in a block of its maker's, who says by free() how it
 *          goes. Its owner is given back exactly once: by rsl_job_claim(), or
 *          to abandon() when the runtime closes first. */
#ifndef RSL_CORE_JOB_H
#define RSL_CORE_JOB_H

#include <rsl/runtime.h>

#include "core/pool.h"

/* The jobs that one runtime has in one pool. */
typedef struct rsl_jobs rsl_jobs;

typedef struct rsl_job {
    rsl_pool_job pool;   /* the pool's, from submit to run */
    rsl_list link;       /* [L] in the jobs of its runtime, while it has an
                        * owner */
    rsl_job_owner owner; /* [L] */
    rsl_jobs *jobs;      /* [K] valid until the job is posted */
    rsl_msg *msg;        /* [K] that is posted */
    void (*run)(struct rsl_job *job);  /* [K] on a pool thread */
    void (*free)(struct rsl_job *job); /* [K] takes it; any thread */
} rsl_job;

/* Set up a job whose maker sets `run`, `free`, `msg` and `owner`; the message's
 * discard is to end in rsl_job_discard(). */
void rsl_job_init(rsl_job *job);

/* Start it for `rt`, whose jobs in `pool` are at `*jobs`, NULL before the
 * first. On RSL_OK `owner` is taken, and one message will follow unless the
 * runtime closes first; on any other status the owner stays the caller's and
 * the job is freed. RSL_OS when no thread could be made, RSL_NOMEM, RSL_FORKED,
 * or RSL_CLOSED after rsl_runtime_close(). */
rsl_status rsl_job_start(rsl_runtime *rt, rsl_jobs **jobs, rsl_pool *pool,
                         rsl_job *job, rsl_err *err);

/* The owner of a delivered job, or NULL when it was abandoned before. */
void *rsl_job_claim(rsl_job *job);

/* The mailbox, or the receiver, could not keep its message: takes it. */
void rsl_job_discard(rsl_job *job);

/* Show visit() the owner of each job that is on its way; stops at and returns
 * the first result that is not 0. */
int
rsl_jobs_visit(rsl_jobs *jobs, int (*visit)(void *owner, void *arg), void *arg);

/* Abandon them all; part of rsl_runtime_close(). Only short jobs are waited
 * for, before their owners hear of it. Not even they in a forked child, where
 * what a job was working on may be half changed for ever. */
void rsl_jobs_fini(rsl_runtime *rt, rsl_jobs **jobs);

#endif
