/* SPDX-License-Identifier: Apache-2.0 */
/* uring_send.c - one system call for the sends of many conns.
 *
 * send_batch() only fills submission entries; the next wait submits them with
 * its own enter. From prepare to outcome the head of each conn's queue is
 * frozen (conn->in_batch). Whoever cannot wait that long settles: submits
 * without reading anything, and takes the outcomes out of the completions. */
#include <assert.h>
#include <errno.h>

#include "io/uring.h"

enum { SETTLE_ENTERS = 64 };

static bool
batch_add(uring_backend *backend, rsl_conn *conn)
{
    uring_batch *batch = &backend->batch;
    struct iovec *iov = &batch->iov[batch->pieces];
    unsigned room = URING_BATCH_PIECES - batch->pieces;
    unsigned index = batch->count, pieces;
    const int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    struct io_uring_sqe *sqe;

    pieces = rsl_conn_gather(conn, iov,
                             room < RSL_CONN_IOV_MAX ? room : RSL_CONN_IOV_MAX);
    if (index == URING_BATCH_MAX || pieces == 0) {
        return false;
    }
    sqe = uring_sqe(backend, URING_OP_SEND, index);
    if (sqe == NULL) {
        return false;
    }
    if (pieces == 1) {
        io_uring_prep_send(sqe, conn->fd, iov->iov_base, iov->iov_len, flags);
    } else {
        batch->headers[index] =
            (struct msghdr){.msg_iov = iov, .msg_iovlen = pieces};
        io_uring_prep_sendmsg(sqe, conn->fd, &batch->headers[index],
                              (unsigned)flags);
    }
    sqe->user_data = uring_data(URING_OP_SEND, index);
    batch->wanted[index] = 0;
    for (unsigned i = 0; i < pieces; i++) {
        batch->wanted[index] += iov[i].iov_len;
    }
    batch->conns[index] = conn;
    batch->pieces += pieces;
    batch->count++;
    batch->outstanding++;
    conn->in_batch = true;
    return true;
}

void
uring_send_batch(rsl_backend *base, rsl_conn **conns, unsigned count,
                 bool has_token)
{
    uring_backend *backend = uring_of(base);
    unsigned prepared = 0;

    uring_settle(base);
    if (count >= URING_BATCH_MIN && base->rt->in_run && uring_is_mine(backend)
        && backend->batch.outstanding == 0) {
        backend->batch.count = 0;
        backend->batch.pieces = 0;
        while (prepared < count && batch_add(backend, conns[prepared])) {
            prepared++;
        }
    }
    rsl_sock_send_batch(base, conns + prepared, count - prepared, has_token);
}

void
uring_sent(uring_backend *backend, unsigned index, int result)
{
    uring_batch *batch = &backend->batch;
    rsl_conn *conn = batch->conns[index];
    rsl_status status = RSL_OK;
    size_t sent = result > 0 ? (size_t)result : 0;
    int code = 0;

    assert(index < batch->count && conn != NULL && conn->in_batch);
    batch->conns[index] = NULL;
    batch->outstanding--;
    if (result == -EAGAIN || (result >= 0 && sent < batch->wanted[index])) {
        status = RSL_AGAIN;
    } else if (result < 0 && result != -EINTR && result != -ECANCELED) {
        status = RSL_OS;
        code = -result;
    }
    rsl_stat_add(&conn->rt->stats, RSL_STAT_WRITES_RING, 1);
    rsl_conn_sent(conn, status, sent, code);
}

bool
uring_batch_is_sent(uring_backend *backend)
{
    const uring_batch *batch = &backend->batch;
    struct io_uring_cqe *cqe;
    unsigned head, sent = 0;

    io_uring_for_each_cqe(&backend->ring, head, cqe)
    {
        unsigned index = (unsigned)rsl_tag_id(cqe->user_data);

        if (uring_data_op(cqe->user_data) != URING_OP_SEND || cqe->res < 0
            || (size_t)cqe->res != rsl_conn_backlog(batch->conns[index])) {
            return false;
        }
        sent++;
    }
    return sent == batch->outstanding;
}

/* Take the outcomes of sends out of the completions. Others stay for collect:
 * the kernel only ever appends, so an entry that was read can be blanked. */
static void
batch_reap(uring_backend *backend)
{
    struct io_uring_cqe *cqe;
    unsigned head, blank = 0, seen = 0;

    io_uring_for_each_cqe(&backend->ring, head, cqe)
    {
        unsigned index = (unsigned)rsl_tag_id(cqe->user_data);

        if (uring_data_op(cqe->user_data) == URING_OP_SEND) {
            cqe->user_data = uring_data(URING_OP_NONE, 0);
            uring_sent(backend, index, cqe->res);
        }
        seen++;
        if (uring_data_op(cqe->user_data) == URING_OP_NONE
            && blank == seen - 1) {
            blank = seen;
        }
    }
    io_uring_cq_advance(&backend->ring, blank);
}

/* Turn sends that the kernel did not take into no-ops: nothing was sent, and
 * their conns go out one by one. Entry i of the ring's array is always i. */
static void
batch_revoke(uring_backend *backend)
{
    struct io_uring_sq *sq = &backend->ring.sq;

    for (unsigned i = IO_URING_READ_ONCE(*sq->khead); i != sq->sqe_tail; i++) {
        struct io_uring_sqe *sqe = &sq->sqes[i & sq->ring_mask];
        uint64_t data = sqe->user_data;

        if (uring_data_op(data) == URING_OP_SEND) {
            io_uring_prep_nop(sqe);
            sqe->user_data = uring_data(URING_OP_NONE, 0);
            uring_sent(backend, (unsigned)rsl_tag_id(data), -ECANCELED);
        }
    }
}

/* The completions overflowed: only an enter for events brings the rest. The
 * runtime thread holds the token for one bounded read and never waits for us,
 * so this ends. */
static void
settle_overflow(uring_backend *backend)
{
    rsl_runtime *rt = backend->base.rt;
    bool taken = false;

    while (!rt->has_token && !taken) {
        taken = rsl_token_try_take(&rt->token, RSL_TOKEN_LOOP);
    }
    backend->unreaped = true;
    for (int i = 0; i < SETTLE_ENTERS && backend->batch.outstanding > 0; i++) {
        (void)uring_enter(backend, 0, 0); /* judged by what it brings */
        batch_reap(backend);
    }
    if (taken) {
        rsl_token_release(&rt->token, RSL_TOKEN_LOOP);
    }
}

void
uring_settle(rsl_backend *base)
{
    uring_backend *backend = uring_of(base);

    if (backend->batch.outstanding == 0) {
        return;
    }
    assert(uring_is_mine(backend));
    (void)uring_submit(backend); /* what it did not take is revoked */
    batch_reap(backend);
    if (backend->batch.outstanding > 0) {
        batch_revoke(backend);
    }
    if (backend->batch.outstanding > 0) {
        settle_overflow(backend);
    }
    assert(backend->batch.outstanding == 0);
}
