/* SPDX-License-Identifier: Apache-2.0 */
/* spin.h - looking again for a moment before going to sleep.
 *
 * Role:    decides whether that is worth its time (rsl/looks.h), and does it.
 *          Nobody looks with many connections at work: what they bring during
 *          a sleep is done together, which is cheaper for both sides than one
 *          message after the other. Nor for input that got no answer: whoever
 *          sends it does not wait for this side, and what comes during a sleep
 *          is read at once.
 * Thread:  loop thread, token held; needs no GIL.
 * Memory:  a value inside rsl_runtime. */
#ifndef RSL_CORE_SPIN_H
#define RSL_CORE_SPIN_H

#include <stdbool.h>
#include <stdint.h>

#include <rsl/looks.h>

typedef struct rsl_runtime rsl_runtime;

typedef struct rsl_spin {
    rsl_looks looks;  /* [L] */
    uint64_t sources; /* [L] who was heard of lately, a bit for each */
    unsigned waits;   /* [L] since `sources` was looked at */
    bool crowded;     /* [L] there were many */
    bool heard;       /* [L] input was found since the last look or sleep */
    bool spoke;       /* [L] output was sent since then */
} rsl_spin;

/* An event of conn or datagram socket `id` was found. */
static inline void
rsl_spin_hear(rsl_spin *spin, uint64_t id)
{
    spin->sources |= UINT64_C(1) << (id % 64);
    spin->heard = true;
}

/* Something was sent, by a conn or datagram socket. */
static inline void
rsl_spin_speak(rsl_spin *spin)
{
    spin->spoke = true;
}

/* Look whether a wait of `timeout_ns` would end at once, for a moment if that
 * is worth it. *now_ns is the time before, then that afterwards. */
bool rsl_spin_finds(rsl_runtime *rt, int64_t timeout_ns, int64_t *now_ns);

#endif
