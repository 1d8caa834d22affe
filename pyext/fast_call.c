/* SPDX-License-Identifier: Apache-2.0 */
#include "fast_call.h"

#include <stddef.h>

FastCall *
pyrsl_fast_call_new(module_state *st, const fast_call_kind *kind,
                    PyObject *owner)
{
    FastCall *self = PyObject_GC_New(FastCall, st->FastCallType);
    if (self == NULL) {
        return NULL;
    }
    self->kind = kind;
    self->owner = Py_NewRef(owner);
    self->argument = NULL;
    self->waiting = NULL;
    self->inner = NULL;
    self->count = 0;
    self->offset = 0;
    self->stage = 0;
    self->state = FAST_CALL_NEW;
    PyObject_GC_Track(self);
    return self;
}

void
pyrsl_fast_call_discard(FastCall *self)
{
    self->state = FAST_CALL_DONE;
    Py_DECREF(self);
}

/* --- Waiting --- */

/* A coroutine is awaited as it is. */
static PyObject *
call_iterator(PyObject *awaitable)
{
    if (PyCoro_CheckExact(awaitable)) {
        return Py_NewRef(awaitable);
    }
    PyAsyncMethods *async = Py_TYPE(awaitable)->tp_as_async;
    if (async == NULL || async->am_await == NULL) {
        PyErr_Format(PyExc_TypeError,
                     "object %.100s can't be used in 'await' expression",
                     Py_TYPE(awaitable)->tp_name);
        return NULL;
    }
    return async->am_await(awaitable);
}

fast_step
pyrsl_fast_call_await(FastCall *self, PyObject *awaitable)
{
    PyObject *inner = call_iterator(awaitable);
    if (inner == NULL) {
        Py_DECREF(awaitable);
        return FAST_FAILED;
    }
    self->inner = inner;
    self->waiting = awaitable;
    return FAST_AWAIT;
}

/* Whatever is awaited is of no more interest. An exception that is set
 * survives. */
static void
call_end_wait(FastCall *self)
{
    if (self->inner == NULL) {
        return;
    }
    if (self->kind->waited != NULL) {
        self->kind->waited(self);
    }
    PyObject *inner = self->inner, *waiting = self->waiting;
    self->inner = NULL;
    self->waiting = NULL;
    Py_DECREF(inner);
    Py_DECREF(waiting);
}

static PySendResult
call_fail(FastCall *self, PyObject **out)
{
    self->state = FAST_CALL_DONE;
    if (self->kind->failed != NULL) {
        self->kind->failed(self);
    }
    *out = NULL;
    return PYGEN_ERROR;
}

/* --- Running --- */

/* Steps and waits, until it has to suspend or is over. `value` is for what is
 * awaited. */
static PySendResult
call_run(FastCall *self, PyObject *value, PyObject **out)
{
    for (;;) {
        if (self->inner != NULL) {
            PySendResult sent = PyIter_Send(self->inner, value, out);
            if (sent == PYGEN_NEXT) {
                self->state = FAST_CALL_SUSPENDED;
                return PYGEN_NEXT;
            }
            call_end_wait(self);
            if (sent == PYGEN_ERROR) {
                return call_fail(self, out);
            }
            Py_CLEAR(*out);
            value = Py_None;
        }
        switch (self->kind->step(self, out)) {
        case FAST_AWAIT:
            break;
        case FAST_RETURN:
            self->state = FAST_CALL_DONE;
            return PYGEN_RETURN;
        case FAST_FAILED:
            return call_fail(self, out);
        }
    }
}

/* As a coroutine answers: -1 unless it may go on now. */
static int
call_check(const FastCall *self)
{
    if (self->state == FAST_CALL_RUNNING) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return -1;
    }
    if (self->state == FAST_CALL_DONE) {
        PyErr_SetString(PyExc_RuntimeError,
                        "cannot reuse already awaited coroutine");
        return -1;
    }
    return 0;
}

static PySendResult
call_send(FastCall *self, PyObject *value, PyObject **out)
{
    *out = NULL;
    if (call_check(self) < 0) {
        return PYGEN_ERROR;
    }
    if (self->state == FAST_CALL_NEW && value != Py_None) {
        PyErr_SetString(PyExc_TypeError,
                        "can't send non-None value to a just-started "
                        "coroutine");
        return PYGEN_ERROR;
    }
    self->state = FAST_CALL_RUNNING;
    Py_INCREF(self);
    PySendResult sent = call_run(self, value, out);
    Py_DECREF(self);
    return sent;
}

