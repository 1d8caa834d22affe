/* SPDX-License-Identifier: Apache-2.0 */
/* stream_info.c - what a transport tells about itself and its socket. */
#include "stream_impl.h"
#include "stream_tls.h"

#include <stddef.h>
#include <string.h>

#include "args.h"
#include "clients.h"

/* --- The socket --- */

/* socket.socket(family, type, proto[, fileno=fd]), non-blocking. */
static PyObject *
info_new_socket(StreamTransport *self, int fd)
{
    PyObject *sock;
    if (fd >= 0) {
        sock = PyObject_CallFunction(self->st->socket_type, "iiii",
                                     self->family, self->type, self->proto, fd);
    } else {
        sock = PyObject_CallFunction(self->st->socket_type, "iii", self->family,
                                     self->type, self->proto);
    }
    if (sock == NULL) {
        return NULL;
    }
    PyObject *result =
        PyObject_CallMethodOneArg(sock, self->st->str_setblocking, Py_False);
    if (result == NULL) {
        Py_CLEAR(sock);
    }
    Py_XDECREF(result);
    return sock;
}

/* asyncio would still have the object, closed. */
static PyObject *
info_closed_socket(StreamTransport *self)
{
    PyObject *sock = info_new_socket(self, -1);
    if (sock == NULL) {
        return NULL;
    }
    PyObject *result = PyObject_CallMethodNoArgs(sock, self->st->str_close);
    if (result == NULL) {
        Py_CLEAR(sock);
    }
    Py_XDECREF(result);
    return sock;
}

PyObject *
pyrsl_stream_socket(StreamTransport *self)
{
    if (self->sock != NULL) {
        return Py_NewRef(self->sock);
    }
    if (self->closed_sock != NULL) {
        return Py_NewRef(self->closed_sock);
    }
    if (self->conn == NULL && self->raw_fd < 0) {
        return info_closed_socket(self);
    }
    PyObject *sock = info_new_socket(self, self->fd);
    if (sock == NULL) {
        return NULL;
    }
    if (self->conn != NULL) {
        rsl_conn_borrow_fd(self->conn);
    }
    self->raw_fd = -1;
    self->sock = Py_NewRef(sock);
    return sock;
}

static PyObject *
info_transport_socket(StreamTransport *self)
{
    PyObject *sock = pyrsl_stream_socket(self);
    if (sock == NULL) {
        return NULL;
    }
    PyObject *wrapper = PyObject_CallOneArg(self->st->TransportSocket, sock);
    Py_DECREF(sock);
    return wrapper;
}

/* --- get_extra_info() --- */

/* 1 when `name` is what `known` says, -1 on error. */
static int
info_is(PyObject *name, PyObject *known)
{
    if (name == known) {
        return 1;
    }
    return PyUnicode_Check(name) ? PyObject_RichCompareBool(name, known, Py_EQ)
                                 : 0;
}

/* What is made on demand: a new reference, or NULL without an exception when
 * there is no such thing. */
static PyObject *
info_make(StreamTransport *self, PyObject *name)
{
    if (info_is(name, self->st->str_peername) == 1) {
        return pyrsl_stream_name(self, STREAM_PEERNAME);
    }
    if (info_is(name, self->st->str_sockname) == 1) {
        return pyrsl_stream_name(self, STREAM_SOCKNAME);
    }
    if (info_is(name, self->st->str_socket) == 1) {
        return info_transport_socket(self);
    }
    return NULL;
}

/* Figures, which are never remembered: 1 when `name` is one, -1 on error. *out
 * is NULL once the connection is closed. */
static int
info_count(StreamTransport *self, PyObject *name, PyObject **out)
{
    bool is_read = info_is(name, self->st->str_bytes_read) == 1;
    if (!is_read && info_is(name, self->st->str_bytes_written) != 1) {
        return 0;
    }
    if (pyrsl_loop_check_thread(self->loop) < 0) {
        return -1;
    }
    *out = NULL;
    if (self->conn == NULL) {
        return 1;
    }
    *out = PyLong_FromUnsignedLongLong(
        is_read ? rsl_conn_bytes_read(self->conn)
                : rsl_conn_bytes_written(self->conn));
    return *out == NULL ? -1 : 1;
}

