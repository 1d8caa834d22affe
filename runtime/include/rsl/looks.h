/* SPDX-License-Identifier: Apache-2.0 */
/* looks.h - whether a look for work before a sleep is worth its time.
 *
 * Role:    a sleep costs two context switches here and an interrupt of this
 *          core there, by whoever ends it. A look that finds something saves
 *          them, one in vain costs what it took. The balance of both is kept,
 *          and while it is too low nobody looks.
 * Thread:  one at a time.
 * Memory:  a value. */
#ifndef RSL_LOOKS_H
#define RSL_LOOKS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    /* What a sleep that another core ends costs the two of them: 7 us for the
     * interrupt, and two switches and a core that falls idle here. Measured on
     * a virtual machine, where it is dear. */
    RSL_LOOK_SAVES_NS = 20000,

    /* A sleep this short could perhaps have been a look. Each adds a little
     * to the balance, so that after many of them a look is tried. */
    RSL_LOOK_SHORT_SLEEP_NS = 50000,
    RSL_LOOK_TRIAL_NS = 200,

    /* So many looks are paid in advance at most: what traffic was like long
     * ago counts little. */
    RSL_LOOKS_MAX = 8,
};

typedef struct rsl_looks {
    int64_t limit_ns;   /* of one look; 0: never */
    int64_t balance_ns; /* what looks have saved, less what they cost */
} rsl_looks;

static inline bool
rsl_looks_pay(const rsl_looks *looks)
{
    return looks->limit_ns > 0 && looks->balance_ns >= looks->limit_ns;
}

static inline void
rsl_looks_earn(rsl_looks *looks, int64_t gain_ns)
{
    int64_t most_ns = looks->limit_ns * RSL_LOOKS_MAX;

    looks->balance_ns += gain_ns;
    if (looks->balance_ns > most_ns) {
        looks->balance_ns = most_ns;
    }
}

/* A look took `spent_ns`, and no sleep followed if it `found` something. */
static inline void
rsl_looks_looked(rsl_looks *looks, bool found, int64_t spent_ns)
{
    rsl_looks_earn(looks, (found ? RSL_LOOK_SAVES_NS : 0) - spent_ns);
}

/* A sleep without a look lasted so long. */
static inline void
rsl_looks_slept(rsl_looks *looks, int64_t slept_ns)
{
    if (slept_ns < RSL_LOOK_SHORT_SLEEP_NS) {
        rsl_looks_earn(looks, RSL_LOOK_TRIAL_NS);
    }
}

#endif
