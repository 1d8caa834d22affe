/* SPDX-License-Identifier: Apache-2.0 */
/* background.c - two things that the kernel is told.
 *
 * A long slice: Linux since 6.6 lets a thread run to the end of its slice, 1 to
 * 3 ms, unless one with a shorter slice wakes; since 6.12 a thread may choose
 * its own. And niceness: who wakes may have the core only if it has not had
 * more than its due, and a loop's thread is due more. Neither suffices alone.
 * With SCHED_IDLE, or much niceness, steps would starve beside a loop that is
 * never idle; with SCHED_BATCH they would wait for the end of its slices. */
#include "core/background.h"

#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Longer than a loop thread's; but who asks for much at once waits long. */
#define SLICE_NS (UINT64_C(5) * 1000000)

/* 335 parts of a core beside 1024 of a thread with none. */
enum { NICENESS = 5, NICENESS_MAX = 19 };

/* The kernel's struct sched_attr, as it was first; newer libcs have it too. */
typedef struct background_attr {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns; /* of threads without deadlines: the slice */
    uint64_t deadline_ns;
    uint64_t period_ns;
} background_attr;

void
rsl_background_enter(void)
{
    background_attr attr = {.size = sizeof(attr)};
    if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0) != 0
        || (attr.policy != SCHED_OTHER && attr.policy != SCHED_BATCH)) {
        return;
    }
    attr.nice += NICENESS;
    if (attr.nice > NICENESS_MAX) {
        attr.nice = NICENESS_MAX;
    }
    if (attr.runtime_ns < SLICE_NS) {
        attr.runtime_ns = SLICE_NS;
    }
    /* Fails in some sandboxes: then things are as they were. */
    (void)syscall(SYS_sched_setattr, 0, &attr, 0);
}
