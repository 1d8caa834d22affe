/* SPDX-License-Identifier: Apache-2.0 */
/* fake_world.c - what tests do to the fake backend, and see of it. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fake_impl.h"

fake_backend *
fake_of(const rsl_runtime *rt)
{
    return (fake_backend *)rt->backend;
}

static void
fake_signal(fake_backend *fake)
{
    uint64_t one = 1;

    assert(write(fake->feed_fd, &one, sizeof one) == sizeof one);
}

rsl_runtime *
fake_runtime(rsl_takeover takeover, const rsl_hooks *hooks)
{
    rsl_config config = {.takeover = takeover};
    rsl_runtime *rt = NULL;
    rsl_err err = {0};
    rsl_status status;

    if (hooks != NULL) {
        config.hooks = *hooks;
    }
    status = rsl_runtime_new_on(&config, fake_backend_open, &rt, &err);
    assert(status == RSL_OK);
    status = rsl_runtime_enter(rt, &err);
    assert(status == RSL_OK);
    (void)status; /* only assert() reads it */
    return rt;
}

void
fake_fail(fake_backend *fake, fake_op op, unsigned nth, int code)
{
    pthread_mutex_lock(&fake->lock);
    fake->fail_at[op] = fake->calls[op] + nth;
    fake->fail_code[op] = code;
    pthread_mutex_unlock(&fake->lock);
}

void
fake_disturb(fake_backend *fake, uint64_t seed, size_t most)
{
    pthread_mutex_lock(&fake->lock);
    fake->random = seed * 2 + 1; /* xorshift must not start at 0 */
    fake->most = most;
    pthread_mutex_unlock(&fake->lock);
}

void
fake_use_completions(fake_backend *fake)
{
    fake->completions = true;
}

void
fake_during_steal(fake_backend *fake, void (*hook)(void *arg), void *arg)
{
    fake->steal_hook = hook;
    fake->steal_arg = arg;
}

void
fake_during_peek(fake_backend *fake, void (*hook)(void *arg), void *arg)
{
    fake->peek_hook = hook;
    fake->peek_arg = arg;
}

rsl_conn *
fake_conn(rsl_runtime *rt, void *owner, int *peer)
{
    rsl_conn *conn = NULL;
    rsl_status status;
    int pair[2];

    status =
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair)
                == 0
            ? RSL_OK
            : RSL_OS;
    assert(status == RSL_OK);
    status = rsl_conn_open(rt, pair[0], false, owner, &conn);
    assert(status == RSL_OK);
    (void)status; /* only assert() reads it */
    *peer = pair[1];
    return conn;
}

void
fake_feed(fake_backend *fake, rsl_conn *conn, const void *data, size_t len)
{
    fake_stream *stream;

    pthread_mutex_lock(&fake->lock);
    stream = fake_stream_of(fake, conn);
    assert(stream != NULL && !stream->eof);
    if (stream->in_pos > 0) {
        stream->in_len -= stream->in_pos;
        memmove(stream->in, stream->in + stream->in_pos, stream->in_len);
        stream->in_pos = 0;
    }
    if (stream->in_len + len > stream->in_cap) {
        stream->in_cap = (stream->in_len + len) * 2;
        stream->in = realloc(stream->in, stream->in_cap);
        assert(stream->in != NULL);
    }
    memcpy(stream->in + stream->in_len, data, len);
    stream->in_len += len;
    pthread_mutex_unlock(&fake->lock);
    fake_signal(fake);
}

void
fake_feed_eof(fake_backend *fake, rsl_conn *conn)
{
    pthread_mutex_lock(&fake->lock);
    fake_stream_of(fake, conn)->eof = true;
    pthread_mutex_unlock(&fake->lock);
    fake_signal(fake);
}

void
fake_feed_reset(fake_backend *fake, rsl_conn *conn, int code)
{
    pthread_mutex_lock(&fake->lock);
    fake_stream_of(fake, conn)->reset = code;
    pthread_mutex_unlock(&fake->lock);
    fake_signal(fake);
}

size_t
fake_unread(fake_backend *fake, rsl_conn *conn)
{
    fake_stream *stream;
    size_t unread;

    pthread_mutex_lock(&fake->lock);
    stream = fake_stream_of(fake, conn);
    unread = stream->in_len - stream->in_pos;
    pthread_mutex_unlock(&fake->lock);
    return unread;
}

void
fake_set_window(fake_backend *fake, rsl_conn *conn, size_t bytes)
{
    pthread_mutex_lock(&fake->lock);
    fake_stream_of(fake, conn)->window = bytes;
    pthread_mutex_unlock(&fake->lock);
    fake_signal(fake);
}

size_t
fake_take_sent(fake_backend *fake, rsl_conn *conn, void *buf, size_t cap)
{
    fake_stream *stream;
    size_t len;

    pthread_mutex_lock(&fake->lock);
    stream = fake_stream_of(fake, conn);
    len = stream->sent_len < cap ? stream->sent_len : cap;
    memcpy(buf, stream->sent, len);
    stream->sent_len -= len;
    memmove(stream->sent, stream->sent + len, stream->sent_len);
    pthread_mutex_unlock(&fake->lock);
    return len;
}

void
fake_feed_fd(fake_backend *fake, rsl_listener *listener, int fd)
{
    fake_listener *slot = fake_listener_of(fake, listener);

    assert(slot != NULL && slot->count < FAKE_FDS_MAX);
    slot->fds[slot->count++] = fd;
    fake_signal(fake);
}

int64_t
fake_waited_ns(const fake_backend *fake)
{
    return fake->waited_ns;
}

unsigned
fake_peeks(const fake_backend *fake)
{
    return fake->peeks;
}

unsigned
fake_calls(const fake_backend *fake, fake_op op)
{
    return fake->calls[op];
}

unsigned
fake_streams(const fake_backend *fake)
{
    unsigned count = 0;

    for (int i = 0; i < FAKE_STREAMS_MAX; i++) {
        count += fake->streams[i].conn != NULL;
    }
    return count;
}
