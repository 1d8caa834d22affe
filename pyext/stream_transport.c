/* SPDX-License-Identifier: Apache-2.0 */
/* stream_transport.c - the type, and how a transport ends. */
#include "stream_impl.h"

#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clients.h"
#include "errors.h"
#include "handle.h"
#include "stream_tls.h"

/* --- The fd and the loop's reference --- */

void
pyrsl_stream_update_held(StreamTransport *self)
{
    bool hold = self->conn != NULL && (self->reading || self->write_blocked);
    if (hold == self->held) {
        return;
    }
    self->held = hold;
    if (hold) {
        Py_INCREF(self);
    } else {
        Py_DECREF(self);
    }
}

static void
stream_close_socket(StreamTransport *self, PyObject *sock)
{
    if (sock == NULL || sock == Py_None) {
        return;
    }
    PyObject *result = PyObject_CallMethodNoArgs(sock, self->st->str_close);
    if (result == NULL) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    Py_XDECREF(result);
}

/* The runtime thread is reading the fd: what is left to do waits in a Handle
 * that keeps us alive until hooks.conn_closed() queues it. Made now, because
 * the hook may not call Python. */
static void
stream_defer_socket(StreamTransport *self, LoopObject *loop, PyObject *sock)
{
    PyObject *method =
        PyObject_GetAttr((PyObject *)self, self->st->str_release_socket);
    PyObject *args[] = {sock == NULL ? Py_None : sock};
    if (method != NULL) {
        pyrsl_callback callback = {method, args, 1, NULL};
        self->release_handle =
            pyrsl_handle_new(loop, self->st->HandleType, &callback);
    }
    if (self->release_handle == NULL) {
        PyErr_WriteUnraisable((PyObject *)self);
        Py_INCREF(self); /* the runtime still knows our address */
    }
    Py_XDECREF(method);
}

/* Close the conn, which lends its fd when `lent`; then close `sock`. */
static void
stream_close_conn(StreamTransport *self, bool lent, PyObject *sock)
{
    LoopObject *loop = self->loop;
    rsl_conn *conn = self->conn;
    if (self->flight != NULL) {
        pyrsl_flight_settle(self);
    }
    self->conn = NULL;
    self->reading = false;
    self->write_blocked = false;
    pyrsl_transport_drop(loop, self->fd, (PyObject *)self);
    self->fd_released = false;
    rsl_conn_close(conn);
    if (lent && !self->fd_released) {
        stream_defer_socket(self, loop, sock);
    } else {
        stream_close_socket(self, sock);
    }
    pyrsl_stream_update_held(self);
}

/* hooks.conn_closed: inside rsl_conn_close(), or at a later turn. */
void
pyrsl_stream_conn_closed(void *owner)
{
    StreamTransport *self = owner;
    PyObject *handle = self->release_handle;
    if (handle == NULL) {
        self->fd_released = true;
        return;
    }
    self->release_handle = NULL;
    LoopObject *loop = (LoopObject *)((HandleObject *)handle)->loop;
    rsl_event event = {.tag = rsl_tag(RSL_EV_CALL, 0), .u.ptr = handle};
    if (pyrsl_ready_push(&loop->ready, event) < 0) {
        loop->lost_event = true; /* the handle stays: better than a crash */
    }
}

void
pyrsl_stream_detach(StreamTransport *self)
{
    if (self->conn == NULL) {
        return;
    }
    if (self->sock == NULL) {
        rsl_conn_borrow_fd(self->conn);
        self->raw_fd = self->fd;
    }
    stream_close_conn(self, true, NULL);
}

void
pyrsl_stream_release(StreamTransport *self)
{
    PyObject *sock = self->sock;
    self->sock = NULL;
    if (sock != NULL) {
        /* Before close(), in which another thread may ask for it. */
        Py_XSETREF(self->closed_sock, Py_NewRef(sock));
    }
    if (self->conn != NULL) {
        stream_close_conn(self, sock != NULL, sock);
    } else if (sock != NULL) {
        stream_close_socket(self, sock);
    } else if (self->raw_fd >= 0) {
        close(self->raw_fd);
    }
    self->raw_fd = -1;
    Py_XDECREF(sock);
}

/* --- The end --- */

static int
stream_detach_server(StreamTransport *self)
{
    PyObject *server = self->server;
    int status = 0;
    if (server != NULL) {
        self->server = NULL;
        status = pyrsl_clients_detach(self->st, server, (PyObject *)self);
    }
    return pyrsl_stream_unlimit(self) < 0 ? -1 : status;
}

static int
stream_fail_waiter(StreamTransport *self)
{
    PyObject *waiter = self->empty_waiter;
    if (waiter == NULL) {
        return 0;
    }
    PyObject *exc = PyObject_CallFunction(PyExc_ConnectionError, "s",
                                          "Connection is closed by peer");
    if (exc == NULL) {
        return -1;
    }
    int status = pyrsl_stream_settle_waiter(self, exc);
    Py_DECREF(exc);
    return status;
}

