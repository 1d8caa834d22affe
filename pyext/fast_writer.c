/* SPDX-License-Identifier: Apache-2.0 */
/* fast_writer.c - StreamWriter: write(), writelines(), drain(). */
#include <stddef.h>

#include "args.h"
#include "fast_streams.h"

/* The transport, if it is ours and nobody has put something in front of its
 * methods; else NULL. */
static StreamTransport *
writer_stream(const FastWriter *self)
{
    PyObject *transport = self->transport;
    if (transport == NULL || !pyrsl_is_stream(self->st, transport)) {
        return NULL;
    }
    StreamTransport *stream = (StreamTransport *)transport;
    return stream->dict == NULL ? stream : NULL;
}

/* transport.name(argument), which may be NULL. */
static PyObject *
writer_forward(const FastWriter *self, PyObject *name, PyObject *argument)
{
    PyObject *transport =
        Py_NewRef(self->transport == NULL ? Py_None : self->transport);
    PyObject *result =
        argument == NULL ? PyObject_CallMethodNoArgs(transport, name)
                         : PyObject_CallMethodOneArg(transport, name, argument);
    Py_DECREF(transport);
    return result;
}

/* asyncio's returns None, whatever the transport does. */
static PyObject *
writer_send(FastWriter *self, PyObject *name, PyObject *data,
            PyObject *(*send)(StreamTransport *, PyObject *))
{
    StreamTransport *stream = writer_stream(self);
    PyObject *result;
    if (stream == NULL) {
        result = writer_forward(self, name, data);
    } else {
        Py_INCREF(stream);
        result = send(stream, data);
        Py_DECREF(stream);
    }
    if (result == NULL) {
        return NULL;
    }
    Py_DECREF(result);
    Py_RETURN_NONE;
}

static const char *const data_names[] = {"data", NULL};
static const pyrsl_params write_params = {"write", data_names, 1, 1};
static const pyrsl_params writelines_params = {"writelines", data_names, 1, 1};

PyDoc_STRVAR(writer_write_doc,
"write($self, /, data)\n--\n\n"
"Send bytes, without waiting and in order.");

static PyObject *
writer_write(FastWriter *self, PyObject *const *args, Py_ssize_t nargs,
             PyObject *kwnames)
{
    PyObject *data = pyrsl_args_one(&write_params, args, nargs, kwnames);
    return data == NULL ? NULL
                        : writer_send(self, self->st->str_write, data,
                                      pyrsl_stream_write_data);
}

PyDoc_STRVAR(writer_writelines_doc,
"writelines($self, /, data)\n--\n\n"
"Send the pieces in order, as write() would.");

static PyObject *
writer_writelines(FastWriter *self, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *kwnames)
{
    PyObject *data = pyrsl_args_one(&writelines_params, args, nargs, kwnames);
    return data == NULL ? NULL
                        : writer_send(self, self->st->str_writelines, data,
                                      pyrsl_stream_write_lines);
}

/* -1 with an exception */
static int
writer_closes(const FastWriter *self)
{
    const StreamTransport *stream = writer_stream(self);
    if (stream != NULL) {
        return stream->state != STREAM_OPEN;
    }
    PyObject *answer = writer_forward(self, self->st->str_is_closing, NULL);
    int closing = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    return closing;
}

PyDoc_STRVAR(writer_is_closing_doc,
"is_closing($self, /)\n--\n\n"
"Return True if the transport is closing or closed.");

static PyObject *
writer_is_closing(FastWriter *self, PyObject *Py_UNUSED(ignored))
{
    StreamTransport *stream = writer_stream(self);
    return stream != NULL
               ? PyBool_FromLong(stream->state != STREAM_OPEN)
               : writer_forward(self, self->st->str_is_closing, NULL);
}

/* --- drain() --- */

enum drain_stage { DRAIN_NEW, DRAIN_YIELDED, DRAIN_WAITED };

/* The reader's exception, a new reference; NULL when there is none, and in
 * *status -1 when it could not be found out. */
static PyObject *
drain_exception(const FastWriter *self, int *status)
{
    PyObject *reader = self->reader;
    *status = 0;
    if (reader == NULL) {
        return NULL;
    }
    if (pyrsl_fast_is_reader(self->st, reader)
        && ((FastReader *)reader)->plain) {
        return Py_XNewRef(((FastReader *)reader)->exception);
    }
    PyObject *exc = PyObject_CallMethodNoArgs(reader, self->st->str_exception);
    if (exc == NULL) {
        *status = -1;
    }
    if (exc == Py_None) {
        Py_CLEAR(exc);
    }
    return exc;
}

/* asyncio's `if self._reader is not None`, `if self._transport.is_closing()`: 1
 * when the loop shall first have its turn, 0, or -1. */
static int
drain_begin(const FastWriter *self)
{
    int status;
    PyObject *exc = drain_exception(self, &status);
    if (exc == NULL) {
        return status < 0 ? -1 : writer_closes(self);
    }
    if (PyExceptionInstance_Check(exc)) {
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
    } else {
        PyErr_SetString(PyExc_TypeError,
                        "exceptions must derive from BaseException");
    }
    Py_DECREF(exc);
    return -1;
}

