/* SPDX-License-Identifier: Apache-2.0 */
/* datagram_write.c - sendto(), and what the socket had no room for. */
#include <stdlib.h>

#include "address_cache.h"
#include "args.h"
#include "datagram_impl.h"
#include "errors.h"

#define WRITE_FAILED "Fatal write error on datagram transport"

/* asyncio's LOG_THRESHOLD_FOR_CONNLOST_WRITES */
enum { WARN_AFTER_WRITES = 5 };

/* asyncio counts a header for each queued message, and sends empty ones, from
 * 3.13 on. */
#if PY_VERSION_HEX >= 0x030D0000
enum { HEADER_SIZE = 8, SENDS_EMPTY = true };
#else
enum { HEADER_SIZE = 0, SENDS_EMPTY = false };
#endif

/* --- The queue --- */

static size_t
entry_size(const datagram_entry *entry)
{
    return (size_t)PyBytes_GET_SIZE(entry->data) + HEADER_SIZE;
}

static int
queue_reserve(datagram_queue *queue)
{
    if (queue->count < queue->cap) {
        return 0;
    }
    size_t cap = queue->cap == 0 ? 16 : queue->cap * 2;
    datagram_entry *ring = malloc(cap * sizeof(*ring));
    if (ring == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < queue->count; i++) {
        ring[i] = queue->ring[(queue->head + i) & (queue->cap - 1)];
    }
    free(queue->ring);
    queue->ring = ring;
    queue->cap = cap;
    queue->head = 0;
    return 0;
}

/* Takes both references. */
static int
queue_push(datagram_queue *queue, PyObject *data, PyObject *addr)
{
    if (queue_reserve(queue) < 0) {
        Py_DECREF(data);
        Py_DECREF(addr);
        return -1;
    }
    datagram_entry *entry =
        &queue->ring[(queue->head + queue->count) & (queue->cap - 1)];
    *entry = (datagram_entry){data, addr};
    queue->count++;
    queue->size += entry_size(entry);
    return 0;
}

static datagram_entry
queue_take(datagram_queue *queue)
{
    datagram_entry entry = queue->ring[queue->head & (queue->cap - 1)];
    queue->head++;
    queue->count--;
    queue->size -= entry_size(&entry);
    return entry;
}

/* Undo queue_take(). There may be no room: looking up a host name runs other
 * code, which may have pushed. */
static int
queue_put_back(datagram_queue *queue, datagram_entry entry)
{
    if (queue_reserve(queue) < 0) {
        Py_DECREF(entry.data);
        Py_DECREF(entry.addr);
        return -1;
    }
    queue->head--;
    queue->count++;
    queue->size += entry_size(&entry);
    queue->ring[queue->head & (queue->cap - 1)] = entry;
    return 0;
}

void
pyrsl_datagram_drop_queue(DatagramTransport *self)
{
    datagram_queue *queue = &self->queue;
    while (queue->count > 0) {
        datagram_entry entry = queue_take(queue);
        Py_DECREF(entry.data);
        Py_DECREF(entry.addr);
    }
    free(queue->ring);
    *queue = (datagram_queue){0};
}

/* --- Sending one --- */

/* By the socket object, which resolves names and words its own errors. */
static int
send_by_socket(DatagramTransport *self, PyObject *data, PyObject *addr)
{
    module_state *st = self->st;
    PyObject *sock = Py_NewRef(self->sock == NULL ? Py_None : self->sock);
    PyObject *result = self->connected
                           ? PyObject_CallMethodOneArg(sock, st->str_send, data)
                           : PyObject_CallMethodObjArgs(sock, st->str_sendto,
                                                        data, addr, NULL);
    Py_DECREF(sock);
    if (result != NULL) {
        Py_DECREF(result);
        return 1;
    }
    if (PyErr_ExceptionMatches(PyExc_BlockingIOError)
        || PyErr_ExceptionMatches(PyExc_InterruptedError)) {
        PyErr_Clear();
        return 0;
    }
    return -1;
}

/* 1 sent, 0 no room, -1 with an exception. */
static int
send_one(DatagramTransport *self, PyObject *data, PyObject *addr)
{
    rsl_addr to;
    if (self->dgram == NULL
        || (!self->connected
            && !pyrsl_address_cache_read(self->loop->addresses, self->family,
                                         addr, &to))) {
        return send_by_socket(self, data, addr);
    }
    if (!self->connected
        && PySys_Audit("socket.sendto", "OO", self->sock, addr) < 0) {
        return -1;
    }
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    rsl_err err = {0, NULL};
    rsl_status status = rsl_dgram_send(self->dgram, view.buf, (size_t)view.len,
                                       self->connected ? NULL : &to, &err);
    PyBuffer_Release(&view);
    if (status == RSL_OK) {
        return 1;
    }
    if (status == RSL_AGAIN) {
        return 0;
    }
    pyrsl_raise(status, &err);
    return -1;
}

