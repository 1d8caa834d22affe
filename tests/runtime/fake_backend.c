/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/buf.h"
#include "core/tick.h"
#include "net/conn_impl.h"

static bool
fake_succeeds(fake_backend *fake, fake_op op, rsl_status *status, rsl_err *err)
{
    bool may;

    pthread_mutex_lock(&fake->lock);
    may = fake_may(fake, op, status, err);
    pthread_mutex_unlock(&fake->lock);
    return may;
}

fake_listener *
fake_listener_of(fake_backend *fake, const rsl_listener *listener)
{
    for (int i = 0; i < FAKE_LISTENERS_MAX; i++) {
        if (fake->listeners[i].listener == listener) {
            return &fake->listeners[i];
        }
    }
    return NULL;
}

static bool
fake_has_event(const fake_backend *fake)
{
    for (int i = 0; i < FAKE_STREAMS_MAX; i++) {
        const fake_stream *stream = &fake->streams[i];

        if (fake_stream_is_readable(stream)
            || (stream->conn != NULL && stream->write_armed
                && stream->window > 0)) {
            return true;
        }
    }
    for (int i = 0; i < FAKE_LISTENERS_MAX; i++) {
        if (fake->listeners[i].count > 0) {
            return true;
        }
    }
    return false;
}

/* --- The backend's operations --- */

static void
fake_close(rsl_backend *backend)
{
    fake_backend *fake = (fake_backend *)backend;

    for (int i = 0; i < FAKE_STREAMS_MAX; i++) {
        free(fake->streams[i].in);
        free(fake->streams[i].sent);
    }
    close(fake->epoll_fd);
    close(fake->feed_fd);
    pthread_mutex_destroy(&fake->lock);
    free(fake);
}

static rsl_status
fake_attach(rsl_backend *backend, rsl_err *err)
{
    rsl_status status = RSL_OK;

    assert(backend->rt->has_token);
    (void)fake_succeeds((fake_backend *)backend, FAKE_ATTACH, &status, err);
    return status;
}

static void
fake_detach(rsl_backend *backend)
{
    assert(backend->rt->has_token);
    (void)backend; /* only assert() reads it */
}

static rsl_status
fake_wait(rsl_backend *backend, int64_t timeout_ns, rsl_err *err)
{
    fake_backend *fake = (fake_backend *)backend;
    struct epoll_event events[2];
    rsl_status status;
    uint64_t count;
    int timeout_ms = timeout_ns < 0 ? -1 : (int)(timeout_ns / 1000000);

    assert(backend->rt->has_token);
    if (!fake_succeeds(fake, FAKE_WAIT, &status, err)) {
        return status;
    }
    (void)!read(fake->feed_fd, &count, sizeof count);
    pthread_mutex_lock(&fake->lock);
    fake->waited_ns = timeout_ns;
    if (fake_has_event(fake)) {
        timeout_ms = 0;
    }
    pthread_mutex_unlock(&fake->lock);
    (void)!epoll_wait(fake->epoll_fd, events, 2, timeout_ms);
    return RSL_OK;
}

static bool
fake_peek(rsl_backend *backend)
{
    fake_backend *fake = (fake_backend *)backend;
    bool found;

    assert(backend->rt->has_token);
    if (fake->peek_hook != NULL) {
        fake->peek_hook(fake->peek_arg);
    }
    pthread_mutex_lock(&fake->lock);
    fake->peeks++;
    found = fake_has_event(fake);
    pthread_mutex_unlock(&fake->lock);
    return found;
}

static void
fake_collect(rsl_backend *backend, rsl_sink *sink)
{
    fake_backend *fake = (fake_backend *)backend;
    size_t first = 0, step = 1;

    assert(backend->rt->has_token);
    pthread_mutex_lock(&fake->lock);
    if (fake->most != 0) { /* any odd step walks all of a power of two */
        first = fake_random(fake, FAKE_STREAMS_MAX);
        step = 2 * fake_random(fake, FAKE_STREAMS_MAX / 2) + 1;
    }
    for (size_t i = 0; i < FAKE_STREAMS_MAX; i++) {
        fake_stream_collect(
            fake, &fake->streams[(first + i * step) % FAKE_STREAMS_MAX], sink);
    }
    for (int i = 0; i < FAKE_LISTENERS_MAX; i++) {
        fake_listener *listener = &fake->listeners[i];

        if (listener->listener != NULL && listener->count > 0) {
            uint64_t id = rsl_listener_id(listener->listener);
            sink->emit(sink,
                       (rsl_event){.tag = rsl_tag(RSL_EV_ACCEPTABLE, id)});
        }
    }
    pthread_mutex_unlock(&fake->lock);
}

