/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include <rsl/watch.h>

#include "args.h"
#include "errors.h"
#include "handle.h"
#include "loop.h"
#include "transport.h"

/* --- fds --- */

/* The fd of an int or of an object with fileno(), as the selectors module
 * finds it; -1 with ValueError. */
static int
fd_of_object(LoopObject *self, PyObject *object)
{
    if (PyLong_Check(object)) {
        return pyrsl_args_fd(object, object);
    }
    PyObject *number = PyObject_CallMethodNoArgs(object, self->st->str_fileno);
    if (number == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError)
            || PyErr_ExceptionMatches(PyExc_TypeError)
            || PyErr_ExceptionMatches(PyExc_ValueError)) {
            PyErr_Format(PyExc_ValueError, "Invalid file object: %R", object);
        }
        return -1;
    }
    int fd = pyrsl_args_fd(object, number);
    Py_DECREF(number);
    return fd;
}

/* fd_of_object() for unregistering: a closed object is found by identity. */
static int
fd_registered(LoopObject *self, PyObject *object)
{
    int fd = fd_of_object(self, object);
    if (fd >= 0 || !PyErr_ExceptionMatches(PyExc_ValueError)) {
        return fd;
    }
    for (int i = 0; i < self->watch_cap; i++) {
        if (self->watches[i].object == object) {
            PyErr_Clear();
            return i;
        }
    }
    return -1;
}

static loop_watch *
watch_at(LoopObject *self, int fd)
{
    return fd < self->watch_cap ? &self->watches[fd] : NULL;
}

