/* SPDX-License-Identifier: Apache-2.0 */
/* stream_tls_close.c - how a transport with a TLS engine ends: what is queued
 * leaves, then a close_notify, then the peer's is waited for. */
#include "errors.h"
#include "stream_tls.h"
#include "tls_engine.h"

int
pyrsl_stream_tls_tell_eof(StreamTransport *self)
{
    if (self->tls->eof_told || !self->tls->made || self->protocol == NULL) {
        return 0;
    }
    self->tls->eof_told = true;
    PyObject *protocol = Py_NewRef(self->protocol);
    PyObject *result =
        PyObject_CallMethodNoArgs(protocol, self->st->str_eof_received);
    Py_DECREF(protocol);
    int keep_open = result == NULL ? -1 : PyObject_IsTrue(result);
    Py_XDECREF(result);
    if (keep_open > 0) {
        PyObject *text = PyUnicode_FromString(
            "returning true from eof_received() has no effect when using ssl");
        result = text == NULL
                     ? NULL
                     : PyObject_CallMethodOneArg(self->st->logger,
                                                 self->st->str_warning, text);
        Py_XDECREF(text);
        keep_open = result == NULL ? -1 : 0;
        Py_XDECREF(result);
    }
    return keep_open < 0
               ? pyrsl_stream_fatal(self, "Error calling eof_received()")
               : 0;
}

/* The same from anywhere: in a copy, because the transport's context may be
 * entered already. */
static int
tls_tell_eof_later(StreamTransport *self)
{
    PyObject *context = PyContext_Copy(self->context);
    if (context == NULL || PyContext_Enter(context) < 0) {
        Py_XDECREF(context);
        return -1;
    }
    int status = pyrsl_context_leave(context, pyrsl_stream_tls_tell_eof(self));
    Py_DECREF(context);
    return status;
}

/* Neither side has anything to say any more. */
static int
tls_finish(StreamTransport *self)
{
    if (self->conn_lost != 0 || pyrsl_stream_backlog(self) > 0) {
        return 0; /* the rest is still to be sent */
    }
    if (tls_tell_eof_later(self) < 0) {
        return -1;
    }
    return self->conn_lost != 0 ? 0 : pyrsl_stream_force_close(self, NULL);
}

int
pyrsl_stream_tls_drained(StreamTransport *self)
{
    return self->tls->peer_ended ? tls_finish(self) : 0;
}

static int
tls_peer_ended(StreamTransport *self)
{
    self->tls->peer_ended = true;
    if (self->reading) {
        self->reading = false;
        rsl_conn_read_stop(self->conn);
    }
    if (pyrsl_stream_catch_up(self) < 0) {
        return -1;
    }
    pyrsl_stream_update_held(self);
    return tls_finish(self);
}

/* What comes after close() is not delivered: only its end counts. */
int
pyrsl_stream_tls_discard(StreamTransport *self)
{
    uint8_t *scratch = pyrsl_transport_scratch(self->loop);
    rsl_err err = {0, NULL};
    rsl_status status = RSL_OK;
    if (scratch == NULL) {
        PyErr_NoMemory();
        return pyrsl_stream_fatal(self, STREAM_TLS_FAILED);
    }
    for (int reads = 0; status == RSL_OK && reads < 4; reads++) {
        size_t size = 0;
        status =
            rsl_conn_recv(self->conn, scratch, PYRSL_READ_MAX, &size, &err);
    }
    switch (status) {
    case RSL_OK: /* others want to be served too */
        return pyrsl_stream_read_again(self);
    case RSL_AGAIN:
    case RSL_BUSY:
        return 0;
    case RSL_EOF:
        return tls_peer_ended(self);
    case RSL_TLS:
        pyrsl_stream_tls_raise(self);
        break;
    case RSL_OS:
        self->end_errno = err.code;
        pyrsl_raise(status, &err);
        break;
    case RSL_NOMEM:
    case RSL_CLOSED:
    case RSL_UNSUPPORTED:
    case RSL_FORKED:
        pyrsl_raise(status, &err);
        break;
    }
    return pyrsl_stream_fatal(self, "Error occurred during shutdown");
}

int
pyrsl_stream_tls_close(StreamTransport *self)
{
    stream_tls *tls = self->tls;
    if (tls->phase != STREAM_TLS_OPEN) {
        return pyrsl_stream_force_close(self, NULL);
    }
    bool ended = self->end != STREAM_END_NONE;
    tls->phase = STREAM_TLS_CLOSING;
    tls->eof_told = tls->eof_told || self->end == STREAM_END_TOLD;
    self->state = STREAM_CLOSING;
    self->paused = false;
    Py_INCREF(self);
    rsl_conn_close_notify(self->conn);
    int status = pyrsl_stream_catch_up(self);
    if (status == 0 && self->conn_lost == 0) {
        status = pyrsl_stream_tls_start_timer(self, tls->shutdown_timeout);
    }
    if (status < 0 || self->conn_lost != 0) {
        Py_DECREF(self);
        return status;
    }
    if (ended) {
        status = tls_peer_ended(self);
    } else if (!self->reading && rsl_conn_read_start(self->conn) == RSL_OK) {
        self->reading = true;
        pyrsl_stream_update_held(self);
        status = pyrsl_stream_read_again(self);
    } else if (rsl_conn_has_plain(self->conn)) {
        status = pyrsl_stream_read_again(self);
    }
    Py_DECREF(self);
    return status;
}

/* --- The end --- */

int
pyrsl_stream_tls_lose(StreamTransport *self, PyObject *exc, bool *told)
{
    stream_tls *tls = self->tls;
    *told = tls->made && tls->phase != STREAM_TLS_HANDSHAKE;
    tls->phase = STREAM_TLS_ENDED;
    pyrsl_stream_tls_stop_timer(self);
    return pyrsl_stream_tls_wake(self, exc == Py_None ? NULL : exc);
}
