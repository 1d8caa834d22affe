/* SPDX-License-Identifier: Apache-2.0 */
/* native_call.c - calls on the loop's thread, the runtime thread, the pool. */
#include <errno.h>
#include <stdlib.h>

#include <rsl/jobs.h>

#include "errors.h"
#include "native.h"

/* --- The loop's thread --- */

typedef struct native_call {
    native_msg msg;             /* first */
    const rsloop_call_ops *ops; /* [K] */
    void *data;                 /* [K] theirs */
    native_locals *locals;      /* [K] a reference */
} native_call;

static void
call_free(native_call *self)
{
    pyrsl_native_locals_drop(self->locals);
    free(self);
}

/* rsl_msg.discard */
static void
call_discard(rsl_msg *msg)
{
    native_call *self = (native_call *)(void *)msg;
    if (self->ops->drop != NULL) {
        self->ops->drop(self->data);
        if (PyErr_Occurred()) {
            PyErr_WriteUnraisable(NULL);
        }
    }
    call_free(self);
}

/* Takes the exception. -1: it is one that leaves the loop. */
static int
call_failed(LoopObject *loop)
{
    if (PyErr_ExceptionMatches(PyExc_SystemExit)
        || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *none = PyObject_CallMethod(
        (PyObject *)loop, "call_exception_handler", "{s:s,s:O}", "message",
        "Exception in a call by native code", "exception", exc);
    Py_DECREF(exc);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

static int
call_deliver(LoopObject *loop, native_msg *msg)
{
    native_call *self = (native_call *)(void *)msg;
    PyObject *context = Py_NewRef(self->locals->context);
    int status = PyContext_Enter(context);
    if (status == 0) {
        status = self->ops->run(self->data);
        if (status < 0 && !PyErr_Occurred()) {
            PyErr_SetString(PyExc_SystemError,
                            "run() returned -1 without an exception");
        }
        PyObject *exc = PyErr_GetRaisedException();
        (void)PyContext_Exit(context);
        status = exc == NULL ? 0 : -1;
        if (exc != NULL) {
            PyErr_SetRaisedException(exc);
        }
    } else if (self->ops->drop != NULL) {
        PyObject *exc = PyErr_GetRaisedException();
        self->ops->drop(self->data);
        PyErr_SetRaisedException(exc);
    }
    Py_DECREF(context);
    status = status < 0 ? call_failed(loop) : 0;
    PyObject *exc = PyErr_GetRaisedException();
    call_free(self);
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
    }
    return status;
}

rsloop_status
pyrsl_native_call_soon(rsloop_locals *locals, const rsloop_call_ops *ops,
                       void *data)
{
    native_port *port = native_locals_of(locals)->base.port;
    native_call *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return RSLOOP_NOMEM;
    }
    rsloop_status status = pyrsl_native_enter(port);
    if (status != RSLOOP_OK) {
        free(self);
        return status;
    }
    self->msg.msg.event.tag = rsl_tag(RSL_EV_MESSAGE, PYRSL_MSG_NATIVE);
    self->msg.msg.event.u.ptr = &self->msg.msg;
    self->msg.msg.discard = call_discard;
    self->msg.deliver = call_deliver;
    self->ops = ops;
    self->data = data;
    self->locals = native_locals_of(locals);
    pyrsl_native_locals_ref(locals);
    rsl_runtime_post(port->rt, &self->msg.msg);
    pyrsl_native_leave(port);
    return RSLOOP_OK;
}

/* --- The runtime thread --- */

typedef struct native_source {
    const rsloop_api *api; /* [K] what rsloop_c.h shows */
    native_port *port;     /* [K] a reference */
    rsl_source *source;    /* [K] */
} native_source;

int
pyrsl_native_runtime_start(rsloop_locals *locals)
{
    native_place place;
    rsl_reactor *reactor = NULL;
    rsl_err err = {0, NULL};
    if (pyrsl_native_place_of(locals, &place) < 0) {
        return -1;
    }
    rsl_status status = rsl_runtime_reactor(place.loop->rt, &reactor, &err);
    if (status == RSL_OK) {
        atomic_store(&place.port->reactor, reactor);
    } else {
        pyrsl_raise(status, &err);
    }
    pyrsl_native_place_clear(&place);
    return status == RSL_OK ? 0 : -1;
}

/* On RSLOOP_OK the port is entered. */
static rsloop_status
source_enter(native_port *port, rsl_reactor **out)
{
    rsloop_status status = pyrsl_native_enter(port);
    if (status == RSLOOP_OK) {
        *out = atomic_load(&port->reactor);
        if (*out == NULL) {
            pyrsl_native_leave(port);
            status = RSLOOP_INVALID;
        }
    }
    return status;
}

