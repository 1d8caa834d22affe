/* SPDX-License-Identifier: Apache-2.0 */
#include <rsl/prof.h>

#include <rsl/handshake.h>

#include "dns.h"
#include "errors.h"
#include "handle.h"
#include "loop.h"
#include "native.h"
#include "transport.h"

/* --- Running what is due --- */

static TimerHandleObject *
loop_take_due_timer(LoopObject *self, double limit)
{
    TimerHandleObject *timer;
    Py_BEGIN_CRITICAL_SECTION(self);
    timer = pyrsl_timers_take_due(&self->timers, limit);
    Py_END_CRITICAL_SECTION();
    return timer;
}

static int
loop_queue_timers(LoopObject *self)
{
#ifndef Py_GIL_DISABLED /* else a stranger may be adding one */
    if (pyrsl_timers_count(&self->timers) == 0) {
        rsl_stat_set(self->stats, RSL_STAT_TIMERS, 0);
        return 0;
    }
#endif
    double limit = pyrsl_clock_seconds();
    if (self->foreign_clock && pyrsl_loop_ask_clock(self, &limit) < 0) {
        return -1;
    }
    limit += LOOP_CLOCK_RESOLUTION;
    Py_BEGIN_CRITICAL_SECTION(self);
    pyrsl_timers_settle(&self->timers, limit);
    rsl_stat_set(self->stats, RSL_STAT_TIMERS,
                 pyrsl_timers_count(&self->timers));
    Py_END_CRITICAL_SECTION();
    TimerHandleObject *timer;
    while ((timer = loop_take_due_timer(self, limit)) != NULL) {
        if (timer->handle.cancelled == Py_True) {
            pyrsl_handle_leaves((PyObject *)timer);
            continue;
        }
        rsl_event event = {.tag = rsl_tag(RSL_EV_CALL, 0), .u.ptr = timer};
        if (pyrsl_ready_push(&self->ready, event) < 0) {
            pyrsl_handle_leaves((PyObject *)timer);
            PyErr_NoMemory();
            return -1;
        }
    }
    return 0;
}

