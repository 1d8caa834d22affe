/* SPDX-License-Identifier: Apache-2.0 */
#include "loop.h"

#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "dns.h"
#include "errors.h"
#include "handle.h"
#include "limits.h"
#include "native.h"
#include "sock.h"
#include "transport.h"
#include "watchdog.h"
#include "work.h"

/* What a spin takes at most. The answer of a client that sleeps on another
 * core is back within this time; docs/benchmarks.md has the sweep. */
enum { SPIN_US_DEFAULT = 30, SPIN_US_MAX = 10000 };

/* --- The runtime behind it --- */

static void
loop_sink_message(LoopObject *self, rsl_event event)
{
    if (rsl_tag_id(event.tag) == PYRSL_MSG_CALL) {
        pyrsl_loop_take_call(self, event.u.ptr);
    } else if (rsl_tag_id(event.tag) == PYRSL_MSG_WORK
               || rsl_tag_id(event.tag) == PYRSL_MSG_SETTLE) {
        pyrsl_waits_push_work(&self->waits, event.u.ptr);
    } else if (pyrsl_ready_push(&self->ready, event) < 0) {
        rsl_msg *msg = event.u.ptr;
        msg->discard(msg);
        self->lost_event = true;
    }
}

/* rsl_sink.emit: everything joins the one queue; a watch becomes its Handle
 * here, as asyncio's _process_events() does. */
static void
loop_sink_emit(rsl_sink *sink, rsl_event event)
{
    LoopObject *self =
        (LoopObject *)(void *)((char *)sink - offsetof(LoopObject, sink));
    rsl_event_kind kind = rsl_tag_kind(event.tag);
    if (kind == RSL_EV_WATCH) {
        pyrsl_loop_watch_event(self, (int)rsl_tag_id(event.tag),
                               (unsigned)event.u.arg);
    } else if (kind == RSL_EV_MESSAGE) {
        loop_sink_message(self, event);
    } else if (kind == RSL_EV_SENT && event.u.arg == 0) {
        /* Success is no news: whoever waits for an empty queue has been told
         * RSL_AGAIN and hears WRITABLE. Queued, it would keep the loop awake
         * for a turn of nothing. */
    } else if (pyrsl_ready_push(&self->ready, event) < 0) {
        pyrsl_event_discard(self, event);
        self->lost_event = true;
    }
}

int
pyrsl_loop_backend_choice(PyObject *value, rsl_backend_kind *out)
{
    const char *name;
    if (value != NULL && value != Py_None) {
        name = PyUnicode_AsUTF8(value);
        if (name == NULL) {
            return -1;
        }
    } else {
        name = getenv("RSLOOP_C_BACKEND");
        if (name == NULL || name[0] == '\0') {
            name = "auto";
        }
    }
    if (strcmp(name, "auto") == 0) {
        *out = RSL_BACKEND_AUTO;
    } else if (strcmp(name, "epoll") == 0) {
        *out = RSL_BACKEND_EPOLL;
    } else if (strcmp(name, "io_uring") == 0) {
        *out = RSL_BACKEND_IO_URING;
    } else {
        PyErr_Format(PyExc_ValueError,
                     "backend must be 'auto', 'io_uring' or 'epoll', not '%s'",
                     name);
        return -1;
    }
    return 0;
}

static int
loop_takeover_choice(rsl_takeover *out)
{
    const char *name = getenv("RSLOOP_C_TAKEOVER");
    if (name == NULL || name[0] == '\0' || strcmp(name, "auto") == 0) {
        *out = RSL_TAKEOVER_AUTO;
    } else if (strcmp(name, "never") == 0) {
        *out = RSL_TAKEOVER_NEVER;
    } else if (strcmp(name, "always") == 0) {
        *out = RSL_TAKEOVER_ALWAYS;
    } else {
        PyErr_Format(PyExc_ValueError,
                     "RSLOOP_C_TAKEOVER must be 'auto', 'never' or 'always', "
                     "not '%s'",
                     name);
        return -1;
    }
    return 0;
}

