/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_loop.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void
loop_grow(fake_loop *loop)
{
    rsl_event *ready = malloc(2 * loop->cap * sizeof *ready);

    assert(ready != NULL);
    for (unsigned i = 0; i < loop->count; i++) {
        ready[i] = loop->ready[(loop->head + i) % loop->cap];
    }
    if (loop->ready != loop->few) {
        free(loop->ready);
    }
    loop->ready = ready;
    loop->cap *= 2;
    loop->head = 0;
}

static void
loop_emit(rsl_sink *sink, rsl_event event)
{
    fake_loop *loop =
        (fake_loop *)(void *)((char *)sink - offsetof(fake_loop, sink));

    if (loop->count == loop->cap) {
        loop_grow(loop);
    }
    loop->ready[(loop->head + loop->count) % loop->cap] = event;
    loop->count++;
}

void
fake_loop_init(fake_loop *loop, rsl_runtime *rt)
{
    memset(loop, 0, sizeof *loop);
    loop->rt = rt;
    loop->sink.emit = loop_emit;
    loop->ready = loop->few;
    loop->cap = FAKE_READY_FEW;
}

void
fake_loop_fini(fake_loop *loop)
{
    fake_loop_run(loop, UINT32_MAX);
    if (loop->ready != loop->few) {
        free(loop->ready);
    }
}

void
fake_reader_fini(fake_reader *reader)
{
    free(reader->bytes);
    *reader = (fake_reader){0};
}

static void
reader_take(fake_reader *reader, const uint8_t *data, size_t len)
{
    reader->bytes = realloc(reader->bytes, reader->len + len);
    assert(reader->bytes != NULL);
    memcpy(reader->bytes + reader->len, data, len);
    reader->len += len;
}

static void
reader_take_chunks(fake_reader *reader, const rsl_chunk *chunk)
{
    for (; chunk != NULL; chunk = chunk->next) {
        reader_take(reader, chunk->data, chunk->len);
    }
}

static void
reader_receive(fake_reader *reader, rsl_conn *conn)
{
    uint8_t bytes[FAKE_RECV_BYTES];
    size_t len = 0;
    rsl_err err = {0};
    rsl_status status;

    if (reader->paused) {
        return;
    }
    status = rsl_conn_recv(conn, bytes, sizeof bytes, &len, &err);
    if (status == RSL_OK) {
        assert(len > 0);
        reader_take(reader, bytes, len);
    } else if (status == RSL_EOF) {
        reader->eofs++;
    } else if (status == RSL_OS) {
        reader->errors++;
        reader->error = err.code;
    } else {
        assert(status == RSL_AGAIN || status == RSL_BUSY);
    }
}

static void
reader_data(fake_reader *reader, rsl_runtime *rt, rsl_conn *conn,
            rsl_chunk *chunk)
{
    rsl_conn_received(conn);
    if (reader->paused) {
        rsl_conn_hold(conn, chunk);
        return;
    }
    reader_take_chunks(reader, chunk);
    rsl_chunk_release(rt, chunk);
}

static void
reader_event(fake_reader *reader, rsl_runtime *rt, rsl_conn *conn,
             rsl_event event)
{
    rsl_err err = {0};

    switch ((int)rsl_tag_kind(event.tag)) {
    case RSL_EV_READABLE:
        reader_receive(reader, conn);
        break;
    case RSL_EV_DATA:
        reader_data(reader, rt, conn, event.u.ptr);
        break;
    case RSL_EV_EOF:
        if (reader->paused) {
            reader->eof_waits = true;
        } else {
            reader->eofs++;
        }
        break;
    case RSL_EV_READ_ERROR:
        reader->errors++;
        reader->error = (int)event.u.arg;
        break;
    case RSL_EV_WRITABLE:
        (void)rsl_conn_flush(conn, &err); /* what is left arms again */
        break;
    case RSL_EV_SENT:
        reader->sents++;
        reader->sent_code = (int)event.u.arg;
        break;
    default:
        break;
    }
}

static void
loop_event(fake_loop *loop, rsl_event event)
{
    rsl_conn *conn;

    if (rsl_tag_kind(event.tag) == RSL_EV_CALL) {
        loop->calls++;
        if (loop->call != NULL) {
            loop->call(event.u.ptr);
        }
        return;
    }
    conn = rsl_conn_find(loop->rt, rsl_tag_id(event.tag));
    if (conn != NULL) {
        reader_event(rsl_conn_owner(conn), loop->rt, conn, event);
    } else if (rsl_tag_kind(event.tag) == RSL_EV_DATA) {
        rsl_chunk_release(loop->rt, event.u.ptr);
    }
}

void
fake_loop_run(fake_loop *loop, unsigned most)
{
    while (loop->count > 0 && most > 0) {
        rsl_event event = loop->ready[loop->head];

        loop->head = (loop->head + 1) % loop->cap;
        loop->count--;
        most--;
        loop_event(loop, event);
        rsl_runtime_note_busy(loop->rt, loop->count);
    }
}

void
fake_loop_poll(fake_loop *loop, int64_t timeout_ns)
{
    rsl_err err = {0};
    rsl_status status;

    rsl_runtime_drain(loop->rt, &loop->sink);
    if (rsl_runtime_acquire(loop->rt, &loop->sink) == RSL_OK) {
        status =
            rsl_runtime_wait(loop->rt, loop->count > 0 ? 0 : timeout_ns, &err);
        rsl_runtime_collect(loop->rt, &loop->sink);
        rsl_runtime_drain(loop->rt, &loop->sink);
        rsl_runtime_release(loop->rt, loop->count);
    } else {
        status =
            rsl_runtime_sleep(loop->rt, loop->count > 0 ? 0 : timeout_ns, &err);
        rsl_runtime_drain(loop->rt, &loop->sink);
    }
    assert(status == RSL_OK);
    (void)status; /* only assert() reads it */
}

void
fake_loop_turn(fake_loop *loop, int64_t timeout_ns)
{
    fake_loop_poll(loop, timeout_ns);
    fake_loop_run(loop, loop->count);
    rsl_runtime_flush(loop->rt, &loop->sink);
}

void
fake_pause(rsl_conn *conn)
{
    ((fake_reader *)rsl_conn_owner(conn))->paused = true;
    rsl_conn_read_stop(conn);
}

void
fake_resume(rsl_runtime *rt, rsl_conn *conn)
{
    fake_reader *reader = rsl_conn_owner(conn);
    rsl_chunk *held = rsl_conn_take_held(conn);

    reader->paused = false;
    reader_take_chunks(reader, held);
    rsl_chunk_release(rt, held);
    reader->eofs += reader->eof_waits;
    reader->eof_waits = false;
    (void)rsl_conn_read_start(conn); /* RSL_OK, or the fake's own failure */
}
