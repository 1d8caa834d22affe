/* SPDX-License-Identifier: Apache-2.0 */
/* fake_stream.c - the fake backend's streams: bytes in, bytes out, an end. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "fake_impl.h"

/* xorshift64: the same sequence for the same seed on every machine. */
size_t
fake_random(fake_backend *fake, size_t below)
{
    fake->random ^= fake->random << 13;
    fake->random ^= fake->random >> 7;
    fake->random ^= fake->random << 17;
    return (size_t)(fake->random % below);
}

size_t
fake_shorten(fake_backend *fake, size_t len)
{
    if (fake->most == 0 || len == 0) {
        return len;
    }
    if (len > fake->most) {
        len = fake->most;
    }
    return 1 + fake_random(fake, len);
}

/* Counts the call; false when it is the one that has to fail. */
bool
fake_may(fake_backend *fake, fake_op op, rsl_status *status, rsl_err *err)
{
    fake->calls[op]++;
    if (fake->calls[op] != fake->fail_at[op]) {
        return true;
    }
    fake->fail_at[op] = 0;
    if (fake->fail_code[op] == 0) {
        *status = RSL_NOMEM;
        return false;
    }
    *status = RSL_OS;
    if (err != NULL) {
        *err = (rsl_err){.code = fake->fail_code[op], .call = "fake"};
    }
    return false;
}

fake_stream *
fake_stream_of(fake_backend *fake, const rsl_conn *conn)
{
    for (int i = 0; i < FAKE_STREAMS_MAX; i++) {
        if (fake->streams[i].conn == conn) {
            return &fake->streams[i];
        }
    }
    return NULL;
}

bool
fake_stream_is_readable(const fake_stream *stream)
{
    return stream->conn != NULL && stream->reading
           && (stream->in_pos < stream->in_len || stream->eof
               || stream->reset != 0);
}

/* Moves bytes out of the stream: a receive on it. */
rsl_status
fake_stream_recv(fake_backend *fake, fake_stream *stream, rsl_err *err,
                 rsl_chunk *into, size_t cap)
{
    rsl_status status;
    size_t len = stream->in_len - stream->in_pos;

    into->len = 0;
    if (!fake_may(fake, FAKE_RECV, &status, err)) {
        return status;
    }
    if (stream->reset != 0) {
        *err = (rsl_err){.code = stream->reset, .call = "recv"};
        stream->reset = 0;
        stream->eof = true;
        stream->in_pos = stream->in_len = 0;
        return RSL_OS;
    }
    if (len == 0) {
        return stream->eof ? RSL_EOF : RSL_AGAIN;
    }
    len = fake_shorten(fake, len < cap ? len : cap);
    memcpy((uint8_t *)(uintptr_t)into->data, stream->in + stream->in_pos, len);
    stream->in_pos += len;
    into->len = len;
    return RSL_OK;
}

/* Reads the stream as a completion would; false at its end, or if empty. */
bool
fake_stream_complete(fake_backend *fake, fake_stream *stream, rsl_sink *sink,
                     size_t *taken)
{
    rsl_conn *conn = stream->conn;
    rsl_chunk *chunk = rsl_chunk_new(4096);
    rsl_event event = {.tag = rsl_tag(RSL_EV_DATA, conn->id)};
    unsigned char reading = RSL_CONN_READING;
    rsl_err err = {0};
    rsl_status status;

    if (chunk == NULL) {
        return false;
    }
    status = fake_stream_recv(fake, stream, &err, chunk, 4096);
    if (status == RSL_OK) {
        *taken += chunk->len;
        event.u.ptr = chunk;
        sink->emit(sink, event);
        return true;
    }
    rsl_chunk_free(chunk);
    if (status == RSL_AGAIN
        || !atomic_compare_exchange_strong(&conn->state, &reading,
                                           RSL_CONN_READ_DONE)) {
        return false;
    }
    event.tag =
        rsl_tag(status == RSL_EOF ? RSL_EV_EOF : RSL_EV_READ_ERROR, conn->id);
    event.u.arg = err.code;
    sink->emit(sink, event);
    return false;
}

void
fake_stream_collect(fake_backend *fake, fake_stream *stream, rsl_sink *sink)
{
    size_t taken = 0;

    if (stream->conn == NULL) {
        return;
    }
    if (stream->write_armed && stream->window > 0) {
        stream->write_armed = stream->conn->write_armed = false;
        sink->emit(sink, (rsl_event){.tag = rsl_tag(RSL_EV_WRITABLE,
                                                    stream->conn->id)});
    }
    if (!fake_stream_is_readable(stream)
        || atomic_load(&stream->conn->state) != RSL_CONN_READING) {
        return;
    }
    if (!fake->completions) {
        sink->emit(sink, (rsl_event){.tag = rsl_tag(RSL_EV_READABLE,
                                                    stream->conn->id)});
        return;
    }
    for (;;) {
        size_t before = taken;
        bool more = fake_stream_complete(fake, stream, sink, &taken);

        if (taken > before) {
            stream->conn->queued_events++;
        }
        if (!more || (fake->most != 0 && fake_random(fake, 4) == 0)) {
            return;
        }
    }
}
