/* SPDX-License-Identifier: Apache-2.0 */
/* native_locals.c - a loop and a context, captured for native threads. */
#include <stdlib.h>

#include "native.h"

static int
locals_traverse(native_handle *handle, visitproc visit, void *arg)
{
    native_locals *self = (native_locals *)(void *)handle;
    Py_VISIT(self->loop);
    Py_VISIT(self->context);
    return 0;
}

/* Their references go with the loop; the handle, when it is released. */
static void
locals_shut(native_handle *handle)
{
    native_locals *self = (native_locals *)(void *)handle;
    PyObject *loop = self->loop, *context = self->context;
    self->loop = self->context = NULL;
    pyrsl_native_settle(handle);
    Py_XDECREF(context);
    Py_XDECREF(loop);
}

static void
locals_free(native_handle *handle)
{
    free(handle);
}

static const native_kind locals_kind = {locals_traverse, locals_shut,
                                        locals_free};

static void
locals_discard_released(rsl_msg *msg)
{
    pyrsl_native_drop(
        (native_handle *)(void *)((char *)msg
                                  - offsetof(native_handle, released)));
}

static int
locals_deliver_released(LoopObject *Py_UNUSED(loop), native_msg *msg)
{
    locals_discard_released(&msg->msg);
    return 0;
}

/* Takes `context`; NULL with an exception. */
static rsloop_locals *
locals_make(LoopObject *loop, PyObject *context)
{
    native_port *port = context == NULL ? NULL : pyrsl_native_port(loop);
    native_locals *self = NULL;
    if (port != NULL) {
        self = calloc(1, sizeof(*self));
        if (self == NULL) {
            PyErr_NoMemory();
        }
    }
    if (self == NULL) {
        Py_XDECREF(context);
        return NULL;
    }
    self->loop = Py_NewRef((PyObject *)loop);
    self->context = context;
    atomic_init(&self->refs, 1);
    pyrsl_native_init(&self->base, &locals_kind, port);
    self->base.released.msg.discard = locals_discard_released;
    self->base.released.deliver = locals_deliver_released;
    return (rsloop_locals *)(void *)self;
}

/* -1 with TypeError for what is no loop of ours. */
static int
locals_check_loop(const module_state *st, PyObject *loop, const char *what)
{
    if (PyObject_TypeCheck(loop, st->LoopType)) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "%s is a %.100s, not an rsloop_c.Loop", what,
                 Py_TYPE(loop)->tp_name);
    return -1;
}

/* The running loop, or NULL with an exception. */
static LoopObject *
locals_running_loop(void)
{
    module_state *st = pyrsl_native_state();
    PyObject *get = st == NULL ? NULL
                               : pyrsl_state_look_up(st->events_names,
                                                     st->str_get_running_loop);
    PyObject *loop = get == NULL ? NULL : PyObject_CallNoArgs(get);
    Py_XDECREF(get);
    if (loop == Py_None) {
        PyErr_SetString(PyExc_RuntimeError, "no running event loop");
        Py_CLEAR(loop);
    } else if (loop != NULL
               && locals_check_loop(st, loop, "the running event loop") < 0) {
        Py_CLEAR(loop);
    }
    return (LoopObject *)loop;
}

rsloop_locals *
pyrsl_native_get_current_locals(void)
{
    LoopObject *loop = locals_running_loop();
    rsloop_locals *locals = NULL;
    if (loop != NULL) {
        locals = locals_make(loop, PyContext_CopyCurrent());
        Py_DECREF(loop);
    }
    return locals;
}

rsloop_locals *
pyrsl_native_locals_new(PyObject *loop, PyObject *context)
{
    module_state *st = pyrsl_native_state();
    if (st == NULL || locals_check_loop(st, loop, "loop") < 0) {
        return NULL;
    }
    if (context != NULL && !PyContext_CheckExact(context)) {
        PyErr_Format(PyExc_TypeError,
                     "context is a %.100s, not a contextvars.Context",
                     Py_TYPE(context)->tp_name);
        return NULL;
    }
    return locals_make((LoopObject *)loop, context == NULL
                                               ? PyContext_CopyCurrent()
                                               : Py_NewRef(context));
}

void
pyrsl_native_locals_ref(rsloop_locals *locals)
{
    atomic_fetch_add(&native_locals_of(locals)->refs, 1);
}

void
pyrsl_native_locals_unref(rsloop_locals *locals)
{
    native_locals *self = native_locals_of(locals);
    if (atomic_fetch_sub(&self->refs, 1) == 1) {
        pyrsl_native_send_home(&self->base);
    }
}

static PyObject *
locals_get(rsloop_locals *locals, size_t offset)
{
    native_locals *self = native_locals_of(locals);
    if (pyrsl_native_check_interpreter(self->base.port) < 0) {
        return NULL;
    }
    PyObject *object = *(PyObject **)(void *)((char *)self + offset);
    if (object == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
        return NULL;
    }
    return Py_NewRef(object);
}

PyObject *
pyrsl_native_locals_get_loop(rsloop_locals *locals)
{
    return locals_get(locals, offsetof(native_locals, loop));
}

PyObject *
pyrsl_native_locals_get_context(rsloop_locals *locals)
{
    return locals_get(locals, offsetof(native_locals, context));
}

int
pyrsl_native_place_of(rsloop_locals *locals, native_place *out)
{
    native_locals *self = native_locals_of(locals);
    if (self == NULL) {
        out->loop = locals_running_loop();
        out->context = out->loop == NULL ? NULL : PyContext_CopyCurrent();
    } else if (pyrsl_native_check_interpreter(self->base.port) < 0) {
        return -1;
    } else if (self->loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
        return -1;
    } else {
        out->loop = (LoopObject *)Py_NewRef(self->loop);
        out->context = Py_NewRef(self->context);
    }
    out->port = out->context == NULL ? NULL : pyrsl_native_port(out->loop);
    if (out->port == NULL) {
        pyrsl_native_place_clear(out);
        return -1;
    }
    return 0;
}

void
pyrsl_native_place_clear(native_place *place)
{
    Py_CLEAR(place->context);
    Py_CLEAR(place->loop);
}

void
pyrsl_native_locals_drop(native_locals *self)
{
    if (atomic_fetch_sub(&self->refs, 1) == 1) {
        pyrsl_native_drop(&self->base);
    }
}
