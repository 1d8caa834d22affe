/* SPDX-License-Identifier: Apache-2.0 */
/* conn_read.c - starting, stopping and receiving.
 *
 * Order of a stream: bytes reach the owner as DATA events (of the ring, or of
 * the runtime thread through the mailbox) and by rsl_conn_recv(). recv may only
 * go on where every earlier byte has been handed over: no event of this conn is
 * queued, none is in the mailbox, no chunk is held. Under the token nobody
 * adds to any of the three. */
#include <assert.h>
#include <string.h>

#include "base/buf.h"
#include "core/runtime_impl.h"
#include "net/conn_impl.h"
#include "net/conn_tls.h"

rsl_status
rsl_conn_read_start(rsl_conn *conn)
{
    rsl_runtime *rt = conn->rt;
    rsl_status status;

    if (rsl_runtime_is_forked(rt)) {
        return RSL_FORKED;
    }
    if (!rsl_conn_enter(conn, RSL_CONN_IDLE, RSL_CONN_READING)) {
        return RSL_OK; /* reading already, or its end has been reported */
    }
    status = rt->backend->ops->read_start(rt->backend, conn);
    if (status != RSL_OK) {
        /* Not ours any more if the runtime thread ended it meanwhile. */
        (void)rsl_conn_enter(conn, RSL_CONN_READING, RSL_CONN_IDLE);
    }
    return status;
}

void
rsl_conn_read_stop(rsl_conn *conn)
{
    rsl_runtime *rt = conn->rt;

    if (rsl_conn_enter(conn, RSL_CONN_READING, RSL_CONN_IDLE)
        && !rsl_runtime_is_forked(rt)) {
        rt->backend->ops->read_stop(rt->backend, conn);
    }
    if (conn->tls != NULL) {
        rsl_conn_tls_keep(conn);
    }
}

/* A conn that stays stopped would take the buffer away from all others. */
rsl_chunk *
rsl_conn_own_chunk(rsl_conn *conn, rsl_chunk *chunk)
{
    rsl_chunk *copy;

    if (chunk->origin == RSL_CHUNK_HEAP) {
        return chunk;
    }
    copy = rsl_chunk_new(chunk->len);
    if (copy == NULL) {
        return chunk;
    }
    memcpy(rsl_chunk_room(copy), chunk->data, chunk->len);
    copy->len = chunk->len;
    chunk->next = NULL;
    rsl_chunk_release(conn->rt, chunk);
    return copy;
}

void
rsl_conn_hold(rsl_conn *conn, rsl_chunk *chunk)
{
    while (chunk != NULL) {
        rsl_chunk *next = chunk->next;

        chunk = rsl_conn_own_chunk(conn, chunk);
        if (conn->held_last == NULL) {
            chunk->next = chunk;
        } else {
            chunk->next = conn->held_last->next;
            conn->held_last->next = chunk;
        }
        conn->held_last = chunk;
        chunk = next;
    }
}

rsl_chunk *
rsl_conn_take_held(rsl_conn *conn)
{
    rsl_chunk *last = conn->held_last, *first;

    if (last == NULL) {
        return NULL;
    }
    first = last->next;
    last->next = NULL;
    conn->held_last = NULL;
    return first;
}

void
rsl_chunk_release(rsl_runtime *rt, rsl_chunk *chunk)
{
    while (chunk != NULL) {
        rsl_chunk *next = chunk->next;

        if (chunk->origin == RSL_CHUNK_HEAP) {
            rsl_chunk_free(chunk);
        } else if (rt->backend != NULL && !rsl_runtime_is_forked(rt)) {
            rt->backend->ops->buffer_return(rt->backend, chunk->origin);
        }
        chunk = next;
    }
}

void
rsl_conn_received(rsl_conn *conn)
{
    assert(conn->queued_events > 0);
    conn->queued_events--;
}

static rsl_status
conn_recv_locked(rsl_conn *conn, void *buf, size_t cap, size_t *out,
                 rsl_err *err)
{
    rsl_backend *backend = conn->rt->backend;
    rsl_conn_state state = rsl_conn_state_now(conn);
    rsl_status status;

    if (state == RSL_CONN_CLOSING) {
        return RSL_CLOSED;
    }
    if (conn->queued_events > 0 || atomic_load(&conn->stolen_bytes) > 0
        || conn->held_last != NULL || state == RSL_CONN_READ_DONE) {
        return RSL_BUSY;
    }
    status = backend->ops->recv(backend, conn, buf, cap, out, err);
    if (status == RSL_OK) {
        rsl_conn_count_read(conn, &conn->rt->stats, *out);
        return RSL_OK;
    }
    rsl_stats_read_nothing(&conn->rt->stats);
    if (status == RSL_EOF || status == RSL_OS) {
        (void)rsl_conn_fail_read(conn); /* under the token it is news */
    }
    return status;
}

rsl_status
rsl_conn_recv(rsl_conn *conn, void *buf, size_t cap, size_t *out, rsl_err *err)
{
    assert(cap > 0);
    if (conn->tls != NULL) {
        return rsl_conn_tls_recv(conn, buf, cap, out, err);
    }
    return rsl_conn_recv_raw(conn, buf, cap, out, err);
}

rsl_status
rsl_conn_recv_raw(rsl_conn *conn, void *buf, size_t cap, size_t *out,
                  rsl_err *err)
{
    rsl_runtime *rt = conn->rt;
    rsl_status status;

    if (rsl_runtime_is_forked(rt)) {
        return RSL_FORKED;
    }
    if (rt->has_token) {
        return conn_recv_locked(conn, buf, cap, out, err);
    }
    if (!rsl_token_try_take(&rt->token, RSL_TOKEN_LOOP)) {
        return RSL_BUSY;
    }
    status = conn_recv_locked(conn, buf, cap, out, err);
    /* Nobody to wake: the only sleeper is this thread. */
    rsl_token_release(&rt->token, RSL_TOKEN_LOOP);
    return status;
}
