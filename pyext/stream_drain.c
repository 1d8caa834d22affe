/* SPDX-License-Identifier: Apache-2.0 */
/* stream_drain.c - the output queue meets the socket, and what follows. */
#include "stream_impl.h"

#include <errno.h>

#include "args.h"
#include "errors.h"
#include "future.h"
#include "stream_tls.h"

#define WRITE_FAILED "Fatal write error on socket transport"

size_t
pyrsl_stream_backlog(const StreamTransport *self)
{
    return self->conn == NULL ? 0 : rsl_conn_backlog(self->conn);
}

/* --- Sending --- */

int
pyrsl_stream_settle_waiter(StreamTransport *self, PyObject *exc)
{
    if (self->empty_waiter == NULL) {
        return 0;
    }
    PyObject *waiter = Py_NewRef(self->empty_waiter);
    int status = pyrsl_future_wake(self->st, waiter, self->st->str_done, exc);
    Py_DECREF(waiter);
    return status;
}

static int
drain_failed(StreamTransport *self, int code)
{
    self->write_blocked = false;
    rsl_conn_discard_writes(self->conn);
    PyObject *exc;
    const char *message = WRITE_FAILED;
    if (pyrsl_stream_tls_has_failed(self)) {
        pyrsl_stream_tls_raise(self);
        exc = PyErr_GetRaisedException();
        message = STREAM_TLS_FAILED;
    } else {
        exc = pyrsl_os_error(code);
    }
    if (exc == NULL) {
        return -1;
    }
    PyErr_SetRaisedException(Py_NewRef(exc));
    int status = pyrsl_stream_fatal(self, message);
    if (status == 0) {
        status = pyrsl_stream_settle_waiter(self, exc);
    }
    Py_DECREF(exc);
    return status;
}

int
pyrsl_stream_flush(StreamTransport *self)
{
    rsl_err err = {0, NULL};
    switch (rsl_conn_flush(self->conn, &err)) {
    case RSL_OK:
        self->write_blocked = false;
        break;
    case RSL_AGAIN:
    case RSL_BUSY:
        self->write_blocked = true;
        break;
    case RSL_OS:
        return drain_failed(self, err.code);
    case RSL_EOF:
    case RSL_NOMEM:
    case RSL_CLOSED:
    case RSL_UNSUPPORTED:
    case RSL_TLS:
    case RSL_FORKED:
        return drain_failed(self, ENOMEM);
    }
    pyrsl_stream_update_held(self);
    return 0;
}

/* What asyncio's write() would have sent by now. Nothing where the socket is
 * known to be full. */
int
pyrsl_stream_catch_up(StreamTransport *self)
{
    if (self->conn_lost != 0 || self->write_blocked
        || pyrsl_stream_backlog(self) == 0) {
        return 0;
    }
    return pyrsl_stream_flush(self);
}

/* --- Bulk output ---
 *
 * A send to a peer that has read everything wakes it, which can cost more than
 * the copy. Who writes much and hears nothing in between has its output sent in
 * large pieces therefore: it may wait, for 100 us at most, as long as callbacks
 * are ready and the kernel is known to have room for all of it, so that
 * asyncio's write() would not have had to pause the protocol either. */

#define DRAIN_BULK_MAX (((size_t)1 << 20) - 1)

void
pyrsl_stream_end_bulk(StreamTransport *self)
{
    self->streak = 0;
    self->flush_at =
        self->flow.high < STREAM_BATCH_MAX ? self->flow.high : STREAM_BATCH_MAX;
    if (self->conn != NULL) {
        rsl_conn_linger(self->conn, false);
    }
}

void
pyrsl_stream_note_send(StreamTransport *self)
{
    if (self->streak < STREAM_BULK) {
        self->streak++;
    }
    if (self->streak < STREAM_BULK || self->conn == NULL) {
        return;
    }
    if (self->conn_lost != 0 || !self->reading
        || rsl_conn_backlog(self->conn) > 0
        || self->flow.high < STREAM_BATCH_MAX
        || rsl_conn_room(self->conn) <= DRAIN_BULK_MAX) {
        pyrsl_stream_end_bulk(self);
        return;
    }
    self->flush_at = DRAIN_BULK_MAX;
    rsl_conn_linger(self->conn, true);
}

static int
drain_shutdown(StreamTransport *self)
{
    rsl_err err = {0, NULL};
    self->eof_sent = true;
    rsl_status status = rsl_conn_shutdown_write(self->conn, &err);
    if (status != RSL_OK) {
        pyrsl_raise(status, &err);
        return -1;
    }
    return 0;
}

/* --- After the kernel has taken something --- */

/* resume_writing() wrote again. That leaves at the end of the turn, unless a
 * close, an end or a waiter wants it gone. */
