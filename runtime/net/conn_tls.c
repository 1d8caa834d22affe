/* SPDX-License-Identifier: Apache-2.0 */
/* conn_tls.c - decrypting what a stream receives, encrypting what it sends. */
#include "net/conn_tls.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "core/runtime_impl.h"

/* Ciphertext is received in pieces of at most so many bytes. */
enum { TLS_RECV_MAX = 256 << 10 };

rsl_status
rsl_conn_set_tls(rsl_conn *conn, rsl_tls *engine)
{
    rsl_conn_tls *tls;

    assert(conn->tls == NULL && conn->write_count == 0 && !conn->in_batch);
    tls = calloc(1, sizeof *tls);
    if (tls == NULL) {
        return RSL_NOMEM;
    }
    tls->engine = engine;
    conn->tls = tls;
    return RSL_OK;
}

/* --- Input --- */

void
rsl_conn_feed(rsl_conn *conn, rsl_chunk *chunk)
{
    rsl_conn_tls *tls = conn->tls;

    if (chunk == NULL) {
        return;
    }
    if (tls->in_head == NULL) {
        tls->in_head = chunk;
    } else {
        tls->in_tail->next = chunk;
    }
    while (chunk->next != NULL) {
        chunk = chunk->next;
    }
    tls->in_tail = chunk;
    tls->may_read = true;
    if (rsl_conn_state_now(conn) == RSL_CONN_IDLE && !tls->away) {
        rsl_conn_tls_keep(conn); /* nobody reads now: give buffers back */
    }
}

rsl_status
rsl_conn_feed_copy(rsl_conn *conn, const void *data, size_t len)
{
    rsl_chunk *chunk = rsl_chunk_new(len);

    if (chunk == NULL) {
        return RSL_NOMEM;
    }
    memcpy(rsl_chunk_room(chunk), data, len);
    chunk->len = len;
    chunk->next = NULL;
    rsl_conn_feed(conn, chunk);
    return RSL_OK;
}

bool
rsl_conn_has_plain(const rsl_conn *conn)
{
    return conn->tls->may_read;
}

/* The head has been used up, or what is left of it copied. */
static rsl_status
tls_drop_head(rsl_conn *conn)
{
    rsl_conn_tls *tls = conn->tls;
    rsl_chunk *chunk = tls->in_head;
    rsl_status status = rsl_tls_keep(tls->engine);

    tls->fed = false;
    tls->in_head = chunk->next;
    if (tls->in_head == NULL) {
        tls->in_tail = NULL;
    }
    chunk->next = NULL;
    rsl_chunk_release(conn->rt, chunk);
    return status;
}

/* Lend the engine the next chunk. RSL_AGAIN: there is none. */
static rsl_status
tls_feed_chunk(rsl_conn *conn)
{
    rsl_conn_tls *tls = conn->tls;

    if (tls->fed) {
        rsl_status status = tls_drop_head(conn);
        if (status != RSL_OK) {
            return status;
        }
    }
    if (tls->in_head == NULL) {
        return RSL_AGAIN;
    }
    rsl_tls_feed(tls->engine, tls->in_head->data, tls->in_head->len);
    tls->fed = true;
    return RSL_OK;
}

static uint8_t *
tls_scratch(rsl_runtime *rt)
{
    if (rt->tls_scratch == NULL) {
        rt->tls_scratch = malloc(TLS_RECV_MAX);
    }
    return rt->tls_scratch;
}

/* Lend the engine what the socket has, in the runtime's scratch memory; the
 * caller ends the loan. `cap` is how much plaintext is wanted. */
static rsl_status
tls_feed_socket(rsl_conn *conn, size_t cap, rsl_err *err)
{
    uint8_t *scratch = tls_scratch(conn->rt);
    /* A record has at most so much that is not plaintext for each 16 KiB. */
    size_t want = cap + cap / 64 + 512, got = 0;
    rsl_status status;

    if (scratch == NULL) {
        return RSL_NOMEM;
    }
    status = rsl_conn_recv_raw(
        conn, scratch, want < TLS_RECV_MAX ? want : TLS_RECV_MAX, &got, err);
    if (status == RSL_OK) {
        rsl_tls_feed(conn->tls->engine, scratch, got);
    } else if (status == RSL_EOF) {
        rsl_conn_feed_eof(conn);
        status = RSL_OK;
    }
    return status;
}