/* _tls.py chooses for each connection; a wrong name is said at once. */
static int
loop_check_tls(void)
{
    static const char *const names[] = {"", "auto", "mbedtls", "openssl",
                                        "python"};
    const char *name = getenv("RSLOOP_C_TLS");
    for (size_t i = 0; name != NULL && i < Py_ARRAY_LENGTH(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            return 0;
        }
    }
    if (name == NULL) {
        return 0;
    }
    PyErr_Format(PyExc_ValueError,
                 "RSLOOP_C_TLS must be 'auto', 'mbedtls', 'openssl' or "
                 "'python', not '%s'",
                 name);
    return -1;
}

/* Microseconds that a loop looks for input before it sleeps. */
static int
loop_spin_choice(int64_t *out_ns)
{
    const char *text = getenv("RSLOOP_C_SPIN_US");
    char *end;
    long us = SPIN_US_DEFAULT;
    if (text != NULL && text[0] != '\0') {
        us = strtol(text, &end, 10);
        if (*end != '\0' || us < 0 || us > SPIN_US_MAX) {
            PyErr_Format(PyExc_ValueError,
                         "RSLOOP_C_SPIN_US must be a number from 0 to %d, "
                         "not '%s'",
                         SPIN_US_MAX, text);
            return -1;
        }
    }
    *out_ns = us * 1000;
    return 0;
}

PyDoc_STRVAR(loop_open_runtime_doc,
"_open_runtime($self, backend, /)\n--\n\n"
"Open the native side. backend is None, 'auto', 'io_uring' or 'epoll'.\n\n"
"Raises ValueError for another name and OSError when the system refuses.");

static PyObject *
loop_open_runtime(LoopObject *self, PyObject *backend)
{
    if (self->rt != NULL) {
        PyErr_SetString(PyExc_RuntimeError,
                        "the event loop is initialized already");
        return NULL;
    }
    rsl_config config = {
        .hooks = {.loan_return = pyrsl_stream_loan_return,
                  .conn_closed = pyrsl_stream_conn_closed},
    };
    if (pyrsl_loop_backend_choice(backend, &config.backend) < 0
        || loop_takeover_choice(&config.takeover) < 0
        || loop_spin_choice(&config.spin_ns) < 0 || loop_check_tls() < 0) {
        return NULL;
    }
    Py_XSETREF(self->limits, pyrsl_limits_of_environment(self));
    if (self->limits == NULL) {
        return NULL;
    }
    rsl_err err = {0, NULL};
    rsl_status status = rsl_runtime_new(&config, &self->rt, &err);
    if (status != RSL_OK) {
        self->rt = NULL;
        return pyrsl_raise(status, &err);
    }
    self->stats = rsl_runtime_stats(self->rt);
    pyrsl_limits_tell_runtime(pyrsl_limits_of_loop(self));
    self->spin_ns = config.spin_ns;
    pyrsl_loop_find_clock(self);
    atomic_store(&self->closed, false);
    Py_RETURN_NONE;
}

/* The loop does not run: other threads may still append (loop_push()). */
static bool
loop_take_ready(LoopObject *self, rsl_event *event)
{
    bool some;
    Py_BEGIN_CRITICAL_SECTION(self);
    some = self->ready.count > 0;
    if (some) {
        *event = pyrsl_ready_take(&self->ready);
    }
    Py_END_CRITICAL_SECTION();
    return some;
}

static void
loop_drop_ready(LoopObject *self)
{
    rsl_event event;
    while (loop_take_ready(self, &event)) {
        switch (rsl_tag_kind(event.tag)) {
        case RSL_EV_CALL:
            pyrsl_handle_leaves_queue(self, event.u.ptr);
            break;
        case RSL_EV_MESSAGE: {
            rsl_msg *msg = event.u.ptr;
            msg->discard(msg);
            break;
        }
        case RSL_EV_NONE:
        case RSL_EV_READABLE:
        case RSL_EV_DATA:
        case RSL_EV_EOF:
        case RSL_EV_READ_ERROR:
        case RSL_EV_WRITABLE:
        case RSL_EV_SENT:
        case RSL_EV_ACCEPTABLE:
        case RSL_EV_ACCEPT_ERROR:
        case RSL_EV_DGRAM:
        case RSL_EV_WATCH:
            pyrsl_event_discard(self, event);
            break;
        }
    }
}

