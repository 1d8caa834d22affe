/* SPDX-License-Identifier: Apache-2.0 */
/* conn_tls.c - a stream's handshake, and decrypting what it receives. */
#include "net/conn_tls.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "core/runtime_impl.h"

/* Ciphertext is received in pieces of at most so many bytes. */
enum { TLS_RECV_MAX = 256 << 10 };

/* --- Input --- */

static rsl_status tls_feed_chunk(rsl_conn *conn);

static void
tls_keep_input(rsl_conn *conn)
{
    rsl_conn_tls *tls = conn->tls;
    rsl_chunk **link;

    if (tls->expected) {
        tls->expected = false;
        (void)rsl_tls_keep(tls->engine); /* it fails for good otherwise */
    }
    while (tls_feed_chunk(conn) == RSL_OK) {
        continue;
    }
    for (link = &tls->in_head; *link != NULL; link = &(*link)->next) {
        rsl_chunk *next = (*link)->next;

        *link = rsl_conn_own_chunk(conn, *link);
        (*link)->next = next;
        tls->in_tail = *link;
    }
}

void
rsl_conn_feed(rsl_conn *conn, rsl_chunk *chunk)
{
    rsl_conn_tls *tls = conn->tls;
    unsigned counted = 0;
    bool locked;

    if (chunk == NULL) {
        return;
    }
    locked = rsl_conn_tls_lock(conn);
    if (tls->in_head == NULL) {
        tls->in_head = chunk;
    } else {
        tls->in_tail->next = chunk;
    }
    counted += chunk->tls == RSL_CHUNK_CIPHER;
    while (chunk->next != NULL) {
        chunk = chunk->next;
        counted += chunk->tls == RSL_CHUNK_CIPHER;
    }
    tls->in_tail = chunk;
    tls->may_read = true;
    atomic_fetch_sub(&tls->cipher_ahead, counted);
    if (rsl_conn_state_now(conn) == RSL_CONN_IDLE && !tls->away) {
        tls_keep_input(conn); /* nobody reads now: give buffers back */
    }
    rsl_conn_tls_unlock(conn, locked);
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

/* Lend the engine the next chunk. RSL_AGAIN: there is none of ciphertext. */
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
    if (tls->in_head == NULL || tls->in_head->tls == RSL_CHUNK_PLAIN) {
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
 * that has not been asked yet. RSL_AGAIN: nothing now; RSL_EOF: nothing
 * more. */
static rsl_status
tls_feed_more(rsl_conn *conn, size_t cap, rsl_err *err)
{
    rsl_status status = tls_feed_chunk(conn);

    if (status != RSL_AGAIN) {
        return status;
    }
    if (conn->tls->ended) {
        return RSL_EOF;
    }
    if (conn->tls->asked) {
        return RSL_AGAIN;
    }
    conn->tls->asked = true;
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
    bool locked = rsl_conn_tls_lock(conn);

    if (!conn->tls->away) {
        tls_keep_input(conn);
    }
    rsl_conn_tls_unlock(conn, locked);
}

static bool
tls_head_is_plain(const rsl_conn_tls *tls)
{
    return tls->in_head != NULL && tls->in_head->tls == RSL_CHUNK_PLAIN;
}

/* What the runtime thread has decrypted, from the head of the queue. */
static size_t
tls_take_plain(rsl_conn *conn, uint8_t *buf, size_t cap)
{
    rsl_conn_tls *tls = conn->tls;
    size_t filled = 0;

    while (tls_head_is_plain(tls) && filled < cap) {
        rsl_chunk *chunk = tls->in_head;
        size_t part = cap - filled < chunk->len ? cap - filled : chunk->len;

        memcpy(buf + filled, chunk->data, part);
        filled += part;
        chunk->data += part;
        chunk->len -= part;
        if (chunk->len == 0) {
            (void)tls_drop_head(conn); /* nothing is lent that could be kept */
        }
    }
    return filled;
}

/* Its end is known to the engine before what the runtime thread has taken out
 * of it has arrived here. */
static bool
tls_has_more_on_its_way(const rsl_conn *conn)
{
    return conn->queued_events > 0 || atomic_load(&conn->stolen_bytes) > 0;
}

/* What follows an engine that has no more to give, or is at its end. */
static rsl_status
tls_recv_next(rsl_conn *conn, rsl_tls_status answer, size_t filled, size_t cap,
              rsl_err *err)
{
    rsl_conn_tls *tls = conn->tls;

    if (answer == RSL_TLS_EOF || answer == RSL_TLS_ERROR) {
        if (tls_has_more_on_its_way(conn)) {
            return RSL_BUSY;
        }
        return answer == RSL_TLS_EOF ? RSL_EOF : RSL_TLS;
    }
    if (filled > 0 && tls->in_head == NULL) {
        /* What else the socket has it will say. */
        return tls->ended ? RSL_EOF : RSL_AGAIN;
    }
    return tls_feed_more(conn, cap, err);
}

/* Whether another read may say more than that there is nothing: bytes, or how
 * the stream has ended. */
static bool
tls_has_news(const rsl_tls *engine)
{
    return rsl_tls_has_input(engine)
           || rsl_tls_state_now(engine) != RSL_TLS_STATE_OPEN;
}

/* Plaintext is never longer than its ciphertext; but the library may have part
 * of a record inside. */
static size_t
tls_plain_max(const rsl_conn_tls *tls)
{
    size_t size = rsl_tls_input_bytes(tls->engine);
    const rsl_chunk *chunk = tls->in_head;

    if (rsl_tls_has_pending(tls->engine)) {
        size += RSL_TLS_RECORD_MAX;
    }
    if (chunk != NULL && tls->fed) {
        chunk = chunk->next;
    }
    for (; chunk != NULL; chunk = chunk->next) {
        size += chunk->len;
    }
    return size;
}

rsl_status
rsl_conn_expect(rsl_conn *conn, size_t cap, size_t *out, rsl_err *err)
{
    rsl_conn_tls *tls = conn->tls;
    bool locked = rsl_conn_tls_lock(conn);
    rsl_status status = RSL_OK;

    if (tls->in_head == NULL && !tls->ended && !tls_has_news(tls->engine)) {
        status = tls_feed_socket(conn, cap, err);
        tls->asked = tls->expected = status == RSL_OK;
        tls->may_read = status == RSL_OK; /* as a recv that found nothing */
    }
    *out = tls_plain_max(tls);
    rsl_conn_tls_unlock(conn, locked);
    return status;
}

static rsl_status
tls_recv(rsl_conn *conn, uint8_t *buf, size_t cap, size_t *out, rsl_err *err)
{
    rsl_conn_tls *tls = conn->tls;
    rsl_status status = RSL_OK;
    size_t filled = 0;

    tls->asked = tls->expected;
    tls->expected = false;
    while (status == RSL_OK && filled < cap) {
        size_t some = 0;
        rsl_tls_status answer;

        if (!tls->fed) {
            filled += tls_take_plain(conn, buf + filled, cap - filled);
        }
        if (filled == cap) {
            break;
        }
        if (tls->left && tls_has_more_on_its_way(conn)) {
            status = RSL_BUSY;
            break;
        }
        tls->left = false;
        answer =
            tls_has_news(tls->engine)
                ? rsl_tls_read(tls->engine, buf + filled, cap - filled, &some)
                : RSL_TLS_WANT_READ;
        filled += some;
        if (answer == RSL_TLS_DONE) {
            continue;
        }
        if (tls->fed) {
            status = tls_drop_head(conn);
        }
        if (status == RSL_OK && !tls_head_is_plain(tls)) {
            status = tls_recv_next(conn, answer, filled, cap, err);
        }
    }
    tls->may_read =
        status == RSL_OK
        || (filled > 0 && status != RSL_AGAIN && status != RSL_BUSY);
    if (tls_end_loan(conn) != RSL_OK) {
        status = RSL_NOMEM;
    }
    rsl_conn_tls_note_output(conn);
    *out = filled;
    return filled > 0 ? RSL_OK : status;
}

rsl_status
rsl_conn_tls_recv(rsl_conn *conn, void *buf, size_t cap, size_t *out,
                  rsl_err *err)
{
    bool locked = rsl_conn_tls_lock(conn);
    rsl_status status = tls_recv(conn, buf, cap, out, err);

    rsl_conn_tls_unlock(conn, locked);
    rsl_stat_add(&conn->rt->stats, RSL_STAT_TLS_BYTES_DECRYPTED, *out);
    return status;
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
    rsl_conn_tls_note_output(conn);
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

/* --- The end --- */

void
rsl_conn_tls_close(rsl_conn *conn)
{
    rsl_conn_tls *tls = conn->tls;
    bool locked;

    if (tls == NULL) {
        return;
    }
    locked = rsl_conn_tls_lock(conn);
    tls->gone = true;
    if (tls->fed) {
        (void)tls_drop_head(conn); /* a failed copy is of no interest now */
    }
    rsl_chunk_release(conn->rt, tls->in_head);
    tls->in_head = tls->in_tail = NULL;
    rsl_conn_tls_unlock(conn, locked);
}
