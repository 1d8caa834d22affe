/* SPDX-License-Identifier: Apache-2.0 */
/* datagram_transport.c - events, and how a transport ends. */
#include "datagram_impl.h"

#include "errors.h"
#include "handle.h"

/* --- The end --- */

void
pyrsl_datagram_release(DatagramTransport *self)
{
    PyObject *sock = self->sock;
    self->sock = NULL;
    pyrsl_datagram_detach(self);
    pyrsl_datagram_drop_queue(self);
    if (sock == NULL) {
        return;
    }
    PyObject *result = PyObject_CallMethodNoArgs(sock, self->st->str_close);
    if (result == NULL) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    Py_XDECREF(result);
    Py_DECREF(sock);
}

int
pyrsl_datagram_lose(DatagramTransport *self, PyObject *exc)
{
    if (self->state == DATAGRAM_CLOSED) {
        return 0;
    }
    self->state = DATAGRAM_CLOSED;
    Py_INCREF(self);
    /* After a close() that had to drain, asyncio still sends what is sent in
     * there, if the socket takes it at once. */
    PyObject *raised = pyrsl_transport_tell_lost(self->st, self->protocol, exc);

    if (self->conn_lost == 0) {
        self->conn_lost = 1;
    }
    pyrsl_datagram_release(self);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->context);
    Py_DECREF(self);
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
        return -1;
    }
    return 0;
}

/* Out of memory the end is not on its way: abort() may try again. */
static int
datagram_schedule_lost(DatagramTransport *self, PyObject *exc)
{
    int status =
        pyrsl_transport_schedule_lost(self->loop, (PyObject *)self, exc);
    if (status < 0 && pyrsl_transport_may_end_again()) {
        self->state = DATAGRAM_CLOSING;
        self->conn_lost = 0;
    }
    return status;
}

/* asyncio's _force_close(). */
static int
datagram_force_close(DatagramTransport *self, PyObject *exc)
{
    if (self->conn_lost != 0) {
        return 0;
    }
    pyrsl_datagram_drop_queue(self);
    self->reading = false;
    self->writing = false;
    self->conn_lost = 1;
    int status = pyrsl_datagram_update(self);
    if (self->state == DATAGRAM_CLOSED) {
        return status; /* within connection_lost(): it is told already */
    }
    self->state = DATAGRAM_LOST;
    return datagram_schedule_lost(self, exc) < 0 ? -1 : status;
}

/* asyncio's close(): what is queued is sent first. */
static int
datagram_close(DatagramTransport *self)
{
    if (self->state != DATAGRAM_OPEN) {
        return 0;
    }
    self->reading = false;
    self->state = DATAGRAM_CLOSING;
    if (self->queue.count > 0) {
        return pyrsl_datagram_update(self);
    }
    self->writing = false;
    self->state = DATAGRAM_LOST;
    self->conn_lost = 1;
    int status = pyrsl_datagram_update(self);
    return datagram_schedule_lost(self, NULL) < 0 ? -1 : status;
}

