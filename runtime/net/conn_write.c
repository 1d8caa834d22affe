/* SPDX-License-Identifier: Apache-2.0 */
/* conn_write.c - the output queue: a ring of lent pieces.
 *
 * Where a conn with unsent output is, one of three: in rt->dirty, in a batch
 * of the backend (in_batch), or waiting for WRITABLE (write_armed). A broken
 * stream is in none: its owner has been told and closes it. */
#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "core/runtime_impl.h"
#include "net/conn_impl.h"
#include "net/conn_tls.h"

/* A ring begins with so many pieces. The runtime keeps some of these, conns
 * whose queue is empty have none: many idle ones stay small. */
enum { WRITES_MIN = 4 };

static rsl_write *
conn_write_at(const rsl_conn *conn, uint32_t index)
{
    return &conn->writes[(conn->write_head + index) & (conn->write_cap - 1)];
}

static rsl_status
conn_grow_writes(rsl_conn *conn)
{
    rsl_runtime *rt = conn->rt;
    uint32_t cap = conn->write_cap == 0 ? WRITES_MIN : conn->write_cap * 2;
    rsl_write *writes;

    if (conn->write_cap == 0 && rt->spare_count > 0) {
        conn->writes = rt->spare_writes[--rt->spare_count];
        conn->write_cap = WRITES_MIN;
        return RSL_OK;
    }
    if (cap < conn->write_cap) {
        return RSL_NOMEM;
    }
    writes = malloc(cap * sizeof *writes);
    if (writes == NULL) {
        return RSL_NOMEM;
    }
    for (uint32_t i = 0; i < conn->write_count; i++) {
        writes[i] = *conn_write_at(conn, i);
    }
    free(conn->writes);
    conn->writes = writes;
    conn->write_head = 0;
    conn->write_cap = cap;
    return RSL_OK;
}

static void
conn_return_loan(rsl_conn *conn, void *loan)
{
    if (conn->rt->hooks.loan_return != NULL) {
        conn->rt->hooks.loan_return(loan);
    }
}

/* Drop the first piece of the queue. */
static void
conn_pop_write(rsl_conn *conn)
{
    void *loan = conn_write_at(conn, 0)->loan;

    conn->write_head = (conn->write_head + 1) & (conn->write_cap - 1);
    conn->write_count--;
    conn_return_loan(conn, loan);
}

static void
conn_trim_writes(rsl_conn *conn)
{
    rsl_runtime *rt = conn->rt;

    if (conn->write_count > 0) {
        return;
    }
    if (conn->write_cap == WRITES_MIN
        && rt->spare_count < RSL_SPARE_WRITES_MAX) {
        rt->spare_writes[rt->spare_count++] = conn->writes;
    } else {
        free(conn->writes);
    }
    conn->writes = NULL;
    conn->write_head = 0;
    conn->write_cap = 0;
}

void
rsl_conn_pop_bytes(rsl_conn *conn, size_t count)
{
    assert(count <= conn->backlog_bytes);
    conn->backlog_bytes -= count;
    while (count > 0) {
        rsl_write *first = conn_write_at(conn, 0);

        if (count < first->len) {
            first->data += count;
            first->len -= count;
            return;
        }
        count -= first->len;
        conn_pop_write(conn);
    }
    conn_trim_writes(conn);
}

/* The kernel has taken `sent` bytes of what rsl_conn_gather() has shown. */
static void
conn_consume(rsl_conn *conn, size_t sent)
{
    rsl_stats *stats = &conn->rt->stats;

    if (sent > 0) {
        rsl_count_add(&conn->bytes_written, sent);
        rsl_stat_add(stats, RSL_STAT_WRITES, 1);
        rsl_stat_add(stats, RSL_STAT_BYTES_WRITTEN, sent);
    } else {
        rsl_stat_add(stats, RSL_STAT_WRITES_EMPTY, 1);
    }
    if (conn->tls != NULL) {
        rsl_stat_add(stats, RSL_STAT_BYTES_UNQUEUED, sent);
        rsl_conn_tls_consume(conn, sent);
    } else {
        rsl_conn_pop_bytes(conn, sent);
    }
}