static int
drain_more(StreamTransport *self)
{
    if (self->state == STREAM_OPEN && !self->eof && self->reading
        && self->empty_waiter == NULL) {
        return 0;
    }
    return pyrsl_stream_catch_up(self);
}

/* asyncio's _write_ready() after a send. */
static int
drain_progressed(StreamTransport *self)
{
    if (self->conn_lost != 0) {
        return 0;
    }
    if (pyrsl_flow_shrunk(&self->flow, self->loop, (PyObject *)self,
                          self->protocol, pyrsl_stream_backlog(self))
            < 0
        || drain_more(self) < 0) {
        return -1;
    }
    if (self->conn_lost != 0 || pyrsl_stream_backlog(self) > 0) {
        return 0;
    }
    pyrsl_stream_update_held(self);
    if (pyrsl_stream_settle_waiter(self, NULL) < 0) {
        return -1;
    }
    if (self->state == STREAM_CLOSING) {
        return self->tls == NULL ? pyrsl_stream_lose(self, NULL)
                                 : pyrsl_stream_tls_drained(self);
    }
    return self->eof && !self->eof_sent ? drain_shutdown(self) : 0;
}

typedef int (*drain_body)(StreamTransport *self, int code);

static int
drain_writable(StreamTransport *self, int Py_UNUSED(code))
{
    return pyrsl_stream_flush(self) < 0 ? -1 : drain_progressed(self);
}

static int
drain_sent(StreamTransport *self, int code)
{
    if (code != 0) {
        return drain_failed(self, code);
    }
    if (pyrsl_stream_backlog(self) == 0) {
        self->write_blocked = false;
    }
    return drain_progressed(self);
}

/* Callbacks run where the reader's do, as in asyncio from 3.15 on; before, it
 * takes the context of the write() that had to wait. */
static int
drain_in_context(StreamTransport *self, drain_body body, int code)
{
    if (self->conn_lost != 0) {
        return 0;
    }
    PyObject *context = pyrsl_stream_enter_context(self);
    if (context == NULL) {
        return -1;
    }
    int status = pyrsl_context_leave(context, body(self, code));
    Py_DECREF(context);
    return status;
}

int
pyrsl_stream_on_writable(StreamTransport *self)
{
    return drain_in_context(self, drain_writable, 0);
}

int
pyrsl_stream_on_sent(StreamTransport *self, int code)
{
    return drain_in_context(self, drain_sent, code);
}

/* --- Methods --- */

/* --- What comes too late --- */

/* asyncio.constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES */
#define CONN_LOST_WRITES_MAX 5

int
pyrsl_stream_write_dropped(StreamTransport *self)
{
    /* A TLS transport that is closing is not lost, and has words of its own. */
    bool closing = self->tls != NULL && self->conn_lost == 0;
    unsigned *drops = closing ? &self->tls->late_writes : &self->conn_lost;
    int status = 0;
    if (*drops >= CONN_LOST_WRITES_MAX) {
        PyObject *text =
            PyUnicode_FromString(closing ? "SSL connection is closed"
                                         : "socket.send() raised exception.");
        PyObject *result = NULL;
        if (text != NULL) {
            result = PyObject_CallMethodOneArg(self->st->logger,
                                               self->st->str_warning, text);
            Py_DECREF(text);
        }
        status = result == NULL ? -1 : 0;
        Py_XDECREF(result);
    }
    ++*drops;
    return status;
}

PyDoc_STRVAR(stream_write_eof_doc,
"write_eof($self, /)\n--\n\n"
"Close the write end once the buffer has been sent.");