/* What it returns travels in a StopIteration; without one it is None. */
static PyObject *
call_answer(PySendResult sent, PyObject *out)
{
    if (sent == PYGEN_RETURN) {
        PyErr_SetObject(PyExc_StopIteration, out);
        Py_CLEAR(out);
    }
    return out;
}

static PyObject *
call_next(FastCall *self)
{
    PyObject *out;
    PySendResult sent = call_send(self, Py_None, &out);
    if (sent == PYGEN_RETURN && out == Py_None) {
        Py_DECREF(out);
        return NULL;
    }
    return call_answer(sent, out);
}

PyDoc_STRVAR(call_send_doc,
"send($self, value, /)\n--\n\n"
"Start or go on; StopIteration has what is returned.");

static PyObject *
call_send_method(FastCall *self, PyObject *value)
{
    PyObject *out;
    PySendResult sent = call_send(self, value, &out);
    return call_answer(sent, out);
}

/* --- Throwing --- */

/* The exception that throw()'s arguments mean: a new reference. */
static PyObject *
call_thrown(PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *type = args[0];
    PyObject *value = nargs > 1 ? args[1] : Py_None;
    PyObject *traceback = nargs > 2 ? args[2] : Py_None;
    PyObject *exc = NULL;
    if (PyExceptionInstance_Check(type)) {
        if (value != Py_None) {
            PyErr_SetString(PyExc_TypeError,
                            "instance exception may not have a separate value");
            return NULL;
        }
        exc = Py_NewRef(type);
    } else if (PyExceptionClass_Check(type)) {
        if (PyObject_TypeCheck(value, (PyTypeObject *)type)) {
            exc = Py_NewRef(value);
        } else if (value == Py_None) {
            exc = PyObject_CallNoArgs(type);
        } else {
            exc = PyTuple_Check(value) ? PyObject_CallObject(type, value)
                                       : PyObject_CallOneArg(type, value);
        }
    } else {
        PyErr_Format(PyExc_TypeError,
                     "exceptions must be classes or instances deriving from "
                     "BaseException, not %s",
                     Py_TYPE(type)->tp_name);
    }
    if (exc != NULL && traceback != Py_None
        && PyException_SetTraceback(exc, traceback) < 0) {
        Py_CLEAR(exc);
    }
    return exc;
}

/* StopIteration's value, which is what the awaited iterator returned, or -1
 * with the exception that is set. */
static int
call_stopped(void)
{
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
        return -1;
    }
    PyErr_Clear();
    return 0;
}

/* Give `exc` to what is awaited: its answer, or NULL with an exception when it
 * has ended. */
static PyObject *
call_throw_inner(FastCall *self, PyObject *exc)
{
    PyObject *method = PyObject_GetAttrString(self->inner, "throw");
    if (method == NULL) {
        PyErr_Clear();
        PyErr_SetRaisedException(Py_NewRef(exc));
        return NULL;
    }
    PyObject *result = PyObject_CallOneArg(method, exc);
    Py_DECREF(method);
    return result;
}

static PySendResult
call_throw(FastCall *self, PyObject *exc, PyObject **out)
{
    *out = NULL;
    if (call_check(self) < 0) {
        return PYGEN_ERROR;
    }
    if (self->state == FAST_CALL_NEW) {
        self->state = FAST_CALL_DONE;
        PyErr_SetRaisedException(Py_NewRef(exc));
        return PYGEN_ERROR;
    }
    self->state = FAST_CALL_RUNNING;
    *out = call_throw_inner(self, exc);
    if (*out != NULL) {
        self->state = FAST_CALL_SUSPENDED;
        return PYGEN_NEXT;
    }
    int stopped = call_stopped();
    call_end_wait(self);
    return stopped < 0 ? call_fail(self, out) : call_run(self, Py_None, out);
}

PyDoc_STRVAR(call_throw_doc,
"throw($self, typ, val=None, tb=None, /)\n--\n\n"
"Raise an exception where it is suspended.");

static PyObject *
call_throw_method(FastCall *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 3) {
        PyErr_Format(PyExc_TypeError,
                     "throw expected 1 to 3 arguments, got %zd", nargs);
        return NULL;
    }
    PyObject *exc = call_thrown(args, nargs);
    if (exc == NULL) {
        return NULL;
    }
    PyObject *out;
    Py_INCREF(self);
    PySendResult sent = call_throw(self, exc, &out);
    Py_DECREF(self);
    Py_DECREF(exc);
    return call_answer(sent, out);
}

