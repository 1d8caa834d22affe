/* SPDX-License-Identifier: Apache-2.0 */
/* timers.h - pending TimerHandles by deadline.
 *
 * Role:    new timers wait in the order of calls; once a turn they are placed:
 *          those that were cancelled meanwhile are dropped, those that are due
 *          are sorted together, the others enter a 4-ary heap. A cancelled one
 *          in the heap gives up its callback at once, and leaves when it is
 *          first, or when half of the heap is cancelled, as with asyncio.
 * Thread:  loop thread; add and cancelled under the GIL, or else the loop's
 *          critical section, from strangers too.
 * Memory:  an entry owns a reference to its TimerHandle. */
#ifndef PYRSL_TIMERS_H
#define PYRSL_TIMERS_H

#include <stdint.h>

#include "pycompat.h"

struct LoopObject;
struct TimerHandleObject;

typedef struct pyrsl_timer {
    double when;  /* seconds, CLOCK_MONOTONIC */
    uint64_t seq; /* equal deadlines fire in the order they were made */
    struct TimerHandleObject *handle;
} pyrsl_timer;

typedef struct pyrsl_timers {
    pyrsl_timer *fresh; /* not yet placed, by `seq` */
    size_t fresh_count, fresh_cap;
    pyrsl_timer *heap; /* has room for the fresh ones */
    size_t heap_count, heap_cap;
    pyrsl_timer *due, *due_store; /* sorted; in its allocation, or NULL */
    size_t due_count;
    size_t cancelled; /* entries, about */
    uint64_t next_seq;
    uint64_t session_seq; /* those before were here when the last run ended */
} pyrsl_timers;

/* Cancelled ones that are still here included. */
static inline size_t
pyrsl_timers_count(const pyrsl_timers *timers)
{
    return timers->fresh_count + timers->heap_count + timers->due_count;
}

/* Takes a new reference. -1 with MemoryError. */
int pyrsl_timers_add(pyrsl_timers *timers, struct TimerHandleObject *handle,
                     double when);

/* `handle`, whose `scheduled` is true and to which the caller has a reference,
 * was cancelled. */
void
pyrsl_timers_cancelled(pyrsl_timers *timers, struct TimerHandleObject *handle);

/* Place new ones, those with when < `limit` among the due, and drop cancelled
 * ones. Finalizers may run. */
void pyrsl_timers_settle(pyrsl_timers *timers, double limit);

/* The first deadline: INFINITY for none, -INFINITY if there are new ones. */
double pyrsl_timers_when(const pyrsl_timers *timers);

/* The next placed handle with when < `limit`, no longer scheduled and owned by
 * the caller, maybe cancelled; or NULL. */
struct TimerHandleObject *
pyrsl_timers_take_due(pyrsl_timers *timers, double limit);

void pyrsl_timers_clear(pyrsl_timers *timers);
int pyrsl_timers_traverse(pyrsl_timers *timers, visitproc visit, void *arg);

/* pyrsl_handles_end_session() for the timers of `loop`. */
void pyrsl_timers_end_session(pyrsl_timers *timers, struct LoopObject *loop);

#endif
