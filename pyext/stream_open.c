/* SPDX-License-Identifier: Apache-2.0 */
/* stream_open.c - from a connected fd to a transport that will be announced. */
#include <unistd.h>

#include "args.h"
#include "clients.h"
#include "errors.h"
#include "handle.h"
#include "stream_impl.h"
#include "stream_tls.h"

/* --- Making one --- */

static StreamTransport *
stream_alloc(LoopObject *loop, const stream_request *request)
{
    PyTypeObject *type = request->tls == NULL
                             ? loop->st->StreamTransportType
                             : loop->st->SSLStreamTransportType;
    StreamTransport *self = (StreamTransport *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->st = loop->st;
    self->loop = (LoopObject *)Py_NewRef(loop);
    self->state = STREAM_CLOSED; /* nothing to warn about yet */
    self->fd = request->fd;
    self->raw_fd = -1;
    self->extra = Py_XNewRef(request->extra);
    self->sock = Py_XNewRef(request->sock);
    self->family = (uint16_t)request->family;
    self->type = (uint16_t)request->type;
    self->proto = (uint16_t)request->proto;
    pyrsl_flow_init(&self->flow);
    pyrsl_stream_end_bulk(self);
    return self;
}

static void
stream_set_nodelay(const StreamTransport *self)
{
    if (self->names.families[STREAM_SOCKNAME] == 0) {
        return;
    }
    /* Fails for streams that are not TCP, which need none, and for a peer that
     * has gone, which the first read will tell. */
    rsl_sockopt_nodelay(self->fd);
}

/* Open the native side; from here on the fd is the transport's to close. */
static int
stream_adopt_fd(StreamTransport *self)
{
    pyrsl_transport_evict(self->loop, self->fd);
    if (pyrsl_transport_put(self->loop, self->fd, (PyObject *)self) < 0) {
        return -1;
    }
    rsl_status status = rsl_conn_open(self->loop->rt, self->fd,
                                      self->sock != NULL, self, &self->conn);
    if (status != RSL_OK) {
        pyrsl_transport_drop(self->loop, self->fd, (PyObject *)self);
        self->conn = NULL;
        rsl_err err = {errno, NULL};
        pyrsl_raise(status, &err);
        return -1;
    }
    self->state = STREAM_OPEN;
    return 0;
}

static int
stream_attach(StreamTransport *self, PyObject *server)
{
    if (server == NULL || server == Py_None) {
        return 0;
    }
    self->server = pyrsl_clients_attach(self->st, server, (PyObject *)self);
    return self->server == NULL ? -1 : 0;
}

static int
stream_note_context(StreamTransport *self, PyObject *source)
{
    self->context_shared =
        source != NULL && pyrsl_contexts_is_now(self->st, source);
    self->context =
        self->context_shared ? Py_NewRef(source) : PyContext_CopyCurrent();
    return self->context == NULL ? -1 : 0;
}

/* asyncio queues connection_made() and its _add_reader() one behind the other:
 * nothing can come between. Here the transport itself is queued for both. */
static int
stream_announce(StreamTransport *self, PyObject *waiter)
{
    module_state *st = self->st;
    if (self->tls != NULL) {
        pyrsl_stream_tls_set_flow(self);
        return pyrsl_loop_queue(self->loop, Py_NewRef(self));
    }
    if (self->loop->debug) { /* slow ones are told of by their Handles */
        return pyrsl_transport_announce(self->loop, (PyObject *)self,
                                        self->protocol, st->str_start_reading,
                                        waiter);
    }
    self->made = PyObject_GetAttr(self->protocol, st->str_connection_made);
    if (self->made == NULL
        || pyrsl_loop_queue(self->loop, Py_NewRef(self)) < 0) {
        return -1;
    }
    return pyrsl_transport_wake_waiter(self->loop, waiter);
}

static int
stream_set_up(StreamTransport *self, const stream_request *request)
{
    if (stream_note_context(self, request->context) < 0
        || pyrsl_stream_note_names(self, request->peer) < 0) {
        return -1;
    }
    self->flight = pyrsl_flight_new(self->loop->flight_events);
    pyrsl_flight_note(self, FLIGHT_CONNECTED, 0);
    if (!request->has_nodelay) {
        stream_set_nodelay(self);
    }
    if (request->tls != NULL
        && pyrsl_stream_tls_attach(self, request->tls) < 0) {
        return -1;
    }
    if (pyrsl_stream_set_protocol(self, request->protocol) < 0
        || stream_attach(self, request->server) < 0
        || pyrsl_stream_limit(self, request->limits) < 0) {
        return -1;
    }
    return stream_announce(self, request->waiter);
}

PyObject *
pyrsl_stream_open(LoopObject *loop, const stream_request *request)
{
    StreamTransport *self = stream_alloc(loop, request);
    if (self == NULL || stream_adopt_fd(self) < 0) {
        Py_XDECREF(self);
        if (request->sock == NULL) {
            close(request->fd);
        }
        return NULL;
    }
    if (stream_set_up(self, request) < 0) {
        PyObject *exc = PyErr_GetRaisedException();
        self->state = STREAM_CLOSED;
        pyrsl_stream_release(self);
        (void)pyrsl_stream_unlimit(self);
        Py_DECREF(self);
        PyErr_SetRaisedException(exc);
        return NULL;
    }
    return (PyObject *)self;
}

/* --- connection_made() --- */

/* asyncio's report names a Handle: made now. Takes `args` and `context`, which
 * may be NULL. */
static int
begin_failed(LoopObject *loop, PyObject *callback, PyObject *args,
             PyObject *context)
{
    if (pyrsl_exception_leaves_loop()) {
        Py_XDECREF(args);
        Py_XDECREF(context);
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *handle = NULL;
    if (args != NULL) {
        pyrsl_callback call = {callback, &PyTuple_GET_ITEM(args, 0),
                               PyTuple_GET_SIZE(args), context};
        handle = pyrsl_handle_new(loop, loop->st->HandleType, &call);
        Py_DECREF(args);
    }
    Py_XDECREF(context);
    if (handle == NULL) {
        Py_DECREF(exc);
        return -1;
    }
    PyErr_SetRaisedException(exc);
    int status = pyrsl_handle_failed(loop, handle);
    Py_DECREF(handle);
    return status;
}

static int
begin_tell(LoopObject *loop, StreamTransport *self, PyObject *made)
{
    PyObject *context =
        pyrsl_contexts_borrow(&loop->contexts, loop->st, self->context);
    PyObject *result = NULL;
    if (context != NULL && PyContext_Enter(context) == 0) {
        result = PyObject_CallOneArg(made, (PyObject *)self);
        if (PyContext_Exit(context) < 0) {
            Py_CLEAR(result);
        }
    }
    if (result == NULL) {
        PyObject *exc = PyErr_GetRaisedException();
        PyObject *args = PyTuple_Pack(1, self);
        if (args != NULL) {
            PyErr_SetRaisedException(exc);
        } else {
            Py_DECREF(exc);
        }
        return begin_failed(loop, made, args, context);
    }
    Py_DECREF(result);
    pyrsl_contexts_give(&loop->contexts, context);
    return 0;
}

static int
begin_reading(LoopObject *loop, StreamTransport *self)
{
    if (pyrsl_stream_read_begin(self) == 0) {
        return 0;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *start =
        PyObject_GetAttr((PyObject *)self, self->st->str_start_reading);
    if (start == NULL) {
        Py_DECREF(exc);
        return -1;
    }
    PyErr_SetRaisedException(exc);
    int status =
        begin_failed(loop, start, Py_NewRef(self->st->empty_tuple), NULL);
    Py_DECREF(start);
    return status;
}

int
pyrsl_stream_begin(LoopObject *loop, PyObject *transport)
{
    StreamTransport *self = (StreamTransport *)transport;
    if (self->tls != NULL) {
        return pyrsl_stream_tls_begin(self);
    }
    PyObject *made = self->made;
    self->made = NULL;
    int status = begin_tell(loop, self, made);
    Py_DECREF(made);
    PyObject *raised = status < 0 ? PyErr_GetRaisedException() : NULL;
    /* Also after SystemExit: asyncio's next run would add the reader. */
    status = begin_reading(loop, self);
    if (raised != NULL) {
        PyErr_Clear();
        PyErr_SetRaisedException(raised);
        status = -1;
    }
    return status;
}

/* --- Loop methods --- */

PyDoc_STRVAR(loop_make_socket_transport_doc,
"_make_socket_transport($self, sock, protocol, waiter=None, *, extra=None, "
"server=None, context=None)\n--\n\n"
"A transport over a connected, non-blocking stream socket.\n\n"
"connection_made() is scheduled; sock is closed with the transport. Raises\n"
"RuntimeError when another transport has its fd.");

static const char *const make_names[] = {
    "sock", "protocol", "waiter", "extra", "server", "context", NULL};
static const pyrsl_params make_params = {"_make_socket_transport", make_names,
                                         3, 2};

static PyObject *
loop_open_in_context(LoopObject *self, const stream_request *request,
                     PyObject *context)
{
    if (context == NULL || context == Py_None) {
        return pyrsl_stream_open(self, request);
    }
    if (PyContext_Enter(context) < 0) {
        return NULL;
    }
    PyObject *transport = pyrsl_stream_open(self, request);
    if (PyContext_Exit(context) < 0) {
        Py_CLEAR(transport);
    }
    return transport;
}

int
pyrsl_stream_sock_is_plain(const module_state *st, PyObject *sock)
{
    static const char *const methods[] = {"recv",   "recv_into", "send",
                                          "fileno", "close",     NULL};
    PyObject *type = (PyObject *)Py_TYPE(sock);
    bool same = true;
    for (int i = 0; type != st->socket_type && same && methods[i] != NULL;
         i++) {
        PyObject *theirs = PyObject_GetAttrString(type, methods[i]);
        if (theirs == NULL) {
            if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
                return -1;
            }
            PyErr_Clear();
            return 0;
        }
        PyObject *own = PyObject_GetAttrString(st->socket_type, methods[i]);
        same = theirs == own;
        Py_DECREF(theirs);
        Py_XDECREF(own);
    }
    return same;
}

/* asyncio's own method: a transport over the methods of its socket. */
static PyObject *
loop_inherited_transport(LoopObject *self, PyObject *const *args,
                         Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *inherited = PyObject_CallFunctionObjArgs(
        (PyObject *)&PySuper_Type, self->st->LoopType, (PyObject *)self, NULL);
    if (inherited == NULL) {
        return NULL;
    }
    PyObject *method =
        PyObject_GetAttrString(inherited, "_make_socket_transport");
    Py_DECREF(inherited);
    if (method == NULL) {
        return NULL;
    }
    PyObject *transport =
        PyObject_Vectorcall(method, args, (size_t)nargs, kwnames);
    Py_DECREF(method);
    return transport;
}

static PyObject *
loop_make_socket_transport(LoopObject *self, PyObject *const *args,
                           Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *bound[6];
    if (pyrsl_args_bind(&make_params, args, nargs, kwnames, bound) < 0
        || pyrsl_loop_check_call(self) < 0
        || pyrsl_loop_check_owner(self) < 0) {
        return NULL;
    }
    stream_request request = {
        .sock = bound[0],
        .protocol = bound[1],
        .waiter = bound[2],
        .extra = bound[3] == Py_None ? NULL : bound[3],
        .server = bound[4],
    };
    if (request.extra != NULL && !PyDict_Check(request.extra)) {
        PyErr_Format(PyExc_TypeError, "extra must be a dict, not %.100s",
                     Py_TYPE(request.extra)->tp_name);
        return NULL;
    }
    int plain = pyrsl_stream_sock_is_plain(self->st, request.sock);
    if (plain <= 0) {
        return plain < 0 ? NULL
                         : loop_inherited_transport(self, args, nargs, kwnames);
    }
    request.fd = pyrsl_args_socket_fd(request.sock, self->st->str_fileno);
    if (request.fd < 0
        || pyrsl_transport_check(self, request.fd, request.sock) < 0) {
        return NULL;
    }
    return loop_open_in_context(self, &request, bound[5]);
}

PyMethodDef pyrsl_stream_loop_methods[] = {
    {"_make_socket_transport",
     (PyCFunction)(void (*)(void))loop_make_socket_transport,
     METH_FASTCALL | METH_KEYWORDS, loop_make_socket_transport_doc},
    {NULL, NULL, 0, NULL},
};
