/* SPDX-License-Identifier: Apache-2.0 */
/* resolver_pool.h - the process's threads for calls that block in libc.
 *
 * Role:    runs jobs in the order of submission on a few threads, made when
 *          there is work and gone when there has been none for a while.
 * Thread:  any. Its own threads block every signal.
 * Memory:  intrusive: a job belongs to the pool from submit until its run()
 *          begins or it is withdrawn. Jobs of a forked parent are forgotten. */
#ifndef RSL_NET_RESOLVER_POOL_H
#define RSL_NET_RESOLVER_POOL_H

#include <stdbool.h>

#include <rsl/status.h>

#include "base/list.h"

typedef struct rsl_pool_job {
    rsl_list link;
    void (*run)(struct rsl_pool_job *job); /* on a pool thread; takes it */
} rsl_pool_job;

/* RSL_OS when there is no thread and none can be made. */
rsl_status rsl_pool_submit(rsl_pool_job *job, rsl_err *err);

/* Move the jobs that no thread has begun and that match() picks to `out`;
 * returns how many. match() runs under the pool's lock. */
unsigned rsl_pool_withdraw(bool (*match)(rsl_pool_job *job, void *arg),
                           void *arg, rsl_list *out);

#endif
