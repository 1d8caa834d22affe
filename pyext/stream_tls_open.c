/* SPDX-License-Identifier: Apache-2.0 */
/* stream_tls_open.c - making transports with a TLS engine: over a socket, and
 * in the place of one that had none. */
#include <unistd.h>

#include "args.h"
#include "clients.h"
#include "errors.h"
#include "stream_tls.h"
#include "tls_engine.h"

static int
tls_check_engine(const module_state *st, PyObject *engine)
{
    if (Py_IS_TYPE(engine, st->TLSEngineType)) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "engine must be a TLSEngine, not %.100s",
                 Py_TYPE(engine)->tp_name);
    return -1;
}

/* --- Over a socket --- */

PyDoc_STRVAR(loop_make_tls_transport_doc,
"_make_tls_transport($self, sock, protocol, engine, waiter, "
"handshake_timeout, shutdown_timeout, extra=None, server=None)\n--\n\n"
"A transport over a connected, non-blocking stream socket and a TLSEngine.\n\n"
"Its handshake begins at the next turn; connection_made() and the waiter\n"
"follow it. Time-outs are in seconds. None for a socket whose class has\n"
"methods of its own, which a native transport would not call.");

static const char *const make_names[] = {"sock",
                                         "protocol",
                                         "engine",
                                         "waiter",
                                         "handshake_timeout",
                                         "shutdown_timeout",
                                         "extra",
                                         "server",
                                         NULL};
static const pyrsl_params make_params = {"_make_tls_transport", make_names, 8,
                                         6};

static PyObject *
loop_make_tls_transport(LoopObject *self, PyObject *const *args,
                        Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *bound[8];
    if (pyrsl_args_bind(&make_params, args, nargs, kwnames, bound) < 0
        || pyrsl_loop_check_call(self) < 0 || pyrsl_loop_check_owner(self) < 0
        || tls_check_engine(self->st, bound[2]) < 0) {
        return NULL;
    }
    stream_tls_request tls = {
        .engine = bound[2],
        .waiter = bound[3],
        .handshake_timeout = bound[4],
        .shutdown_timeout = bound[5],
        .calls_made = true,
    };
    stream_request request = {
        .sock = bound[0],
        .protocol = bound[1],
        .extra = bound[6] == Py_None ? NULL : bound[6],
        .server = bound[7],
        .tls = &tls,
    };
    int plain = pyrsl_stream_sock_is_plain(self->st, request.sock);
    if (plain <= 0) {
        return plain < 0 ? NULL : Py_NewRef(Py_None);
    }
    request.fd = pyrsl_args_socket_fd(request.sock, self->st->str_fileno);
    if (request.fd < 0
        || pyrsl_transport_check(self, request.fd, request.sock) < 0) {
        return NULL;
    }
    return pyrsl_stream_open(self, &request);
}

PyMethodDef pyrsl_stream_tls_loop_methods[] = {
    {"_make_tls_transport",
     (PyCFunction)(void (*)(void))loop_make_tls_transport,
     METH_FASTCALL | METH_KEYWORDS, loop_make_tls_transport_doc},
    {NULL, NULL, 0, NULL},
};

/* --- start_tls() --- */

static int
start_check(StreamTransport *self)
{
    const char *why = NULL;
    if (self->state != STREAM_OPEN || self->conn == NULL) {
        why = "the transport is closing";
    } else if (self->tls != NULL) {
        why = "the transport has TLS already";
    } else if (self->reading || pyrsl_stream_backlog(self) > 0) {
        why = "the transport still reads or writes";
    }
    if (why != NULL) {
        PyErr_SetString(PyExc_RuntimeError, why);
        return -1;
    }
    if (self->end == STREAM_END_ERROR_PENDING) {
        PyObject *exc = pyrsl_os_error(self->end_errno);
        if (exc != NULL) {
            PyErr_SetRaisedException(exc);
        }
        return -1;
    }
    return 0;
}