/* Report by loop._on_fatal_error(), which knows what asyncio logs. */
static int
datagram_report_fatal(DatagramTransport *self, PyObject *exc,
                      const char *message)
{
    PyObject *text = PyUnicode_FromString(message);
    if (text == NULL) {
        return -1;
    }
    PyObject *result = PyObject_CallMethodObjArgs(
        (PyObject *)self->loop, self->st->str_on_fatal_error, self,
        self->protocol, exc, text, NULL);
    Py_DECREF(text);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
pyrsl_datagram_fatal(DatagramTransport *self, const char *message)
{
    if (pyrsl_exception_leaves_loop()) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    int status = 0;
    PyObject *raised = NULL;
    if (self->loop == NULL) {
        /* Where asyncio's own _fatal_error() ends after connection_lost(). */
        PyErr_SetString(PyExc_AttributeError,
                        "'NoneType' object has no attribute "
                        "'call_exception_handler'");
        Py_DECREF(exc);
        return -1;
    }
    if (datagram_report_fatal(self, exc, message) < 0) {
        status = -1;
        raised = PyErr_GetRaisedException();
    }
    if (datagram_force_close(self, exc) < 0) {
        status = -1;
    }
    Py_DECREF(exc);
    if (raised != NULL) {
        PyErr_Clear();
        PyErr_SetRaisedException(raised);
    }
    return status;
}

int
pyrsl_datagram_tell_error(DatagramTransport *self)
{
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *protocol =
        Py_NewRef(self->protocol == NULL ? Py_None : self->protocol);
    PyObject *result =
        PyObject_CallMethodOneArg(protocol, self->st->str_error_received, exc);
    Py_DECREF(protocol);
    Py_DECREF(exc);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* --- Events --- */

typedef int (*datagram_body)(DatagramTransport *self);

/* What asyncio's Handle of the reader or writer does about an exception: tell
 * the loop's handler, with a Handle that names the callback. */
static int
datagram_report(DatagramTransport *self, LoopObject *loop, PyObject *context,
                PyObject *callback_name)
{
    if (pyrsl_exception_leaves_loop()) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *callback = PyObject_GetAttr((PyObject *)self, callback_name);
    PyObject *handle = NULL, *result = NULL;
    if (callback != NULL) {
        pyrsl_callback call = {.function = callback, .context = context};
        handle = pyrsl_handle_new(loop, self->st->HandleType, &call);
        Py_DECREF(callback);
    }
    if (handle != NULL) {
        result = PyObject_CallMethodObjArgs(
            (PyObject *)loop, self->st->str_on_handle_error, handle, exc, NULL);
        Py_DECREF(handle);
    }
    Py_DECREF(exc);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int
datagram_run(DatagramTransport *self, datagram_body body,
             PyObject *callback_name)
{
    /* connection_lost() may come inside the body. */
    LoopObject *loop = (LoopObject *)Py_NewRef(self->loop);
    PyObject *context = Py_NewRef(self->context);
    int status = PyContext_Enter(context);
    if (status == 0) {
        status = body(self);
        PyObject *raised = status < 0 ? PyErr_GetRaisedException() : NULL;
        if (PyContext_Exit(context) < 0) {
            PyErr_WriteUnraisable((PyObject *)self);
        }
        if (raised != NULL) {
            PyErr_SetRaisedException(raised);
        }
    }
    if (status < 0) {
        status = datagram_report(self, loop, context, callback_name);
    }
    Py_DECREF(context);
    Py_DECREF(loop);
    return status;
}

int
pyrsl_datagram_event(LoopObject *loop, rsl_event event)
{
    rsl_dgram *dgram = rsl_dgram_find(loop->rt, rsl_tag_id(event.tag));
    if (dgram == NULL) {
        return 0;
    }
    DatagramTransport *self = rsl_dgram_owner(dgram);
    Py_INCREF(self);
    int status = 0;
    if ((event.u.arg & RSL_WATCH_READ) != 0 && self->reading) {
        status = datagram_run(self, pyrsl_datagram_receive,
                              self->st->str_read_ready);
    }
    if (status == 0 && (event.u.arg & RSL_WATCH_WRITE) != 0 && self->writing) {
        status = datagram_run(self, pyrsl_datagram_drain,
                              self->st->str_sendto_ready);
    }
    Py_DECREF(self);
    return status;
}

PyObject *
pyrsl_datagram_event_owner(LoopObject *loop, rsl_event event)
{
    rsl_dgram *dgram = rsl_dgram_find(loop->rt, rsl_tag_id(event.tag));
    return Py_NewRef(dgram == NULL ? Py_None : rsl_dgram_owner(dgram));
}

/* --- Methods --- */

PyDoc_STRVAR(datagram_close_doc,
"close($self, /)\n--\n\n"
"Close the transport when what is queued has been sent.\n\n"
"Nothing is received any more; connection_lost(None) is called later.");

static PyObject *
datagram_close_method(DatagramTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (self->state == DATAGRAM_OPEN && pyrsl_loop_is_foreign(self->loop)) {
        return pyrsl_transport_hand_over_end((PyObject *)self, self->loop,
                                             "close");
    }
    if (datagram_close(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(datagram_abort_doc,
"abort($self, /)\n--\n\n"
"Close the transport now; what is queued is dropped.");

static PyObject *
datagram_abort(DatagramTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (self->conn_lost == 0 && pyrsl_loop_is_foreign(self->loop)) {
        return pyrsl_transport_hand_over_end((PyObject *)self, self->loop,
                                             "abort");
    }
    if (datagram_force_close(self, NULL) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(datagram_is_closing_doc,
"is_closing($self, /)\n--\n\n"
"Return True if the transport is closing or closed.");

static PyObject *
datagram_is_closing(DatagramTransport *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(self->state != DATAGRAM_OPEN);
}

PyDoc_STRVAR(datagram_call_connection_lost_doc,
"_call_connection_lost($self, exc, /)\n--\n\n"
"Tell the protocol, then close the socket.");

static PyObject *
datagram_call_connection_lost(DatagramTransport *self, PyObject *exc)
{
    if (pyrsl_loop_check_owner(self->loop) < 0
        || pyrsl_datagram_lose(self, exc) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(datagram_abandon_doc,
"_abandon($self, /)\n--\n\n"
"Close the socket of a transport that was collected.");

static PyObject *
datagram_abandon(DatagramTransport *self, PyObject *Py_UNUSED(ignored))
{
    self->state = DATAGRAM_CLOSED;
    pyrsl_datagram_release(self);
    Py_RETURN_NONE;
}

PyMethodDef pyrsl_datagram_methods[] = {
    {"close", (PyCFunction)(void (*)(void))datagram_close_method, METH_NOARGS,
     datagram_close_doc},
    {"abort", (PyCFunction)(void (*)(void))datagram_abort, METH_NOARGS,
     datagram_abort_doc},
    {"is_closing", (PyCFunction)(void (*)(void))datagram_is_closing,
     METH_NOARGS, datagram_is_closing_doc},
    {"_call_connection_lost",
     (PyCFunction)(void (*)(void))datagram_call_connection_lost, METH_O,
     datagram_call_connection_lost_doc},
    {"_abandon", (PyCFunction)(void (*)(void))datagram_abandon, METH_NOARGS,
     datagram_abandon_doc},
    {NULL, NULL, 0, NULL},
};
