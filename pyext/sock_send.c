/* SPDX-License-Identifier: Apache-2.0 */
/* sock_send.c - sending on a connected socket, and accepting one. */
#include <unistd.h>

#include <rsl/fd.h>
#include <rsl/watch.h>

#include "addr.h"
#include "sock.h"

/* Longer copies let other threads run. */
#define SEND_WITH_GIL_MAX ((size_t)64 * 1024)

static rsl_status
send_some(sock_try *self, const void *data, size_t len, size_t *out)
{
    if (len <= SEND_WITH_GIL_MAX) {
        return rsl_fd_send(self->fd, data, len, out, &self->err);
    }
    rsl_status status;
    Py_BEGIN_ALLOW_THREADS
    status = rsl_fd_send(self->fd, data, len, out, &self->err);
    Py_END_ALLOW_THREADS
    return status;
}

PyDoc_STRVAR(loop_send_now_doc,
"_send_now($self, sock, data, start, /)\n--\n\n"
"A step of sock_sendall(), which has sent `start` bytes: None when all are\n"
"sent, how many are, a future, or NotImplemented.");

static PyObject *
loop_send_now(LoopObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (pyrsl_sock_check_count("_send_now", nargs, 3) < 0) {
        return NULL;
    }
    Py_ssize_t start = PyLong_AsSsize_t(args[2]);
    sock_try now;
    Py_buffer view;
    if (start < 0 || pyrsl_sock_begin(self, args[0], &now) < 0) {
        return pyrsl_sock_foreign();
    }
    if (PyObject_GetBuffer(args[1], &view, PyBUF_SIMPLE) < 0) {
        PyErr_Clear(); /* the socket's own method tells best */
        return pyrsl_sock_foreign();
    }
    size_t sent = 0, len = (size_t)(view.len > start ? view.len - start : 0);
    rsl_status status =
        send_some(&now, (const char *)view.buf + start, len, &sent);
    PyBuffer_Release(&view);
    if (status != RSL_OK) {
        return pyrsl_sock_failed(&now, RSL_WATCH_WRITE, status);
    }
    rsl_stats_wrote(now.loop->stats, sent);
    if (sent == len) {
        Py_RETURN_NONE;
    }
    return PyLong_FromSsize_t(start + (Py_ssize_t)sent);
}

/* What socket.accept() makes of an fd, takes it. */
static PyObject *
accepted_socket(const sock_try *self, int fd)
{
    module_state *st = self->loop->st;
    int family = pyrsl_sock_int(self, st->str_family);
    int type = pyrsl_sock_int(self, st->str_type);
    int proto = pyrsl_sock_int(self, st->str_proto);
    PyObject *sock = NULL;
    if (!PyErr_Occurred()) {
        sock = PyObject_CallFunction(st->socket_type, "iiii", family, type,
                                     proto, fd);
    }
    if (sock == NULL) {
        close(fd);
        return NULL;
    }
    PyObject *none =
        PyObject_CallMethodOneArg(sock, st->str_setblocking, Py_False);
    if (none == NULL) {
        Py_CLEAR(sock); /* closes the fd */
    }
    Py_XDECREF(none);
    return sock;
}

PyDoc_STRVAR(loop_accept_now_doc,
"_accept_now($self, sock, /)\n--\n\n"
"A step of sock_accept(): (socket, address), a future, or NotImplemented.");

static PyObject *
loop_accept_now(LoopObject *self, PyObject *sock)
{
    sock_try now;
    if (pyrsl_sock_begin(self, sock, &now) < 0
        || pyrsl_sock_has_known_addresses(&now) <= 0) {
        return pyrsl_sock_foreign();
    }
    int fd;
    rsl_addr peer;
    rsl_status status = rsl_fd_accept(now.fd, &fd, &peer, &now.err);
    if (status != RSL_OK) {
        return pyrsl_sock_failed(&now, RSL_WATCH_READ, status);
    }
    PyObject *conn = accepted_socket(&now, fd);
    if (conn == NULL) {
        return NULL;
    }
    return Py_BuildValue(
        "NN", conn,
        pyrsl_sockaddr_to_python(rsl_addr_sockaddr(&peer), peer.length));
}

PyMethodDef pyrsl_sock_send_loop_methods[] = {
    {"_send_now", (PyCFunction)(void (*)(void))loop_send_now, METH_FASTCALL,
     loop_send_now_doc},
    {"_accept_now", (PyCFunction)(void (*)(void))loop_accept_now, METH_O,
     loop_accept_now_doc},
    {NULL, NULL, 0, NULL},
};