/* The engine is not told: it would fail without a close_notify, and could not
 * encrypt what is still to be sent. Such an end is an end, as in asyncio. */
void
rsl_conn_feed_eof(rsl_conn *conn)
{
    conn->tls->ended = true;
    conn->tls->may_read = true;
}

/* Input for an engine that has asked for it: the next chunk, or the socket's if
 * that has not been asked yet. RSL_AGAIN: nothing now; RSL_EOF:
 * nothing more. */
static rsl_status
tls_feed_more(rsl_conn *conn, size_t cap, bool *asked, rsl_err *err)
{
    rsl_status status = tls_feed_chunk(conn);

    if (status != RSL_AGAIN) {
        return status;
    }
    if (conn->tls->ended) {
        return RSL_EOF;
    }
    if (*asked) {
        return RSL_AGAIN;
    }
    *asked = true;
    return tls_feed_socket(conn, cap, err);
}

/* What was lent from the scratch memory has to be copied before that is used
 * again. A chunk stays until it is used up: it may be a buffer of the ring. */
static rsl_status
tls_end_loan(rsl_conn *conn)
{
    rsl_conn_tls *tls = conn->tls;

    if (!tls->fed) {
        return rsl_tls_keep(tls->engine);
    }
    return tls->may_read ? RSL_OK : tls_drop_head(conn);
}

void
rsl_conn_tls_keep(rsl_conn *conn)
{
    while (tls_feed_chunk(conn) == RSL_OK) {
        continue;
    }
}

/* Answers of the engine's own, alerts, tickets. */
static void
tls_note_output(rsl_conn *conn)
{
    if (rsl_conn_tls_has_output(conn)) {
        rsl_conn_want_send(conn);
    }
}

static bool
tls_has_more_chunks(const rsl_conn_tls *tls)
{
    return tls->in_head != NULL && (!tls->fed || tls->in_head->next != NULL);
}

/* Whether another read may say more than that there is nothing: bytes, or how
 * the stream has ended. */
static bool
tls_has_news(const rsl_tls *engine)
{
    return rsl_tls_has_input(engine)
           || rsl_tls_state_now(engine) != RSL_TLS_STATE_OPEN;
}

rsl_status
rsl_conn_tls_recv(rsl_conn *conn, void *buf, size_t cap, size_t *out,
                  rsl_err *err)
{
    rsl_conn_tls *tls = conn->tls;
    rsl_status status = RSL_OK;
    size_t filled = 0;
    bool asked = false;

    if (!rsl_tls_has_input(tls->engine) && tls_has_more_chunks(tls)) {
        status = tls_feed_chunk(conn);
    }
    while (status == RSL_OK && filled < cap) {
        size_t some = 0;
        rsl_tls_status answer = rsl_tls_read(
            tls->engine, (uint8_t *)buf + filled, cap - filled, &some);

        filled += some;
        if (answer == RSL_TLS_DONE && filled == cap) {
            break;
        }
        if (answer == RSL_TLS_DONE && tls_has_news(tls->engine)) {
            continue;
        }
        if (answer == RSL_TLS_EOF) {
            status = RSL_EOF;
        } else if (answer == RSL_TLS_ERROR) {
            status = RSL_TLS;
        } else if (filled > 0 && !tls_has_more_chunks(tls)) {
            /* What else the socket has it will say. */
            status = tls->ended ? RSL_EOF : RSL_AGAIN;
        } else {
            status = tls_feed_more(conn, cap, &asked, err);
        }
    }
    tls->may_read = status == RSL_OK || (filled > 0 && status != RSL_AGAIN);
    if (tls_end_loan(conn) != RSL_OK) {
        status = RSL_NOMEM;
    }
    tls_note_output(conn);
    *out = filled;
    return filled > 0 ? RSL_OK : status;
}

/* --- Handshake --- */

/* All that waits moves into the engine, because its next step may be somebody
 * else's. */
