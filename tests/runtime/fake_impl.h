/* SPDX-License-Identifier: Apache-2.0 */
/* fake_impl.h - the inside of fake_backend: its state, shared by the backend
 * (fake_backend.c) and by what tests do to it (fake_world.c).
 *
 * Role:    see fake_backend.h.
 * Thread:  everything under `lock`, but what tests set before threads run.
 * Memory:  freed by the backend's close. */
#ifndef FAKE_IMPL_H
#define FAKE_IMPL_H

#include <pthread.h>

#include "fake_backend.h"
#include "net/conn_impl.h"

enum { FAKE_STREAMS_MAX = 64, FAKE_LISTENERS_MAX = 4, FAKE_FDS_MAX = 8 };

typedef struct fake_stream {
    rsl_conn *conn; /* NULL: free */
    uint8_t *in;
    size_t in_pos, in_len, in_cap;
    bool eof;
    int reset;
    bool reading;
    bool write_armed;
    size_t window;
    uint8_t *sent;
    size_t sent_len;
} fake_stream;

typedef struct fake_listener {
    rsl_listener *listener; /* NULL: free */
    int fds[FAKE_FDS_MAX];
    unsigned count;
} fake_listener;

struct fake_backend {
    rsl_backend base;
    pthread_mutex_t lock; /* a test may feed while another thread reads */
    int epoll_fd;         /* the mailbox, edge-triggered, and feed_fd */
    int feed_fd;
    fake_stream streams[FAKE_STREAMS_MAX];
    fake_listener listeners[FAKE_LISTENERS_MAX];
    unsigned calls[FAKE_OP_COUNT];
    unsigned fail_at[FAKE_OP_COUNT]; /* a value of `calls`, 0 for never */
    int fail_code[FAKE_OP_COUNT];
    size_t most;
    uint64_t random;
    bool completions;
    unsigned peeks;
    int64_t waited_ns;
    void (*steal_hook)(void *arg);
    void *steal_arg;
    void (*peek_hook)(void *arg);
    void *peek_arg;
};

/* The slot of this conn or listener, or a free one for NULL. */
fake_stream *fake_stream_of(fake_backend *fake, const rsl_conn *conn);
fake_listener *
fake_listener_of(fake_backend *fake, const rsl_listener *listener);

/* A number below `below`, from the seed. */
size_t fake_random(fake_backend *fake, size_t below);

/* `len`, or less of it while the fake is disturbed; never 0 of something. */
size_t fake_shorten(fake_backend *fake, size_t len);

/* Counts the call; false when it is the one that has to fail. */
bool fake_may(fake_backend *fake, fake_op op, rsl_status *status, rsl_err *err);

bool fake_stream_is_readable(const fake_stream *stream);

/* A receive into a chunk that has room for `cap` bytes. */
rsl_status fake_stream_recv(fake_backend *fake, fake_stream *stream,
                            rsl_err *err, rsl_chunk *into, size_t cap);

/* Read once and emit what came; false at the end, or when nothing is there. */
bool fake_stream_complete(fake_backend *fake, fake_stream *stream,
                          rsl_sink *sink, size_t *taken);

/* Emit what the stream has to say at collect. */
void
fake_stream_collect(fake_backend *fake, fake_stream *stream, rsl_sink *sink);

#endif
