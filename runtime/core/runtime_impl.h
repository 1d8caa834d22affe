/* SPDX-License-Identifier: Apache-2.0 */
/* runtime_impl.h - the inside of rsl_runtime, for core/, net/ and io/.
 *
 * Role:    ties backend, tables, mailbox, token and thread of one loop.
 * Thread:  per field: [L] loop thread, [R] runtime thread, [T] holder of the
 *          token, [A] any thread, [K] constant after init.
 * Memory:  owned by rsl_runtime_new() .. rsl_runtime_free(). */
#ifndef RSL_CORE_RUNTIME_IMPL_H
#define RSL_CORE_RUNTIME_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rsl/runtime.h>

#include "base/id_table.h"
#include "base/list.h"
#include "core/job.h"
#include "core/lag.h"
#include "core/rwatch.h"
#include "core/spin.h"
#include "core/token.h"
#include "io/backend.h"

typedef struct rsl_reactor rsl_reactor; /* core/reactor.c */
typedef struct rsl_thread rsl_thread;   /* core/thread.c */

enum { RSL_SPARE_WRITES_MAX = 64 };

struct rsl_runtime {
    rsl_hooks hooks;          /* [K] */
    rsl_takeover takeover;    /* [K] */
    rsl_backend *backend;     /* [K] NULL after rsl_runtime_close() */
    const char *backend_name; /* [K] and the features, also after close */
    uint32_t ring_features;   /* [K] */
    const char *reason;       /* [K] why this backend */
    int reason_errno;         /* [K] */
    uint32_t fork_generation; /* [K] of the process that made it */

    rsl_mailbox mailbox;   /* [A] to the loop thread */
    rsl_token token;       /* [A] who may read */
    rsl_thread *thread;    /* [L] the runtime thread; NULL before first run */
    rsl_jobs *lookups;     /* [L] net/resolver.c's; NULL before the first */
    rsl_jobs *handshakes;  /* [L] core/handshake_pool.c's; likewise */
    rsl_rwatches rwatches; /* [A] fds of the runtime thread */
    rsl_reactor *reactor;  /* [L] made when it is asked for */

    rsl_id_table conns;     /* [L] writes under the token; [T] reads */
    rsl_id_table listeners; /* [L] */
    rsl_id_table dgrams;    /* [L] */
    rsl_list dirty;         /* [L] conns with output to send this turn */
    rsl_list closing;       /* [L] conns that wait for the token to close */
    void *spare_writes[RSL_SPARE_WRITES_MAX]; /* [L] net/conn_write.c's */
    unsigned spare_count;                     /* [L] */
    uint8_t *tls_scratch; /* [L] net/conn_tls.c's; NULL until needed */
    rsl_sink *flush_sink; /* [L] where rsl_conn_sent() emits: the sink of
                             * flush or collect, else post_sink */
    rsl_sink post_sink;   /* [L] keeps events for the next drain */

    rsl_spin spin;        /* [L] core/spin.c's */
    bool has_token;       /* [L] the loop thread holds it */
    bool in_run;          /* [L] between enter and leave */
    bool closed;          /* [L] after rsl_runtime_close() */
    uint64_t drains;      /* [L] how many there were */
    unsigned drained;     /* [L] events that the last drain emitted */
    atomic_bool woken;    /* [A] somebody wants the loop thread to look
                                * around, and not to sleep before it has */
    atomic_bool stopping; /* [A] leave() waits: steal() returns before
                                * its next conn */
    atomic_bool sticky;   /* [A] the runtime thread stole at its last
                                * ticks and means to go on */
    atomic_size_t stolen_bytes_queued; /* [A] sum of the conns' stolen_bytes */
    atomic_size_t pending_max;         /* [A] rsl_runtime_set_pending_max() */
    atomic_int runtime_tid;            /* [A] 0 before the thread runs */
    atomic_int_fast64_t busy_since_ns; /* [A] 0 while the loop thread sleeps */
    uint64_t kicks;                    /* [L] how often it was asked */
    int64_t last_kick_ns; /* [L] when the runtime thread was last asked */

    rsl_stats stats;                   /* [L] writes, [A] reads */
    rsl_lag lag;                       /* [L] */
    uint64_t number;                   /* [K] in this process */
    rsl_list registry_link;            /* sight/registry.c's */
    bool hidden;                       /* the same, under its lock */
    rsl_list metrics;                  /* [L] sight/metrics.c's endpoints */
    uint64_t metrics_named;            /* [L] the last one's name */
    atomic_uint_fast64_t takeovers;    /* [A] the runtime thread's figures */
    atomic_uint_fast64_t stolen_bytes; /* [A] */
    atomic_uint_fast64_t syscalls_runtime; /* [A] */
};

typedef rsl_status (*rsl_backend_open_fn)(rsl_runtime *rt,
                                          rsl_backend_kind wanted,
                                          rsl_backend **out,
                                          const char **reason,
                                          int *reason_errno, rsl_err *err);

/* rsl_runtime_new() with another way to make the backend: tests. */
rsl_status
rsl_runtime_new_on(const rsl_config *config, rsl_backend_open_fn open_backend,
                   rsl_runtime **out, rsl_err *err);

#endif
