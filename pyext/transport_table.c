/* SPDX-License-Identifier: Apache-2.0 */
/* transport_table.c - the loop's stream and datagram transports, by fd.
 *
 * Entries are borrowed: a transport leaves when it parts with the runtime. */
#include <errno.h>
#include <stdlib.h>

#include "address_cache.h"
#include "datagram_impl.h"
#include "errors.h"
#include "stream_impl.h"

static bool
is_datagram(PyObject *transport, const LoopObject *loop)
{
    return Py_IS_TYPE(transport, loop->st->DatagramTransportType);
}

PyObject *
pyrsl_transport_at(const LoopObject *loop, int fd)
{
    return fd >= 0 && fd < loop->transport_cap ? loop->transports[fd] : NULL;
}

/* asyncio refuses an fd whose transport is open. Ours refuses it until that
 * one has given the fd back: two on one fd would mix what they read. */
int
pyrsl_transport_check(const LoopObject *loop, int fd, PyObject *sock)
{
    PyObject *transport = pyrsl_transport_at(loop, fd);
    if (transport == NULL) {
        return 0;
    }
    PyErr_Format(PyExc_RuntimeError,
                 "File descriptor %R is used by transport %R", sock, transport);
    return -1;
}

int
pyrsl_transport_put(LoopObject *loop, int fd, PyObject *transport)
{
    if (fd >= loop->transport_cap) {
        int cap = loop->transport_cap == 0 ? 16 : loop->transport_cap;
        while (cap <= fd) {
            cap = cap > INT_MAX / 2 ? INT_MAX : cap * 2;
        }
        PyObject **transports =
            realloc(loop->transports, (size_t)cap * sizeof(*transports));
        if (transports == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        for (int i = loop->transport_cap; i < cap; i++) {
            transports[i] = NULL;
        }
        loop->transports = transports;
        loop->transport_cap = cap;
    }
    loop->transports[fd] = transport;
    return 0;
}

void
pyrsl_transport_drop(LoopObject *loop, int fd, PyObject *transport)
{
    if (pyrsl_transport_at(loop, fd) == transport) {
        loop->transports[fd] = NULL;
    }
}

void
pyrsl_transport_evict(LoopObject *loop, int fd)
{
    PyObject *other = Py_XNewRef(pyrsl_transport_at(loop, fd));
    if (other == NULL) {
        return;
    }
    if (is_datagram(other, loop)) {
        pyrsl_datagram_detach((DatagramTransport *)other);
        Py_DECREF(other);
        return;
    }
    StreamTransport *stream = (StreamTransport *)other;
    pyrsl_stream_detach(stream);
    stream->raw_fd = -1;
    PyObject *exc = pyrsl_os_error(EBADF);
    if (exc == NULL || pyrsl_stream_force_close(stream, exc) < 0) {
        PyErr_WriteUnraisable(other);
    }
    Py_XDECREF(exc);
    Py_DECREF(other);
}

void
pyrsl_transports_close_all(LoopObject *loop)
{
    pyrsl_acceptors_close_all(loop);
    for (int fd = 0; fd < loop->transport_cap; fd++) {
        PyObject *transport = Py_XNewRef(loop->transports[fd]);
        if (transport == NULL) {
            continue;
        }
        if (is_datagram(transport, loop)) {
            pyrsl_datagram_detach((DatagramTransport *)transport);
        } else {
            pyrsl_stream_detach((StreamTransport *)transport);
        }
        Py_DECREF(transport);
    }
    pyrsl_address_cache_free(loop->addresses);
    loop->addresses = NULL;
}

int
pyrsl_transports_traverse(LoopObject *loop, visitproc visit, void *arg)
{
    for (int fd = 0; fd < loop->transport_cap; fd++) {
        PyObject *transport = loop->transports[fd];
        if (transport == NULL) {
            continue;
        }
        if (is_datagram(transport, loop)
                ? ((DatagramTransport *)transport)->held
                : ((StreamTransport *)transport)->held) {
            Py_VISIT(transport);
        }
    }
    return pyrsl_acceptors_traverse(loop, visit, arg);
}

PyDoc_STRVAR(loop_transport_for_fd_doc,
"_transport_for_fd($self, fd, /)\n--\n\n"
"The stream or datagram transport that has this fd, or None.");

static PyObject *
loop_transport_for_fd(LoopObject *self, PyObject *number)
{
    int overflow;
    long fd = PyLong_AsLongAndOverflow(number, &overflow);
    if (fd == -1 && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *transport = NULL;
    if (overflow == 0 && fd >= 0 && fd <= INT_MAX) {
        transport = pyrsl_transport_at(self, (int)fd);
    }
    return Py_NewRef(transport == NULL ? Py_None : transport);
}

PyMethodDef pyrsl_transport_loop_methods[] = {
    {"_transport_for_fd", (PyCFunction)(void (*)(void))loop_transport_for_fd,
     METH_O, loop_transport_for_fd_doc},
    {NULL, NULL, 0, NULL},
};
