/* SPDX-License-Identifier: Apache-2.0 */
/* conn_impl.h - the inside of rsl_conn, for net/, io/ and core/.
 *
 * Role:    one stream's state: where its reading stands, what waits to be
 *          written, and what the backend has in flight for it.
 * Thread:  per field: [L] loop thread, [T] holder of the token, [A] any.
 * Memory:  lives in the runtime's id table from open to the end of close. */
#ifndef RSL_NET_CONN_IMPL_H
#define RSL_NET_CONN_IMPL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/uio.h>

#include <rsl/conn.h>
#include <rsl/stats.h>

#include "base/list.h"

enum { RSL_CONN_IOV_MAX = 64 };

/* One queued piece of output. */
typedef struct rsl_write {
    const uint8_t *data;
    size_t len;
    void *loan;
} rsl_write;

/*            read_start              EOF or error seen
 *  CONN_IDLE ----------> CONN_READING ----------> CONN_READ_DONE
 *       ^                    | read_stop
 *       +--------------------+           close, from every state: CONN_CLOSING
 *  An error that was in flight leads from IDLE to READ_DONE as well. A sink
 *  that could not carry the news takes READ_DONE back to READING.
 *  CONN_CLOSING: waits only for the token; no event carries the id any more. */
typedef enum rsl_conn_state {
    RSL_CONN_IDLE,
    RSL_CONN_READING,
    RSL_CONN_READ_DONE,
    RSL_CONN_CLOSING,
    RSL_CONN_STATE_COUNT,
} rsl_conn_state;

/* Ordered for size: most conns are idle. */
struct rsl_conn {
    rsl_runtime *rt;      /* [K] */
    void *owner;          /* [L] */
    uint64_t id;          /* [K] generation-tagged */
    int fd;               /* [K] until close */
    atomic_uchar state;   /* [A] rsl_conn_state; written by [L], or under [T]
                           * by the runtime thread for READ_DONE only */
    bool borrowed : 1;    /* [L] the fd is closed by its owner */
    bool lingers : 1;     /* [L] see rsl_conn_linger() */
    bool write_armed : 1; /* [L] the backend owes an RSL_EV_WRITABLE */
    bool in_batch : 1;    /* [L] the backend has prepared a send of the head of
                           * the output queue, which stays as it is until the
                           * outcome comes to rsl_conn_sent() */
    /* Backend's own, meaning private to it: */
    uint16_t io_small;      /* [L] io_uring: small reads in a row */
    uint32_t io_flags;      /* [L] */
    uint32_t queued_events; /* [L] DATA events emitted and not yet received */
    rsl_list io_link;       /* [L] the backend's */

    atomic_size_t stolen_bytes; /* [A] added by the runtime thread before it
                                 * pushes, subtracted when the mailbox is
                                 * drained; not 0: do not read past them */
    uint64_t chain_drain;  /* [L] the drain that emitted chain_tail's chain */
    rsl_chunk *chain_tail; /* [L] where that drain may still append */
    rsl_chunk *held_last;  /* [L] arrived while reading was stopped: a ring,
                            * of which this is the newest; or NULL */

    /* [L] writes, [A] reads */
    atomic_uint_fast64_t bytes_read, bytes_written;

    uint32_t chain_bytes; /* [L] of the chain that chain_tail ends */
    /* Output queue: a ring that grows. [L] */
    uint32_t write_head, write_count, write_cap;
    rsl_write *writes;
    size_t backlog_bytes;
    /* [A] net/conn_tls.h's, NULL for plain ones; set by [L]. */
    struct rsl_conn_tls *_Atomic tls;
    int64_t oldest_write_ns; /* when the queue became non-empty */
    rsl_list queue_link;     /* in rt->dirty while it has unsent output that
                              * waits neither for WRITABLE nor for a batch;
                              * while CLOSING, in rt->closing */
};

/* [L] So much was received, by whomever. */
static inline void
rsl_conn_count_read(rsl_conn *conn, rsl_stats *stats, size_t bytes)
{
    rsl_count_add(&conn->bytes_read, bytes);
    rsl_stats_read(stats, bytes);
}

/* Move between two states: true when the state was `from`. Both threads try,
 * and the first wins: a stream ends once. */
bool rsl_conn_enter(rsl_conn *conn, rsl_conn_state from, rsl_conn_state to);

rsl_conn_state rsl_conn_state_now(const rsl_conn *conn);

/* [T] Reading has failed: true when this is news. */
bool rsl_conn_fail_read(rsl_conn *conn);

/* Fill `iov` with what is to be sent next; the number of entries. Encrypts, and
 * so returns loans, where there is an engine. */
unsigned rsl_conn_gather(rsl_conn *conn, struct iovec *iov, unsigned max);

/* The same for what is queued, as it was written. */
unsigned rsl_conn_pieces(const rsl_conn *conn, struct iovec *iov, unsigned max);

/* The first `count` bytes of the queue are done with. */
void rsl_conn_pop_bytes(rsl_conn *conn, size_t count);

/* A chunk that may be kept: a copy of one that lies in a buffer of the ring.
 * Without memory it is returned as it is. */
rsl_chunk *rsl_conn_own_chunk(rsl_conn *conn, rsl_chunk *chunk);

/* There is output: it leaves with the next flush, or when the socket has room
 * again. */
void rsl_conn_want_send(rsl_conn *conn);

/* rsl_conn_recv() of what the socket has. */
rsl_status rsl_conn_recv_raw(rsl_conn *conn, void *buf, size_t cap, size_t *out,
                             rsl_err *err);

/* Outcome of a batched send of this conn: consumes `sent` bytes of the queue,
 * returns loans. `status` is RSL_OK, RSL_AGAIN (the socket is full, maybe after
 * taking a part: arms writing) or RSL_OS with `code`. Emits RSL_EV_SENT through
 * rt->flush_sink when the stream is broken; who waits for room has had
 * RSL_AGAIN and is given RSL_EV_WRITABLE. */
void rsl_conn_sent(rsl_conn *conn, rsl_status status, size_t sent, int code);

/* [T] Finish every conn in rt->closing. core/ calls it whenever the loop
 * thread has taken the token. */
void rsl_conn_close_pending(rsl_runtime *rt);

#endif
