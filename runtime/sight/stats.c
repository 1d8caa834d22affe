/* SPDX-License-Identifier: Apache-2.0 */
#include <rsl/stats.h>

#include "core/runtime_impl.h"

const int64_t rsl_lag_bounds_ns[RSL_LAG_BUCKETS - 1] = {
    10000,      25000,      50000,      100000,      250000,
    500000,     1000000,    2500000,    5000000,     10000000,
    25000000,   50000000,   100000000,  250000000,   500000000,
    1000000000, 2500000000, 5000000000, 10000000000,
};

#define BY_ENGINE(stat, name, help, is_counter)                       \
    [(stat) + RSL_STAT_OPENSSL] = {name, help, is_counter},           \
              [(stat) + RSL_STAT_MBEDTLS] = {name, help, is_counter}, \
              [(stat) + RSL_STAT_PYTHON] = {name, help, is_counter}

static const rsl_stat_info infos[RSL_STAT_COUNT] = {
    [RSL_STAT_RUNNING] = {"running", "1 while the loop runs.", 0},
    [RSL_STAT_TURNS] = {"turns", "Turns of the loop.", 1},
    [RSL_STAT_SLOW_TURNS] = {"slow_turns",
                             "Turns that took slow_callback_duration or more.",
                             1},
    [RSL_STAT_CALLBACKS] = {"callbacks", "Handles that were run.", 1},
    [RSL_STAT_READY] = {"ready",
                        "Callbacks and events that this turn began with.", 0},
    [RSL_STAT_READY_PEAK] = {"ready_peak", "The most that one began with.", 0},
    [RSL_STAT_TIMERS] = {"timers", "Timers that are pending.", 0},
    [RSL_STAT_POLLS] = {"polls", "Times the loop looked for I/O.", 1},
    [RSL_STAT_SLEEPS] = {"sleeps", "Times the loop slept.", 1},
    [RSL_STAT_HANDOVERS] = {"handovers",
                            "Messages of other threads, reads included.", 1},
    [RSL_STAT_READS] = {"reads", "Receives that brought data.", 1},
    [RSL_STAT_READS_HANDED] = {"reads_handed", "Those the runtime thread made.",
                               1},
    [RSL_STAT_BYTES_READ] = {"bytes_read", "Bytes received.", 1},
    [RSL_STAT_WRITES] = {"writes", "Sends that took data.", 1},
    [RSL_STAT_WRITES_STAGED] = {"writes_staged",
                                "Writes queued for the end of the turn.", 1},
    [RSL_STAT_WRITES_DIRECT] = {"writes_direct", "Sends tried at once.", 1},
    [RSL_STAT_BYTES_WRITTEN] = {"bytes_written", "Bytes sent.", 1},
    [RSL_STAT_WRITE_BACKLOG] = {"write_backlog",
                                "Bytes that streams wait to send.", 0},
    [RSL_STAT_CONNECTIONS_OPENED] = {"connections_opened",
                                     "Stream connections made or accepted.", 1},
    [RSL_STAT_ACCEPTED] = {"accepted", "Connections accepted.", 1},
    [RSL_STAT_SYSCALLS_POLL] = {"syscalls_poll",
                                "epoll_wait() or io_uring_enter().", 1},
    [RSL_STAT_SYSCALLS_READ] = {"syscalls_read", "recv() and its like.", 1},
    [RSL_STAT_SYSCALLS_WRITE] = {"syscalls_write", "send() and its like.", 1},
    [RSL_STAT_SYSCALLS_ACCEPT] = {"syscalls_accept", "accept4().", 1},
    [RSL_STAT_BUFFERS_LENT] = {"buffers_lent",
                               "Of the 128 io_uring buffers, those in use.", 0},
    [RSL_STAT_BUFFERS_STARVED] = {"buffers_starved",
                                  "Times io_uring had no buffer.", 1},
    BY_ENGINE(RSL_STAT_TLS_STARTED, "tls_handshakes_started",
              "TLS handshakes begun.", 1),
    BY_ENGINE(RSL_STAT_TLS_FINISHED, "tls_handshakes_finished",
              "Those that came to an open connection.", 1),
    BY_ENGINE(RSL_STAT_TLS_FAILED, "tls_handshakes_failed",
              "Those that ended in any other way.", 1),
    BY_ENGINE(RSL_STAT_TLS_RESUMED, "tls_resumed",
              "Finished handshakes that resumed a session.", 1),
    BY_ENGINE(RSL_STAT_TLS_PENDING, "tls_handshakes_pending",
              "TLS handshakes that go on.", 0),
    [RSL_STAT_TLS_JOBS] = {"tls_jobs",
                           "Steps of handshakes made by the pool of threads.",
                           1},
    [RSL_STAT_TLS_BYTES_DECRYPTED] = {"tls_bytes_decrypted",
                                      "Bytes that openssl and mbedtls "
                                      "deciphered.",
                                      1},
    [RSL_STAT_TLS_BYTES_ENCRYPTED] = {"tls_bytes_encrypted",
                                      "Bytes that they enciphered.", 1},
    [RSL_STAT_CONNECTIONS] = {"connections", "Stream connections open.", 0},
    [RSL_STAT_TAKEOVERS] = {"takeovers",
                            "Times the runtime thread read for a busy loop.",
                            1},
    [RSL_STAT_STOLEN_BYTES] = {"stolen_bytes", "Bytes that it read.", 1},
    [RSL_STAT_STOLEN_QUEUED] = {"stolen_queued",
                                "Of these, bytes not yet handed over.", 0},
    [RSL_STAT_SYSCALLS_RUNTIME] = {"syscalls_runtime",
                                   "The runtime thread's receives and polls.",
                                   1},
};

