/* SPDX-License-Identifier: Apache-2.0 */
/* reactor_impl.h - the inside of a reactor, and its heap of timers.
 *
 * Role:    shared by reactor.c and reactor_heap.c.
 * Thread:  any, with the reactor's lock.
 * Memory:  the heap borrows its sources. */
#ifndef RSL_CORE_REACTOR_IMPL_H
#define RSL_CORE_REACTOR_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include <rsl/reactor.h>
#include <rsl/rwatch.h>

#include "base/list.h"

enum { RSL_NO_PLACE = -1 };

struct rsl_source {
    rsl_list link;          /* lock; in `live`, `tasks` or `ending` */
    rsl_source_calls calls; /* [K] */
    int fd;                 /* [K] -1: a timer or a task */
    int64_t period_ns;      /* [K] of a timer; 0: it fires once */
    int64_t when_ns;        /* lock; of a timer */
    long place;             /* lock; in the heap of timers, or RSL_NO_PLACE */
    atomic_bool closed;     /* [A] no event begins any more */
    atomic_uint refs;       /* [A] the reactor's and the maker's */
};

struct rsl_reactor {
    rsl_rwatch watch; /* [K] of the epoll set that has everything else */
    int wake_fd;      /* [K] eventfd: a task, or a source to end */
    int timer_fd;     /* [K] set for the earliest timer */

    pthread_mutex_t lock; /* guards what follows */
    rsl_list live;        /* watches and timers */
    rsl_list tasks;       /* in the order of posting */
    rsl_list ending;      /* over as soon as the runtime thread comes by */
    rsl_source **heap;    /* of timers, the earliest first */
    size_t timers, heap_cap;
};

/* -1 when memory is out. */
int rsl_reactor_heap_add(rsl_reactor *reactor, rsl_source *source);

/* `source` is in the heap. */
void rsl_reactor_heap_remove(rsl_reactor *reactor, rsl_source *source);

/* The earliest timer, `source`, has become a later one. */
void rsl_reactor_heap_sink_first(rsl_reactor *reactor, rsl_source *source);

#endif
