/* SPDX-License-Identifier: Apache-2.0 */
/* stream_type.c - StreamTransport for Python: type, methods, collection. */
#include <stddef.h>

#include "clients.h"
#include "stream_impl.h"
#include "stream_tls.h"

/* --- Collection --- */

static int
stream_traverse(StreamTransport *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->extra);
    Py_VISIT(self->dict);
    Py_VISIT(self->loop);
    Py_VISIT(self->protocol);
    Py_VISIT(self->context);
    Py_VISIT(self->made);
    Py_VISIT(self->server);
    Py_VISIT(self->limits);
    Py_VISIT(self->sock);
    Py_VISIT(self->closed_sock);
    Py_VISIT(self->empty_waiter);
    return pyrsl_stream_tls_traverse(self->tls, visit, arg);
}

/* The finalizer has closed the native side. */
static int
stream_clear(StreamTransport *self)
{
    free(self->flight);
    self->flight = NULL;
    free(self->names.v6);
    self->names = (stream_names){.v6 = NULL};
    Py_CLEAR(self->extra);
    Py_CLEAR(self->dict);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->context);
    Py_CLEAR(self->made);
    PyObject *server = self->server;
    self->server = NULL;
    pyrsl_clients_forget(self->st, server);
    if (pyrsl_stream_unlimit(self) < 0) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    Py_CLEAR(self->sock);
    Py_CLEAR(self->closed_sock);
    Py_CLEAR(self->empty_waiter);
    stream_tls *tls = self->tls;
    self->tls = NULL;
    pyrsl_stream_tls_free(tls);
    Py_CLEAR(self->loop);
    return 0;
}

/* asyncio's __del__: only a transport that was never closed has an fd. */
static void
stream_finalize(StreamTransport *self)
{
    if (self->conn == NULL && self->sock == NULL && self->raw_fd < 0) {
        return;
    }
    PyObject *raised = PyErr_GetRaisedException();
    if (self->tls == NULL || !self->tls->pending) {
        pyrsl_transport_warn_unclosed((PyObject *)self);
    }
    if (self->conn == NULL
        || !pyrsl_transport_abandon_later(self->loop, (PyObject *)self)) {
        pyrsl_stream_abandon(self);
    }
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
}

static void
stream_dealloc(StreamTransport *self)
{
    pyrsl_transport_dealloc((PyObject *)self, &self->weakreflist);
}

/* --- Methods that end it --- */

PyDoc_STRVAR(stream_close_doc,
"close($self, /)\n--\n\n"
"Close the transport when its buffer has been sent.\n\n"
"No more data is received; connection_lost(None) is called later.");

