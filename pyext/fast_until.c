/* SPDX-License-Identifier: Apache-2.0 */
/* fast_until.c - readuntil(), readline(), async for. */
#include <string.h>

#include "args.h"
#include "fast_read.h"

/* Where the first match ends that any separator has. */
typedef struct read_match {
    size_t start, end; /* end is 0 when there is none */
} read_match;

static void
match_one(const FastReader *self, const char *separator, size_t length,
          size_t offset, read_match *best)
{
    size_t size = pyrsl_buffer_size(&self->buffer);
    if (size - offset < length) {
        return;
    }
    const char *data = pyrsl_buffer_data(&self->buffer);
    const char *found =
        length == 1 ? memchr(data + offset, separator[0], size - offset)
                    : memmem(data + offset, size - offset, separator, length);
    if (found == NULL) {
        return;
    }
    size_t start = (size_t)(found - data);
    if (best->end == 0 || start + length < best->end) {
        best->start = start;
        best->end = start + length;
    }
}

/* Both limits end with the same words in readline(). */
#define LIMIT_FOUND     "Separator is found, but chunk is longer than limit"
#define LIMIT_NOT_FOUND "Separator is not found, and chunk exceed the limit"

/* LimitOverrunError(message, consumed) */
static fast_step
until_overrun(const FastReader *self, const char *message, size_t consumed)
{
    PyObject *exc = PyObject_CallFunction(self->st->LimitOverrunError, "sn",
                                          message, (Py_ssize_t)consumed);
    if (exc != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
        Py_DECREF(exc);
    }
    return FAST_FAILED;
}

/* Something is too long, `skip` bytes of it are dropped. */
static fast_step
line_overrun(FastReader *self, const char *message, size_t skip)
{
    if (pyrsl_buffer_drop(&self->buffer, skip) == 0
        && pyrsl_fast_resume_below_limit(self) == 0) {
        PyErr_SetString(PyExc_ValueError, message);
    }
    return FAST_FAILED;
}

static fast_step
line_step(FastCall *call, PyObject **result)
{
    FastReader *self = pyrsl_fast_reader_of(call);
    if (call->stage == 0) {
        call->stage = 1;
        if (self->exception != NULL) {
            return pyrsl_fast_read_raise(self);
        }
    }
    read_match match = {0, 0};
    size_t size = pyrsl_buffer_size(&self->buffer);
    if (call->offset > size) {
        call->offset = 0; /* somebody has taken some of it meanwhile */
    }
    match_one(self, "\n", 1, call->offset, &match);
    if (match.end != 0) {
        return pyrsl_fast_is_above(self, match.start)
                   ? line_overrun(self, LIMIT_FOUND, match.end)
                   : pyrsl_fast_read_take(self, match.end, result);
    }
    call->offset = size;
    if (size > 0 && pyrsl_fast_is_above(self, size)) {
        return line_overrun(self, LIMIT_NOT_FOUND, size);
    }
    if (self->eof) {
        return size == 0 ? pyrsl_fast_read_nothing(result)
                         : pyrsl_fast_read_take(self, size, result);
    }
    return pyrsl_fast_read_wait(call, "readuntil");
}

static fast_step
next_step(FastCall *call, PyObject **result)
{
    fast_step step = line_step(call, result);
    if (step == FAST_RETURN && PyBytes_GET_SIZE(*result) == 0) {
        Py_CLEAR(*result);
        PyErr_SetNone(PyExc_StopAsyncIteration);
        return FAST_FAILED;
    }
    return step;
}

