/* SPDX-License-Identifier: Apache-2.0 */
/* pipe_type.c - both pipe transports for Python: types, collection, what they
 * tell about themselves. */
#include <stddef.h>

#include "args.h"
#include "handle.h"
#include "pipe_impl.h"

/* --- Collection --- */

static int
pipe_traverse(PipeTransport *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->extra);
    Py_VISIT(self->dict);
    Py_VISIT(self->loop);
    Py_VISIT(self->pipe);
    Py_VISIT(self->protocol);
    return 0;
}

static int
pipe_clear(PipeTransport *self)
{
    self->state = PIPE_CLOSED;
    pyrsl_pipe_queue_clear(&self->queue);
    Py_CLEAR(self->extra);
    Py_CLEAR(self->dict);
    Py_CLEAR(self->pipe);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->loop);
    return 0;
}

/* asyncio's __del__: only a transport that was never lost has a pipe. Nothing
 * is watched, or the loop would keep us alive, unless the loop goes too. */
static void
pipe_finalize(PipeTransport *self)
{
    if (self->pipe == NULL || self->pipe == Py_None) {
        return;
    }
    PyObject *raised = PyErr_GetRaisedException();
    pyrsl_transport_warn_unclosed((PyObject *)self);
    PyObject *pipe = self->pipe;
    self->pipe = NULL;
    PyObject *result = PyObject_CallMethodNoArgs(pipe, self->st->str_close);
    if (result == NULL) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    Py_XDECREF(result);
    Py_DECREF(pipe);
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
}

static void
pipe_dealloc(PipeTransport *self)
{
    pyrsl_transport_dealloc((PyObject *)self, &self->weakreflist);
}

/* --- Methods of both --- */

PyDoc_STRVAR(pipe_call_connection_lost_doc,
"_call_connection_lost($self, exc, /)\n--\n\n"
"Tell the protocol, then close the pipe.");