/* A new reference; NULL without an exception for an unknown name. */
static PyObject *
info_get(StreamTransport *self, PyObject *name)
{
    PyObject *extra = pyrsl_stream_extra(self);
    if (extra == NULL) {
        return NULL;
    }
    PyObject *value = PyDict_GetItemWithError(extra, name);
    if (value != NULL || PyErr_Occurred()) {
        return Py_XNewRef(value);
    }
    if (info_count(self, name, &value) != 0) {
        return value;
    }
    if (self->flight != NULL
        && info_is(name, self->st->str_flight_recorder) == 1) {
        return pyrsl_loop_check_thread(self->loop) < 0
                   ? NULL
                   : pyrsl_flight_list(self);
    }
    value = info_make(self, name);
    if (value == NULL && self->tls != NULL) {
        if (pyrsl_stream_tls_extra(self, extra, name) < 0) {
            return NULL;
        }
        return Py_XNewRef(PyDict_GetItemWithError(extra, name));
    }
    if (value != NULL && PyDict_SetItem(extra, name, value) < 0) {
        Py_CLEAR(value);
    }
    return value;
}

/* What a program has put in the place of asyncio.BaseTransport's method, bound
 * to us; NULL with or without an exception. */
static PyObject *
info_replacement(StreamTransport *self)
{
    module_state *st = self->st;
    PyObject *method =
        PyObject_GetAttr(st->BaseTransport, st->str_get_extra_info);
    if (method == NULL) {
        return NULL;
    }
    if (method == st->get_extra_info) {
        Py_DECREF(method);
        return NULL;
    }
    descrgetfunc bind = Py_TYPE(method)->tp_descr_get;
    if (bind != NULL) {
        Py_SETREF(method,
                  bind(method, (PyObject *)self, (PyObject *)Py_TYPE(self)));
    }
    return method;
}

PyDoc_STRVAR(stream_get_extra_info_doc,
"get_extra_info($self, /, name, default=None)\n--\n\n"
"Return 'socket', 'sockname', 'peername' or what else was noted; of an open\n"
"connection 'bytes_read' and 'bytes_written' as well.");

static const char *const extra_names[] = {"name", "default", NULL};
static const pyrsl_params extra_params = {"get_extra_info", extra_names, 2, 1};

static PyObject *
stream_get_extra_info(StreamTransport *self, PyObject *const *args,
                      Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *bound[2];
    if (pyrsl_args_bind(&extra_params, args, nargs, kwnames, bound) < 0) {
        return NULL;
    }
    PyObject *value;
    PyObject *replacement = info_replacement(self);
    if (replacement != NULL || PyErr_Occurred()) {
        value = replacement == NULL
                    ? NULL
                    : PyObject_Vectorcall(replacement, args, (size_t)nargs,
                                          kwnames);
        Py_XDECREF(replacement);
        return value;
    }
    Py_BEGIN_CRITICAL_SECTION(self);
    value = info_get(self, bound[0]);
    Py_END_CRITICAL_SECTION();
    if (value != NULL || PyErr_Occurred()) {
        return value;
    }
    return Py_NewRef(bound[1] == NULL ? Py_None : bound[1]);
}

PyMethodDef pyrsl_stream_info_methods[] = {
    {"get_extra_info", (PyCFunction)(void (*)(void))stream_get_extra_info,
     METH_FASTCALL | METH_KEYWORDS, stream_get_extra_info_doc},
    {NULL, NULL, 0, NULL},
};

/* --- The names that asyncio's own code reads --- */

static PyObject *
stream_get_extra(StreamTransport *self, void *Py_UNUSED(closure))
{
    PyObject *const keys[] = {self->st->str_socket, self->st->str_sockname,
                              self->st->str_peername};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        PyObject *value = info_get(self, keys[i]);
        if (value == NULL) {
            return NULL;
        }
        Py_DECREF(value);
    }
    return Py_NewRef(self->extra);
}

static int
stream_set_extra(StreamTransport *self, PyObject *value,
                 void *Py_UNUSED(closure))
{
    if (value == NULL || !PyDict_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "_extra must be a dict");
        return -1;
    }
    Py_XSETREF(self->extra, Py_NewRef(value));
    return 0;
}

static PyObject *
stream_get_sock(StreamTransport *self, void *Py_UNUSED(closure))
{
    if (self->sock == NULL && self->conn == NULL && self->raw_fd < 0) {
        Py_RETURN_NONE;
    }
    return pyrsl_stream_socket(self);
}

