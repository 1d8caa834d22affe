/* SPDX-License-Identifier: Apache-2.0 */
/* epoll.c - one level-triggered set for conns, listeners, dgrams, watches.
 *
 * It reports readiness; bytes are read at dispatch, by rsl_conn_recv(), where
 * they are wanted. Because the set is level-triggered, whatever is not read
 * now is reported again by the next wait, to whichever thread polls then.
 *
 * What a conn is registered for may be more than it wants: stopping and
 * starting reads costs nothing unless an event comes in between, which then
 * takes the unwanted bit away (conn_trim). A hang-up cannot be masked, so a
 * conn that wants nothing leaves the set at its first event. */
#include <assert.h>
#include <errno.h>
#include <linux/time_types.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/runtime_impl.h"
#include "io/sock_ops.h"
#include "io/watch_table.h"
#include "net/conn_impl.h"
#include "net/dgram_impl.h"
#include "net/listener_impl.h"

/* A poll that does not sleep is a system call, and mostly finds nothing while
 * callbacks make each other ready. After this many of them in a row, one in
 * EPOLL_QUIET_NS is enough: sockets wait that long at most. Whoever sleeps asks
 * the kernel in any case. */
enum { EPOLL_EVENTS = 256, EPOLL_QUIET_POLLS = 64, EPOLL_QUIET_NS = 50000 };

/* Tag kinds: READABLE for conns, ACCEPTABLE for listeners, DGRAM for dgrams,
 * WATCH for watches, NONE for the mailbox's eventfd. io_flags of a conn or a
 * dgram: EPOLLIN | EPOLLOUT as registered, 0 when the fd is not in the set. */
typedef struct epoll_backend {
    rsl_backend base;
    int epfd;                /* [K] */
    bool pwait2_is_missing;  /* [L] */
    rsl_watch_table watches; /* [L] */
    rsl_stealer stealer;     /* [T] */
    int ready_count;         /* [L] */
    unsigned quiet_polls;    /* [L] in a row that found nothing */
    int64_t quiet_poll_ns;   /* [L] the last one, once there were enough */
    struct epoll_event ready[EPOLL_EVENTS];
} epoll_backend;

static epoll_backend *
epoll_of(rsl_backend *base)
{
    return (epoll_backend *)(void *)base;
}

static void
epoll_close(rsl_backend *base)
{
    epoll_backend *backend = epoll_of(base);

    close(backend->epfd);
    rsl_watch_table_fini(&backend->watches);
    rsl_stealer_fini(&backend->stealer);
    free(backend);
}

static rsl_status
epoll_attach(rsl_backend *base, rsl_err *err)
{
    (void)err; /* nothing here belongs to a thread */
    epoll_of(base)->quiet_polls = 0;
    return RSL_OK;
}

static void
epoll_detach(rsl_backend *base)
{
    (void)base;
}

/* Kernels before 5.11, and sandboxes that never heard of epoll_pwait2: round
 * up, for waking early would spin until the timer is due. */
static int
epoll_wait_ms(epoll_backend *backend, int64_t timeout_ns)
{
    int64_t timeout_ms = -1;

    if (timeout_ns >= 0) {
        timeout_ms = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
        timeout_ms = timeout_ms > INT32_MAX ? INT32_MAX : timeout_ms;
    }
    return epoll_wait(backend->epfd, backend->ready, EPOLL_EVENTS,
                      (int)timeout_ms);
}

static int
epoll_wait_ns(epoll_backend *backend, int64_t timeout_ns)
{
    struct __kernel_timespec timeout = {.tv_sec = timeout_ns / 1000000000,
                                        .tv_nsec = timeout_ns % 1000000000};
    long count;

    if (timeout_ns <= 0 || backend->pwait2_is_missing) {
        return epoll_wait_ms(backend, timeout_ns);
    }
    /* By number: glibc has the wrapper only since 2.35. */
    count = syscall(SYS_epoll_pwait2, backend->epfd, backend->ready,
                    EPOLL_EVENTS, &timeout, NULL, 0);
    if (count < 0 && (errno == ENOSYS || errno == EPERM)) {
        backend->pwait2_is_missing = true;
        return epoll_wait_ms(backend, timeout_ns);
    }
    return (int)count;
}

static bool
epoll_is_quiet(const rsl_backend *base)
{
    const epoll_backend *backend = (const epoll_backend *)(const void *)base;

    return backend->quiet_polls >= EPOLL_QUIET_POLLS
           && backend->ready_count == 0
           && rsl_clock_now_ns() - backend->quiet_poll_ns < EPOLL_QUIET_NS;
}