static PyObject *
pipe_call_connection_lost(PipeTransport *self, PyObject *exc)
{
    if (pyrsl_loop_check_owner(self->loop) < 0
        || pyrsl_pipe_lose(self, exc) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(pipe_is_closing_doc,
"is_closing($self, /)\n--\n\n"
"Return True if the transport is closing or closed.");

static PyObject *
pipe_is_closing(PipeTransport *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(self->state != PIPE_OPEN);
}

PyDoc_STRVAR(pipe_set_protocol_doc,
"set_protocol($self, /, protocol)\n--\n\n"
"Set a new protocol.");

static const char *const protocol_names[] = {"protocol", NULL};
static const pyrsl_params protocol_params = {"set_protocol", protocol_names, 1,
                                             1};

static PyObject *
pipe_set_protocol(PipeTransport *self, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *kwnames)
{
    PyObject *protocol = pyrsl_args_one(&protocol_params, args, nargs, kwnames);
    if (protocol == NULL || pyrsl_loop_check_thread(self->loop) < 0) {
        return NULL;
    }
    Py_XSETREF(self->protocol, Py_NewRef(protocol));
    Py_RETURN_NONE;
}

PyDoc_STRVAR(pipe_get_protocol_doc,
"get_protocol($self, /)\n--\n\n"
"Return the current protocol, or None after connection_lost().");

static PyObject *
pipe_get_protocol(PipeTransport *self, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(self->protocol == NULL ? Py_None : self->protocol);
}

static PyMethodDef pipe_methods[] = {
    {"_call_connection_lost",
     (PyCFunction)(void (*)(void))pipe_call_connection_lost, METH_O,
     pipe_call_connection_lost_doc},
    {"is_closing", (PyCFunction)(void (*)(void))pipe_is_closing, METH_NOARGS,
     pipe_is_closing_doc},
    {"set_protocol", (PyCFunction)(void (*)(void))pipe_set_protocol,
     METH_FASTCALL | METH_KEYWORDS, pipe_set_protocol_doc},
    {"get_protocol", (PyCFunction)(void (*)(void))pipe_get_protocol,
     METH_NOARGS, pipe_get_protocol_doc},
    {NULL, NULL, 0, NULL},
};

/* --- The names of asyncio's attributes --- */

/* closure: the offset of a field that may be NULL. */
static PyObject *
pipe_get_object(PipeTransport *self, void *closure)
{
    PyObject *value = *(PyObject **)(void *)((char *)self + (size_t)closure);
    return Py_NewRef(value == NULL ? Py_None : value);
}

/* A user that takes the pipe away keeps the fd. */
static int
pipe_set_pipe(PipeTransport *self, PyObject *value, void *Py_UNUSED(closure))
{
    Py_XSETREF(self->pipe, Py_XNewRef(value));
    return 0;
}

static PyObject *
pipe_get_fileno(PipeTransport *self, void *Py_UNUSED(closure))
{
    return PyLong_FromLong(self->fd);
}

static PyObject *
pipe_get_closing(PipeTransport *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->state != PIPE_OPEN);
}

/* closure: the offset of a bool. */
static PyObject *
pipe_get_bool(PipeTransport *self, void *closure)
{
    return PyBool_FromLong(*(bool *)((char *)self + (size_t)closure));
}

/* closure: the offset of a size_t. */
static PyObject *
pipe_get_size(PipeTransport *self, void *closure)
{
    return PyLong_FromSize_t(
        *(size_t *)(void *)((char *)self + (size_t)closure));
}

static PyObject *
pipe_get_conn_lost(PipeTransport *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(self->conn_lost);
}

#define FIELD(name)      ((void *)offsetof(PipeTransport, name))
#define GETTER(function) ((getter)(function)), NULL, NULL
#define COMMON_GETTERS                                              \
    {"_pipe", (getter)pipe_get_object, (setter)pipe_set_pipe, NULL, \
     FIELD(pipe)},                                                  \
        {"_fileno", GETTER(pipe_get_fileno), NULL},                 \
        {"_loop", GETTER(pipe_get_object), FIELD(loop)},            \
        {"_protocol", GETTER(pipe_get_object), FIELD(protocol)},    \
    {                                                               \
        "_closing", GETTER(pipe_get_closing), NULL                  \
    }

static PyGetSetDef read_getset[] = {
    COMMON_GETTERS,
    {"_paused", GETTER(pipe_get_bool), FIELD(paused)},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyGetSetDef write_getset[] = {
    COMMON_GETTERS,
    {"_conn_lost", GETTER(pipe_get_conn_lost), NULL},
    {"_protocol_paused", GETTER(pipe_get_bool), FIELD(flow.paused)},
    {"_high_water", GETTER(pipe_get_size), FIELD(flow.high)},
    {"_low_water", GETTER(pipe_get_size), FIELD(flow.low)},
    {NULL, NULL, NULL, NULL, NULL},
};

/* asyncio's: <Type closing fd=7 polling bufsize=0> */
static PyObject *
pipe_repr(PipeTransport *self)
{
    bool closed = self->pipe == NULL || self->pipe == Py_None;
    const char *state = closed                     ? " closed"
                        : self->state != PIPE_OPEN ? " closing"
                                                   : "";
    const char *name = self->kind->name;
    if (closed || self->loop == NULL || atomic_load(&self->loop->closed)) {
        return PyUnicode_FromFormat("<%s%s fd=%d %s>", name, state, self->fd,
                                    closed ? "closed" : "open");
    }
    unsigned watched = pyrsl_loop_watched(self->loop, self->fd);
    const char *polling =
        (watched & self->kind->polled) != 0 ? "polling" : "idle";
    if (self->kind == &pyrsl_pipe_read_kind) {
        return PyUnicode_FromFormat("<%s%s fd=%d %s>", name, state, self->fd,
                                    polling);
    }
    return PyUnicode_FromFormat("<%s%s fd=%d %s bufsize=%zu>", name, state,
                                self->fd, polling, self->queue.bytes);
}

/* --- The types --- */

static PyMemberDef pipe_members[] = {
    {"__dictoffset__", Py_T_PYSSIZET, offsetof(PipeTransport, dict),
     Py_READONLY, NULL},
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(PipeTransport, weakreflist),
     Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

#define PIPE_SLOTS(doc, getset)                    \
    {                                              \
        {Py_tp_doc, doc},                          \
        {Py_tp_dealloc, pipe_dealloc},             \
        {Py_tp_traverse, pipe_traverse},           \
        {Py_tp_clear, pipe_clear},                 \
        {Py_tp_finalize, pipe_finalize},           \
        {Py_tp_repr, pipe_repr},                   \
        {Py_tp_getattro, PyObject_GenericGetAttr}, \
        {Py_tp_setattro, PyObject_GenericSetAttr}, \
        {Py_tp_members, pipe_members},             \
        {Py_tp_getset, getset},                    \
        {0},                                       \
    }

static PyType_Slot read_slots[] = PIPE_SLOTS(
    "The reading end of a pipe, owned by an event loop.", read_getset);
static PyType_Slot write_slots[] = PIPE_SLOTS(
    "The writing end of a pipe, owned by an event loop.", write_getset);

static PyType_Spec read_spec = {
    .name = "rsloop_c._core.ReadPipeTransport",
    .basicsize = sizeof(PipeTransport),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = read_slots,
};
static PyType_Spec write_spec = {
    .name = "rsloop_c._core.WritePipeTransport",
    .basicsize = sizeof(PipeTransport),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = write_slots,
};

static const pyrsl_slot_place read_places[] = {
    {"_extra", offsetof(PipeTransport, extra)},
    {NULL, 0},
};
static const pyrsl_slot_place write_places[] = {
    {"_extra", offsetof(PipeTransport, extra)},
    {"_high_water", offsetof(PipeTransport, unused_high_water)},
    {"_loop", offsetof(PipeTransport, loop)},
    {"_low_water", offsetof(PipeTransport, unused_low_water)},
    {"_protocol_paused", offsetof(PipeTransport, unused_protocol_paused)},
    {NULL, 0},
};

static PyTypeObject *
pipe_type(PyObject *module, PyType_Spec *spec, PyObject *base,
          PyMethodDef *methods)
{
    PyTypeObject *type = pyrsl_type_on(module, spec, base);
    PyMethodDef *const tables[] = {pipe_methods, methods, NULL};
    if (type != NULL && pyrsl_type_add_methods(type, tables) < 0) {
        Py_CLEAR(type);
    }
    return type;
}

int
pyrsl_pipe_types(PyObject *module, module_state *st)
{
    if (pyrsl_layout_check(st->ReadTransport, read_places,
                           offsetof(PipeTransport, unused_high_water))
            < 0
        || pyrsl_layout_check(st->FlowControlMixin, write_places,
                              offsetof(PipeTransport, dict))
               < 0) {
        return -1;
    }
    st->ReadPipeTransportType = pipe_type(module, &read_spec, st->ReadTransport,
                                          pyrsl_pipe_read_methods);
    if (st->ReadPipeTransportType == NULL) {
        return -1;
    }
    st->WritePipeTransportType = pipe_type(
        module, &write_spec, st->FlowControlMixin, pyrsl_pipe_write_methods);
    if (st->WritePipeTransportType == NULL) {
        return -1;
    }
    PyObject *size = PyLong_FromLong(PYRSL_READ_MAX);
    int status =
        size == NULL
            ? -1
            : PyObject_SetAttrString((PyObject *)st->ReadPipeTransportType,
                                     "max_size", size);
    Py_XDECREF(size);
    return status;
}
