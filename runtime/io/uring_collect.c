/* SPDX-License-Identifier: Apache-2.0 */
/* uring_collect.c - what completions mean.
 *
 * A completion whose id was removed belongs to nobody: its buffer goes
 * back. Consecutive receives of one conn become one DATA event. */
#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>

#include "io/uring.h"
#include "net/conn_tls.h"

enum { WATCH_EVENTS = 128 };

/* One collect; `head` is the chain that `conn` has received so far. */
typedef struct collector {
    uring_backend *backend;
    rsl_sink *sink;
    rsl_conn *conn;
    rsl_chunk *head, *tail;
    size_t bytes;
    bool watch_is_ready;
} collector;

static void
collector_emit(collector *self, rsl_event_kind kind, uint64_t id, int arg)
{
    self->sink->emit(self->sink,
                     (rsl_event){.tag = rsl_tag(kind, id), .u.arg = arg});
}

static void
collector_flush(collector *self)
{
    if (self->conn == NULL) {
        return;
    }
    if (self->bytes >= URING_MUCH_BYTES) {
        self->conn->io_flags |= URING_POLLS;
        self->conn->io_small = 0;
        uring_want_conn(self->backend, self->conn);
    }
    self->conn->queued_events++;
    rsl_conn_count_read(self->conn, &self->conn->rt->stats, self->bytes);
    rsl_stat_add(&self->conn->rt->stats, RSL_STAT_READS_RING, 1);
    rsl_spin_hear(&self->backend->base.rt->spin, self->conn->id);
    self->sink->emit(self->sink,
                     (rsl_event){.tag = rsl_tag(RSL_EV_DATA, self->conn->id),
                                 .u.ptr = self->head});
    self->conn = NULL;
}

static void
collector_append(collector *self, rsl_conn *conn, rsl_chunk *chunk)
{
    rsl_conn_tls *tls = conn->tls;

    if (tls != NULL) {
        rsl_conn_tls_count(tls, chunk);
    }
    if (self->conn != conn
        || self->bytes + chunk->len > URING_EVENT_BYTES_MAX) {
        collector_flush(self);
        self->conn = conn;
        self->head = chunk;
        self->bytes = 0;
    } else {
        self->tail->next = chunk;
    }
    self->tail = chunk;
    self->bytes += chunk->len;
}

/* The multishot has ended with `result`. */
static void
collector_end_read(collector *self, rsl_conn *conn, int result)
{
    switch (result) {
    case 0:
        /* A stopped conn meets its end when it starts again. */
        if (rsl_conn_enter(conn, RSL_CONN_READING, RSL_CONN_READ_DONE)) {
            collector_emit(self, RSL_EV_EOF, conn->id, 0);
        }
        return;
    case -ENOBUFS: /* armed again when some have come back */
        rsl_stat_add(&conn->rt->stats, RSL_STAT_BUFFERS_STARVED, 1);
        return;
    case -ECANCELED:
    case -EAGAIN:
    case -EINTR:
        return;
    default: /* an errno is no enum */
        if (rsl_conn_fail_read(conn)) {
            collector_emit(self, RSL_EV_READ_ERROR, conn->id, -result);
        }
        return;
    }
}

static void
collector_recv(collector *self, const struct io_uring_cqe *cqe)
{
    uring_backend *backend = self->backend;
    unsigned number = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    rsl_conn *conn =
        rsl_id_table_find(&backend->base.rt->conns, rsl_tag_id(cqe->user_data));
    bool dead = conn == NULL || rsl_conn_state_now(conn) == RSL_CONN_CLOSING;

    if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
        if (dead || cqe->res <= 0) {
            uring_buffer_return(&backend->base, number);
        } else {
            collector_append(
                self, conn, uring_bufs_lend(backend, number, (size_t)cqe->res));
        }
    }
    if (conn == NULL || (cqe->flags & IORING_CQE_F_MORE) != 0) {
        return;
    }
    conn->io_flags &= ~(unsigned)(URING_ARMED | URING_CANCELLING);
    if (dead) {
        return;
    }
    if (cqe->res <= 0) {
        collector_flush(self); /* its bytes come first */
        collector_end_read(self, conn, cqe->res);
    }
    if (rsl_conn_state_now(conn) == RSL_CONN_READING) {
        uring_want_conn(backend, conn);
    }
}

static void
collector_pollout(collector *self, const struct io_uring_cqe *cqe)
{
    rsl_conn *conn = rsl_id_table_find(&self->backend->base.rt->conns,
                                       rsl_tag_id(cqe->user_data));

    if (conn == NULL) {
        return;
    }
    conn->io_flags &= ~(unsigned)URING_POLLOUT_ARMED;
    if (conn->write_armed) {
        conn->write_armed = false;
        collector_emit(self, RSL_EV_WRITABLE, conn->id, 0);
    }
}

/* The peer has finished, or the stream is broken. If the multishot has not said
 * so, the owner shall look: rsl_conn_recv() finds the bytes that are left and
 * the end. As long as it has not, the poll is armed again by each wait. */
