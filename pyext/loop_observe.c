/* SPDX-License-Identifier: Apache-2.0 */
/* loop_observe.c - the ready queue of a loop that somebody watches: the
 * watchdog, a profile, debug mode. The loop that nobody watches pays one look a
 * turn. */
#include <rsl/prof.h>

#include "handle.h"
#include "loop.h"
#include "profile.h"
#include "stream_impl.h"
#include "watchdog.h"

int
pyrsl_loop_report_duration(LoopObject *self, PyObject *what, int64_t start_ns)
{
    PyObject *duration =
        PyFloat_FromDouble((double)(rsl_clock_now_ns() - start_ns) * 1e-9);
    if (duration == NULL) {
        return -1;
    }
    PyObject *result = PyObject_CallMethodObjArgs(
        (PyObject *)self, self->st->str_on_slow_callback, what, duration, NULL);
    Py_DECREF(duration);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* What an entry of the queue will call, or NULL: a new reference. */
static PyObject *
observed_callback(LoopObject *self, rsl_event event)
{
    if (rsl_tag_kind(event.tag) != RSL_EV_CALL
        || !pyrsl_handle_is_ours(self->st, event.u.ptr)) {
        return NULL;
    }
    PyObject *callback;
    Py_BEGIN_CRITICAL_SECTION(event.u.ptr);
    callback = Py_XNewRef(((HandleObject *)event.u.ptr)->callback);
    Py_END_CRITICAL_SECTION();
    return callback;
}

/* Who gets an I/O event: the type of a stream's protocol, or NULL; borrowed. */
static PyObject *
observed_protocol(LoopObject *self, rsl_event event)
{
    rsl_conn *conn = rsl_event_is_of_conn(event)
                         ? rsl_conn_find(self->rt, rsl_tag_id(event.tag))
                         : NULL;
    StreamTransport *stream = conn == NULL ? NULL : rsl_conn_owner(conn);
    return stream == NULL || stream->protocol == NULL
               ? NULL
               : (PyObject *)Py_TYPE(stream->protocol);
}

static rsl_prof_record
observed_begin(LoopObject *self, rsl_event event, PyObject *callback)
{
    rsl_prof_record record = {.kind = RSL_PROF_IO,
                              .amount = rsl_tag_kind(event.tag)};
    if (callback != NULL) {
        rsl_prof_kind kind;
        record.name = pyrsl_profile_callback(self->profile, callback, &kind);
        record.kind = (uint32_t)kind;
    } else {
        PyObject *protocol = observed_protocol(self, event);
        if (protocol != NULL) {
            record.name = pyrsl_profile_number(self->profile, protocol);
        }
    }
    record.start_ns = rsl_prof_now_ns();
    return record;
}

int
pyrsl_loop_run_observed(LoopObject *self, rsl_event event)
{
    PyObject *callback = observed_callback(self, event);
    rsl_prof_record record;
    bool profiled = self->profile != NULL;
    if (profiled) {
        record = observed_begin(self, event, callback);
    }
    int status = pyrsl_loop_run_event(self, event);
    if (profiled) {
        record.end_ns = rsl_prof_now_ns();
        rsl_prof_add(&record);
    }
    if (callback != NULL) {
        if (self->watchdog != NULL) {
            pyrsl_watchdog_answer(self->watchdog, callback);
        }
        Py_DECREF(callback);
    }
    return status;
}

int64_t
pyrsl_loop_begin_observing(LoopObject *self)
{
    pyrsl_watchdog_beat(self->watchdog, LOOP_RUNS);
    if (rsl_prof_is_on()) {
        Py_XSETREF(self->profile, pyrsl_profile_now(self->st));
    }
    return rsl_prof_begin();
}

void
pyrsl_loop_end_observing(LoopObject *self, int64_t start_ns, size_t count)
{
    rsl_prof_end(RSL_PROF_TURN, start_ns, count);
    Py_CLEAR(self->profile);
}