static loop_watch *
watch_reserve(LoopObject *self, int fd)
{
    if (fd >= self->watch_cap) {
        int cap = self->watch_cap == 0 ? 16 : self->watch_cap;
        while (cap <= fd) {
            cap = cap > INT_MAX / 2 ? INT_MAX : cap * 2;
        }
        loop_watch *watches =
            realloc(self->watches, (size_t)cap * sizeof(*watches));
        if (watches == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        memset(watches + self->watch_cap, 0,
               (size_t)(cap - self->watch_cap) * sizeof(*watches));
        self->watches = watches;
        self->watch_cap = cap;
    }
    return &self->watches[fd];
}

static unsigned
watch_mask(const loop_watch *watch)
{
    return (watch->reader != NULL ? (unsigned)RSL_WATCH_READ : 0U)
           | (watch->writer != NULL ? (unsigned)RSL_WATCH_WRITE : 0U);
}

/* A side is a Handle, run at each readiness, or the future of a wait, which
 * the first one ends. */
static bool
watch_is_wait(const LoopObject *self, PyObject *side)
{
    return Py_IS_TYPE(side, (PyTypeObject *)self->st->Future);
}

/* What the runtime is to watch: once, when nobody but waits is there. */
static unsigned
watch_request(const LoopObject *self, const loop_watch *watch)
{
    bool once =
        (watch->reader == NULL || watch_is_wait(self, watch->reader))
        && (watch->writer == NULL || watch_is_wait(self, watch->writer));
    return watch_mask(watch) | (once ? (unsigned)RSL_WATCH_ONCE : 0U);
}

static PyObject **
watch_side(loop_watch *watch, unsigned bit)
{
    return bit == RSL_WATCH_READ ? &watch->reader : &watch->writer;
}

/* Takes `handle`, which may be NULL. A wait that is pushed aside stays pending,
 * as the future of asyncio's does whose reader was replaced. */
static int
watch_cancel(LoopObject *self, PyObject *handle)
{
    if (handle == NULL) {
        return 0;
    }
    if (watch_is_wait(self, handle)) {
        Py_DECREF(handle);
        return 0;
    }
    PyObject *result = PyObject_CallMethod(handle, "cancel", NULL);
    Py_DECREF(handle);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* --- Registering --- */

/* Takes `handle`: it becomes the fd's reader or writer, the one before it is
 * cancelled. */
static int
watch_add(LoopObject *self, int fd, PyObject *object, unsigned bit,
          PyObject *handle)
{
    loop_watch *watch = watch_reserve(self, fd);
    if (watch == NULL) {
        Py_DECREF(handle);
        return -1;
    }
    PyObject **side = watch_side(watch, bit);
    PyObject *old = *side;
    *side = handle;
    rsl_err err = {0, NULL};
    rsl_status status =
        rsl_watch_set(self->rt, fd, watch_request(self, watch), &err);
    if (status != RSL_OK) {
        *side = old;
        Py_DECREF(handle);
        pyrsl_raise(status, &err);
        return -1;
    }
    Py_XSETREF(watch->object, object == NULL || PyLong_CheckExact(object)
                                  ? NULL
                                  : Py_NewRef(object));
    if (pyrsl_loop_is_foreign(self)) {
        rsl_runtime_wake(self->rt); /* it may sleep on other fds only */
    }
    return watch_cancel(self, old);
}

/* Forget one side of `fd`: 1, 0 when nothing was watched, -1. */
static int
watch_remove(LoopObject *self, int fd, unsigned bit)
{
    loop_watch *watch = watch_at(self, fd);
    if (watch == NULL) {
        return 0;
    }
    PyObject **side = watch_side(watch, bit);
    PyObject *handle = *side;
    if (handle == NULL) {
        return 0;
    }
    *side = NULL;
    rsl_err err = {0, NULL};
    rsl_status status =
        rsl_watch_set(self->rt, fd, watch_request(self, watch), &err);
    if (watch_mask(watch) == 0) {
        Py_CLEAR(watch->object);
    }
    if (watch_cancel(self, handle) < 0) {
        return -1;
    }
    /* In a forked child the poll set is the parent's: nothing to undo there,
     * and close() has to work. */
    if (status != RSL_OK && status != RSL_FORKED) {
        pyrsl_raise(status, &err);
        return -1;
    }
    return 1;
}

int
pyrsl_loop_watch(LoopObject *self, int fd, unsigned bit, PyObject *object,
                 PyObject *method_name)
{
    if (pyrsl_loop_check_closed(self) < 0) {
        return -1;
    }
    PyObject *method = PyObject_GetAttr(object, method_name);
    if (method == NULL) {
        return -1;
    }
    pyrsl_callback callback = {.function = method};
    PyObject *handle = pyrsl_handle_new(self, self->st->HandleType, &callback);
    Py_DECREF(method);
    return handle == NULL ? -1 : watch_add(self, fd, NULL, bit, handle);
}

int
pyrsl_loop_unwatch(LoopObject *self, int fd, unsigned bit)
{
    if (atomic_load(&self->closed)) {
        return 0;
    }
    return watch_remove(self, fd, bit) < 0 ? -1 : 0;
}

unsigned
pyrsl_loop_watched(LoopObject *self, int fd)
{
    loop_watch *watch = watch_at(self, fd);
    return watch == NULL ? 0 : watch_mask(watch);
}

static PyObject *
loop_add_watch(LoopObject *self, PyObject *const *args, Py_ssize_t nargs,
               unsigned bit, const char *method)
{
    if (nargs < 2) {
        PyErr_Format(PyExc_TypeError,
                     "%s() missing required positional argument: '%s'", method,
                     nargs == 0 ? "fd" : "callback");
        return NULL;
    }
    if (pyrsl_loop_check_closed(self) < 0) {
        return NULL;
    }
    int fd = fd_of_object(self, args[0]);
    if (fd < 0) {
        return NULL;
    }
    pyrsl_callback callback = {args[1], args + 2, nargs - 2, NULL};
    PyObject *handle = pyrsl_handle_new(self, self->st->HandleType, &callback);
    if (handle == NULL
        || watch_add(self, fd, args[0], bit, Py_NewRef(handle)) < 0) {
        Py_XDECREF(handle);
        return NULL;
    }
    return handle;
}

static PyObject *
loop_remove_watch(LoopObject *self, PyObject *object, unsigned bit)
{
    if (atomic_load(&self->closed)) {
        Py_RETURN_FALSE;
    }
    int fd = fd_registered(self, object);
    if (fd < 0 && PyErr_ExceptionMatches(PyExc_OverflowError)) {
        PyErr_Clear(); /* no fd, so that nothing watches it */
        Py_RETURN_FALSE;
    }
    if (fd < 0) {
        return NULL;
    }
    if (bit == RSL_WATCH_READ && pyrsl_accept_stop_fd(self, fd)) {
        Py_RETURN_TRUE;
    }
    int removed = watch_remove(self, fd, bit);
    return removed < 0 ? NULL : PyBool_FromLong(removed);
}

/* --- Readiness --- */

static void
watch_fire(LoopObject *self, PyObject *handle)
{
    if (handle == NULL || pyrsl_handle_is_cancelled(self->st, handle) != 0) {
        return;
    }
    rsl_event event = {.tag = rsl_tag(RSL_EV_CALL, 0),
                       .u.ptr = Py_NewRef(handle)};
    if (pyrsl_ready_push(&self->ready, event) < 0) {
        Py_DECREF(handle);
        self->lost_event = true;
    }
}

static void
watch_report(LoopObject *self, int fd, unsigned bit, PyObject *side)
{
    if (side == NULL) {
        return;
    }
    if (!watch_is_wait(self, side)) {
        watch_fire(self, side);
    } else if (pyrsl_waits_push(&self->waits, fd, bit) < 0) {
        self->lost_event = true;
    }
}

void
pyrsl_loop_watch_event(LoopObject *self, int fd, unsigned mask)
{
    loop_watch *watch = watch_at(self, fd);
    if (watch == NULL) {
        return;
    }
    if ((mask & RSL_WATCH_READ) != 0) {
        watch_report(self, fd, RSL_WATCH_READ, watch->reader);
    }
    if ((mask & RSL_WATCH_WRITE) != 0) {
        watch_report(self, fd, RSL_WATCH_WRITE, watch->writer);
    }
}

/* --- Waits --- */

int
pyrsl_loop_wait(LoopObject *self, int fd, unsigned bit, PyObject *future)
{
    loop_watch *watch = watch_at(self, fd);
    PyObject *object = watch == NULL || watch->object == NULL
                           ? NULL
                           : Py_NewRef(watch->object);
    int status = watch_add(self, fd, object, bit, Py_NewRef(future));
    Py_XDECREF(object);
    return status;
}

PyObject *
pyrsl_loop_take_wait(LoopObject *self, int fd, unsigned bit)
{
    loop_watch *watch = watch_at(self, fd);
    if (watch == NULL) {
        return NULL;
    }
    PyObject **side = watch_side(watch, bit);
    PyObject *future = *side;
    if (future == NULL || !watch_is_wait(self, future)) {
        return NULL;
    }
    *side = NULL;
    /* With a Handle on the other side the fd was not watched once only. */
    if (watch_mask(watch) != 0
        && (watch_request(self, watch) & RSL_WATCH_ONCE) == 0) {
        rsl_err err = {0, NULL};
        (void)rsl_watch_set(self->rt, fd, watch_mask(watch), &err);
    }
    return future;
}

int
pyrsl_loop_forget_wait(LoopObject *self, int fd, PyObject *future)
{
    loop_watch *watch = watch_at(self, fd);
    if (watch == NULL) {
        return 0;
    }
    if (watch->reader == future) {
        return watch_remove(self, fd, RSL_WATCH_READ);
    }
    return watch->writer == future ? watch_remove(self, fd, RSL_WATCH_WRITE)
                                   : 0;
}

void
pyrsl_loop_net_clear(LoopObject *self)
{
    for (int fd = 0; fd < self->watch_cap; fd++) {
        Py_CLEAR(self->watches[fd].reader);
        Py_CLEAR(self->watches[fd].writer);
        Py_CLEAR(self->watches[fd].object);
    }
}

int
pyrsl_loop_net_traverse(LoopObject *self, visitproc visit, void *arg)
{
    for (int fd = 0; fd < self->watch_cap; fd++) {
        Py_VISIT(self->watches[fd].reader);
        Py_VISIT(self->watches[fd].writer);
        Py_VISIT(self->watches[fd].object);
    }
    return 0;
}

/* --- Methods: add_reader() and its relatives are asyncio's, these are what
 * they call --- */

PyDoc_STRVAR(loop_add_reader_doc,
"_add_reader($self, fd, callback, /, *args)\n--\n\n"
"Call callback(*args) whenever fd is readable; returns its Handle.\n\n"
"Raises ValueError for what is not an fd and the system's OSError for what\n"
"cannot be polled (PermissionError for a regular file).");

static PyObject *
loop_add_reader(LoopObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return loop_add_watch(self, args, nargs, RSL_WATCH_READ, "_add_reader");
}

PyDoc_STRVAR(loop_add_writer_doc,
"_add_writer($self, fd, callback, /, *args)\n--\n\n"
"Call callback(*args) whenever fd is writable; returns its Handle.");

static PyObject *
loop_add_writer(LoopObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return loop_add_watch(self, args, nargs, RSL_WATCH_WRITE, "_add_writer");
}

PyDoc_STRVAR(loop_remove_reader_doc,
"_remove_reader($self, fd, /)\n--\n\n"
"Forget fd's reader, or stop accepting on it. True if there was one.");

static PyObject *
loop_remove_reader(LoopObject *self, PyObject *fd)
{
    return loop_remove_watch(self, fd, RSL_WATCH_READ);
}

PyDoc_STRVAR(loop_remove_writer_doc,
"_remove_writer($self, fd, /)\n--\n\n"
"Forget fd's writer. True if there was one.");

static PyObject *
loop_remove_writer(LoopObject *self, PyObject *fd)
{
    return loop_remove_watch(self, fd, RSL_WATCH_WRITE);
}

PyDoc_STRVAR(loop_watched_doc,
"_watched($self, fd, /)\n--\n\n"
"What add_reader() (1) and add_writer() (2) watch of fd, as a mask.");

static PyObject *
loop_watched(LoopObject *self, PyObject *fd)
{
    int number = fd_registered(self, fd);
    if (number < 0) {
        return NULL;
    }
    return PyLong_FromUnsignedLong(pyrsl_loop_watched(self, number));
}

PyMethodDef pyrsl_loop_net_methods[] = {
    {"_watched", (PyCFunction)(void (*)(void))loop_watched, METH_O,
     loop_watched_doc},
    {"_add_reader", (PyCFunction)(void (*)(void))loop_add_reader, METH_FASTCALL,
     loop_add_reader_doc},
    {"_add_writer", (PyCFunction)(void (*)(void))loop_add_writer, METH_FASTCALL,
     loop_add_writer_doc},
    {"_remove_reader", (PyCFunction)(void (*)(void))loop_remove_reader, METH_O,
     loop_remove_reader_doc},
    {"_remove_writer", (PyCFunction)(void (*)(void))loop_remove_writer, METH_O,
     loop_remove_writer_doc},
    {NULL, NULL, 0, NULL},
};