/* What asyncio does about an exception of send(). */
static int
send_failed(DatagramTransport *self)
{
    if (PyErr_ExceptionMatches(PyExc_OSError)) {
        return pyrsl_datagram_tell_error(self);
    }
    return pyrsl_datagram_fatal(self, WRITE_FAILED);
}

int
pyrsl_datagram_drain(DatagramTransport *self)
{
    datagram_queue *queue = &self->queue;
    while (queue->count > 0) {
        datagram_entry entry = queue_take(queue);
        int sent = send_one(self, entry.data, entry.addr);
        if (sent == 0) {
            if (queue_put_back(queue, entry) < 0) {
                return -1;
            }
            break;
        }
        Py_DECREF(entry.data);
        Py_DECREF(entry.addr);
        if (sent < 0) {
            return send_failed(self); /* the rest, when there is room again */
        }
    }
    if (self->protocol != NULL
        && pyrsl_flow_shrunk(&self->flow, self->loop, (PyObject *)self,
                             self->protocol, queue->size)
               < 0) {
        return -1;
    }
    if (queue->count > 0 || !self->writing) {
        return 0;
    }
    self->writing = false;
    if (pyrsl_datagram_update(self) < 0) {
        return -1;
    }
    return self->state == DATAGRAM_CLOSING ? pyrsl_datagram_lose(self, NULL)
                                           : 0;
}

/* --- sendto() --- */

/* asyncio's check of the type, and of what 3.12 does with nothing: 1 to send,
 * 0 for nothing to send, -1. */
static int
sendto_check_data(PyObject *data)
{
    if (!PyBytes_Check(data) && !PyByteArray_Check(data)
        && !PyMemoryView_Check(data)) {
        PyObject *name =
            PyObject_GetAttrString((PyObject *)Py_TYPE(data), "__name__");
        if (name != NULL) {
            PyErr_Format(PyExc_TypeError,
                         "data argument must be a bytes-like object, not %R",
                         name);
            Py_DECREF(name);
        }
        return -1;
    }
    return SENDS_EMPTY ? 1 : PyObject_IsTrue(data);
}

/* remote_addr is the only address that there is: 0, or -1 with ValueError. */
static int
sendto_check_address(DatagramTransport *self, PyObject *addr)
{
    if (addr == Py_None || addr == self->address) {
        return 0;
    }
    int same = PyObject_RichCompareBool(addr, self->address, Py_EQ);
    if (same == 0) {
        PyErr_Format(PyExc_ValueError, "Invalid address: must be None or %S",
                     self->address);
    }
    return same > 0 ? 0 : -1;
}

static int
sendto_lost(DatagramTransport *self)
{
    PyObject *result = NULL;
    if (self->conn_lost >= WARN_AFTER_WRITES) {
        PyObject *text =
            PyUnicode_FromString("socket.send() raised exception.");
        if (text != NULL) {
            result = PyObject_CallMethodOneArg(self->st->logger,
                                               self->st->str_warning, text);
            Py_DECREF(text);
        }
        if (result == NULL) {
            return -1;
        }
        Py_DECREF(result);
    }
    self->conn_lost++;
    return 0;
}

static int
sendto_queue(DatagramTransport *self, PyObject *data, PyObject *addr)
{
    /* What waits must not change meanwhile. */
    PyObject *copy =
        PyBytes_CheckExact(data) ? Py_NewRef(data) : PyBytes_FromObject(data);
    if (copy == NULL || queue_push(&self->queue, copy, Py_NewRef(addr)) < 0) {
        return -1;
    }
    return pyrsl_flow_grown(&self->flow, self->loop, (PyObject *)self,
                            self->protocol, self->queue.size);
}

static int
datagram_sendto(DatagramTransport *self, PyObject *data, PyObject *addr)
{
    int some = sendto_check_data(data);
    if (some <= 0) {
        return some;
    }
    if (self->address != NULL) {
        if (sendto_check_address(self, addr) < 0) {
            return -1;
        }
        addr = self->address;
        if (self->conn_lost > 0) {
            return sendto_lost(self);
        }
    }
    if (self->queue.count == 0) {
        int sent = send_one(self, data, addr);
        if (sent != 0) {
            return sent > 0 ? 0 : send_failed(self);
        }
        if (self->dgram == NULL) {
            return pyrsl_loop_check_closed(self->loop);
        }
        self->writing = true;
        if (pyrsl_datagram_update(self) < 0) {
            return -1;
        }
    }
    return sendto_queue(self, data, addr);
}

