/* SPDX-License-Identifier: Apache-2.0 */
/* pipe_transport.c - what both ends of a pipe share: how they open and end. */
#include "pipe_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <rsl/watch.h>

#include "args.h"
#include "errors.h"

const pipe_kind pyrsl_pipe_read_kind = {
    .name = "ReadPipeTransport",
    .refusal = "Pipe transport is for pipes/sockets only.",
    .polled = RSL_WATCH_READ,
};
const pipe_kind pyrsl_pipe_write_kind = {
    .name = "WritePipeTransport",
    .refusal = "Pipe transport is only for pipes, sockets and character "
               "devices",
    .polled = RSL_WATCH_WRITE,
};

/* --- The end --- */

bool
pyrsl_pipe_is_open(const PipeTransport *self)
{
    return self->state == PIPE_OPEN && self->loop != NULL;
}

static int
pipe_stop(PipeTransport *self)
{
    if (self->queue.bytes > 0
        && pyrsl_loop_unwatch(self->loop, self->fd, RSL_WATCH_WRITE) < 0) {
        return -1;
    }
    pyrsl_pipe_queue_clear(&self->queue);
    return pyrsl_loop_unwatch(self->loop, self->fd, RSL_WATCH_READ);
}

int
pyrsl_pipe_force_close(PipeTransport *self, PyObject *exc)
{
    if (self->state == PIPE_LOST || self->state == PIPE_CLOSED
        || self->loop == NULL) {
        return 0;
    }
    pipe_state before = self->state;
    self->state = PIPE_LOST;
    int status = pipe_stop(self);
    if (status == 0) {
        status =
            pyrsl_transport_schedule_lost(self->loop, (PyObject *)self, exc);
    }
    if (status < 0 && pyrsl_transport_may_end_again()) {
        self->state = before; /* close() and abort() may try again */
    }
    return status;
}

/* Takes the file object away and closes it. */
static int
pipe_close_file(PipeTransport *self)
{
    PyObject *pipe = self->pipe;
    self->pipe = NULL;
    if (pipe == NULL || pipe == Py_None) {
        Py_XDECREF(pipe);
        return 0;
    }
    PyObject *result = PyObject_CallMethodNoArgs(pipe, self->st->str_close);
    Py_DECREF(pipe);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
pyrsl_pipe_lose(PipeTransport *self, PyObject *exc)
{
    if (self->state == PIPE_CLOSED || self->protocol == NULL) {
        return 0;
    }
    self->state = PIPE_CLOSED;
    PyObject *raised = pyrsl_transport_tell_lost(self->st, self->protocol, exc);

    int status = pipe_close_file(self);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->loop);
    if (raised != NULL) {
        PyErr_Clear();
        PyErr_SetRaisedException(raised);
        return -1;
    }
    return status;
}

/* asyncio: an OSError is the pipe's ordinary end for a writer, and so is EIO
 * for a reader (a terminal whose other side has gone); they are logged in debug
 * mode. Everything else is reported. */
static bool
pipe_is_ordinary(PipeTransport *self, PyObject *exc)
{
    if (!PyObject_TypeCheck(exc, (PyTypeObject *)PyExc_OSError)) {
        return false;
    }
    PyObject *code = ((PyOSErrorObject *)exc)->myerrno;
    return self->kind == &pyrsl_pipe_write_kind
           || (code != NULL && PyLong_Check(code)
               && PyLong_AsLong(code) == EIO);
}