static PyObject *
stream_write_eof(StreamTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (self->tls != NULL) { /* as asyncio: TLS ends both ways at once */
        PyErr_SetNone(PyExc_NotImplementedError);
        return NULL;
    }
    if (self->state != STREAM_OPEN || self->eof) {
        Py_RETURN_NONE;
    }
    if (pyrsl_loop_is_foreign(self->loop)) {
        return pyrsl_transport_hand_over((PyObject *)self, self->loop,
                                         "write_eof", NULL, 0);
    }
    pyrsl_flight_note(self, FLIGHT_WRITE_EOF, 0);
    self->eof = true;
    if (pyrsl_stream_catch_up(self) < 0) {
        return NULL;
    }
    if (self->state == STREAM_OPEN && pyrsl_stream_backlog(self) == 0
        && drain_shutdown(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stream_can_write_eof_doc,
"can_write_eof($self, /)\n--\n\n"
"Return whether the stream can be closed one way: TLS cannot.");

static PyObject *
stream_can_write_eof(StreamTransport *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(self->tls == NULL);
}

PyDoc_STRVAR(stream_get_write_buffer_size_doc,
"get_write_buffer_size($self, /)\n--\n\n"
"Return how many bytes the kernel has not taken.");

static PyObject *
stream_get_write_buffer_size(StreamTransport *self,
                             PyObject *Py_UNUSED(ignored))
{
    if (self->loop != NULL && pyrsl_loop_is_owner(self->loop)
        && pyrsl_stream_catch_up(self) < 0) {
        return NULL;
    }
    return PyLong_FromSize_t(pyrsl_stream_backlog(self));
}

PyDoc_STRVAR(stream_get_write_buffer_limits_doc,
"get_write_buffer_limits($self, /)\n--\n\n"
"Return the low and high marks of write flow control.");

static PyObject *
stream_get_write_buffer_limits(StreamTransport *self,
                               PyObject *Py_UNUSED(ignored))
{
    return pyrsl_flow_limits(&self->flow);
}

PyDoc_STRVAR(stream_set_write_buffer_limits_doc,
"set_write_buffer_limits($self, /, high=None, low=None)\n--\n\n"
"Set the marks at which the protocol is told to pause and to resume.\n\n"
"Raises ValueError unless high >= low >= 0.");

static PyObject *
stream_set_write_buffer_limits(StreamTransport *self, PyObject *const *args,
                               Py_ssize_t nargs, PyObject *kwnames)
{
    const pyrsl_fastcall call = {args, nargs, kwnames};
    int here = pyrsl_flow_method(
        &self->flow, (PyObject *)self, self->loop,
        self->tls == NULL ? PYRSL_FLOW_HIGH : PYRSL_FLOW_HIGH_TLS_WRITE, &call);
    if (here <= 0) {
        return here < 0 ? NULL : Py_NewRef(Py_None);
    }
    pyrsl_stream_end_bulk(self);
    if (pyrsl_stream_backlog(self) > self->flow.high
        && pyrsl_stream_catch_up(self) < 0) {
        return NULL;
    }
    if (self->conn_lost == 0
        && pyrsl_flow_grown(&self->flow, self->loop, (PyObject *)self,
                            self->protocol, pyrsl_stream_backlog(self))
               < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stream_make_empty_waiter_doc,
"_make_empty_waiter($self, /)\n--\n\n"
"A future that is done when the buffer is empty; write() is refused until\n"
"_reset_empty_waiter().");

static PyObject *
stream_make_empty_waiter(StreamTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (pyrsl_loop_check_owner(self->loop) < 0) {
        return NULL;
    }
    if (self->empty_waiter != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Empty waiter is already set");
        return NULL;
    }
    if (self->loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the transport is closed");
        return NULL;
    }
    if (pyrsl_stream_catch_up(self) < 0) {
        return NULL;
    }
    PyObject *waiter = PyObject_CallMethodNoArgs((PyObject *)self->loop,
                                                 self->st->str_create_future);
    if (waiter == NULL) {
        return NULL;
    }
    Py_XSETREF(self->empty_waiter, Py_NewRef(waiter));
    if (pyrsl_stream_backlog(self) == 0
        && pyrsl_stream_settle_waiter(self, NULL) < 0) {
        Py_CLEAR(waiter);
    }
    return waiter;
}

PyDoc_STRVAR(stream_reset_empty_waiter_doc,
"_reset_empty_waiter($self, /)\n--\n\n"
"Allow write() again.");

static PyObject *
stream_reset_empty_waiter(StreamTransport *self, PyObject *Py_UNUSED(ignored))
{
    Py_CLEAR(self->empty_waiter);
    Py_RETURN_NONE;
}

PyMethodDef pyrsl_stream_drain_methods[] = {
    {"write_eof", (PyCFunction)(void (*)(void))stream_write_eof, METH_NOARGS,
     stream_write_eof_doc},
    {"can_write_eof", (PyCFunction)(void (*)(void))stream_can_write_eof,
     METH_NOARGS, stream_can_write_eof_doc},
    {"get_write_buffer_size",
     (PyCFunction)(void (*)(void))stream_get_write_buffer_size, METH_NOARGS,
     stream_get_write_buffer_size_doc},
    {"get_write_buffer_limits",
     (PyCFunction)(void (*)(void))stream_get_write_buffer_limits, METH_NOARGS,
     stream_get_write_buffer_limits_doc},
    {"set_write_buffer_limits",
     (PyCFunction)(void (*)(void))stream_set_write_buffer_limits,
     METH_FASTCALL | METH_KEYWORDS, stream_set_write_buffer_limits_doc},
    {"_make_empty_waiter",
     (PyCFunction)(void (*)(void))stream_make_empty_waiter, METH_NOARGS,
     stream_make_empty_waiter_doc},
    {"_reset_empty_waiter",
     (PyCFunction)(void (*)(void))stream_reset_empty_waiter, METH_NOARGS,
     stream_reset_empty_waiter_doc},
    {NULL, NULL, 0, NULL},
};
