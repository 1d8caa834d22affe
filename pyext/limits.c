/* SPDX-License-Identifier: Apache-2.0 */
#include "limits.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "acceptor.h"
#include "future.h"

/* A burst may be so much ahead of the permitted rate. */
#define ACCEPT_BURST_NS (INT64_C(1000000000) / 10)

#define HANDSHAKES_DEFAULT  256
#define TLS_SILENCE_DEFAULT 2.0

/* --- Settings --- */

typedef struct limit_field {
    const char *name;
    const char *variable;
    const char *alias; /* rsloop's name for it, or NULL */
    size_t offset;
    bool is_count; /* an int */
    double preset;
} limit_field;

#define FIELD(name, VARIABLE, alias, is_count, preset)                    \
    {#name,                                                               \
     "RSLOOP_C_" VARIABLE,                                                \
     alias,                                                               \
     offsetof(LimitsObject, values) + offsetof(pyrsl_limit_values, name), \
     is_count,                                                            \
     preset}

static const limit_field limit_fields[] = {
    FIELD(max_connections, "MAX_CONNECTIONS", NULL, true, INFINITY),
    FIELD(max_accept_rate, "MAX_ACCEPT_RATE", NULL, false, INFINITY),
    FIELD(max_pending_tls_handshakes, "MAX_PENDING_TLS_HANDSHAKES",
          "RSLOOP_MAX_PENDING_TLS_HANDSHAKES", true, HANDSHAKES_DEFAULT),
    FIELD(idle_timeout, "IDLE_TIMEOUT", NULL, false, INFINITY),
    FIELD(read_timeout, "READ_TIMEOUT", NULL, false, INFINITY),
    FIELD(write_timeout, "WRITE_TIMEOUT", NULL, false, INFINITY),
    FIELD(max_write_buffer_bytes, "MAX_WRITE_BUFFER_BYTES",
          "RSLOOP_MAX_WRITE_BUFFER_BYTES", true, INFINITY),
    FIELD(max_pending_read_bytes, "MAX_PENDING_READ_BYTES", NULL, true,
          RSL_CONN_PENDING_MAX),
    FIELD(tls_silence_timeout, "TLS_SILENCE_TIMEOUT", NULL, false,
          TLS_SILENCE_DEFAULT),
};

static double *
limit_at(LimitsObject *self, const limit_field *field)
{
    return (double *)(void *)((char *)self + field->offset);
}

static bool
limit_parse(const limit_field *field, const char *text, double *out)
{
    char *end;
    double value = strtod(text, &end);
    while (*end == ' ') {
        end++;
    }
    if (end == text || *end != '\0' || !(value > 0)
        || (field->is_count && value != floor(value))) {
        return false;
    }
    *out = value;
    return true;
}

/* A wrong value of our variable is an error; one of rsloop's is passed over, as
 * rsloop does. */
static int
limit_from_environment(const limit_field *field, double *out)
{
    *out = field->preset;
    const char *text = getenv(field->variable);
    if (text != NULL && text[0] != '\0') {
        if (!limit_parse(field, text, out)) {
            PyErr_Format(PyExc_ValueError,
                         "%s must be a positive number, not '%s'",
                         field->variable, text);
            return -1;
        }
        return 0;
    }
    text = field->alias == NULL ? NULL : getenv(field->alias);
    if (text != NULL) {
        (void)limit_parse(field, text, out);
    }
    return 0;
}

static PyObject *
limits_get(PyObject *self, void *closure)
{
    const limit_field *field = closure;
    double value = *limit_at((LimitsObject *)self, field);
    if (isinf(value)) {
        Py_RETURN_NONE;
    }
    return field->is_count ? PyLong_FromDouble(value)
                           : PyFloat_FromDouble(value);
}

static int
limit_from_python(const limit_field *field, PyObject *value, double *out)
{
    *out = INFINITY;
    if (value == Py_None) {
        return 0;
    }
    if (field->is_count && !PyLong_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s must be an int or None, not %.100s",
                     field->name, Py_TYPE(value)->tp_name);
        return -1;
    }
    *out = PyFloat_AsDouble(value);
    if (*out == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (!(*out > 0)) {
        PyErr_Format(PyExc_ValueError, "%s must be positive or None, not %R",
                     field->name, value);
        return -1;
    }
    return 0;
}

static bool
limit_is_loops(const limit_field *field)
{
    switch (field->offset) {
    case offsetof(LimitsObject, values.max_pending_tls_handshakes):
    case offsetof(LimitsObject, values.max_pending_read_bytes):
    case offsetof(LimitsObject, values.tls_silence_timeout):
        return true;
    default:
        return false;
    }
}

/* The runtime thread goes by the loop's. */
void
pyrsl_limits_tell_runtime(const LimitsObject *self)
{
    double max = self->values.max_pending_read_bytes;
    if (self->is_loops && self->loop->rt != NULL) {
        rsl_runtime_set_pending_max(
            self->loop->rt, max < (double)SIZE_MAX ? (size_t)max : SIZE_MAX);
    }
}

