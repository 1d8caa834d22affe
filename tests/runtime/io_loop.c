/* SPDX-License-Identifier: Apache-2.0 */
#include "io_loop.h"
#include "net/conn_tls.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IO_RECV_BYTES = 64 << 10 };

rsl_backend_kind io_backend;
unsigned io_loans[IO_LOANS_MAX];
unsigned io_closed;

void *
io_loan(unsigned number)
{
    return &io_loans[number];
}

static void
io_loan_return(void *loan)
{
    ++*(unsigned *)loan;
}

static void
io_conn_closed(void *owner)
{
    (void)owner;
    io_closed++;
}

static void
io_sink_emit(rsl_sink *sink, rsl_event event)
{
    io_loop *loop = (io_loop *)(void *)((char *)sink - offsetof(io_loop, sink));

    if (loop->count == loop->cap) {
        loop->cap = loop->cap == 0 ? 64 : 2 * loop->cap;
        loop->ready = realloc(loop->ready, loop->cap * sizeof *loop->ready);
        assert_non_null(loop->ready);
    }
    loop->ready[loop->count++] = event;
    loop->collected++;
}

void
io_loop_init(io_loop *loop, rsl_takeover takeover)
{
    rsl_config config = {
        .backend = io_backend,
        .takeover = takeover,
        .hooks = {.loan_return = io_loan_return, .conn_closed = io_conn_closed},
    };
    rsl_info info;
    rsl_err err = {0};

    memset(loop, 0, sizeof *loop);
    memset(io_loans, 0, sizeof io_loans);
    io_closed = 0;
    loop->sink.emit = io_sink_emit;
    assert_int_equal(rsl_runtime_new(&config, &loop->rt, &err), RSL_OK);
    rsl_runtime_info(loop->rt, &info);
    assert_string_equal(info.backend,
                        io_backend == RSL_BACKEND_EPOLL ? "epoll" : "io_uring");
    assert_int_equal(rsl_runtime_enter(loop->rt, &err), RSL_OK);
}

static void
io_loop_discard(io_loop *loop)
{
    while (loop->head < loop->count) {
        rsl_event event = loop->ready[loop->head++];
        if (rsl_tag_kind(event.tag) == RSL_EV_DATA) {
            rsl_chunk_release(loop->rt, event.u.ptr);
        }
    }
}

void
io_loop_fini(io_loop *loop)
{
    rsl_runtime_leave(loop->rt);
    rsl_runtime_drain(loop->rt, &loop->sink);
    io_loop_discard(loop);
    rsl_runtime_free(loop->rt);
    free(loop->ready);
    for (unsigned i = 0; i < loop->accepts; i++) {
        close(loop->accepted[i]);
    }
}

static void
io_stream_append(io_stream *stream, const void *data, size_t len)
{
    stream->bytes = realloc(stream->bytes, stream->len + len);
    assert_non_null(stream->bytes);
    memcpy(stream->bytes + stream->len, data, len);
    stream->len += len;
}

static void
io_stream_take(io_stream *stream, rsl_runtime *rt, rsl_chunk *chunk)
{
    for (rsl_chunk *each = chunk; each != NULL; each = each->next) {
        io_stream_append(stream, each->data, each->len);
    }
    rsl_chunk_release(rt, chunk);
}

static void
io_stream_read(io_stream *stream)
{
    static uint8_t buf[IO_RECV_BYTES];
    rsl_err err = {0};
    size_t got = 0, about = 0;
    rsl_status status = RSL_OK;

    if (stream->paused) {
        return;
    }
    if (stream->expects) {
        status = rsl_conn_expect(stream->conn, sizeof buf, &about, &err);
    }
    if (status == RSL_OK) {
        status = rsl_conn_recv(stream->conn, buf, sizeof buf, &got, &err);
    }
    switch ((int)status) {
    case RSL_OK:
        io_stream_append(stream, buf, got);
        break;
    case RSL_EOF:
        stream->eofs++;
        break;
    case RSL_OS:
    case RSL_TLS:
        stream->errors++;
        stream->error = err.code;
        break;
    default:
        break;
    }
}

