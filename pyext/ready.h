/* SPDX-License-Identifier: Apache-2.0 */
/* ready.h - what the loop thread will run, in order.
 *
 * Role:    a growing ring of rsl_event: callbacks and I/O in one FIFO, so that
 *          their order is asyncio's and an exception loses nothing.
 * Thread:  loop thread.
 * Memory:  an entry owns what its kind says (event.h); CALL owns a reference
 *          to an asyncio.Handle. */
#ifndef PYRSL_READY_H
#define PYRSL_READY_H

#include <stdbool.h>
#include <stdlib.h>

#include <rsl/event.h>

#include "pycompat.h"

typedef struct pyrsl_ready {
    rsl_event *ring;
    size_t mask; /* capacity - 1; capacity is a power of two */
    size_t head; /* next to run */
    size_t count;
    size_t io_count; /* entries that are not CALL */
} pyrsl_ready;

int pyrsl_ready_init(pyrsl_ready *ready);

/* Double the ring. -1 without an exception when memory is out. */
int pyrsl_ready_grow(pyrsl_ready *ready);

static inline int
pyrsl_ready_push(pyrsl_ready *ready, rsl_event event)
{
    if (ready->count > ready->mask && pyrsl_ready_grow(ready) < 0) {
        return -1;
    }
    ready->ring[(ready->head + ready->count) & ready->mask] = event;
    ready->count++;
    if (rsl_tag_kind(event.tag) != RSL_EV_CALL) {
        ready->io_count++;
    }
    return 0;
}

/* The one that is run after `place` others. */
static inline rsl_event *
pyrsl_ready_at(const pyrsl_ready *ready, size_t place)
{
    return &ready->ring[(ready->head + place) & ready->mask];
}

/* After a burst, or sorted by deadline, Handles are spread over more memory
 * than the caches hold. Whatever the entry is, it may be prefetched. */
static inline void
pyrsl_ready_prefetch(const pyrsl_ready *ready)
{
    enum { AHEAD = 4, LINE = 64 };
    const char *object = pyrsl_ready_at(ready, AHEAD)->u.ptr;
    __builtin_prefetch(object, 1);
    __builtin_prefetch(object + LINE, 1);
}

/* Precondition: count > 0. */
static inline rsl_event
pyrsl_ready_take(pyrsl_ready *ready)
{
    rsl_event event = ready->ring[ready->head & ready->mask];
    ready->head++;
    ready->count--;
    if (rsl_tag_kind(event.tag) != RSL_EV_CALL) {
        ready->io_count--;
    }
    return event;
}

static inline rsl_event *
pyrsl_ready_newest(const pyrsl_ready *ready)
{
    return pyrsl_ready_at(ready, ready->count - 1);
}

static inline bool
pyrsl_ready_newest_is_call(const pyrsl_ready *ready)
{
    return ready->count > 0
           && rsl_tag_kind(pyrsl_ready_newest(ready)->tag) == RSL_EV_CALL;
}

/* Precondition: pyrsl_ready_newest_is_call(). */
static inline rsl_event
pyrsl_ready_take_newest(pyrsl_ready *ready)
{
    rsl_event event = *pyrsl_ready_newest(ready);
    ready->count--;
    return event;
}

#endif
