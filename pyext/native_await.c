/* SPDX-License-Identifier: Apache-2.0 */
/* native_await.c - a task whose end is a call of native code.
 *
 * The task's done callback is a C function with a capsule as its self. The loop
 * may close with the task undone: then done() is called with neither result nor
 * exception, and the capsule forgets us. */
#include <stdlib.h>

#include "native.h"

#define AWAIT_CAPSULE "rsloop_c.await"

typedef struct native_await {
    native_handle base;
    const rsloop_await_ops *ops; /* [K] */
    void *data;                  /* [K] theirs */
    native_locals *locals;       /* [K] a reference, for the context */
    PyObject *task;              /* [G] NULL before it starts and once over */
    PyObject *capsule;           /* [G] likewise */
    atomic_bool over;            /* [A] done() has been called, or will be */
    atomic_bool cancelling;      /* [A] `cancel` is on its way */
    native_msg start;            /* from a native thread */
    native_msg cancel;           /* likewise */
} native_await;

/* What the capsule has instead when its await is over. */
static char await_forgotten;

static native_await *
await_of(rsloop_await *handle)
{
    return (native_await *)(void *)handle;
}

/* --- The end --- */

/* May free `self`. All are borrowed; NULL twice: the loop is closed. */
static void
await_end(native_await *self, PyObject *result, PyObject *exception)
{
    PyObject *task = self->task, *capsule = self->capsule;
    self->task = self->capsule = NULL;
    atomic_store(&self->over, true);
    if (capsule != NULL) {
        (void)PyCapsule_SetPointer(capsule, &await_forgotten);
    }
    self->ops->done(self->data, result, exception);
    if (PyErr_Occurred()) {
        PyErr_WriteUnraisable(task);
    }
    pyrsl_native_settle(&self->base);
    Py_XDECREF(capsule);
    Py_XDECREF(task);
}

/* Takes the exception that is set. */
static void
await_end_failed(native_await *self)
{
    PyObject *exc = PyErr_GetRaisedException();
    await_end(self, NULL, exc);
    Py_DECREF(exc);
}

/* The task's done callback. */
static PyObject *
await_task_done(PyObject *capsule, PyObject *task)
{
    native_await *self = PyCapsule_GetPointer(capsule, AWAIT_CAPSULE);
    if (self == NULL) {
        return NULL;
    }
    if ((void *)self == &await_forgotten) {
        Py_RETURN_NONE;
    }
    PyObject *result = PyObject_CallMethod(task, "result", NULL);
    if (result == NULL) {
        await_end_failed(self);
    } else {
        await_end(self, result, NULL);
        Py_DECREF(result);
    }
    Py_RETURN_NONE;
}

static PyMethodDef await_callback = {"native_await_done", await_task_done,
                                     METH_O, NULL};

/* --- The start --- */

static int
await_add_callback(native_await *self, PyObject *task)
{
    self->capsule = PyCapsule_New(self, AWAIT_CAPSULE, NULL);
    PyObject *callback = self->capsule == NULL
                             ? NULL
                             : PyCFunction_New(&await_callback, self->capsule);
    PyObject *none =
        callback == NULL
            ? NULL
            : PyObject_CallMethod(task, "add_done_callback", "O", callback);
    Py_XDECREF(callback);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

/* A task of the awaitable, in the current context. -1 with an exception. */
static int
await_start_here(native_await *self, LoopObject *loop, PyObject *awaitable)
{
    PyObject *stack[] = {awaitable, (PyObject *)loop};
    PyObject *task = PyObject_Vectorcall(loop->st->ensure_future, stack, 1,
                                         loop->st->kwnames_loop);
    if (task == NULL) {
        return -1;
    }
    self->task = task;
    if (await_add_callback(self, task) < 0) {
        Py_CLEAR(self->capsule);
        Py_CLEAR(self->task);
        return -1;
    }
    return 0;
}

/* `awaitable` is borrowed, or NULL: then ops->make() has it. */
static int
await_start(native_await *self, LoopObject *loop, PyObject *awaitable)
{
    PyObject *context = Py_NewRef(self->locals->context);
    if (PyContext_Enter(context) < 0) {
        Py_DECREF(context);
        return -1;
    }
    PyObject *made =
        awaitable == NULL ? self->ops->make(self->data) : Py_NewRef(awaitable);
    int status = -1;
    if (made != NULL) {
        status = await_start_here(self, loop, made);
        Py_DECREF(made);
    } else if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_SystemError,
                        "make() returned NULL without an exception");
    }
    PyObject *exc = PyErr_GetRaisedException();
    (void)PyContext_Exit(context);
    Py_DECREF(context);
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
    }
    return status;
}

/* --- Messages: each has a reference --- */

static int
await_deliver_start(LoopObject *loop, native_msg *msg)
{
    native_await *self =
        (native_await *)(void *)((char *)msg - offsetof(native_await, start));
    if (!atomic_load(&self->over) && await_start(self, loop, NULL) < 0) {
        await_end_failed(self);
    }
    pyrsl_native_unref(&self->base);
    return 0;
}

static void
await_discard_start(rsl_msg *msg)
{
    native_await *self =
        (native_await *)(void *)((char *)msg - offsetof(native_await, start));
    if (!atomic_load(&self->over)) {
        await_end(self, NULL, NULL);
    }
    pyrsl_native_unref(&self->base);
}

