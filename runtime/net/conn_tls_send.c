/* SPDX-License-Identifier: Apache-2.0 */
/* conn_tls_send.c - what is queued is encrypted when it is about to leave. */
#include <errno.h>

#include "core/runtime_impl.h"
#include "net/conn_tls.h"

static bool
tls_has_output(const rsl_conn *conn)
{
    const rsl_conn_tls *tls = conn->tls;

    if (tls->failed || tls->away) {
        return false;
    }
    return conn->write_count > 0 || rsl_tls_output_bytes(tls->engine) > 0
           || (tls->close_wanted && !tls->close_sent);
}

void
rsl_conn_tls_note_output(rsl_conn *conn)
{
    if (tls_has_output(conn)) {
        rsl_conn_want_send(conn);
    }
}

bool
rsl_conn_tls_has_output(const rsl_conn *conn)
{
    bool locked = rsl_conn_tls_lock(conn);
    bool has_output = tls_has_output(conn);

    rsl_conn_tls_unlock(conn, locked);
    return has_output;
}

size_t
rsl_conn_tls_output_bytes(const rsl_conn *conn)
{
    const rsl_conn_tls *tls = conn->tls;
    bool locked;
    size_t bytes;

    if (tls->away) {
        return 0;
    }
    locked = rsl_conn_tls_lock(conn);
    bytes = rsl_tls_output_bytes(tls->engine);
    rsl_conn_tls_unlock(conn, locked);
    /* What is owed counts, so that nobody takes the queue for empty. */
    return bytes + (tls->close_wanted && !tls->close_sent && !tls->failed);
}

static void
tls_write_failed(rsl_conn *conn)
{
    rsl_runtime *rt = conn->rt;

    conn->tls->failed = true;
    rt->flush_sink->emit(
        rt->flush_sink,
        (rsl_event){.tag = rsl_tag(RSL_EV_SENT, conn->id), .u.arg = EPROTO});
}

/* As much of the queue as the engine takes now. */
static void
tls_encrypt(rsl_conn *conn)
{
    rsl_conn_tls *tls = conn->tls;
    struct iovec iov[RSL_CONN_IOV_MAX];

    while (conn->write_count > 0) {
        size_t taken = 0;
        unsigned count = rsl_conn_pieces(conn, iov, RSL_CONN_IOV_MAX);
        rsl_tls_status answer = rsl_tls_write(tls->engine, iov, count, &taken);

        rsl_conn_pop_bytes(conn, taken);
        rsl_stat_add(&conn->rt->stats, RSL_STAT_BYTES_DROPPED, taken);
        rsl_stat_add(&conn->rt->stats, RSL_STAT_TLS_BYTES_ENCRYPTED, taken);
        if (answer == RSL_TLS_ERROR || answer == RSL_TLS_EOF) {
            tls_write_failed(conn);
            return;
        }
        if (taken == 0) {
            return;
        }
    }
    if (tls->close_wanted && !tls->close_sent) {
        tls->close_sent = true;
        if (rsl_tls_close_notify(tls->engine) == RSL_TLS_ERROR) {
            tls_write_failed(conn);
        }
    }
}

unsigned
rsl_conn_tls_gather(rsl_conn *conn, struct iovec *iov, unsigned max)
{
    bool locked;
    unsigned count;

    if (conn->tls->away) {
        return 0;
    }
    locked = rsl_conn_tls_lock(conn);
    /* What a batch has prepared stays as it is: only more is appended. */
    if (!conn->tls->failed) {
        tls_encrypt(conn);
    }
    count = rsl_tls_output(conn->tls->engine, iov, max);
    rsl_conn_tls_unlock(conn, locked);
    return count;
}

void
rsl_conn_tls_consume(rsl_conn *conn, size_t sent)
{
    bool locked = rsl_conn_tls_lock(conn);

    rsl_tls_consume(conn->tls->engine, sent);
    rsl_conn_tls_unlock(conn, locked);
}

void
rsl_conn_close_notify(rsl_conn *conn)
{
    rsl_conn_tls *tls = conn->tls;
    bool locked = rsl_conn_tls_lock(conn);

    /* As asyncio: whoever has ended its side without one gets none. */
    if (!tls->ended || rsl_tls_state_now(tls->engine) != RSL_TLS_STATE_OPEN) {
        tls->close_wanted = true;
        rsl_conn_tls_note_output(conn);
    }
    rsl_conn_tls_unlock(conn, locked);
}

void
rsl_conn_tls_discard(rsl_conn *conn)
{
    rsl_tls *engine = conn->tls->engine;
    bool locked;

    conn->tls->close_sent = true;
    if (conn->tls->away) {
        return;
    }
    locked = rsl_conn_tls_lock(conn);
    rsl_tls_consume(engine, rsl_tls_output_bytes(engine));
    rsl_conn_tls_unlock(conn, locked);
}
