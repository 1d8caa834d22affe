/* SPDX-License-Identifier: Apache-2.0 */
/* pipe_write.c - from write() to the pipe, at once as asyncio does it: a write
 * that fits is atomic, and the other side may be waiting for it. The pipe does
 * not block, so the GIL is kept: giving it up may cost a switch interval. */
#include "pipe_impl.h"

#include <errno.h>
#include <unistd.h>

#include <rsl/watch.h>

#include "args.h"

/* asyncio.constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES */
#define CONN_LOST_WRITES_MAX 5

#define WRITE_FAILED "Fatal write error on pipe transport"

/* --- write() --- */

/* asyncio drops what is written to a broken or closed pipe, and says so from
 * the fifth time on. */
static int
write_dropped(PipeTransport *self)
{
    int status = 0;
    if (self->conn_lost >= CONN_LOST_WRITES_MAX) {
        PyObject *text = PyUnicode_FromString(
            "pipe closed by peer or os.write(pipe, data) raised exception.");
        PyObject *result = NULL;
        if (text != NULL) {
            result = PyObject_CallMethodOneArg(self->st->logger,
                                               self->st->str_warning, text);
            Py_DECREF(text);
        }
        status = result == NULL ? -1 : 0;
        Py_XDECREF(result);
    }
    self->conn_lost++;
    return status;
}

static int
write_failed(PipeTransport *self)
{
    self->conn_lost++;
    return pyrsl_pipe_fatal(self, WRITE_FAILED);
}

/* write(2): how much was taken, or -1 with an OSError. */
static Py_ssize_t
write_some(int fd, const Py_buffer *view)
{
    ssize_t size = write(fd, view->buf, (size_t)view->len);
    if (size >= 0) {
        return size;
    }
    if (errno == EAGAIN || errno == EINTR) {
        return 0;
    }
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

static int
write_keep(PipeTransport *self, PyObject *data, const Py_buffer *view,
           size_t taken)
{
    bool first = self->queue.bytes == 0;
    if (pyrsl_pipe_queue_keep(&self->queue, data,
                              (const char *)view->buf + taken,
                              (size_t)view->len - taken)
        < 0) {
        return -1;
    }
    if (first
        && pyrsl_loop_watch(self->loop, self->fd, RSL_WATCH_WRITE,
                            (PyObject *)self, self->st->str_write_ready)
               < 0) {
        pyrsl_pipe_queue_clear(&self->queue);
        return -1;
    }
    return pyrsl_flow_grown(&self->flow, self->loop, (PyObject *)self,
                            self->protocol, self->queue.bytes);
}

static int
write_data(PipeTransport *self, PyObject *data)
{
    Py_buffer view;
    bool direct = self->queue.bytes == 0;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        if (direct) {
            return write_failed(self);
        }
        /* In the words of `bytearray += data`. */
        PyErr_Format(PyExc_TypeError, "can't concat %.100s to bytearray",
                     Py_TYPE(data)->tp_name);
        return -1;
    }
    Py_ssize_t taken = direct ? write_some(self->fd, &view) : 0;
    int status = 0;
    if (taken > 0 && self->loop != NULL) {
        rsl_stats_wrote(self->loop->stats, (uint64_t)taken);
    }
    if (taken < 0) {
        status = write_failed(self);
    } else if (taken < view.len) {
        status = write_keep(self, data, &view, (size_t)taken);
    }
    PyBuffer_Release(&view);
    return status;
}

static const char *const write_names[] = {"data", NULL};
static const pyrsl_params write_params = {"write", write_names, 1, 1};

PyDoc_STRVAR(pipe_write_doc,
"write($self, /, data)\n--\n\n"
"Write bytes, without waiting and in order: now, unless the pipe is full.");

