/* SPDX-License-Identifier: Apache-2.0 */
/* native_future.h - the two ends of a future that native code completes.
 *
 * Role:    shared by native_future.c, the loop's end, and native_future_send.c,
 *          that of native threads.
 * Thread:  per field: [G], [A] as in native.h, [K] constant after init.
 * Memory:  a native_handle. */
#ifndef PYRSL_NATIVE_FUTURE_H
#define PYRSL_NATIVE_FUTURE_H

#include "native.h"

enum {
    FUTURE_PENDING,
    FUTURE_SENT,
    FUTURE_DONE,
    FUTURE_CANCELLED,
    FUTURE_CLOSED,
};

typedef struct native_future {
    native_handle base;
    const rsloop_future_ops *ops; /* [K] */
    void *data;                   /* [K] theirs */
    PyObject *object;             /* [G] a NativeFuture; NULL once settled */
    PyObject *context;            /* [G] likewise */
    atomic_int state;             /* [A] */
    bool local;                   /* [K] poll() completes it */
    atomic_bool woken;            /* [A] `news` is on its way to a poll() */
    bool failed;                  /* whoever left PENDING, as the next two */
    int code;                     /* errno, or 0: RuntimeError */
    char *text;                   /* malloc(), or NULL */
    native_msg news;              /* brings completion, cancel or a wake */
} native_future;

static inline native_future *
pyrsl_native_future_of(const rsloop_future *future)
{
    return (native_future *)(uintptr_t)future;
}

/* True for the one who decides. */
static inline bool
pyrsl_native_future_leave(native_future *self, int state)
{
    int pending = FUTURE_PENDING;
    return atomic_compare_exchange_strong(&self->state, &pending, state);
}

/* The handle that is being made is given up: whoever would do it failed. `data`
 * stays the caller's. [G] */
void pyrsl_native_future_unmake(native_future *self);

/* A future of `data`, with both references, or NULL with an exception. [G] */
native_future *
pyrsl_native_future_make(rsloop_locals *locals, const rsloop_future_ops *ops,
                         void *data);

/* The Python side was cancelled and nobody knows yet. [G], loop's thread. */
void pyrsl_native_future_abandon(native_future *self, rsloop_status why);

#endif
