/* SPDX-License-Identifier: Apache-2.0 */
#include "io/sock_ops.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "core/runtime_impl.h"
#include "core/tick.h"
#include "io/watch_table.h"
#include "net/conn_impl.h"
#include "net/conn_tls.h"
#include "net/listener_impl.h"

enum {
    STEAL_EVENTS = 64,
    STEAL_SIZE = 64 << 10,     /* of one recv by the runtime thread */
    STEAL_COPY_MAX = 16 << 10, /* less than this moves to a chunk that fits */
    ACCEPT_TRIES = 16,
};

rsl_status
rsl_sock_recv(rsl_backend *backend, rsl_conn *conn, void *buf, size_t cap,
              size_t *out, rsl_err *err)
{
    ssize_t got;

    (void)backend; /* the same for all */
    do {
        got = recv(conn->fd, buf, cap, MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
        *out = (size_t)got;
        return RSL_OK;
    }
    if (got == 0) {
        return RSL_EOF;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return RSL_AGAIN;
    }
    *err = (rsl_err){.code = errno, .call = "recv"};
    return RSL_OS;
}

static ssize_t
sock_send(int fd, const struct iovec *iov, unsigned count)
{
    if (count == 1) { /* saves the kernel copying a header and a vector */
        return send(fd, iov->iov_base, iov->iov_len,
                    MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    return sendmsg(fd,
                   &(struct msghdr){.msg_iov = (struct iovec *)(uintptr_t)iov,
                                    .msg_iovlen = count},
                   MSG_DONTWAIT | MSG_NOSIGNAL);
}

rsl_status
rsl_sock_send(rsl_backend *backend, rsl_conn *conn, const struct iovec *iov,
              unsigned count, size_t *out, rsl_err *err)
{
    ssize_t sent;

    (void)backend; /* the same for all */
    do {
        sent = sock_send(conn->fd, iov, count);
    } while (sent < 0 && errno == EINTR);
    if (sent >= 0) {
        *out = (size_t)sent;
        return RSL_OK;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return RSL_AGAIN;
    }
    *err = (rsl_err){.code = errno, .call = "send"};
    return RSL_OS;
}

void
rsl_sock_send_batch(rsl_backend *backend, rsl_conn **conns, unsigned count,
                    bool has_token)
{
    (void)has_token; /* sends need none */
    for (unsigned i = 0; i < count; i++) {
        struct iovec iov[RSL_CONN_IOV_MAX];
        unsigned pieces = rsl_conn_gather(conns[i], iov, RSL_CONN_IOV_MAX);
        size_t wanted = 0, sent = 0;
        rsl_err err = {0};
        rsl_status status;

        for (unsigned k = 0; k < pieces; k++) {
            wanted += iov[k].iov_len;
        }
        if (wanted == 0) {
            continue;
        }
        status = rsl_sock_send(backend, conns[i], iov, pieces, &sent, &err);
        if (status == RSL_OK && sent < wanted) {
            status = RSL_AGAIN;
        }
        rsl_conn_sent(conns[i], status, sent, err.code);
    }
}

/* accept(2): an error of a connection that was dead before it was taken from
 * the queue; the next one may be well. */
static bool
accept_error_is_passing(int code)
{
    switch (code) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return true;
    default: /* an errno is no enum: everything else stands */
        return false;
    }
}

rsl_status
rsl_sock_accept(rsl_backend *backend, rsl_listener *listener, int *out,
                rsl_addr *peer, rsl_err *err)
{
    (void)backend; /* the same for all */
    for (int tries = 0; tries < ACCEPT_TRIES; tries++) {
        struct sockaddr *address = (struct sockaddr *)&peer->storage;
        int fd;

        memset(peer, 0, sizeof *peer);
        peer->length = sizeof peer->storage;
        fd = accept4(listener->fd, address, &peer->length,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            *out = fd;
            return RSL_OK;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return RSL_AGAIN;
        }
        if (!accept_error_is_passing(errno)) {
            *err = (rsl_err){.code = errno, .call = "accept4"};
            return RSL_OS;
        }
    }
    return RSL_AGAIN;
}

void
rsl_stealer_fini(rsl_stealer *stealer)
{
    if (stealer->spare != NULL) {
        rsl_chunk_free(stealer->spare);
        stealer->spare = NULL;
    }
}

/* What was received, in a chunk to give away. Little bytes are copied so that
 * they do not travel in, and keep, a large block; if there is no memory for
 * that they do, for received bytes must not be lost. */
static rsl_chunk *
stealer_pack(rsl_stealer *stealer, size_t len)
{
    rsl_chunk *chunk = NULL;

    if (len < STEAL_COPY_MAX) {
        chunk = rsl_chunk_new(len);
    }
    if (chunk == NULL) {
        chunk = stealer->spare;
        stealer->spare = NULL;
    } else {
        memcpy(rsl_chunk_room(chunk), stealer->spare->data, len);
    }
    chunk->len = len;
    return chunk;
}

static void
steal_end(rsl_conn *conn, rsl_status status, const rsl_err *err, rsl_sink *sink)
{
    rsl_event event = {.u.arg = 0};

    if (status == RSL_EOF) {
        /* An EOF stays readable: a conn that was stopped meets it later. */
        if (!rsl_conn_enter(conn, RSL_CONN_READING, RSL_CONN_READ_DONE)) {
            return;
        }
        event.tag = rsl_tag(RSL_EV_EOF, conn->id);
    } else {
        if (!rsl_conn_fail_read(conn)) {
            return;
        }
        event.tag = rsl_tag(RSL_EV_READ_ERROR, conn->id);
        event.u.arg = err->code;
    }
    sink->emit(sink, event);
}

/* Give away what was received: decrypted, where that may be done here. */
static void
steal_emit(rsl_stealer *stealer, rsl_conn *conn, size_t got, rsl_sink *sink)
{
    rsl_conn_tls *tls = conn->tls;
    rsl_chunk *chunk;

    if (tls != NULL
        && rsl_conn_tls_steal(conn, tls, stealer->spare->data, got, sink)) {
        return;
    }
    chunk = stealer_pack(stealer, got);
    if (tls != NULL) {
        rsl_conn_tls_count(tls, chunk);
    }
    sink->emit(sink, (rsl_event){.tag = rsl_tag(RSL_EV_DATA, conn->id),
                                 .u.ptr = chunk});
}

/* Read one conn once. True when there may be more. */
static bool
steal_once(rsl_stealer *stealer, rsl_conn *conn, size_t *taken, rsl_sink *sink)
{
    rsl_err err = {0};
    size_t got = 0;
    rsl_status status;

    if (stealer->spare == NULL) {
        stealer->spare = rsl_chunk_new(STEAL_SIZE);
        if (stealer->spare == NULL) {
            return false; /* the loop thread reads it, or runs out as well */
        }
    }
    status = rsl_sock_recv(NULL, conn, rsl_chunk_room(stealer->spare),
                           STEAL_SIZE, &got, &err);
    atomic_fetch_add(&conn->rt->syscalls_runtime, 1);
    if (status == RSL_EOF || status == RSL_OS) {
        steal_end(conn, status, &err, sink);
    }
    if (status != RSL_OK) {
        return false;
    }
    *taken += got;
    steal_emit(stealer, conn, got, sink);
    return got == STEAL_SIZE;
}

static void
stealer_keep_watches(rsl_stealer *stealer, const struct epoll_event *ready,
                     int count)
{
    for (int i = 0; i < count; i++) {
        if (rsl_tag_kind(ready[i].data.u64) == RSL_EV_WATCH
            && (ready[i].data.u64 & RSL_WATCH_TAG_ONCE) != 0) {
            stealer->once[stealer->once_count++] = ready[i];
        }
    }
}

size_t
rsl_steal_from(rsl_stealer *stealer, rsl_runtime *rt, int epfd, size_t budget,
               rsl_sink *sink)
{
    struct epoll_event ready[STEAL_EVENTS];
    unsigned room = RSL_STEALER_ONCE_MAX - stealer->once_count;
    int max = room < STEAL_EVENTS ? (int)room : STEAL_EVENTS;
    int count = max == 0 ? 0 : epoll_wait(epfd, ready, max, 0);
    size_t taken = 0;

    stealer_keep_watches(stealer, ready, count);
    for (int i = 0; i < count && taken < budget; i++) {
        uint64_t tag = ready[i].data.u64;
        rsl_conn *conn;

        if (rsl_tag_kind(tag) != RSL_EV_READABLE
            || (ready[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) == 0) {
            continue;
        }
        conn = rsl_id_table_find(&rt->conns, rsl_tag_id(tag));
        while (conn != NULL && taken < budget
               && rsl_conn_state_now(conn) == RSL_CONN_READING
               && rsl_steal_allowed(conn)
               && steal_once(stealer, conn, &taken, sink)) {
            continue;
        }
    }
    return taken;
}
