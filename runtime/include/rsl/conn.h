/* SPDX-License-Identifier: Apache-2.0 */
/* conn.h - one connected byte stream (TCP or unix socket).
 *
 * Role:    orders reads, writes and close of one fd; does not know how bytes
 *          move (io/backend.h) nor what they mean.
 * Thread:  loop thread, unless said otherwise. Functions that touch the
 *          stream's read side take the token themselves when it is free and
 *          say RSL_BUSY when the runtime thread has it.
 * Memory:  rsl_conn_open() gives the caller the only handle; it is valid
 *          until rsl_conn_close(). Afterwards the id is stale. */
#ifndef RSL_CONN_H
#define RSL_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rsl/event.h>
#include <rsl/status.h>
#include <rsl/tls.h>

typedef struct rsl_runtime rsl_runtime;
typedef struct rsl_conn rsl_conn;

/* Adopt connected, non-blocking `fd` on behalf of `owner`. On RSL_OK the conn
 * owns the fd unless `borrowed`, in which case hooks.conn_closed() tells when
 * the runtime is done with it. Reading has not started. */
rsl_status rsl_conn_open(rsl_runtime *rt, int fd, bool borrowed, void *owner,
                         rsl_conn **out);

uint64_t rsl_conn_id(const rsl_conn *conn);
int rsl_conn_fd(const rsl_conn *conn);
void *rsl_conn_owner(const rsl_conn *conn);
void rsl_conn_set_owner(rsl_conn *conn, void *owner);

/* The open conn with this id, or NULL when it has been closed. */
rsl_conn *rsl_conn_find(rsl_runtime *rt, uint64_t id);

/* The fd is lent from now on: the runtime no longer closes it itself. */
void rsl_conn_borrow_fd(rsl_conn *conn);

/* Want input. Idempotent. Chunks that were kept while reading was stopped come
 * first, as RSL_EV_DATA emitted through rsl_conn_take_held(). */
rsl_status rsl_conn_read_start(rsl_conn *conn);

/* Want no input. Idempotent; nothing is lost: what the kernel or the runtime
 * thread had already taken still arrives as events, and the caller gives it
 * back with rsl_conn_hold(). */
void rsl_conn_read_stop(rsl_conn *conn);

/* Takes `chunk` chain that arrived while reading was stopped. */
void rsl_conn_hold(rsl_conn *conn, rsl_chunk *chunk);

/* The held chain, oldest first, or NULL; the caller owns it. */
rsl_chunk *rsl_conn_take_held(rsl_conn *conn);

/* Free a chain: provided buffers go back to the ring, heap chunks to malloc. */
void rsl_chunk_release(rsl_runtime *rt, rsl_chunk *chunk);

/* Say that an RSL_EV_DATA of this conn has been taken from the ready queue.
 * Until then rsl_conn_recv() answers RSL_BUSY, for it would read bytes that
 * come after those. Call once for each such event, before using its chunk. */
void rsl_conn_received(rsl_conn *conn);

/* Answer RSL_EV_READABLE: receive at most `cap` bytes into `buf`. RSL_OK with
 * *out > 0, RSL_EOF, RSL_AGAIN, RSL_BUSY (the runtime thread is reading: an
 * event follows), or RSL_OS with *err. */
rsl_status
rsl_conn_recv(rsl_conn *conn, void *buf, size_t cap, size_t *out, rsl_err *err);

/* Queue `len` bytes at `data`, lent until hooks.loan_return(loan), which
 * happens exactly once, on the loop thread, from a function of this header or
 * of runtime.h. On any status but RSL_OK the loan was not taken. The queue is
 * sent by rsl_runtime_flush() at the end of the turn, or rsl_conn_flush(). */
rsl_status
rsl_conn_write(rsl_conn *conn, const void *data, size_t len, void *loan);

/* The one piece that is queued, and in no batch, goes on at `data`, lent as
 * `loan`; its old loan comes back. For memory that was lent for one flush. */
void rsl_conn_relend(rsl_conn *conn, const void *data, void *loan);

/* Bytes that its owner was given or will be, and that the kernel took. Any
 * thread. */
uint64_t rsl_conn_bytes_read(const rsl_conn *conn);
uint64_t rsl_conn_bytes_written(const rsl_conn *conn);

/* Bytes queued and not yet accepted by the kernel. */
size_t rsl_conn_backlog(const rsl_conn *conn);

/* Since when there has been such (rsl_clock_now_ns()), or 0 for no backlog. */
int64_t rsl_conn_waits_since(const rsl_conn *conn);