static PyObject *
stream_close(StreamTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (self->state == STREAM_OPEN && pyrsl_loop_is_foreign(self->loop)) {
        return pyrsl_transport_hand_over_end((PyObject *)self, self->loop,
                                             "close");
    }
    if (pyrsl_stream_close(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stream_abort_doc,
"abort($self, /)\n--\n\n"
"Close the transport now; what was not sent is dropped.");

static PyObject *
stream_abort(StreamTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (self->conn_lost == 0 && pyrsl_loop_is_foreign(self->loop)) {
        return pyrsl_transport_hand_over_end((PyObject *)self, self->loop,
                                             "abort");
    }
    if (pyrsl_stream_force_close(self, NULL) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stream_is_closing_doc,
"is_closing($self, /)\n--\n\n"
"Return True if the transport is closing or closed.");

static PyObject *
stream_is_closing(StreamTransport *self, PyObject *Py_UNUSED(ignored))
{
    const StreamTransport *successor = pyrsl_stream_successor(self);
    return PyBool_FromLong((successor == NULL ? self : successor)->state
                           != STREAM_OPEN);
}

PyDoc_STRVAR(stream_force_close_doc,
"_force_close($self, exc, /)\n--\n\n"
"Close now; connection_lost(exc) is called later.");

static PyObject *
stream_force_close(StreamTransport *self, PyObject *exc)
{
    if (pyrsl_loop_is_foreign(self->loop)) {
        return pyrsl_transport_hand_over((PyObject *)self, self->loop,
                                         "_force_close", &exc, 1);
    }
    if (pyrsl_stream_force_close(self, exc) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stream_fatal_error_doc,
"_fatal_error($self, exc, message='Fatal error on transport', /)\n--\n\n"
"Report exc, unless it is an OSError, and close now.");

static PyObject *
stream_fatal_error(StreamTransport *self, PyObject *const *args,
                   Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 2 || !PyExceptionInstance_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError,
                        "_fatal_error() takes an exception and a message");
        return NULL;
    }
    if (pyrsl_loop_is_foreign(self->loop)) {
        return pyrsl_transport_hand_over((PyObject *)self, self->loop,
                                         "_fatal_error", args, nargs);
    }
    const char *message = "Fatal error on transport";
    if (nargs == 2) {
        message = PyUnicode_AsUTF8(args[1]);
        if (message == NULL) {
            return NULL;
        }
    }
    PyErr_SetRaisedException(Py_NewRef(args[0]));
    if (pyrsl_stream_fatal(self, message) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stream_call_connection_lost_doc,
"_call_connection_lost($self, exc, /)\n--\n\n"
"Tell the protocol, then close the socket.");

static PyObject *
stream_call_connection_lost(StreamTransport *self, PyObject *exc)
{
    if (pyrsl_loop_check_owner(self->loop) < 0
        || pyrsl_stream_lose(self, exc) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stream_start_reading_doc,
"_start_reading($self, /)\n--\n\n"
"connection_made() was called: read from now on.");

static PyObject *
stream_start_reading(StreamTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (pyrsl_loop_check_owner(self->loop) < 0
        || pyrsl_stream_read_begin(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stream_release_socket_doc,
"_release_socket($self, sock, /)\n--\n\n"
"The runtime has let go of the fd: close its socket.");

static PyObject *
stream_release_socket(StreamTransport *self, PyObject *sock)
{
    if (sock == Py_None) {
        Py_RETURN_NONE;
    }
    return PyObject_CallMethodNoArgs(sock, self->st->str_close);
}

PyDoc_STRVAR(stream_abandon_doc,
"_abandon($self, /)\n--\n\n"
"Close the socket of a transport that was collected.");

static PyObject *
stream_abandon(StreamTransport *self, PyObject *Py_UNUSED(ignored))
{
    pyrsl_stream_abandon(self);
    Py_RETURN_NONE;
}

static PyMethodDef stream_own_methods[] = {
    {"close", (PyCFunction)(void (*)(void))stream_close, METH_NOARGS,
     stream_close_doc},
    {"abort", (PyCFunction)(void (*)(void))stream_abort, METH_NOARGS,
     stream_abort_doc},
    {"is_closing", (PyCFunction)(void (*)(void))stream_is_closing, METH_NOARGS,
     stream_is_closing_doc},
    {"_force_close", (PyCFunction)(void (*)(void))stream_force_close, METH_O,
     stream_force_close_doc},
    {"_fatal_error", (PyCFunction)(void (*)(void))stream_fatal_error,
     METH_FASTCALL, stream_fatal_error_doc},
    {"_call_connection_lost",
     (PyCFunction)(void (*)(void))stream_call_connection_lost, METH_O,
     stream_call_connection_lost_doc},
    {"_start_reading", (PyCFunction)(void (*)(void))stream_start_reading,
     METH_NOARGS, stream_start_reading_doc},
    {"_release_socket", (PyCFunction)(void (*)(void))stream_release_socket,
     METH_O, stream_release_socket_doc},
    {"_abandon", (PyCFunction)(void (*)(void))stream_abandon, METH_NOARGS,
     stream_abandon_doc},
    {NULL, NULL, 0, NULL},
};

/* --- The type --- */

static PyMemberDef stream_members[] = {
    {"__dictoffset__", Py_T_PYSSIZET, offsetof(StreamTransport, dict),
     Py_READONLY, NULL},
    {"__weaklistoffset__", Py_T_PYSSIZET,
     offsetof(StreamTransport, weakreflist), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot stream_slots[] = {
    {Py_tp_doc, "A connected TCP or unix stream, owned by an event loop."},
    {Py_tp_dealloc, stream_dealloc},
    {Py_tp_traverse, stream_traverse},
    {Py_tp_clear, stream_clear},
    {Py_tp_finalize, stream_finalize},
    {Py_tp_repr, pyrsl_stream_repr},
    {Py_tp_getattro, PyObject_GenericGetAttr},
    {Py_tp_setattro, PyObject_GenericSetAttr},
    {Py_tp_members, stream_members},
    {Py_tp_getset, pyrsl_stream_getset},
    {0, NULL},
};

#define STREAM_SPEC(type_name)                           \
    {                                                    \
        .name = "rsloop_c._core." type_name,             \
        .basicsize = sizeof(StreamTransport),            \
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC \
                 | Py_TPFLAGS_DISALLOW_INSTANTIATION,    \
        .slots = stream_slots,                           \
    }

PyType_Spec pyrsl_stream_transport_spec = STREAM_SPEC("StreamTransport");

/* Programs tell TLS by a class whose name says so (CPython's tests do). */
PyType_Spec pyrsl_ssl_transport_spec = STREAM_SPEC("SSLStreamTransport");

typedef struct slot_place {
    const char *name;
    size_t offset;
} slot_place;

static const slot_place stream_places[] = {
    {"_extra", offsetof(StreamTransport, extra)},
    {"_high_water", offsetof(StreamTransport, unused_high_water)},
    {"_loop", offsetof(StreamTransport, loop)},
    {"_low_water", offsetof(StreamTransport, unused_low_water)},
    {"_protocol_paused", offsetof(StreamTransport, unused_protocol_paused)},
};

/* asyncio's classes keep their slots where we expect them; nothing follows. */
static int
stream_check_layout(const module_state *st)
{
    PyTypeObject *base = (PyTypeObject *)st->FlowControlMixin;
    bool same =
        base->tp_basicsize == (Py_ssize_t)offsetof(StreamTransport, dict);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(stream_places); i++) {
        PyObject *member =
            PyObject_GetAttrString(st->FlowControlMixin, stream_places[i].name);
        if (member == NULL) {
            return -1;
        }
        same = same && Py_IS_TYPE(member, &PyMemberDescr_Type)
               && ((PyMemberDescrObject *)member)->d_member->offset
                      == (Py_ssize_t)stream_places[i].offset;
        Py_DECREF(member);
    }
    if (!same) {
        PyErr_SetString(PyExc_ImportError,
                        "rsloop_c does not know the layout of asyncio's "
                        "transports on this Python");
        return -1;
    }
    return 0;
}

/* asyncio.constants._SendfileMode */
static PyObject *
stream_sendfile_mode(const char *name)
{
    PyObject *constants = PyImport_ImportModule("asyncio.constants");
    if (constants == NULL) {
        return NULL;
    }
    PyObject *modes = PyObject_GetAttrString(constants, "_SendfileMode");
    Py_DECREF(constants);
    if (modes == NULL) {
        return NULL;
    }
    PyObject *mode = PyObject_GetAttrString(modes, name);
    Py_DECREF(modes);
    return mode;
}

/* Which of asyncio's two writelines() this is. It changed in bug-fix releases,
 * so the version does not say; the names that its code uses do. */
static int
stream_learn_writelines(module_state *st)
{
    static const char *const path[] = {"_SelectorSocketTransport", "writelines",
                                       "__code__", "co_names"};
    PyObject *object = PyImport_ImportModule("asyncio.selector_events");
    for (size_t i = 0; object != NULL && i < Py_ARRAY_LENGTH(path); i++) {
        Py_SETREF(object, PyObject_GetAttrString(object, path[i]));
    }
    PyObject *name = PyUnicode_FromString("_conn_lost");
    int found = -1;
    if (object != NULL && name != NULL) {
        found = PySequence_Contains(object, name);
    }
    Py_XDECREF(name);
    Py_XDECREF(object);
    st->writelines_drops_first = found > 0;
    return found < 0 ? -1 : 0;
}

static int
stream_set_attribute(PyTypeObject *type, const char *name, PyObject *value)
{
    if (value == NULL) {
        return -1;
    }
    int status = PyObject_SetAttrString((PyObject *)type, name, value);
    Py_DECREF(value);
    return status;
}

static int
stream_fill_type(PyTypeObject *type)
{
    PyMethodDef *const tables[] = {
        stream_own_methods,
        pyrsl_stream_read_methods,
        pyrsl_stream_write_methods,
        pyrsl_stream_drain_methods,
        pyrsl_stream_info_methods,
        pyrsl_stream_tls_open_methods,
        NULL,
    };
    if (pyrsl_type_add_methods(type, tables) < 0
        || stream_set_attribute(type, "max_size",
                                PyLong_FromLong(PYRSL_READ_MAX))
               < 0) {
        return -1;
    }
    return stream_set_attribute(type, "_start_tls_compatible",
                                Py_NewRef(Py_True));
}

int
pyrsl_stream_type_init(module_state *st)
{
    if (stream_check_layout(st) < 0 || stream_learn_writelines(st) < 0
        || stream_fill_type(st->StreamTransportType) < 0
        || stream_fill_type(st->SSLStreamTransportType) < 0) {
        return -1;
    }
    PyMethodDef *const tls_tables[] = {pyrsl_stream_tls_flow_methods, NULL};
    if (pyrsl_type_add_methods(st->SSLStreamTransportType, tls_tables) < 0) {
        return -1;
    }
    st->sendfile_native = stream_sendfile_mode("TRY_NATIVE");
    st->sendfile_fallback = stream_sendfile_mode("FALLBACK");
    return st->sendfile_native == NULL || st->sendfile_fallback == NULL ? -1
                                                                        : 0;
}
