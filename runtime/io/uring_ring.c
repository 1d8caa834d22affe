/* SPDX-License-Identifier: Apache-2.0 */
/* uring_ring.c - the ring itself: open, attach to a thread, enter, close. */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "io/uring.h"

/* DEFER_TASKRUN: receives run only when we enter for events. TASKRUN_FLAG: the
 * kernel says when that is due, so that a poll with nothing due makes no
 * system call. SUBMIT_ALL: one bad entry does not hold up the others. */
const struct io_uring_params uring_params = {
    .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN
             | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL
             | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
    .cq_entries = URING_CQ_ENTRIES,
};

/* A thread id may be used again after its thread; this never is. Relaxed: the
 * numbers only have to differ. */
static uint64_t
uring_thread_serial(void)
{
    static atomic_uint_fast64_t last;
    static _Thread_local uint64_t serial;

    if (serial == 0) {
        serial = 1 + atomic_fetch_add_explicit(&last, 1, memory_order_relaxed);
    }
    return serial;
}

bool
uring_is_mine(const uring_backend *backend)
{
    return backend->has_ring && backend->ring_thread == uring_thread_serial();
}

/* Show the kernel the entries that were filled; how many it has not taken. We
 * do this ourselves because io_uring_submit() adds GETEVENTS whenever task
 * work is due, and that would read sockets without the token. */
static unsigned
uring_publish(uring_backend *backend)
{
    struct io_uring_sq *sq = &backend->ring.sq;

    sq->sqe_head = sq->sqe_tail;
    io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
    return sq->sqe_tail - IO_URING_READ_ONCE(*sq->khead);
}

int
uring_submit(uring_backend *backend)
{
    unsigned count = uring_publish(backend);
    int result = 0;

    if (count > 0) {
        rsl_stat_add(&backend->base.rt->stats, RSL_STAT_POLLS_MORE, 1);
        result =
            io_uring_enter((unsigned)backend->ring.ring_fd, count, 0, 0, NULL);
    }
    return result < 0 ? result : 0;
}

int
uring_enter(uring_backend *backend, unsigned more, int64_t timeout_ns)
{
    struct __kernel_timespec timeout = {.tv_sec = timeout_ns / 1000000000,
                                        .tv_nsec = timeout_ns % 1000000000};
    struct io_uring_getevents_arg arg = {
        .ts = timeout_ns < 0 ? 0 : (uint64_t)(uintptr_t)&timeout,
    };
    unsigned flags = IORING_ENTER_GETEVENTS;
    unsigned submit = uring_publish(backend), wait = 0;
    int result;

    rsl_stat_add(&backend->base.rt->stats, RSL_STAT_POLLS_MORE, 1);
    if (timeout_ns != 0) {
        flags |= IORING_ENTER_EXT_ARG;
        wait = io_uring_cq_ready(&backend->ring) + more;
    }
    result = io_uring_enter2((unsigned)backend->ring.ring_fd, submit, wait,
                             flags, timeout_ns != 0 ? (void *)&arg : NULL,
                             timeout_ns != 0 ? sizeof arg : 0);
    return result < 0 ? result : 0;
}

struct io_uring_sqe *
uring_sqe(uring_backend *backend, uring_op op, uint64_t id)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&backend->ring);

    if (sqe == NULL) {
        /* When that fails there is still no entry, and the caller sees it. */
        (void)uring_submit(backend);
        sqe = io_uring_get_sqe(&backend->ring);
    }
    if (sqe != NULL) {
        io_uring_prep_nop(sqe); /* clears what the last user left */
        sqe->user_data = uring_data(op, id);
    }
    return sqe;
}

rsl_status
uring_drop_ring(uring_backend *backend)
{
    struct io_uring *ring = &backend->ring;
    uring_stash *stash = &backend->stash;
    unsigned ready, head, i;
    struct io_uring_cqe *cqe, *cqes;

    if (!backend->has_ring) {
        return RSL_OK;
    }
    ready = io_uring_cq_ready(ring);
    if (ready > 0) {
        cqes = realloc(stash->cqes, (stash->count + ready) * sizeof *cqes);
        if (cqes == NULL) {
            return RSL_NOMEM;
        }
        stash->cqes = cqes;
        i = stash->count;
        io_uring_for_each_cqe(ring, head, cqe)
        {
            memcpy(&cqes[i++], cqe, sizeof *cqe);
            if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
                uring_bufs_take(backend, cqe->flags >> IORING_CQE_BUFFER_SHIFT);
            }
        }
        stash->count = i;
        backend->unreaped = true;
    }
    io_uring_queue_exit(ring);
    backend->has_ring = false;
    backend->wake_armed = false;
    backend->watch_armed = false;
    uring_bufs_detach(backend);
    return RSL_OK;
}