static void
epoll_note_poll(epoll_backend *backend, bool quiet)
{
    backend->quiet_polls = quiet ? backend->quiet_polls + 1 : 0;
    if (backend->quiet_polls >= EPOLL_QUIET_POLLS) {
        backend->quiet_polls = EPOLL_QUIET_POLLS;
        backend->quiet_poll_ns = rsl_clock_now_ns();
    }
}

static rsl_status
epoll_wait_op(rsl_backend *base, int64_t timeout_ns, rsl_err *err)
{
    epoll_backend *backend = epoll_of(base);
    bool has_kept = backend->stealer.once_count > 0;
    int count;

    if (backend->ready_count > 0 /* found by epoll_peek() */
        || (timeout_ns == 0 && epoll_is_quiet(base))) {
        rsl_stat_add(&base->rt->stats, RSL_STAT_POLLS_SKIPPED, 1);
        return RSL_OK;
    }
    count = epoll_wait_ns(backend, has_kept ? 0 : timeout_ns);
    epoll_note_poll(backend, timeout_ns == 0 && count == 0);
    backend->ready_count = count > 0 ? count : 0;
    if (count < 0 && errno != EINTR) {
        *err = (rsl_err){.code = errno, .call = "epoll_wait"};
        return RSL_OS;
    }
    return RSL_OK;
}

static bool
epoll_peek(rsl_backend *base)
{
    epoll_backend *backend = epoll_of(base);
    int count;

    if (backend->stealer.once_count > 0) {
        return true;
    }
    rsl_stat_add(&base->rt->stats, RSL_STAT_POLLS_MORE, 1);
    count = epoll_wait_ms(backend, 0);
    if (count <= 0) { /* an error is for the wait to meet */
        return false;
    }
    backend->ready_count = count;
    backend->quiet_polls = 0;
    return true;
}

/* Make the set hold `fd` for `bits`, whatever happened to it. RSL_OS: errno. */
static rsl_status
set_register(epoll_backend *backend, int fd, uint64_t tag, uint32_t *registered,
             uint32_t bits)
{
    struct epoll_event event = {.events = bits, .data.u64 = tag};
    int result;

    if (bits == *registered) {
        return RSL_OK;
    }
    if (bits == 0) {
        /* ENOENT, EBADF: its owner closed the fd, which is as good. */
        (void)epoll_ctl(backend->epfd, EPOLL_CTL_DEL, fd, NULL);
        *registered = 0;
        return RSL_OK;
    }
    if (*registered == 0) {
        result = epoll_ctl(backend->epfd, EPOLL_CTL_ADD, fd, &event);
        if (result < 0 && errno == EEXIST) {
            result = epoll_ctl(backend->epfd, EPOLL_CTL_MOD, fd, &event);
        }
    } else {
        result = epoll_ctl(backend->epfd, EPOLL_CTL_MOD, fd, &event);
        if (result < 0 && errno == ENOENT) {
            result = epoll_ctl(backend->epfd, EPOLL_CTL_ADD, fd, &event);
        }
    }
    if (result < 0) {
        return errno == ENOMEM ? RSL_NOMEM : RSL_OS;
    }
    *registered = bits;
    return RSL_OK;
}

static rsl_status
conn_register(epoll_backend *backend, rsl_conn *conn, uint32_t bits)
{
    return set_register(backend, conn->fd, rsl_tag(RSL_EV_READABLE, conn->id),
                        &conn->io_flags, bits);
}

/* An event came that nobody wanted: do not let it come again. */
static void
conn_trim(epoll_backend *backend, rsl_conn *conn)
{
    uint32_t bits = 0;

    if (rsl_conn_state_now(conn) == RSL_CONN_READING) {
        bits |= EPOLLIN;
    }
    if (conn->write_armed) {
        bits |= EPOLLOUT;
    }
    /* Taking bits away fails for a closed fd only, which sends no events. */
    (void)conn_register(backend, conn, bits);
}

