/* SPDX-License-Identifier: Apache-2.0 */
/* fast_reader.c - StreamReader: how it is fed, and what waits for that. */
#include <stddef.h>

#include "args.h"
#include "fast_read.h"
#include "future.h"

/* --- Waking whoever waits --- */

/* With None, or with `exc`. */
static int
reader_wake(FastReader *self, PyObject *exc)
{
    PyObject *waiter = self->waiter;
    if (waiter == NULL) {
        return 0;
    }
    self->waiter = NULL;
    int status =
        pyrsl_future_wake(self->st, waiter, self->st->str_cancelled, exc);
    Py_DECREF(waiter);
    return status;
}

/* --- Flow control --- */

static int
reader_call_transport(FastReader *self, PyObject *name)
{
    PyObject *transport =
        Py_NewRef(self->transport == NULL ? Py_None : self->transport);
    PyObject *result = PyObject_CallMethodNoArgs(transport, name);
    Py_DECREF(transport);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* More than twice the limit is too much. */
static bool
reader_has_too_much(const FastReader *self)
{
    size_t size = pyrsl_buffer_size(&self->buffer);
    size_t limit = (size_t)self->limit_max;
    return self->limit_max < 0 || (size > limit && size - limit > limit);
}

int
pyrsl_fast_pause_above_limit(FastReader *self)
{
    if (self->transport == NULL || self->paused || !reader_has_too_much(self)) {
        return 0;
    }
    if (reader_call_transport(self, self->st->str_pause_reading) == 0) {
        self->paused = true;
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_NotImplementedError)) {
        return -1;
    }
    /* It cannot be paused: all that comes has to be kept. */
    PyErr_Clear();
    Py_CLEAR(self->transport);
    return 0;
}

int
pyrsl_fast_resume(FastReader *self)
{
    if (!self->paused) {
        return 0;
    }
    self->paused = false;
    return reader_call_transport(self, self->st->str_resume_reading);
}

int
pyrsl_fast_resume_below_limit(FastReader *self)
{
    return self->paused
                   && !pyrsl_fast_is_above(self,
                                           pyrsl_buffer_size(&self->buffer))
               ? pyrsl_fast_resume(self)
               : 0;
}

/* --- Being fed --- */

static int
reader_check_feed(const FastReader *self)
{
    if (self->eof) {
        PyErr_SetString(PyExc_AssertionError, "feed_data after feed_eof");
        return -1;
    }
    return 0;
}

int
pyrsl_fast_put(FastReader *self, PyObject *data)
{
    return reader_check_feed(self) < 0
                   || pyrsl_buffer_put(&self->buffer, data) < 0
               ? -1
               : reader_wake(self, NULL);
}

int
pyrsl_fast_feed(FastReader *self, PyObject *data)
{
    if (PyBytes_GET_SIZE(data) == 0) {
        return reader_check_feed(self);
    }
    return pyrsl_fast_put(self, data) < 0 ? -1
                                          : pyrsl_fast_pause_above_limit(self);
}

/* What is not bytes, as bytearray.extend() takes it. */
static int
reader_feed_other(FastReader *self, PyObject *data)
{
    int truth = PyObject_IsTrue(data);
    if (truth <= 0) {
        return truth;
    }
    PyObject *copy = PyByteArray_FromStringAndSize(NULL, 0);
    PyObject *result = NULL;
    int status = -1;
    if (copy != NULL) {
        result = PyObject_CallMethod(copy, "extend", "(O)", data);
    }
    if (result != NULL) {
        Py_DECREF(result);
        status = pyrsl_buffer_copy(&self->buffer, PyByteArray_AS_STRING(copy),
                                   (size_t)PyByteArray_GET_SIZE(copy));
    }
    Py_XDECREF(copy);
    if (status < 0 || reader_wake(self, NULL) < 0) {
        return -1;
    }
    return pyrsl_fast_pause_above_limit(self);
}

/* asyncio's own method, for a class that has replaced something. */
PyObject *
pyrsl_fast_reader_inherited(FastReader *self, const char *name,
                            PyObject *argument)
{
    PyObject *method =
        PyObject_GetAttrString(self->st->AsyncioStreamReader, name);
    if (method == NULL) {
        return NULL;
    }
    PyObject *result =
        PyObject_CallFunctionObjArgs(method, (PyObject *)self, argument, NULL);
    Py_DECREF(method);
    return result;
}