static rsl_status
uring_attach(rsl_backend *base, rsl_err *err)
{
    uring_backend *backend = uring_of(base);
    struct io_uring_params params = uring_params;
    rsl_status status;
    int result;

    if (uring_is_mine(backend)) {
        return RSL_OK;
    }
    status = uring_drop_ring(backend);
    if (status != RSL_OK) {
        return status;
    }
    result =
        io_uring_queue_init_params(URING_SQ_ENTRIES, &backend->ring, &params);
    if (result < 0) {
        *err = (rsl_err){.code = -result, .call = "io_uring_setup"};
        return RSL_OS;
    }
    backend->has_ring = true;
    backend->ring_thread = uring_thread_serial();
    status = uring_bufs_open(backend, err);
    if (status != RSL_OK) {
        (void)uring_drop_ring(backend); /* nothing to keep: cannot fail */
        return status;
    }
    uring_want_all(backend);
    return RSL_OK;
}

static void
uring_detach(rsl_backend *base)
{
    uring_settle(base);
}

/* Run what is due, and sleep for completions if `timeout_ns` is not 0. */
static rsl_status
uring_poll(uring_backend *backend, int64_t timeout_ns, rsl_err *err)
{
    const struct io_uring_sq *sq = &backend->ring.sq;
    unsigned due;
    int result;

    due = IO_URING_READ_ONCE(*sq->kflags)
          & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
    if (timeout_ns == 0 && due == 0
        && sq->sqe_tail == IO_URING_READ_ONCE(*sq->khead)) {
        return RSL_OK;
    }
    result = uring_enter(backend, 1, timeout_ns);
    switch (-result) {
    case 0:
    case EINTR:
    case ETIME:
    case EAGAIN: /* no memory for a request: it stays queued */
    case EBUSY:  /* completions must be reaped first */
        return RSL_OK;
    default: /* an errno is no enum */
        *err = (rsl_err){.code = -result, .call = "io_uring_enter"};
        return RSL_OS;
    }
}

static rsl_status
uring_wait(rsl_backend *base, int64_t timeout_ns, rsl_err *err)
{
    uring_backend *backend = uring_of(base);
    rsl_status status;

    /* Each uring_enter() counts by itself. */
    rsl_stat_add(&base->rt->stats, RSL_STAT_POLLS_SKIPPED, 1);
    uring_fill_steal_set(backend);
    /* What an older ring has completed is collected before anything is armed
     * on this one: it would be taken for the end of what is armed here, which
     * would be armed twice, and cancelled once. */
    if (backend->stash.count > 0 || !uring_arm(backend)
        || io_uring_cq_ready(&backend->ring) > 0) {
        timeout_ns = 0;
    }
    if (timeout_ns != 0 && backend->batch.outstanding > 0) {
        status = uring_poll(backend, 0, err);
        if (status != RSL_OK || !uring_batch_is_sent(backend)) {
            return status;
        }
    }
    return uring_poll(backend, timeout_ns, err);
}

/* The same questions as those of a wait that does not sleep, all of them
 * answered by memory. */
static bool
uring_is_quiet(const rsl_backend *base)
{
    const uring_backend *backend = (const uring_backend *)(const void *)base;
    const struct io_uring_sq *sq = &backend->ring.sq;
    const uint32_t due = IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW;

    return uring_is_armed(backend) && !atomic_load(&backend->steal_wanted)
           && backend->stash.count == 0 && backend->batch.outstanding == 0
           && !backend->unreaped && (IO_URING_READ_ONCE(*sq->kflags) & due) == 0
           && sq->sqe_tail == IO_URING_READ_ONCE(*sq->khead)
           && io_uring_cq_ready(&backend->ring) == 0;
}

static bool
uring_peek(rsl_backend *base)
{
    uring_backend *backend = uring_of(base);
    const struct io_uring_sq *sq = &backend->ring.sq;
    const uint32_t due = IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW;
    rsl_err err;

    if (backend->stash.count > 0 || !uring_arm(backend)) {
        return true;
    }
    if (sq->sqe_tail != IO_URING_READ_ONCE(*sq->khead)) {
        (void)uring_poll(backend, 0, &err); /* the wait meets the error too */
    }
    if ((IO_URING_READ_ONCE(*sq->kflags) & due) != 0) {
        return true;
    }
    /* Sends that have all succeeded are no news: a wait sleeps over them. */
    return io_uring_cq_ready(&backend->ring) > 0
           && (backend->batch.outstanding == 0
               || !uring_batch_is_sent(backend));
}