static const char *const sendto_names[] = {"data", "addr", NULL};
static const pyrsl_params sendto_params = {"sendto", sendto_names, 2, 1};

/* What can be refused now is, in the caller's thread. */
static PyObject *
sendto_hand_over(DatagramTransport *self, PyObject *data, PyObject *addr)
{
    int some = sendto_check_data(data);
    if (some < 0
        || (self->address != NULL && sendto_check_address(self, addr) < 0)) {
        return NULL;
    }
    if (some == 0) {
        Py_RETURN_NONE;
    }
    return pyrsl_transport_hand_over_data((PyObject *)self, self->loop,
                                          sendto_params.function, data, addr);
}

PyDoc_STRVAR(datagram_sendto_doc,
"sendto($self, /, data, addr=None)\n--\n\n"
"Send a message to addr, or to the transport's remote address.\n\n"
"Does not block: what the system has no room for is queued. Errors of the\n"
"system go to error_received().");

static PyObject *
datagram_sendto_method(DatagramTransport *self, PyObject *const *args,
                       Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *bound[2];
    if (pyrsl_args_bind(&sendto_params, args, nargs, kwnames, bound) < 0) {
        return NULL;
    }
    PyObject *addr = bound[1] == NULL ? Py_None : bound[1];
    if (pyrsl_loop_is_foreign(self->loop)) {
        return sendto_hand_over(self, bound[0], addr);
    }
    if (datagram_sendto(self, bound[0], addr) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* --- Flow control --- */

PyDoc_STRVAR(datagram_get_write_buffer_size_doc,
"get_write_buffer_size($self, /)\n--\n\n"
"Return how many bytes are queued, headers of messages included.");

static PyObject *
datagram_get_write_buffer_size(DatagramTransport *self,
                               PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSize_t(self->queue.size);
}

PyDoc_STRVAR(datagram_get_write_buffer_limits_doc,
"get_write_buffer_limits($self, /)\n--\n\n"
"Return (low, high), the limits of flow control.");

static PyObject *
datagram_get_write_buffer_limits(DatagramTransport *self,
                                 PyObject *Py_UNUSED(ignored))
{
    return pyrsl_flow_limits(&self->flow);
}

PyDoc_STRVAR(datagram_set_write_buffer_limits_doc,
"set_write_buffer_limits($self, /, high=None, low=None)\n--\n\n"
"Set when pause_writing() and resume_writing() are called.");

static PyObject *
datagram_set_write_buffer_limits(DatagramTransport *self, PyObject *const *args,
                                 Py_ssize_t nargs, PyObject *kwnames)
{
    const pyrsl_fastcall call = {args, nargs, kwnames};
    int here = pyrsl_flow_method(&self->flow, (PyObject *)self, self->loop,
                                 PYRSL_FLOW_HIGH, &call);
    if (here > 0 && self->protocol != NULL && self->loop != NULL) {
        here = pyrsl_flow_grown(&self->flow, self->loop, (PyObject *)self,
                                self->protocol, self->queue.size);
    }
    return here < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(datagram_sendto_ready_doc,
"_sendto_ready($self, /)\n--\n\n"
"Send from the queue: the socket has room.");

static PyObject *
datagram_sendto_ready(DatagramTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (pyrsl_loop_check_owner(self->loop) < 0
        || pyrsl_datagram_drain(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef pyrsl_datagram_write_methods[] = {
    {"sendto", (PyCFunction)(void (*)(void))datagram_sendto_method,
     METH_FASTCALL | METH_KEYWORDS, datagram_sendto_doc},
    {"get_write_buffer_size",
     (PyCFunction)(void (*)(void))datagram_get_write_buffer_size, METH_NOARGS,
     datagram_get_write_buffer_size_doc},
    {"get_write_buffer_limits",
     (PyCFunction)(void (*)(void))datagram_get_write_buffer_limits, METH_NOARGS,
     datagram_get_write_buffer_limits_doc},
    {"set_write_buffer_limits",
     (PyCFunction)(void (*)(void))datagram_set_write_buffer_limits,
     METH_FASTCALL | METH_KEYWORDS, datagram_set_write_buffer_limits_doc},
    {"_sendto_ready", (PyCFunction)(void (*)(void))datagram_sendto_ready,
     METH_NOARGS, datagram_sendto_ready_doc},
    {NULL, NULL, 0, NULL},
};