/* Everything native goes; the Python side has been told or is garbage. */
static void
loop_close_native(LoopObject *self)
{
    if (self->rt != NULL) {
        pyrsl_native_close(self);
        pyrsl_transports_close_all(self);
        loop_drop_ready(self); /* it may have chunks of the backend's */
        pyrsl_work_wait_for_posters(self);
        rsl_runtime_close(self->rt);
        rsl_runtime_drain(self->rt, &self->sink);
        loop_drop_ready(self);
        pyrsl_loop_net_clear(self);
        pyrsl_waits_drop(&self->waits);
        Py_BEGIN_CRITICAL_SECTION(self);
        pyrsl_timers_clear(&self->timers);
        Py_END_CRITICAL_SECTION();
        pyrsl_handle_lists_clear(self);
    }
    pyrsl_contexts_clear(&self->contexts);
}

PyDoc_STRVAR(loop_close_runtime_doc,
"_close_runtime($self, /)\n--\n\n"
"Drop callbacks and timers and close native I/O. Idempotent.");

static PyObject *
loop_close_runtime(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    loop_close_native(self);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(loop_set_watchdog_doc,
"_set_watchdog($self, watchdog, /)\n--\n\n"
"Beat for a Watchdog, instead of the one before, or for none (None).");

static PyObject *
loop_set_watchdog(LoopObject *self, PyObject *value)
{
    if (value != Py_None && !Py_IS_TYPE(value, self->st->WatchdogType)) {
        PyErr_SetString(PyExc_TypeError, "a Watchdog or None is expected");
        return NULL;
    }
    if (pyrsl_loop_check_owner(self) < 0) {
        return NULL;
    }
    bool running = atomic_load(&self->thread_id) != 0;
    pyrsl_watchdog_end(self->watchdog);
    Py_XSETREF(self->watchdog,
               value == Py_None ? NULL : (WatchdogObject *)Py_NewRef(value));
    pyrsl_watchdog_set_running(self->watchdog, running);
    Py_RETURN_NONE;
}

int
pyrsl_loop_check_closed(LoopObject *self)
{
    if (atomic_load(&self->closed)) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
        return -1;
    }
    return 0;
}

int
pyrsl_loop_check_call(LoopObject *self)
{
    if (pyrsl_loop_check_closed(self) < 0
        || pyrsl_loop_check_thread(self) < 0) {
        return -1;
    }
    if (!self->debug || pyrsl_loop_is_owner(self)) {
        return 0;
    }
    PyErr_SetString(PyExc_RuntimeError, PYRSL_WRONG_THREAD);
    return -1;
}

/* --- The type --- */

