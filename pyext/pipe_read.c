/* SPDX-License-Identifier: Apache-2.0 */
/* pipe_read.c - from a readable pipe to data_received(). */
#include "pipe_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <rsl/watch.h>

/* Reads up to here are copied from the scratch buffer: that is cheaper than
 * making an object for more and shrinking it. */
#define PIPE_COPY_MAX 4096

/* --- Reading --- */

/* Read up to PYRSL_READ_MAX bytes: into a bytes object of the size that is
 * likely, and what exceeds it into the scratch buffer. Data mostly comes in
 * pieces of one size (what the writer writes, or what a pipe holds), and then
 * no byte is copied. 0 and a bytes object, or an errno; -1 and an exception. */
static int
read_some(PipeTransport *self, PyObject **out)
{
    uint8_t *scratch = pyrsl_transport_scratch(self->loop);
    if (scratch == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    size_t hint = self->read_hint;
    struct iovec parts[2] = {
        {.iov_base = NULL, .iov_len = hint},
        {.iov_base = scratch, .iov_len = PYRSL_READ_MAX - hint},
    };
    ssize_t size;
    PyObject *data = NULL;
    if (hint == 0) {
        size = read(self->fd, scratch, PYRSL_READ_MAX);
    } else {
        data = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)hint);
        if (data == NULL) {
            return -1;
        }
        parts[0].iov_base = PyBytes_AS_STRING(data);
        size = readv(self->fd, parts, hint < PYRSL_READ_MAX ? 2 : 1);
    }
    if (size < 0) {
        int code = errno;
        Py_XDECREF(data);
        return code;
    }
    size_t filled = (size_t)size;
    rsl_stats_read(self->loop->stats, filled);
    self->read_hint = filled <= PIPE_COPY_MAX ? 0 : filled;
    if (data == NULL) {
        data = PyBytes_FromStringAndSize((const char *)scratch, size);
    } else if (filled != hint && _PyBytes_Resize(&data, size) == 0
               && filled > hint) {
        memcpy(PyBytes_AS_STRING(data) + hint, scratch, filled - hint);
    }
    *out = data;
    return data == NULL ? -1 : 0;
}

/* asyncio's order: the protocol hears of the end, then it is lost. */
static int
read_ended(PipeTransport *self)
{
    if (pyrsl_transport_log(self->loop, (PyObject *)self, self->st->str_info,
                            "%r was closed by peer")
        < 0) {
        return -1;
    }
    if (self->state != PIPE_OPEN) {
        return 0; /* closed by a log handler */
    }
    if (pyrsl_transport_call_soon(self->loop, self->protocol,
                                  self->st->str_eof_received,
                                  self->st->empty_tuple)
        < 0) {
        return -1;
    }
    return pyrsl_pipe_force_close(self, NULL);
}

