/* SPDX-License-Identifier: Apache-2.0 */
/* engine.c - <rsl/tls.h> over an engine's operations. */
#include "tls/engine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <rsl/prof.h>

#define TO(state) (1u << (RSL_TLS_STATE_##state))

static const uint8_t tls_next[RSL_TLS_STATE_COUNT] = {
    [RSL_TLS_STATE_HANDSHAKE] = TO(OPEN) | TO(CLOSED) | TO(FAILED),
    [RSL_TLS_STATE_OPEN] = TO(PEER_CLOSED) | TO(CLOSE_SENT) | TO(FAILED),
    [RSL_TLS_STATE_PEER_CLOSED] = TO(CLOSED) | TO(FAILED),
    [RSL_TLS_STATE_CLOSE_SENT] = TO(CLOSED) | TO(FAILED),
    [RSL_TLS_STATE_CLOSED] = 0,
    [RSL_TLS_STATE_FAILED] = 0,
};

static void
tls_enter(rsl_tls *tls, rsl_tls_state next)
{
    assert(tls_next[tls->state] & (1u << next));
    tls->state = (uint8_t)next;
}

void
rsl_tls_init(rsl_tls *tls, const rsl_tls_ops *ops)
{
    tls->ops = ops;
    tls->state = RSL_TLS_STATE_HANDSHAKE;
}

rsl_tls_state
rsl_tls_state_now(const rsl_tls *tls)
{
    return (rsl_tls_state)tls->state;
}

rsl_tls_status
rsl_tls_fail(rsl_tls *tls, rsl_tls_error_kind kind, const char *text)
{
    tls->error.kind = (uint8_t)kind;
    tls->error.library = kind == RSL_TLS_ERR_NOMEM ? NULL : "SSL";
    tls->error.text = text;
    return RSL_TLS_ERROR;
}

/* --- Input --- */

void
rsl_tls_feed(rsl_tls *tls, const void *data, size_t len)
{
    assert(tls->input.lent_len == 0 && !tls->input.ended);
    tls->input.lent = data;
    tls->input.lent_len = len;
}

rsl_status
rsl_tls_keep(rsl_tls *tls)
{
    rsl_status status = rsl_tls_input_keep(&tls->input);

    /* Part of the stream is gone. */
    if (status != RSL_OK && tls_next[tls->state] & TO(FAILED)) {
        rsl_tls_fail(tls, RSL_TLS_ERR_NOMEM, NULL);
        tls_enter(tls, RSL_TLS_STATE_FAILED);
    }
    return status;
}

void
rsl_tls_feed_eof(rsl_tls *tls)
{
    tls->input.ended = true;
}

size_t
rsl_tls_input_bytes(const rsl_tls *tls)
{
    return rsl_tls_input_size(&tls->input);
}

bool
rsl_tls_has_pending(const rsl_tls *tls)
{
    return tls->ops->has_pending(tls);
}

bool
rsl_tls_has_input(const rsl_tls *tls)
{
    return rsl_tls_input_size(&tls->input) > 0 || tls->ops->has_pending(tls);
}

/* --- The connection --- */

/* In TLS 1.3 a session comes with the reads, in TLS 1.2 with the handshake. */
static void
tls_show_sessions(rsl_tls *tls)
{
    uint8_t *data;
    size_t len;

    while (tls->sink != NULL
           && tls->ops->get_session(tls, &data, &len) == RSL_OK) {
        tls->sink(tls->sink_arg, data, len);
        free(data);
    }
}

void
rsl_tls_keep_sessions(rsl_tls *tls, rsl_tls_session_sink sink, void *arg)
{
    tls->sink = sink;
    tls->sink_arg = arg;
}

rsl_tls_status
rsl_tls_handshake(rsl_tls *tls)
{
    rsl_tls_status status;
    int64_t start_ns;

    switch (rsl_tls_state_now(tls)) {
    case RSL_TLS_STATE_HANDSHAKE:
        break;
    case RSL_TLS_STATE_OPEN:
    case RSL_TLS_STATE_PEER_CLOSED:
    case RSL_TLS_STATE_CLOSE_SENT:
        return RSL_TLS_DONE;
    case RSL_TLS_STATE_CLOSED:
    case RSL_TLS_STATE_FAILED:
    case RSL_TLS_STATE_COUNT:
        return RSL_TLS_ERROR;
    }
    start_ns = rsl_prof_begin();
    status = tls->ops->handshake(tls);
    rsl_prof_end(RSL_PROF_TLS_HANDSHAKE, start_ns, 0);
    if (status == RSL_TLS_DONE) {
        tls_enter(tls, RSL_TLS_STATE_OPEN);
        tls_show_sessions(tls);
    } else if (status == RSL_TLS_ERROR) {
        tls_enter(tls, RSL_TLS_STATE_FAILED);
    }
    return status;
}