static void
collector_hangup(collector *self, const struct io_uring_cqe *cqe)
{
    rsl_conn *conn = rsl_id_table_find(&self->backend->base.rt->conns,
                                       rsl_tag_id(cqe->user_data));

    if (conn == NULL) {
        return;
    }
    conn->io_flags &= ~(unsigned)URING_HANGUP_ARMED;
    if (rsl_conn_state_now(conn) == RSL_CONN_READING) {
        collector_flush(self); /* its bytes come first */
        collector_emit(self, RSL_EV_READABLE, conn->id, 0);
        uring_want_conn(self->backend, conn);
    }
}

/* Of a conn that is read by multishot again: those bytes come by themselves. */
static void
collector_pollin(collector *self, const struct io_uring_cqe *cqe)
{
    rsl_conn *conn = rsl_id_table_find(&self->backend->base.rt->conns,
                                       rsl_tag_id(cqe->user_data));

    if (conn == NULL) {
        return;
    }
    conn->io_flags &= ~(unsigned)URING_POLLIN_ARMED;
    if (rsl_conn_state_now(conn) != RSL_CONN_READING) {
        return;
    }
    if ((conn->io_flags & URING_POLLS) != 0) {
        rsl_spin_hear(&self->backend->base.rt->spin, conn->id);
        collector_emit(self, RSL_EV_READABLE, conn->id, 0);
    }
    uring_want_conn(self->backend, conn);
}

/* Armed again by the next wait, by when the owner has accepted. */
static void
collector_accept(collector *self, const struct io_uring_cqe *cqe)
{
    uring_backend *backend = self->backend;
    uint64_t id = rsl_tag_id(cqe->user_data);
    rsl_listener *listener = rsl_listener_find(backend->base.rt, id);

    if (listener == NULL) {
        return;
    }
    listener->io_flags &= ~(unsigned)URING_ARMED;
    if (listener->state != RSL_LISTENER_ACCEPTING) {
        return;
    }
    if (cqe->res >= 0) {
        collector_emit(self, RSL_EV_ACCEPTABLE, id, 0);
    } else if (cqe->res != -ECANCELED && cqe->res != -EINTR) {
        listener->state = RSL_LISTENER_PAUSED;
        collector_emit(self, RSL_EV_ACCEPT_ERROR, id, -cqe->res);
        return;
    }
    uring_want_listener(backend, listener);
}

static void
collector_take(collector *self, const struct io_uring_cqe *cqe)
{
    uring_backend *backend = self->backend;

    switch (uring_data_op(cqe->user_data)) {
    case URING_OP_NONE:
        break;
    case URING_OP_RECV:
        collector_recv(self, cqe);
        break;
    case URING_OP_POLLOUT:
        collector_pollout(self, cqe);
        break;
    case URING_OP_HANGUP:
        collector_hangup(self, cqe);
        break;
    case URING_OP_POLLIN:
        collector_pollin(self, cqe);
        break;
    case URING_OP_ACCEPT:
        collector_accept(self, cqe);
        break;
    case URING_OP_SEND:
        uring_sent(backend, (unsigned)rsl_tag_id(cqe->user_data), cqe->res);
        break;
    case URING_OP_DGRAM_IN:
        uring_dgram_polled(backend, rsl_tag_id(cqe->user_data), RSL_WATCH_READ,
                           self->sink);
        break;
    case URING_OP_DGRAM_OUT:
        uring_dgram_polled(backend, rsl_tag_id(cqe->user_data), RSL_WATCH_WRITE,
                           self->sink);
        break;
    case URING_OP_WATCH:
        backend->watch_armed = false;
        self->watch_is_ready = true;
        break;
    case URING_OP_WAKE:
        if ((cqe->flags & IORING_CQE_F_MORE) == 0) {
            backend->wake_armed = false;
        }
        break;
    }
}

static void
collector_take_stash(collector *self)
{
    uring_stash *stash = &self->backend->stash;

    for (unsigned i = 0; i < stash->count; i++) {
        collector_take(self, &stash->cqes[i]);
    }
    stash->count = 0;
}

static void
collector_take_ring(collector *self)
{
    uring_backend *backend = self->backend;
    struct io_uring_cqe *cqe;
    unsigned head, count = 0;

    io_uring_for_each_cqe(&backend->ring, head, cqe)
    {
        if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
            uring_bufs_take(backend, cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        }
        collector_take(self, cqe);
        count++;
    }
    io_uring_cq_advance(&backend->ring, count);
}

static void
collector_report_watches(collector *self)
{
    uring_backend *backend = self->backend;
    struct epoll_event ready[WATCH_EVENTS];
    int count = epoll_wait(backend->watches.epfd, ready, WATCH_EVENTS, 0);

    for (int i = 0; i < count; i++) {
        rsl_watch_table_report(&backend->watches, ready[i].data.u64,
                               ready[i].events, self->sink);
    }
}

void
uring_collect(rsl_backend *base, rsl_sink *sink)
{
    uring_backend *backend = uring_of(base);
    collector self = {.backend = backend, .sink = sink};

    collector_take_stash(&self);
    collector_take_ring(&self);
    /* Completions that did not fit wait in the kernel, older than what the
     * sockets hold: bring them in before anybody may recv(). */
    while (
        (IO_URING_READ_ONCE(*backend->ring.sq.kflags) & IORING_SQ_CQ_OVERFLOW)
            != 0
        && uring_enter(backend, 0, 0) == 0) {
        collector_take_ring(&self);
    }
    collector_flush(&self);
    if (self.watch_is_ready) {
        collector_report_watches(&self);
    }
    backend->unreaped = false;
}