PyDoc_STRVAR(call_close_doc,
"close($self, /)\n--\n\n"
"End it where it is suspended.");

static PyObject *
call_close(FastCall *self, PyObject *Py_UNUSED(ignored))
{
    if (self->state == FAST_CALL_NEW) {
        self->state = FAST_CALL_DONE;
    }
    if (self->state == FAST_CALL_DONE) {
        Py_RETURN_NONE;
    }
    PyObject *exc = PyObject_CallNoArgs(PyExc_GeneratorExit);
    if (exc == NULL) {
        return NULL;
    }
    PyObject *out;
    PySendResult sent = call_throw(self, exc, &out);
    Py_DECREF(exc);
    if (sent != PYGEN_ERROR) {
        Py_XDECREF(out);
        if (sent == PYGEN_RETURN) {
            Py_RETURN_NONE;
        }
        PyErr_SetString(PyExc_RuntimeError, "coroutine ignored GeneratorExit");
        return NULL;
    }
    if (!PyErr_ExceptionMatches(PyExc_GeneratorExit)) {
        return NULL;
    }
    PyErr_Clear();
    Py_RETURN_NONE;
}

/* --- The type --- */

static int
call_traverse(FastCall *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->owner);
    Py_VISIT(self->argument);
    Py_VISIT(self->waiting);
    Py_VISIT(self->inner);
    return 0;
}

static int
call_clear(FastCall *self)
{
    Py_CLEAR(self->argument);
    Py_CLEAR(self->waiting);
    Py_CLEAR(self->inner);
    Py_CLEAR(self->owner);
    return 0;
}

/* As a coroutine's: one that was never started warns, one that is suspended is
 * closed. */
static void
call_finalize(FastCall *self)
{
    if (self->state == FAST_CALL_DONE || self->state == FAST_CALL_RUNNING) {
        return;
    }
    PyObject *raised = PyErr_GetRaisedException();
    if (self->state == FAST_CALL_NEW) {
        self->state = FAST_CALL_DONE;
        if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1,
                             "coroutine '%s' was never awaited",
                             self->kind->qualname)
            < 0) {
            PyErr_WriteUnraisable((PyObject *)self);
        }
    } else {
        PyObject *result = call_close(self, NULL);
        if (result == NULL) {
            PyErr_WriteUnraisable((PyObject *)self);
        }
        Py_XDECREF(result);
    }
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
}

static void
call_dealloc(FastCall *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (self->state != FAST_CALL_DONE
        && PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0) {
        return;
    }
    PyObject_GC_UnTrack(self);
    (void)call_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyObject *
call_repr(FastCall *self)
{
    return PyUnicode_FromFormat("<coroutine object %s at %p>",
                                self->kind->qualname, self);
}

static PyObject *
call_get_name(FastCall *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(self->kind->name);
}

static PyObject *
call_get_qualname(FastCall *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(self->kind->qualname);
}

static PyObject *
call_get_running(FastCall *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->state == FAST_CALL_RUNNING);
}

static PyObject *
call_get_await(FastCall *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->waiting == NULL ? Py_None : self->waiting);
}

static PyGetSetDef call_getset[] = {
    {"__name__", (getter)call_get_name, NULL, NULL, NULL},
    {"__qualname__", (getter)call_get_qualname, NULL, NULL, NULL},
    {"cr_running", (getter)call_get_running, NULL, NULL, NULL},
    {"cr_await", (getter)call_get_await, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef call_methods[] = {
    {"send", (PyCFunction)(void (*)(void))call_send_method, METH_O,
     call_send_doc},
    {"throw", (PyCFunction)(void (*)(void))call_throw_method, METH_FASTCALL,
     call_throw_doc},
    {"close", (PyCFunction)(void (*)(void))call_close, METH_NOARGS,
     call_close_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot call_slots[] = {
    {Py_tp_doc, "A read or a drain that can be awaited."},
    {Py_tp_dealloc, call_dealloc},
    {Py_tp_traverse, call_traverse},
    {Py_tp_clear, call_clear},
    {Py_tp_finalize, call_finalize},
    {Py_tp_repr, call_repr},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, call_next},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, call_send},
    {Py_tp_methods, call_methods},
    {Py_tp_getset, call_getset},
    {0, NULL},
};

static PyType_Spec call_spec = {
    .name = "rsloop_c._core.StreamCall",
    .basicsize = sizeof(FastCall),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = call_slots,
};

PyTypeObject *
pyrsl_fast_call_type(PyObject *module)
{
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, &call_spec, NULL);
}
