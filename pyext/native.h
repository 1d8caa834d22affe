/* SPDX-License-Identifier: Apache-2.0 */
/* native.h - what rsloop_c.h offers to native extensions.
 *
 * Role:    a port for each loop, and the handles that native code has of what
 *          belongs to it: locals, futures, awaits.
 * Thread:  [G] Python threads, the loop's unless said otherwise; [A] any, even
 *          without the GIL.
 * Memory:  a port outlives its loop for as long as handles do. A handle is
 *          freed, with the GIL, once native code has released it and the Python
 *          side is through with it. Python references are all on the Python
 *          side: the loop's close drops them, and its collector sees them. */
#ifndef PYRSL_NATIVE_H
#define PYRSL_NATIVE_H

#include <pthread.h>
#include <rsloop_c.h>
#include <stdatomic.h>

#include <rsl/reactor.h>
#include <rsl/runtime.h>

#include "loop.h"

/* --- Messages --- */

/* What travels to the loop. deliver() takes it; so does msg.discard(), which
 * comes instead when the loop is closed first. Both hold the GIL. */
typedef struct native_msg {
    rsl_msg msg;
    int (*deliver)(LoopObject *loop, struct native_msg *self);
} native_msg;

static inline native_msg *
native_msg_of(rsl_msg *msg)
{
    return (native_msg *)(void *)msg;
}

/* Takes a PYRSL_MSG_NATIVE or PYRSL_MSG_SETTLE message. -1 with an exception
 * that is to leave the loop. */
int pyrsl_native_deliver(LoopObject *loop, rsl_msg *msg);

/* --- Ports --- */

/* Of a circular list: native_port.c's. */
typedef struct native_link {
    struct native_link *prev, *next;
} native_link;

typedef struct native_port {
    atomic_uint refs;               /* [A] the loop's and the handles' */
    atomic_uint posters;            /* [A] threads that use `rt` right now */
    atomic_bool closed;             /* [A] */
    rsl_runtime *rt;                /* [K] alive while there are posters */
    module_state *st;               /* [G] while the loop is there */
    LoopObject *loop;               /* [G] borrowed, until it is closed */
    int64_t interpreter;            /* [K] its number, which is never reused */
    _Atomic(rsl_reactor *) reactor; /* [A] NULL before runtime_start() */
    struct pyrsl_native_home *home; /* [K] */
    pthread_mutex_t lock;           /* of `natives`; never held over Python */
    native_link natives;            /* handles with Python references */
} native_port;

/* The loop's port, made if need be, or NULL with an exception: RuntimeError
 * when the loop is closed or runs in another thread. [G] */
native_port *pyrsl_native_port(LoopObject *loop);

void pyrsl_native_port_ref(native_port *port);   /* [A] */
void pyrsl_native_port_unref(native_port *port); /* [A] */

/* -1 with RuntimeError where the caller's interpreter is not the loop's: its
 * objects must not be touched. [G] */
int pyrsl_native_check_interpreter(const native_port *port);

/* RSLOOP_OK: the runtime stays until pyrsl_native_leave(). [A] */
rsloop_status pyrsl_native_enter(native_port *port);
void pyrsl_native_leave(native_port *port);

/* Before the runtime closes: nobody posts from now on, and every handle's
 * Python side is over. Any Python thread. */
void pyrsl_native_close(LoopObject *loop);
void pyrsl_native_free(LoopObject *loop); /* after that; drops the port */
int pyrsl_native_traverse(LoopObject *loop, visitproc visit, void *arg);

/* --- Handles --- */

typedef struct native_handle native_handle;

typedef struct native_kind {
    int (*traverse)(native_handle *self, visitproc visit, void *arg);
    /* The loop closes: drop the Python side, if it is not on its way. */
    void (*shut)(native_handle *self);
    /* Nobody is left: free it. */
    void (*free)(native_handle *self);
} native_kind;

struct native_handle {
    const rsloop_api *api;   /* what rsloop_c.h shows */
    const native_kind *kind; /* [K] */
    native_port *port;       /* [K] a reference */
    native_link link;        /* port->lock; in port->natives or alone */
    atomic_uint refs;        /* [A] the Python side, native code, messages */
    native_msg released;     /* brings it home from a thread without a GIL */
};

/* Everything else of `self` is zero. Joins the port's handles; one reference is
 * the Python side's, one native code's. [G] */
void pyrsl_native_init(native_handle *self, const native_kind *kind,
                       native_port *port);

/* The Python side is over, its references are dropped. [G] */
void pyrsl_native_settle(native_handle *self);

void pyrsl_native_ref(native_handle *self);     /* [A] */
void pyrsl_native_unref(native_handle *self);   /* [G] */
void pyrsl_native_release(native_handle *self); /* [A] the same from there */

/* For what has to drop Python references first: send self->released, and when
 * it arrives, drop the Python side and one reference. */
void pyrsl_native_send_home(native_handle *self); /* [A] */
void pyrsl_native_drop(native_handle *self);      /* [G] */