static void
io_stream_decrypt(io_stream *stream)
{
    do {
        io_stream_read(stream);
    } while (rsl_conn_has_plain(stream->conn) && stream->eofs == 0
             && stream->errors == 0);
}

/* Input of a conn with an engine; false for other events. */
static bool
io_stream_tls_event(io_stream *stream, rsl_event event)
{
    rsl_chunk *chunk = event.u.ptr;

    switch ((int)rsl_tag_kind(event.tag)) {
    case RSL_EV_DATA:
        for (; chunk != NULL; chunk = chunk->next) {
            stream->plain_chunks += chunk->tls == RSL_CHUNK_PLAIN;
        }
        rsl_conn_received(stream->conn);
        rsl_conn_feed(stream->conn, event.u.ptr);
        break;
    case RSL_EV_EOF:
        rsl_conn_feed_eof(stream->conn);
        break;
    case RSL_EV_READABLE:
        break;
    default:
        return false;
    }
    io_stream_decrypt(stream);
    return true;
}

static void
io_stream_event(io_loop *loop, io_stream *stream, rsl_event event)
{
    rsl_err err = {0};

    stream->events++;
    if (stream->has_tls && io_stream_tls_event(stream, event)) {
        return;
    }
    switch ((int)rsl_tag_kind(event.tag)) {
    case RSL_EV_READABLE:
        stream->readables++;
        io_stream_read(stream);
        break;
    case RSL_EV_DATA:
        rsl_conn_received(stream->conn);
        if (stream->paused) {
            rsl_conn_hold(stream->conn, event.u.ptr);
        } else {
            io_stream_take(stream, loop->rt, event.u.ptr);
        }
        break;
    case RSL_EV_EOF:
        stream->eofs++;
        break;
    case RSL_EV_READ_ERROR:
        stream->errors++;
        stream->error = (int)event.u.arg;
        break;
    case RSL_EV_WRITABLE:
        stream->writables++;
        (void)rsl_conn_flush(stream->conn, &err);
        break;
    case RSL_EV_SENT:
        stream->sents++;
        stream->sent_code = (int)event.u.arg;
        break;
    }
}

static void
io_loop_accept(io_loop *loop, uint64_t id)
{
    rsl_listener *listener = rsl_listener_find(loop->rt, id);
    rsl_err err = {0};
    rsl_status status;
    rsl_addr peer, known;
    int fd;

    while ((status = rsl_listener_accept(listener, &fd, &peer, &err))
           == RSL_OK) {
        if (rsl_addr_peer(fd, &known, &err) == RSL_OK) { /* or has left */
            assert_memory_equal(&peer, &known, sizeof peer);
        }
        loop->accepted[loop->accepts++] = fd;
    }
    if (status == RSL_OS) {
        loop->accept_errors++;
        loop->accept_error = err.code;
        rsl_listener_pause(listener);
    }
}

static void
io_loop_event(io_loop *loop, rsl_event event)
{
    uint64_t id = rsl_tag_id(event.tag);
    rsl_conn *conn;

    switch ((int)rsl_tag_kind(event.tag)) {
    case RSL_EV_CALL:
        loop->messages++;
        break;
    case RSL_EV_ACCEPTABLE:
        io_loop_accept(loop, id);
        break;
    case RSL_EV_DGRAM:
        loop->dgram_mask = (unsigned)event.u.arg;
        loop->dgram_events++;
        break;
    case RSL_EV_ACCEPT_ERROR:
        loop->accept_errors++;
        loop->accept_error = (int)event.u.arg;
        break;
    case RSL_EV_WATCH:
        loop->watch_events[id]++;
        loop->watch_mask[id] = (unsigned)event.u.arg;
        break;
    default:
        conn = rsl_conn_find(loop->rt, id);
        if (conn != NULL) {
            io_stream_event(loop, rsl_conn_owner(conn), event);
        } else if (rsl_tag_kind(event.tag) == RSL_EV_DATA) {
            rsl_chunk_release(loop->rt, event.u.ptr);
        }
        break;
    }
}