static bool
conn_has_output(const rsl_conn *conn)
{
    return conn->tls == NULL ? conn->write_count > 0
                             : rsl_conn_tls_has_output(conn);
}

unsigned
rsl_conn_gather(rsl_conn *conn, struct iovec *iov, unsigned max)
{
    return conn->tls == NULL ? rsl_conn_pieces(conn, iov, max)
                             : rsl_conn_tls_gather(conn, iov, max);
}

unsigned
rsl_conn_pieces(const rsl_conn *conn, struct iovec *iov, unsigned max)
{
    unsigned count = conn->write_count < max ? conn->write_count : max;

    for (unsigned i = 0; i < count; i++) {
        const rsl_write *piece = conn_write_at(conn, i);

        /* sendmsg() reads only, its struct just does not say so. */
        iov[i].iov_base = (void *)(uintptr_t)piece->data;
        iov[i].iov_len = piece->len;
    }
    return count;
}

void
rsl_conn_want_send(rsl_conn *conn)
{
    if (conn->write_armed || conn->in_batch
        || rsl_list_is_linked(&conn->queue_link)) {
        return;
    }
    if (conn->tls != NULL) { /* its output may have no writes in the queue */
        conn->oldest_write_ns = rsl_clock_now_ns();
    }
    rsl_list_push(&conn->rt->dirty, &conn->queue_link);
}

rsl_status
rsl_conn_write(rsl_conn *conn, const void *data, size_t len, void *loan)
{
    if (rsl_conn_state_now(conn) == RSL_CONN_CLOSING) {
        return RSL_CLOSED;
    }
    if (len == 0) {
        conn_return_loan(conn, loan);
        return RSL_OK;
    }
    if (conn->write_count == conn->write_cap) {
        rsl_status status = conn_grow_writes(conn);
        if (status != RSL_OK) {
            return status;
        }
    }
    if (conn->write_count == 0) {
        conn->oldest_write_ns = rsl_clock_now_ns();
    }
    conn->write_count++;
    *conn_write_at(conn, conn->write_count - 1) =
        (rsl_write){.data = data, .len = len, .loan = loan};
    conn->backlog_bytes += len;
    rsl_stat_add(&conn->rt->stats, RSL_STAT_WRITES_STAGED, 1);
    rsl_stat_add(&conn->rt->stats, RSL_STAT_BYTES_QUEUED, len);
    rsl_conn_want_send(conn);
    return RSL_OK;
}

void
rsl_conn_relend(rsl_conn *conn, const void *data, void *loan)
{
    rsl_write *piece = conn_write_at(conn, 0);
    void *old = piece->loan;

    assert(conn->write_count == 1 && !conn->in_batch);
    piece->data = data;
    piece->loan = loan;
    conn_return_loan(conn, old);
}

int64_t
rsl_conn_waits_since(const rsl_conn *conn)
{
    return conn->backlog_bytes == 0 ? 0 : conn->oldest_write_ns;
}

size_t
rsl_conn_backlog(const rsl_conn *conn)
{
    return conn->backlog_bytes
           + (conn->tls == NULL ? 0 : rsl_conn_tls_output_bytes(conn));
}

/* Half of what is free: the kernel counts its own structs as well. */
size_t
rsl_conn_room(const rsl_conn *conn)
{
    int size = 0, used = 0;
    socklen_t length = sizeof size;

    if (getsockopt(conn->fd, SOL_SOCKET, SO_SNDBUF, &size, &length) < 0
        || ioctl(conn->fd, SIOCOUTQ, &used) < 0 || size <= used) {
        return 0;
    }
    return (size_t)(size - used) / 2;
}

void
rsl_conn_linger(rsl_conn *conn, bool lingers)
{
    conn->lingers = lingers;
}

static rsl_status
conn_arm_write(rsl_conn *conn)
{
    rsl_backend *backend = conn->rt->backend;
    rsl_status status;

    if (conn->write_armed) {
        return RSL_OK;
    }
    conn->write_armed = true;
    status = backend->ops->write_arm(backend, conn);
    if (status != RSL_OK) {
        conn->write_armed = false;
    }
    return status;
}

