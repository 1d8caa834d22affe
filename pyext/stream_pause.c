/* SPDX-License-Identifier: Apache-2.0 */
/* stream_pause.c - when a transport reads, and for which protocol. */
#include "stream_impl.h"

#include <errno.h>

#include "args.h"
#include "errors.h"
#include "fast_streams.h"
#include "stream_tls.h"

/* --- The context --- */

PyObject *
pyrsl_stream_enter_context(StreamTransport *self)
{
    if (self->context_shared) {
        PyObject *copy = PyContext_Copy(self->context);
        if (copy == NULL) {
            return NULL;
        }
        self->context_shared = false;
        Py_SETREF(self->context, copy);
    }
    PyObject *context = Py_NewRef(self->context);
    if (PyContext_Enter(context) < 0) {
        Py_CLEAR(context);
    }
    return context;
}

/* --- Starting and stopping --- */

int
pyrsl_stream_read_begin(StreamTransport *self)
{
    if (self->state != STREAM_OPEN || self->paused || self->conn == NULL
        || self->end == STREAM_END_TOLD) {
        return 0;
    }
    rsl_status status = rsl_conn_read_start(self->conn);
    if (status != RSL_OK) {
        rsl_err err = {errno, NULL};
        pyrsl_raise(status, &err);
        return -1;
    }
    self->reading = true;
    if (self->deadlines != NULL) {
        pyrsl_stream_touch_input(self);
    }
    pyrsl_stream_update_held(self);
    bool has_plain = self->tls != NULL && rsl_conn_has_plain(self->conn);
    if (!self->has_held && self->end == STREAM_END_NONE && !has_plain) {
        return 0;
    }
    /* What came while reading was paused is delivered at the next turn. */
    return pyrsl_stream_read_again(self);
}

int
pyrsl_stream_read_end(StreamTransport *self)
{
    if (self->reading) {
        self->reading = false;
        rsl_conn_read_stop(self->conn);
    }
    int status = 0;
    /* Only a transport that reads, or is blocked, is kept alive until the end
     * of the turn: others send at once. */
    if (self->state == STREAM_OPEN) {
        status = pyrsl_stream_catch_up(self);
    }
    pyrsl_stream_update_held(self);
    return status;
}

/* --- Methods --- */

PyDoc_STRVAR(stream_is_reading_doc,
"is_reading($self, /)\n--\n\n"
"Return True if the transport is receiving.");

/* asyncio's SSL transport (3.11) does not ask whether it is closing. */
static PyObject *
stream_is_reading(StreamTransport *self, PyObject *Py_UNUSED(ignored))
{
    bool tls = self->tls != NULL && self->tls->phase != STREAM_TLS_MOVED;
    return PyBool_FromLong((tls || self->state == STREAM_OPEN)
                           && !self->paused);
}

PyDoc_STRVAR(stream_pause_reading_doc,
"pause_reading($self, /)\n--\n\n"
"Deliver nothing until resume_reading() is called. Does nothing when the\n"
"transport is paused or closing.");

static PyObject *
stream_pause_reading(StreamTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (self->state != STREAM_OPEN || self->paused) {
        Py_RETURN_NONE;
    }
    if (pyrsl_loop_is_foreign(self->loop)) {
        return pyrsl_transport_hand_over((PyObject *)self, self->loop,
                                         "pause_reading", NULL, 0);
    }
    pyrsl_flight_note(self, FLIGHT_PAUSE_READING, 0);
    self->paused = true;
    if (pyrsl_stream_read_end(self) < 0
        || pyrsl_transport_log(self->loop, (PyObject *)self,
                               self->st->str_debug, "%r pauses reading")
               < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stream_resume_reading_doc,
"resume_reading($self, /)\n--\n\n"
"Deliver again, from the next turn on and in the caller's context.");

static PyObject *
stream_resume_reading(StreamTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (self->state != STREAM_OPEN || !self->paused) {
        Py_RETURN_NONE;
    }
    if (pyrsl_loop_is_foreign(self->loop)) {
        return pyrsl_transport_hand_over((PyObject *)self, self->loop,
                                         "resume_reading", NULL, 0);
    }
    pyrsl_flight_note(self, FLIGHT_RESUME_READING, 0);
    PyObject *context = PyContext_CopyCurrent();
    if (context == NULL) {
        return NULL;
    }
    self->context_shared = false;
    Py_XSETREF(self->context, context);
    self->paused = false;
    if (pyrsl_stream_read_begin(self) < 0
        || pyrsl_transport_log(self->loop, (PyObject *)self,
                               self->st->str_debug, "%r resumes reading")
               < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

int
pyrsl_stream_set_protocol(StreamTransport *self, PyObject *protocol)
{
    int buffered = PyObject_IsInstance(protocol, self->st->BufferedProtocol);
    if (buffered < 0) {
        return -1;
    }
    self->buffered = buffered != 0;
    self->fast = !self->buffered && pyrsl_fast_is_protocol(self->st, protocol);
    Py_XSETREF(self->protocol, Py_NewRef(protocol));
    return 0;
}

PyDoc_STRVAR(stream_set_protocol_doc,
"set_protocol($self, /, protocol)\n--\n\n"
"Set a new protocol.");

static const char *const protocol_names[] = {"protocol", NULL};
static const pyrsl_params protocol_params = {"set_protocol", protocol_names, 1,
                                             1};

static PyObject *
stream_set_protocol(StreamTransport *self, PyObject *const *args,
                    Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *bound[1];
    if (pyrsl_args_bind(&protocol_params, args, nargs, kwnames, bound) < 0
        || pyrsl_loop_check_thread(self->loop) < 0
        || pyrsl_stream_set_protocol(self, bound[0]) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stream_get_protocol_doc,
"get_protocol($self, /)\n--\n\n"
"Return the current protocol, or None after connection_lost().");

static PyObject *
stream_get_protocol(StreamTransport *self, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(self->protocol == NULL ? Py_None : self->protocol);
}

PyMethodDef pyrsl_stream_read_methods[] = {
    {"is_reading", (PyCFunction)(void (*)(void))stream_is_reading, METH_NOARGS,
     stream_is_reading_doc},
    {"pause_reading", (PyCFunction)(void (*)(void))stream_pause_reading,
     METH_NOARGS, stream_pause_reading_doc},
    {"resume_reading", (PyCFunction)(void (*)(void))stream_resume_reading,
     METH_NOARGS, stream_resume_reading_doc},
    {"set_protocol", (PyCFunction)(void (*)(void))stream_set_protocol,
     METH_FASTCALL | METH_KEYWORDS, stream_set_protocol_doc},
    {"get_protocol", (PyCFunction)(void (*)(void))stream_get_protocol,
     METH_NOARGS, stream_get_protocol_doc},
    {NULL, NULL, 0, NULL},
};
