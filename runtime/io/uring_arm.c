/* SPDX-License-Identifier: Apache-2.0 */
/* uring_arm.c - what the ring should have armed, and cancelling.
 *
 * Starting and stopping only puts a conn on a list; the next wait compares
 * what it wants with what the ring has, and the difference travels with that
 * wait's own system call. A stop that is followed by a start costs nothing. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>

#include "io/uring.h"

/* Enters that a cancel may take. One is enough unless completions overflow. */
enum { CANCEL_ENTERS = 8 };

void
uring_want_conn(uring_backend *backend, rsl_conn *conn)
{
    if (!rsl_list_is_linked(&conn->io_link)) {
        rsl_list_push(&backend->arm_conns, &conn->io_link);
    }
}

void
uring_want_listener(uring_backend *backend, rsl_listener *listener)
{
    if (!rsl_list_is_linked(&listener->io_link)) {
        rsl_list_push(&backend->arm_listeners, &listener->io_link);
    }
}

void
uring_want_all(uring_backend *backend)
{
    rsl_runtime *rt = backend->base.rt;

    for (uint32_t i = 0; i < rt->conns.cap; i++) {
        rsl_conn *conn = rsl_id_table_at(&rt->conns, i);

        if (conn != NULL) {
            conn->io_flags &= URING_IN_STEAL_SET | URING_POLLS;
            uring_want_conn(backend, conn);
        }
    }
    for (uint32_t i = 0; i < rt->listeners.cap; i++) {
        rsl_listener *listener = rsl_id_table_at(&rt->listeners, i);

        if (listener != NULL) {
            listener->io_flags = 0;
            uring_want_listener(backend, listener);
        }
    }
    for (uint32_t i = 0; i < rt->dgrams.cap; i++) {
        rsl_dgram *dgram = rsl_id_table_at(&rt->dgrams, i);

        if (dgram != NULL) {
            dgram->io_flags = 0;
            uring_want_dgram(backend, dgram);
        }
    }
}

static bool
arm_recv(uring_backend *backend, rsl_conn *conn)
{
    struct io_uring_sqe *sqe;

    if (backend->bufs.in_kernel == 0) {
        return false; /* would end at once, with ENOBUFS */
    }
    sqe = uring_sqe(backend, URING_OP_RECV, conn->id);
    if (sqe == NULL) {
        return false;
    }
    io_uring_prep_recv_multishot(sqe, conn->fd, NULL, 0, 0);
    sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = URING_BUF_GROUP;
    sqe->user_data = uring_data(URING_OP_RECV, conn->id);
    conn->io_flags |= URING_ARMED;
    return true;
}