static rsl_source_calls
source_calls(const rsloop_source_calls *calls)
{
    return (rsl_source_calls){calls->event, calls->over, calls->data};
}

rsloop_status
pyrsl_native_runtime_post(rsloop_locals *locals,
                          const rsloop_source_calls *calls)
{
    native_port *port = native_locals_of(locals)->base.port;
    rsl_reactor *reactor;
    rsloop_status status = source_enter(port, &reactor);
    if (status == RSLOOP_OK) {
        status = pyrsl_native_status(
            rsl_reactor_post(reactor, source_calls(calls)), NULL);
        pyrsl_native_leave(port);
    }
    return status;
}

/* NULL when memory is out. */
static native_source *
source_new(native_port *port)
{
    native_source *self = calloc(1, sizeof(*self));
    if (self != NULL) {
        self->api = &pyrsl_native_api;
        self->port = port;
        pyrsl_native_port_ref(port);
    }
    return self;
}

static void
source_free(native_source *self)
{
    if (self != NULL) {
        pyrsl_native_port_unref(self->port);
        free(self);
    }
}

/* `*out` is set before the first event may come, as in reactor.h. */
static native_source *
source_begin(native_port *port, rsloop_source **out)
{
    native_source *self = source_new(port);
    *out = (rsloop_source *)(void *)self;
    return self;
}

static rsloop_status
source_made(native_source *self, rsloop_source **out, rsloop_status status)
{
    if (status != RSLOOP_OK) {
        int saved_errno = errno;
        *out = NULL;
        source_free(self);
        errno = saved_errno;
    }
    return status;
}

rsloop_status
pyrsl_native_runtime_watch(rsloop_locals *locals, int fd, uint32_t events,
                           const rsloop_source_calls *calls,
                           rsloop_source **out)
{
    native_port *port = native_locals_of(locals)->base.port;
    rsl_reactor *reactor;
    rsl_err err = {0, NULL};
    rsloop_status status = source_enter(port, &reactor);
    if (status != RSLOOP_OK) {
        return status;
    }
    native_source *self = source_begin(port, out);
    status = RSLOOP_NOMEM;
    if (self != NULL) {
        status = pyrsl_native_status(
            rsl_reactor_watch(reactor, (rsl_fd_events){fd, events},
                              source_calls(calls), &self->source, &err),
            &err);
    }
    pyrsl_native_leave(port);
    return source_made(self, out, status);
}

rsloop_status
pyrsl_native_runtime_timer(rsloop_locals *locals, int64_t delay_ns,
                           int64_t period_ns, const rsloop_source_calls *calls,
                           rsloop_source **out)
{
    native_port *port = native_locals_of(locals)->base.port;
    rsl_reactor *reactor;
    if (delay_ns < 0 || period_ns < 0) {
        return RSLOOP_INVALID;
    }
    rsloop_status status = source_enter(port, &reactor);
    if (status != RSLOOP_OK) {
        return status;
    }
    native_source *self = out == NULL ? NULL : source_begin(port, out);
    status = RSLOOP_NOMEM;
    if (self != NULL || out == NULL) {
        status = pyrsl_native_status(
            rsl_reactor_timer(reactor, delay_ns, period_ns, source_calls(calls),
                              out == NULL ? NULL : &self->source),
            NULL);
    }
    pyrsl_native_leave(port);
    return out == NULL ? status : source_made(self, out, status);
}

rsloop_status
pyrsl_native_source_change(rsloop_source *source, uint32_t events)
{
    native_source *self = (native_source *)(void *)source;
    rsl_reactor *reactor;
    rsl_err err = {0, NULL};
    rsloop_status status = source_enter(self->port, &reactor);
    if (status == RSLOOP_OK) {
        status = pyrsl_native_status(
            rsl_reactor_change(reactor, self->source, events, &err), &err);
        pyrsl_native_leave(self->port);
    }
    return status;
}

/* Once the port is closed the reactor is gone, or has no time left to see it:
 * its own reference goes with it. In a forked child both are forgotten. */
void
pyrsl_native_source_close(rsloop_source *source)
{
    native_source *self = (native_source *)(void *)source;
    rsl_reactor *reactor = NULL;
    rsloop_status status = source_enter(self->port, &reactor);
    if (status != RSLOOP_FORKED) {
        rsl_source_close(status == RSLOOP_OK ? reactor : NULL, self->source);
    }
    if (status == RSLOOP_OK) {
        pyrsl_native_leave(self->port);
    }
    source_free(self);
}

/* --- The pool --- */

rsloop_status
pyrsl_native_run_blocking(void (*run)(void *data), void *data)
{
    rsl_err err = {0, NULL};
    return pyrsl_native_status(rsl_job_submit(run, data, &err), &err);
}
