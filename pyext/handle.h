/* SPDX-License-Identifier: Apache-2.0 */
/* handle.h - Handle and TimerHandle: asyncio's by isinstance, ours in layout.
 *
 * Role:    a callback, its arguments and its context. asyncio's own slots are
 *          the storage, so asyncio's repr, get_context and ordering just work.
 * Thread:  loop thread; cancel() also from strangers.
 * Memory:  ordinary GC objects. */
#ifndef PYRSL_HANDLE_H
#define PYRSL_HANDLE_H

#include <stddef.h>

#include "loop.h"

/* asyncio.Handle.__slots__, in the order that type() lays them out (sorted);
 * verified at import by pyrsl_handle_types(). */
typedef struct HandleObject {
    PyObject_HEAD
    PyObject *args;      /* tuple, or None when cancelled */
    PyObject *callback;  /* None when cancelled */
    PyObject *cancelled; /* True or False */
    PyObject *context;
    PyObject *loop;
    PyObject *repr; /* debug mode: what it was before it was cancelled */
    PyObject *source_traceback;
#if PY_VERSION_HEX < 0x030C0000
    PyObject *weakreflist; /* in front of the object from 3.12 on */
#endif
} HandleObject;

enum { HANDLE_ARGS_MAX = 2 };

/* What ours have behind asyncio's slots, last in each type. */
typedef struct handle_tail {
    bool shares;   /* the context is a snapshot of others too (contexts.h) */
    bool tracked;  /* the garbage collector knows the handle */
    uint8_t count; /* arguments that are here; handle.args is NULL then */
    PyObject *args[HANDLE_ARGS_MAX];
} handle_tail;

typedef struct PlainHandleObject {
    HandleObject handle;
    handle_tail tail;
} PlainHandleObject;

/* Of call_soon_threadsafe(); without a GIL its own message to the loop. */
typedef struct ThreadSafeHandleObject {
    HandleObject handle;
#if PY_VERSION_HEX >= 0x030E0000
    PyObject *lock; /* asyncio's slot, unused */
    /* [A] the thread that runs the callback, or 0. Set under the handle's
     * critical section, in which cancel() reads it: one of both is first. */
    atomic_ulong running;
#endif
#ifdef Py_GIL_DISABLED
    rsl_msg msg; /* has a reference to the handle from push to take */
#endif
    handle_tail tail;
} ThreadSafeHandleObject;

/* asyncio.TimerHandle adds _scheduled and _when; the rest is ours. */
typedef struct TimerHandleObject {
    HandleObject handle;
    PyObject *scheduled; /* True while it is among the loop's timers */
    PyObject *when;
    handle_tail tail;
} TimerHandleObject;

/* Make the types; -1 with ImportError where asyncio's layout is unknown. */
int pyrsl_handle_types(PyObject *module, module_state *st);

/* callback(*args), all borrowed; `context` NULL means a copy of the current. */
typedef struct pyrsl_callback {
    PyObject *function;
    PyObject *const *args;
    Py_ssize_t nargs;
    PyObject *context;
} pyrsl_callback;

/* A new Handle. In debug mode records where it was made. */
PyObject *pyrsl_handle_new(LoopObject *loop, PyTypeObject *type,
                           const pyrsl_callback *callback);

/* The same for a Handle that is about to pend in the loop, not yet tracked by
 * the garbage collector: handle_gc.c, which has the next seven too. */
PyObject *pyrsl_handle_new_pending(LoopObject *loop, PyTypeObject *type,
                                   const pyrsl_callback *callback);

/* The loop has given a reference to `handle`, which may be not ours, a place in
 * its queue or among its timers. */
void pyrsl_handle_joins(LoopObject *loop, PyObject *handle);

/* A Handle of ours is, or may be, in more than one place: track it. */
void pyrsl_handle_show(PyObject *handle);

/* Takes such a reference, which is in its place no more, to a Handle of ours;
 * and to any out of the queue. */
void pyrsl_handle_leaves(PyObject *handle);
void pyrsl_handle_leaves_queue(LoopObject *loop, PyObject *handle);

/* tp_traverse of such a reference to a Handle of ours, and of the queue. */
int pyrsl_handle_traverse_pending(PyObject *handle, visitproc visit, void *arg);
int pyrsl_handles_traverse_queue(LoopObject *loop, visitproc visit, void *arg);

/* run_forever() is about to give up its reference to the loop. */
void pyrsl_handles_end_session(LoopObject *loop);

/* Free the Handles that the loop keeps for reuse: all, or some of what it has
 * beyond LOOP_FREE_HANDLES_KEPT. */
void pyrsl_handle_lists_clear(LoopObject *loop);
void pyrsl_handle_lists_trim(LoopObject *loop);

