/* SPDX-License-Identifier: Apache-2.0 */
#include "timers.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "handle.h"

enum {
    TIMER_ARITY = 4,
    TIMER_CAPACITY_MIN = 64,
    TIMERS_SORTED_MIN = 32,    /* so many new ones are worth a sort */
    TIMERS_CANCELLED_MIN = 64, /* and so many, if half of all, a purge */
    TIMERS_FRESH_KEPT = 4096,
    TIMERS_AHEAD = 8, /* are prefetched */
};

static bool
timer_before(const pyrsl_timer *a, const pyrsl_timer *b)
{
    return a->when < b->when || (a->when == b->when && a->seq < b->seq);
}

static bool
timer_is_cancelled(const pyrsl_timer *timer)
{
    return timer->handle->handle.cancelled == Py_True;
}

/* --- The heap --- */

/* Move `timer` from the hole at `place` towards the root. */
static void
heap_rise(pyrsl_timers *timers, size_t place, pyrsl_timer timer)
{
    while (place > 0) {
        size_t parent = (place - 1) / TIMER_ARITY;
        if (!timer_before(&timer, &timers->heap[parent])) {
            break;
        }
        timers->heap[place] = timers->heap[parent];
        place = parent;
    }
    timers->heap[place] = timer;
}

static size_t
heap_least_child(const pyrsl_timers *timers, size_t place)
{
    size_t first = place * TIMER_ARITY + 1;
    size_t least = first;
    for (size_t child = first + 1;
         child < first + TIMER_ARITY && child < timers->heap_count; child++) {
        if (timer_before(&timers->heap[child], &timers->heap[least])) {
            least = child;
        }
    }
    return least;
}

/* Move `timer` from the hole at `place` towards the leaves. */
static void
heap_sink(pyrsl_timers *timers, size_t place, pyrsl_timer timer)
{
    for (;;) {
        size_t child = heap_least_child(timers, place);
        if (child >= timers->heap_count
            || !timer_before(&timers->heap[child], &timer)) {
            break;
        }
        timers->heap[place] = timers->heap[child];
        place = child;
    }
    timers->heap[place] = timer;
}

/* Give storage back after a burst, so that a quiet loop is small again. */
static void
heap_shrink(pyrsl_timers *timers)
{
    size_t needed = timers->heap_count + timers->fresh_count;
    if (timers->heap_cap <= TIMER_CAPACITY_MIN
        || needed > timers->heap_cap / 8) {
        return;
    }
    size_t cap = timers->heap_cap / 2;
    pyrsl_timer *heap = realloc(timers->heap, cap * sizeof(*heap));
    if (heap != NULL) {
        timers->heap = heap;
        timers->heap_cap = cap;
    }
}

static void
heap_drop_first(pyrsl_timers *timers)
{
    pyrsl_timer last = timers->heap[--timers->heap_count];
    if (timers->heap_count > 0) {
        heap_sink(timers, 0, last);
    }
    heap_shrink(timers);
}

/* --- Sorting what is due --- */

/* The end of the ascending run that begins at `start`. */
static size_t
run_end(const pyrsl_timer *timers, size_t start, size_t count)
{
    size_t end = start + 1;
    while (end < count && !(timers[end].when < timers[end - 1].when)) {
        end++;
    }
    return end;
}

/* Two neighbouring runs, the second from `middle` on, into `out`. */
static void
run_merge(const pyrsl_timer *timers, size_t middle, size_t count,
          pyrsl_timer *out)
{
    size_t left = 0, right = middle;
    while (left < middle && right < count) {
        bool first = !(timers[right].when < timers[left].when);
        *out++ = timers[first ? left : right];
        left += first;
        right += !first;
    }
    memcpy(out, timers + left, (middle - left) * sizeof(*out));
    memcpy(out + (middle - left), timers + right,
           (count - right) * sizeof(*out));
}

/* Merge neighbouring runs until one is left, here or in `spare`: timers of one
 * length come sorted, and those of a few are long runs. Stable, so that the
 * order of calls decides between equal deadlines. */
static pyrsl_timer *
timers_sort(pyrsl_timer *timers, pyrsl_timer *spare, size_t count)
{
    while (count > 0 && run_end(timers, 0, count) < count) {
        for (size_t start = 0; start < count;) {
            size_t middle = run_end(timers, start, count);
            size_t end =
                middle < count ? run_end(timers, middle, count) : count;
            run_merge(timers + start, middle - start, end - start,
                      spare + start);
            start = end;
        }
        pyrsl_timer *sorted = spare;
        spare = timers;
        timers = sorted;
    }
    return timers;
}