static size_t
fake_steal(rsl_backend *backend, size_t budget, rsl_sink *sink)
{
    fake_backend *fake = (fake_backend *)backend;
    struct epoll_event events[2];
    size_t taken = 0;

    assert(rsl_token_holder_now(&backend->rt->token) == RSL_TOKEN_RUNTIME);
    /* Like a real set that two threads poll: this may swallow the edge of the
     * mailbox's eventfd. */
    (void)!epoll_wait(fake->epoll_fd, events, 2, 0);
    for (int i = 0; i < FAKE_STREAMS_MAX && taken < budget; i++) {
        fake_stream *stream = &fake->streams[i];
        bool readable, more = true;

        pthread_mutex_lock(&fake->lock);
        readable = fake_stream_is_readable(stream);
        pthread_mutex_unlock(&fake->lock);
        if (!readable) {
            continue;
        }
        if (fake->steal_hook != NULL) {
            fake->steal_hook(fake->steal_arg);
        }
        while (more && taken < budget && rsl_steal_allowed(stream->conn)
               && atomic_load(&stream->conn->state) == RSL_CONN_READING) {
            pthread_mutex_lock(&fake->lock);
            more = fake_stream_complete(fake, stream, sink, &taken);
            if (fake->most != 0 && fake_random(fake, 8) == 0) {
                budget = 0; /* enough for this time */
            }
            pthread_mutex_unlock(&fake->lock);
        }
    }
    return taken;
}

static rsl_status
fake_conn_add(rsl_backend *backend, rsl_conn *conn)
{
    fake_backend *fake = (fake_backend *)backend;
    fake_stream *stream;
    rsl_status status = RSL_OK;

    pthread_mutex_lock(&fake->lock);
    if (fake_may(fake, FAKE_CONN_ADD, &status, NULL)) {
        assert(fake_stream_of(fake, conn) == NULL);
        stream = fake_stream_of(fake, NULL);
        assert(stream != NULL);
        *stream = (fake_stream){.conn = conn, .window = SIZE_MAX};
    }
    pthread_mutex_unlock(&fake->lock);
    return status;
}

static void
fake_conn_remove(rsl_backend *backend, rsl_conn *conn)
{
    fake_backend *fake = (fake_backend *)backend;
    fake_stream *stream;

    assert(rsl_token_holder_now(&backend->rt->token) == RSL_TOKEN_LOOP);
    pthread_mutex_lock(&fake->lock);
    stream = fake_stream_of(fake, conn);
    assert(stream != NULL);
    free(stream->in);
    free(stream->sent);
    *stream = (fake_stream){0};
    pthread_mutex_unlock(&fake->lock);
}

static rsl_status
fake_read_start(rsl_backend *backend, rsl_conn *conn)
{
    fake_backend *fake = (fake_backend *)backend;
    rsl_status status = RSL_OK;

    pthread_mutex_lock(&fake->lock);
    if (fake_may(fake, FAKE_READ_START, &status, NULL)) {
        fake_stream_of(fake, conn)->reading = true;
    }
    pthread_mutex_unlock(&fake->lock);
    return status;
}

static void
fake_read_stop(rsl_backend *backend, rsl_conn *conn)
{
    fake_backend *fake = (fake_backend *)backend;

    pthread_mutex_lock(&fake->lock);
    fake_stream_of(fake, conn)->reading = false;
    pthread_mutex_unlock(&fake->lock);
}

static rsl_status
fake_write_arm(rsl_backend *backend, rsl_conn *conn)
{
    fake_backend *fake = (fake_backend *)backend;
    rsl_status status = RSL_OK;

    pthread_mutex_lock(&fake->lock);
    if (fake_may(fake, FAKE_WRITE_ARM, &status, NULL)) {
        fake_stream_of(fake, conn)->write_armed = true;
    }
    pthread_mutex_unlock(&fake->lock);
    return status;
}

static rsl_status
fake_recv(rsl_backend *backend, rsl_conn *conn, void *buf, size_t cap,
          size_t *out, rsl_err *err)
{
    fake_backend *fake = (fake_backend *)backend;
    rsl_chunk into = {.data = buf};
    rsl_status status;

    assert(rsl_token_holder_now(&backend->rt->token) == RSL_TOKEN_LOOP);
    assert(atomic_load(&conn->stolen_bytes) == 0);
    pthread_mutex_lock(&fake->lock);
    status =
        fake_stream_recv(fake, fake_stream_of(fake, conn), err, &into, cap);
    pthread_mutex_unlock(&fake->lock);
    *out = into.len;
    return status;
}

static rsl_status
fake_send(rsl_backend *backend, rsl_conn *conn, const struct iovec *iov,
          unsigned count, size_t *out, rsl_err *err)
{
    fake_backend *fake = (fake_backend *)backend;
    fake_stream *stream;
    rsl_status status = RSL_OK;
    size_t len = 0;

    *out = 0;
    pthread_mutex_lock(&fake->lock);
    if (!fake_may(fake, FAKE_SEND, &status, err)) {
        goto unlock;
    }
    stream = fake_stream_of(fake, conn);
    for (unsigned i = 0; i < count; i++) {
        len += iov[i].iov_len;
    }
    len = fake_shorten(fake, len < stream->window ? len : stream->window);
    if (len == 0) {
        status = RSL_AGAIN;
        goto unlock;
    }
    stream->sent = realloc(stream->sent, stream->sent_len + len);
    assert(stream->sent != NULL);
    for (unsigned i = 0; *out < len; i++) {
        size_t left = len - *out;
        size_t part = iov[i].iov_len < left ? iov[i].iov_len : left;

        memcpy(stream->sent + stream->sent_len, iov[i].iov_base, part);
        stream->sent_len += part;
        *out += part;
    }
    if (stream->window != SIZE_MAX) {
        stream->window -= len;
    }
unlock:
    pthread_mutex_unlock(&fake->lock);
    return status;
}

