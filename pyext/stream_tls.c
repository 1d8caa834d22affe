/* SPDX-License-Identifier: Apache-2.0 */
/* stream_tls.c - the handshake of a transport with a TLS engine. */
#include "stream_tls.h"

#include <rsl/handshake.h>

#include "errors.h"
#include "future.h"
#include "limits.h"
#include "tls_engine.h"

static TLSEngineObject *
tls_engine(const StreamTransport *self)
{
    return (TLSEngineObject *)self->tls->engine;
}

/* --- The struct --- */

int
pyrsl_stream_tls_attach(StreamTransport *self,
                        const stream_tls_request *request)
{
    const TLSEngineObject *engine = (TLSEngineObject *)request->engine;
    stream_tls *tls = PyMem_Calloc(1, sizeof(*tls));
    if (tls == NULL || rsl_conn_set_tls(self->conn, engine->tls) != RSL_OK) {
        PyMem_Free(tls);
        PyErr_NoMemory();
        return -1;
    }
    tls->server = engine->server_side;
    tls->engine = Py_NewRef(request->engine);
    tls->waiter =
        request->waiter == Py_None ? NULL : Py_XNewRef(request->waiter);
    tls->handshake_timeout = Py_NewRef(request->handshake_timeout);
    tls->shutdown_timeout = Py_NewRef(request->shutdown_timeout);
    pyrsl_flow_set_high(&tls->read_marks, PYRSL_FLOW_HIGH_TLS_READ);
    tls->phase = STREAM_TLS_HANDSHAKE;
    tls->calls_made = request->calls_made;
    tls->made = !request->calls_made;
    tls->pending = request->accepted;
    tls->timer.entry.due = pyrsl_stream_tls_timer_due;
    tls->timer.stream = self;
    self->tls = tls;
    pyrsl_stream_tls_count_start(self);
    return 0;
}

int
pyrsl_stream_tls_traverse(const stream_tls *tls, visitproc visit, void *arg)
{
    if (tls != NULL) {
        Py_VISIT(tls->engine);
        Py_VISIT(tls->waiter);
        Py_VISIT(tls->handshake_timeout);
        Py_VISIT(tls->shutdown_timeout);
        Py_VISIT(tls->successor);
    }
    return 0;
}

void
pyrsl_stream_tls_free(stream_tls *tls)
{
    if (tls != NULL) {
        Py_XDECREF(tls->waiter);
        Py_XDECREF(tls->handshake_timeout);
        Py_XDECREF(tls->shutdown_timeout);
        Py_XDECREF(tls->successor);
        Py_XDECREF(tls->engine);
        PyMem_Free(tls);
    }
}

void
pyrsl_stream_tls_raise(const StreamTransport *self)
{
    PyObject *exc = pyrsl_tls_exception(self->st, tls_engine(self)->tls);
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
    }
}

bool
pyrsl_stream_tls_has_failed(const StreamTransport *self)
{
    return self->tls != NULL && self->conn != NULL
           && rsl_conn_tls_has_failed(self->conn);
}

int
pyrsl_stream_tls_wake(StreamTransport *self, PyObject *exc)
{
    PyObject *waiter = self->tls->waiter;
    if (waiter == NULL) {
        return 0;
    }
    self->tls->waiter = NULL;
    int status = pyrsl_future_wake(self->st, waiter, self->st->str_done, exc);
    Py_DECREF(waiter);
    return status;
}

int
pyrsl_stream_tls_fail(StreamTransport *self, const char *message)
{
    if (pyrsl_exception_leaves_loop()) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyErr_SetRaisedException(Py_NewRef(exc));
    int status = pyrsl_stream_fatal(self, message);
    if (self->tls->waiter != NULL) {
        PyObject *raised = status < 0 ? PyErr_GetRaisedException() : NULL;
        if (pyrsl_stream_tls_wake(self, exc) < 0) {
            status = -1;
        }
        if (raised != NULL) {
            PyErr_Clear();
            PyErr_SetRaisedException(raised);
        }
    }
    Py_DECREF(exc);
    return status;
}

/* --- Handshake --- */

static int
tls_call_made(StreamTransport *self)
{
    self->tls->made = true;
    if (!self->tls->calls_made) {
        return 0;
    }
    PyObject *context = pyrsl_stream_enter_context(self);
    if (context == NULL) {
        return -1;
    }
    PyObject *protocol = Py_NewRef(self->protocol);
    PyObject *result = PyObject_CallMethodOneArg(
        protocol, self->st->str_connection_made, (PyObject *)self);
    Py_DECREF(protocol);
    int status = pyrsl_context_leave(context, result == NULL ? -1 : 0);
    Py_DECREF(context);
    Py_XDECREF(result);
    if (status < 0) {
        return pyrsl_stream_tls_fail(
            self, "Fatal error: protocol.connection_made() call "
                  "failed.");
    }
    return 0;
}