/* --- All together --- */

/* The heap has room for all, so that nothing fails later. */
static int
timers_reserve(pyrsl_timer **store, size_t *cap, size_t needed)
{
    if (needed <= *cap) {
        return 0;
    }
    size_t larger = *cap == 0 ? TIMER_CAPACITY_MIN : 2 * *cap;
    pyrsl_timer *grown = realloc(*store, larger * sizeof(*grown));
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *store = grown;
    *cap = larger;
    return 0;
}

int
pyrsl_timers_add(pyrsl_timers *timers, struct TimerHandleObject *handle,
                 double when)
{
    if (timers_reserve(&timers->heap, &timers->heap_cap,
                       timers->heap_count + timers->fresh_count + 1)
            < 0
        || timers_reserve(&timers->fresh, &timers->fresh_cap,
                          timers->fresh_count + 1)
               < 0) {
        return -1;
    }
    Py_INCREF(handle);
    timers->fresh[timers->fresh_count++] =
        (pyrsl_timer){when, timers->next_seq++, handle};
    return 0;
}

static void
timers_count_out(pyrsl_timers *timers)
{
    if (timers->cancelled > 0) { /* a stranger's cancel() may be missing */
        timers->cancelled--;
    }
}

void
pyrsl_timers_cancelled(pyrsl_timers *timers, struct TimerHandleObject *handle)
{
    size_t last = timers->fresh_count - 1;
    if (timers->fresh_count > 0 && timers->fresh[last].handle == handle) {
        timers->fresh_count--;
        Py_XSETREF(handle->scheduled, Py_NewRef(Py_False));
        pyrsl_handle_leaves((PyObject *)handle);
    } else {
        timers->cancelled++;
    }
}

/* Finalizers may run, and find the timers in order. */
static void
timers_drop(pyrsl_timer *dropped, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        TimerHandleObject *handle = dropped[i].handle;
        Py_XSETREF(handle->scheduled, Py_NewRef(Py_False));
        pyrsl_handle_leaves((PyObject *)handle);
    }
}

/* Most timers of a busy turn are cancelled or due in it: these never enter the
 * heap. */
static void
timers_place_fresh(pyrsl_timers *timers, double limit)
{
    pyrsl_timer *fresh = timers->fresh;
    size_t count = timers->fresh_count, cap = timers->fresh_cap;
    size_t dropped = 0, due_count = 0;
    pyrsl_timer *due = NULL;
    if (count >= TIMERS_SORTED_MIN && timers->due_count == 0) {
        due = malloc(2 * count * sizeof(*due)); /* else the heap does it */
    }
    timers->fresh = NULL;
    timers->fresh_count = timers->fresh_cap = 0;
    for (size_t i = 0; i < count; i++) {
        __builtin_prefetch(
            &fresh[i + 8 < count ? i + 8 : i].handle->handle.cancelled);
        pyrsl_timer timer = fresh[i];
        if (timer_is_cancelled(&timer)) {
            fresh[dropped++] = timer;
            timers_count_out(timers);
        } else if (due != NULL && timer.when < limit) {
            due[due_count++] = timer;
        } else {
            heap_rise(timers, timers->heap_count++, timer);
        }
    }
    if (due_count > 0) {
        timers->due_store = due;
        timers->due = timers_sort(due, due + count, due_count);
        timers->due_count = due_count;
    } else {
        free(due);
    }
    timers_drop(fresh, dropped);
    if (timers->fresh == NULL && cap <= TIMERS_FRESH_KEPT) {
        timers->fresh = fresh;
        timers->fresh_cap = cap;
    } else {
        free(fresh);
    }
}

/* Take what is cancelled out of the heap; without memory it stays. */
static void
timers_purge(pyrsl_timers *timers)
{
    pyrsl_timer *dropped = malloc(timers->heap_count * sizeof(*dropped));
    if (dropped == NULL) {
        return;
    }
    size_t count = timers->heap_count, out = 0;
    timers->heap_count = 0;
    for (size_t i = 0; i < count; i++) {
        pyrsl_timer timer = timers->heap[i];
        if (timer_is_cancelled(&timer)) {
            dropped[out++] = timer;
        } else {
            heap_rise(timers, timers->heap_count++, timer);
        }
    }
    timers->cancelled = 0;
    heap_shrink(timers);
    timers_drop(dropped, out);
    free(dropped);
}