static PyObject *
pipe_write(PipeTransport *self, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames)
{
    PyObject *data = pyrsl_args_one(&write_params, args, nargs, kwnames);
    if (data == NULL) {
        return NULL;
    }
    if (!PyBytes_Check(data) && !PyByteArray_Check(data)
        && !PyMemoryView_Check(data)) {
        PyObject *text = PyObject_Repr(data);
        if (text != NULL) {
            PyErr_SetObject(PyExc_AssertionError, text);
            Py_DECREF(text);
        }
        return NULL;
    }
    int some = PyObject_IsTrue(data);
    if (some <= 0) {
        return some < 0 ? NULL : Py_NewRef(Py_None);
    }
    if (pyrsl_loop_is_foreign(self->loop)) {
        return pyrsl_transport_hand_over_data(
            (PyObject *)self, self->loop, write_params.function, data, NULL);
    }
    int status;
    if (self->conn_lost > 0 || self->state != PIPE_OPEN) {
        status = write_dropped(self);
    } else {
        status = self->loop == NULL ? 0 : write_data(self, data);
    }
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

/* --- When there is room again --- */

static int
flush_failed(PipeTransport *self)
{
    PyObject *exc = PyErr_GetRaisedException();
    pyrsl_pipe_queue_clear(&self->queue);
    /* Here, because an empty queue tells force_close() that nothing waits. */
    if (pyrsl_loop_unwatch(self->loop, self->fd, RSL_WATCH_WRITE) < 0) {
        Py_DECREF(exc);
        return -1;
    }
    PyErr_SetRaisedException(exc);
    return write_failed(self);
}

/* The queue has run empty. */
static int
flush_done(PipeTransport *self)
{
    if (pyrsl_loop_unwatch(self->loop, self->fd, RSL_WATCH_WRITE) < 0
        || pyrsl_flow_shrunk(&self->flow, self->loop, (PyObject *)self,
                             self->protocol, 0)
               < 0) {
        return -1;
    }
    if (self->state != PIPE_CLOSING) {
        return 0;
    }
    if (pyrsl_loop_unwatch(self->loop, self->fd, RSL_WATCH_READ) < 0) {
        return -1;
    }
    return pyrsl_pipe_lose(self, NULL);
}

PyDoc_STRVAR(pipe_write_ready_doc,
"_write_ready($self, /)\n--\n\n"
"The pipe has room again.");

static PyObject *
pipe_write_ready(PipeTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (pyrsl_loop_check_owner(self->loop) < 0) {
        return NULL;
    }
    if (self->queue.bytes == 0 || self->loop == NULL) {
        Py_RETURN_NONE;
    }
    while (self->queue.bytes > 0) {
        size_t before = self->queue.bytes;
        int all = pyrsl_pipe_queue_write(&self->queue, self->fd);
        if (self->queue.bytes < before) {
            rsl_stats_wrote(self->loop->stats, before - self->queue.bytes);
        }
        if (all < 0) {
            return flush_failed(self) < 0 ? NULL : Py_NewRef(Py_None);
        }
        if (!all) {
            Py_RETURN_NONE;
        }
    }
    return flush_done(self) < 0 ? NULL : Py_NewRef(Py_None);
}

/* --- How it ends --- */

PyDoc_STRVAR(pipe_read_ready_doc,
"_read_ready($self, /)\n--\n\n"
"The reader has gone.");

static PyObject *
pipe_read_ready(PipeTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (pyrsl_loop_check_owner(self->loop) < 0
        || pyrsl_transport_log(self->loop, (PyObject *)self, self->st->str_info,
                               "%r was closed by peer")
               < 0) {
        return NULL;
    }
    PyObject *exc = NULL;
    if (self->queue.bytes > 0) {
        exc = PyObject_CallNoArgs(PyExc_BrokenPipeError);
        if (exc == NULL) {
            return NULL;
        }
    }
    int status = pyrsl_pipe_force_close(self, exc);
    Py_XDECREF(exc);
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(pipe_start_watching_doc,
"_start_watching($self, /)\n--\n\n"
"connection_made() was called: listen for the reader's end from now on.");

static PyObject *
pipe_start_watching(PipeTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (self->state != PIPE_OPEN && self->state != PIPE_CLOSING) {
        Py_RETURN_NONE;
    }
    if (pyrsl_loop_watch(self->loop, self->fd, RSL_WATCH_READ, (PyObject *)self,
                         self->st->str_read_ready)
        < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(pipe_write_eof_doc,
"write_eof($self, /)\n--\n\n"
"Close the pipe once the buffer has been written.");

static PyObject *
pipe_write_eof(PipeTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (!pyrsl_pipe_is_open(self)) {
        Py_RETURN_NONE;
    }
    if (pyrsl_loop_is_foreign(self->loop)) {
        return pyrsl_transport_hand_over_end((PyObject *)self, self->loop,
                                             "write_eof");
    }
    if (self->queue.bytes > 0) {
        self->state = PIPE_CLOSING;
    } else if (pyrsl_pipe_force_close(self, NULL) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(pipe_can_write_eof_doc,
"can_write_eof($self, /)\n--\n\n"
"Return True.");

static PyObject *
pipe_can_write_eof(PipeTransport *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_TRUE;
}

PyDoc_STRVAR(pipe_close_doc,
"close($self, /)\n--\n\n"
"Close the pipe once the buffer has been written.\n\n"
"connection_lost(None) is called then.");

static PyObject *
pipe_close(PipeTransport *self, PyObject *ignored)
{
    if (self->pipe == NULL || self->pipe == Py_None) {
        Py_RETURN_NONE;
    }
    return pipe_write_eof(self, ignored);
}

PyDoc_STRVAR(pipe_abort_doc,
"abort($self, /)\n--\n\n"
"Close the pipe now; what was not written is dropped.");

static PyObject *
pipe_abort(PipeTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (pyrsl_loop_is_foreign(self->loop)) {
        return pyrsl_transport_hand_over_end((PyObject *)self, self->loop,
                                             "abort");
    }
    if (pyrsl_pipe_force_close(self, NULL) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* --- Flow control --- */

PyDoc_STRVAR(pipe_get_write_buffer_size_doc,
"get_write_buffer_size($self, /)\n--\n\n"
"Return how many bytes the kernel has not taken.");

static PyObject *
pipe_get_write_buffer_size(PipeTransport *self, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSize_t(self->queue.bytes);
}

PyDoc_STRVAR(pipe_get_write_buffer_limits_doc,
"get_write_buffer_limits($self, /)\n--\n\n"
"Return the low and high marks of write flow control.");

static PyObject *
pipe_get_write_buffer_limits(PipeTransport *self, PyObject *Py_UNUSED(ignored))
{
    return pyrsl_flow_limits(&self->flow);
}

PyDoc_STRVAR(pipe_set_write_buffer_limits_doc,
"set_write_buffer_limits($self, /, high=None, low=None)\n--\n\n"
"Set the marks at which the protocol is told to pause and to resume.\n\n"
"Raises ValueError unless high >= low >= 0.");

static PyObject *
pipe_set_write_buffer_limits(PipeTransport *self, PyObject *const *args,
                             Py_ssize_t nargs, PyObject *kwnames)
{
    const pyrsl_fastcall call = {args, nargs, kwnames};
    int here = pyrsl_flow_method(&self->flow, (PyObject *)self, self->loop,
                                 PYRSL_FLOW_HIGH, &call);
    if (here > 0 && self->protocol != NULL && self->loop != NULL) {
        here = pyrsl_flow_grown(&self->flow, self->loop, (PyObject *)self,
                                self->protocol, self->queue.bytes);
    }
    return here < 0 ? NULL : Py_NewRef(Py_None);
}

PyMethodDef pyrsl_pipe_write_methods[] = {
    {"write", (PyCFunction)(void (*)(void))pipe_write,
     METH_FASTCALL | METH_KEYWORDS, pipe_write_doc},
    {"_write_ready", (PyCFunction)(void (*)(void))pipe_write_ready, METH_NOARGS,
     pipe_write_ready_doc},
    {"_read_ready", (PyCFunction)(void (*)(void))pipe_read_ready, METH_NOARGS,
     pipe_read_ready_doc},
    {"_start_watching", (PyCFunction)(void (*)(void))pipe_start_watching,
     METH_NOARGS, pipe_start_watching_doc},
    {"write_eof", (PyCFunction)(void (*)(void))pipe_write_eof, METH_NOARGS,
     pipe_write_eof_doc},
    {"can_write_eof", (PyCFunction)(void (*)(void))pipe_can_write_eof,
     METH_NOARGS, pipe_can_write_eof_doc},
    {"close", (PyCFunction)(void (*)(void))pipe_close, METH_NOARGS,
     pipe_close_doc},
    {"abort", (PyCFunction)(void (*)(void))pipe_abort, METH_NOARGS,
     pipe_abort_doc},
    {"get_write_buffer_size",
     (PyCFunction)(void (*)(void))pipe_get_write_buffer_size, METH_NOARGS,
     pipe_get_write_buffer_size_doc},
    {"get_write_buffer_limits",
     (PyCFunction)(void (*)(void))pipe_get_write_buffer_limits, METH_NOARGS,
     pipe_get_write_buffer_limits_doc},
    {"set_write_buffer_limits",
     (PyCFunction)(void (*)(void))pipe_set_write_buffer_limits,
     METH_FASTCALL | METH_KEYWORDS, pipe_set_write_buffer_limits_doc},
    {NULL, NULL, 0, NULL},
};