static int
await_deliver_cancel(LoopObject *Py_UNUSED(loop), native_msg *msg)
{
    native_await *self =
        (native_await *)(void *)((char *)msg - offsetof(native_await, cancel));
    atomic_store(&self->cancelling, false);
    if (self->task != NULL) {
        PyObject *task = Py_NewRef(self->task);
        PyObject *done = PyObject_CallMethod(task, "cancel", NULL);
        if (done == NULL) {
            PyErr_WriteUnraisable(task);
        }
        Py_XDECREF(done);
        Py_DECREF(task);
    }
    pyrsl_native_unref(&self->base);
    return 0;
}

static void
await_discard_cancel(rsl_msg *msg)
{
    pyrsl_native_unref(
        &((native_await *)(void *)((char *)msg
                                   - offsetof(native_await, cancel)))
             ->base);
}

/* --- Making --- */

static int
await_traverse(native_handle *handle, visitproc visit, void *arg)
{
    native_await *self = (native_await *)(void *)handle;
    Py_VISIT(self->task);
    Py_VISIT(self->capsule);
    return 0;
}

static void
await_shut(native_handle *handle)
{
    native_await *self = (native_await *)(void *)handle;
    if (!atomic_load(&self->over)) {
        await_end(self, NULL, NULL);
    }
}

static void
await_free(native_handle *handle)
{
    native_await *self = (native_await *)(void *)handle;
    pyrsl_native_locals_drop(self->locals);
    free(self);
}

static const native_kind await_kind = {await_traverse, await_shut, await_free};

static void
await_message(native_msg *self, int (*deliver)(LoopObject *, native_msg *),
              void (*discard)(rsl_msg *))
{
    self->msg.event.tag = rsl_tag(RSL_EV_MESSAGE, PYRSL_MSG_NATIVE);
    self->msg.event.u.ptr = &self->msg;
    self->msg.discard = discard;
    self->deliver = deliver;
}

/* NULL when memory is out. The port is entered, or the GIL held. */
static native_await *
await_make(rsloop_locals *locals, const rsloop_await_ops *ops, void *data)
{
    native_await *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return NULL;
    }
    self->ops = ops;
    self->data = data;
    self->locals = native_locals_of(locals);
    pyrsl_native_locals_ref(locals);
    atomic_init(&self->over, false);
    atomic_init(&self->cancelling, false);
    await_message(&self->start, await_deliver_start, await_discard_start);
    await_message(&self->cancel, await_deliver_cancel, await_discard_cancel);
    pyrsl_native_init(&self->base, &await_kind, self->locals->base.port);
    return self;
}

int
pyrsl_native_into_future(rsloop_locals *locals, PyObject *awaitable,
                         const rsloop_await_ops *ops, void *data,
                         rsloop_await **out)
{
    native_place place;
    if (pyrsl_native_place_of(locals, &place) < 0) {
        return -1;
    }
    int status = -1;
    native_await *self = await_make(locals, ops, data);
    if (self == NULL) {
        PyErr_NoMemory();
    } else if (await_start(self, place.loop, awaitable) < 0) {
        atomic_store(&self->over, true);
        PyObject *exc = PyErr_GetRaisedException();
        pyrsl_native_settle(&self->base);
        pyrsl_native_unref(&self->base);
        PyErr_SetRaisedException(exc);
    } else {
        if (out == NULL) {
            pyrsl_native_unref(&self->base);
        } else {
            *out = (rsloop_await *)(void *)self;
        }
        status = 0;
    }
    pyrsl_native_place_clear(&place);
    return status;
}

rsloop_status
pyrsl_native_await_soon(rsloop_locals *locals, const rsloop_await_ops *ops,
                        void *data, rsloop_await **out)
{
    native_port *port = native_locals_of(locals)->base.port;
    rsloop_status status = pyrsl_native_enter(port);
    if (status != RSLOOP_OK) {
        return status;
    }
    native_await *self = await_make(locals, ops, data);
    if (self == NULL) {
        status = RSLOOP_NOMEM;
    } else {
        pyrsl_native_ref(&self->base); /* the message's */
        if (out == NULL) {
            pyrsl_native_release(&self->base); /* not the last */
        } else {
            *out = (rsloop_await *)(void *)self; /* before it may be over */
        }
        rsl_runtime_post(port->rt, &self->start.msg);
    }
    pyrsl_native_leave(port);
    return status;
}

rsloop_status
pyrsl_native_await_cancel(rsloop_await *handle)
{
    native_await *self = await_of(handle);
    native_port *port = self->base.port;
    rsloop_status status = pyrsl_native_enter(port);
    if (status != RSLOOP_OK) {
        return status;
    }
    if (atomic_load(&self->over)) {
        status = RSLOOP_DONE;
    } else if (!atomic_exchange(&self->cancelling, true)) {
        pyrsl_native_ref(&self->base);
        rsl_runtime_post(port->rt, &self->cancel.msg);
    }
    pyrsl_native_leave(port);
    return status;
}

void
pyrsl_native_await_release(rsloop_await *handle)
{
    pyrsl_native_release(&await_of(handle)->base);
}