/* Does nobody but the queue have it? Then nobody can cancel it while it runs,
 * nor ask for its context. For Handles of ours. */
bool pyrsl_handle_is_alone(PyObject *handle);

/* Takes the queue's reference to a handle that is alone, and runs it. */
int pyrsl_handle_run_alone(LoopObject *loop, PyObject *handle);

/* Run it as asyncio.Handle._run() does. -1 only for SystemExit,
 * KeyboardInterrupt and what a failing exception handler raises. */
int pyrsl_handle_run(LoopObject *loop, PyObject *handle);

/* Its callback raised the exception that is set. The report is asyncio's, made
 * by Loop._on_handle_error() in Python: message, exception, handle,
 * source_traceback. 0 or -1, as pyrsl_handle_run(). */
int pyrsl_handle_failed(LoopObject *loop, PyObject *handle);

static inline bool
pyrsl_handle_is_ours(const module_state *st, PyObject *handle)
{
    return Py_IS_TYPE(handle, st->HandleType)
           || Py_IS_TYPE(handle, st->TimerHandleType)
           || Py_IS_TYPE(handle, st->ThreadSafeHandleType);
}

/* --- For the types that build on HandleObject --- */

static inline handle_tail *
pyrsl_handle_tail(HandleObject *self)
{
    Py_ssize_t size = Py_TYPE(self)->tp_basicsize;
    return (handle_tail *)(void *)((char *)self + size - sizeof(handle_tail));
}

/* Drop the arguments. */
void pyrsl_handle_clear_args(HandleObject *self);

/* A dead Handle, untracked and without weak references, is kept for reuse:
 * true, and the list has the object and its reference to the type. */
bool pyrsl_handle_keep(LoopObject *loop, HandleObject *self);

/* Takes the last reference to `self`, which nobody else can get hold of. */
void pyrsl_handle_recycle(LoopObject *loop, HandleObject *self);

/* Make the garbage collector look at it. */
void pyrsl_handle_track(PyObject *handle);

/* End the sharing: the handle gets a copy. -1 with MemoryError. */
int pyrsl_handle_own_context(HandleObject *self);

extern PyGetSetDef pyrsl_handle_getset[];
#if PY_VERSION_HEX >= 0x030C0000
#define PYRSL_HANDLE_GET_CONTEXT                           \
    {"get_context", pyrsl_handle_get_context, METH_NOARGS, \
     pyrsl_handle_get_context_doc},
PyObject *pyrsl_handle_get_context(PyObject *self, PyObject *ignored);
extern const char pyrsl_handle_get_context_doc[];
#else
#define PYRSL_HANDLE_GET_CONTEXT /* asyncio has it from 3.12 on */
#endif

typedef struct pyrsl_slot_place {
    const char *name; /* NULL ends a table */
    size_t offset;
} pyrsl_slot_place;

/* Compare a class's size and member descriptors with our struct; -1 with
 * ImportError. */
int
pyrsl_layout_check(PyObject *base, const pyrsl_slot_place *places, size_t size);
/* A type with one base. */
PyTypeObject *
pyrsl_type_on(PyObject *module, PyType_Spec *spec, PyObject *base);
int pyrsl_handle_traverse(HandleObject *self, visitproc visit, void *arg);
int pyrsl_handle_clear(HandleObject *self);
void pyrsl_handle_dealloc(HandleObject *self);
int pyrsl_handle_cancel_locked(HandleObject *self);
PyObject *pyrsl_handle_run_method(PyObject *self, PyObject *ignored);
extern const char pyrsl_handle_run_doc[];

/* pyrsl_handle_run() of a handle that no other thread may wait for. */
int pyrsl_handle_run_plain(LoopObject *loop, PyObject *handle);

extern PyMethodDef pyrsl_handle_methods[];

/* threadsafe_handle.c */
#ifdef Py_GIL_DISABLED
static inline PyObject *
pyrsl_threadsafe_handle_of(rsl_msg *msg)
{
    return (PyObject *)(void *)((char *)msg
                                - offsetof(ThreadSafeHandleObject, msg));
}

static inline rsl_msg *
pyrsl_threadsafe_handle_message(PyObject *handle)
{
    return &((ThreadSafeHandleObject *)handle)->msg;
}
#endif

int pyrsl_threadsafe_handle_type(PyObject *module, module_state *st);
void pyrsl_threadsafe_handle_init(ThreadSafeHandleObject *self);
#if PY_VERSION_HEX >= 0x030E0000
int pyrsl_threadsafe_handle_run(LoopObject *loop, PyObject *handle);
#endif

/* True when the handle (ours or asyncio's) was cancelled; -1 on error. */
int pyrsl_handle_is_cancelled(const module_state *st, PyObject *handle);

#endif