/* argument: a tuple of bytes, the shortest first. */
static fast_step
until_step(FastCall *call, PyObject **result)
{
    FastReader *self = pyrsl_fast_reader_of(call);
    PyObject *separators = call->argument;
    Py_ssize_t count = PyTuple_GET_SIZE(separators);
    size_t longest =
        (size_t)PyBytes_GET_SIZE(PyTuple_GET_ITEM(separators, count - 1));
    size_t size = pyrsl_buffer_size(&self->buffer);
    if (call->offset > size) {
        call->offset = 0; /* somebody has taken some of it meanwhile */
    }
    read_match match = {0, 0};
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *separator = PyTuple_GET_ITEM(separators, i);
        match_one(self, PyBytes_AS_STRING(separator),
                  (size_t)PyBytes_GET_SIZE(separator), call->offset, &match);
    }
    if (match.end != 0) {
        return pyrsl_fast_is_above(self, match.start)
                   ? until_overrun(self, LIMIT_FOUND, match.start)
                   : pyrsl_fast_read_take(self, match.end, result);
    }
    if (size + 1 > longest) {
        call->offset = size + 1 - longest;
    }
    if (pyrsl_fast_is_above(self, call->offset)) {
        return until_overrun(self, LIMIT_NOT_FOUND, call->offset);
    }
    return self->eof ? pyrsl_fast_read_incomplete(self, -1)
                     : pyrsl_fast_read_wait(call, "readuntil");
}

/* What bytearray.find() would say to `separator`. */
static void
until_refuse(PyObject *separator)
{
    PyErr_Clear();
    PyObject *empty = PyByteArray_FromStringAndSize(NULL, 0);
    if (empty != NULL) {
        PyObject *result = PyObject_CallMethod(empty, "find", "(O)", separator);
        if (result != NULL) {
            Py_DECREF(result);
            PyErr_SetString(PyExc_TypeError, "separator must be bytes-like");
        }
        Py_DECREF(empty);
    }
}

/* `separators`, each as bytes, as a tuple. */
static PyObject *
until_copy(PyObject *separators)
{
    Py_ssize_t count = PyList_GET_SIZE(separators);
    PyObject *copies = PyTuple_New(count);
    for (Py_ssize_t i = 0; copies != NULL && i < count; i++) {
        PyObject *separator = PyList_GET_ITEM(separators, i);
        Py_buffer view;
        PyObject *copy = NULL;
        if (PyBytes_CheckExact(separator)) {
            copy = Py_NewRef(separator);
        } else if (PyObject_GetBuffer(separator, &view, PyBUF_SIMPLE) < 0) {
            until_refuse(separator);
        } else {
            copy = PyBytes_FromStringAndSize(view.buf, view.len);
            PyBuffer_Release(&view);
        }
        if (copy == NULL) {
            Py_CLEAR(copies);
        } else {
            PyTuple_SET_ITEM(copies, i, copy);
        }
    }
    return copies;
}

