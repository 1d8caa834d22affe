/* SPDX-License-Identifier: Apache-2.0 */
/* fast_read.c - read(), readexactly(), readuntil(), readline(), async for. */
#include <stddef.h>

#include "args.h"
#include "fast_read.h"

/* --- Waiting for bytes --- */

fast_step
pyrsl_fast_read_wait(FastCall *call, const char *name)
{
    FastReader *self = pyrsl_fast_reader_of(call);
    if (self->waiter != NULL) {
        PyErr_Format(PyExc_RuntimeError,
                     "%s() called while another coroutine is already waiting "
                     "for incoming data",
                     name);
        return FAST_FAILED;
    }
    if (self->eof) {
        PyErr_SetString(PyExc_AssertionError, "_wait_for_data after EOF");
        return FAST_FAILED;
    }
    /* Paused, it would wait forever. */
    if (pyrsl_fast_resume(self) < 0) {
        return FAST_FAILED;
    }
    PyObject *loop = self->loop == NULL ? Py_None : self->loop;
    PyObject *waiter =
        PyObject_CallMethodNoArgs(loop, self->st->str_create_future);
    if (waiter == NULL) {
        return FAST_FAILED;
    }
    Py_XSETREF(self->waiter, Py_NewRef(waiter));
    fast_step step = pyrsl_fast_call_await(call, waiter);
    if (step == FAST_FAILED) {
        Py_CLEAR(self->waiter);
    }
    return step;
}

/* Who was woken is no waiter any more, but another may be by now. */
void
pyrsl_fast_read_waited(FastCall *call)
{
    FastReader *self = pyrsl_fast_reader_of(call);
    if (self->waiter == call->waiting) {
        Py_CLEAR(self->waiter);
    }
}

fast_step
pyrsl_fast_read_raise(const FastReader *self)
{
    if (PyExceptionInstance_Check(self->exception)) {
        PyErr_SetObject((PyObject *)Py_TYPE(self->exception), self->exception);
    } else {
        PyErr_SetString(PyExc_TypeError,
                        "exceptions must derive from BaseException");
    }
    return FAST_FAILED;
}

fast_step
pyrsl_fast_read_nothing(PyObject **result)
{
    *result = PyBytes_FromStringAndSize(NULL, 0);
    return *result == NULL ? FAST_FAILED : FAST_RETURN;
}

/* Return the first `size` bytes. */
fast_step
pyrsl_fast_read_take(FastReader *self, size_t size, PyObject **result)
{
    PyObject *bytes = pyrsl_buffer_take(&self->buffer, size);
    if (bytes == NULL || pyrsl_fast_resume_below_limit(self) < 0) {
        Py_XDECREF(bytes);
        return FAST_FAILED;
    }
    *result = bytes;
    return FAST_RETURN;
}

/* IncompleteReadError(all there is, expected) */
fast_step
pyrsl_fast_read_incomplete(FastReader *self, Py_ssize_t expected)
{
    PyObject *partial =
        pyrsl_buffer_take(&self->buffer, pyrsl_buffer_size(&self->buffer));
    if (partial == NULL) {
        return FAST_FAILED;
    }
    PyObject *number =
        expected < 0 ? Py_NewRef(Py_None) : PyLong_FromSsize_t(expected);
    PyObject *exc = NULL;
    if (number != NULL) {
        exc = PyObject_CallFunctionObjArgs(self->st->IncompleteReadError,
                                           partial, number, NULL);
        Py_DECREF(number);
    }
    Py_DECREF(partial);
    if (exc != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
        Py_DECREF(exc);
    }
    return FAST_FAILED;
}

/* --- read() --- */

/* argument: a list of what was read so far */
static fast_step
read_all_step(FastCall *call, PyObject **result)
{
    FastReader *self = pyrsl_fast_reader_of(call);
    if (call->argument == NULL) {
        call->argument = PyList_New(0);
        if (call->argument == NULL) {
            return FAST_FAILED;
        }
    }
    if (self->exception != NULL) {
        return pyrsl_fast_read_raise(self);
    }
    size_t size = pyrsl_buffer_size(&self->buffer);
    if (size > 0) {
        PyObject *block;
        if (pyrsl_fast_read_take(self, size, &block) == FAST_FAILED) {
            return FAST_FAILED;
        }
        int status = PyList_Append(call->argument, block);
        Py_DECREF(block);
        if (status < 0) {
            return FAST_FAILED;
        }
    }
    if (!self->eof) {
        return pyrsl_fast_read_wait(call, "read");
    }
    if (pyrsl_fast_resume_below_limit(self) < 0) {
        return FAST_FAILED;
    }
    if (PyList_GET_SIZE(call->argument) == 1) {
        *result = Py_NewRef(PyList_GET_ITEM(call->argument, 0));
        return FAST_RETURN;
    }
    PyObject *empty = PyBytes_FromStringAndSize(NULL, 0);
    if (empty == NULL) {
        return FAST_FAILED;
    }
    *result = PyObject_CallMethod(empty, "join", "(O)", call->argument);
    Py_DECREF(empty);
    return *result == NULL ? FAST_FAILED : FAST_RETURN;
}

/* What was read is read again by the next one; asyncio loses it. */
static void
read_all_failed(FastCall *call)
{
    FastReader *self = pyrsl_fast_reader_of(call);
    Py_ssize_t count =
        call->argument == NULL ? 0 : PyList_GET_SIZE(call->argument);
    PyObject *raised = count > 0 ? PyErr_GetRaisedException() : NULL;
    while (count-- > 0) {
        if (pyrsl_buffer_unread(&self->buffer,
                                PyList_GET_ITEM(call->argument, count))
            < 0) {
            PyErr_WriteUnraisable((PyObject *)self);
        }
    }
    if (raised != NULL) {
        if (pyrsl_fast_pause_above_limit(self) < 0) {
            PyErr_WriteUnraisable((PyObject *)self);
        }
        PyErr_SetRaisedException(raised);
    }
}

