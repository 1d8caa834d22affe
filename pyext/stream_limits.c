/* SPDX-License-Identifier: Apache-2.0 */
/* stream_limits.c - how long a connection may be silent, and how much it may
 * owe its peer. */
#include <math.h>
#include <stddef.h>

#include "clients.h"
#include "limits.h"
#include "stream_tls.h"
#include "wheel.h"

typedef struct stream_deadlines {
    pyrsl_wheel_entry entry;
    StreamTransport *stream;            /* that has it */
    int64_t idle_ns, read_ns, write_ns; /* PYRSL_WHEEL_MAX_NS for none */
    int64_t input_ns, output_ns;        /* when there was some */
    int64_t room_ns;                    /* when the socket had room again */
} stream_deadlines;

/* --- Expiry --- */

typedef struct stream_expiry {
    int64_t when_ns;
    const char *text; /* takes seconds */
    int64_t limit_ns;
} stream_expiry;

static int64_t
latest(int64_t left_ns, int64_t right_ns)
{
    return left_ns > right_ns ? left_ns : right_ns;
}

static void
expiry_note(stream_expiry *first, int64_t since_ns, int64_t limit_ns,
            const char *text)
{
    if (limit_ns < PYRSL_WHEEL_MAX_NS && since_ns + limit_ns < first->when_ns) {
        *first = (stream_expiry){since_ns + limit_ns, text, limit_ns};
    }
}

/* The first of its deadlines, as things are now. What does not run out now
 * begins now at the earliest. */
static stream_expiry
deadlines_first(const stream_deadlines *self, int64_t now_ns)
{
    const StreamTransport *stream = self->stream;
    stream_expiry first = {INT64_MAX, NULL, 0};
    int64_t last = latest(self->input_ns, self->output_ns);
    if (stream->empty_waiter != NULL) {
        last = now_ns; /* a sendfile sends beside us */
    }
    expiry_note(&first, last, self->idle_ns, "connection was idle for %s s");
    expiry_note(&first, stream->reading ? self->input_ns : now_ns,
                self->read_ns, "peer sent nothing for %s s");
    int64_t waits = rsl_conn_waits_since(stream->conn);
    expiry_note(&first, waits == 0 ? now_ns : latest(waits, self->room_ns),
                self->write_ns, "peer took nothing for %s s");
    return first;
}

static PyObject *
expiry_exception(const stream_expiry *expiry)
{
    char seconds[32];
    char text[96];
    PyOS_snprintf(seconds, sizeof(seconds), "%g",
                  (double)expiry->limit_ns * 1e-9);
    PyOS_snprintf(text, sizeof(text), expiry->text, seconds);
    return PyObject_CallFunction(PyExc_TimeoutError, "s", text);
}

static int
deadlines_due(LoopObject *loop, pyrsl_wheel_entry *entry, int64_t *again_ns)
{
    stream_deadlines *self = (stream_deadlines *)(void *)entry;
    if (self->stream->conn == NULL || self->stream->conn_lost != 0) {
        return 0; /* its end is on its way */
    }
    stream_expiry first = deadlines_first(self, loop->wheel.now_ns);
    if (first.when_ns > loop->wheel.now_ns) {
        *again_ns = first.when_ns;
        return 0;
    }
    StreamTransport *stream = self->stream;
    PyObject *exc = expiry_exception(&first);
    if (exc == NULL) {
        return -1;
    }
    Py_INCREF(stream);
    int status = pyrsl_stream_force_close(stream, exc);
    Py_DECREF(stream);
    Py_DECREF(exc);
    return status;
}

/* --- Beginning and end --- */

