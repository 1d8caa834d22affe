/* SPDX-License-Identifier: Apache-2.0 */
/* fake_backend.h - a backend whose sockets are memory.
 *
 * Role:    makes the runtime's interleavings happen on purpose: any operation
 *          fails when told to, receives and sends come short, events come in
 *          another order, all of it repeatable from a seed. It also asserts
 *          what backend.h demands of its callers.
 * Thread:  as backend.h; the fake_* functions from any thread.
 * Memory:  freed with its runtime. */
#ifndef FAKE_BACKEND_H
#define FAKE_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/runtime_impl.h"

typedef enum fake_op {
    FAKE_ATTACH,
    FAKE_WAIT,
    FAKE_CONN_ADD,
    FAKE_READ_START,
    FAKE_WRITE_ARM,
    FAKE_RECV,
    FAKE_SEND,
    FAKE_LISTENER_ADD,
    FAKE_ACCEPT,
    FAKE_WATCH_SET,
    FAKE_OP_COUNT,
} fake_op;

typedef struct fake_backend fake_backend;

/* An rsl_backend_open_fn. */
rsl_status
fake_backend_open(rsl_runtime *rt, rsl_backend_kind wanted, rsl_backend **out,
                  const char **reason, int *reason_errno, rsl_err *err);

/* A runtime on the fake that is entered; fails the test when it cannot. */
rsl_runtime *fake_runtime(rsl_takeover takeover, const rsl_hooks *hooks);

fake_backend *fake_of(const rsl_runtime *rt);

/* --- How the world behaves --- */

/* The `nth` call of `op` from now on (1: the next) fails with RSL_OS and
 * `code`, once. Code 0 means RSL_NOMEM. */
void fake_fail(fake_backend *fake, fake_op op, unsigned nth, int code);

/* Receives and sends move at most `most` bytes, by chance fewer; a steal ends
 * early; events come shuffled. 0 ends it. */
void fake_disturb(fake_backend *fake, uint64_t seed, size_t most);

/* Emit RSL_EV_DATA at collect, as a ring does, and not RSL_EV_READABLE. */
void fake_use_completions(fake_backend *fake);

/* Called by steal, token held, before each conn that it would read. */
void fake_during_steal(fake_backend *fake, void (*hook)(void *arg), void *arg);

/* Called by peek, token held, before it looks. */
void fake_during_peek(fake_backend *fake, void (*hook)(void *arg), void *arg);

/* --- Streams --- */

/* Open a conn over a real socket pair, which only carries the closing: its
 * bytes come from fake_feed(). The peer's end is *peer, the caller's. */
rsl_conn *fake_conn(rsl_runtime *rt, void *owner, int *peer);

void
fake_feed(fake_backend *fake, rsl_conn *conn, const void *data, size_t len);
void fake_feed_eof(fake_backend *fake, rsl_conn *conn);
void fake_feed_reset(fake_backend *fake, rsl_conn *conn, int code);

/* Bytes that were fed and not received. */
size_t fake_unread(fake_backend *fake, rsl_conn *conn);

/* How many bytes the peer takes before the socket is full; at first all. */
void fake_set_window(fake_backend *fake, rsl_conn *conn, size_t bytes);

/* Move what was sent into `buf`; the number of bytes. */
size_t
fake_take_sent(fake_backend *fake, rsl_conn *conn, void *buf, size_t cap);

/* --- Listeners and figures --- */

/* The next accept on `listener` gives `fd`. */
void fake_feed_fd(fake_backend *fake, rsl_listener *listener, int fd);

/* Time-out of the last wait. */
int64_t fake_waited_ns(const fake_backend *fake);

/* Calls of peek. */
unsigned fake_peeks(const fake_backend *fake);

/* Calls of `op`. */
unsigned fake_calls(const fake_backend *fake, fake_op op);

/* Streams between conn_add and conn_remove. */
unsigned fake_streams(const fake_backend *fake);

#endif