static fast_step
read_some_step(FastCall *call, PyObject **result)
{
    FastReader *self = pyrsl_fast_reader_of(call);
    size_t size = pyrsl_buffer_size(&self->buffer);
    if (call->stage == 0) {
        call->stage = 1;
        if (self->exception != NULL) {
            return pyrsl_fast_read_raise(self);
        }
        if (call->count == 0) {
            return pyrsl_fast_read_nothing(result);
        }
        if (size == 0 && !self->eof) {
            return pyrsl_fast_read_wait(call, "read");
        }
    }
    if (size == 0) {
        return pyrsl_fast_resume_below_limit(self) < 0
                   ? FAST_FAILED
                   : pyrsl_fast_read_nothing(result);
    }
    return pyrsl_fast_read_take(
        self, size < (size_t)call->count ? size : (size_t)call->count, result);
}

static const fast_call_kind read_some_kind = {
    .name = "read",
    .qualname = "StreamReader.read",
    .step = read_some_step,
    .waited = pyrsl_fast_read_waited,
};

static const fast_call_kind read_all_kind = {
    .name = "read",
    .qualname = "StreamReader.read",
    .step = read_all_step,
    .waited = pyrsl_fast_read_waited,
    .failed = read_all_failed,
};

/* --- readexactly() --- */

static fast_step
read_exactly_step(FastCall *call, PyObject **result)
{
    FastReader *self = pyrsl_fast_reader_of(call);
    if (call->stage == 0) {
        call->stage = 1;
        if (call->count < 0) {
            PyErr_SetString(PyExc_ValueError,
                            "readexactly size can not be less than zero");
            return FAST_FAILED;
        }
        if (self->exception != NULL) {
            return pyrsl_fast_read_raise(self);
        }
        if (call->count == 0) {
            return pyrsl_fast_read_nothing(result);
        }
    }
    if (pyrsl_buffer_size(&self->buffer) >= (size_t)call->count) {
        return pyrsl_fast_read_take(self, (size_t)call->count, result);
    }
    return self->eof ? pyrsl_fast_read_incomplete(self, call->count)
                     : pyrsl_fast_read_wait(call, "readexactly");
}

static const fast_call_kind read_exactly_kind = {
    .name = "readexactly",
    .qualname = "StreamReader.readexactly",
    .step = read_exactly_step,
    .waited = pyrsl_fast_read_waited,
};

/* --- Methods --- */

/* A call of `kind` with a size as argument. */
static PyObject *
read_sized(FastReader *self, const fast_call_kind *kind, Py_ssize_t count)
{
    FastCall *call = pyrsl_fast_call_new(self->st, kind, (PyObject *)self);
    if (call != NULL) {
        call->count = count;
    }
    return (PyObject *)call;
}

PyDoc_STRVAR(reader_read_doc,
"read($self, /, n=-1)\n--\n\n"
"Read up to n bytes, and at least one unless the stream has ended; with a\n"
"negative n all until it ends.\n\n"
"A coroutine. b'' means that the stream has ended, or that n is 0.");

static const char *const size_names[] = {"n", NULL};
static const pyrsl_params read_params = {"read", size_names, 1, 0};

static PyObject *
reader_read(FastReader *self, PyObject *const *args, Py_ssize_t nargs,
            PyObject *kwnames)
{
    PyObject *number = nargs == 1 ? args[0] : NULL;
    if ((nargs != 1 || kwnames != NULL)
        && pyrsl_args_bind(&read_params, args, nargs, kwnames, &number) < 0) {
        return NULL;
    }
    if (!self->plain) {
        return pyrsl_fast_reader_inherited(self, "read", number);
    }
    Py_ssize_t count = -1;
    if (number != NULL) {
        count = PyNumber_AsSsize_t(number, NULL);
        if (count == -1 && PyErr_Occurred()) {
            return NULL;
        }
    }
    return read_sized(self, count < 0 ? &read_all_kind : &read_some_kind,
                      count);
}

PyDoc_STRVAR(reader_readexactly_doc,
"readexactly($self, /, n)\n--\n\n"
"Read n bytes; IncompleteReadError when the stream ends before.\n\n"
"A coroutine. What there was is the error's `partial`.");

static const pyrsl_params exactly_params = {"readexactly", size_names, 1, 1};

static PyObject *
reader_readexactly(FastReader *self, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *kwnames)
{
    PyObject *number = pyrsl_args_one(&exactly_params, args, nargs, kwnames);
    if (number == NULL) {
        return NULL;
    }
    if (!self->plain) {
        return pyrsl_fast_reader_inherited(self, "readexactly", number);
    }
    Py_ssize_t count = PyNumber_AsSsize_t(number, NULL);
    if (count == -1 && PyErr_Occurred()) {
        return NULL;
    }
    return read_sized(self, &read_exactly_kind, count);
}

PyMethodDef pyrsl_fast_read_methods[] = {
    {"read", (PyCFunction)(void (*)(void))reader_read,
     METH_FASTCALL | METH_KEYWORDS, reader_read_doc},
    {"readexactly", (PyCFunction)(void (*)(void))reader_readexactly,
     METH_FASTCALL | METH_KEYWORDS, reader_readexactly_doc},
    {NULL, NULL, 0, NULL},
};
