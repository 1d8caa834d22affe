/* SPDX-License-Identifier: Apache-2.0 */
#include <rsl/fd.h>
#include <rsl/watch.h>

#include "addr.h"
#include "sock.h"
#include "transport.h"

/* A plain int in Py_ssize_t's range and not negative, or -1 without an
 * exception: what it is wrong about, the socket's own method tells best. */
static Py_ssize_t
size_of(PyObject *number)
{
    if (!PyLong_CheckExact(number)) {
        return -1;
    }
    Py_ssize_t size = PyLong_AsSsize_t(number);
    if (size < 0) {
        PyErr_Clear();
        return -1;
    }
    return size;
}

/* A writable buffer of bytes, or -1 without an exception. */
static int
buffer_of(PyObject *object, Py_buffer *out)
{
    if (PyObject_GetBuffer(object, out, PyBUF_WRITABLE) < 0) {
        PyErr_Clear();
        return -1;
    }
    return 0;
}

static PyObject *
address_of(const rsl_fd_datagram *datagram)
{
    return pyrsl_sockaddr_to_python(rsl_addr_sockaddr(&datagram->from),
                                    datagram->from.length);
}

/* --- New bytes --- */

/* `from` is NULL for recv(). */
static rsl_status
receive(sock_try *self, void *buf, size_t cap, size_t *out,
        rsl_fd_datagram *from)
{
    rsl_status status;
    if (from == NULL) {
        status = rsl_fd_recv(self->fd, buf, cap, out, &self->err);
    } else {
        status = rsl_fd_recvfrom(self->fd, buf, cap, from, &self->err);
    }
    if (status == RSL_OK) {
        *out = from == NULL ? *out : from->size;
        rsl_stats_read(self->loop->stats, *out);
    }
    return status;
}

static rsl_status
receive_by_scratch(sock_try *self, size_t cap, PyObject **out,
                   rsl_fd_datagram *from)
{
    uint8_t *scratch = pyrsl_transport_scratch(self->loop);
    if (scratch == NULL) {
        return RSL_NOMEM;
    }
    size_t got = 0;
    rsl_status status = receive(self, scratch, cap, &got, from);
    if (status == RSL_OK) {
        self->loop->sock_filled = got == cap ? cap : 0;
        *out =
            PyBytes_FromStringAndSize((const char *)scratch, (Py_ssize_t)got);
    }
    return status;
}

static rsl_status
receive_directly(sock_try *self, size_t cap, PyObject **out,
                 rsl_fd_datagram *from)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)cap);
    if (bytes == NULL) {
        return RSL_OK; /* *out is NULL, and the exception is set */
    }
    size_t got = 0;
    rsl_status status =
        receive(self, PyBytes_AS_STRING(bytes), cap, &got, from);
    if (status != RSL_OK) {
        Py_DECREF(bytes);
        return status;
    }
    self->loop->sock_filled = got == cap ? cap : 0;
    if (got < cap) {
        (void)_PyBytes_Resize(&bytes, (Py_ssize_t)got); /* bytes is NULL then */
    }
    *out = bytes;
    return RSL_OK;
}

/* As the transports do (stream_read.c): what is small is copied, what is likely
 * to fill an object of the size that is asked for goes straight into it. */
static rsl_status
receive_bytes(sock_try *self, size_t cap, PyObject **out, rsl_fd_datagram *from)
{
    *out = NULL;
    return cap > PYRSL_READ_MAX || cap == self->loop->sock_filled
               ? receive_directly(self, cap, out, from)
               : receive_by_scratch(self, cap, out, from);
}

PyDoc_STRVAR(loop_recv_now_doc,
"_recv_now($self, sock, n, /)\n--\n\n"
"A step of sock_recv(): bytes, a future, or NotImplemented.");

static PyObject *
loop_recv_now(LoopObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (pyrsl_sock_check_count("_recv_now", nargs, 2) < 0) {
        return NULL;
    }
    sock_try now;
    Py_ssize_t cap = size_of(args[1]);
    if (cap < 0 || pyrsl_sock_begin(self, args[0], &now) < 0) {
        return pyrsl_sock_foreign();
    }
    if (cap == 0) {
        return PyBytes_FromStringAndSize(NULL, 0); /* as socket.recv() */
    }
    PyObject *bytes;
    rsl_status status = receive_bytes(&now, (size_t)cap, &bytes, NULL);
    return status == RSL_OK ? bytes
                            : pyrsl_sock_failed(&now, RSL_WATCH_READ, status);
}

