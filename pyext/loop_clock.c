/* SPDX-License-Identifier: Apache-2.0 */
/* The loop's time(), and what happens when somebody puts another in its place:
 * tests that move the clock do, by a subclass or on the instance, and asyncio
 * asks time() for every deadline. Ours is read without a call. */
#include "loop.h"

static PyObject *
loop_time(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    return PyFloat_FromDouble(pyrsl_clock_seconds());
}

void
pyrsl_loop_find_clock(LoopObject *self)
{
    PyObject *method = PyObject_GetAttr((PyObject *)self, self->st->str_time);
    /* An error comes back from the call that needs the time. */
    PyErr_Clear();
    self->foreign_clock = method == NULL || !PyCFunction_Check(method)
                          || PyCFunction_GET_FUNCTION(method) != loop_time;
    Py_XDECREF(method);
}

int
pyrsl_loop_setattro(PyObject *object, PyObject *name, PyObject *value)
{
    LoopObject *self = (LoopObject *)object;
    if (PyObject_GenericSetAttr(object, name, value) < 0) {
        return -1;
    }
    /* Names of attributes are interned. */
    if (name == self->st->str_time) {
        pyrsl_loop_find_clock(self);
    } else if (name == self->st->str_slow_callback_duration) {
        pyrsl_loop_set_slow_duration(self, value);
    }
    return 0;
}

int
pyrsl_loop_ask_clock(LoopObject *self, double *out)
{
    PyObject *now =
        PyObject_CallMethodNoArgs((PyObject *)self, self->st->str_time);
    if (now == NULL) {
        return -1;
    }
    *out = PyFloat_AsDouble(now);
    Py_DECREF(now);
    return *out == -1.0 && PyErr_Occurred() ? -1 : 0;
}

PyObject *
pyrsl_loop_deadline(LoopObject *self, PyObject *delay)
{
    PyObject *base;
    if (self->foreign_clock) {
        base = PyObject_CallMethodNoArgs((PyObject *)self, self->st->str_time);
    } else if (PyFloat_CheckExact(delay)) {
        return PyFloat_FromDouble(pyrsl_clock_seconds()
                                  + PyFloat_AS_DOUBLE(delay));
    } else {
        base = PyFloat_FromDouble(pyrsl_clock_seconds());
    }
    if (base == NULL) {
        return NULL;
    }
    PyObject *when = PyNumber_Add(base, delay);
    Py_DECREF(base);
    return when;
}

PyDoc_STRVAR(loop_time_doc,
"time($self, /)\n--\n\n"
"The loop's clock in seconds: CLOCK_MONOTONIC, as time.monotonic().");

PyMethodDef pyrsl_loop_clock_methods[] = {
    {"time", loop_time, METH_NOARGS, loop_time_doc},
    {NULL, NULL, 0, NULL},
};
