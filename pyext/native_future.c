/* SPDX-License-Identifier: Apache-2.0 */
/* native_future.c - an asyncio.Future that native code completes.
 *
 *               complete, fail, release         arrives
 *   PENDING ----------------------------> SENT ---------> DONE
 *      |  \
 *      |   `-- Python's cancel() --> CANCELLED
 *      `------ the loop closes ----> CLOSED
 *
 * One compare-and-swap decides who leaves PENDING, so each has a clear answer.
 * Whoever sends has entered the port, which the loop's close waits for: a
 * future that is PENDING afterwards stays so, and one that is SENT has its
 * message in the mailbox. A local future is SENT by its own poll(). */
#include <stdlib.h>
#include <string.h>

#include "future.h"
#include "native_future.h"

/* --- The Python side --- */

/* May free `self`. */
static void
future_settle(native_future *self)
{
    PyObject *object = self->object, *context = self->context;
    self->object = self->context = NULL;
    if (object != NULL) {
        pyrsl_native_future_detach(self->base.port->st, object);
    }
    pyrsl_native_settle(&self->base);
    Py_XDECREF(context);
    Py_XDECREF(object);
}

/* Tell native code that nobody waits any more, and settle. */
void
pyrsl_native_future_abandon(native_future *self, rsloop_status why)
{
    if (self->ops->cancel != NULL) {
        self->ops->cancel(self->data, why);
        if (PyErr_Occurred()) {
            PyErr_WriteUnraisable(self->object);
        }
    }
    future_settle(self);
}

static PyObject *
future_error(native_future *self)
{
    const char *text = self->text;
    if (self->code == 0) {
        PyErr_SetString(PyExc_RuntimeError,
                        text == NULL ? "native code failed" : text);
    } else {
        /* OSError(errno, text) picks the subclass. */
        PyObject *exc =
            PyObject_CallFunction(PyExc_OSError, "is", self->code,
                                  text == NULL ? strerror(self->code) : text);
        if (exc != NULL) {
            PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
            Py_DECREF(exc);
        }
    }
    return NULL;
}

/* The result, or NULL with an exception. */
static PyObject *
future_result(native_future *self)
{
    if (self->failed) {
        return future_error(self);
    }
    if (self->ops->convert == NULL) {
        Py_RETURN_NONE;
    }
    if (PyContext_Enter(self->context) < 0) {
        return NULL;
    }
    PyObject *result = self->ops->convert(self->data);
    if (result == NULL && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_SystemError,
                        "convert() returned NULL without an exception");
    } else if (result != NULL && PyErr_Occurred()) {
        Py_CLEAR(result);
    }
    PyObject *exc = PyErr_GetRaisedException();
    (void)PyContext_Exit(self->context);
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
    }
    return result;
}

/* Takes `value`, or the exception where it is NULL. What set_exception() itself
 * refuses, a StopIteration, is replaced by what it says to that. */
static void
future_resolve(const module_state *st, PyObject *object, PyObject *value)
{
    PyObject *none = NULL;
    if (value != NULL) {
        none = PyObject_CallMethodOneArg(object, st->str_set_result, value);
        Py_DECREF(value);
    }
    for (int attempts = 0; none == NULL && attempts < 2; attempts++) {
        PyObject *exc = PyErr_GetRaisedException();
        none = PyObject_CallMethodOneArg(object, st->str_set_exception, exc);
        Py_DECREF(exc);
    }
    if (none == NULL) {
        PyErr_WriteUnraisable(object);
    }
    Py_XDECREF(none);
}

/* Takes the exception where `ready` is negative. */
static void
future_finish(LoopObject *loop, native_future *self, int ready)
{
    PyObject *exc = ready < 0 ? PyErr_GetRaisedException() : NULL;
    int over = pyrsl_ask(self->object, loop->st->str_done);
    if (over < 0) {
        PyErr_WriteUnraisable(self->object);
    } else if (over == 0 && exc != NULL) {
        PyErr_SetRaisedException(exc);
        exc = NULL;
        future_resolve(loop->st, self->object, NULL);
    } else if (over == 0) {
        future_resolve(loop->st, self->object, future_result(self));
    }
    Py_XDECREF(exc);
    atomic_store(&self->state, FUTURE_DONE);
    future_settle(self);
}

/* --- Steps of a local future --- */

static int
future_poll(native_future *self)
{
    if (PyContext_Enter(self->context) < 0) {
        return -1;
    }
    int ready = self->ops->poll((rsloop_future *)self, self->data);
    if (ready < 0 && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_SystemError,
                        "poll() returned -1 without an exception");
    } else if (ready >= 0 && PyErr_Occurred()) {
        ready = -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    (void)PyContext_Exit(self->context);
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
    }
    return ready;
}