static void
conn_report(epoll_backend *backend, rsl_conn *conn, uint32_t events,
            rsl_sink *sink)
{
    bool hangup = (events & (EPOLLERR | EPOLLHUP)) != 0;
    bool readable = hangup || (events & EPOLLIN) != 0;
    bool writable = hangup || (events & EPOLLOUT) != 0;
    bool reads = rsl_conn_state_now(conn) == RSL_CONN_READING;
    bool writes = conn->write_armed;

    rsl_spin_hear(&backend->base.rt->spin, conn->id);
    if (readable && reads) {
        sink->emit(sink,
                   (rsl_event){.tag = rsl_tag(RSL_EV_READABLE, conn->id)});
    }
    if (writable && writes) {
        /* The bit stays registered: who writes much arms again at once. */
        conn->write_armed = false;
        sink->emit(sink,
                   (rsl_event){.tag = rsl_tag(RSL_EV_WRITABLE, conn->id)});
    }
    if (((events & EPOLLIN) != 0 && !reads)
        || ((events & EPOLLOUT) != 0 && !writes)
        || (hangup && !reads && !writes)) {
        conn_trim(backend, conn);
    }
}

static void
dgram_report(const rsl_dgram *dgram, uint32_t events, rsl_sink *sink)
{
    unsigned mask = 0;

    if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) {
        mask |= RSL_WATCH_READ;
    }
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
        mask |= RSL_WATCH_WRITE;
    }
    mask &= dgram->wants;
    if (mask != 0) {
        rsl_spin_hear(&dgram->rt->spin, dgram->id);
        sink->emit(sink, (rsl_event){.tag = rsl_tag(RSL_EV_DGRAM, dgram->id),
                                     .u.arg = (intptr_t)mask});
    }
}

static void
epoll_collect(rsl_backend *base, rsl_sink *sink)
{
    epoll_backend *backend = epoll_of(base);
    rsl_runtime *rt = base->rt;

    for (unsigned i = 0; i < backend->stealer.once_count; i++) {
        const struct epoll_event *kept = &backend->stealer.once[i];

        rsl_watch_table_report(&backend->watches, kept->data.u64, kept->events,
                               sink);
    }
    backend->stealer.once_count = 0;
    for (int i = 0; i < backend->ready_count; i++) {
        uint64_t tag = backend->ready[i].data.u64;
        uint32_t events = backend->ready[i].events;
        rsl_dgram *dgram;
        rsl_conn *conn;

        switch ((int)rsl_tag_kind(tag)) {
        case RSL_EV_READABLE:
            conn = rsl_id_table_find(&rt->conns, rsl_tag_id(tag));
            if (conn != NULL) {
                conn_report(backend, conn, events, sink);
            }
            break;
        case RSL_EV_ACCEPTABLE:
            if (rsl_listener_find(rt, rsl_tag_id(tag)) != NULL) {
                sink->emit(sink, (rsl_event){.tag = tag});
            }
            break;
        case RSL_EV_DGRAM:
            dgram = rsl_dgram_find(rt, rsl_tag_id(tag));
            if (dgram != NULL) {
                dgram_report(dgram, events, sink);
            }
            break;
        case RSL_EV_WATCH:
            rsl_watch_table_report(&backend->watches, tag, events, sink);
            break;
        case RSL_EV_NONE: /* the mailbox: whoever sleeps next looks into it */
            break;
        }
    }
    backend->ready_count = 0;
}

static size_t
epoll_steal(rsl_backend *base, size_t budget, rsl_sink *sink)
{
    epoll_backend *backend = epoll_of(base);

    return rsl_steal_from(&backend->stealer, base->rt, backend->epfd, budget,
                          sink);
}

static rsl_status
epoll_conn_add(rsl_backend *base, rsl_conn *conn)
{
    /* It joins the set when it wants something. */
    rsl_watch_table_drop(&epoll_of(base)->watches, conn->fd);
    return RSL_OK;
}

static void
epoll_conn_remove(rsl_backend *base, rsl_conn *conn)
{
    (void)conn_register(epoll_of(base), conn, 0); /* cannot fail */
}

static rsl_status
epoll_read_start(rsl_backend *base, rsl_conn *conn)
{
    return conn_register(epoll_of(base), conn, conn->io_flags | EPOLLIN);
}

static void
epoll_read_stop(rsl_backend *base, rsl_conn *conn)
{
    (void)base, (void)conn; /* conn_trim() when an event proves it worth */
}

static rsl_status
epoll_write_arm(rsl_backend *base, rsl_conn *conn)
{
    return conn_register(epoll_of(base), conn, conn->io_flags | EPOLLOUT);
}

