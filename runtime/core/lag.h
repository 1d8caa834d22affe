/* SPDX-License-Identifier: Apache-2.0 */
/* lag.h - how long a loop went without looking for what waits.
 *
 * Role:    the histogram of stats.h. A loop that sleeps reads the clock around
 *          each sleep anyway. One that does not would pay for it: its turns
 *          are measured together until they are long enough, so that what is
 *          told as one is at most about RSL_LAG_WINDOW_NS too long.
 * Thread:  loop thread.
 * Memory:  a value inside rsl_runtime. */
#ifndef RSL_CORE_LAG_H
#define RSL_CORE_LAG_H

#include <stdint.h>

#include <rsl/stats.h>

#define RSL_LAG_WINDOW_NS 10000

typedef struct rsl_lag {
    uint32_t turns;  /* since the clock was read */
    uint32_t window; /* how many there may be before it is read again */
} rsl_lag;

/* Read the clock between two turns. */
void rsl_lag_look(rsl_runtime *rt);

/* The turn ends at `now_ns`, and the thread may sleep; it is up again. */
void rsl_lag_rest(rsl_runtime *rt, int64_t now_ns);
void rsl_lag_wake(rsl_runtime *rt, int64_t now_ns);

#endif
