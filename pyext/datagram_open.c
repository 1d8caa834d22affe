/* SPDX-License-Identifier: Apache-2.0 */
/* datagram_open.c - from a socket to a transport that will be announced. */
#include "address_cache.h"
#include "args.h"
#include "datagram_impl.h"
#include "errors.h"

/* --- The runtime's side --- */

int
pyrsl_datagram_update(DatagramTransport *self)
{
    if (self->dgram == NULL) {
        return 0;
    }
    unsigned mask = (self->reading ? (unsigned)RSL_WATCH_READ : 0U)
                    | (self->writing ? (unsigned)RSL_WATCH_WRITE : 0U);
    rsl_err err = {0, NULL};
    rsl_status status = rsl_dgram_want(self->dgram, mask, &err);
    if (mask != 0 && !self->held) {
        Py_INCREF(self);
    } else if (mask == 0 && self->held) {
        Py_DECREF(self);
    }
    self->held = mask != 0;
    /* In a forked child the poll set is the parent's: nothing to undo there. */
    if (status != RSL_OK && (status != RSL_FORKED || mask != 0)) {
        pyrsl_raise(status, &err);
        return -1;
    }
    return 0;
}

static int
datagram_attach(DatagramTransport *self)
{
    LoopObject *loop = self->loop;
    if (pyrsl_transport_put(loop, self->fd, (PyObject *)self) < 0) {
        return -1;
    }
    rsl_status status = rsl_dgram_open(loop->rt, self->fd, self, &self->dgram);
    if (status != RSL_OK) {
        self->dgram = NULL;
        pyrsl_transport_drop(loop, self->fd, (PyObject *)self);
        pyrsl_raise(status, NULL);
        return -1;
    }
    return 0;
}

void
pyrsl_datagram_detach(DatagramTransport *self)
{
    if (self->dgram == NULL) {
        return;
    }
    rsl_dgram_close(self->dgram);
    self->dgram = NULL;
    pyrsl_transport_drop(self->loop, self->fd, (PyObject *)self);
    self->reading = false;
    self->writing = false;
    if (self->held) {
        self->held = false;
        Py_DECREF(self);
    }
}

/* --- Making one --- */

typedef struct datagram_request {
    PyObject *sock;
    PyObject *protocol;
    PyObject *address; /* or None */
    PyObject *waiter;  /* or None */
    PyObject *extra;   /* a dict with socket, sockname and peername */
} datagram_request;

static int
int_attribute(PyObject *object, PyObject *name, int *out)
{
    PyObject *number = PyObject_GetAttr(object, name);
    long value = number == NULL ? -1 : PyLong_AsLong(number);
    Py_XDECREF(number);
    if (value == -1 && PyErr_Occurred()) {
        return -1;
    }
    *out = (int)value;
    return 0;
}

/* asyncio tests remote_addr for truth, and peername each time it sends. */
static int
datagram_note_peer(DatagramTransport *self, const datagram_request *request)
{
    int truth = PyObject_IsTrue(request->address);
    if (truth > 0) {
        self->address = Py_NewRef(request->address);
    }
    PyObject *peername =
        PyDict_GetItemWithError(request->extra, self->st->str_peername);
    int connected = 0;
    if (truth >= 0 && peername != NULL) {
        connected = PyObject_IsTrue(peername);
    }
    self->connected = connected > 0;
    return truth < 0 || connected < 0 || PyErr_Occurred() ? -1 : 0;
}

static DatagramTransport *
datagram_alloc(LoopObject *loop, const datagram_request *request)
{
    module_state *st = loop->st;
    PyTypeObject *type = st->DatagramTransportType;
    DatagramTransport *self = (DatagramTransport *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->st = st;
    self->loop = (LoopObject *)Py_NewRef(loop);
    self->state = DATAGRAM_CLOSED; /* nothing to warn about yet */
    self->extra = Py_NewRef(request->extra);
    self->protocol = Py_NewRef(request->protocol);
    pyrsl_flow_init(&self->flow);
    self->fd = pyrsl_args_socket_fd(request->sock, st->str_fileno);
    if (self->fd < 0
        || int_attribute(request->sock, st->str_family, &self->family) < 0
        || datagram_note_peer(self, request) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->context = PyContext_CopyCurrent();
    if (self->context == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    return self;
}

static PyObject *
datagram_open(LoopObject *loop, const datagram_request *request)
{
    if (loop->addresses == NULL) {
        loop->addresses = pyrsl_address_cache_new();
        if (loop->addresses == NULL) {
            return PyErr_NoMemory();
        }
    }
    DatagramTransport *self = datagram_alloc(loop, request);
    if (self == NULL || pyrsl_transport_check(loop, self->fd, request->sock) < 0
        || datagram_attach(self) < 0) {
        Py_XDECREF(self);
        return NULL;
    }
    if (pyrsl_transport_announce(loop, (PyObject *)self, self->protocol,
                                 self->st->str_start_reading, request->waiter)
        < 0) {
        PyObject *exc = PyErr_GetRaisedException();
        pyrsl_datagram_detach(self);
        Py_DECREF(self);
        PyErr_SetRaisedException(exc);
        return NULL;
    }
    self->state = DATAGRAM_OPEN;
    self->sock = Py_NewRef(request->sock);
    return (PyObject *)self;
}

/* --- The loop's method --- */

PyDoc_STRVAR(loop_open_datagram_transport_doc,
"_open_datagram_transport($self, sock, protocol, address, waiter, extra, "
"/)\n--\n\n"
"A transport over a non-blocking datagram socket of the internet or unix\n"
"family. connection_made() is scheduled; sock is closed with the transport.");

static PyObject *
loop_open_datagram_transport(LoopObject *self, PyObject *const *args,
                             Py_ssize_t nargs)
{
    if (nargs != 5 || !PyDict_Check(args[4])) {
        PyErr_SetString(PyExc_TypeError,
                        "_open_datagram_transport() takes a socket, a "
                        "protocol, an address, a waiter and a dict");
        return NULL;
    }
    if (pyrsl_loop_check_call(self) < 0 || pyrsl_loop_check_owner(self) < 0) {
        return NULL;
    }
    datagram_request request = {
        .sock = args[0],
        .protocol = args[1],
        .address = args[2],
        .waiter = args[3],
        .extra = args[4],
    };
    return datagram_open(self, &request);
}

PyMethodDef pyrsl_datagram_loop_methods[] = {
    {"_open_datagram_transport",
     (PyCFunction)(void (*)(void))loop_open_datagram_transport, METH_FASTCALL,
     loop_open_datagram_transport_doc},
    {NULL, NULL, 0, NULL},
};
