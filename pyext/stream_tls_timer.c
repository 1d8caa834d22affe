/* SPDX-License-Identifier: Apache-2.0 */
/* stream_tls_timer.c - time-outs of a handshake and of the end, and handshakes
 * that give way.
 *
 * Who connects to a TLS server and says nothing has until the handshake's
 * time-out, a minute by default. With as many of these as the loop may have
 * pending nobody else would be served until then, and they come again. So who
 * has been silent for limits.tls_silence_timeout makes room as soon as others
 * wait for it; as long as nobody does, it may stay. */
#include "acceptor.h"
#include "limits.h"
#include "stream_tls.h"

/* How often a silent peer is looked at that nobody has had to make room for. */
#define TLS_LOOK_NS (INT64_C(1000000000) / 4)

/* How long its peer may be silent, when there is no room. */
static int64_t
tls_silence_ns(const StreamTransport *self)
{
    return pyrsl_wheel_ns(
        pyrsl_limits_of_loop(self->loop)->values.tls_silence_timeout);
}

static int64_t
tls_next_look(const StreamTransport *self, int64_t now_ns)
{
    const stream_tls *tls = self->tls;
    if (!tls->pending) {
        return tls->timer.when_ns;
    }
    int64_t look_ns = tls->heard_ns + tls_silence_ns(self);
    if (look_ns <= now_ns) {
        look_ns = now_ns + TLS_LOOK_NS;
    }
    return look_ns < tls->timer.when_ns ? look_ns : tls->timer.when_ns;
}

static bool
tls_gives_way(const StreamTransport *self, int64_t now_ns)
{
    const stream_tls *tls = self->tls;
    return tls->pending && !tls->away
           && now_ns - tls->heard_ns >= tls_silence_ns(self)
           && pyrsl_limits_of_loop(self->loop)->handshakes_full
           && pyrsl_acceptors_are_called(self->loop);
}

int
pyrsl_stream_tls_start_timer(StreamTransport *self, PyObject *seconds)
{
    stream_tls_timer *timer = &self->tls->timer;
    double delay = PyFloat_AsDouble(seconds);
    if (delay == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    self->tls->heard_ns = rsl_clock_now_ns();
    timer->when_ns = self->tls->heard_ns + pyrsl_wheel_ns(delay);
    return pyrsl_wheel_add(&self->loop->wheel, &timer->entry,
                           tls_next_look(self, self->tls->heard_ns));
}

void
pyrsl_stream_tls_stop_timer(StreamTransport *self)
{
    if (self->tls != NULL && self->loop != NULL) {
        pyrsl_wheel_remove(&self->loop->wheel, &self->tls->timer.entry);
    }
}

static int
tls_timed_out(StreamTransport *self)
{
    if (self->tls->phase == STREAM_TLS_HANDSHAKE) {
        PyErr_Format(PyExc_ConnectionAbortedError,
                     "SSL handshake is taking longer than %S seconds: aborting "
                     "the connection",
                     self->tls->handshake_timeout);
        return pyrsl_stream_tls_fail(self, "Fatal error on transport");
    }
    PyObject *timeout = PyObject_CallFunction(PyExc_TimeoutError, "s",
                                              "SSL shutdown timed out");
    if (timeout == NULL) {
        return -1;
    }
    int status = pyrsl_stream_force_close(self, timeout);
    Py_DECREF(timeout);
    return status;
}

static int
tls_silenced(StreamTransport *self)
{
    PyErr_SetString(PyExc_ConnectionAbortedError,
                    "SSL handshake has been silent while others wait for "
                    "theirs: aborting the connection");
    return pyrsl_stream_tls_fail(self, "Fatal error on transport");
}

int
pyrsl_stream_tls_timer_due(LoopObject *loop, pyrsl_wheel_entry *entry,
                           int64_t *again_ns)
{
    const stream_tls_timer *timer = (stream_tls_timer *)(void *)entry;
    StreamTransport *self = timer->stream;
    if (self->conn_lost != 0) {
        return 0; /* its end is on its way */
    }
    int64_t now_ns = loop->wheel.now_ns;
    bool due = timer->when_ns <= now_ns;
    if (!due && !tls_gives_way(self, now_ns)) {
        *again_ns = tls_next_look(self, now_ns);
        return 0;
    }
    Py_INCREF(self);
    int status = due ? tls_timed_out(self) : tls_silenced(self);
    status = pyrsl_stream_event_end(self, loop, status);
    Py_DECREF(self);
    return status;
}
