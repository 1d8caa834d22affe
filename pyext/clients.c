/* SPDX-License-Identifier: Apache-2.0 */
#include "clients.h"

#include "stream_impl.h"

typedef struct ClientsObject {
    PyObject_HEAD
    LoopObject *loop;
    PyObject *server;
    PyObject *others; /* the WeakSet that was there */
    Py_ssize_t count; /* transports whose `server` this is */
} ClientsObject;

static bool
clients_check(const module_state *st, PyObject *object)
{
    return st->ClientsType != NULL && Py_IS_TYPE(object, st->ClientsType);
}

/* --- Coming and going --- */

int
pyrsl_clients_install(LoopObject *loop, PyObject *server)
{
    module_state *st = loop->st;
    if (st->ClientsType == NULL || server == Py_None) {
        return 0;
    }
    PyObject *set = PyObject_GetAttr(server, st->str_clients);
    if (set == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    Py_ssize_t size =
        Py_TYPE(set) == (PyTypeObject *)st->WeakSet ? PyObject_Size(set) : 1;
    if (size != 0) {
        Py_DECREF(set);
        return size < 0 ? -1 : 0;
    }
    ClientsObject *self =
        (ClientsObject *)st->ClientsType->tp_alloc(st->ClientsType, 0);
    if (self == NULL) {
        Py_DECREF(set);
        return -1;
    }
    self->loop = (LoopObject *)Py_NewRef(loop);
    self->server = Py_NewRef(server);
    self->others = set;
    int status = PyObject_SetAttr(server, st->str_clients, (PyObject *)self);
    Py_DECREF(self);
    return status;
}

/* The clients of `server` if joining them is all that server._attach() does,
 * a new reference; NULL without an exception where it has to be called. */
static ClientsObject *
clients_of(const module_state *st, PyObject *server, PyObject *attach)
{
    if (!PyMethod_Check(attach)
        || PyMethod_GET_FUNCTION(attach) != st->server_attach) {
        return NULL;
    }
    PyObject *set = PyObject_GetAttr(server, st->str_clients);
    PyObject *sockets = PyObject_GetAttr(server, st->str_sockets);
    if (set == NULL || sockets == NULL) {
        PyErr_Clear(); /* _attach() will say it better */
    }
    bool joins = set != NULL && sockets != NULL && sockets != Py_None
                 && clients_check(st, set);
    Py_XDECREF(sockets);
    if (!joins) {
        Py_XDECREF(set);
        return NULL;
    }
    return (ClientsObject *)set;
}

PyObject *
pyrsl_clients_attach(const module_state *st, PyObject *server,
                     PyObject *transport)
{
    PyObject *attach = PyObject_GetAttr(server, st->str_attach);
    if (attach == NULL) {
        return NULL;
    }
    ClientsObject *clients =
        st->ClientsType == NULL ? NULL : clients_of(st, server, attach);
    if (clients != NULL) {
        clients->count++;
        Py_DECREF(attach);
        return (PyObject *)clients;
    }
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *result = PyObject_CallOneArg(attach, transport);
#else
    (void)transport;
    PyObject *result = PyObject_CallNoArgs(attach);
#endif
    Py_DECREF(attach);
    if (result == NULL) {
        return NULL;
    }
    Py_DECREF(result);
    return Py_NewRef(server);
}

static Py_ssize_t
clients_length(ClientsObject *self)
{
    Py_ssize_t others = self->others == NULL ? 0 : PyObject_Size(self->others);
    return others < 0 ? -1 : self->count + others;
}

/* What asyncio.Server._detach() does once the transport is out of the set. */
static int
clients_left(const module_state *st, ClientsObject *self)
{
    if (self->count > 0 || self->server == NULL) {
        return 0;
    }
    Py_ssize_t length = clients_length(self);
    if (length != 0) {
        return length < 0 ? -1 : 0;
    }
    PyObject *sockets = PyObject_GetAttr(self->server, st->str_sockets);
    if (sockets == NULL) {
        return -1;
    }
    Py_DECREF(sockets);
    if (sockets != Py_None) {
        return 0;
    }
    PyObject *result = PyObject_CallMethodNoArgs(self->server, st->str_wakeup);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
pyrsl_clients_detach(const module_state *st, PyObject *server,
                     PyObject *transport)
{
    if (clients_check(st, server)) {
        ClientsObject *clients = (ClientsObject *)server;
        clients->count--;
        int status = clients_left(st, clients);
        Py_DECREF(server);
        return status;
    }
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *result =
        PyObject_CallMethodOneArg(server, st->str_detach, transport);
#else
    (void)transport;
    PyObject *result = PyObject_CallMethodNoArgs(server, st->str_detach);
#endif
    Py_DECREF(server);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

void
pyrsl_clients_forget(const module_state *st, PyObject *server)
{
    if (server != NULL && clients_check(st, server)) {
        ((ClientsObject *)server)->count--;
    }
    Py_XDECREF(server);
}

PyObject *
pyrsl_clients_server(const module_state *st, PyObject *server)
{
    return clients_check(st, server) ? ((ClientsObject *)server)->server
                                     : server;
}

/* --- As a set --- */

/* `object` if it is one that only its `server` field lists. */
static StreamTransport *
clients_own(const ClientsObject *self, PyObject *object)
{
    if (self->loop == NULL || !pyrsl_is_stream(self->loop->st, object)) {
        return NULL;
    }
    StreamTransport *stream = (StreamTransport *)object;
    return stream->server == (const PyObject *)self ? stream : NULL;
}

PyDoc_STRVAR(clients_add_doc, "add($self, transport, /)\n--\n\n"
                              "Add a transport.");

static PyObject *
clients_add(ClientsObject *self, PyObject *object)
{
    if (clients_own(self, object) != NULL) {
        Py_RETURN_NONE;
    }
    return PyObject_CallMethod(self->others, "add", "O", object);
}

PyDoc_STRVAR(clients_discard_doc, "discard($self, transport, /)\n--\n\n"
                                  "Remove a transport if it is there.");

static PyObject *
clients_discard(ClientsObject *self, PyObject *object)
{
    StreamTransport *stream = clients_own(self, object);
    if (stream != NULL) {
        stream->server = NULL;
        self->count--;
        Py_DECREF(self);
        Py_RETURN_NONE;
    }
    return PyObject_CallMethod(self->others, "discard", "O", object);
}

PyDoc_STRVAR(clients_copy_doc, "copy($self, /)\n--\n\n"
                               "A list of the transports.");

static PyObject *
clients_copy(ClientsObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *list = PySequence_List(self->others);
    const LoopObject *loop = self->loop;
    for (int fd = 0; list != NULL && fd < loop->transport_cap; fd++) {
        PyObject *object = loop->transports[fd];
        if (object != NULL && clients_own(self, object) != NULL
            && PyList_Append(list, object) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

static PyObject *
clients_iter(ClientsObject *self)
{
    PyObject *list = clients_copy(self, NULL);
    PyObject *iterator = list == NULL ? NULL : PyObject_GetIter(list);
    Py_XDECREF(list);
    return iterator;
}

static int
clients_contains(ClientsObject *self, PyObject *object)
{
    return clients_own(self, object) != NULL
               ? 1
               : PySequence_Contains(self->others, object);
}

/* --- The type --- */

static int
clients_traverse(ClientsObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->loop);
    Py_VISIT(self->server);
    Py_VISIT(self->others);
    return 0;
}

/* `others` and `loop` stay, for the methods: neither leads back here but by
 * `server`. */
static int
clients_clear(ClientsObject *self)
{
    Py_CLEAR(self->server);
    return 0;
}

static void
clients_dealloc(ClientsObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->loop);
    Py_XDECREF(self->server);
    Py_XDECREF(self->others);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef clients_methods[] = {
    {"add", (PyCFunction)(void (*)(void))clients_add, METH_O, clients_add_doc},
    {"discard", (PyCFunction)(void (*)(void))clients_discard, METH_O,
     clients_discard_doc},
    {"copy", (PyCFunction)(void (*)(void))clients_copy, METH_NOARGS,
     clients_copy_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot clients_slots[] = {
    {Py_tp_doc,
     "The transports of an asyncio.Server; it refers to them weakly."},
    {Py_tp_dealloc, clients_dealloc},
    {Py_tp_traverse, clients_traverse},
    {Py_tp_clear, clients_clear},
    {Py_tp_methods, clients_methods},
    {Py_tp_iter, clients_iter},
    {Py_sq_length, clients_length},
    {Py_sq_contains, clients_contains},
    {0, NULL},
};

static PyType_Spec clients_spec = {
    .name = "rsloop_c._core.Clients",
    .basicsize = sizeof(ClientsObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = clients_slots,
};

int
pyrsl_clients_type(PyObject *module, module_state *st)
{
#if PY_VERSION_HEX < 0x030D0000 || defined(Py_GIL_DISABLED)
    (void)module, (void)st; /* asyncio.Server counts, or locks are needed */
    (void)clients_spec;
    return 0;
#else
    st->server_attach = PyObject_GetAttr(st->Server, st->str_attach);
    st->ClientsType =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &clients_spec, NULL);
    return st->server_attach == NULL || st->ClientsType == NULL ? -1 : 0;
#endif
}
