/* SPDX-License-Identifier: Apache-2.0 */
#include "core/spin.h"

#include "core/runtime_impl.h"

enum {
    /* What a sleep that another core ends costs the two of them: 7 us for the
     * interrupt, and two switches and a core that falls idle here. Measured on
     * a virtual machine, where it is dear. */
    SPIN_SAVES_NS = 20000,

    /* A sleep this short could perhaps have been a look. Each adds a little
     * to the balance, so that after many of them a look is tried. */
    SPIN_SHORT_SLEEP_NS = 50000,
    SPIN_TRIAL_NS = 200,

    /* So many waits show how many connections are at work; more than so many
     * are a crowd. */
    SPIN_CENSUS_WAITS = 16,
    SPIN_SOURCES_MAX = 8,

    /* The balance ends here: what traffic was like long ago counts little. */
    SPIN_LOOKS_MAX = 8,
};

static inline void
spin_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void
spin_earn(rsl_spin *spin, int64_t gain_ns)
{
    int64_t most_ns = spin->limit_ns * SPIN_LOOKS_MAX;

    spin->balance_ns += gain_ns;
    if (spin->balance_ns > most_ns) {
        spin->balance_ns = most_ns;
    }
}

static bool
spin_look(rsl_runtime *rt)
{
    return !rsl_mailbox_is_empty(&rt->mailbox) || atomic_load(&rt->woken)
           || rt->backend->ops->peek(rt->backend);
}

static void
spin_take_census(rsl_spin *spin)
{
    if (++spin->waits == SPIN_CENSUS_WAITS) {
        spin->crowded = __builtin_popcountll(spin->sources) > SPIN_SOURCES_MAX;
        spin->sources = 0;
        spin->waits = 0;
    }
}

/* Whether there was input, and no answer. */
static bool
spin_only_listens(rsl_spin *spin)
{
    bool only_listens = spin->heard && !spin->spoke;

    spin->heard = false;
    spin->spoke = false;
    return only_listens;
}

bool
rsl_spin_finds(rsl_runtime *rt, int64_t timeout_ns)
{
    rsl_spin *spin = &rt->spin;
    bool only_listens = spin_only_listens(spin), found;
    int64_t limit_ns = spin->limit_ns, start_ns, spent_ns;

    spin_take_census(spin);
    if (limit_ns == 0 || spin->balance_ns < limit_ns || spin->crowded
        || only_listens) {
        return false;
    }
    if (spin_look(rt)) {
        return true; /* no sleep was saved */
    }
    if (timeout_ns > 0 && timeout_ns < limit_ns) {
        limit_ns = timeout_ns;
    }
    start_ns = rsl_clock_now_ns();
    do {
        spin_relax();
        found = spin_look(rt);
        spent_ns = rsl_clock_now_ns() - start_ns;
    } while (!found && spent_ns < limit_ns);
    spin_earn(spin, (found ? SPIN_SAVES_NS : 0) - spent_ns);
    return found;
}

void
rsl_spin_sleeps(rsl_spin *spin)
{
    if (spin->limit_ns != 0) {
        spin->slept_ns = rsl_clock_now_ns();
    }
}

void
rsl_spin_woke(rsl_spin *spin)
{
    if (spin->limit_ns != 0
        && rsl_clock_now_ns() - spin->slept_ns < SPIN_SHORT_SLEEP_NS) {
        spin_earn(spin, SPIN_TRIAL_NS);
    }
}