/* The next record's, and what its end means. */
static rsl_tls_status
tls_read_some(rsl_tls *tls, void *buf, size_t cap, size_t *out)
{
    int64_t start_ns = rsl_prof_begin();
    rsl_tls_status status = tls->ops->read(tls, buf, cap, out);

    rsl_prof_end(RSL_PROF_TLS_READ, start_ns, *out);
    if (status == RSL_TLS_EOF) {
        tls_enter(tls, tls->state == RSL_TLS_STATE_CLOSE_SENT
                           ? RSL_TLS_STATE_CLOSED
                           : RSL_TLS_STATE_PEER_CLOSED);
    } else if (status == RSL_TLS_ERROR) {
        tls_enter(tls, RSL_TLS_STATE_FAILED);
    }
    return status;
}

static rsl_tls_status
tls_read_answer(const rsl_tls *tls)
{
    switch (rsl_tls_state_now(tls)) {
    case RSL_TLS_STATE_HANDSHAKE:
    case RSL_TLS_STATE_OPEN:
    case RSL_TLS_STATE_CLOSE_SENT:
        return RSL_TLS_WANT_READ;
    case RSL_TLS_STATE_PEER_CLOSED:
    case RSL_TLS_STATE_CLOSED:
        return RSL_TLS_EOF;
    case RSL_TLS_STATE_FAILED:
    case RSL_TLS_STATE_COUNT:
        break;
    }
    return RSL_TLS_ERROR;
}

rsl_tls_status
rsl_tls_read(rsl_tls *tls, void *buf, size_t cap, size_t *out)
{
    size_t filled = 0;

    /* A library that has nothing to read from takes long to say so; it is asked
     * once, because it may have something else to do. */
    while (filled < cap
           && (filled == 0 || tls->input.ended || rsl_tls_has_input(tls))
           && (tls->state == RSL_TLS_STATE_OPEN
               || tls->state == RSL_TLS_STATE_CLOSE_SENT)) {
        size_t some = 0;

        if (tls_read_some(tls, (uint8_t *)buf + filled, cap - filled, &some)
            != RSL_TLS_DONE) {
            break;
        }
        filled += some;
    }
    tls_show_sessions(tls);
    *out = filled;
    return filled > 0 ? RSL_TLS_DONE : tls_read_answer(tls);
}

/* Where a write stands in its pieces. */
typedef struct tls_cursor {
    const struct iovec *piece, *end;
    size_t offset; /* into *piece */
} tls_cursor;

static void
cursor_advance(tls_cursor *at, size_t len)
{
    at->offset += len;
    while (at->piece < at->end && at->offset >= at->piece->iov_len) {
        at->offset -= at->piece->iov_len;
        at->piece++;
    }
}

/* The next `max` bytes, or what there is: in place when a piece has that many
 * in a row or is the last one, else gathered in `room`. */
static const uint8_t *
cursor_look(const tls_cursor *at, uint8_t *room, size_t max, size_t *out)
{
    const struct iovec *piece = at->piece;
    size_t offset = at->offset;
    size_t len = piece->iov_len - offset, filled = 0;

    if (len >= max || piece + 1 == at->end) {
        *out = len < max ? len : max;
        return (const uint8_t *)piece->iov_base + offset;
    }
    for (; piece < at->end && filled < max; piece++, offset = 0) {
        len = piece->iov_len - offset;
        len = len < max - filled ? len : max - filled;
        if (len > 0) {
            memcpy(room + filled, (const uint8_t *)piece->iov_base + offset,
                   len);
        }
        filled += len;
    }
    *out = filled;
    return room;
}

/* Records until the pieces or the room for output end. */
static rsl_tls_status
tls_write_records(rsl_tls *tls, tls_cursor *at, size_t *taken)
{
    uint8_t room[RSL_TLS_RECORD_MAX];
    size_t max = tls->ops->record_max(tls);

    max = max < sizeof room ? max : sizeof room;
    cursor_advance(at, 0); /* over empty pieces */
    while (at->piece < at->end && tls->output.bytes < RSL_TLS_OUTPUT_HIGH) {
        size_t len;
        const uint8_t *data = cursor_look(at, room, max, &len);
        rsl_tls_status status = tls->ops->write(tls, data, len);

        if (status != RSL_TLS_DONE) {
            return status;
        }
        *taken += len;
        cursor_advance(at, len);
    }
    return RSL_TLS_DONE;
}

