/* SPDX-License-Identifier: Apache-2.0 */
/* fast_call.h - what a coroutine method written in C returns.
 *
 * Role:    a collections.abc.Coroutine: await, create_task(), wait_for() and
 *          the rest take it for one. Nothing happens before it is started.
 * Thread:  the one that runs it.
 * Memory:  a GC object that holds its owner. */
#ifndef PYRSL_FAST_CALL_H
#define PYRSL_FAST_CALL_H

#include "state.h"

typedef struct FastCall FastCall;

/* What a step came to. */
typedef enum fast_step {
    FAST_FAILED = -1, /* with an exception */
    FAST_RETURN,      /* with *result */
    FAST_AWAIT,       /* pyrsl_fast_call_await() has been called; then go on */
} fast_step;

typedef struct fast_call_kind {
    const char *name; /* of the method, for messages */
    const char *qualname;
    fast_step (*step)(FastCall *self, PyObject **result);
    /* What it awaited has ended, or will never: undo what was done for the
     * wait. May be NULL. */
    void (*waited)(FastCall *self);
    /* It fails after it had been started, with the exception that is set. May
     * be NULL. */
    void (*failed)(FastCall *self);
} fast_call_kind;

typedef enum fast_call_state {
    FAST_CALL_NEW,
    FAST_CALL_SUSPENDED,
    FAST_CALL_RUNNING,
    FAST_CALL_DONE,
} fast_call_state;

struct FastCall {
    PyObject_HEAD
    const fast_call_kind *kind;
    PyObject *owner;    /* whose method it is */
    PyObject *argument; /* or NULL */
    PyObject *waiting;  /* what it awaits, or NULL */
    PyObject *inner;    /* the iterator of that */
    Py_ssize_t count;   /* an argument */
    size_t offset;      /* how far a search has come */
    int stage;          /* how far the step has come, 0 at first */
    fast_call_state state;
};

/* A call that has not been started; borrows `owner`. */
FastCall *pyrsl_fast_call_new(module_state *st, const fast_call_kind *kind,
                              PyObject *owner);

/* Drop a call that could not be set up. */
void pyrsl_fast_call_discard(FastCall *call);

/* Suspend a step until `awaitable`, which is taken, has ended. FAST_AWAIT or
 * FAST_FAILED. */
fast_step pyrsl_fast_call_await(FastCall *self, PyObject *awaitable);

PyTypeObject *pyrsl_fast_call_type(PyObject *module);

#endif