static int
tls_opened(StreamTransport *self)
{
    self->tls->phase = STREAM_TLS_OPEN;
    int settled = pyrsl_stream_tls_settle(self); /* it asks the engine */
    rsl_conn_share_tls(self->conn, !tls_engine(self)->needs_gil);
    pyrsl_stream_tls_stop_timer(self);
    if (settled < 0 || tls_call_made(self) < 0
        || pyrsl_stream_tls_wake(self, NULL) < 0) {
        return -1;
    }
    /* The first request may have come with the end of the handshake. */
    if (self->reading && self->tls->phase == STREAM_TLS_OPEN
        && rsl_conn_has_plain(self->conn)) {
        return pyrsl_stream_on_readable(self);
    }
    return 0;
}

static int
tls_handshake_failed(StreamTransport *self)
{
    /* The peer shall know why. */
    PyObject *exc = PyErr_GetRaisedException();
    int status = pyrsl_stream_catch_up(self);
    if (status < 0) {
        Py_DECREF(exc);
        return -1;
    }
    self->tls->phase = STREAM_TLS_ENDED;
    PyErr_SetRaisedException(exc);
    return pyrsl_stream_tls_fail(self, "SSL handshake failed");
}

/* What a step has come to. */
static int
tls_stepped(StreamTransport *self, rsl_status status)
{
    static const rsl_err no_err = {0, NULL};
    switch (status) {
    case RSL_OK:
    case RSL_AGAIN:
        if (pyrsl_stream_catch_up(self) < 0) {
            return -1;
        }
        return status != RSL_OK || self->conn_lost != 0 ? 0 : tls_opened(self);
    case RSL_EOF:
        PyErr_SetNone(PyExc_ConnectionResetError);
        break;
    case RSL_TLS:
        pyrsl_stream_tls_raise(self);
        break;
    case RSL_BUSY:
    case RSL_NOMEM:
    case RSL_CLOSED:
    case RSL_UNSUPPORTED:
    case RSL_FORKED:
    case RSL_OS:
        pyrsl_raise(status, &no_err);
        break;
    }
    return tls_handshake_failed(self);
}

/* --- Steps on other threads --- */

static int
tls_read_failed(StreamTransport *self, int code)
{
    self->end_errno = code;
    PyObject *exc = pyrsl_os_error(code);
    if (exc == NULL) {
        return -1;
    }
    PyErr_SetRaisedException(exc);
    return pyrsl_stream_tls_fail(self, "Fatal read error on socket transport");
}

static int
tls_came_back(StreamTransport *self, rsl_tls_status answer)
{
    rsl_status came = rsl_conn_handshake_end(self->conn, answer);
    self->tls->heard_ns = self->loop->wheel.now_ns; /* it waited for us */
    if (self->tls->away_errno != 0) {
        return tls_read_failed(self, self->tls->away_errno);
    }
    if (!self->reading && pyrsl_stream_read_begin(self) < 0) {
        return -1;
    }
    int status = tls_stepped(self, came);
    /* A peer in a hurry has gone on. */
    if (status == 0 && came == RSL_AGAIN && self->conn_lost == 0
        && rsl_conn_has_plain(self->conn)) {
        status = pyrsl_stream_read_again(self);
    }
    return status;
}

/* The pool gives the engine back, and the reference that it has had. */
static int
tls_done(void *object, rsl_tls_status answer)
{
    StreamTransport *self = object;
    LoopObject *loop = self->loop;
    int status = 0;
    self->tls->away = false;
    if (self->conn != NULL && self->conn_lost == 0) {
        status =
            pyrsl_stream_event_end(self, loop, tls_came_back(self, answer));
    }
    Py_DECREF(self);
    return status;
}

/* The loop closes. In a forked child a thread that is not there was at work. */
static void
tls_abandon(void *object)
{
    StreamTransport *self = object;
    if (self->loop == NULL || !rsl_runtime_is_forked(self->loop->rt)) {
        self->tls->away = false;
        Py_DECREF(self);
    }
}