rsl_tls_status
rsl_tls_write(rsl_tls *tls, const struct iovec *pieces, unsigned count,
              size_t *out)
{
    tls_cursor at = {pieces, pieces + count, 0};
    rsl_tls_status status;
    int64_t start_ns;

    *out = 0;
    switch (rsl_tls_state_now(tls)) {
    case RSL_TLS_STATE_OPEN:
    case RSL_TLS_STATE_PEER_CLOSED:
        break;
    case RSL_TLS_STATE_HANDSHAKE:
        return RSL_TLS_WANT_READ;
    case RSL_TLS_STATE_CLOSE_SENT:
    case RSL_TLS_STATE_CLOSED:
        return RSL_TLS_EOF;
    case RSL_TLS_STATE_FAILED:
    case RSL_TLS_STATE_COUNT:
        return RSL_TLS_ERROR;
    }
    start_ns = rsl_prof_begin();
    status = tls_write_records(tls, &at, out);
    rsl_prof_end(RSL_PROF_TLS_WRITE, start_ns, *out);
    if (status == RSL_TLS_ERROR) {
        tls_enter(tls, RSL_TLS_STATE_FAILED);
    }
    return status;
}

rsl_tls_status
rsl_tls_close_notify(rsl_tls *tls)
{
    rsl_tls_state next = RSL_TLS_STATE_CLOSED;

    switch (rsl_tls_state_now(tls)) {
    case RSL_TLS_STATE_HANDSHAKE:
        tls_enter(tls, RSL_TLS_STATE_CLOSED);
        return RSL_TLS_DONE;
    case RSL_TLS_STATE_OPEN:
        next = RSL_TLS_STATE_CLOSE_SENT;
        break;
    case RSL_TLS_STATE_PEER_CLOSED:
        break;
    case RSL_TLS_STATE_CLOSE_SENT:
    case RSL_TLS_STATE_CLOSED:
        return RSL_TLS_DONE;
    case RSL_TLS_STATE_FAILED:
    case RSL_TLS_STATE_COUNT:
        return RSL_TLS_ERROR;
    }
    if (tls->ops->close_notify(tls) != RSL_TLS_DONE) {
        tls_enter(tls, RSL_TLS_STATE_FAILED);
        return RSL_TLS_ERROR;
    }
    tls_enter(tls, next);
    return RSL_TLS_DONE;
}

/* --- Output --- */

unsigned
rsl_tls_output(const rsl_tls *tls, struct iovec *iov, unsigned max)
{
    return rsl_tls_output_gather(&tls->output, iov, max);
}

size_t
rsl_tls_output_bytes(const rsl_tls *tls)
{
    return tls->output.bytes;
}

void
rsl_tls_consume(rsl_tls *tls, size_t sent)
{
    rsl_tls_output_drop(&tls->output, sent);
}

/* --- What is known about it --- */

void
rsl_tls_get_info(rsl_tls *tls, rsl_tls_info *out)
{
    memset(out, 0, sizeof *out);
    out->engine = tls->ops->name;
    tls->ops->get_info(tls, out);
}

const rsl_tls_error *
rsl_tls_last_error(const rsl_tls *tls)
{
    return &tls->error;
}

void
rsl_tls_set_owner(rsl_tls *tls, void *owner)
{
    tls->owner = owner;
}

void *
rsl_tls_owner(const rsl_tls *tls)
{
    return tls->owner;
}

rsl_status
rsl_tls_peer_chain(rsl_tls *tls, rsl_tls_each_der each, void *arg)
{
    return tls->ops->peer_chain(tls, each, arg);
}

rsl_status
rsl_tls_channel_binding(rsl_tls *tls, rsl_tls_binding kind, uint8_t *buf,
                        size_t *out)
{
    *out = 0;
    if (kind != RSL_TLS_BINDING_UNIQUE
        || tls->state == RSL_TLS_STATE_HANDSHAKE) {
        return RSL_UNSUPPORTED;
    }
    return tls->ops->tls_unique(tls, buf, out);
}

rsl_status
rsl_tls_export(rsl_tls *tls, const char *label, uint8_t *buf, size_t len)
{
    if (tls->state == RSL_TLS_STATE_HANDSHAKE
        || tls->state == RSL_TLS_STATE_FAILED) {
        return RSL_UNSUPPORTED;
    }
    return tls->ops->export(tls, label, buf, len);
}

rsl_status
rsl_tls_get_session(rsl_tls *tls, uint8_t **out, size_t *len)
{
    *out = NULL;
    *len = 0;
    if (tls->state == RSL_TLS_STATE_HANDSHAKE
        || tls->state == RSL_TLS_STATE_FAILED) {
        return RSL_AGAIN;
    }
    return tls->ops->get_session(tls, out, len);
}

rsl_status
rsl_tls_set_session(rsl_tls *tls, const uint8_t *data, size_t len)
{
    assert(tls->state == RSL_TLS_STATE_HANDSHAKE);
    return tls->ops->set_session(tls, data, len);
}

void
rsl_tls_free(rsl_tls *tls)
{
    if (tls == NULL) {
        return;
    }
    rsl_tls_output_drop(&tls->output, tls->output.bytes);
    rsl_tls_input_fini(&tls->input);
    tls->ops->free(tls);
}