static size_t
uring_steal(rsl_backend *base, size_t budget, rsl_sink *sink)
{
    uring_backend *backend = uring_of(base);

    if (backend->unreaped) {
        return 0;
    }
    if (backend->steal_epfd < 0 || atomic_load(&backend->steal_lacks)) {
        /* the loop thread makes and fills it */
        atomic_store(&backend->steal_wanted, true);
    }
    if (backend->steal_epfd < 0) {
        return 0;
    }
    return rsl_steal_from(&backend->stealer, base->rt, backend->steal_epfd,
                          budget, sink);
}

/* Whether completions that nobody has looked at may hold older bytes of it. Its
 * multishot counts as armed until the last of them has been collected. */
static bool
uring_is_behind(const uring_backend *backend, const rsl_conn *conn)
{
    return backend->unreaped
           && ((conn->io_flags & URING_ARMED) != 0 || backend->stash.count > 0);
}

/* A plain recv takes data from under the armed multishot, which stays armed. */
static rsl_status
uring_recv(rsl_backend *base, rsl_conn *conn, void *buf, size_t cap,
           size_t *out, rsl_err *err)
{
    uring_backend *backend = uring_of(base);
    rsl_status status;

    if (uring_is_behind(backend, conn)) {
        return RSL_AGAIN;
    }
    status = rsl_sock_recv(base, conn, buf, cap, out, err);
    if (status == RSL_OK && (conn->io_flags & URING_POLLS) != 0) {
        conn->io_small =
            *out < URING_SMALL_BYTES ? (uint16_t)(conn->io_small + 1) : 0;
        if (conn->io_small >= URING_SMALL_READS) {
            conn->io_flags &= ~(unsigned)URING_POLLS;
            uring_want_conn(backend, conn);
        }
    }
    return status;
}

static rsl_status
uring_watch_set(rsl_backend *base, int fd, unsigned mask, rsl_err *err)
{
    return rsl_watch_table_set(base->watches, fd, mask, err);
}

/* In a forked child the ring is the parent's: unmapping and closing are all
 * that happens here, and neither touches it. */
static void
uring_close(rsl_backend *base)
{
    uring_backend *backend = uring_of(base);

    if (backend->has_ring) {
        io_uring_queue_exit(&backend->ring);
    }
    uring_bufs_free(backend);
    free(backend->stash.cqes);
    close(backend->watches.epfd);
    rsl_watch_table_fini(&backend->watches);
    if (backend->steal_epfd >= 0) {
        close(backend->steal_epfd);
    }
    rsl_stealer_fini(&backend->stealer);
    free(backend);
}

static const rsl_backend_ops uring_ops = {
    .name = "io_uring",
    .close = uring_close,
    .attach = uring_attach,
    .detach = uring_detach,
    .wait = uring_wait,
    .collect = uring_collect,
    .is_quiet = uring_is_quiet,
    .peek = uring_peek,
    .steal = uring_steal,
    .conn_add = uring_conn_add,
    .conn_remove = uring_conn_remove,
    .read_start = uring_read_start,
    .read_stop = uring_read_stop,
    .write_arm = uring_write_arm,
    .recv = uring_recv,
    .send = rsl_sock_send,
    .send_batch = uring_send_batch,
    .settle = uring_settle,
    .listener_add = uring_listener_add,
    .listener_remove = uring_listener_remove,
    .accept = rsl_sock_accept,
    .dgram_update = uring_dgram_update,
    .dgram_remove = uring_dgram_remove,
    .watch_set = uring_watch_set,
    .buffer_return = uring_buffer_return,
};

rsl_status
rsl_uring_open(rsl_runtime *rt, rsl_backend **out, rsl_err *err)
{
    uring_backend *backend;
    uint32_t features;
    rsl_status status = uring_probe(&features, err);

    if (status != RSL_OK) {
        return status;
    }
    backend = calloc(1, sizeof *backend);
    if (backend == NULL) {
        return RSL_NOMEM;
    }
    backend->base = (rsl_backend){
        .ops = &uring_ops, .rt = rt, .watches = &backend->watches};
    backend->steal_epfd = -1;
    rsl_list_init(&backend->arm_conns);
    rsl_list_init(&backend->arm_listeners);
    rsl_list_init(&backend->arm_dgrams);
    backend->watches.epfd = epoll_create1(EPOLL_CLOEXEC);
    if (backend->watches.epfd < 0) {
        *err = (rsl_err){.code = errno, .call = "epoll_create1"};
        free(backend);
        return RSL_OS;
    }
    *out = &backend->base;
    return RSL_OK;
}

uint32_t
rsl_uring_features(const rsl_backend *backend)
{
    uint32_t features;
    rsl_err err;

    if (backend->ops != &uring_ops) {
        return 0;
    }
    (void)uring_probe(&features, &err); /* it was RSL_OK, or no uring_ops */
    return features;
}
