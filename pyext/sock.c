/* SPDX-License-Identifier: Apache-2.0 */
#include "sock.h"

#include <sys/socket.h>

#include <rsl/watch.h>

#include "errors.h"
#include "transport.h"

int
pyrsl_sock_check_count(const char *name, Py_ssize_t nargs, Py_ssize_t wanted)
{
    if (nargs == wanted) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments (%zd given)", name,
                 wanted, nargs);
    return -1;
}

PyObject *
pyrsl_sock_foreign(void)
{
    if (PyErr_Occurred()) {
        return NULL;
    }
    Py_RETURN_NOTIMPLEMENTED;
}

int
pyrsl_sock_begin(LoopObject *loop, PyObject *sock, sock_try *out)
{
    if (!Py_IS_TYPE(sock, (PyTypeObject *)loop->st->socket_type) || loop->debug
        || !pyrsl_loop_is_owner(loop)) {
        return -1;
    }
    PyObject *number = PyObject_CallMethodNoArgs(sock, loop->st->str_fileno);
    if (number == NULL) {
        return -1;
    }
    long fd = PyLong_AsLong(number);
    Py_DECREF(number);
    if (fd < -1 || fd > INT_MAX || (fd == -1 && PyErr_Occurred())) {
        return -1;
    }
    *out = (sock_try){.loop = loop, .sock = sock, .fd = (int)fd};
    return 0;
}

int
pyrsl_sock_int(const sock_try *self, PyObject *name)
{
    /* socket.socket shows enums in their place, which are slow to make. */
    PyObject *member = PyObject_GetAttr(self->loop->st->raw_socket_type, name);
    if (member == NULL) {
        return -1;
    }
    descrgetfunc get = Py_TYPE(member)->tp_descr_get;
    PyObject *number =
        get == NULL ? Py_NewRef(member)
                    : get(member, self->sock, (PyObject *)Py_TYPE(self->sock));
    Py_DECREF(member);
    if (number == NULL) {
        return -1;
    }
    long value = PyLong_AsLong(number);
    Py_DECREF(number);
    return (int)value;
}

int
pyrsl_sock_has_known_addresses(const sock_try *self)
{
    int family = pyrsl_sock_int(self, self->loop->st->str_family);
    if (family == -1 && PyErr_Occurred()) {
        return -1;
    }
    return family == AF_INET || family == AF_INET6 || family == AF_UNIX;
}

/* Does asyncio have a transport on any fd? Ours are in self->transports; its
 * own are in a WeakValueDictionary, whose len() is slow. */
static int
sock_has_asyncio_transports(LoopObject *self)
{
    PyObject *table =
        PyObject_GetAttr((PyObject *)self, self->st->str_transports);
    if (table == NULL) {
        return -1;
    }
    PyObject *data = PyObject_GetAttr(table, self->st->str_data);
    Py_DECREF(table);
    if (data == NULL) {
        return -1;
    }
    Py_ssize_t count = PyObject_Size(data);
    Py_DECREF(data);
    return count < 0 ? -1 : count > 0;
}

/* What asyncio's coroutine would do other than wait: refuse a transport's fd
 * or a closed loop, block on a blocking socket. */
static int
sock_may_wait(const sock_try *self)
{
    LoopObject *loop = self->loop;
    if (atomic_load(&loop->closed)
        || pyrsl_transport_at(loop, self->fd) != NULL) {
        return 0;
    }
    PyObject *timeout =
        PyObject_CallMethodNoArgs(self->sock, loop->st->str_gettimeout);
    if (timeout == NULL) {
        return -1;
    }
    bool blocks =
        !PyFloat_CheckExact(timeout) || PyFloat_AS_DOUBLE(timeout) != 0;
    Py_DECREF(timeout);
    if (blocks) {
        return 0;
    }
    int others = sock_has_asyncio_transports(loop);
    return others < 0 ? -1 : !others;
}

static PyObject *
sock_wait(const sock_try *self, unsigned bit)
{
    int may = sock_may_wait(self);
    if (may <= 0) {
        return may < 0 ? NULL : Py_NewRef(Py_NotImplemented);
    }
    module_state *st = self->loop->st;
    PyObject *loop = (PyObject *)self->loop;
    PyObject *future =
        PyObject_Vectorcall(st->Future, &loop, 0, st->kwnames_loop);
    if (future != NULL
        && pyrsl_loop_wait(self->loop, self->fd, bit, future) < 0) {
        Py_CLEAR(future);
    }
    return future;
}

PyObject *
pyrsl_sock_failed(const sock_try *self, unsigned bit, rsl_status status)
{
    if (bit == RSL_WATCH_READ) {
        rsl_stats_read_nothing(self->loop->stats);
    } else {
        rsl_stats_wrote_nothing(self->loop->stats);
    }
    return status == RSL_AGAIN ? sock_wait(self, bit)
                               : pyrsl_raise(status, &self->err);
}

PyDoc_STRVAR(loop_forget_wait_doc,
"_forget_wait($self, sock, future, /)\n--\n\n"
"Nobody waits for the future of a step any more. True if it was waiting.");

static PyObject *
loop_forget_wait(LoopObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (pyrsl_sock_check_count("_forget_wait", nargs, 2) < 0) {
        return NULL;
    }
    PyObject *number = PyObject_CallMethodNoArgs(args[0], self->st->str_fileno);
    long fd = number == NULL ? -1 : PyLong_AsLong(number);
    Py_XDECREF(number);
    PyErr_Clear(); /* no fd, like a closed socket */
    int removed = 0;
    if (fd >= 0 && fd <= INT_MAX) {
        removed = pyrsl_loop_forget_wait(self, (int)fd, args[1]);
    }
    /* The socket was closed, or moved, while its future waited. */
    for (int i = 0; removed == 0 && i < self->watch_cap; i++) {
        removed = pyrsl_loop_forget_wait(self, i, args[1]);
    }
    return removed < 0 ? NULL : PyBool_FromLong(removed);
}

PyMethodDef pyrsl_sock_loop_methods[] = {
    {"_forget_wait", (PyCFunction)(void (*)(void))loop_forget_wait,
     METH_FASTCALL, loop_forget_wait_doc},
    {NULL, NULL, 0, NULL},
};