/* One send of at most RSL_CONN_IOV_MAX pieces. RSL_AGAIN: the socket is full,
 * and has perhaps taken some of them. RSL_BUSY: the engine has to hear from the
 * peer first, or has failed, which the owner is told. */
static rsl_status
conn_send_some(rsl_conn *conn, rsl_err *err)
{
    rsl_backend *backend = conn->rt->backend;
    struct iovec iov[RSL_CONN_IOV_MAX];
    unsigned count = rsl_conn_gather(conn, iov, RSL_CONN_IOV_MAX);
    size_t wanted = 0, sent = 0;
    rsl_status status;

    for (unsigned i = 0; i < count; i++) {
        wanted += iov[i].iov_len;
    }
    if (wanted == 0) {
        return RSL_BUSY;
    }
    rsl_spin_speak(&conn->rt->spin);
    rsl_stat_add(&conn->rt->stats, RSL_STAT_WRITES_DIRECT, 1);
    status = backend->ops->send(backend, conn, iov, count, &sent, err);
    if (status != RSL_OK) {
        rsl_stat_add(&conn->rt->stats, RSL_STAT_WRITES_EMPTY, 1);
        return status;
    }
    conn_consume(conn, sent);
    /* A stream socket that took less has no room: asking again would be a
     * system call to hear so. */
    return sent < wanted ? RSL_AGAIN : RSL_OK;
}

rsl_status
rsl_conn_flush(rsl_conn *conn, rsl_err *err)
{
    rsl_runtime *rt = conn->rt;
    rsl_status status = RSL_OK;

    if (rsl_runtime_is_forked(rt)) {
        return RSL_FORKED;
    }
    if (conn->in_batch) {
        rt->backend->ops->settle(rt->backend);
    }
    if (conn->write_armed) {
        return RSL_AGAIN;
    }
    while (conn_has_output(conn) && status == RSL_OK) {
        status = conn_send_some(conn, err);
    }
    rsl_list_remove(&conn->queue_link);
    if (status == RSL_BUSY) {
        return RSL_OK;
    }
    if (status == RSL_AGAIN && conn_arm_write(conn) != RSL_OK) {
        *err = (rsl_err){.code = errno, .call = "epoll_ctl"};
        return RSL_OS;
    }
    return status;
}

void
rsl_conn_sent(rsl_conn *conn, rsl_status status, size_t sent, int code)
{
    rsl_runtime *rt = conn->rt;

    conn->in_batch = false;
    conn_consume(conn, sent);
    if (status == RSL_AGAIN && conn_arm_write(conn) != RSL_OK) {
        status = RSL_OS;
        code = errno;
    }
    if (status != RSL_OS && conn_has_output(conn)) {
        rsl_conn_want_send(conn);
        return;
    }
    rsl_list_remove(&conn->queue_link);
    if (status == RSL_OS) {
        rt->flush_sink->emit(
            rt->flush_sink,
            (rsl_event){.tag = rsl_tag(RSL_EV_SENT, conn->id), .u.arg = code});
    }
}

void
rsl_conn_discard_writes(rsl_conn *conn)
{
    rsl_runtime *rt = conn->rt;

    if (conn->in_batch && !rsl_runtime_is_forked(rt)) {
        rt->backend->ops->settle(rt->backend);
    }
    rsl_stat_add(&rt->stats, RSL_STAT_BYTES_DROPPED, conn->backlog_bytes);
    conn->backlog_bytes = 0;
    while (conn->write_count > 0) {
        conn_pop_write(conn);
    }
    conn_trim_writes(conn);
    if (conn->tls != NULL) {
        rsl_conn_tls_discard(conn);
    }
    rsl_list_remove(&conn->queue_link);
}

rsl_status
rsl_conn_shutdown_write(rsl_conn *conn, rsl_err *err)
{
    if (rsl_runtime_is_forked(conn->rt)) {
        return RSL_FORKED;
    }
    assert(conn->write_count == 0);
    if (shutdown(conn->fd, SHUT_WR) < 0) {
        *err = (rsl_err){.code = errno, .call = "shutdown"};
        return RSL_OS;
    }
    return RSL_OK;
}