void
io_loop_poll(io_loop *loop, int64_t timeout_ns)
{
    rsl_err err = {0};

    loop->collected = 0;
    if (loop->head < loop->count) {
        timeout_ns = 0;
    }
    rsl_runtime_drain(loop->rt, &loop->sink);
    if (rsl_runtime_acquire(loop->rt, &loop->sink) != RSL_OK) {
        if (loop->head == loop->count) {
            assert_int_equal(rsl_runtime_sleep(loop->rt, timeout_ns, &err),
                             RSL_OK);
        }
        return;
    }
    if (loop->head < loop->count) {
        timeout_ns = 0;
    }
    timeout_ns = rsl_runtime_look(loop->rt, timeout_ns);
    assert_int_equal(rsl_runtime_wait(loop->rt, timeout_ns, &err), RSL_OK);
    rsl_runtime_collect(loop->rt, &loop->sink);
    rsl_runtime_release(loop->rt, (unsigned)(loop->count - loop->head));
}

void
io_loop_run(io_loop *loop)
{
    while (loop->head < loop->count) {
        io_loop_event(loop, loop->ready[loop->head++]);
    }
    loop->head = loop->count = 0;
    rsl_runtime_flush(loop->rt, &loop->sink);
}

void
io_loop_turn(io_loop *loop, int64_t timeout_ns)
{
    io_loop_poll(loop, timeout_ns);
    io_loop_run(loop);
}

int
io_listening_fd(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (void *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 128), 0);
    return fd;
}

int
io_connect(int listening_fd)
{
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(getsockname(listening_fd, (void *)&address, &len), 0);
    if (connect(fd, (void *)&address, len) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

void
io_tcp_pair(int pair[2])
{
    int listening_fd = io_listening_fd();

    pair[1] = io_connect(listening_fd);
    assert_true(pair[1] >= 0);
    pair[0] = accept4(listening_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    assert_true(pair[0] >= 0);
    close(listening_fd);
}

void
io_stream_open(io_loop *loop, io_stream *stream, bool tcp)
{
    int pair[2];

    memset(stream, 0, sizeof *stream);
    if (tcp) {
        io_tcp_pair(pair);
    } else {
        assert_int_equal(socketpair(AF_UNIX,
                                    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                                    0, pair),
                         0);
    }
    stream->peer = pair[1];
    assert_int_equal(
        rsl_conn_open(loop->rt, pair[0], false, stream, &stream->conn), RSL_OK);
    assert_int_equal(rsl_conn_read_start(stream->conn), RSL_OK);
}

/* The conn is left to rsl_runtime_free(), or closed by the test. */
void
io_stream_fini(io_stream *stream)
{
    if (stream->peer >= 0) {
        close(stream->peer);
    }
    free(stream->bytes);
}

void
io_stream_pause(io_stream *stream)
{
    stream->paused = true;
    rsl_conn_read_stop(stream->conn);
}

void
io_stream_resume(io_loop *loop, io_stream *stream)
{
    stream->paused = false;
    io_stream_take(stream, loop->rt, rsl_conn_take_held(stream->conn));
    assert_int_equal(rsl_conn_read_start(stream->conn), RSL_OK);
}

void
io_peer_send(io_loop *loop, io_stream *stream, const void *data, size_t len)
{
    const uint8_t *next = data;

    while (len > 0) {
        ssize_t sent =
            send(stream->peer, next, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            next += sent;
            len -= (size_t)sent;
        } else {
            assert_true(sent < 0 && errno == EAGAIN);
            io_loop_turn(loop, 10000000);
        }
    }
}

ssize_t
io_peer_recv(io_stream *stream, void *buf, size_t cap)
{
    return recv(stream->peer, buf, cap, MSG_DONTWAIT);
}

void
io_peer_reset(io_stream *stream)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    assert_int_equal(
        setsockopt(stream->peer, SOL_SOCKET, SO_LINGER, &linger, sizeof linger),
        0);
    close(stream->peer);
    stream->peer = -1;
}

void
io_queue(io_stream *stream, const void *data, size_t len, unsigned loan)
{
    assert_int_equal(rsl_conn_write(stream->conn, data, len, io_loan(loan)),
                     RSL_OK);
}