/* A sendfile sends by a dup of the fd (Loop._sendfile_native()), which closing
 * ours would leave to send on: it ends with the connection. */
static void
stream_end_sendfile(StreamTransport *self)
{
    if (self->empty_waiter != NULL && self->conn != NULL) {
        /* ENOTCONN: the peer has ended it. */
        (void)shutdown(rsl_conn_fd(self->conn), SHUT_RDWR);
    }
}

int
pyrsl_stream_lose(StreamTransport *self, PyObject *exc)
{
    if (self->state == STREAM_CLOSED) {
        return 0;
    }
    self->state = STREAM_CLOSED;
    pyrsl_flight_note(self, FLIGHT_LOST, 0);
    Py_INCREF(self);
    bool told = true;
    int status = 0;
    if (self->tls != NULL) {
        status = pyrsl_stream_tls_lose(self, exc, &told);
    }
    /* After a close() that had to drain, asyncio still sends what is written
     * in there: as much as the socket takes at once. */
    PyObject *raised =
        told ? pyrsl_transport_tell_lost(self->st, self->protocol, exc) : NULL;

    if (self->conn_lost == 0) {
        self->conn_lost = 1;
    }
    stream_end_sendfile(self);
    pyrsl_stream_release(self);
    if (stream_detach_server(self) < 0 || stream_fail_waiter(self) < 0) {
        status = -1;
    }
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->context);
    Py_DECREF(self);
    if (raised != NULL) {
        PyErr_Clear();
        PyErr_SetRaisedException(raised);
        return -1;
    }
    return status;
}

void
pyrsl_stream_abandon(StreamTransport *self)
{
    self->state = STREAM_CLOSED;
    self->conn_lost = self->conn_lost == 0 ? 1 : self->conn_lost;
    pyrsl_stream_release(self);
    if (stream_detach_server(self) < 0) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
}

/* Out of memory the end is not on its way: abort() may try again. */
static int
stream_schedule_lost(StreamTransport *self, PyObject *exc)
{
    int status =
        pyrsl_transport_schedule_lost(self->loop, (PyObject *)self, exc);
    if (status < 0 && pyrsl_transport_may_end_again()) {
        self->state = STREAM_CLOSING;
        self->conn_lost = 0;
    }
    return status;
}

int
pyrsl_stream_force_close(StreamTransport *self, PyObject *exc)
{
    StreamTransport *successor = pyrsl_stream_successor(self);
    if (successor != NULL) {
        return pyrsl_stream_force_close(successor, exc);
    }
    /* What asyncio's write() would have sent by now; but not to a socket that
     * has failed, where only another error would come of it. */
    int status = self->end_errno != 0 ? 0 : pyrsl_stream_catch_up(self);
    if (self->conn_lost != 0) {
        return status;
    }
    pyrsl_flight_note(self, FLIGHT_ABORT, 0);
    if (self->conn != NULL) {
        rsl_conn_discard_writes(self->conn);
    }
    self->write_blocked = false;
    self->conn_lost = 1;
    if (self->state == STREAM_CLOSED) {
        return status; /* within connection_lost(): it is told already */
    }
    self->state = STREAM_LOST;
    status = pyrsl_stream_read_end(self) < 0 ? -1 : status;
    return stream_schedule_lost(self, exc) < 0 ? -1 : status;
}

int
pyrsl_stream_close(StreamTransport *self)
{
    StreamTransport *successor = pyrsl_stream_successor(self);
    if (successor != NULL) {
        return pyrsl_stream_close(successor);
    }
    if (self->state != STREAM_OPEN) {
        return 0;
    }
    pyrsl_flight_note(self, FLIGHT_CLOSE, 0);
    /* What asyncio's write() would have sent by now. */
    if (pyrsl_stream_catch_up(self) < 0) {
        return -1;
    }
    if (self->state != STREAM_OPEN) {
        return 0; /* the flush met an error */
    }
    if (self->tls != NULL) {
        return pyrsl_stream_tls_close(self);
    }
    bool drained = pyrsl_stream_backlog(self) == 0;
    self->state = drained ? STREAM_LOST : STREAM_CLOSING;
    self->conn_lost = drained ? 1 : 0;
    int status = pyrsl_stream_read_end(self);
    if (drained && stream_schedule_lost(self, NULL) < 0) {
        return -1;
    }
    return status;
}

