/* SPDX-License-Identifier: Apache-2.0 */
/* stats.h - figures of a loop, always on.
 *
 * Role:    counters and gauges, and how long turns took. Nothing per byte, no
 *          lock, and no clock that is not read anyway.
 * Thread:  one thread writes each value, the loop thread those of rsl_stats;
 *          any thread reads them, also in a signal handler and while the loop
 *          is stuck. A value is never torn; two of them may be a moment apart.
 * Memory:  a value inside rsl_runtime. */
#ifndef RSL_STATS_H
#define RSL_STATS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rsl_runtime rsl_runtime;

/* rsl_stat_info() says what each one is. */
typedef enum rsl_stat {
    RSL_STAT_RUNNING,
    RSL_STAT_TURNS,
    RSL_STAT_SLOW_TURNS,
    RSL_STAT_CALLBACKS,
    RSL_STAT_READY,
    RSL_STAT_READY_PEAK,
    RSL_STAT_TIMERS,
    RSL_STAT_POLLS,
    RSL_STAT_SLEEPS,
    RSL_STAT_HANDOVERS,
    RSL_STAT_READS,
    RSL_STAT_READS_HANDED,
    RSL_STAT_BYTES_READ,
    RSL_STAT_WRITES,
    RSL_STAT_WRITES_STAGED,
    RSL_STAT_WRITES_DIRECT,
    RSL_STAT_BYTES_WRITTEN,
    RSL_STAT_CONNECTIONS_OPENED,
    RSL_STAT_ACCEPTED,
    RSL_STAT_SYSCALLS_ACCEPT,
    RSL_STAT_BUFFERS_LENT,
    RSL_STAT_BUFFERS_STARVED,
    /* One for each rsl_stat_engine. */
    RSL_STAT_TLS_STARTED,
    RSL_STAT_TLS_FINISHED = RSL_STAT_TLS_STARTED + 3,
    RSL_STAT_TLS_FAILED = RSL_STAT_TLS_FINISHED + 3,
    RSL_STAT_TLS_RESUMED = RSL_STAT_TLS_FAILED + 3,
    RSL_STAT_TLS_JOBS = RSL_STAT_TLS_RESUMED + 3,
    RSL_STAT_TLS_BYTES_DECRYPTED,
    RSL_STAT_TLS_BYTES_ENCRYPTED,
    /* Parts of what is told, not told by themselves: what is rare is counted,
     * and what is frequent follows from it. */
    RSL_STAT_POLLS_SKIPPED, /* polls that made no system call */
    RSL_STAT_POLLS_MORE,    /* system calls like theirs, by others */
    RSL_STAT_READS_RING,    /* reads that an io_uring made */
    RSL_STAT_READS_EMPTY,   /* system calls that brought nothing */
    RSL_STAT_WRITES_RING,
    RSL_STAT_WRITES_EMPTY,
    RSL_STAT_BYTES_QUEUED,   /* by streams, to be sent */
    RSL_STAT_BYTES_DROPPED,  /* of these, not sent as such */
    RSL_STAT_BYTES_UNQUEUED, /* sent, and never queued */
    RSL_STAT_WRITTEN,        /* so many are written by the loop thread; */
    /* the others are kept elsewhere or computed. */
    RSL_STAT_WRITE_BACKLOG = RSL_STAT_WRITTEN,
    RSL_STAT_SYSCALLS_POLL,
    RSL_STAT_SYSCALLS_READ,
    RSL_STAT_SYSCALLS_WRITE,
    RSL_STAT_CONNECTIONS,
    RSL_STAT_TAKEOVERS,
    RSL_STAT_STOLEN_BYTES,
    RSL_STAT_STOLEN_QUEUED,
    RSL_STAT_SYSCALLS_RUNTIME,
    RSL_STAT_TLS_PENDING, /* one for each rsl_stat_engine */
    RSL_STAT_COUNT = RSL_STAT_TLS_PENDING + 3,
} rsl_stat;

/* Who makes a connection's TLS. */
typedef enum rsl_stat_engine {
    RSL_STAT_OPENSSL,
    RSL_STAT_MBEDTLS,
    RSL_STAT_PYTHON, /* asyncio's sslproto */
    RSL_STAT_ENGINES,
} rsl_stat_engine;

/* How long turns took: bucket i has those up to rsl_lag_bounds_ns[i], the last
 * one all longer ones. */
enum { RSL_LAG_BUCKETS = 20 };
extern const int64_t rsl_lag_bounds_ns[RSL_LAG_BUCKETS - 1];