/* asyncio.sleep(0): connection_lost() may be called meanwhile. */
static fast_step
drain_yield(FastCall *call, module_state *st)
{
    call->stage = DRAIN_YIELDED;
    PyObject *sleep = pyrsl_state_look_up(st->tasks_names, st->str_sleep);
    if (sleep == NULL) {
        return FAST_FAILED;
    }
    PyObject *zero = PyLong_FromLong(0);
    PyObject *turn = zero == NULL ? NULL : PyObject_CallOneArg(sleep, zero);
    Py_XDECREF(zero);
    Py_DECREF(sleep);
    return turn == NULL ? FAST_FAILED : pyrsl_fast_call_await(call, turn);
}

/* await protocol._drain_helper(), unless that would return at once. */
static fast_step
drain_wait(FastCall *call, FastWriter *self)
{
    PyObject *protocol =
        Py_NewRef(self->protocol == NULL ? Py_None : self->protocol);
    call->stage = DRAIN_WAITED;
    if (pyrsl_fast_is_protocol(self->st, protocol)
        && ((FastProtocol *)protocol)->plain) {
        const FastProtocol *plain = (FastProtocol *)protocol;
        bool lost = plain->connection_lost, paused = plain->paused;
        if (lost || !paused) {
            Py_DECREF(protocol);
            if (!lost) {
                return FAST_RETURN;
            }
            PyErr_SetString(PyExc_ConnectionResetError, "Connection lost");
            return FAST_FAILED;
        }
    }
    PyObject *waiting =
        PyObject_CallMethodNoArgs(protocol, self->st->str_drain_helper);
    Py_DECREF(protocol);
    return waiting == NULL ? FAST_FAILED : pyrsl_fast_call_await(call, waiting);
}

static fast_step
drain_step(FastCall *call, PyObject **result)
{
    FastWriter *self = (FastWriter *)call->owner;
    *result = Py_NewRef(Py_None);
    fast_step step = FAST_RETURN;
    if (call->stage == DRAIN_NEW) {
        int closing = drain_begin(self);
        step = closing < 0   ? FAST_FAILED
               : closing > 0 ? drain_yield(call, self->st)
                             : drain_wait(call, self);
    } else if (call->stage == DRAIN_YIELDED) {
        step = drain_wait(call, self);
    }
    if (step != FAST_RETURN) {
        Py_CLEAR(*result);
    }
    return step;
}

static const fast_call_kind drain_kind = {
    .name = "drain",
    .qualname = "StreamWriter.drain",
    .step = drain_step,
};

PyDoc_STRVAR(writer_drain_doc,
"drain($self, /)\n--\n\n"
"Wait until there is room to write more.\n\n"
"A coroutine, to be awaited after write().");

static PyObject *
writer_drain(FastWriter *self, PyObject *Py_UNUSED(ignored))
{
    return (PyObject *)pyrsl_fast_call_new(self->st, &drain_kind,
                                           (PyObject *)self);
}

static PyMethodDef writer_methods[] = {
    {"write", (PyCFunction)(void (*)(void))writer_write,
     METH_FASTCALL | METH_KEYWORDS, writer_write_doc},
    {"writelines", (PyCFunction)(void (*)(void))writer_writelines,
     METH_FASTCALL | METH_KEYWORDS, writer_writelines_doc},
    {"is_closing", (PyCFunction)(void (*)(void))writer_is_closing, METH_NOARGS,
     writer_is_closing_doc},
    {"drain", (PyCFunction)(void (*)(void))writer_drain, METH_NOARGS,
     writer_drain_doc},
    {NULL, NULL, 0, NULL},
};

/* --- The type --- */

static PyGetSetDef writer_getset[] = {
    PYRSL_FAST_ATTRIBUTE("_loop", FastWriter, loop),
    PYRSL_FAST_ATTRIBUTE("_transport", FastWriter, transport),
    PYRSL_FAST_ATTRIBUTE("_protocol", FastWriter, protocol),
    PYRSL_FAST_ATTRIBUTE("_reader", FastWriter, reader),
    {"transport", pyrsl_fast_get, NULL, NULL,
     (void *)offsetof(FastWriter, transport)},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyObject *
writer_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
           PyObject *Py_UNUSED(kwargs))
{
    module_state *st = pyrsl_state_of_type(type);
    FastWriter *self =
        st == NULL ? NULL : (FastWriter *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->st = st;
    }
    return (PyObject *)self;
}

static int
writer_traverse(FastWriter *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->loop);
    Py_VISIT(self->transport);
    Py_VISIT(self->protocol);
    Py_VISIT(self->reader);
    return 0;
}

static int
writer_clear(FastWriter *self)
{
    Py_CLEAR(self->loop);
    Py_CLEAR(self->transport);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->reader);
    return 0;
}

static void
writer_dealloc(FastWriter *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)writer_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot writer_slots[] = {
    {Py_tp_doc, "The C half of rsloop_c.StreamWriter."},
    {Py_tp_new, writer_new},
    {Py_tp_dealloc, writer_dealloc},
    {Py_tp_traverse, writer_traverse},
    {Py_tp_clear, writer_clear},
    {Py_tp_methods, writer_methods},
    {Py_tp_getset, writer_getset},
    {0, NULL},
};

static PyType_Spec writer_spec = {
    .name = "rsloop_c._core.StreamWriter",
    .basicsize = sizeof(FastWriter),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = writer_slots,
};

PyTypeObject *
pyrsl_fast_writer_type(PyObject *module, module_state *st)
{
    st->FastWriterType =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &writer_spec, NULL);
    return st->FastWriterType;
}
