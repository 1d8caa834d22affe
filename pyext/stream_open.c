/* SPDX-License-Identifier: Apache-2.0 */
/* stream_open.c - from a connected fd to a transport that will be announced. */
#include <netinet/tcp.h>
#include <unistd.h>

#include "args.h"
#include "errors.h"
#include "stream_impl.h"

/* --- The loop's table of transports by fd --- */

static PyObject *
table_find(const LoopObject *loop, int fd)
{
    return fd >= 0 && fd < loop->transport_cap ? loop->transports[fd] : NULL;
}

static int
table_reserve(LoopObject *loop, int fd)
{
    if (fd < loop->transport_cap) {
        return 0;
    }
    int cap = loop->transport_cap == 0 ? 16 : loop->transport_cap;
    while (cap <= fd) {
        cap = cap > INT_MAX / 2 ? INT_MAX : cap * 2;
    }
    PyObject **transports =
        realloc(loop->transports, (size_t)cap * sizeof(*transports));
    if (transports == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (int i = loop->transport_cap; i < cap; i++) {
        transports[i] = NULL;
    }
    loop->transports = transports;
    loop->transport_cap = cap;
    return 0;
}

/* asyncio refuses an fd whose transport is open. Ours refuses it until that
 * one has given the fd back: two conns on one fd would mix their streams. */
static int
table_check(LoopObject *loop, int fd, PyObject *sock)
{
    PyObject *transport = table_find(loop, fd);
    if (transport == NULL) {
        return 0;
    }
    PyErr_Format(PyExc_RuntimeError,
                 "File descriptor %R is used by transport %R", sock, transport);
    return -1;
}

/* --- Making one --- */

static StreamTransport *
stream_alloc(LoopObject *loop, const stream_request *request)
{
    PyTypeObject *type = loop->st->StreamTransportType;
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
    self->family = request->family;
    self->type = request->type;
    self->proto = request->proto;
    pyrsl_flow_init(&self->flow);
    self->flush_at = self->flow.high;
    return self;
}

static void
stream_set_nodelay(const StreamTransport *self)
{
    sa_family_t family = self->sockname.address.any.sa_family;
    if (self->sockname.length == 0
        || (family != AF_INET && family != AF_INET6)) {
        return;
    }
    int on = 1;
    /* Fails for streams that are not TCP, which need none, and for a peer that
     * has gone, which the first read will tell. */
    (void)setsockopt(self->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* Somebody closed the fd of `other` behind its back and the kernel has given
 * the number to a new connection. */
static void
stream_evict(StreamTransport *other)
{
    Py_INCREF(other);
    pyrsl_stream_detach(other);
    other->raw_fd = -1;
    PyObject *exc = pyrsl_os_error(EBADF);
    if (exc == NULL || pyrsl_stream_force_close(other, exc) < 0) {
        PyErr_WriteUnraisable((PyObject *)other);
    }
    Py_XDECREF(exc);
    Py_DECREF(other);
}

/* Open the native side; from here on the fd is the transport's to close. */
static int
stream_adopt_fd(StreamTransport *self)
{
    if (table_reserve(self->loop, self->fd) < 0) {
        return -1;
    }
    PyObject *other = table_find(self->loop, self->fd);
    if (other != NULL) {
        stream_evict((StreamTransport *)other);
    }
    rsl_status status = rsl_conn_open(self->loop->rt, self->fd,
                                      self->sock != NULL, self, &self->conn);
    if (status != RSL_OK) {
        self->conn = NULL;
        rsl_err err = {errno, NULL};
        pyrsl_raise(status, &err);
        return -1;
    }
    self->loop->transports[self->fd] = (PyObject *)self;
    self->state = STREAM_OPEN;
    return 0;
}

static int
stream_attach(StreamTransport *self, PyObject *server)
{
    if (server == NULL || server == Py_None) {
        return 0;
    }
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *result = PyObject_CallMethodOneArg(server, self->st->str_attach,
                                                 (PyObject *)self);
#else
    PyObject *result = PyObject_CallMethodNoArgs(server, self->st->str_attach);
#endif
    if (result == NULL) {
        return -1;
    }
    Py_DECREF(result);
    self->server = Py_NewRef(server);
    return 0;
}

static int
stream_set_up(StreamTransport *self, const stream_request *request)
{
    self->context = PyContext_CopyCurrent();
    if (self->context == NULL || pyrsl_stream_note_names(self) < 0) {
        return -1;
    }
    stream_set_nodelay(self);
    if (pyrsl_stream_set_protocol(self, request->protocol) < 0
        || stream_attach(self, request->server) < 0) {
        return -1;
    }
    return pyrsl_transport_announce(self->loop, (PyObject *)self,
                                    self->protocol, self->st->str_start_reading,
                                    request->waiter);
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
        Py_DECREF(self);
        PyErr_SetRaisedException(exc);
        return NULL;
    }
    return (PyObject *)self;
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

static PyObject *
loop_make_socket_transport(LoopObject *self, PyObject *const *args,
                           Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *bound[6];
    if (pyrsl_args_bind(&make_params, args, nargs, kwnames, bound) < 0
        || pyrsl_loop_check_closed(self) < 0) {
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
    request.fd = pyrsl_args_socket_fd(request.sock, self->st->str_fileno);
    if (request.fd < 0 || table_check(self, request.fd, request.sock) < 0) {
        return NULL;
    }
    return loop_open_in_context(self, &request, bound[5]);
}

PyDoc_STRVAR(loop_transport_for_fd_doc,
"_transport_for_fd($self, fd, /)\n--\n\n"
"The stream transport that has this fd, or None.");

static PyObject *
loop_transport_for_fd(LoopObject *self, PyObject *number)
{
    int overflow;
    long fd = PyLong_AsLongAndOverflow(number, &overflow);
    if (fd == -1 && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *transport = NULL;
    if (overflow == 0 && fd >= 0 && fd <= INT_MAX) {
        transport = table_find(self, (int)fd);
    }
    return Py_NewRef(transport == NULL ? Py_None : transport);
}

PyMethodDef pyrsl_stream_loop_methods[] = {
    {"_make_socket_transport",
     (PyCFunction)(void (*)(void))loop_make_socket_transport,
     METH_FASTCALL | METH_KEYWORDS, loop_make_socket_transport_doc},
    {"_transport_for_fd", (PyCFunction)(void (*)(void))loop_transport_for_fd,
     METH_O, loop_transport_for_fd_doc},
    {NULL, NULL, 0, NULL},
};