static int
limits_set(PyObject *object, PyObject *value, void *closure)
{
    LimitsObject *self = (LimitsObject *)object;
    const limit_field *field = closure;
    double number;
    if (value == NULL) {
        PyErr_Format(PyExc_AttributeError, "%s cannot be deleted", field->name);
        return -1;
    }
    if (self->loop != NULL && pyrsl_loop_check_owner(self->loop) < 0) {
        return -1;
    }
    if (!self->is_loops && limit_is_loops(field)) {
        PyErr_Format(PyExc_AttributeError, "%s is the loop's", field->name);
        return -1;
    }
    if (limit_from_python(field, value, &number) < 0) {
        return -1;
    }
    *limit_at(self, field) = number;
    self->handshakes_full = false;
    if (self->loop == NULL) {
        return 0;
    }
    pyrsl_limits_tell_runtime(self);
    return pyrsl_acceptors_update(self->loop);
}

/* --- Figures --- */

static PyObject *
limits_connections(LimitsObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(self->connections);
}

static PyObject *
limits_handshakes(LimitsObject *self, void *Py_UNUSED(closure))
{
    LimitsObject *owner =
        self->loop == NULL ? self : pyrsl_limits_of_loop(self->loop);
    return PyLong_FromSize_t(owner->handshakes);
}

void
pyrsl_limits_join(LimitsObject *self)
{
    self->connections++;
    if (!self->is_loops && self->loop->limits != NULL) {
        pyrsl_limits_of_loop(self->loop)->connections++;
    }
}

/* The last has gone: whoever drains hears of it. */
static int
limits_wake(LimitsObject *self)
{
    PyObject *waiters = self->waiters;
    int status = 0;
    if (waiters == NULL || self->connections > 0) {
        return 0;
    }
    self->waiters = NULL;
    for (Py_ssize_t i = 0; status == 0 && i < PyList_GET_SIZE(waiters); i++) {
        PyObject *waiter = Py_NewRef(PyList_GET_ITEM(waiters, i));
        const module_state *st = self->loop->st;
        status = pyrsl_future_wake(st, waiter, st->str_done, NULL);
        Py_DECREF(waiter);
    }
    Py_DECREF(waiters);
    return status;
}

int
pyrsl_limits_leave(LimitsObject *self)
{
    LoopObject *loop = self->loop;
    self->connections--;
    if (loop == NULL || loop->limits == NULL || atomic_load(&loop->closed)) {
        return 0;
    }
    LimitsObject *loops = pyrsl_limits_of_loop(loop);
    int status = 0;
    if (self != loops) {
        loops->connections--;
    }
    if (loop->acceptors_waiting > 0) {
        status = pyrsl_acceptors_update(loop);
    }
    return status < 0 ? -1 : limits_wake(self);
}

/* Nanoseconds between two accepts, and how far ahead of that they may be. */
static int64_t
accept_interval(const LimitsObject *self, int64_t *burst)
{
    double interval = 1e9 / self->values.max_accept_rate;
    int64_t whole =
        interval > 1e15 ? INT64_C(1000000000000000) : (int64_t)interval;
    *burst = whole < ACCEPT_BURST_NS ? ACCEPT_BURST_NS - whole : 0;
    return whole;
}

size_t
pyrsl_limits_room(const LimitsObject *self, size_t most, int64_t *wait_ns)
{
    double room = self->values.max_connections - (double)self->connections;
    if (room < (double)most) {
        most = room > 0 ? (size_t)room : 0;
    }
    if (isinf(self->values.max_accept_rate) || most == 0) {
        return most;
    }
    int64_t burst, interval = accept_interval(self, &burst);
    int64_t now = rsl_clock_now_ns();
    int64_t first = self->accept_ns - burst;
    if (now < first) {
        *wait_ns = first > *wait_ns ? first : *wait_ns;
        return 0;
    }
    int64_t start = self->accept_ns > now ? self->accept_ns : now;
    int64_t permitted =
        interval == 0 ? (int64_t)most : (now + burst - start) / interval + 1;
    return (size_t)permitted < most ? (size_t)permitted : most;
}

void
pyrsl_limits_note_accept(LimitsObject *self)
{
    if (isinf(self->values.max_accept_rate)) {
        return;
    }
    int64_t burst, interval = accept_interval(self, &burst);
    int64_t now = rsl_clock_now_ns();
    self->accept_ns =
        (self->accept_ns > now ? self->accept_ns : now) + interval;
}

/* --- The object --- */

static LimitsObject *
limits_alloc(LoopObject *loop)
{
    PyTypeObject *type = loop->st->LimitsType;
    LimitsObject *self = (LimitsObject *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->loop = loop;
    }
    return self;
}