/* A turn this long is slow: asyncio's slow_callback_duration. */
#define RSL_SLOW_TURN_NS 100000000

typedef struct rsl_stats {
    atomic_uint_fast64_t values[RSL_STAT_WRITTEN];
    atomic_uint_fast64_t lag[RSL_LAG_BUCKETS];
    atomic_int_fast64_t lag_sum_ns, lag_max_ns;
    atomic_int_fast64_t awake_since_ns; /* begin of this turn, 0 while asleep */
    atomic_int_fast64_t slow_turn_ns;   /* [L] */
} rsl_stats;

/* What was taken of them at one moment. */
typedef struct rsl_stats_taken {
    uint64_t values[RSL_STAT_COUNT];
    uint64_t lag[RSL_LAG_BUCKETS], lag_count;
    int64_t lag_sum_ns, lag_max_ns;
    int64_t awake_ns; /* how long the turn has lasted that goes on, or 0 */
} rsl_stats_taken;

typedef struct rsl_stat_info {
    const char *name; /* as in Loop.stats(); a counter's metric adds _total */
    const char *help;
    int is_counter; /* else a gauge */
} rsl_stat_info;

/* NULL for what is not told. Figures by engine share a name. */
const rsl_stat_info *rsl_stat_of(rsl_stat stat);

/* Whose a figure is; RSL_STAT_ENGINES where it is not by engine. */
rsl_stat_engine rsl_stat_engine_of(rsl_stat stat);

/* As get_extra_info("tls_engine") names it; NULL for RSL_STAT_ENGINES. */
const char *rsl_stat_engine_name(rsl_stat_engine engine);

/* An engine's part of the figure that begins at `first`. */
static inline rsl_stat
rsl_stat_by_engine(rsl_stat first, rsl_stat_engine engine)
{
    return (rsl_stat)((int)first + (int)engine);
}

/* Only one thread writes: nothing is lost between the load and the store. */
static inline void
rsl_count_add(atomic_uint_fast64_t *count, uint64_t more)
{
    atomic_store_explicit(
        count, atomic_load_explicit(count, memory_order_relaxed) + more,
        memory_order_relaxed);
}

static inline uint64_t
rsl_stat_get(const rsl_stats *stats, rsl_stat stat)
{
    return atomic_load_explicit(&stats->values[stat], memory_order_relaxed);
}

static inline void
rsl_stat_set(rsl_stats *stats, rsl_stat stat, uint64_t value)
{
    atomic_store_explicit(&stats->values[stat], value, memory_order_relaxed);
}

static inline void
rsl_stat_add(rsl_stats *stats, rsl_stat stat, uint64_t more)
{
    rsl_count_add(&stats->values[stat], more);
}

/* The loop thread: a receive by a system call brought `bytes`, or nothing. */
static inline void
rsl_stats_read(rsl_stats *stats, uint64_t bytes)
{
    rsl_stat_add(stats, RSL_STAT_READS, 1);
    rsl_stat_add(stats, RSL_STAT_BYTES_READ, bytes);
}

static inline void
rsl_stats_read_nothing(rsl_stats *stats)
{
    rsl_stat_add(stats, RSL_STAT_READS_EMPTY, 1);
}

/* The same for a send that does not go through a stream's queue. */
static inline void
rsl_stats_wrote(rsl_stats *stats, uint64_t bytes)
{
    rsl_stat_add(stats, RSL_STAT_WRITES_DIRECT, 1);
    rsl_stat_add(stats, RSL_STAT_WRITES, 1);
    rsl_stat_add(stats, RSL_STAT_BYTES_WRITTEN, bytes);
    rsl_stat_add(stats, RSL_STAT_BYTES_UNQUEUED, bytes);
}

static inline void
rsl_stats_wrote_nothing(rsl_stats *stats)
{
    rsl_stat_add(stats, RSL_STAT_WRITES_DIRECT, 1);
    rsl_stat_add(stats, RSL_STAT_WRITES_EMPTY, 1);
}

/* The loop thread's, to write to; valid as long as `rt`. */
rsl_stats *rsl_runtime_stats(rsl_runtime *rt);

/* Any thread, and any signal handler, until rsl_runtime_free(). */
void rsl_stats_take(const rsl_runtime *rt, rsl_stats_taken *out);

/* The sum over all runtimes that this process has or had. Any thread, but no
 * signal handler: it takes a lock that no loop ever waits for. */
void rsl_stats_total(uint64_t out[RSL_STAT_COUNT]);

#endif
