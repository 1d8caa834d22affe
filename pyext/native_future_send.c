/* SPDX-License-Identifier: Apache-2.0 */
/* native_future_send.c - what native threads do with futures: see
 * native_future.c for the states. */
#include <stdlib.h>
#include <string.h>

#include <rsl/jobs.h>

#include "errors.h"
#include "native_future.h"

enum { FUTURE_TEXT_BYTES = 256 };

typedef struct future_failure {
    int code; /* errno, or 0 */
    const char *text;
} future_failure;

static rsloop_status
future_status_now(const native_future *self)
{
    static const rsloop_status statuses[] = {
        [FUTURE_PENDING] = RSLOOP_OK,    [FUTURE_SENT] = RSLOOP_DONE,
        [FUTURE_DONE] = RSLOOP_DONE,     [FUTURE_CANCELLED] = RSLOOP_CANCELLED,
        [FUTURE_CLOSED] = RSLOOP_CLOSED,
    };
    return statuses[atomic_load(&self->state)];
}

/* RSLOOP_OK: the future has left PENDING and the news are on their way. What is
 * to be said is written by the one who did. */
static rsloop_status
future_send(native_future *self, int state, const future_failure *failure)
{
    native_port *port = self->base.port;
    rsloop_status status = pyrsl_native_enter(port);
    if (status != RSLOOP_OK) {
        return status;
    }
    pyrsl_native_port_ref(port); /* `self` may be gone once it is posted */
    if (pyrsl_native_future_leave(self, state)) {
        if (failure != NULL) {
            self->failed = true;
            self->code = failure->code;
            self->text = failure->text == NULL
                             ? NULL
                             : strndup(failure->text, FUTURE_TEXT_BYTES - 1);
        }
        rsl_runtime_post(port->rt, &self->news.msg);
    } else {
        status = future_status_now(self);
    }
    pyrsl_native_leave(port);
    pyrsl_native_port_unref(port);
    return status;
}

rsloop_status
pyrsl_native_future_complete(rsloop_future *future)
{
    native_future *self = pyrsl_native_future_of(future);
    return self->local ? RSLOOP_INVALID : future_send(self, FUTURE_SENT, NULL);
}

rsloop_status
pyrsl_native_future_fail(rsloop_future *future, int code, const char *text)
{
    native_future *self = pyrsl_native_future_of(future);
    future_failure failure = {code, text};
    return self->local ? RSLOOP_INVALID
                       : future_send(self, FUTURE_SENT, &failure);
}

rsloop_status
pyrsl_native_future_wake(rsloop_future *future)
{
    native_future *self = pyrsl_native_future_of(future);
    native_port *port = self->base.port;
    if (!self->local) {
        return RSLOOP_INVALID;
    }
    rsloop_status status = pyrsl_native_enter(port);
    if (status != RSLOOP_OK) {
        return status;
    }
    status = future_status_now(self);
    if (status == RSLOOP_OK && !atomic_exchange(&self->woken, true)) {
        pyrsl_native_ref(&self->base); /* the message's */
        rsl_runtime_post(port->rt, &self->news.msg);
    }
    pyrsl_native_leave(port);
    return status;
}

rsloop_status
pyrsl_native_future_status(const rsloop_future *future)
{
    const native_future *self = pyrsl_native_future_of(future);
    rsloop_status status = future_status_now(self);
    if (status == RSLOOP_OK && atomic_load(&self->base.port->closed)) {
        return RSLOOP_CLOSED;
    }
    return status;
}

void
pyrsl_native_future_release(rsloop_future *future)
{
    native_future *self = pyrsl_native_future_of(future);
    if (!self->local && atomic_load(&self->state) == FUTURE_PENDING) {
        (void)pyrsl_native_future_fail(
            future, 0, "native code gave up a future without completing it");
    }
    pyrsl_native_release(&self->base);
}

/* On the loop's thread at once; from another one it has to travel. */
void
pyrsl_native_future_cancelled(native_handle *native)
{
    native_future *self = (native_future *)(void *)native;
    native_port *port = self->base.port;
    if (atomic_load(&port->closed)) {
        return; /* who closes it tells */
    }
    if (!pyrsl_loop_is_owner(port->loop)) {
        (void)(self->local
                   ? pyrsl_native_future_wake((rsloop_future *)(void *)self)
                   : future_send(self, FUTURE_CANCELLED, NULL));
    } else if (pyrsl_native_future_leave(self, FUTURE_CANCELLED)) {
        pyrsl_native_future_abandon(self, RSLOOP_CANCELLED);
    }
}

/* --- Making --- */

PyObject *
pyrsl_native_future_into_py(rsloop_locals *locals, const rsloop_future_ops *ops,
                            void *data, rsloop_future **out)
{
    native_future *self = pyrsl_native_future_make(locals, ops, data);
    if (self == NULL) {
        return NULL;
    }
    *out = (rsloop_future *)(void *)self;
    return Py_NewRef(self->object);
}

PyObject *
pyrsl_native_local_future_into_py(rsloop_locals *locals,
                                  const rsloop_future_ops *ops, void *data,
                                  rsloop_future **out)
{
    if (ops->poll == NULL) {
        PyErr_SetString(PyExc_ValueError, "a local future needs ops->poll");
        return NULL;
    }
    native_future *self = pyrsl_native_future_make(locals, ops, data);
    if (self == NULL) {
        return NULL;
    }
    PyObject *object = Py_NewRef(self->object);
    rsloop_future *handle = (rsloop_future *)(void *)self;
    self->local = true;
    (void)pyrsl_native_future_wake(handle); /* the loop is open */
    if (out == NULL) {
        pyrsl_native_release(&self->base);
    } else {
        *out = handle;
    }
    return object;
}

/* --- Work on the pool --- */

static void
future_work(void *arg)
{
    rsloop_future *handle = arg;
    native_future *self = arg;
    if (pyrsl_native_future_status(handle) == RSLOOP_OK) {
        self->ops->work(handle, self->data);
        (void)pyrsl_native_future_complete(handle); /* maybe it did */
    }
    pyrsl_native_future_release(handle);
}

PyObject *
pyrsl_native_blocking_into_py(rsloop_locals *locals,
                              const rsloop_future_ops *ops, void *data)
{
    if (ops->work == NULL) {
        PyErr_SetString(PyExc_ValueError, "blocking work needs ops->work");
        return NULL;
    }
    native_future *self = pyrsl_native_future_make(locals, ops, data);
    if (self == NULL) {
        return NULL;
    }
    PyObject *object = Py_NewRef(self->object);
    rsl_err err = {0, NULL};
    rsl_status status = rsl_job_submit(future_work, self, &err);
    if (status == RSL_OK) {
        return object;
    }
    pyrsl_native_future_unmake(self);
    Py_DECREF(object);
    return pyrsl_raise(status, &err);
}
