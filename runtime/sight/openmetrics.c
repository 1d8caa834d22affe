/* SPDX-License-Identifier: Apache-2.0 */
/* openmetrics.c - one family of metrics after the other, as the format wants
 * it: all loops of one, then all of the next. */
#include "sight/openmetrics.h"

#include <inttypes.h>
#include <unistd.h>

#define PREFIX "rsloop_c_"

typedef struct om_writer {
    rsl_text *text;
    const rsl_registry_entry *loops;
    size_t count;
} om_writer;

static void
om_family(const om_writer *om, const char *name, const char *type,
          const char *help)
{
    rsl_text_add(om->text, "# TYPE " PREFIX "%s %s\n# HELP " PREFIX "%s %s\n",
                 name, type, name, help);
}

static void
om_infos(const om_writer *om)
{
    om_family(om, "process", "info", "The process of these loops.");
    rsl_text_add(om->text, PREFIX "process_info{pid=\"%ld\"} 1\n",
                 (long)getpid());
    om_family(om, "loop", "info", "The loops that are open.");
    for (size_t i = 0; i < om->count; i++) {
        rsl_text_add(om->text,
                     PREFIX "loop_info{loop=\"%" PRIu64
                            "\",backend=\"%s\"} 1\n",
                     om->loops[i].number, om->loops[i].backend);
    }
}

static void
om_stat(const om_writer *om, rsl_stat stat)
{
    const rsl_stat_info *info = rsl_stat_of(stat);
    rsl_stat_engine engine = rsl_stat_engine_of(stat);
    const char *name = rsl_stat_engine_name(engine);

    if (info == NULL) {
        return;
    }
    if (name == NULL || engine == RSL_STAT_OPENSSL) { /* the first */
        om_family(om, info->name, info->is_counter ? "counter" : "gauge",
                  info->help);
    }
    for (size_t i = 0; i < om->count; i++) {
        rsl_text_add(om->text, PREFIX "%s%s{loop=\"%" PRIu64 "\"", info->name,
                     info->is_counter ? "_total" : "", om->loops[i].number);
        if (name != NULL) {
            rsl_text_add(om->text, ",engine=\"%s\"", name);
        }
        rsl_text_add(om->text, "} %" PRIu64 "\n",
                     om->loops[i].taken.values[stat]);
    }
}

/* Nanoseconds as seconds, in digits only: no locale has its say. */
static void
om_seconds(const om_writer *om, const char *name,
           const rsl_registry_entry *loop, int64_t ns)
{
    rsl_text_add(om->text,
                 PREFIX "%s{loop=\"%" PRIu64 "\"} %" PRId64 ".%09" PRId64 "\n",
                 name, loop->number, ns / 1000000000, ns % 1000000000);
}

/* `le` as a number that is written one way only. */
static void
om_bound(const om_writer *om, int bucket)
{
    int64_t us;
    char digits[8];
    int len = 6;

    if (bucket == RSL_LAG_BUCKETS - 1) {
        rsl_text_add(om->text, "+Inf");
        return;
    }
    us = rsl_lag_bounds_ns[bucket] / 1000;
    for (int i = 5, rest = (int)(us % 1000000); i >= 0; i--, rest /= 10) {
        digits[i] = (char)('0' + rest % 10);
    }
    while (len > 1 && digits[len - 1] == '0') {
        len--;
    }
    rsl_text_add(om->text, "%" PRId64 ".%.*s", us / 1000000, len, digits);
}

static void
om_histogram(const om_writer *om)
{
    om_family(om, "turn_seconds", "histogram",
              "How long turns took: nothing else was looked at meanwhile.");
    for (size_t i = 0; i < om->count; i++) {
        const rsl_registry_entry *loop = &om->loops[i];
        uint64_t sum = 0;

        for (int k = 0; k < RSL_LAG_BUCKETS; k++) {
            sum += loop->taken.lag[k];
            rsl_text_add(om->text,
                         PREFIX "turn_seconds_bucket{loop=\"%" PRIu64
                                "\",le=\"",
                         loop->number);
            om_bound(om, k);
            rsl_text_add(om->text, "\"} %" PRIu64 "\n", sum);
        }
        rsl_text_add(om->text,
                     PREFIX "turn_seconds_count{loop=\"%" PRIu64 "\"} %" PRIu64
                            "\n",
                     loop->number, sum);
        om_seconds(om, "turn_seconds_sum", loop, loop->taken.lag_sum_ns);
    }
}

static void
om_turns(const om_writer *om)
{
    om_histogram(om);
    om_family(om, "turn_max_seconds", "gauge", "The longest turn so far.");
    for (size_t i = 0; i < om->count; i++) {
        om_seconds(om, "turn_max_seconds", &om->loops[i],
                   om->loops[i].taken.lag_max_ns);
    }
    om_family(om, "turn_now_seconds", "gauge",
              "How long this turn has lasted, 0 for a loop that sleeps.");
    for (size_t i = 0; i < om->count; i++) {
        om_seconds(om, "turn_now_seconds", &om->loops[i],
                   om->loops[i].taken.awake_ns);
    }
}

void
rsl_openmetrics_write(rsl_text *text, const rsl_registry_entry *loops,
                      size_t count)
{
    const om_writer om = {.text = text, .loops = loops, .count = count};

    om_infos(&om);
    for (int i = 0; i < RSL_STAT_COUNT; i++) {
        om_stat(&om, (rsl_stat)i);
    }
    om_turns(&om);
    rsl_text_add(text, "# EOF\n");
}