int
pyrsl_stream_fatal(StreamTransport *self, const char *message)
{
    if (pyrsl_exception_leaves_loop()) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    pyrsl_flight_note(self, FLIGHT_ERROR, 0);
    LoopObject *loop = self->loop;
    int status = 0;
    if (loop != NULL
        && (loop->debug
            || !PyObject_TypeCheck(exc, (PyTypeObject *)PyExc_OSError))) {
        PyObject *text = PyUnicode_FromString(message);
        PyObject *result = NULL;
        if (text != NULL) {
            result = PyObject_CallMethodObjArgs(
                (PyObject *)loop, self->st->str_on_fatal_error, self,
                self->protocol == NULL ? Py_None : self->protocol, exc, text,
                NULL);
            Py_DECREF(text);
        }
        status = result == NULL ? -1 : 0;
        Py_XDECREF(result);
    }
    PyObject *raised = status < 0 ? PyErr_GetRaisedException() : NULL;
    if (pyrsl_stream_force_close(self, exc) < 0) {
        status = -1;
    }
    Py_DECREF(exc);
    if (raised != NULL) {
        PyErr_Clear();
        PyErr_SetRaisedException(raised);
    }
    return status;
}

/* --- Events --- */

static bool
stream_is_input(rsl_event event)
{
    rsl_event_kind kind = rsl_tag_kind(event.tag);
    return kind != RSL_EV_WRITABLE && kind != RSL_EV_SENT;
}

static int
stream_dispatch(StreamTransport *self, LoopObject *loop, rsl_event event)
{
    if (pyrsl_stream_tls_takes(self) && stream_is_input(event)) {
        return pyrsl_stream_tls_event(self, event);
    }
    switch (rsl_tag_kind(event.tag)) {
    case RSL_EV_READABLE:
        if (self->deadlines != NULL) {
            pyrsl_stream_touch_input(self);
        }
        return pyrsl_stream_on_readable(self);
    case RSL_EV_DATA:
        if (self->deadlines != NULL) {
            pyrsl_stream_touch_input(self);
        }
        rsl_conn_received(self->conn);
        return pyrsl_stream_on_data(self, loop, event.u.ptr);
    case RSL_EV_EOF:
        return pyrsl_stream_on_end(self, 0);
    case RSL_EV_READ_ERROR:
        return pyrsl_stream_on_end(self, (int)event.u.arg);
    case RSL_EV_WRITABLE:
        if (self->deadlines != NULL) {
            pyrsl_stream_touch_room(self);
        }
        return pyrsl_stream_on_writable(self);
    case RSL_EV_SENT:
        return pyrsl_stream_on_sent(self, (int)event.u.arg);
    case RSL_EV_NONE:
    case RSL_EV_CALL:
    case RSL_EV_ACCEPTABLE:
    case RSL_EV_ACCEPT_ERROR:
    case RSL_EV_DGRAM:
    case RSL_EV_WATCH:
    case RSL_EV_MESSAGE:
        break;
    }
    return 0;
}

/* What asyncio's Handle._run() reports: an error that no rule of the transport
 * covers, like one raised by connection_lost() of a drained transport. */
static int
stream_report(StreamTransport *self, LoopObject *loop)
{
    if (pyrsl_exception_leaves_loop()) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    pyrsl_flight_note(self, FLIGHT_ERROR, 0);
    PyObject *text = PyUnicode_FromFormat("Exception in callback of %R", self);
    PyObject *result = NULL;
    if (text != NULL) {
        result = PyObject_CallMethodObjArgs(
            (PyObject *)loop, self->st->str_on_flow_error, self,
            self->protocol == NULL ? Py_None : self->protocol, exc, text, NULL);
        Py_DECREF(text);
    }
    Py_DECREF(exc);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
pyrsl_stream_event_end(StreamTransport *self, LoopObject *loop, int status)
{
    if (status == 0) {
        return 0;
    }
    status = stream_report(self, loop);
    /* An end that could not be scheduled for want of memory. */
    if (status == 0 && self->state == STREAM_CLOSING && !self->write_blocked) {
        status = pyrsl_stream_force_close(self, NULL);
    }
    return status;
}

int
pyrsl_stream_event(LoopObject *loop, rsl_event event)
{
    rsl_conn *conn = rsl_conn_find(loop->rt, rsl_tag_id(event.tag));
    if (conn == NULL) {
        pyrsl_event_discard(loop, event);
        return 0;
    }
    StreamTransport *self = rsl_conn_owner(conn);
    Py_INCREF(self);
    if (self->flight != NULL) {
        pyrsl_flight_add_event(self, event);
    }
    int status = stream_dispatch(self, loop, event);
    status = pyrsl_stream_event_end(self, loop, status);
    Py_DECREF(self);
    return status;
}

void
pyrsl_event_discard(LoopObject *loop, rsl_event event)
{
    if (rsl_tag_kind(event.tag) == RSL_EV_DATA) {
        rsl_chunk_release(loop->rt, event.u.ptr);
    }
}