/* What the new transport has of the old one but its conn. */
static StreamTransport *
start_copy(StreamTransport *old, PyObject *protocol)
{
    PyTypeObject *type = old->st->SSLStreamTransportType;
    StreamTransport *self = (StreamTransport *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->st = old->st;
    self->loop = (LoopObject *)Py_NewRef(old->loop);
    self->state = STREAM_CLOSED;
    self->fd = old->fd;
    self->raw_fd = -1;
    self->family = old->family;
    self->type = old->type;
    self->proto = old->proto;
    pyrsl_flow_init(&self->flow);
    if (old->extra != NULL) {
        self->extra = PyDict_Copy(old->extra);
    }
    self->context = PyContext_CopyCurrent();
    if (self->context == NULL || (old->extra != NULL && self->extra == NULL)
        || pyrsl_stream_copy_names(self, old) < 0
        || pyrsl_stream_set_protocol(self, protocol) < 0) {
        Py_CLEAR(self);
    }
    return self;
}

static int
start_move_server(StreamTransport *old, StreamTransport *self)
{
    PyObject *server = old->server;
    if (server == NULL) {
        return 0;
    }
    self->server = pyrsl_clients_attach(
        self->st, pyrsl_clients_server(self->st, server), (PyObject *)self);
    if (self->server == NULL) {
        return -1;
    }
    old->server = NULL;
    return pyrsl_clients_detach(self->st, server, (PyObject *)old);
}

/* The conn changes hands; nothing here can fail. */
static void
start_move_conn(StreamTransport *old, StreamTransport *self)
{
    self->conn = old->conn;
    self->sock = old->sock;
    self->state = STREAM_OPEN;
    old->conn = NULL;
    old->sock = NULL;
    old->closed_sock = Py_XNewRef(self->sock);
    old->state = STREAM_CLOSED;
    old->conn_lost = 1;
    rsl_conn_set_owner(self->conn, self);
    pyrsl_transport_drop(self->loop, self->fd, (PyObject *)old);
    if (old->held) {
        old->held = false;
        Py_DECREF(old);
    }
}

/* What has come and not been delivered is ciphertext: `initial`, which somebody
 * had read too far, then chunks that the conn keeps, then the end. */
static int
start_feed(StreamTransport *old, StreamTransport *self,
           const Py_buffer *initial)
{
    if (initial->len > 0
        && rsl_conn_feed_copy(self->conn, initial->buf, (size_t)initial->len)
               != RSL_OK) {
        PyErr_NoMemory();
        return -1;
    }
    rsl_conn_feed(self->conn, rsl_conn_take_held(self->conn));
    old->has_held = false;
    if (old->end != STREAM_END_NONE) {
        rsl_conn_feed_eof(self->conn);
    }
    return 0;
}

static stream_tls *
start_successor(StreamTransport *self)
{
    stream_tls *moved = PyMem_Calloc(1, sizeof(*moved));
    if (moved == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    moved->phase = STREAM_TLS_MOVED;
    moved->successor = Py_NewRef(self);
    return moved;
}

/* -1: the connection is closed. */
static int
start_over(StreamTransport *old, StreamTransport *self,
           const stream_tls_request *request, const Py_buffer *initial)
{
    start_move_conn(old, self);
    if (pyrsl_transport_put(self->loop, self->fd, (PyObject *)self) < 0
        || pyrsl_stream_tls_attach(self, request) < 0
        || start_move_server(old, self) < 0
        || start_feed(old, self, initial) < 0
        || pyrsl_loop_queue(self->loop, Py_NewRef(self)) < 0) {
        PyObject *exc = PyErr_GetRaisedException();
        pyrsl_stream_abandon(self);
        PyErr_SetRaisedException(exc);
        return -1;
    }
    pyrsl_stream_tls_set_flow(self);
    return 0;
}

PyDoc_STRVAR(stream_start_tls_doc,
"_start_tls($self, protocol, engine, waiter, handshake_timeout, "
"shutdown_timeout, initial=b'')\n--\n\n"
"A new transport that goes on with this one's connection and a TLSEngine.\n\n"
"This one must be paused and have nothing to send. initial is what was\n"
"received and belongs to the handshake. connection_made() is not called.");

static const char *const start_names[] = {
    "protocol",         "engine",  "waiter", "handshake_timeout",
    "shutdown_timeout", "initial", NULL};
static const pyrsl_params start_params = {"_start_tls", start_names, 6, 5};

static PyObject *
stream_start_tls(StreamTransport *self, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *kwnames)
{
    PyObject *bound[6];
    Py_buffer initial = {.len = 0};
    if (pyrsl_args_bind(&start_params, args, nargs, kwnames, bound) < 0
        || pyrsl_loop_check_owner(self->loop) < 0
        || tls_check_engine(self->st, bound[1]) < 0 || start_check(self) < 0
        || (bound[5] != NULL
            && PyObject_GetBuffer(bound[5], &initial, PyBUF_SIMPLE) < 0)) {
        return NULL;
    }
    stream_tls_request request = {
        .engine = bound[1],
        .waiter = bound[2],
        .handshake_timeout = bound[3],
        .shutdown_timeout = bound[4],
    };
    StreamTransport *next = start_copy(self, bound[0]);
    stream_tls *moved = next == NULL ? NULL : start_successor(next);
    if (moved == NULL || start_over(self, next, &request, &initial) < 0) {
        Py_CLEAR(next);
    }
    if (moved != NULL) {
        self->tls = moved;
    }
    if (initial.obj != NULL) {
        PyBuffer_Release(&initial);
    }
    return (PyObject *)next;
}

PyMethodDef pyrsl_stream_tls_open_methods[] = {
    {"_start_tls", (PyCFunction)(void (*)(void))stream_start_tls,
     METH_FASTCALL | METH_KEYWORDS, stream_start_tls_doc},
    {NULL, NULL, 0, NULL},
};
