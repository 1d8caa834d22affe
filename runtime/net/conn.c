/* SPDX-License-Identifier: Apache-2.0 */
/* conn.c - open, find and close of streams, and their read state. */
#include <assert.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/runtime_impl.h"
#include "net/conn_impl.h"
#include "net/conn_tls.h"

#define TO(state) (1u << (state))
static const uint8_t conn_next[RSL_CONN_STATE_COUNT] = {
    [RSL_CONN_IDLE] =
        TO(RSL_CONN_READING) | TO(RSL_CONN_READ_DONE) | TO(RSL_CONN_CLOSING),
    [RSL_CONN_READING] =
        TO(RSL_CONN_IDLE) | TO(RSL_CONN_READ_DONE) | TO(RSL_CONN_CLOSING),
    [RSL_CONN_READ_DONE] = TO(RSL_CONN_READING) | TO(RSL_CONN_CLOSING),
    [RSL_CONN_CLOSING] = 0,
};

rsl_conn_state
rsl_conn_state_now(const rsl_conn *conn)
{
    return (rsl_conn_state)atomic_load(&conn->state);
}

/* The loop thread starts, stops and closes while the runtime thread, under the
 * token, may end the stream: whichever exchange comes first decides, and the
 * other one finds a state that is not its `from`. */
bool
rsl_conn_enter(rsl_conn *conn, rsl_conn_state from, rsl_conn_state to)
{
    unsigned char expected = (unsigned char)from;

    assert(conn_next[from] & TO(to));
    (void)conn_next; /* only assert() reads it */
    return atomic_compare_exchange_strong(&conn->state, &expected,
                                          (unsigned char)to);
}

bool
rsl_conn_fail_read(rsl_conn *conn)
{
    return rsl_conn_enter(conn, RSL_CONN_READING, RSL_CONN_READ_DONE)
           || rsl_conn_enter(conn, RSL_CONN_IDLE, RSL_CONN_READ_DONE) ||
           /* started between the two */
           rsl_conn_enter(conn, RSL_CONN_READING, RSL_CONN_READ_DONE);
}

rsl_status
rsl_conn_open(rsl_runtime *rt, int fd, bool borrowed, void *owner,
              rsl_conn **out)
{
    rsl_conn *conn;
    rsl_status status;

    if (rsl_runtime_is_forked(rt)) {
        return RSL_FORKED;
    }
    if (rt->closed) {
        return RSL_CLOSED;
    }
    conn = calloc(1, sizeof *conn);
    if (conn == NULL) {
        return RSL_NOMEM;
    }
    conn->rt = rt;
    conn->owner = owner;
    conn->fd = fd;
    conn->borrowed = borrowed;
    atomic_init(&conn->state, RSL_CONN_IDLE);
    atomic_init(&conn->stolen_bytes, 0);
    atomic_init(&conn->bytes_read, 0);
    atomic_init(&conn->bytes_written, 0);
    rsl_list_init(&conn->io_link);
    rsl_list_init(&conn->queue_link);
    status = rsl_id_table_add(&rt->conns, conn, &conn->id);
    if (status != RSL_OK) {
        goto fail_free;
    }
    status = rt->backend->ops->conn_add(rt->backend, conn);
    if (status != RSL_OK) {
        goto fail_id;
    }
    rsl_stat_add(&rt->stats, RSL_STAT_CONNECTIONS_OPENED, 1);
    *out = conn;
    return RSL_OK;

fail_id:
    rsl_id_table_remove(&rt->conns, conn->id);
fail_free:
    free(conn);
    return status;
}

uint64_t
rsl_conn_id(const rsl_conn *conn)
{
    return conn->id;
}

int
rsl_conn_fd(const rsl_conn *conn)
{
    return conn->fd;
}

uint64_t
rsl_conn_bytes_read(const rsl_conn *conn)
{
    return atomic_load_explicit(&conn->bytes_read, memory_order_relaxed);
}

uint64_t
rsl_conn_bytes_written(const rsl_conn *conn)
{
    return atomic_load_explicit(&conn->bytes_written, memory_order_relaxed);
}

void *
rsl_conn_owner(const rsl_conn *conn)
{
    return conn->owner;
}

void
rsl_conn_set_owner(rsl_conn *conn, void *owner)
{
    conn->owner = owner;
}

rsl_conn *
rsl_conn_find(rsl_runtime *rt, uint64_t id)
{
    rsl_conn *conn = rsl_id_table_find(&rt->conns, id);

    if (conn == NULL || rsl_conn_state_now(conn) == RSL_CONN_CLOSING) {
        return NULL;
    }
    return conn;
}

void
rsl_conn_borrow_fd(rsl_conn *conn)
{
    conn->borrowed = true;
}

/* Under the token, or in a forked child, where the token means nothing. */
static void
conn_finish_close(rsl_conn *conn)
{
    rsl_runtime *rt = conn->rt;

    if (!rsl_runtime_is_forked(rt)) {
        rt->backend->ops->conn_remove(rt->backend, conn);
        assert(!rsl_list_is_linked(&conn->io_link));
    }
    rsl_list_remove(&conn->queue_link);
    rsl_id_table_remove(&rt->conns, conn->id);
    if (!conn->borrowed) {
        close(conn->fd);
    } else if (rt->hooks.conn_closed != NULL) {
        rt->hooks.conn_closed(conn->owner);
    }
    rsl_conn_tls_free(conn);
    free(conn->writes);
    free(conn);
}

void
rsl_conn_close(rsl_conn *conn)
{
    rsl_runtime *rt = conn->rt;
    bool forked = rsl_runtime_is_forked(rt);
    bool taken;

    if (rsl_conn_state_now(conn) == RSL_CONN_CLOSING) {
        return; /* by rsl_runtime_close(): its turn comes */
    }
    if (conn->in_batch && !forked) {
        rt->backend->ops->settle(rt->backend);
        assert(!conn->in_batch);
    }
    while (!rsl_conn_enter(conn, rsl_conn_state_now(conn), RSL_CONN_CLOSING)) {
        continue; /* the runtime thread saw its end just now */
    }
    rsl_conn_discard_writes(conn);
    rsl_conn_tls_close(conn);
    rsl_chunk_release(rt, rsl_conn_take_held(conn));
    if (forked) {
        conn_finish_close(conn);
        return;
    }
    taken = !rt->has_token && rsl_token_try_take(&rt->token, RSL_TOKEN_LOOP);
    /* Others see a borrowed fd, and expect it closed when we return. The
     * runtime thread has the token for a tick only and waits for nobody. */
    while (conn->borrowed && !taken && !rt->has_token) {
        sched_yield();
        taken = rsl_token_try_take(&rt->token, RSL_TOKEN_LOOP);
    }
    if (!taken && !rt->has_token) {
        rsl_list_push(&rt->closing, &conn->queue_link);
        return;
    }
    conn_finish_close(conn);
    if (taken) {
        rsl_token_release(&rt->token, RSL_TOKEN_LOOP);
    }
}

void
rsl_conn_close_pending(rsl_runtime *rt)
{
    assert(rt->has_token || rsl_runtime_is_forked(rt));
    while (!rsl_list_is_empty(&rt->closing)) {
        conn_finish_close(
            RSL_LIST_ENTRY(rt->closing.next, rsl_conn, queue_link));
    }
}