PyDoc_STRVAR(loop_recvfrom_now_doc,
"_recvfrom_now($self, sock, bufsize, /)\n--\n\n"
"A step of sock_recvfrom(): (bytes, address), a future, or NotImplemented.");

static PyObject *
loop_recvfrom_now(LoopObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (pyrsl_sock_check_count("_recvfrom_now", nargs, 2) < 0) {
        return NULL;
    }
    sock_try now;
    Py_ssize_t cap = size_of(args[1]);
    if (cap < 0 || pyrsl_sock_begin(self, args[0], &now) < 0
        || pyrsl_sock_has_known_addresses(&now) <= 0) {
        return pyrsl_sock_foreign();
    }
    PyObject *bytes;
    rsl_fd_datagram from;
    rsl_status status = receive_bytes(&now, (size_t)cap, &bytes, &from);
    if (status != RSL_OK) {
        return pyrsl_sock_failed(&now, RSL_WATCH_READ, status);
    }
    return bytes == NULL ? NULL : Py_BuildValue("NN", bytes, address_of(&from));
}

/* --- Into a buffer --- */

PyDoc_STRVAR(loop_recv_into_now_doc,
"_recv_into_now($self, sock, buf, /)\n--\n\n"
"A step of sock_recv_into(): a count, a future, or NotImplemented.");

static PyObject *
loop_recv_into_now(LoopObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (pyrsl_sock_check_count("_recv_into_now", nargs, 2) < 0) {
        return NULL;
    }
    sock_try now;
    Py_buffer view;
    if (pyrsl_sock_begin(self, args[0], &now) < 0
        || buffer_of(args[1], &view) < 0) {
        return pyrsl_sock_foreign();
    }
    size_t got = 0;
    rsl_status status = RSL_OK;
    if (view.len > 0) { /* as socket.recv_into() */
        status = receive(&now, view.buf, (size_t)view.len, &got, NULL);
    }
    PyBuffer_Release(&view);
    return status == RSL_OK ? PyLong_FromSize_t(got)
                            : pyrsl_sock_failed(&now, RSL_WATCH_READ, status);
}

PyDoc_STRVAR(loop_recvfrom_into_now_doc,
"_recvfrom_into_now($self, sock, buf, nbytes, /)\n--\n\n"
"A step of sock_recvfrom_into(): (count, address), a future, or\n"
"NotImplemented. With nbytes 0 the buffer may be filled.");

static PyObject *
loop_recvfrom_into_now(LoopObject *self, PyObject *const *args,
                       Py_ssize_t nargs)
{
    if (pyrsl_sock_check_count("_recvfrom_into_now", nargs, 3) < 0) {
        return NULL;
    }
    sock_try now;
    Py_buffer view;
    Py_ssize_t cap = size_of(args[2]);
    if (cap < 0 || pyrsl_sock_begin(self, args[0], &now) < 0
        || pyrsl_sock_has_known_addresses(&now) <= 0
        || buffer_of(args[1], &view) < 0) {
        return pyrsl_sock_foreign();
    }
    /* asyncio counts items where it is not told how many bytes. */
    if (cap > view.len || (cap == 0 && PyObject_Size(args[1]) != view.len)) {
        PyBuffer_Release(&view);
        PyErr_Clear();
        return pyrsl_sock_foreign();
    }
    rsl_fd_datagram from;
    size_t got;
    rsl_status status = receive(
        &now, view.buf, (size_t)(cap == 0 ? view.len : cap), &got, &from);
    PyBuffer_Release(&view);
    if (status != RSL_OK) {
        return pyrsl_sock_failed(&now, RSL_WATCH_READ, status);
    }
    return Py_BuildValue("nN", (Py_ssize_t)from.size, address_of(&from));
}

PyMethodDef pyrsl_sock_recv_loop_methods[] = {
    {"_recv_now", (PyCFunction)(void (*)(void))loop_recv_now, METH_FASTCALL,
     loop_recv_now_doc},
    {"_recvfrom_now", (PyCFunction)(void (*)(void))loop_recvfrom_now,
     METH_FASTCALL, loop_recvfrom_now_doc},
    {"_recv_into_now", (PyCFunction)(void (*)(void))loop_recv_into_now,
     METH_FASTCALL, loop_recv_into_now_doc},
    {"_recvfrom_into_now", (PyCFunction)(void (*)(void))loop_recvfrom_into_now,
     METH_FASTCALL, loop_recvfrom_into_now_doc},
    {NULL, NULL, 0, NULL},
};