const rsl_stat_info *
rsl_stat_of(rsl_stat stat)
{
    return infos[stat].name == NULL ? NULL : &infos[stat];
}

const char *
rsl_stat_engine_name(rsl_stat_engine engine)
{
    static const char *const names[RSL_STAT_ENGINES + 1] = {
        [RSL_STAT_OPENSSL] = "openssl",
        [RSL_STAT_MBEDTLS] = "mbedtls",
        [RSL_STAT_PYTHON] = "python",
    };

    return names[engine];
}

rsl_stat_engine
rsl_stat_engine_of(rsl_stat stat)
{
    static const int firsts[] = {
        RSL_STAT_TLS_STARTED, RSL_STAT_TLS_FINISHED, RSL_STAT_TLS_FAILED,
        RSL_STAT_TLS_RESUMED, RSL_STAT_TLS_PENDING,
    };

    for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++) {
        int engine = (int)stat - firsts[i];

        if (engine >= 0 && engine < RSL_STAT_ENGINES) {
            return (rsl_stat_engine)engine;
        }
    }
    return RSL_STAT_ENGINES;
}

rsl_stats *
rsl_runtime_stats(rsl_runtime *rt)
{
    return &rt->stats;
}

/* A moment may lie between two parts of a sum: never below 0 for that. */
static uint64_t
stats_less(uint64_t sum, uint64_t parts)
{
    return sum > parts ? sum - parts : 0;
}

static void
stats_compute(uint64_t *values)
{
    values[RSL_STAT_WRITE_BACKLOG] = stats_less(
        values[RSL_STAT_BYTES_QUEUED] + values[RSL_STAT_BYTES_UNQUEUED],
        values[RSL_STAT_BYTES_WRITTEN] + values[RSL_STAT_BYTES_DROPPED]);
    values[RSL_STAT_SYSCALLS_POLL] =
        stats_less(values[RSL_STAT_POLLS] + values[RSL_STAT_POLLS_MORE],
                   values[RSL_STAT_POLLS_SKIPPED]);
    values[RSL_STAT_SYSCALLS_READ] =
        stats_less(values[RSL_STAT_READS] + values[RSL_STAT_READS_EMPTY],
                   values[RSL_STAT_READS_RING] + values[RSL_STAT_READS_HANDED]);
    values[RSL_STAT_SYSCALLS_WRITE] =
        stats_less(values[RSL_STAT_WRITES] + values[RSL_STAT_WRITES_EMPTY],
                   values[RSL_STAT_WRITES_RING]);
    for (int i = 0; i < RSL_STAT_ENGINES; i++) {
        values[RSL_STAT_TLS_PENDING + i] =
            stats_less(values[RSL_STAT_TLS_STARTED + i],
                       values[RSL_STAT_TLS_FINISHED + i]
                           + values[RSL_STAT_TLS_FAILED + i]);
    }
}

void
rsl_stats_take(const rsl_runtime *rt, rsl_stats_taken *out)
{
    const rsl_stats *stats = &rt->stats;
    const memory_order relaxed = memory_order_relaxed;
    int64_t since_ns;

    for (int i = 0; i < RSL_STAT_WRITTEN; i++) {
        out->values[i] = rsl_stat_get(stats, (rsl_stat)i);
    }
    out->values[RSL_STAT_CONNECTIONS] = atomic_load(&rt->conns.count);
    out->values[RSL_STAT_TAKEOVERS] = atomic_load(&rt->takeovers);
    out->values[RSL_STAT_STOLEN_BYTES] = atomic_load(&rt->stolen_bytes);
    out->values[RSL_STAT_STOLEN_QUEUED] = atomic_load(&rt->stolen_bytes_queued);
    out->values[RSL_STAT_SYSCALLS_RUNTIME] = atomic_load(&rt->syscalls_runtime);
    stats_compute(out->values);
    out->lag_count = 0;
    for (int i = 0; i < RSL_LAG_BUCKETS; i++) {
        out->lag[i] = atomic_load_explicit(&stats->lag[i], relaxed);
        out->lag_count += out->lag[i];
    }
    out->lag_sum_ns = atomic_load_explicit(&stats->lag_sum_ns, relaxed);
    out->lag_max_ns = atomic_load_explicit(&stats->lag_max_ns, relaxed);
    since_ns = atomic_load_explicit(&stats->awake_since_ns, relaxed);
    out->awake_ns = since_ns == 0 ? 0 : rsl_clock_now_ns() - since_ns;
    if (out->awake_ns < 0) { /* a turn has begun since */
        out->awake_ns = 0;
    }
}
