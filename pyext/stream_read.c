/* SPDX-License-Identifier: Apache-2.0 */
/* stream_read.c - from socket, or chunk, to the protocol. */
#include "stream_impl.h"

#include <errno.h>
#include <string.h>

#include "errors.h"
#include "fast_streams.h"
#include "stream_tls.h"

#define READ_FAILED "Fatal read error on socket transport"

/* --- Telling the protocol --- */

/* data_received(data); takes `data`. */
static int
read_tell_data(StreamTransport *self, PyObject *data)
{
    if (pyrsl_fast_receives(self)) {
        return pyrsl_fast_deliver(self, data);
    }
    PyObject *protocol = Py_NewRef(self->protocol);
    PyObject *args[3] = {NULL, protocol, data};
    PyObject *result =
        PyObject_VectorcallMethod(self->st->str_data_received, args + 1,
                                  2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(data);
    Py_DECREF(protocol);
    if (result == NULL) {
        return pyrsl_stream_fatal(
            self, "Fatal error: protocol.data_received() call failed.");
    }
    Py_DECREF(result);
    return 0;
}

/* get_buffer(-1): 1 and a filled `out`; 0 when the transport is being closed
 * for what came instead; -1. */
static int
read_get_buffer(StreamTransport *self, Py_buffer *out)
{
    PyObject *hint = PyLong_FromLong(-1);
    PyObject *protocol = Py_NewRef(self->protocol);
    PyObject *buffer = NULL;
    if (hint != NULL) {
        buffer =
            PyObject_CallMethodOneArg(protocol, self->st->str_get_buffer, hint);
        Py_DECREF(hint);
    }
    Py_DECREF(protocol);
    Py_ssize_t length = buffer == NULL ? -1 : PyObject_Size(buffer);
    if (length == 0) {
        PyErr_SetString(PyExc_RuntimeError,
                        "get_buffer() returned an empty buffer");
    }
    if (length <= 0) {
        Py_XDECREF(buffer);
        return pyrsl_stream_fatal(
            self, "Fatal error: protocol.get_buffer() call failed.");
    }
    int status = 1;
    if (PyObject_GetBuffer(buffer, out, PyBUF_WRITABLE) < 0) {
        /* In the words of socket.recv_into(), which asyncio calls. */
        PyErr_Format(PyExc_TypeError,
                     "recv_into() argument 1 must be read-write bytes-like "
                     "object, not %.100s",
                     Py_TYPE(buffer)->tp_name);
        status = pyrsl_stream_fatal(self, READ_FAILED);
    }
    Py_DECREF(buffer);
    return status;
}

static int
read_tell_updated(StreamTransport *self, size_t size)
{
    PyObject *number = PyLong_FromSize_t(size);
    if (number == NULL) {
        return -1;
    }
    PyObject *protocol = Py_NewRef(self->protocol);
    PyObject *result = PyObject_CallMethodOneArg(
        protocol, self->st->str_buffer_updated, number);
    Py_DECREF(protocol);
    Py_DECREF(number);
    if (result == NULL) {
        return pyrsl_stream_fatal(
            self, "Fatal error: protocol.buffer_updated() call failed.");
    }
    Py_DECREF(result);
    return 0;
}

int
pyrsl_stream_read_again(StreamTransport *self)
{
    rsl_event event = {.tag =
                           rsl_tag(RSL_EV_READABLE, rsl_conn_id(self->conn))};
    if (pyrsl_ready_push(&self->loop->ready, event) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* SystemExit or KeyboardInterrupt of eof_received() leaves the loop. In asyncio
 * the socket stays watched, so that the end is met again at the next turn. */
static int
read_repeat_eof(StreamTransport *self)
{
    if (self->state != STREAM_OPEN) {
        return -1;
    }
    self->end = STREAM_END_EOF_PENDING;
    if (self->reading) {
        /* An exception is set either way. */
        (void)pyrsl_stream_read_again(self);
    }
    return -1;
}

/* eof_received(): its answer decides whether the write side stays open. */
static int
read_tell_eof(StreamTransport *self)
{
    self->end = STREAM_END_TOLD;
    if (self->tls != NULL) {
        return pyrsl_stream_tls_tell_eof(self) < 0 ? -1
                                                   : pyrsl_stream_close(self);
    }
    if (pyrsl_transport_log(self->loop, (PyObject *)self, self->st->str_debug,
                            "%r received EOF")
        < 0) {
        return -1;
    }
    PyObject *protocol = Py_NewRef(self->protocol);
    PyObject *result =
        PyObject_CallMethodNoArgs(protocol, self->st->str_eof_received);
    Py_DECREF(protocol);
    int keep_open = result == NULL ? -1 : PyObject_IsTrue(result);
    Py_XDECREF(result);
    if (keep_open < 0 && pyrsl_exception_leaves_loop()) {
        return read_repeat_eof(self);
    }
    if (keep_open < 0) {
        return pyrsl_stream_fatal(
            self, "Fatal error: protocol.eof_received() call failed.");
    }
    return keep_open ? pyrsl_stream_read_end(self) : pyrsl_stream_close(self);
}

static int
read_failed(StreamTransport *self, int code)
{
    self->end = STREAM_END_TOLD;
    PyObject *exc = pyrsl_os_error(code);
    if (exc == NULL) {
        return -1;
    }
    PyErr_SetRaisedException(exc);
    return pyrsl_stream_fatal(self, READ_FAILED);
}

/* --- Chunks that arrived by themselves --- */

/* The whole chain as one bytes object; the chain stays the caller's. */
static PyObject *
chain_to_bytes(const rsl_chunk *chain)
{
    size_t size = 0;
    for (const rsl_chunk *chunk = chain; chunk != NULL; chunk = chunk->next) {
        size += chunk->len;
    }
    PyObject *data = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (data == NULL) {
        return NULL;
    }
    char *end = PyBytes_AS_STRING(data);
    for (const rsl_chunk *chunk = chain; chunk != NULL; chunk = chunk->next) {
        memcpy(end, chunk->data, chunk->len);
        end += chunk->len;
    }
    return data;
}

/* Fill one buffer of the protocol's from `*chain`, freeing what was used. */
static int
chain_to_buffer(StreamTransport *self, LoopObject *loop, rsl_chunk **chain)
{
    Py_buffer view;
    int status = read_get_buffer(self, &view);
    if (status <= 0) {
        return status;
    }
    if (!self->reading || !self->buffered) {
        PyBuffer_Release(&view); /* get_buffer() has changed its mind */
        return 0;
    }
    size_t filled = 0, room = (size_t)view.len;
    while (*chain != NULL && filled < room) {
        rsl_chunk *chunk = *chain;
        size_t part = room - filled;
        part = part < chunk->len ? part : chunk->len;
        memcpy((char *)view.buf + filled, chunk->data, part);
        filled += part;
        chunk->data += part;
        chunk->len -= part;
        if (chunk->len == 0) {
            *chain = chunk->next;
            chunk->next = NULL;
            rsl_chunk_release(loop->rt, chunk);
        }
    }
    PyBuffer_Release(&view);
    return read_tell_updated(self, filled);
}

/* Deliver `chain`, which is taken: what the protocol does not want to have now
 * is kept with the conn. */
static int
read_deliver(StreamTransport *self, LoopObject *loop, rsl_chunk *chain)
{
    int status = 0;
    while (chain != NULL && status == 0 && self->reading) {
        if (self->buffered) {
            status = chain_to_buffer(self, loop, &chain);
            continue;
        }
        PyObject *data = chain_to_bytes(chain);
        if (data == NULL) {
            status = pyrsl_stream_fatal(self, READ_FAILED);
            break;
        }
        rsl_chunk_release(loop->rt, chain);
        chain = NULL;
        status = read_tell_data(self, data);
    }
    if (chain == NULL) {
        return status;
    }
    if (self->state != STREAM_OPEN) {
        rsl_chunk_release(loop->rt, chain);
        return status;
    }
    rsl_conn_hold(self->conn, chain);
    self->has_held = true;
    /* SystemExit leaves the loop with the reader in place. */
    return self->reading && pyrsl_stream_read_again(self) < 0 ? -1 : status;
}

/* --- In the context of the reader --- */

typedef struct read_news {
    PyObject *data;   /* bytes, or NULL */
    rsl_chunk *chain; /* or NULL */
} read_news;

typedef int (*read_body)(StreamTransport *self, LoopObject *loop,
                         read_news *news);

/* asyncio runs a reader in the context that was current when it was added.
 * Takes what `news` has. */
static int
read_in_context(StreamTransport *self, read_body body, read_news *news)
{
    LoopObject *loop = self->loop;
    /* No code of others runs but a task, which brings its own. */
    bool bare = news->data != NULL || news->chain != NULL;
    if (bare && pyrsl_fast_receives(self)) {
        return body(self, loop, news);
    }
    PyObject *context = pyrsl_stream_enter_context(self);
    if (context == NULL) {
        Py_XDECREF(news->data);
        rsl_chunk_release(loop->rt, news->chain);
        return -1;
    }
    int status = pyrsl_context_leave(context, body(self, loop, news));
    Py_DECREF(context);
    return status;
}

static int
body_data(StreamTransport *self, LoopObject *Py_UNUSED(loop), read_news *news)
{
    return read_tell_data(self, news->data);
}

static int
body_chain(StreamTransport *self, LoopObject *loop, read_news *news)
{
    return read_deliver(self, loop, news->chain);
}

/* Order: chunks kept from before, then how the input ended. */
static int
body_pending(StreamTransport *self, LoopObject *loop,
             read_news *Py_UNUSED(news))
{
    if (self->has_held) {
        self->has_held = false;
        int status = read_deliver(self, loop, rsl_conn_take_held(self->conn));
        if (status < 0 || !self->reading) {
            return status;
        }
    }
    if (self->end == STREAM_END_EOF_PENDING) {
        return read_tell_eof(self);
    }
    if (self->end == STREAM_END_ERROR_PENDING) {
        return read_failed(self, self->end_errno);
    }
    return 0;
}

static int
body_buffered(StreamTransport *self, LoopObject *loop, read_news *news)
{
    Py_buffer view;
    int status = read_get_buffer(self, &view);
    if (status <= 0) {
        return status;
    }
    if (!self->reading) {
        PyBuffer_Release(&view);
        return 0;
    }
    size_t size = 0;
    rsl_err err = {0, NULL};
    rsl_status result =
        pyrsl_stream_recv(self, view.buf, (size_t)view.len, &size, &err);
    PyBuffer_Release(&view);
    if (result == RSL_OK) {
        return read_tell_updated(self, size);
    }
    if (result == RSL_AGAIN || result == RSL_BUSY) {
        return 0;
    }
    if (result == RSL_TLS) {
        pyrsl_stream_tls_raise(self);
        return pyrsl_stream_fatal(self, STREAM_TLS_FAILED);
    }
    self->end =
        result == RSL_EOF ? STREAM_END_EOF_PENDING : STREAM_END_ERROR_PENDING;
    self->end_errno = result == RSL_OS ? err.code : ENOMEM;
    return body_pending(self, loop, news);
}

/* --- Events --- */

/* What an engine has decrypted comes before the end, and no event tells of what
 * it still has. */
static bool
read_has_plain(const StreamTransport *self)
{
    return self->tls != NULL && self->conn != NULL
           && self->tls->phase == STREAM_TLS_OPEN
           && rsl_conn_has_plain(self->conn);
}

static int
read_again_if_plain(StreamTransport *self, int status)
{
    return status == 0 && self->reading && read_has_plain(self)
               ? pyrsl_stream_read_again(self)
               : status;
}

static int
read_ended(StreamTransport *self, int code)
{
    pyrsl_flight_note(self, code == 0 ? FLIGHT_EOF : FLIGHT_READ_ERROR,
                      (uint64_t)code);
    if (self->state != STREAM_OPEN || self->end != STREAM_END_NONE) {
        return 0;
    }
    self->end = code == 0 ? STREAM_END_EOF_PENDING : STREAM_END_ERROR_PENDING;
    self->end_errno = code;
    if (!self->reading || self->has_held || read_has_plain(self)) {
        return 0;
    }
    read_news news = {NULL, NULL};
    return read_in_context(self, body_pending, &news);
}

int
pyrsl_stream_on_readable(StreamTransport *self)
{
    read_news news = {NULL, NULL};
    if (!self->reading) {
        return 0;
    }
    if (self->streak > 0) {
        pyrsl_stream_end_bulk(self);
    }
    if ((self->has_held || self->end != STREAM_END_NONE)
        && !read_has_plain(self)) {
        return read_in_context(self, body_pending, &news);
    }
    if (self->buffered) {
        return read_again_if_plain(self,
                                   read_in_context(self, body_buffered, &news));
    }
    rsl_err err = {0, NULL};
    rsl_status status = pyrsl_stream_recv_bytes(self, &news.data, &err);
    switch (status) {
    case RSL_OK:
        if (news.data == NULL) {
            return pyrsl_stream_fatal(self, READ_FAILED);
        }
        return read_again_if_plain(self,
                                   read_in_context(self, body_data, &news));
    case RSL_AGAIN:
    case RSL_BUSY:
        return 0;
    case RSL_EOF:
        return read_ended(self, 0);
    case RSL_OS:
        return read_ended(self, err.code);
    case RSL_TLS:
        pyrsl_stream_tls_raise(self);
        return pyrsl_stream_fatal(self, STREAM_TLS_FAILED);
    case RSL_NOMEM:
    case RSL_CLOSED:
    case RSL_UNSUPPORTED:
    case RSL_FORKED:
        break;
    }
    pyrsl_raise(status, &err);
    return pyrsl_stream_fatal(self, READ_FAILED);
}

int
pyrsl_stream_on_data(StreamTransport *self, LoopObject *loop, rsl_chunk *chunk)
{
    if (self->state != STREAM_OPEN) {
        rsl_chunk_release(loop->rt, chunk);
        return 0;
    }
    if (self->streak > 0) {
        pyrsl_stream_end_bulk(self);
    }
    if (self->tls != NULL) {
        rsl_conn_feed(self->conn, chunk);
        return pyrsl_stream_on_readable(self);
    }
    if (!self->reading || self->has_held) {
        rsl_conn_hold(self->conn, chunk);
        self->has_held = true;
        /* With reading on, the event that resuming has queued is to come. */
        return 0;
    }
    read_news news = {NULL, chunk};
    return read_in_context(self, body_chain, &news);
}

int
pyrsl_stream_on_end(StreamTransport *self, int code)
{
    if (self->tls != NULL && code == 0 && self->conn != NULL) {
        rsl_conn_feed_eof(self->conn); /* behind what is to be decrypted */
        return pyrsl_stream_on_readable(self);
    }
    return read_ended(self, code);
}
