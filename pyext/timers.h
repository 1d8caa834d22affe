/* SPDX-License-Identifier: Apache-2.0 */
/* timers.h - pending TimerHandles by deadline.
 *
 * Role:    a 4-ary heap that knows each handle's place, so that cancel removes
 *          and frees at once: O(log n) for everything.
 * Thread:  loop thread.
 * Memory:  an entry owns a reference to its TimerHandle. */
#ifndef PYRSL_TIMERS_H
#define PYRSL_TIMERS_H

#include <stdint.h>

#include "pycompat.h"

struct TimerHandleObject;

typedef struct pyrsl_timer {
    double when;  /* seconds, CLOCK_MONOTONIC */
    uint64_t seq; /* equal deadlines fire in the order they were made */
    struct TimerHandleObject *handle;
} pyrsl_timer;

typedef struct pyrsl_timers {
    pyrsl_timer *heap;
    size_t count, cap;
    uint64_t next_seq;
} pyrsl_timers;

/* Takes a new reference. -1 with MemoryError. */
int pyrsl_timers_add(pyrsl_timers *timers, struct TimerHandleObject *handle,
                     double when);

/* Precondition: the handle is in the heap. Gives back its reference. */
void
pyrsl_timers_remove(pyrsl_timers *timers, struct TimerHandleObject *handle);

/* The next handle with when < `limit`, removed and owned by the caller, or
 * NULL. */
struct TimerHandleObject *
pyrsl_timers_take_due(pyrsl_timers *timers, double limit);

void pyrsl_timers_clear(pyrsl_timers *timers);
int pyrsl_timers_traverse(pyrsl_timers *timers, visitproc visit, void *arg);

#endif
