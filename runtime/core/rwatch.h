/* SPDX-License-Identifier: Apache-2.0 */
/* rwatch.h - the runtime thread's own set of fds.
 *
 * Role:    an epoll set, made for the first watch, that the thread polls beside
 *          its kicks.
 * Thread:  per function.
 * Memory:  a value inside rsl_runtime. */
#ifndef RSL_CORE_RWATCH_H
#define RSL_CORE_RWATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <rsl/status.h>

typedef struct rsl_runtime rsl_runtime;

typedef struct rsl_rwatches {
    atomic_int epfd;      /* [A] -1 before the first watch */
    pthread_mutex_t lock; /* held while a callback runs */
} rsl_rwatches;

void rsl_rwatches_init(rsl_rwatches *watches);

/* The runtime thread is gone. */
void rsl_rwatches_fini(rsl_rwatches *watches, bool forked);

/* Runtime thread: call back for what is ready now, each fd once at most. */
void rsl_rwatches_serve(rsl_runtime *rt);

#endif