/* --- The interpreter's part --- */

/* Handles that were released after their loop had closed come home here, until
 * a thread with the GIL comes by. */
struct pyrsl_native_home *pyrsl_native_home_new(void);
void pyrsl_native_home_reap(struct pyrsl_native_home *home); /* [G] */
void pyrsl_native_home_free(struct pyrsl_native_home *home); /* [G] */

/* The state of this interpreter's rsloop_c, or NULL with an exception. [G] */
module_state *pyrsl_native_state(void);

/* NativeFuture, and the capsule. -1 with an exception. */
int pyrsl_native_types(PyObject *module, module_state *st);

extern const rsloop_api pyrsl_native_api;

/* --- Locals --- */

typedef struct native_locals {
    native_handle base;
    PyObject *loop, *context; /* [G] NULL once the loop is closed */
    atomic_uint refs;         /* [A] */
} native_locals;

static inline native_locals *
native_locals_of(rsloop_locals *locals)
{
    return (native_locals *)(void *)locals;
}

/* Like pyrsl_native_locals_unref(). [G] */
void pyrsl_native_locals_drop(native_locals *self);

/* Where something is to happen: the loop of this thread. */
typedef struct native_place {
    LoopObject *loop;  /* a reference */
    PyObject *context; /* a reference */
    native_port *port; /* the loop's */
} native_place;

/* Of `locals`; NULL: of the caller. -1 with an exception. [G] */
int pyrsl_native_place_of(rsloop_locals *locals, native_place *out);
void pyrsl_native_place_clear(native_place *place);

rsloop_locals *pyrsl_native_get_current_locals(void);
rsloop_locals *pyrsl_native_locals_new(PyObject *loop, PyObject *context);
void pyrsl_native_locals_ref(rsloop_locals *locals);
void pyrsl_native_locals_unref(rsloop_locals *locals);
PyObject *pyrsl_native_locals_get_loop(rsloop_locals *locals);
PyObject *pyrsl_native_locals_get_context(rsloop_locals *locals);

/* --- Futures, awaits, calls: see rsloop_c.h --- */

PyObject *
pyrsl_native_future_into_py(rsloop_locals *locals, const rsloop_future_ops *ops,
                            void *data, rsloop_future **out);
PyObject *pyrsl_native_local_future_into_py(rsloop_locals *locals,
                                            const rsloop_future_ops *ops,
                                            void *data, rsloop_future **out);
PyObject *
pyrsl_native_blocking_into_py(rsloop_locals *locals,
                              const rsloop_future_ops *ops, void *data);
rsloop_status pyrsl_native_future_complete(rsloop_future *future);
rsloop_status
pyrsl_native_future_fail(rsloop_future *future, int code, const char *text);
rsloop_status pyrsl_native_future_wake(rsloop_future *future);
rsloop_status pyrsl_native_future_status(const rsloop_future *future);
void pyrsl_native_future_release(rsloop_future *future);

/* native_future_type.c: an asyncio.Future that tells of its cancel(). */
int pyrsl_native_future_type(PyObject *module, module_state *st);
PyObject *pyrsl_native_future_object(LoopObject *loop, native_handle *native);
/* Cut the object off from its native side. */
void pyrsl_native_future_detach(const module_state *st, PyObject *object);
/* `native` was cancelled by Python. [G] */
void pyrsl_native_future_cancelled(native_handle *native);

int pyrsl_native_into_future(rsloop_locals *locals, PyObject *awaitable,
                             const rsloop_await_ops *ops, void *data,
                             rsloop_await **out);
rsloop_status
pyrsl_native_await_soon(rsloop_locals *locals, const rsloop_await_ops *ops,
                        void *data, rsloop_await **out);
rsloop_status pyrsl_native_await_cancel(rsloop_await *handle);
void pyrsl_native_await_release(rsloop_await *handle);

rsloop_status pyrsl_native_call_soon(rsloop_locals *locals,
                                     const rsloop_call_ops *ops, void *data);
int pyrsl_native_runtime_start(rsloop_locals *locals);
rsloop_status pyrsl_native_runtime_post(rsloop_locals *locals,
                                        const rsloop_source_calls *calls);
rsloop_status
pyrsl_native_runtime_watch(rsloop_locals *locals, int fd, uint32_t events,
                           const rsloop_source_calls *calls,
                           rsloop_source **out);
rsloop_status
pyrsl_native_runtime_timer(rsloop_locals *locals, int64_t delay_ns,
                           int64_t period_ns, const rsloop_source_calls *calls,
                           rsloop_source **out);
rsloop_status
pyrsl_native_source_change(rsloop_source *source, uint32_t events);
void pyrsl_native_source_close(rsloop_source *source);
rsloop_status pyrsl_native_run_blocking(void (*run)(void *data), void *data);

/* rsl_status as rsloop_status; RSL_OS leaves the errno. */
rsloop_status pyrsl_native_status(rsl_status status, const rsl_err *err);

#endif