/* NULL when there is none. */
static const pyrsl_timer *
timers_first(const pyrsl_timers *timers)
{
    if (timers->due_count == 0) {
        return timers->heap_count > 0 ? &timers->heap[0] : NULL;
    }
    return timers->heap_count > 0 && timer_before(&timers->heap[0], timers->due)
               ? &timers->heap[0]
               : timers->due;
}

/* Precondition: there is one. The caller owns it. */
static TimerHandleObject *
timers_take_first(pyrsl_timers *timers)
{
    const pyrsl_timer *first = timers_first(timers);
    TimerHandleObject *handle = first->handle;
    if (timer_is_cancelled(first)) {
        timers_count_out(timers);
    }
    if (timers->due_count > 0 && first == timers->due) {
        __builtin_prefetch(
            &timers->due[TIMERS_AHEAD < timers->due_count ? TIMERS_AHEAD : 0]
                 .handle->handle.cancelled,
            1);
        timers->due++;
        if (--timers->due_count == 0) {
            free(timers->due_store);
            timers->due_store = NULL;
        }
    } else {
        heap_drop_first(timers);
    }
    Py_XSETREF(handle->scheduled, Py_NewRef(Py_False));
    return handle;
}

void
pyrsl_timers_settle(pyrsl_timers *timers, double limit)
{
    if (timers->fresh_count > 0) {
        timers_place_fresh(timers, limit);
    }
    if (timers->cancelled >= TIMERS_CANCELLED_MIN
        && timers->cancelled > timers->heap_count / 2) {
        timers_purge(timers);
    }
    const pyrsl_timer *first;
    while ((first = timers_first(timers)) != NULL
           && timer_is_cancelled(first)) {
        pyrsl_handle_leaves((PyObject *)timers_take_first(timers));
    }
}

double
pyrsl_timers_when(const pyrsl_timers *timers)
{
    if (timers->fresh_count > 0) {
        return -INFINITY;
    }
    const pyrsl_timer *first = timers_first(timers);
    return first == NULL ? INFINITY : first->when;
}

struct TimerHandleObject *
pyrsl_timers_take_due(pyrsl_timers *timers, double limit)
{
    const pyrsl_timer *first = timers_first(timers);
    return first != NULL && first->when < limit ? timers_take_first(timers)
                                                : NULL;
}

void
pyrsl_timers_clear(pyrsl_timers *timers)
{
    pyrsl_timers old = *timers;
    *timers = (pyrsl_timers){.next_seq = old.next_seq,
                             .session_seq = old.session_seq};
    timers_drop(old.heap, old.heap_count);
    timers_drop(old.fresh, old.fresh_count);
    timers_drop(old.due, old.due_count);
    free(old.heap);
    free(old.fresh);
    free(old.due_store);
}

static int
timers_visit(const pyrsl_timer *some, size_t count, visitproc visit, void *arg)
{
    int status = 0;
    for (size_t i = 0; status == 0 && i < count; i++) {
        status = pyrsl_handle_traverse_pending((PyObject *)some[i].handle,
                                               visit, arg);
    }
    return status;
}

int
pyrsl_timers_traverse(pyrsl_timers *timers, visitproc visit, void *arg)
{
    int status = timers_visit(timers->heap, timers->heap_count, visit, arg);
    if (status == 0) {
        status = timers_visit(timers->fresh, timers->fresh_count, visit, arg);
    }
    return status != 0
               ? status
               : timers_visit(timers->due, timers->due_count, visit, arg);
}

static void
timers_join(const pyrsl_timers *timers, const pyrsl_timer *some, size_t count,
            LoopObject *loop)
{
    for (size_t i = 0; i < count; i++) {
        if (some[i].seq >= timers->session_seq) {
            pyrsl_handle_joins(loop, (PyObject *)some[i].handle);
        }
    }
}

void
pyrsl_timers_end_session(pyrsl_timers *timers, LoopObject *loop)
{
    if (timers->next_seq != timers->session_seq) {
        timers_join(timers, timers->heap, timers->heap_count, loop);
        timers_join(timers, timers->fresh, timers->fresh_count, loop);
        timers_join(timers, timers->due, timers->due_count, loop);
        timers->session_seq = timers->next_seq;
    }
}