static void
future_step(LoopObject *loop, native_future *self)
{
    atomic_store(&self->woken, false); /* a wake from here on counts */
    if (atomic_load(&self->state) != FUTURE_PENDING) {
        return; /* cancelled meanwhile, and settled */
    }
    if (pyrsl_ask(self->object, loop->st->str_done) == 1) {
        if (pyrsl_native_future_leave(self,
                                      FUTURE_CANCELLED)) { /* by a stranger */
            pyrsl_native_future_abandon(self, RSLOOP_CANCELLED);
        }
        return;
    }
    int ready = future_poll(self);
    if (ready == 0) {
        return;
    }
    if (pyrsl_native_future_leave(self, FUTURE_SENT)) {
        future_finish(loop, self, ready);
    } else if (ready < 0) { /* it has cancelled itself */
        PyErr_WriteUnraisable(NULL);
    }
}

/* --- News --- */

static native_future *
future_of_news(rsl_msg *msg)
{
    return (native_future *)(void *)((char *)msg
                                     - offsetof(native_future, news));
}

static int
future_deliver(LoopObject *loop, native_msg *msg)
{
    native_future *self = future_of_news(&msg->msg);
    int state = atomic_load(&self->state);
    if (self->local) {
        future_step(loop, self);
        pyrsl_native_unref(&self->base);
    } else if (state == FUTURE_CANCELLED) {
        pyrsl_native_future_abandon(self, RSLOOP_CANCELLED);
    } else {
        future_finish(loop, self, 1);
    }
    return 0;
}

/* rsl_msg.discard: the loop is closed. */
static void
future_discard(rsl_msg *msg)
{
    native_future *self = future_of_news(msg);
    if (self->local) {
        pyrsl_native_unref(&self->base);
        return;
    }
    int state = atomic_exchange(&self->state, FUTURE_CLOSED);
    if (state == FUTURE_CANCELLED) {
        pyrsl_native_future_abandon(self, RSLOOP_CANCELLED);
    } else {
        future_settle(self);
    }
}

/* --- Making --- */

static int
future_traverse(native_handle *handle, visitproc visit, void *arg)
{
    native_future *self = (native_future *)(void *)handle;
    Py_VISIT(self->object);
    Py_VISIT(self->context);
    return 0;
}

static void
future_shut(native_handle *handle)
{
    native_future *self = (native_future *)(void *)handle;
    if (pyrsl_native_future_leave(self, FUTURE_CLOSED)) {
        pyrsl_native_future_abandon(self, RSLOOP_CLOSED);
    } /* else its message is on its way, and will be discarded */
}

static void
future_free(native_handle *handle)
{
    native_future *self = (native_future *)(void *)handle;
    if (self->ops->free != NULL) {
        PyObject *exc = PyErr_GetRaisedException();
        self->ops->free(self->data);
        if (PyErr_Occurred()) {
            PyErr_WriteUnraisable(NULL);
        }
        if (exc != NULL) {
            PyErr_SetRaisedException(exc);
        }
    }
    free(self->text);
    free(self);
}

static const native_kind future_kind = {future_traverse, future_shut,
                                        future_free};

native_future *
pyrsl_native_future_make(rsloop_locals *locals, const rsloop_future_ops *ops,
                         void *data)
{
    native_place place;
    native_future *self = NULL;
    if (pyrsl_native_place_of(locals, &place) < 0) {
        return NULL;
    }
    PyObject *object = NULL;
    self = calloc(1, sizeof(*self));
    if (self == NULL) {
        PyErr_NoMemory();
    } else {
        object = pyrsl_native_future_object(place.loop, &self->base);
    }
    if (object == NULL) {
        free(self);
        pyrsl_native_place_clear(&place);
        return NULL;
    }
    self->ops = ops;
    self->data = data;
    self->object = object;
    self->context = Py_NewRef(place.context);
    atomic_init(&self->state, FUTURE_PENDING);
    atomic_init(&self->woken, false);
    self->news.msg.event.tag = rsl_tag(RSL_EV_MESSAGE, PYRSL_MSG_SETTLE);
    self->news.msg.event.u.ptr = &self->news.msg;
    self->news.msg.discard = future_discard;
    self->news.deliver = future_deliver;
    pyrsl_native_init(&self->base, &future_kind, place.port);
    pyrsl_native_place_clear(&place);
    return self;
}

void
pyrsl_native_future_unmake(native_future *self)
{
    static const rsloop_future_ops nothing = {0};
    self->ops = &nothing;
    (void)pyrsl_native_future_leave(self, FUTURE_CLOSED);
    future_settle(self);
    pyrsl_native_unref(&self->base);
}