static PyObject *
loop_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
         PyObject *Py_UNUSED(kwargs))
{
    module_state *st = pyrsl_state_of_type(type);
    if (st == NULL) {
        return NULL;
    }
    LoopObject *self = (LoopObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->st = st;
    self->sink.emit = loop_sink_emit;
    self->task_factory = Py_NewRef(Py_None);
    atomic_init(&self->thread_id, 0);
    /* Until _open_runtime(): every method answers as a closed loop does. */
    atomic_init(&self->closed, true);
    atomic_init(&self->stopping, false);
    atomic_init(&self->posters, 0);
    if (pyrsl_ready_init(&self->ready) < 0) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static int
loop_traverse(LoopObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->task_factory);
    Py_VISIT(self->current_handle);
    Py_VISIT(self->limits);
    int status = pyrsl_handles_traverse_queue(self, visit, arg);
    if (status == 0) {
        status = pyrsl_contexts_traverse(&self->contexts, visit, arg);
    }
    if (status == 0) {
        status = pyrsl_waits_traverse(&self->waits, visit, arg);
    }
    if (status == 0) {
        status = pyrsl_dns_traverse(self, visit, arg);
    }
    if (status == 0) {
        status = pyrsl_native_traverse(self, visit, arg);
    }
    if (status == 0) {
        status = pyrsl_timers_traverse(&self->timers, visit, arg);
    }
    if (status == 0) {
        status = pyrsl_transports_traverse(self, visit, arg);
    }
    return status != 0 ? status : pyrsl_loop_net_traverse(self, visit, arg);
}

static int
loop_clear(LoopObject *self)
{
    loop_close_native(self);
    pyrsl_watchdog_end(self->watchdog);
    Py_CLEAR(self->watchdog);
    Py_CLEAR(self->profile);
    Py_CLEAR(self->task_factory);
    Py_CLEAR(self->current_handle);
    return 0;
}

static void
loop_dealloc(LoopObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    loop_clear(self);
    if (self->rt != NULL) {
        rsl_runtime_free(self->rt);
        self->rt = NULL;
    }
    pyrsl_native_free(self);
    pyrsl_handle_lists_clear(self);
    if (self->limits != NULL) {
        pyrsl_limits_of_loop(self)->loop = NULL;
        Py_CLEAR(self->limits);
    }
    pyrsl_wheel_fini(&self->wheel);
    free(self->ready.ring);
    free(self->watches);
    free(self->waits.places);
    free(self->transports);
    free(self->read_scratch);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef loop_own_methods[] = {
    {"_open_runtime", (PyCFunction)(void (*)(void))loop_open_runtime, METH_O,
     loop_open_runtime_doc},
    {"_close_runtime", (PyCFunction)(void (*)(void))loop_close_runtime,
     METH_NOARGS, loop_close_runtime_doc},
    {"_set_watchdog", (PyCFunction)(void (*)(void))loop_set_watchdog, METH_O,
     loop_set_watchdog_doc},
    {NULL, NULL, 0, NULL},
};

/* Every room's methods in one type: the tables are added after creation. */
int
pyrsl_loop_add_methods(PyTypeObject *type)
{
    PyMethodDef *const tables[] = {
        loop_own_methods,
        pyrsl_loop_clock_methods,
        pyrsl_loop_schedule_methods,
        pyrsl_loop_run_methods,
        pyrsl_loop_forever_methods,
        pyrsl_loop_net_methods,
        pyrsl_stream_loop_methods,
        pyrsl_stream_tls_loop_methods,
        pyrsl_datagram_loop_methods,
        pyrsl_transport_loop_methods,
        pyrsl_accept_loop_methods,
        pyrsl_limits_loop_methods,
        pyrsl_handshakes_loop_methods,
        pyrsl_stream_limits_loop_methods,
        pyrsl_dns_loop_methods,
        pyrsl_loop_info_methods,
        pyrsl_loop_stats_methods,
        pyrsl_loop_task_methods,
        pyrsl_loop_executor_methods,
        pyrsl_pipe_loop_methods,
        pyrsl_sock_loop_methods,
        pyrsl_sock_recv_loop_methods,
        pyrsl_sock_send_loop_methods,
        NULL,
    };
    return pyrsl_type_add_methods(type, tables);
}

static PyType_Slot loop_slots[] = {
    {Py_tp_doc, "The C half of rsloop_c.Loop: queue, timers, I/O."},
    {Py_tp_new, loop_new},
    {Py_tp_dealloc, loop_dealloc},
    {Py_tp_traverse, loop_traverse},
    {Py_tp_clear, loop_clear},
    {Py_tp_setattro, pyrsl_loop_setattro},
    {Py_tp_getset, pyrsl_loop_getset},
    {0, NULL},
};

PyType_Spec pyrsl_loop_spec = {
    .name = "rsloop_c._core.Loop",
    .basicsize = sizeof(LoopObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = loop_slots,
};
