/* SPDX-License-Identifier: Apache-2.0 */
/* reactor_heap.c - timers in a binary heap, each of which knows its place. */
#include <stdlib.h>

#include "core/reactor_impl.h"

static void
heap_set(rsl_reactor *reactor, size_t place, rsl_source *source)
{
    reactor->heap[place] = source;
    source->place = (long)place;
}

static void
heap_rise(rsl_reactor *reactor, size_t place, rsl_source *source)
{
    while (place > 0) {
        rsl_source *parent = reactor->heap[(place - 1) / 2];

        if (parent->when_ns <= source->when_ns) {
            break;
        }
        heap_set(reactor, place, parent);
        place = (place - 1) / 2;
    }
    heap_set(reactor, place, source);
}

static void
heap_sink(rsl_reactor *reactor, size_t place, rsl_source *source)
{
    size_t child;

    while ((child = 2 * place + 1) < reactor->timers) {
        if (child + 1 < reactor->timers
            && reactor->heap[child + 1]->when_ns
                   < reactor->heap[child]->when_ns) {
            child++;
        }
        if (source->when_ns <= reactor->heap[child]->when_ns) {
            break;
        }
        heap_set(reactor, place, reactor->heap[child]);
        place = child;
    }
    heap_set(reactor, place, source);
}

void
rsl_reactor_heap_remove(rsl_reactor *reactor, rsl_source *source)
{
    size_t place = (size_t)source->place;
    rsl_source *last = reactor->heap[--reactor->timers];

    source->place = RSL_NO_PLACE;
    if (last != source) {
        heap_rise(reactor, place, last);
        heap_sink(reactor, (size_t)last->place, last);
    }
}

int
rsl_reactor_heap_add(rsl_reactor *reactor, rsl_source *source)
{
    if (reactor->timers == reactor->heap_cap) {
        size_t cap = reactor->heap_cap == 0 ? 16 : 2 * reactor->heap_cap;
        rsl_source **heap =
            realloc(reactor->heap, cap * sizeof(*reactor->heap));

        if (heap == NULL) {
            return -1;
        }
        reactor->heap = heap;
        reactor->heap_cap = cap;
    }
    heap_rise(reactor, reactor->timers++, source);
    return 0;
}

void
rsl_reactor_heap_sink_first(rsl_reactor *reactor, rsl_source *source)
{
    heap_sink(reactor, 0, source);
}