static PyObject *
stream_get_sock_fd(StreamTransport *self, void *Py_UNUSED(closure))
{
    return PyLong_FromLong(self->fd);
}

/* closure: the offset of a field that may be NULL. */
static PyObject *
stream_get_object(StreamTransport *self, void *closure)
{
    PyObject *value = *(PyObject **)(void *)((char *)self + (size_t)closure);
    return Py_NewRef(value == NULL ? Py_None : value);
}

static PyObject *
stream_get_server(StreamTransport *self, void *Py_UNUSED(closure))
{
    PyObject *server = self->server;
    if (server != NULL) {
        server = pyrsl_clients_server(self->st, server);
    }
    return Py_NewRef(server == NULL ? Py_None : server);
}

/* closure: the offset of a bool. */
static PyObject *
stream_get_bool(StreamTransport *self, void *closure)
{
    return PyBool_FromLong(*(bool *)((char *)self + (size_t)closure));
}

/* closure: the offset of a size_t. */
static PyObject *
stream_get_size(StreamTransport *self, void *closure)
{
    return PyLong_FromSize_t(
        *(size_t *)(void *)((char *)self + (size_t)closure));
}

/* What TLS encrypts cannot leave the file by the kernel alone. */
static PyObject *
stream_get_sendfile_mode(StreamTransport *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->tls == NULL ? self->st->sendfile_native
                                       : self->st->sendfile_fallback);
}

static PyObject *
stream_get_closing(StreamTransport *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->state != STREAM_OPEN);
}

static PyObject *
stream_get_conn_lost(StreamTransport *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(self->conn_lost);
}

#define FIELD(name)      ((void *)offsetof(StreamTransport, name))
#define GETTER(function) ((getter)(function)), NULL, NULL

PyGetSetDef pyrsl_stream_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"_extra", (getter)stream_get_extra, (setter)stream_set_extra, NULL, NULL},
    {"_sock", GETTER(stream_get_sock), NULL},
    {"_sendfile_compatible", GETTER(stream_get_sendfile_mode), NULL},
    {"_sock_fd", GETTER(stream_get_sock_fd), NULL},
    {"_closing", GETTER(stream_get_closing), NULL},
    {"_conn_lost", GETTER(stream_get_conn_lost), NULL},
    {"_loop", GETTER(stream_get_object), FIELD(loop)},
    {"_protocol", GETTER(stream_get_object), FIELD(protocol)},
    {"_server", GETTER(stream_get_server), NULL},
    {"_empty_waiter", GETTER(stream_get_object), FIELD(empty_waiter)},
    {"_eof", GETTER(stream_get_bool), FIELD(eof)},
    {"_paused", GETTER(stream_get_bool), FIELD(paused)},
    {"_protocol_paused", GETTER(stream_get_bool), FIELD(flow.paused)},
    {"_high_water", GETTER(stream_get_size), FIELD(flow.high)},
    {"_low_water", GETTER(stream_get_size), FIELD(flow.low)},
    {NULL, NULL, NULL, NULL, NULL},
};

/* --- repr() --- */

/* asyncio's: <Type closing fd=7 read=polling write=<idle, bufsize=0>> */
PyObject *
pyrsl_stream_repr(StreamTransport *self)
{
    const char *full = Py_TYPE(self)->tp_name;
    const char *dot = strrchr(full, '.');
    const char *name = dot == NULL ? full : dot + 1;
    const char *state = "";
    if (self->conn == NULL && self->sock == NULL && self->raw_fd < 0) {
        state = " closed";
    } else if (self->state != STREAM_OPEN) {
        state = " closing";
    }
    if (self->loop == NULL || atomic_load(&self->loop->closed)) {
        return PyUnicode_FromFormat("<%s%s fd=%d>", name, state, self->fd);
    }
    if (pyrsl_loop_is_owner(self->loop) && pyrsl_stream_catch_up(self) < 0) {
        return NULL;
    }
    size_t backlog = pyrsl_stream_backlog(self);
    return PyUnicode_FromFormat("<%s%s fd=%d read=%s write=<%s, bufsize=%zu>>",
                                name, state, self->fd,
                                self->reading ? "polling" : "idle",
                                backlog > 0 ? "polling" : "idle", backlog);
}