static rsl_status
epoll_listener_add(rsl_backend *base, rsl_listener *listener, rsl_err *err)
{
    struct epoll_event event = {
        .events = EPOLLIN,
        .data.u64 = rsl_tag(RSL_EV_ACCEPTABLE, listener->id),
    };
    int epfd = epoll_of(base)->epfd;

    rsl_watch_table_drop(&epoll_of(base)->watches, listener->fd);
    if (epoll_ctl(epfd, EPOLL_CTL_ADD, listener->fd, &event) < 0
        && (errno != EEXIST
            || epoll_ctl(epfd, EPOLL_CTL_MOD, listener->fd, &event) < 0)) {
        *err = (rsl_err){.code = errno, .call = "epoll_ctl"};
        return RSL_OS;
    }
    listener->io_flags = EPOLLIN;
    return RSL_OK;
}

static void
epoll_listener_remove(rsl_backend *base, rsl_listener *listener)
{
    if (listener->io_flags != 0) {
        /* ENOENT, EBADF: its owner closed the fd, which is as good. */
        (void)epoll_ctl(epoll_of(base)->epfd, EPOLL_CTL_DEL, listener->fd,
                        NULL);
        listener->io_flags = 0;
    }
}

static rsl_status
epoll_dgram_update(rsl_backend *base, rsl_dgram *dgram, rsl_err *err)
{
    uint32_t bits =
        ((dgram->wants & RSL_WATCH_READ) != 0 ? (uint32_t)EPOLLIN : 0u)
        | ((dgram->wants & RSL_WATCH_WRITE) != 0 ? (uint32_t)EPOLLOUT : 0u);
    rsl_status status =
        set_register(epoll_of(base), dgram->fd,
                     rsl_tag(RSL_EV_DGRAM, dgram->id), &dgram->io_flags, bits);

    if (status == RSL_OS) {
        *err = (rsl_err){.code = errno, .call = "epoll_ctl"};
    }
    return status;
}

static void
epoll_dgram_remove(rsl_backend *base, rsl_dgram *dgram)
{
    rsl_err err;

    (void)epoll_dgram_update(base, dgram, &err); /* wants nothing: RSL_OK */
}

static rsl_status
epoll_watch_set(rsl_backend *base, int fd, unsigned mask, rsl_err *err)
{
    return rsl_watch_table_set(base->watches, fd, mask, err);
}

static void
epoll_buffer_return(rsl_backend *base, uint32_t number)
{
    (void)base, (void)number;
    assert(!"epoll lends no buffers");
}

static const rsl_backend_ops epoll_ops = {
    .name = "epoll",
    .close = epoll_close,
    .attach = epoll_attach,
    .detach = epoll_detach,
    .wait = epoll_wait_op,
    .collect = epoll_collect,
    .is_quiet = epoll_is_quiet,
    .peek = epoll_peek,
    .steal = epoll_steal,
    .conn_add = epoll_conn_add,
    .conn_remove = epoll_conn_remove,
    .read_start = epoll_read_start,
    .read_stop = epoll_read_stop,
    .write_arm = epoll_write_arm,
    .recv = rsl_sock_recv,
    .send = rsl_sock_send,
    .send_batch = rsl_sock_send_batch,
    .listener_add = epoll_listener_add,
    .listener_remove = epoll_listener_remove,
    .accept = rsl_sock_accept,
    .dgram_update = epoll_dgram_update,
    .dgram_remove = epoll_dgram_remove,
    .watch_set = epoll_watch_set,
    .buffer_return = epoll_buffer_return,
};

rsl_status
rsl_epoll_open(rsl_runtime *rt, rsl_backend **out, rsl_err *err)
{
    /* Edge-triggered: nobody has to read the count to silence it. */
    struct epoll_event mailbox = {.events = EPOLLIN | EPOLLET,
                                  .data.u64 = rsl_tag(RSL_EV_NONE, 0)};
    epoll_backend *backend = calloc(1, sizeof *backend);

    if (backend == NULL) {
        return RSL_NOMEM;
    }
    backend->base = (rsl_backend){
        .ops = &epoll_ops, .rt = rt, .watches = &backend->watches};
    backend->epfd = epoll_create1(EPOLL_CLOEXEC);
    backend->watches.epfd = backend->epfd;
    if (backend->epfd < 0) {
        *err = (rsl_err){.code = errno, .call = "epoll_create1"};
        goto fail_free;
    }
    if (epoll_ctl(backend->epfd, EPOLL_CTL_ADD, rt->mailbox.wake_fd, &mailbox)
        < 0) {
        *err = (rsl_err){.code = errno, .call = "epoll_ctl"};
        goto fail_epfd;
    }
    *out = &backend->base;
    return RSL_OK;

fail_epfd:
    close(backend->epfd);
fail_free:
    free(backend);
    return RSL_OS;
}