static int
pipe_report(PipeTransport *self, PyObject *exc, const char *message)
{
    bool ordinary = pipe_is_ordinary(self, exc);
    if (self->loop == NULL || (ordinary && !self->loop->debug)) {
        return 0;
    }
    PyObject *text = PyUnicode_FromString(message);
    if (text == NULL) {
        return -1;
    }
    PyObject *result = PyObject_CallMethodObjArgs(
        (PyObject *)self->loop,
        ordinary ? self->st->str_on_fatal_error : self->st->str_on_flow_error,
        self, self->protocol == NULL ? Py_None : self->protocol, exc, text,
        NULL);
    Py_DECREF(text);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
pyrsl_pipe_fatal(PipeTransport *self, const char *message)
{
    if (pyrsl_exception_leaves_loop()) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    int status = pipe_report(self, exc, message);
    PyObject *raised = status < 0 ? PyErr_GetRaisedException() : NULL;
    if (pyrsl_pipe_force_close(self, exc) < 0) {
        status = -1;
    }
    Py_DECREF(exc);
    if (raised != NULL) {
        PyErr_Clear();
        PyErr_SetRaisedException(raised);
    }
    return status;
}

/* --- The beginning --- */

/* pipe.fileno(), which may be any int: the kernel has the last word. */
static int
pipe_fileno(module_state *st, PyObject *pipe, int *out)
{
    PyObject *number = PyObject_CallMethodNoArgs(pipe, st->str_fileno);
    if (number == NULL) {
        return -1;
    }
    long fd = PyLong_AsLong(number);
    Py_DECREF(number);
    if (fd == -1 && PyErr_Occurred()) {
        return -1;
    }
    *out = fd < 0 || fd > INT_MAX ? -1 : (int)fd;
    return 0;
}

/* The file type of the pipe's fd, which must be one of three. 0 with an
 * exception. */
static mode_t
pipe_check_fd(const pipe_kind *kind, int fd)
{
    struct stat status;
    if (fstat(fd, &status) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return 0;
    }
    if (!S_ISFIFO(status.st_mode) && !S_ISSOCK(status.st_mode)
        && !S_ISCHR(status.st_mode)) {
        PyErr_SetString(PyExc_ValueError, kind->refusal);
        return 0;
    }
    return status.st_mode;
}

/* os.set_blocking(fd, False) */
static int
pipe_set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0
        || ((flags & O_NONBLOCK) == 0
            && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 0;
}

/* asyncio's `self._extra['pipe'] = pipe`, in the caller's dict. */
static int
pipe_set_extra(PipeTransport *self, PyObject *extra)
{
    if (extra == NULL || extra == Py_None) {
        self->extra = PyDict_New();
    } else {
        self->extra = Py_NewRef(extra);
    }
    return self->extra == NULL
                   || PyObject_SetItem(self->extra, self->st->str_pipe,
                                       self->pipe)
                          < 0
               ? -1
               : 0;
}

typedef struct pipe_request {
    const pipe_kind *kind;
    PyTypeObject *type;
    int fd;
    bool watched; /* from the start */
    PyObject *pipe, *protocol, *waiter, *extra;
} pipe_request;

static PyObject *
pipe_new(LoopObject *loop, const pipe_request *request)
{
    PipeTransport *self =
        (PipeTransport *)request->type->tp_alloc(request->type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->st = loop->st;
    self->kind = request->kind;
    self->loop = (LoopObject *)Py_NewRef(loop);
    self->protocol = Py_NewRef(request->protocol);
    self->pipe = Py_NewRef(request->pipe);
    self->fd = request->fd;
    pyrsl_flow_init(&self->flow);
    if (pipe_set_extra(self, request->extra) < 0
        || pyrsl_transport_announce(
               loop, (PyObject *)self, self->protocol,
               request->watched ? self->st->str_start_watching : NULL,
               request->waiter)
               < 0) {
        Py_CLEAR(self->pipe); /* stays the caller's */
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static const char *const make_names[] = {"pipe", "protocol", "waiter", "extra",
                                         NULL};

static PyObject *
pipe_make(LoopObject *loop, PyObject *const *bound, pipe_request *request)
{
    if (pipe_fileno(loop->st, bound[0], &request->fd) < 0) {
        return NULL;
    }
    mode_t mode = pipe_check_fd(request->kind, request->fd);
    if (mode == 0 || pyrsl_loop_check_call(loop) < 0
        || pyrsl_loop_check_owner(loop) < 0
        || pipe_set_nonblocking(request->fd) < 0) {
        return NULL;
    }
    /* A device's write end says nothing by becoming readable. */
    request->watched = request->kind == &pyrsl_pipe_read_kind || !S_ISCHR(mode);
    request->pipe = bound[0];
    request->protocol = bound[1];
    request->waiter = bound[2];
    request->extra = bound[3];
    return pipe_new(loop, request);
}

PyDoc_STRVAR(loop_make_read_pipe_doc,
"_make_read_pipe_transport($self, pipe, protocol, waiter=None, extra=None)\n"
"--\n\n"
"A transport that reads a pipe, socket or character device.\n\n"
"Raises ValueError for another kind of file. The pipe is closed with the\n"
"transport.");

static const pyrsl_params make_read_params = {"_make_read_pipe_transport",
                                              make_names, 4, 2};

static PyObject *
loop_make_read_pipe(LoopObject *self, PyObject *const *args, Py_ssize_t nargs,
                    PyObject *kwnames)
{
    PyObject *bound[4];
    pipe_request request = {.kind = &pyrsl_pipe_read_kind,
                            .type = self->st->ReadPipeTransportType};
    if (pyrsl_args_bind(&make_read_params, args, nargs, kwnames, bound) < 0) {
        return NULL;
    }
    return pipe_make(self, bound, &request);
}

PyDoc_STRVAR(loop_make_write_pipe_doc,
"_make_write_pipe_transport($self, pipe, protocol, waiter=None, extra=None)\n"
"--\n\n"
"A transport that writes to a pipe, socket or character device.\n\n"
"Raises ValueError for another kind of file. The pipe is closed with the\n"
"transport.");

static const pyrsl_params make_write_params = {"_make_write_pipe_transport",
                                               make_names, 4, 2};

static PyObject *
loop_make_write_pipe(LoopObject *self, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    PyObject *bound[4];
    pipe_request request = {.kind = &pyrsl_pipe_write_kind,
                            .type = self->st->WritePipeTransportType};
    if (pyrsl_args_bind(&make_write_params, args, nargs, kwnames, bound) < 0) {
        return NULL;
    }
    return pipe_make(self, bound, &request);
}

PyMethodDef pyrsl_pipe_loop_methods[] = {
    {"_make_read_pipe_transport",
     (PyCFunction)(void (*)(void))loop_make_read_pipe,
     METH_FASTCALL | METH_KEYWORDS, loop_make_read_pipe_doc},
    {"_make_write_pipe_transport",
     (PyCFunction)(void (*)(void))loop_make_write_pipe,
     METH_FASTCALL | METH_KEYWORDS, loop_make_write_pipe_doc},
    {NULL, NULL, 0, NULL},
};
