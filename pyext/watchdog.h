/* SPDX-License-Identifier: Apache-2.0 */
/* watchdog.h - notices a loop thread that is stuck, while it is.
 *
 * Role:    what a loop says of itself (its beat), and a thread's wait for a
 *          beat that stays away. _watchdog.py has that thread and reports.
 * Thread:  the loop beats; wait() runs on the watchdog's thread, without the
 *          GIL; the rest any thread.
 * Memory:  an object that the loop and the watchdog's thread share. */
#ifndef PYRSL_WATCHDOG_H
#define PYRSL_WATCHDOG_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "state.h"

typedef enum loop_activity {
    LOOP_RUNS,      /* callbacks, or what is between them */
    LOOP_WAITS,     /* for input, without the GIL */
    LOOP_WANTS_GIL, /* which another thread has */
} loop_activity;

enum { BEAT_STEP = 4 }; /* the activity is the rest */

typedef struct WatchdogObject {
    PyObject_HEAD
    int64_t bound_ns;          /* [K] */
    atomic_uint_fast64_t beat; /* [A] written by the loop thread alone */
    pthread_mutex_t lock;      /* what follows */
    pthread_cond_t changed;    /* `ending`, or another thread */
    int tid;                   /* of the loop thread; 0 while none runs it */
    int fd;                    /* gets the report at once; -1: nobody does */
    bool ending;
    uint_fast64_t reported; /* the beat of the last stall */
    atomic_bool asked;      /* [A] what ran during the stall: see below */
    PyObject *culprit;      /* under the object's critical section */
    bool has_signal;        /* under the GIL, or wait()'s alone */
} WatchdogObject;

/* The loop did something since the last beat. One writer: no read-modify-write
 * is needed, and the watchdog reads nothing else that this must order. */
static inline void
pyrsl_watchdog_beat(WatchdogObject *self, loop_activity now)
{
    if (self != NULL) {
        uint_fast64_t beat =
            atomic_load_explicit(&self->beat, memory_order_relaxed);
        beat = (beat & ~(uint_fast64_t)(BEAT_STEP - 1)) + BEAT_STEP;
        atomic_store_explicit(&self->beat, beat | now, memory_order_relaxed);
    }
}

/* The calling thread runs the loop now, or no more; `self` may be NULL. */
void pyrsl_watchdog_set_running(WatchdogObject *self, bool running);

/* wait() returns; `self` may be NULL. */
void pyrsl_watchdog_end(WatchdogObject *self);

/* `callback` has run, when the watchdog asks for what did during a stall that
 * may be over by the time at which its thread has the GIL. */
void pyrsl_watchdog_answer(WatchdogObject *self, PyObject *callback);

int pyrsl_watchdog_type(PyObject *module, module_state *st);

#endif