/* A Handle that is not ours: asyncio's own (signals), or a subclass. */
static int
loop_run_foreign(LoopObject *self, PyObject *handle)
{
    int cancelled = pyrsl_handle_is_cancelled(self->st, handle);
    if (cancelled != 0) {
        return cancelled < 0 ? -1 : 0;
    }
    PyObject *result = PyObject_CallMethodNoArgs(handle, self->st->str_run);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Debug mode: remember what runs, report what was slow. */
static int
loop_run_timed(LoopObject *self, PyObject *handle)
{
    Py_XSETREF(self->current_handle, Py_NewRef(handle));
    int64_t start_ns = rsl_clock_now_ns();
    int status = pyrsl_handle_is_ours(self->st, handle)
                     ? pyrsl_handle_run(self, handle)
                     : loop_run_foreign(self, handle);
    Py_CLEAR(self->current_handle);
    return status < 0 ? -1 : pyrsl_loop_report_duration(self, handle, start_ns);
}

static int
loop_run_call(LoopObject *self, PyObject *handle)
{
    if (!self->debug && pyrsl_handle_is_ours(self->st, handle)) {
        return pyrsl_handle_run(self, handle);
    }
    if (pyrsl_is_stream(self->st, handle)) {
        return pyrsl_stream_begin(self, handle);
    }
    if (self->debug) {
        int cancelled = pyrsl_handle_is_cancelled(self->st, handle);
        if (cancelled != 0) {
            return cancelled < 0 ? -1 : 0;
        }
        return loop_run_timed(self, handle);
    }
    return loop_run_foreign(self, handle);
}

/* Takes `handle` out of the queue and runs it. */
static int
loop_run_queued(LoopObject *self, PyObject *handle)
{
    rsl_stat_add(self->stats, RSL_STAT_CALLBACKS, 1);
    if (!self->debug && pyrsl_handle_is_ours(self->st, handle)
        && pyrsl_handle_is_alone(handle)) {
        return pyrsl_handle_run_alone(self, handle);
    }
    pyrsl_contexts_leave(&self->contexts);
    int status = loop_run_call(self, handle);
    pyrsl_handle_leaves_queue(self, handle);
    return status;
}

int
pyrsl_loop_run_newest(LoopObject *self)
{
    /* In debug mode durations are measured one by one. */
    if (self->debug || !pyrsl_ready_newest_is_call(&self->ready)) {
        return 0;
    }
    rsl_event event = pyrsl_ready_take_newest(&self->ready);
    int status = self->profile != NULL ? pyrsl_loop_run_observed(self, event)
                                       : loop_run_queued(self, event.u.ptr);
    pyrsl_contexts_leave(&self->contexts); /* the caller is in its own */
    return status;
}

static int
loop_run_transport(LoopObject *self, rsl_event event)
{
    return rsl_tag_kind(event.tag) == RSL_EV_DGRAM
               ? pyrsl_datagram_event(self, event)
               : pyrsl_stream_event(self, event);
}

/* Debug mode: report a transport whose callbacks took long. */
static int
loop_run_transport_timed(LoopObject *self, rsl_event event)
{
    PyObject *owner;
    if (rsl_tag_kind(event.tag) == RSL_EV_DGRAM) {
        owner = pyrsl_datagram_event_owner(self, event);
    } else {
        rsl_conn *conn = rsl_conn_find(self->rt, rsl_tag_id(event.tag));
        owner = Py_NewRef(conn == NULL ? Py_None : rsl_conn_owner(conn));
    }
    int64_t start_ns = rsl_clock_now_ns();
    int status = loop_run_transport(self, event);
    if (status == 0) {
        status = pyrsl_loop_report_duration(self, owner, start_ns);
    }
    Py_DECREF(owner);
    return status;
}

/* The receiver owns the message. */
static inline __attribute__((always_inline)) int
loop_run_event(LoopObject *self, rsl_event event)
{
    int status = 0;
    if (rsl_tag_kind(event.tag) == RSL_EV_CALL) {
        return loop_run_queued(self, event.u.ptr);
    }
    pyrsl_contexts_leave(&self->contexts);
    switch (rsl_tag_kind(event.tag)) {
    case RSL_EV_READABLE:
    case RSL_EV_DATA:
    case RSL_EV_EOF:
    case RSL_EV_READ_ERROR:
    case RSL_EV_WRITABLE:
    case RSL_EV_SENT:
    case RSL_EV_DGRAM:
        status = self->debug ? loop_run_transport_timed(self, event)
                             : loop_run_transport(self, event);
        rsl_runtime_note_busy(self->rt, (unsigned)self->ready.io_count);
        break;
    case RSL_EV_ACCEPTABLE:
    case RSL_EV_ACCEPT_ERROR:
        status = pyrsl_accept_event(self, event);
        break;
    case RSL_EV_MESSAGE:
        if (rsl_tag_id(event.tag) == PYRSL_MSG_NATIVE) {
            return pyrsl_native_deliver(self, event.u.ptr);
        }
        if (rsl_tag_id(event.tag) == RSL_MSG_HANDSHAKE) {
            return rsl_handshake_deliver(event.u.ptr);
        }
        pyrsl_dns_deliver(self, event.u.ptr);
        break;
    case RSL_EV_CALL: /* above */
    case RSL_EV_NONE:
    case RSL_EV_WATCH:
        break;
    }
    return status;
}

int
pyrsl_loop_run_event(LoopObject *self, rsl_event event)
{
    return loop_run_event(self, event);
}

/* After each event: -1 when it forked. */
static int
loop_run_between(LoopObject *self)
{
    if (rsl_runtime_is_forked(self->rt)) {
        pyrsl_raise(RSL_FORKED, NULL);
        return -1;
    }
    rsl_runtime_flush_stale(self->rt, &self->sink);
    return 0;
}

static int
loop_run_ready_observed(LoopObject *self)
{
    int64_t start_ns = pyrsl_loop_begin_observing(self);
    size_t before = self->ready.count;
    pyrsl_loop_note_turn(self, before);
    size_t count = before;
    int status = 0;
    while (status == 0 && count-- > 0 && self->ready.count > 0) {
        status = pyrsl_loop_run_observed(self, pyrsl_ready_take(&self->ready));
        if (status == 0) {
            status = loop_run_between(self);
        }
    }
    pyrsl_contexts_leave(&self->contexts);
    pyrsl_loop_end_observing(self, start_ns, before);
    return status;
}

/* Run what is ready now; what it makes ready waits for the next turn. */
static int
loop_run_ready(LoopObject *self)
{
    if (self->watchdog != NULL || rsl_prof_is_on()) {
        return loop_run_ready_observed(self);
    }
    size_t count = self->ready.count;
    pyrsl_loop_note_turn(self, count);
    while (count-- > 0 && self->ready.count > 0) {
        pyrsl_ready_prefetch(&self->ready);
        if (loop_run_event(self, pyrsl_ready_take(&self->ready)) < 0
            || loop_run_between(self) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Whether all there is to do are callbacks that the last turn made ready: with
 * no timer, no deadline and nothing from outside a turn is what runs them. The
 * context that the last one ran in may still be entered. */
static inline bool
loop_only_runs(LoopObject *self)
{
#ifdef Py_GIL_DISABLED /* strangers add timers */
    (void)self;
    return false;
#else
    return self->ready.count > 0 && self->ready.io_count == 0
           && self->wheel.count == 0 && self->waits.count == 0
           && self->waits.late == NULL
           && pyrsl_timers_count(&self->timers) == 0;
#endif
}

/* What comes before a turn's callbacks. */
static int
loop_begin_turn(LoopObject *self)
{
    if (loop_only_runs(self) && rsl_runtime_go_on_quietly(self->rt)) {
        rsl_stat_set(self->stats, RSL_STAT_TIMERS, 0);
        return PyErr_CheckSignals();
    }
    pyrsl_contexts_leave(&self->contexts);
    if (pyrsl_loop_poll(self) < 0) {
        return -1;
    }
    /* Their tasks join the ready queue where a reader's Handle would. */
    pyrsl_waits_end(self);
    if (loop_queue_timers(self) < 0) {
        return -1;
    }
    pyrsl_wheel_note(&self->wheel);
    return 0;
}

/* What comes after them. */
static int
loop_end_turn(LoopObject *self, int status)
{
    pyrsl_contexts_leave(&self->contexts);
    /* Not before: what was on its way has been read by now. */
    if (status == 0 && self->wheel.count > 0) {
        status = pyrsl_wheel_turn(self);
    }
    /* Also after an exception: what was written before it must leave. */
    if (!rsl_runtime_is_forked(self->rt)) {
        rsl_runtime_flush_turn(self->rt, &self->sink, self->ready.count > 0);
    }
    if (status == 0 && self->lost_event) {
        self->lost_event = false;
        PyErr_NoMemory();
        status = -1;
    }
    return status;
}

int
pyrsl_loop_turn(LoopObject *self)
{
    if (loop_begin_turn(self) < 0) {
        pyrsl_contexts_leave(&self->contexts);
        return -1;
    }
    int status = loop_run_ready(self);
    if (status == 0 && loop_only_runs(self) && !self->lost_event
        && !rsl_runtime_has_output(self->rt)) {
        return 0;
    }
    return loop_end_turn(self, status);
}

/* --- Methods --- */

static int
loop_enter(LoopObject *self)
{
    if (self->rt == NULL) {
        PyErr_SetString(PyExc_RuntimeError,
                        "the event loop is not initialized: call "
                        "super().__init__()");
        return -1;
    }
    rsl_err err = {0, NULL};
    rsl_status status = rsl_runtime_enter(self->rt, &err);
    if (status != RSL_OK) {
        pyrsl_raise(status, &err);
        return -1;
    }
    /* A class may have got another time() since. */
    pyrsl_loop_find_clock(self);
    return 0;
}

/* The exception in flight survives; messages that came meanwhile are kept. */
static void
loop_leave(LoopObject *self)
{
    if (rsl_runtime_is_forked(self->rt)) {
        return;
    }
    PyObject *exc = PyErr_GetRaisedException();
    rsl_runtime_leave(self->rt);
    rsl_runtime_drain(self->rt, &self->sink);
    pyrsl_contexts_clear(&self->contexts);
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
    }
}

int
pyrsl_loop_run_turns(LoopObject *self)
{
    if (loop_enter(self) < 0) {
        return -1;
    }
    int status;
    do {
        status = pyrsl_loop_turn(self);
    } while (status == 0 && !atomic_load(&self->stopping));
    loop_leave(self);
    return status;
}

PyDoc_STRVAR(loop_run_once_doc,
"_run_once($self, /)\n--\n\n"
"One turn: wait for I/O or a timer, then run what is ready.");

static PyObject *
loop_run_once(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    if (loop_enter(self) < 0) {
        return NULL;
    }
    int status = pyrsl_loop_turn(self);
    loop_leave(self);
    if (status < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef pyrsl_loop_run_methods[] = {
    {"_run_once", (PyCFunction)(void (*)(void))loop_run_once, METH_NOARGS,
     loop_run_once_doc},
    {NULL, NULL, 0, NULL},
};
