/* SPDX-License-Identifier: Apache-2.0 */
/* datagram_type.c - DatagramTransport for Python: type, collection, getters. */
#include "datagram_impl.h"

#include <stddef.h>
#include <string.h>

#include "handle.h"

/* --- Collection --- */

static int
datagram_traverse(DatagramTransport *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->extra);
    Py_VISIT(self->dict);
    Py_VISIT(self->loop);
    Py_VISIT(self->protocol);
    Py_VISIT(self->context);
    Py_VISIT(self->sock);
    Py_VISIT(self->address);
    for (size_t i = 0; i < self->queue.count; i++) {
        const datagram_entry *entry =
            &self->queue.ring[(self->queue.head + i) & (self->queue.cap - 1)];
        Py_VISIT(entry->addr);
    }
    return 0;
}

/* The finalizer has closed the native side. */
static int
datagram_clear(DatagramTransport *self)
{
    pyrsl_datagram_drop_queue(self);
    Py_CLEAR(self->extra);
    Py_CLEAR(self->dict);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->context);
    Py_CLEAR(self->sock);
    Py_CLEAR(self->address);
    Py_CLEAR(self->loop);
    return 0;
}

/* asyncio's __del__: only a transport that was never closed has a socket. */
static void
datagram_finalize(DatagramTransport *self)
{
    if (self->sock == NULL) {
        return;
    }
    PyObject *raised = PyErr_GetRaisedException();
    pyrsl_transport_warn_unclosed((PyObject *)self);
    if (self->dgram == NULL
        || !pyrsl_transport_abandon_later(self->loop, (PyObject *)self)) {
        self->state = DATAGRAM_CLOSED;
        pyrsl_datagram_release(self);
    }
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
}

static void
datagram_dealloc(DatagramTransport *self)
{
    pyrsl_transport_dealloc((PyObject *)self, &self->weakreflist);
}

/* --- The names that others read of asyncio's transports --- */

/* closure: the offset of a field that may be NULL. */
static PyObject *
datagram_get_object(DatagramTransport *self, void *closure)
{
    PyObject *value = *(PyObject **)(void *)((char *)self + (size_t)closure);
    return Py_NewRef(value == NULL ? Py_None : value);
}

/* closure: the offset of a size_t. */
static PyObject *
datagram_get_size(DatagramTransport *self, void *closure)
{
    return PyLong_FromSize_t(
        *(size_t *)(void *)((char *)self + (size_t)closure));
}

static PyObject *
datagram_get_sock_fd(DatagramTransport *self, void *Py_UNUSED(closure))
{
    return PyLong_FromLong(self->fd);
}

static PyObject *
datagram_get_closing(DatagramTransport *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->state != DATAGRAM_OPEN);
}

static PyObject *
datagram_get_conn_lost(DatagramTransport *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(self->conn_lost);
}

static PyObject *
datagram_get_protocol_paused(DatagramTransport *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->flow.paused);
}

#define FIELD(name)      ((void *)offsetof(DatagramTransport, name))
#define GETTER(function) ((getter)(function)), NULL, NULL

static PyGetSetDef datagram_getset[] = {
    {"_sock", GETTER(datagram_get_object), FIELD(sock)},
    {"_sock_fd", GETTER(datagram_get_sock_fd), NULL},
    {"_address", GETTER(datagram_get_object), FIELD(address)},
    {"_loop", GETTER(datagram_get_object), FIELD(loop)},
    {"_protocol", GETTER(datagram_get_object), FIELD(protocol)},
    {"_closing", GETTER(datagram_get_closing), NULL},
    {"_conn_lost", GETTER(datagram_get_conn_lost), NULL},
    {"_buffer_size", GETTER(datagram_get_size), FIELD(queue.size)},
    {"_protocol_paused", GETTER(datagram_get_protocol_paused), NULL},
    {"_high_water", GETTER(datagram_get_size), FIELD(flow.high)},
    {"_low_water", GETTER(datagram_get_size), FIELD(flow.low)},
    {NULL, NULL, NULL, NULL, NULL},
};

/* --- The type --- */

/* asyncio's: <Type closing fd=7 read=polling write=<idle, bufsize=0>> */
static PyObject *
datagram_repr(DatagramTransport *self)
{
    const char *full = Py_TYPE(self)->tp_name;
    const char *dot = strrchr(full, '.');
    const char *name = dot == NULL ? full : dot + 1;
    const char *state = "";
    if (self->sock == NULL) {
        state = " closed";
    } else if (self->state != DATAGRAM_OPEN) {
        state = " closing";
    }
    if (self->loop == NULL || atomic_load(&self->loop->closed)) {
        return PyUnicode_FromFormat("<%s%s fd=%d>", name, state, self->fd);
    }
    return PyUnicode_FromFormat(
        "<%s%s fd=%d read=%s write=<%s, bufsize=%zu>>", name, state, self->fd,
        self->reading ? "polling" : "idle", self->writing ? "polling" : "idle",
        self->queue.size);
}

static PyMemberDef datagram_members[] = {
    {"__dictoffset__", Py_T_PYSSIZET, offsetof(DatagramTransport, dict),
     Py_READONLY, NULL},
    {"__weaklistoffset__", Py_T_PYSSIZET,
     offsetof(DatagramTransport, weakreflist), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot datagram_slots[] = {
    {Py_tp_doc, "A UDP or unix datagram socket, owned by an event loop."},
    {Py_tp_dealloc, datagram_dealloc},
    {Py_tp_traverse, datagram_traverse},
    {Py_tp_clear, datagram_clear},
    {Py_tp_finalize, datagram_finalize},
    {Py_tp_repr, datagram_repr},
    {Py_tp_getattro, PyObject_GenericGetAttr},
    {Py_tp_setattro, PyObject_GenericSetAttr},
    {Py_tp_members, datagram_members},
    {Py_tp_getset, datagram_getset},
    {0, NULL},
};

static PyType_Spec datagram_spec = {
    .name = "rsloop_c._core.DatagramTransport",
    .basicsize = sizeof(DatagramTransport),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = datagram_slots,
};

static const pyrsl_slot_place datagram_places[] = {
    {"_extra", offsetof(DatagramTransport, extra)},
    {"_high_water", offsetof(DatagramTransport, unused_high_water)},
    {"_loop", offsetof(DatagramTransport, loop)},
    {"_low_water", offsetof(DatagramTransport, unused_low_water)},
    {"_protocol_paused", offsetof(DatagramTransport, unused_protocol_paused)},
    {NULL, 0},
};

int
pyrsl_datagram_type(PyObject *module, module_state *st)
{
    PyMethodDef *const tables[] = {
        pyrsl_datagram_methods,
        pyrsl_datagram_read_methods,
        pyrsl_datagram_write_methods,
        NULL,
    };
    if (pyrsl_layout_check(st->FlowControlMixin, datagram_places,
                           offsetof(DatagramTransport, dict))
        < 0) {
        return -1;
    }
    PyObject *bases =
        PyTuple_Pack(2, st->FlowControlMixin, st->AsyncioDatagramTransport);
    if (bases == NULL) {
        return -1;
    }
    PyTypeObject *type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &datagram_spec, bases);
    Py_DECREF(bases);
    st->DatagramTransportType = type;
    if (type == NULL || pyrsl_type_add_methods(type, tables) < 0) {
        return -1;
    }
    PyObject *max_size = PyLong_FromLong(PYRSL_READ_MAX);
    if (max_size == NULL) {
        return -1;
    }
    int status = PyObject_SetAttrString((PyObject *)type, "max_size", max_size);
    Py_DECREF(max_size);
    return status;
}