static void
fake_send_batch(rsl_backend *backend, rsl_conn **conns, unsigned count,
                bool has_token)
{
    assert(has_token == backend->rt->has_token);
    (void)has_token; /* only assert() reads it */
    for (unsigned i = 0; i < count; i++) {
        struct iovec iov[RSL_CONN_IOV_MAX];
        unsigned pieces = rsl_conn_gather(conns[i], iov, RSL_CONN_IOV_MAX);
        size_t sent = 0;
        rsl_err err = {0};
        rsl_status status =
            fake_send(backend, conns[i], iov, pieces, &sent, &err);

        rsl_conn_sent(conns[i], status, sent, err.code);
    }
}

static rsl_status
fake_listener_add(rsl_backend *backend, rsl_listener *listener, rsl_err *err)
{
    fake_backend *fake = (fake_backend *)backend;
    rsl_status status = RSL_OK;

    if (fake_succeeds(fake, FAKE_LISTENER_ADD, &status, err)) {
        fake_listener_of(fake, NULL)->listener = listener;
    }
    return status;
}

static void
fake_listener_remove(rsl_backend *backend, rsl_listener *listener)
{
    fake_listener *slot = fake_listener_of((fake_backend *)backend, listener);

    assert(slot != NULL);
    for (unsigned i = 0; i < slot->count; i++) {
        close(slot->fds[i]);
    }
    *slot = (fake_listener){0};
}

static rsl_status
fake_accept(rsl_backend *backend, rsl_listener *listener, int *out,
            rsl_addr *peer, rsl_err *err)
{
    fake_backend *fake = (fake_backend *)backend;
    fake_listener *slot = fake_listener_of(fake, listener);
    rsl_status status = RSL_OK;

    if (!fake_succeeds(fake, FAKE_ACCEPT, &status, err)) {
        return status;
    }
    if (slot->count == 0) {
        return RSL_AGAIN;
    }
    *out = slot->fds[0];
    peer->length = 0;
    slot->count--;
    memmove(slot->fds, slot->fds + 1, slot->count * sizeof slot->fds[0]);
    return RSL_OK;
}

static rsl_status
fake_watch_set(rsl_backend *backend, int fd, unsigned mask, rsl_err *err)
{
    rsl_status status = RSL_OK;

    (void)fd, (void)mask; /* the fake reports no watches */
    (void)fake_succeeds((fake_backend *)backend, FAKE_WATCH_SET, &status, err);
    return status;
}

static void
fake_buffer_return(rsl_backend *backend, uint32_t number)
{
    (void)backend, (void)number; /* the fake provides no buffers */
    assert(false);
}

static const rsl_backend_ops fake_ops = {
    .name = "fake",
    .close = fake_close,
    .attach = fake_attach,
    .detach = fake_detach,
    .wait = fake_wait,
    .collect = fake_collect,
    .peek = fake_peek,
    .steal = fake_steal,
    .conn_add = fake_conn_add,
    .conn_remove = fake_conn_remove,
    .read_start = fake_read_start,
    .read_stop = fake_read_stop,
    .write_arm = fake_write_arm,
    .recv = fake_recv,
    .send = fake_send,
    .send_batch = fake_send_batch,
    .listener_add = fake_listener_add,
    .listener_remove = fake_listener_remove,
    .accept = fake_accept,
    .watch_set = fake_watch_set,
    .buffer_return = fake_buffer_return,
};

rsl_status
fake_backend_open(rsl_runtime *rt, rsl_backend_kind wanted, rsl_backend **out,
                  const char **reason, int *reason_errno, rsl_err *err)
{
    fake_backend *fake = calloc(1, sizeof *fake);
    struct epoll_event mailbox = {.events = EPOLLIN | EPOLLET};
    struct epoll_event feed = {.events = EPOLLIN};

    (void)wanted, (void)err; /* there is one, and it opens */
    if (fake == NULL) {
        return RSL_NOMEM;
    }
    fake->base = (rsl_backend){.ops = &fake_ops, .rt = rt};
    pthread_mutex_init(&fake->lock, NULL);
    fake->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    fake->feed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert(fake->epoll_fd >= 0 && fake->feed_fd >= 0);
    assert(
        epoll_ctl(fake->epoll_fd, EPOLL_CTL_ADD, rt->mailbox.wake_fd, &mailbox)
        == 0);
    assert(epoll_ctl(fake->epoll_fd, EPOLL_CTL_ADD, fake->feed_fd, &feed) == 0);
    *out = &fake->base;
    *reason = "a test asked for it";
    *reason_errno = 0;
    return RSL_OK;
}