static bool
arm_cancel(uring_backend *backend, uint64_t data)
{
    struct io_uring_sqe *sqe = uring_sqe(backend, URING_OP_NONE, 0);

    if (sqe == NULL) {
        return false;
    }
    io_uring_prep_cancel64(sqe, data, 0);
    sqe->user_data = uring_data(URING_OP_NONE, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    return true;
}

bool
uring_arm_poll(uring_backend *backend, int fd, unsigned mask, uint64_t data)
{
    struct io_uring_sqe *sqe = uring_sqe(backend, URING_OP_NONE, 0);

    if (sqe == NULL) {
        return false;
    }
    io_uring_prep_poll_add(sqe, fd, mask);
    sqe->user_data = data;
    return true;
}

/* A multishot receive can miss the end of a stream: when bytes and a RST (or,
 * on older kernels and unix sockets, an EOF) are there before it runs, it takes
 * the bytes, counts all wake-ups as served and waits for one that never comes.
 * A poll of its own brings the news. It goes in front of the receive, so it is
 * woken after it and mostly finds the end reported. */
static bool
arm_hangup(uring_backend *backend, rsl_conn *conn)
{
    if ((conn->io_flags & URING_HANGUP_ARMED) != 0) {
        return true;
    }
    if (!uring_arm_poll(backend, conn->fd, POLLRDHUP,
                        uring_data(URING_OP_HANGUP, conn->id))) {
        return false;
    }
    conn->io_flags |= URING_HANGUP_ARMED;
    return true;
}

static bool
arm_pollin(uring_backend *backend, rsl_conn *conn)
{
    if ((conn->io_flags & (URING_ARMED | URING_POLLIN_ARMED)) != 0) {
        return true;
    }
    if (!uring_arm_poll(backend, conn->fd, POLLIN,
                        uring_data(URING_OP_POLLIN, conn->id))) {
        return false;
    }
    conn->io_flags |= URING_POLLIN_ARMED;
    return true;
}

static bool
arm_multishot(uring_backend *backend, rsl_conn *conn)
{
    return arm_hangup(backend, conn)
           && ((conn->io_flags & URING_ARMED) != 0 || arm_recv(backend, conn));
}

static bool
disarm_multishot(uring_backend *backend, rsl_conn *conn)
{
    if ((conn->io_flags & (URING_ARMED | URING_CANCELLING)) != URING_ARMED) {
        return true;
    }
    if (!arm_cancel(backend, uring_data(URING_OP_RECV, conn->id))) {
        return false;
    }
    conn->io_flags |= URING_CANCELLING;
    return true;
}

static bool
arm_conn(uring_backend *backend, rsl_conn *conn)
{
    bool reads = rsl_conn_state_now(conn) == RSL_CONN_READING;
    bool polls = (conn->io_flags & URING_POLLS) != 0;

    if (reads && !polls && !arm_multishot(backend, conn)) {
        return false;
    }
    if ((!reads || polls) && !disarm_multishot(backend, conn)) {
        return false;
    }
    if (reads && polls && !arm_pollin(backend, conn)) {
        return false;
    }
    if (conn->write_armed && (conn->io_flags & URING_POLLOUT_ARMED) == 0) {
        if (!uring_arm_poll(backend, conn->fd, POLLOUT,
                            uring_data(URING_OP_POLLOUT, conn->id))) {
            return false;
        }
        conn->io_flags |= URING_POLLOUT_ARMED;
    }
    return true;
}

/* Not a multishot accept: that cannot tell whose a connection is, which is too
 * late to ask once it was reset, and takes connections while this loop is busy
 * and another process could serve them. */
static bool
arm_listener(uring_backend *backend, rsl_listener *listener)
{
    if (listener->state != RSL_LISTENER_ACCEPTING
        || (listener->io_flags & URING_ARMED) != 0) {
        return true;
    }
    if (!uring_arm_poll(backend, listener->fd, POLLIN,
                        uring_data(URING_OP_ACCEPT, listener->id))) {
        return false;
    }
    listener->io_flags |= URING_ARMED;
    return true;
}

/* The mailbox's eventfd is not read: each write wakes the poll once. The
 * watches' set is polled once at a time, because it is level-triggered: what
 * the user leaves unread must be reported again. */
static bool
arm_own_fds(uring_backend *backend)
{
    if (!backend->wake_armed) {
        struct io_uring_sqe *sqe = uring_sqe(backend, URING_OP_NONE, 0);

        if (sqe == NULL) {
            return false;
        }
        io_uring_prep_poll_multishot(sqe, backend->base.rt->mailbox.wake_fd,
                                     POLLIN);
        sqe->user_data = uring_data(URING_OP_WAKE, 0);
        backend->wake_armed = true;
    }
    if (!backend->watch_armed && backend->watches.count > 0) {
        backend->watch_armed =
            uring_arm_poll(backend, backend->watches.epfd, POLLIN,
                           uring_data(URING_OP_WATCH, 0));
        return backend->watch_armed;
    }
    return true;
}

bool
uring_is_armed(const uring_backend *backend)
{
    return backend->wake_armed
           && (backend->watch_armed || backend->watches.count == 0)
           && rsl_list_is_empty(&backend->arm_listeners)
           && rsl_list_is_empty(&backend->arm_conns)
           && rsl_list_is_empty(&backend->arm_dgrams);
}

bool
uring_arm(uring_backend *backend)
{
    bool all = arm_own_fds(backend);
    rsl_list todo;

    rsl_list_init(&todo);
    rsl_list_splice(&todo, &backend->arm_listeners);
    while (!rsl_list_is_empty(&todo)) {
        rsl_listener *listener =
            RSL_LIST_ENTRY(todo.next, rsl_listener, io_link);

        rsl_list_remove(&listener->io_link);
        if (!arm_listener(backend, listener)) {
            uring_want_listener(backend, listener);
            all = false;
        }
    }
    rsl_list_splice(&todo, &backend->arm_conns);
    while (!rsl_list_is_empty(&todo)) {
        rsl_conn *conn = RSL_LIST_ENTRY(todo.next, rsl_conn, io_link);

        rsl_list_remove(&conn->io_link);
        if (!arm_conn(backend, conn)) {
            uring_want_conn(backend, conn);
            all = false;
        }
    }
    return uring_arm_dgrams(backend) && all;
}

/* Whether the last completion of `data` is in the ring. */
static bool
cancel_is_done(uring_backend *backend, uint64_t data)
{
    struct io_uring_cqe *cqe;
    unsigned head;

    io_uring_for_each_cqe(&backend->ring, head, cqe)
    {
        if (cqe->user_data == data && (cqe->flags & IORING_CQE_F_MORE) == 0) {
            return true;
        }
    }
    return false;
}

/* The cancel itself only marks an operation: its reference is dropped by task
 * work, and so in an enter for events, which may complete other operations as
 * well: those wait for the next collect. */
static void
cancel_now(uring_backend *backend, const uint64_t *data, unsigned count)
{
    unsigned done = 0;

    if (!backend->has_ring || count == 0) {
        return;
    }
    if (!uring_is_mine(backend)) {
        /* Only its own thread may enter the ring, anybody may close it. With
         * no memory to keep its completions the references stay until then. */
        (void)uring_drop_ring(backend);
        return;
    }
    backend->unreaped = true;
    for (unsigned i = 0; i < count; i++) {
        /* False: no memory in the kernel. It stays until the ring closes. */
        (void)arm_cancel(backend, data[i]);
    }
    for (int i = 0; i < CANCEL_ENTERS && done < count; i++) {
        if (uring_enter(backend, 0, 0) == -EEXIST) {
            return; /* the ring of a thread that is gone */
        }
        while (done < count && cancel_is_done(backend, data[done])) {
            done++;
        }
    }
}

/* It joins the runtime thread's set when that thread next asks: most that are
 * gone soon never do, which saves them two system calls. For them its first
 * input is polled for: that poll is over when they close, and nothing is left
 * to be cancelled, which would take an enter of its own. */
rsl_status
uring_conn_add(rsl_backend *base, rsl_conn *conn)
{
    rsl_watch_table_drop(base->watches, conn->fd);
    conn->io_flags = URING_POLLS;
    conn->io_small = URING_SMALL_READS - 1; /* one that is small ends it */
    atomic_store(&uring_of(base)->steal_lacks, true);
    return RSL_OK;
}

static void
steal_set_add(uring_backend *backend, rsl_conn *conn)
{
    struct epoll_event event = {
        .events = EPOLLIN,
        .data.u64 = rsl_tag(RSL_EV_READABLE, conn->id),
    };

    if ((conn->io_flags & URING_IN_STEAL_SET) == 0
        && epoll_ctl(backend->steal_epfd, EPOLL_CTL_ADD, conn->fd, &event)
               == 0) {
        conn->io_flags |= URING_IN_STEAL_SET;
    } /* without it only the loop thread reads this conn */
}

void
uring_conn_remove(rsl_backend *base, rsl_conn *conn)
{
    uring_backend *backend = uring_of(base);
    uint64_t armed[4];
    unsigned count = 0;

    rsl_list_remove(&conn->io_link);
    if ((conn->io_flags & URING_IN_STEAL_SET) != 0) {
        /* ENOENT, EBADF: its owner closed the fd, which is as good. */
        (void)epoll_ctl(backend->steal_epfd, EPOLL_CTL_DEL, conn->fd, NULL);
    }
    if ((conn->io_flags & URING_ARMED) != 0) {
        armed[count++] = uring_data(URING_OP_RECV, conn->id);
    }
    if ((conn->io_flags & URING_POLLOUT_ARMED) != 0) {
        armed[count++] = uring_data(URING_OP_POLLOUT, conn->id);
    }
    if ((conn->io_flags & URING_HANGUP_ARMED) != 0) {
        armed[count++] = uring_data(URING_OP_HANGUP, conn->id);
    }
    if ((conn->io_flags & URING_POLLIN_ARMED) != 0) {
        armed[count++] = uring_data(URING_OP_POLLIN, conn->id);
    }
    cancel_now(backend, armed, count);
    conn->io_flags = 0;
}

rsl_status
uring_read_start(rsl_backend *base, rsl_conn *conn)
{
    uring_want_conn(uring_of(base), conn);
    return RSL_OK;
}

void
uring_read_stop(rsl_backend *base, rsl_conn *conn)
{
    uring_want_conn(uring_of(base), conn);
}

rsl_status
uring_write_arm(rsl_backend *base, rsl_conn *conn)
{
    uring_want_conn(uring_of(base), conn);
    return RSL_OK;
}

rsl_status
uring_listener_add(rsl_backend *base, rsl_listener *listener, rsl_err *err)
{
    (void)err; /* an fd that cannot accept is told of by ACCEPT_ERROR */
    rsl_watch_table_drop(base->watches, listener->fd);
    uring_want_listener(uring_of(base), listener);
    return RSL_OK;
}

void
uring_cancel_for_close(uring_backend *backend, const uint64_t *data,
                       unsigned count)
{
    rsl_runtime *rt = backend->base.rt;
    bool taken = false;

    while (!rt->has_token && !taken) {
        taken = rsl_token_try_take(&rt->token, RSL_TOKEN_LOOP);
        if (!taken) {
            sched_yield();
        }
    }
    cancel_now(backend, data, count);
    if (taken) {
        rsl_token_release(&rt->token, RSL_TOKEN_LOOP);
    }
}

void
uring_listener_remove(rsl_backend *base, rsl_listener *listener)
{
    const uint64_t data = uring_data(URING_OP_ACCEPT, listener->id);

    rsl_list_remove(&listener->io_link);
    if ((listener->io_flags & URING_ARMED) != 0) {
        listener->io_flags = 0;
        uring_cancel_for_close(uring_of(base), &data, 1);
    }
}

void
uring_fill_steal_set(uring_backend *backend)
{
    rsl_runtime *rt = backend->base.rt;

    if (!atomic_load(&backend->steal_wanted)) {
        return;
    }
    atomic_store(&backend->steal_wanted, false);
    if (backend->steal_epfd < 0) {
        backend->steal_epfd = epoll_create1(EPOLL_CLOEXEC);
    }
    if (backend->steal_epfd < 0) {
        return; /* out of descriptors: it asks again */
    }
    atomic_store(&backend->steal_lacks, false);
    for (uint32_t i = 0; i < rt->conns.cap; i++) {
        rsl_conn *conn = rsl_id_table_at(&rt->conns, i);

        if (conn != NULL) {
            steal_set_add(backend, conn);
        }
    }
}
