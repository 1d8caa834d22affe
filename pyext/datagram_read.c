/* SPDX-License-Identifier: Apache-2.0 */
/* datagram_read.c - from the socket to the protocol. */
#include "address_cache.h"
#include "args.h"
#include "datagram_impl.h"
#include "errors.h"

/* asyncio reads one message a turn. More at once save a poll for each, and on a
 * busy socket most of the waiting; but others must get a turn. So a batch ends
 * when the socket is empty, or after so long or so many. */
enum { BATCH_MAX = 64, BATCH_NS = 100000 };

/* One message: 1, 0 when there is none, -1 with what a callback raised. */
static int
datagram_receive_one(DatagramTransport *self)
{
    LoopObject *loop = self->loop;
    rsl_err err = {0, NULL};
    rsl_datagram message;
    message.buf = loop->read_scratch;
    message.cap = PYRSL_READ_MAX;
    rsl_status status = rsl_dgram_recv(self->dgram, &message, &err);
    if (status == RSL_AGAIN) {
        return 0;
    }
    if (status != RSL_OK) {
        pyrsl_raise(status, &err);
        return pyrsl_datagram_tell_error(self) < 0 ? -1 : 1;
    }
    PyObject *data =
        PyBytes_FromStringAndSize(message.buf, (Py_ssize_t)message.len);
    PyObject *addr = pyrsl_address_cache_show(loop->addresses, &message.from);
    if (data == NULL || addr == NULL) {
        Py_XDECREF(data);
        Py_XDECREF(addr);
        return pyrsl_datagram_fatal(self,
                                    "Fatal read error on datagram transport");
    }
    PyObject *protocol = Py_NewRef(self->protocol);
    PyObject *args[4] = {NULL, protocol, data, addr};
    PyObject *result =
        PyObject_VectorcallMethod(self->st->str_datagram_received, args + 1,
                                  3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(data);
    Py_DECREF(addr);
    Py_DECREF(protocol);
    Py_XDECREF(result);
    return result == NULL ? -1 : 1;
}

static bool
datagram_may_go_on(const DatagramTransport *self, int64_t start_ns)
{
    return self->reading && !atomic_load(&self->loop->stopping)
           && !rsl_runtime_is_forked(self->loop->rt)
           && rsl_clock_now_ns() - start_ns < BATCH_NS;
}

int
pyrsl_datagram_receive(DatagramTransport *self)
{
    if (!self->reading) {
        return 0;
    }
    if (pyrsl_transport_scratch(self->loop) == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    int64_t start_ns = rsl_clock_now_ns();
    int status = 1;
    for (int i = 0; i < BATCH_MAX && status > 0; i++) {
        status = datagram_receive_one(self);
        if (status > 0 && !datagram_may_go_on(self, start_ns)) {
            break;
        }
    }
    return status < 0 ? -1 : 0;
}

/* --- When it reads --- */

static int
datagram_read_begin(DatagramTransport *self)
{
    if (self->state != DATAGRAM_OPEN || self->paused) {
        return 0;
    }
    if (self->dgram == NULL) { /* the loop was closed */
        return pyrsl_loop_check_closed(self->loop);
    }
    self->reading = true;
    return pyrsl_datagram_update(self);
}

PyDoc_STRVAR(datagram_is_reading_doc,
"is_reading($self, /)\n--\n\n"
"Return True if the transport is receiving.");

static PyObject *
datagram_is_reading(DatagramTransport *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(self->state == DATAGRAM_OPEN && !self->paused);
}

PyDoc_STRVAR(datagram_pause_reading_doc,
"pause_reading($self, /)\n--\n\n"
"Deliver nothing until resume_reading() is called. Does nothing when the\n"
"transport is paused or closing.");

static PyObject *
datagram_pause_reading(DatagramTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (self->state != DATAGRAM_OPEN || self->paused) {
        Py_RETURN_NONE;
    }
    if (pyrsl_loop_is_foreign(self->loop)) {
        return pyrsl_transport_hand_over((PyObject *)self, self->loop,
                                         "pause_reading", NULL, 0);
    }
    self->paused = true;
    self->reading = false;
    if (pyrsl_datagram_update(self) < 0
        || pyrsl_transport_log(self->loop, (PyObject *)self,
                               self->st->str_debug, "%r pauses reading")
               < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(datagram_resume_reading_doc,
"resume_reading($self, /)\n--\n\n"
"Deliver again, from the next turn on and in the caller's context.");

static PyObject *
datagram_resume_reading(DatagramTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (self->state != DATAGRAM_OPEN || !self->paused) {
        Py_RETURN_NONE;
    }
    if (pyrsl_loop_is_foreign(self->loop)) {
        return pyrsl_transport_hand_over((PyObject *)self, self->loop,
                                         "resume_reading", NULL, 0);
    }
    PyObject *context = PyContext_CopyCurrent();
    if (context == NULL) {
        return NULL;
    }
    Py_XSETREF(self->context, context);
    self->paused = false;
    if (datagram_read_begin(self) < 0
        || pyrsl_transport_log(self->loop, (PyObject *)self,
                               self->st->str_debug, "%r resumes reading")
               < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(datagram_start_reading_doc,
"_start_reading($self, /)\n--\n\n"
"connection_made() was called: read from now on.");

static PyObject *
datagram_start_reading(DatagramTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (pyrsl_loop_check_owner(self->loop) < 0
        || datagram_read_begin(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(datagram_read_ready_doc,
"_read_ready($self, /)\n--\n\n"
"Deliver what has arrived.");

static PyObject *
datagram_read_ready(DatagramTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (pyrsl_loop_check_owner(self->loop) < 0
        || pyrsl_datagram_receive(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(datagram_set_protocol_doc,
"set_protocol($self, /, protocol)\n--\n\n"
"Set a new protocol.");

static const char *const protocol_names[] = {"protocol", NULL};
static const pyrsl_params protocol_params = {"set_protocol", protocol_names, 1,
                                             1};

static PyObject *
datagram_set_protocol(DatagramTransport *self, PyObject *const *args,
                      Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *bound[1];
    if (pyrsl_args_bind(&protocol_params, args, nargs, kwnames, bound) < 0
        || pyrsl_loop_check_thread(self->loop) < 0) {
        return NULL;
    }
    Py_XSETREF(self->protocol, Py_NewRef(bound[0]));
    Py_RETURN_NONE;
}

PyDoc_STRVAR(datagram_get_protocol_doc,
"get_protocol($self, /)\n--\n\n"
"Return the current protocol, or None after connection_lost().");

static PyObject *
datagram_get_protocol(DatagramTransport *self, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(self->protocol == NULL ? Py_None : self->protocol);
}

PyMethodDef pyrsl_datagram_read_methods[] = {
    {"is_reading", (PyCFunction)(void (*)(void))datagram_is_reading,
     METH_NOARGS, datagram_is_reading_doc},
    {"pause_reading", (PyCFunction)(void (*)(void))datagram_pause_reading,
     METH_NOARGS, datagram_pause_reading_doc},
    {"resume_reading", (PyCFunction)(void (*)(void))datagram_resume_reading,
     METH_NOARGS, datagram_resume_reading_doc},
    {"set_protocol", (PyCFunction)(void (*)(void))datagram_set_protocol,
     METH_FASTCALL | METH_KEYWORDS, datagram_set_protocol_doc},
    {"get_protocol", (PyCFunction)(void (*)(void))datagram_get_protocol,
     METH_NOARGS, datagram_get_protocol_doc},
    {"_start_reading", (PyCFunction)(void (*)(void))datagram_start_reading,
     METH_NOARGS, datagram_start_reading_doc},
    {"_read_ready", (PyCFunction)(void (*)(void))datagram_read_ready,
     METH_NOARGS, datagram_read_ready_doc},
    {NULL, NULL, 0, NULL},
};