PyObject *
pyrsl_limits_of_environment(LoopObject *loop)
{
    LimitsObject *self = limits_alloc(loop);
    if (self == NULL) {
        return NULL;
    }
    self->is_loops = true;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(limit_fields); i++) {
        if (limit_from_environment(&limit_fields[i],
                                   limit_at(self, &limit_fields[i]))
            < 0) {
            Py_DECREF(self);
            return NULL;
        }
    }
    return (PyObject *)self;
}

PyObject *
pyrsl_limits_of_server(LoopObject *loop, PyObject *server)
{
    if (server != NULL && server != Py_None) {
        PyObject *limits = PyObject_GetAttr(server, loop->st->str_limits);
        if (limits != NULL && Py_IS_TYPE(limits, loop->st->LimitsType)
            && ((LimitsObject *)limits)->loop == loop) {
            return limits;
        }
        if (limits == NULL) {
            if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
                return NULL;
            }
            PyErr_Clear();
        }
        Py_XDECREF(limits);
    }
    return Py_NewRef(loop->limits);
}

PyDoc_STRVAR(loop_new_limits_doc,
"_new_limits($self, /)\n--\n\n"
"Limits of a new server: its connections are treated as the loop's, and what\n"
"it may accept is the loop's affair until it has limits of its own.");

static PyObject *
loop_new_limits(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    if (pyrsl_loop_check_closed(self) < 0) {
        return NULL;
    }
    LimitsObject *limits = limits_alloc(self);
    if (limits != NULL) {
        Py_INCREF(self);
        limits->values = pyrsl_limits_of_loop(self)->values;
        limits->values.max_connections = INFINITY;
        limits->values.max_accept_rate = INFINITY;
    }
    return (PyObject *)limits;
}

PyDoc_STRVAR(limits_wait_doc,
"_wait($self, future, /)\n--\n\n"
"Set the future's result when there is no connection.");

static PyObject *
limits_wait(LimitsObject *self, PyObject *future)
{
    if (self->waiters == NULL) {
        self->waiters = PyList_New(0);
    }
    if (self->waiters == NULL || PyList_Append(self->waiters, future) < 0
        || limits_wake(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static int
limits_traverse(LimitsObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    if (!self->is_loops) {
        Py_VISIT(self->loop);
    }
    Py_VISIT(self->waiters);
    return 0;
}

/* `loop` stays, for transports that leave: nothing leads from it to a server's
 * limits but what it clears itself. */
static int
limits_clear(LimitsObject *self)
{
    Py_CLEAR(self->waiters);
    return 0;
}

static void
limits_dealloc(LimitsObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->waiters);
    if (!self->is_loops) {
        Py_CLEAR(self->loop);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef limits_methods[] = {
    {"_wait", (PyCFunction)(void (*)(void))limits_wait, METH_O,
     limits_wait_doc},
    {NULL, NULL, 0, NULL},
};

#define SETTING(index, name, doc) \
    {name, limits_get, limits_set, doc, (void *)(uintptr_t)&limit_fields[index]}

static PyGetSetDef limits_getset[] = {
    SETTING(0, "max_connections",
            "Accepted connections that may be open at once."),
    SETTING(1, "max_accept_rate", "Connections that are accepted in a second."),
    SETTING(2, "max_pending_tls_handshakes",
            "Server handshakes of the loop that may be unfinished at once."),
    SETTING(3, "idle_timeout", "Seconds without a byte in either direction."),
    SETTING(4, "read_timeout",
            "Seconds without a byte from a peer that is listened to."),
    SETTING(5, "write_timeout", "Seconds without room for output that waits."),
    SETTING(6, "max_write_buffer_bytes",
            "Bytes that the kernel has not taken."),
    SETTING(7, "max_pending_read_bytes",
            "Bytes of a connection that are read and not yet handed over."),
    SETTING(
        8, "tls_silence_timeout",
        "Seconds of silence after which a handshake makes room for others."),
    {"connections", (getter)(void (*)(void))limits_connections, NULL,
     "Accepted connections that are open.", NULL},
    {"pending_tls_handshakes", (getter)(void (*)(void))limits_handshakes, NULL,
     "Server handshakes of the loop that are unfinished.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot limits_slots[] = {
    {Py_tp_doc, "What a loop, or a server, takes on; None is no limit."},
    {Py_tp_dealloc, limits_dealloc},
    {Py_tp_traverse, limits_traverse},
    {Py_tp_clear, limits_clear},
    {Py_tp_methods, limits_methods},
    {Py_tp_getset, limits_getset},
    {0, NULL},
};

static PyType_Spec limits_spec = {
    .name = "rsloop_c._core.Limits",
    .basicsize = sizeof(LimitsObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = limits_slots,
};

int
pyrsl_limits_type(PyObject *module, module_state *st)
{
    st->LimitsType =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &limits_spec, NULL);
    return st->LimitsType == NULL ? -1 : 0;
}

PyMethodDef pyrsl_limits_loop_methods[] = {
    {"_new_limits", (PyCFunction)(void (*)(void))loop_new_limits, METH_NOARGS,
     loop_new_limits_doc},
    {NULL, NULL, 0, NULL},
};
