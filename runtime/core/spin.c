/* SPDX-License-Identifier: Apache-2.0 */
#include "core/spin.h"

#include "core/runtime_impl.h"

enum {
    /* So many waits show how many connections are at work; more than so many
     * are a crowd. */
    SPIN_CENSUS_WAITS = 16,
    SPIN_SOURCES_MAX = 8,
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
rsl_spin_finds(rsl_runtime *rt, int64_t timeout_ns, int64_t *now_ns)
{
    rsl_spin *spin = &rt->spin;
    bool only_listens = spin_only_listens(spin), found;
    int64_t limit_ns = spin->looks.limit_ns, start_ns = *now_ns, spent_ns;

    spin_take_census(spin);
    if (!rsl_looks_pay(&spin->looks) || spin->crowded || only_listens) {
        return false;
    }
    if (spin_look(rt)) {
        return true; /* no sleep was saved */
    }
    if (timeout_ns > 0 && timeout_ns < limit_ns) {
        limit_ns = timeout_ns;
    }
    do {
        spin_relax();
        found = spin_look(rt);
        *now_ns = rsl_clock_now_ns();
        spent_ns = *now_ns - start_ns;
    } while (!found && spent_ns < limit_ns);
    rsl_looks_looked(&spin->looks, found, spent_ns);
    return found;
}