PyDoc_STRVAR(reader_feed_data_doc,
"feed_data($self, /, data)\n--\n\n"
"Add bytes to what can be read.");

static const char *const feed_names[] = {"data", NULL};
static const pyrsl_params feed_params = {"feed_data", feed_names, 1, 1};

static PyObject *
reader_feed_data(FastReader *self, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *kwnames)
{
    PyObject *data = pyrsl_args_one(&feed_params, args, nargs, kwnames);
    if (data == NULL) {
        return NULL;
    }
    if (!self->plain) {
        return pyrsl_fast_reader_inherited(self, "feed_data", data);
    }
    int status = PyBytes_CheckExact(data)      ? pyrsl_fast_feed(self, data)
                 : reader_check_feed(self) < 0 ? -1
                                               : reader_feed_other(self, data);
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(reader_feed_eof_doc,
"feed_eof($self, /)\n--\n\n"
"No more bytes will come.");

static PyObject *
reader_feed_eof(FastReader *self, PyObject *Py_UNUSED(ignored))
{
    if (!self->plain) {
        return pyrsl_fast_reader_inherited(self, "feed_eof", NULL);
    }
    self->eof = true;
    return reader_wake(self, NULL) < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(reader_at_eof_doc,
"at_eof($self, /)\n--\n\n"
"Return True if the buffer is empty and feed_eof() was called.");

static PyObject *
reader_at_eof(FastReader *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(self->eof && pyrsl_buffer_size(&self->buffer) == 0);
}

PyDoc_STRVAR(reader_exception_doc,
"exception($self, /)\n--\n\n"
"The exception that reads raise, or None.");

static PyObject *
reader_exception(FastReader *self, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(self->exception == NULL ? Py_None : self->exception);
}

PyDoc_STRVAR(reader_set_exception_doc,
"set_exception($self, /, exc)\n--\n\n"
"Let reads raise exc, the one that waits now included.");

static const char *const exc_names[] = {"exc", NULL};
static const pyrsl_params exc_params = {"set_exception", exc_names, 1, 1};

static PyObject *
reader_set_exception(FastReader *self, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    PyObject *exc = pyrsl_args_one(&exc_params, args, nargs, kwnames);
    if (exc == NULL) {
        return NULL;
    }
    Py_XSETREF(self->exception, exc == Py_None ? NULL : Py_NewRef(exc));
    return reader_wake(self, exc) < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(reader_wakeup_waiter_doc,
"_wakeup_waiter($self, /)\n--\n\n"
"Let the read that waits look again.");

static PyObject *
reader_wakeup_waiter(FastReader *self, PyObject *Py_UNUSED(ignored))
{
    return reader_wake(self, NULL) < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(reader_maybe_resume_transport_doc,
"_maybe_resume_transport($self, /)\n--\n\n"
"Resume the transport if it was paused and the buffer is small again.");

static PyObject *
reader_maybe_resume_transport(FastReader *self, PyObject *Py_UNUSED(ignored))
{
    return pyrsl_fast_resume_below_limit(self) < 0 ? NULL : Py_NewRef(Py_None);
}

PyMethodDef pyrsl_fast_reader_methods[] = {
    {"feed_data", (PyCFunction)(void (*)(void))reader_feed_data,
     METH_FASTCALL | METH_KEYWORDS, reader_feed_data_doc},
    {"feed_eof", (PyCFunction)(void (*)(void))reader_feed_eof, METH_NOARGS,
     reader_feed_eof_doc},
    {"at_eof", (PyCFunction)(void (*)(void))reader_at_eof, METH_NOARGS,
     reader_at_eof_doc},
    {"exception", (PyCFunction)(void (*)(void))reader_exception, METH_NOARGS,
     reader_exception_doc},
    {"set_exception", (PyCFunction)(void (*)(void))reader_set_exception,
     METH_FASTCALL | METH_KEYWORDS, reader_set_exception_doc},
    {"_wakeup_waiter", (PyCFunction)(void (*)(void))reader_wakeup_waiter,
     METH_NOARGS, reader_wakeup_waiter_doc},
    {"_maybe_resume_transport",
     (PyCFunction)(void (*)(void))reader_maybe_resume_transport, METH_NOARGS,
     reader_maybe_resume_transport_doc},
    {NULL, NULL, 0, NULL},
};