/* sorted(separators, key=len) */
static int
until_sort(module_state *st, PyObject *separators)
{
    PyObject *sort = PyObject_GetAttrString(separators, "sort");
    PyObject *names = PyTuple_Pack(1, st->str_key);
    PyObject *result = NULL;
    if (sort != NULL && names != NULL) {
        result = PyObject_Vectorcall(sort, &st->len, 0, names);
    }
    Py_XDECREF(sort);
    Py_XDECREF(names);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* The argument of readuntil(), checked when the call starts. */
static PyObject *
until_separators(module_state *st, PyObject *separator)
{
    if (PyBytes_CheckExact(separator) && PyBytes_GET_SIZE(separator) > 0) {
        return PyTuple_Pack(1, separator);
    }
    PyObject *separators =
        PyTuple_Check(separator) ? PySequence_List(separator) : PyList_New(1);
    if (separators == NULL) {
        return NULL;
    }
    if (!PyTuple_Check(separator)) {
        PyList_SET_ITEM(separators, 0, Py_NewRef(separator));
    }
    PyObject *copies = NULL;
    if (PyList_GET_SIZE(separators) == 0) {
        PyErr_SetString(PyExc_ValueError,
                        "Separator should contain at least one element");
    } else if (until_sort(st, separators) == 0) {
        Py_ssize_t shortest = PyObject_Size(PyList_GET_ITEM(separators, 0));
        if (shortest == 0) {
            PyErr_SetString(PyExc_ValueError,
                            "Separator should be at least one-byte string");
        } else if (shortest > 0) {
            copies = until_copy(separators);
        }
    }
    Py_DECREF(separators);
    return copies;
}

static fast_step
until_start(FastCall *call, PyObject **result)
{
    FastReader *self = pyrsl_fast_reader_of(call);
    if (call->stage == 0) {
        call->stage = 1;
        PyObject *separators = until_separators(self->st, call->argument);
        if (separators == NULL) {
            return FAST_FAILED;
        }
        Py_SETREF(call->argument, separators);
        if (self->exception != NULL) {
            return pyrsl_fast_read_raise(self);
        }
    }
    return until_step(call, result);
}

static const fast_call_kind read_until_kind = {
    .name = "readuntil",
    .qualname = "StreamReader.readuntil",
    .step = until_start,
    .waited = pyrsl_fast_read_waited,
};

static const fast_call_kind read_line_kind = {
    .name = "readline",
    .qualname = "StreamReader.readline",
    .step = line_step,
    .waited = pyrsl_fast_read_waited,
};

static const fast_call_kind read_next_kind = {
    .name = "__anext__",
    .qualname = "StreamReader.__anext__",
    .step = next_step,
    .waited = pyrsl_fast_read_waited,
};

/* --- Methods --- */

PyDoc_STRVAR(reader_readuntil_doc,
"readuntil($self, /, separator=b'\\n')\n--\n\n"
"Read up to and with the separator, or with the first of a tuple of them.\n\n"
"A coroutine. Raises IncompleteReadError when the stream ends before, and\n"
"LimitOverrunError, with everything left as it is, beyond the limit.");

static const char *const until_names[] = {"separator", NULL};
static const pyrsl_params until_params = {"readuntil", until_names, 1, 0};

static PyObject *
reader_readuntil(FastReader *self, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *kwnames)
{
    PyObject *separator = NULL;
    if (pyrsl_args_bind(&until_params, args, nargs, kwnames, &separator) < 0) {
        return NULL;
    }
    if (!self->plain) {
        return pyrsl_fast_reader_inherited(self, "readuntil", separator);
    }
    FastCall *call =
        pyrsl_fast_call_new(self->st, &read_until_kind, (PyObject *)self);
    if (call == NULL) {
        return NULL;
    }
    call->argument = separator != NULL ? Py_NewRef(separator)
                                       : PyBytes_FromStringAndSize("\n", 1);
    if (call->argument == NULL) {
        pyrsl_fast_call_discard(call);
        return NULL;
    }
    return (PyObject *)call;
}

PyDoc_STRVAR(reader_readline_doc,
"readline($self, /)\n--\n\n"
"Read a line with its end, or what there is when the stream has ended.\n\n"
"A coroutine. A line beyond the limit is dropped, with ValueError.");

static PyObject *
reader_readline(FastReader *self, PyObject *Py_UNUSED(ignored))
{
    return self->plain ? (PyObject *)pyrsl_fast_call_new(
                             self->st, &read_line_kind, (PyObject *)self)
                       : pyrsl_fast_reader_inherited(self, "readline", NULL);
}

PyObject *
pyrsl_fast_read_next(PyObject *reader)
{
    FastReader *self = (FastReader *)reader;
    return self->plain ? (PyObject *)pyrsl_fast_call_new(
                             self->st, &read_next_kind, reader)
                       : pyrsl_fast_reader_inherited(self, "__anext__", NULL);
}

PyMethodDef pyrsl_fast_until_methods[] = {
    {"readuntil", (PyCFunction)(void (*)(void))reader_readuntil,
     METH_FASTCALL | METH_KEYWORDS, reader_readuntil_doc},
    {"readline", (PyCFunction)(void (*)(void))reader_readline, METH_NOARGS,
     reader_readline_doc},
    {NULL, NULL, 0, NULL},
};