rsl_status
rsl_conn_handshake_feed(rsl_conn *conn, size_t *out, rsl_err *err)
{
    rsl_conn_tls *tls = conn->tls;
    rsl_status status;
    bool has_chunks = tls->in_head != NULL;

    do {
        status = tls_feed_chunk(conn);
    } while (status == RSL_OK);
    if (status == RSL_AGAIN && !has_chunks && !tls->ended) {
        status = tls_feed_socket(conn, RSL_TLS_RECORD_MAX, err);
        if (status == RSL_OK) {
            status = rsl_tls_keep(tls->engine);
        }
    } else if (status == RSL_AGAIN) {
        status = RSL_OK;
    }
    tls->may_read = false;
    *out = rsl_tls_input_bytes(tls->engine);
    return status;
}

rsl_status
rsl_conn_handshake(rsl_conn *conn)
{
    return rsl_conn_handshake_end(conn, rsl_tls_handshake(conn->tls->engine));
}

rsl_status
rsl_conn_handshake_end(rsl_conn *conn, rsl_tls_status answer)
{
    rsl_conn_tls *tls = conn->tls;

    tls->away = false;
    tls_note_output(conn);
    switch (answer) {
    case RSL_TLS_DONE:
        tls->may_read = tls->ended || tls->in_head != NULL
                        || rsl_tls_has_input(tls->engine);
        return RSL_OK;
    case RSL_TLS_WANT_READ:
        return tls->ended && tls->in_head == NULL ? RSL_EOF : RSL_AGAIN;
    case RSL_TLS_EOF:
        return RSL_EOF;
    case RSL_TLS_NEED_SNI: /* engines are made without asking */
    case RSL_TLS_ERROR:
        break;
    }
    return RSL_TLS;
}

void
rsl_conn_handshake_away(rsl_conn *conn)
{
    conn->tls->away = true;
}

/* --- Output --- */

bool
rsl_conn_tls_has_output(const rsl_conn *conn)
{
    const rsl_conn_tls *tls = conn->tls;

    if (tls->failed || tls->away) {
        return false;
    }
    return conn->write_count > 0 || rsl_tls_output_bytes(tls->engine) > 0
           || (tls->close_wanted && !tls->close_sent);
}

size_t
rsl_conn_tls_output_bytes(const rsl_conn *conn)
{
    const rsl_conn_tls *tls = conn->tls;

    if (tls->away) {
        return 0;
    }
    /* What is owed counts, so that nobody takes the queue for empty. */
    return rsl_tls_output_bytes(tls->engine)
           + (tls->close_wanted && !tls->close_sent && !tls->failed ? 1 : 0);
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
    /* What a batch has prepared stays as it is: only more is appended. */
    if (!conn->tls->failed) {
        tls_encrypt(conn);
    }
    return rsl_tls_output(conn->tls->engine, iov, max);
}

void
rsl_conn_tls_consume(rsl_conn *conn, size_t sent)
{
    rsl_tls_consume(conn->tls->engine, sent);
}

void
rsl_conn_close_notify(rsl_conn *conn)
{
    rsl_conn_tls *tls = conn->tls;

    /* As asyncio: whoever has ended its side without one gets none. */
    if (tls->ended && rsl_tls_state_now(tls->engine) == RSL_TLS_STATE_OPEN) {
        return;
    }
    tls->close_wanted = true;
    tls_note_output(conn);
}

void
rsl_conn_tls_discard(rsl_conn *conn)
{
    rsl_tls *engine = conn->tls->engine;

    conn->tls->close_sent = true;
    if (conn->tls->away) {
        return;
    }
    rsl_tls_consume(engine, rsl_tls_output_bytes(engine));
}

void
rsl_conn_tls_free(rsl_conn *conn)
{
    rsl_conn_tls *tls = conn->tls;

    if (tls == NULL) {
        return;
    }
    if (tls->fed) {
        (void)tls_drop_head(conn); /* a failed copy is of no interest now */
    }
    rsl_chunk_release(conn->rt, tls->in_head);
    conn->tls = NULL;
    free(tls);
}