static int
read_deliver(PipeTransport *self, PyObject *data)
{
    PyObject *protocol = Py_NewRef(self->protocol);
    PyObject *args[3] = {NULL, protocol, data};
    PyObject *result =
        PyObject_VectorcallMethod(self->st->str_data_received, args + 1,
                                  2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(protocol);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

PyDoc_STRVAR(pipe_read_ready_doc,
"_read_ready($self, /)\n--\n\n"
"There is something to read, or the end.");

static PyObject *
pipe_read_ready(PipeTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (pyrsl_loop_check_owner(self->loop) < 0) {
        return NULL;
    }
    if (!pyrsl_pipe_is_open(self)) {
        Py_RETURN_NONE;
    }
    PyObject *data = NULL;
    int status = read_some(self, &data);
    if (status == 0) {
        status = PyBytes_GET_SIZE(data) > 0 ? read_deliver(self, data)
                                            : read_ended(self);
        Py_DECREF(data);
    } else if (status == EAGAIN || status == EINTR) {
        status = 0; /* watched by level: it will be said again */
    } else if (status > 0) {
        errno = status;
        PyErr_SetFromErrno(PyExc_OSError);
        status = pyrsl_pipe_fatal(self, "Fatal read error on pipe transport");
    }
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

/* --- When it reads --- */

static int
read_begin(PipeTransport *self)
{
    return pyrsl_loop_watch(self->loop, self->fd, RSL_WATCH_READ,
                            (PyObject *)self, self->st->str_read_ready);
}

PyDoc_STRVAR(pipe_start_watching_doc,
"_start_watching($self, /)\n--\n\n"
"connection_made() was called: read from now on.");

static PyObject *
pipe_start_watching(PipeTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (self->state != PIPE_OPEN || self->paused) {
        Py_RETURN_NONE;
    }
    return read_begin(self) < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(pipe_is_reading_doc,
"is_reading($self, /)\n--\n\n"
"Return True if the transport is receiving.");

static PyObject *
pipe_is_reading(PipeTransport *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(self->state == PIPE_OPEN && !self->paused);
}

PyDoc_STRVAR(pipe_pause_reading_doc,
"pause_reading($self, /)\n--\n\n"
"Deliver nothing until resume_reading() is called. Does nothing when the\n"
"transport is paused or closing.");

static PyObject *
pipe_pause_reading(PipeTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (!pyrsl_pipe_is_open(self) || self->paused) {
        Py_RETURN_NONE;
    }
    if (pyrsl_loop_is_foreign(self->loop)) {
        return pyrsl_transport_hand_over((PyObject *)self, self->loop,
                                         "pause_reading", NULL, 0);
    }
    self->paused = true;
    if (pyrsl_loop_unwatch(self->loop, self->fd, RSL_WATCH_READ) < 0
        || pyrsl_transport_log(self->loop, (PyObject *)self,
                               self->st->str_debug, "%r pauses reading")
               < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(pipe_resume_reading_doc,
"resume_reading($self, /)\n--\n\n"
"Deliver again, in the caller's context.");

static PyObject *
pipe_resume_reading(PipeTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (!pyrsl_pipe_is_open(self) || !self->paused) {
        Py_RETURN_NONE;
    }
    if (pyrsl_loop_is_foreign(self->loop)) {
        return pyrsl_transport_hand_over((PyObject *)self, self->loop,
                                         "resume_reading", NULL, 0);
    }
    self->paused = false;
    if (read_begin(self) < 0
        || pyrsl_transport_log(self->loop, (PyObject *)self,
                               self->st->str_debug, "%r resumes reading")
               < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(pipe_close_doc,
"close($self, /)\n--\n\n"
"Stop reading; connection_lost(None) is called later.");

static PyObject *
pipe_close(PipeTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (!pyrsl_pipe_is_open(self)) {
        Py_RETURN_NONE;
    }
    if (pyrsl_loop_is_foreign(self->loop)) {
        return pyrsl_transport_hand_over_end((PyObject *)self, self->loop,
                                             "close");
    }
    if (pyrsl_pipe_force_close(self, NULL) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef pyrsl_pipe_read_methods[] = {
    {"_read_ready", (PyCFunction)(void (*)(void))pipe_read_ready, METH_NOARGS,
     pipe_read_ready_doc},
    {"_start_watching", (PyCFunction)(void (*)(void))pipe_start_watching,
     METH_NOARGS, pipe_start_watching_doc},
    {"is_reading", (PyCFunction)(void (*)(void))pipe_is_reading, METH_NOARGS,
     pipe_is_reading_doc},
    {"pause_reading", (PyCFunction)(void (*)(void))pipe_pause_reading,
     METH_NOARGS, pipe_pause_reading_doc},
    {"resume_reading", (PyCFunction)(void (*)(void))pipe_resume_reading,
     METH_NOARGS, pipe_resume_reading_doc},
    {"close", (PyCFunction)(void (*)(void))pipe_close, METH_NOARGS,
     pipe_close_doc},
    {NULL, NULL, 0, NULL},
};