static int
deadlines_begin(StreamTransport *self, const pyrsl_limit_values *values)
{
    stream_deadlines *deadlines = PyMem_RawCalloc(1, sizeof(*deadlines));
    if (deadlines == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    int64_t now_ns = rsl_clock_now_ns();
    *deadlines = (stream_deadlines){
        .entry.due = deadlines_due,
        .stream = self,
        .idle_ns = pyrsl_wheel_ns(values->idle_timeout),
        .read_ns = pyrsl_wheel_ns(values->read_timeout),
        .write_ns = pyrsl_wheel_ns(values->write_timeout),
        .input_ns = now_ns,
        .output_ns = now_ns,
    };
    int64_t when_ns = deadlines_first(deadlines, now_ns).when_ns;
    if (pyrsl_wheel_add(&self->loop->wheel, &deadlines->entry, when_ns) < 0) {
        PyMem_RawFree(deadlines);
        return -1;
    }
    self->deadlines = deadlines;
    return 0;
}

int
pyrsl_stream_limit(StreamTransport *self, LimitsObject *known)
{
    bool accepted = self->server != NULL || known != NULL;
    PyObject *limits =
        known != NULL ? Py_NewRef(known)
                      : pyrsl_limits_of_server(
                            self->loop,
                            self->server == NULL
                                ? NULL
                                : pyrsl_clients_server(self->st, self->server));
    if (limits == NULL) {
        return -1;
    }
    self->limits = (LimitsObject *)limits;
    if (accepted) {
        self->counted = true;
        pyrsl_limits_join(self->limits);
    }
    const pyrsl_limit_values *values = &self->limits->values;
    if (isinf(values->idle_timeout) && isinf(values->read_timeout)
        && isinf(values->write_timeout)) {
        return 0;
    }
    return deadlines_begin(self, values);
}

int
pyrsl_stream_unlimit(StreamTransport *self)
{
    LimitsObject *limits = self->limits;
    stream_deadlines *deadlines = self->deadlines;
    int status = pyrsl_stream_tls_settle(self);
    pyrsl_stream_tls_stop_timer(self);
    self->limits = NULL;
    self->deadlines = NULL;
    if (deadlines != NULL) {
        pyrsl_wheel_remove(&self->loop->wheel, &deadlines->entry);
        PyMem_RawFree(deadlines);
    }
    if (self->counted) {
        self->counted = false;
        status = pyrsl_limits_leave(limits) < 0 ? -1 : status;
    }
    Py_XDECREF(limits);
    return status;
}

/* --- What moves them on --- */

void
pyrsl_stream_touch_input(StreamTransport *self)
{
    self->deadlines->input_ns = self->loop->wheel.now_ns;
}

void
pyrsl_stream_touch_room(StreamTransport *self)
{
    self->deadlines->room_ns = self->deadlines->output_ns =
        self->loop->wheel.now_ns;
}

void
pyrsl_stream_touch_output(StreamTransport *self)
{
    self->deadlines->output_ns = self->loop->wheel.now_ns;
}

/* --- What it owes --- */

int
pyrsl_stream_check_backlog(StreamTransport *self)
{
    if (self->limits == NULL || self->conn_lost != 0) {
        return 0;
    }
    double max = self->limits->values.max_write_buffer_bytes;
    size_t backlog = pyrsl_stream_backlog(self);
    if ((double)backlog <= max) {
        return 0;
    }
    PyObject *text = PyUnicode_FromFormat(
        "write buffer of %zu bytes exceeds the limit of %zu bytes", backlog,
        (size_t)max);
    PyObject *exc =
        text == NULL ? NULL
                     : PyObject_CallOneArg(PyExc_ConnectionAbortedError, text);
    Py_XDECREF(text);
    if (exc == NULL) {
        return -1;
    }
    int status = pyrsl_stream_force_close(self, exc);
    Py_DECREF(exc);
    return status;
}

/* --- All connections of a server --- */

PyDoc_STRVAR(loop_abort_clients_doc,
"_abort_clients($self, server, /)\n--\n\n"
"Abort every connection that server has accepted; how many there were.");

static PyObject *
loop_abort_clients(LoopObject *self, PyObject *server)
{
    Py_ssize_t count = 0;
    if (pyrsl_loop_check_owner(self) < 0) {
        return NULL;
    }
    for (int fd = 0; fd < self->transport_cap; fd++) {
        PyObject *object = pyrsl_transport_at(self, fd);
        if (object == NULL || !pyrsl_is_stream(self->st, object)) {
            continue;
        }
        StreamTransport *stream = (StreamTransport *)object;
        if (stream->server == NULL || stream->conn_lost != 0
            || pyrsl_clients_server(self->st, stream->server) != server) {
            continue;
        }
        Py_INCREF(stream);
        int status = pyrsl_stream_force_close(stream, NULL);
        Py_DECREF(stream);
        if (status < 0) {
            return NULL;
        }
        count++;
    }
    return PyLong_FromSsize_t(count);
}

PyMethodDef pyrsl_stream_limits_loop_methods[] = {
    {"_abort_clients", (PyCFunction)(void (*)(void))loop_abort_clients, METH_O,
     loop_abort_clients_doc},
    {NULL, NULL, 0, NULL},
};