/* Send now what can be sent. RSL_OK: the queue is empty. RSL_AGAIN: the socket
 * is full, RSL_EV_WRITABLE will follow. RSL_OS with *err: the stream is
 * broken and the queue is kept. */
rsl_status rsl_conn_flush(rsl_conn *conn, rsl_err *err);

/* Bytes that the kernel takes at once, or 0 when it cannot tell. */
size_t rsl_conn_room(const rsl_conn *conn);

/* Whether the queue may outlast the turn, see rsl_runtime_flush_turn(). */
void rsl_conn_linger(rsl_conn *conn, bool lingers);

/* Drop the queue, returning its loans. */
void rsl_conn_discard_writes(rsl_conn *conn);

/* shutdown(SHUT_WR); the queue must be empty. */
rsl_status rsl_conn_shutdown_write(rsl_conn *conn, rsl_err *err);

/* TCP_NODELAY. Every TCP stream wants it: sends are already gathered, so
 * Nagle's wait would only add the peer's delayed ACK. No other socket minds. */
void rsl_sockopt_nodelay(int fd);

/* --- TLS --- */

/* From now on `engine` decrypts what rsl_conn_recv() gives, and encrypts what
 * rsl_conn_write() takes; until rsl_conn_close() it is the conn's alone.
 * Nothing is queued or held. RSL_OK or RSL_NOMEM. */
rsl_status rsl_conn_set_tls(rsl_conn *conn, rsl_tls *engine);

/* From now on the runtime thread may use the engine as well, to decrypt what it
 * reads; or not any more. Nobody else may then but by functions of this header,
 * until the conn is closed. */
void rsl_conn_share_tls(rsl_conn *conn, bool shared);

bool rsl_conn_tls_has_failed(const rsl_conn *conn);

/* Take ciphertext that came as RSL_EV_DATA, or was held; or note that it has
 * ended. rsl_conn_recv() and rsl_conn_handshake_feed() use it. */
void rsl_conn_feed(rsl_conn *conn, rsl_chunk *chunk);
void rsl_conn_feed_eof(rsl_conn *conn);

/* The same for a copy of `len` > 0 bytes. RSL_OK or RSL_NOMEM. */
rsl_status rsl_conn_feed_copy(rsl_conn *conn, const void *data, size_t len);

/* Ciphertext that has come and was not decrypted; what another thread has for a
 * step of the handshake is not counted. */
size_t rsl_conn_tls_input_bytes(const rsl_conn *conn);

/* Before rsl_conn_recv() of a conn with an engine: have input, at most about
 * `cap` bytes where it is the socket's, and say how much plaintext it is: at
 * most that, unless a record came in pieces. What is lent for it ends with the
 * recv, which follows at once, or when reading stops. Results as of a recv. */
rsl_status
rsl_conn_expect(rsl_conn *conn, size_t cap, size_t *out, rsl_err *err);

/* Whether rsl_conn_recv() may have plaintext, or an end, to give although no
 * event will say so. */
bool rsl_conn_has_plain(const rsl_conn *conn);

/* The handshake goes by steps. Feed: what there is of input moves into the
 * engine; *out is how many bytes it has not looked at. RSL_OK, also for none;
 * RSL_AGAIN or RSL_BUSY: an event will say when there is more; RSL_NOMEM;
 * RSL_OS with *err. */
rsl_status rsl_conn_handshake_feed(rsl_conn *conn, size_t *out, rsl_err *err);

/* A step: RSL_OK when it was the last one; RSL_AGAIN: the peer has to say more;
 * RSL_EOF, RSL_TLS. What is to be sent leaves with the next flush. */
rsl_status rsl_conn_handshake(rsl_conn *conn);

/* The same in two halves, for a step on another thread (handshake.h): between
 * them the engine is not used, whatever is called, rsl_conn_close() included.
 * Reading has been stopped. `answer` is what the step came to. */
void rsl_conn_handshake_away(rsl_conn *conn);
rsl_status rsl_conn_handshake_end(rsl_conn *conn, rsl_tls_status answer);

/* End our direction behind what is queued, unless the peer has ended its own
 * without a close_notify. */
void rsl_conn_close_notify(rsl_conn *conn);

/* Close. The handle is dead on return and no event will carry its id; the fd
 * is closed (or hooks.conn_closed() called) before return or, when the runtime
 * thread is reading it just now, at the next turn. Queued loans return. */
void rsl_conn_close(rsl_conn *conn);

#endif
