/* SPDX-License-Identifier: Apache-2.0 */
/* fast_protocol.c - StreamReaderProtocol: bytes on their way to a reader. */
#include <stddef.h>

#include "args.h"
#include "fast_streams.h"

/* The reader, a new reference; NULL without an exception when it is gone. */
static PyObject *
protocol_reader(const FastProtocol *self)
{
    if (self->reader_ref == NULL) {
        return NULL;
    }
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *reader = NULL;
    (void)PyWeakref_GetRef(self->reader_ref, &reader); /* is a weakref */
    return reader;
#else
    PyObject *reader = PyWeakref_GET_OBJECT(self->reader_ref);
    return reader == Py_None ? NULL : Py_NewRef(reader);
#endif
}

/* The reader, if it takes bytes in C. */
static FastReader *
protocol_plain_reader(const FastProtocol *self, PyObject *reader)
{
    return pyrsl_fast_is_reader(self->st, reader)
                   && ((FastReader *)reader)->plain
               ? (FastReader *)reader
               : NULL;
}

static int
protocol_feed(FastProtocol *self, PyObject *reader, PyObject *data)
{
    FastReader *plain = protocol_plain_reader(self, reader);
    if (plain != NULL && PyBytes_CheckExact(data)) {
        return pyrsl_fast_feed(plain, data);
    }
    PyObject *result =
        PyObject_CallMethodOneArg(reader, self->st->str_feed_data, data);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Feed, and run what that has made ready if it is one callback: the waiting
 * task's step. */
static int
protocol_feed_now(StreamTransport *transport, FastReader *reader,
                  PyObject *data)
{
    LoopObject *loop = transport->loop;
    size_t ready = loop->ready.count + 1;
    int status = pyrsl_fast_put(reader, data);
    bool woke = loop->ready.count == ready;
    if (status < 0 || pyrsl_fast_pause_above_limit(reader) < 0) {
        return pyrsl_stream_fatal(
            transport, "Fatal error: protocol.data_received() call failed.");
    }
    return woke && loop->ready.count == ready ? pyrsl_loop_run_newest(loop) : 0;
}

int
pyrsl_fast_deliver(StreamTransport *transport, PyObject *data)
{
    FastProtocol *protocol = (FastProtocol *)transport->protocol;
    PyObject *reader = protocol_reader(protocol);
    int status = 0;
    if (reader == NULL) {
        Py_DECREF(data);
        return 0;
    }
    FastReader *plain = protocol_plain_reader(protocol, reader);
    if (plain != NULL) {
        status = protocol_feed_now(transport, plain, data);
    } else if (protocol_feed(protocol, reader, data) < 0) {
        status = pyrsl_stream_fatal(
            transport, "Fatal error: protocol.data_received() call failed.");
    }
    Py_DECREF(reader);
    Py_DECREF(data);
    return status;
}

PyDoc_STRVAR(protocol_data_received_doc,
"data_received($self, /, data)\n--\n\n"
"Give data to the reader.");

static const char *const data_names[] = {"data", NULL};
static const pyrsl_params data_params = {"data_received", data_names, 1, 1};

static PyObject *
protocol_data_received(FastProtocol *self, PyObject *const *args,
                       Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *data = pyrsl_args_one(&data_params, args, nargs, kwnames);
    PyObject *reader = data == NULL ? NULL : protocol_reader(self);
    if (reader == NULL) {
        return data == NULL ? NULL : Py_NewRef(Py_None);
    }
    int status = protocol_feed(self, reader, data);
    Py_DECREF(reader);
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef protocol_methods[] = {
    {"data_received", (PyCFunction)(void (*)(void))protocol_data_received,
     METH_FASTCALL | METH_KEYWORDS, protocol_data_received_doc},
    {NULL, NULL, 0, NULL},
};

/* --- Attributes --- */

static int
protocol_set_reader_ref(FastProtocol *self, PyObject *value,
                        void *Py_UNUSED(closure))
{
    if (value != NULL && value != Py_None && !PyWeakref_Check(value)) {
        PyErr_Format(PyExc_TypeError,
                     "_stream_reader_wr must be a weak reference or None, not "
                     "%.100s",
                     Py_TYPE(value)->tp_name);
        return -1;
    }
    return pyrsl_fast_set((PyObject *)self, value,
                          (void *)offsetof(FastProtocol, reader_ref));
}

static PyGetSetDef protocol_getset[] = {
    {"_stream_reader_wr", pyrsl_fast_get, (setter)protocol_set_reader_ref, NULL,
     (void *)offsetof(FastProtocol, reader_ref)},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef protocol_members[] = {
    {"_paused", Py_T_BOOL, offsetof(FastProtocol, paused), 0, NULL},
    {"_connection_lost", Py_T_BOOL, offsetof(FastProtocol, connection_lost), 0,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

/* --- The type --- */

static const char *const protocol_own[] = {"data_received", "_drain_helper",
                                           NULL};

static PyObject *
protocol_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
             PyObject *Py_UNUSED(kwargs))
{
    module_state *st = pyrsl_state_of_type(type);
    if (st == NULL) {
        return NULL;
    }
    FastProtocol *self = (FastProtocol *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->st = st;
    int plain =
        pyrsl_fast_has_own(type, protocol_own, (PyObject *)st->FastProtocolType,
                           st->AsyncioStreamReaderProtocol);
    if (plain < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->plain = plain != 0;
    return (PyObject *)self;
}

static int
protocol_setattro(FastProtocol *self, PyObject *name, PyObject *value)
{
    return pyrsl_fast_setattr((PyObject *)self, name, value, protocol_own,
                              &self->plain);
}

static int
protocol_traverse(FastProtocol *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->reader_ref);
    return 0;
}

static int
protocol_clear(FastProtocol *self)
{
    Py_CLEAR(self->reader_ref);
    return 0;
}

static void
protocol_dealloc(FastProtocol *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)protocol_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot protocol_slots[] = {
    {Py_tp_doc, "The C half of rsloop_c.StreamReaderProtocol."},
    {Py_tp_new, protocol_new},
    {Py_tp_dealloc, protocol_dealloc},
    {Py_tp_traverse, protocol_traverse},
    {Py_tp_clear, protocol_clear},
    {Py_tp_setattro, protocol_setattro},
    {Py_tp_methods, protocol_methods},
    {Py_tp_getset, protocol_getset},
    {Py_tp_members, protocol_members},
    {0, NULL},
};

static PyType_Spec protocol_spec = {
    .name = "rsloop_c._core.StreamReaderProtocol",
    .basicsize = sizeof(FastProtocol),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = protocol_slots,
};

PyTypeObject *
pyrsl_fast_protocol_type(PyObject *module, module_state *st)
{
    st->FastProtocolType =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &protocol_spec, NULL);
    return st->FastProtocolType;
}
