/* SPDX-License-Identifier: Apache-2.0 */
#include "timers.h"

#include <stdbool.h>
#include <stdlib.h>

#include "handle.h"

enum { TIMER_ARITY = 4, TIMER_CAPACITY_MIN = 64 };

static bool
timer_before(const pyrsl_timer *a, const pyrsl_timer *b)
{
    return a->when < b->when || (a->when == b->when && a->seq < b->seq);
}

static void
timer_put(pyrsl_timers *timers, size_t place, pyrsl_timer timer)
{
    timers->heap[place] = timer;
    timer.handle->place = place;
}

/* Move `timer` from the hole at `place` towards the root. */
static void
timer_rise(pyrsl_timers *timers, size_t place, pyrsl_timer timer)
{
    while (place > 0) {
        size_t parent = (place - 1) / TIMER_ARITY;
        if (!timer_before(&timer, &timers->heap[parent])) {
            break;
        }
        timer_put(timers, place, timers->heap[parent]);
        place = parent;
    }
    timer_put(timers, place, timer);
}

static size_t
timer_least_child(const pyrsl_timers *timers, size_t place)
{
    size_t first = place * TIMER_ARITY + 1;
    size_t least = first;
    for (size_t child = first + 1;
         child < first + TIMER_ARITY && child < timers->count; child++) {
        if (timer_before(&timers->heap[child], &timers->heap[least])) {
            least = child;
        }
    }
    return least;
}

/* Move `timer` from the hole at `place` towards the leaves. */
static void
timer_sink(pyrsl_timers *timers, size_t place, pyrsl_timer timer)
{
    for (;;) {
        size_t child = timer_least_child(timers, place);
        if (child >= timers->count
            || !timer_before(&timers->heap[child], &timer)) {
            break;
        }
        timer_put(timers, place, timers->heap[child]);
        place = child;
    }
    timer_put(timers, place, timer);
}

static int
timers_reserve(pyrsl_timers *timers)
{
    if (timers->count < timers->cap) {
        return 0;
    }
    size_t cap = timers->cap == 0 ? TIMER_CAPACITY_MIN : 2 * timers->cap;
    pyrsl_timer *heap = realloc(timers->heap, cap * sizeof(*heap));
    if (heap == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    timers->heap = heap;
    timers->cap = cap;
    return 0;
}

/* Give storage back after a burst, so that a quiet loop is small again. */
static void
timers_shrink(pyrsl_timers *timers)
{
    if (timers->cap <= TIMER_CAPACITY_MIN || timers->count > timers->cap / 8) {
        return;
    }
    size_t cap = timers->cap / 2;
    pyrsl_timer *heap = realloc(timers->heap, cap * sizeof(*heap));
    if (heap != NULL) {
        timers->heap = heap;
        timers->cap = cap;
    }
}

int
pyrsl_timers_add(pyrsl_timers *timers, struct TimerHandleObject *handle,
                 double when)
{
    if (timers_reserve(timers) < 0) {
        return -1;
    }
    Py_INCREF(handle);
    pyrsl_timer timer = {when, timers->next_seq++, handle};
    timer_rise(timers, timers->count++, timer);
    return 0;
}

/* Close the hole at `place` with the last entry. */
static void
timers_fill(pyrsl_timers *timers, size_t place)
{
    pyrsl_timer last = timers->heap[--timers->count];
    if (place == timers->count) {
        return;
    }
    if (place > 0
        && timer_before(&last, &timers->heap[(place - 1) / TIMER_ARITY])) {
        timer_rise(timers, place, last);
    } else {
        timer_sink(timers, place, last);
    }
}

void
pyrsl_timers_remove(pyrsl_timers *timers, struct TimerHandleObject *handle)
{
    size_t place = handle->place;
    handle->place = TIMER_NOT_QUEUED;
    timers_fill(timers, place);
    timers_shrink(timers);
    Py_DECREF(handle);
}

struct TimerHandleObject *
pyrsl_timers_take_due(pyrsl_timers *timers, double limit)
{
    if (timers->count == 0 || !(timers->heap[0].when < limit)) {
        return NULL;
    }
    struct TimerHandleObject *handle = timers->heap[0].handle;
    handle->place = TIMER_NOT_QUEUED;
    timers_fill(timers, 0);
    timers_shrink(timers);
    return handle;
}

void
pyrsl_timers_clear(pyrsl_timers *timers)
{
    pyrsl_timer *heap = timers->heap;
    size_t count = timers->count;
    timers->heap = NULL;
    timers->count = timers->cap = 0;
    for (size_t i = 0; i < count; i++) {
        heap[i].handle->place = TIMER_NOT_QUEUED;
    }
    for (size_t i = 0; i < count; i++) {
        Py_DECREF(heap[i].handle);
    }
    free(heap);
}

int
pyrsl_timers_traverse(pyrsl_timers *timers, visitproc visit, void *arg)
{
    for (size_t i = 0; i < timers->count; i++) {
        Py_VISIT(timers->heap[i].handle);
    }
    return 0;
}
