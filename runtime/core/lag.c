/* SPDX-License-Identifier: Apache-2.0 */
#include "core/lag.h"

#include "core/runtime_impl.h"

enum { LAG_WINDOW_MAX = 64 };

static void
lag_store(atomic_int_fast64_t *value, int64_t to)
{
    atomic_store_explicit(value, to, memory_order_relaxed);
}

static int64_t
lag_load(const atomic_int_fast64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

static void
lag_record(rsl_stats *stats, int64_t lag_ns)
{
    int bucket = 0;

    while (bucket < RSL_LAG_BUCKETS - 1 && lag_ns > rsl_lag_bounds_ns[bucket]) {
        bucket++;
    }
    rsl_count_add(&stats->lag[bucket], 1);
    lag_store(&stats->lag_sum_ns, lag_load(&stats->lag_sum_ns) + lag_ns);
    if (lag_ns > lag_load(&stats->lag_max_ns)) {
        lag_store(&stats->lag_max_ns, lag_ns);
    }
    if (bucket > 0 && lag_ns >= lag_load(&stats->slow_turn_ns)) {
        rsl_stat_add(stats, RSL_STAT_SLOW_TURNS, 1);
    }
}

void
rsl_lag_rest(rsl_runtime *rt, int64_t now_ns)
{
    rsl_stats *stats = &rt->stats;
    int64_t since_ns = lag_load(&stats->awake_since_ns);

    if (since_ns != 0) {
        lag_record(stats, now_ns - since_ns);
        lag_store(&stats->awake_since_ns, 0);
    }
}

void
rsl_lag_wake(rsl_runtime *rt, int64_t now_ns)
{
    lag_store(&rt->stats.awake_since_ns, now_ns);
    rt->lag.turns = 0;
}

void
rsl_lag_look(rsl_runtime *rt)
{
    rsl_lag *lag = &rt->lag;
    int64_t now_ns = rsl_clock_now_ns();
    int64_t spent_ns = now_ns - lag_load(&rt->stats.awake_since_ns);
    int64_t window = LAG_WINDOW_MAX;

    if (spent_ns > 0) {
        window = RSL_LAG_WINDOW_NS * (int64_t)lag->turns / spent_ns;
    }
    lag->window = window < 1                ? 1
                  : window > LAG_WINDOW_MAX ? LAG_WINDOW_MAX
                                            : (uint32_t)window;
    rsl_lag_rest(rt, now_ns);
    rsl_lag_wake(rt, now_ns);
}
