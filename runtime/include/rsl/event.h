/* SPDX-License-Identifier: Apache-2.0 */
/* event.h - what the runtime reports to the loop thread.
 *
 * Role:    a 16-byte value: kind and id in one word, payload in the other.
 *          pyext's ready queue stores exactly this.
 * Thread:  values only.
 * Memory:  a payload that owns something says so at its kind. */
#ifndef RSL_EVENT_H
#define RSL_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum rsl_event_kind {
    RSL_EV_NONE = 0,
    RSL_EV_CALL,         /* ptr: opaque to the runtime, posted by pyext */
    RSL_EV_READABLE,     /* conn: rsl_conn_recv() has something to say */
    RSL_EV_DATA,         /* conn: ptr is a chain of rsl_chunk; the receiver
                          * must rsl_chunk_release() it */
    RSL_EV_EOF,          /* conn: the peer has finished sending */
    RSL_EV_READ_ERROR,   /* conn: arg is an errno */
    RSL_EV_WRITABLE,     /* conn: call rsl_conn_flush() */
    RSL_EV_SENT,         /* conn: a batched flush failed; arg is an errno */
    RSL_EV_ACCEPTABLE,   /* listener: call rsl_listener_accept() */
    RSL_EV_ACCEPT_ERROR, /* listener: arg is an errno; accepting has paused */
    RSL_EV_DGRAM,        /* dgram: arg is a mask of RSL_WATCH_* */
    RSL_EV_WATCH,        /* id is the fd; arg is a mask of RSL_WATCH_* */
    RSL_EV_MESSAGE,      /* id says what ptr, a rsl_msg, is: RSL_MSG_*, or what
                          * the poster has chosen */
} rsl_event_kind;

/* Ids of the runtime's own messages; others take small ones that are left. */
#define RSL_MSG_LOOKUP    0     /* a rsl_lookup (resolver.h) */
#define RSL_MSG_HANDSHAKE 0x100 /* for rsl_handshake_deliver() */

/* kind in the top 8 bits, id (or fd) in the low 56. */
typedef struct rsl_event {
    uint64_t tag;
    union {
        void *ptr;
        intptr_t arg;
    } u;
} rsl_event;

#define RSL_ID_BITS 56
#define RSL_ID_MASK ((UINT64_C(1) << RSL_ID_BITS) - 1)

static inline uint64_t
rsl_tag(rsl_event_kind kind, uint64_t id)
{
    return ((uint64_t)kind << RSL_ID_BITS) | (id & RSL_ID_MASK);
}

static inline rsl_event_kind
rsl_tag_kind(uint64_t tag)
{
    return (rsl_event_kind)(tag >> RSL_ID_BITS);
}

static inline uint64_t
rsl_tag_id(uint64_t tag)
{
    return tag & RSL_ID_MASK;
}

/* Whether its id is a conn's. */
static inline bool
rsl_event_is_of_conn(rsl_event event)
{
    rsl_event_kind kind = rsl_tag_kind(event.tag);

    return kind >= RSL_EV_READABLE && kind <= RSL_EV_SENT;
}

/* Bytes that have been received and not yet delivered, in stream order.
 * A chain belongs to whoever holds its head. */
typedef struct rsl_chunk {
    struct rsl_chunk *next;
    const uint8_t *data;
    size_t len;
    uint32_t origin; /* RSL_CHUNK_HEAP, or the provided buffer's number */
    uint8_t tls;     /* net/conn_tls.h's */
} rsl_chunk;

#define RSL_CHUNK_HEAP UINT32_MAX

/* Receives events while rsl_runtime_collect() or rsl_runtime_drain() runs.
 * Must take every event; it may not call back into the runtime, nor look into
 * a chain before drain returns, which may append to it until then. */
typedef struct rsl_sink {
    void (*emit)(struct rsl_sink *sink, rsl_event event);
} rsl_sink;

#endif