/* True when another thread makes the step. */
static bool
tls_post_step(StreamTransport *self)
{
    rsl_handshake_owner owner = {self, tls_done, tls_abandon};
    rsl_err err = {0, NULL};
    rsl_conn_handshake_away(self->conn);
    self->tls->away = true;
    Py_INCREF(self);
    if (rsl_handshake_post(self->loop->rt, tls_engine(self)->tls, owner, &err)
        == RSL_OK) {
        return true;
    }
    self->tls->away = false;
    Py_DECREF(self);
    return false;
}

static rsl_status
tls_step_here(StreamTransport *self)
{
    rsl_status status;
    if (tls_engine(self)->needs_gil) {
        return rsl_conn_handshake(self->conn);
    }
    Py_BEGIN_ALLOW_THREADS
    status = rsl_conn_handshake(self->conn);
    Py_END_ALLOW_THREADS
    return status;
}

static int
tls_step(StreamTransport *self)
{
    stream_tls *tls = self->tls;
    rsl_err err = {0, NULL};
    size_t input = 0;
    rsl_status status = rsl_conn_handshake_feed(self->conn, &input, &err);
    if (status == RSL_NOMEM || status == RSL_OS) {
        pyrsl_raise(status, &err);
        return tls_handshake_failed(self);
    }
    if (input > 0) {
        tls->heard_ns = self->loop->wheel.now_ns;
    }
    if (tls->server && input == 0 && status != RSL_OK) {
        return 0; /* nothing is allocated for who says nothing */
    }
    /* Short ones too: a server's last makes its tickets. */
    if (!tls_engine(self)->needs_gil && input > 0 && tls_post_step(self)) {
        return 0;
    }
    status = tls_step_here(self);
    if (pyrsl_stream_read_begin(self) < 0) {
        return tls_handshake_failed(self);
    }
    return tls_stepped(self, status);
}

int
pyrsl_stream_tls_begin(StreamTransport *self)
{
    if (self->state != STREAM_OPEN) {
        return 0;
    }
    if (pyrsl_stream_tls_start_timer(self, self->tls->handshake_timeout) < 0
        || pyrsl_stream_read_begin(self) < 0) {
        return pyrsl_stream_tls_fail(self, STREAM_TLS_FAILED);
    }
    return tls_step(self);
}

/* --- Events --- */

/* Until the step is back. Few peers say more before they are answered, so that
 * reading is stopped when one does. */
static void
tls_read_no_more(StreamTransport *self, int code)
{
    if (code != 0) {
        self->tls->away_errno = code;
    }
    if (self->reading) {
        self->reading = false;
        rsl_conn_read_stop(self->conn);
        pyrsl_stream_update_held(self);
    }
}

int
pyrsl_stream_tls_event(StreamTransport *self, rsl_event event)
{
    rsl_event_kind kind = rsl_tag_kind(event.tag);
    int code = kind == RSL_EV_READ_ERROR ? (int)event.u.arg : 0;
    if (kind == RSL_EV_DATA) {
        rsl_conn_received(self->conn);
        rsl_conn_feed(self->conn, event.u.ptr);
    } else if (kind == RSL_EV_EOF) {
        rsl_conn_feed_eof(self->conn);
    }
    if (self->conn_lost != 0) {
        return 0;
    }
    if (self->tls->away) {
        tls_read_no_more(self, code);
        return 0;
    }
    if (code != 0) {
        return tls_read_failed(self, code);
    }
    return self->tls->phase == STREAM_TLS_HANDSHAKE
               ? tls_step(self)
               : pyrsl_stream_tls_discard(self);
}

int
pyrsl_stream_tls_extra(StreamTransport *self, PyObject *extra, PyObject *name)
{
    if (self->tls->extra_known || self->tls->engine == NULL) {
        return 0;
    }
    if (PyUnicode_Check(name)
        && PyUnicode_CompareWithASCIIString(name, "sslcontext") == 0) {
        return PyDict_SetItem(extra, name, tls_engine(self)->context);
    }
    if (self->tls->phase == STREAM_TLS_HANDSHAKE) {
        return 0; /* nothing is agreed on; the pool may be at it */
    }
    /* What follows asks the library, now and whenever the user likes. */
    if (self->conn != NULL) {
        rsl_conn_share_tls(self->conn, false);
    }
    self->tls->given_away = true;
    PyObject *module = PyImport_ImportModule("rsloop_c._tls");
    PyObject *names =
        module == NULL
            ? NULL
            : PyObject_CallMethod(module, "extra_of", "O", self->tls->engine);
    Py_XDECREF(module);
    if (names == NULL) {
        return -1;
    }
    self->tls->extra_known = true;
    int status = PyDict_Update(extra, names);
    Py_DECREF(names);
    return status;
}
