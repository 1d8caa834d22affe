/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.c - an endpoint: who may come in, and for how long.
 *
 * Clients cost the runtime thread nothing while they are silent, and together
 * they have little memory: one too many ends the oldest, whose answer is gone
 * long since if it behaves. */
#include "sight/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/runtime_impl.h"
#include "sight/metrics_impl.h"

enum { METRICS_BATCH = 16, METRICS_TICK_NS = 250000000 };

int
metrics_set(rsl_metrics *metrics, int op, int fd, uint32_t events, void *ptr)
{
    struct epoll_event event = {.events = events, .data.ptr = ptr};

    return epoll_ctl(metrics->watch.fd, op, fd, &event) < 0 ? errno : 0;
}

/* A tick while somebody's time runs out, or accepting has paused. */
static void
metrics_keep_time(rsl_metrics *metrics)
{
    bool runs = metrics->client_count > 0 || metrics->accept_paused;
    struct itimerspec when = {{0, 0}, {0, 0}};

    if (runs == metrics->timer_runs) {
        return;
    }
    if (runs) {
        when.it_value.tv_nsec = when.it_interval.tv_nsec = METRICS_TICK_NS;
    }
    /* Good arguments: cannot fail. */
    (void)timerfd_settime(metrics->timer_fd, 0, &when, NULL);
    metrics->timer_runs = runs;
}

static metrics_client *
metrics_oldest(const rsl_metrics *metrics)
{
    return RSL_LIST_ENTRY(metrics->clients.next, metrics_client, link);
}

static void
metrics_accept(rsl_metrics *metrics)
{
    int fd =
        accept4(metrics->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0) {
        if (metrics->client_count == RSL_METRICS_CLIENTS) {
            metrics_client_close(metrics_oldest(metrics));
        }
        metrics_client_open(metrics, fd, rsl_clock_now_ns());
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS
               || errno == ENOMEM) {
        /* It stays ready: look again at the next tick. */
        metrics->accept_paused =
            metrics_set(metrics, EPOLL_CTL_MOD, metrics->listen_fd, 0,
                        &metrics->listen_fd)
            == 0;
    }
}

static void
metrics_tick(rsl_metrics *metrics)
{
    int64_t now_ns = rsl_clock_now_ns();
    uint64_t count;

    /* EAGAIN: stopped meanwhile, which does no harm. */
    (void)!read(metrics->timer_fd, &count, sizeof count);
    while (metrics->client_count > 0
           && metrics_oldest(metrics)->deadline_ns <= now_ns) {
        metrics_client_close(metrics_oldest(metrics));
    }
    if (metrics->accept_paused) {
        metrics->accept_paused =
            metrics_set(metrics, EPOLL_CTL_MOD, metrics->listen_fd, EPOLLIN,
                        &metrics->listen_fd)
            != 0;
    }
}

/* One event at a time: a client may end another one. */
static void
metrics_ready(rsl_rwatch *watch, uint32_t events)
{
    rsl_metrics *metrics = (rsl_metrics *)(void *)watch;

    (void)events;
    for (int i = 0; i < METRICS_BATCH; i++) {
        struct epoll_event event;

        if (epoll_wait(watch->fd, &event, 1, 0) != 1) {
            break;
        }
        if (event.data.ptr == &metrics->listen_fd) {
            metrics_accept(metrics);
        } else if (event.data.ptr == &metrics->timer_fd) {
            metrics_tick(metrics);
        } else {
            metrics_client_ready(event.data.ptr);
        }
    }
    metrics_keep_time(metrics);
}

/* Nobody serves it: what it has goes. In a forked child the runtime thread may
 * have been at any point of changing its clients: they are left alone. */
static void
metrics_free(rsl_metrics *metrics)
{
    bool forked = rsl_runtime_is_forked(metrics->rt);

    while (!forked && metrics->client_count > 0) {
        metrics_client_close(metrics_oldest(metrics));
    }
    if (metrics->timer_fd >= 0) {
        close(metrics->timer_fd);
    }
    if (metrics->watch.fd >= 0) {
        close(metrics->watch.fd);
    }
    rsl_list_remove(&metrics->link);
    free(metrics);
}

static rsl_status
metrics_fill_set(rsl_metrics *metrics, rsl_err *err)
{
    int flags = fcntl(metrics->listen_fd, F_GETFL);

    *err = (rsl_err){.call = "fcntl"};
    if (flags < 0
        || fcntl(metrics->listen_fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        err->code = errno;
        return RSL_OS;
    }
    err->call = "epoll_create1";
    metrics->watch.fd = epoll_create1(EPOLL_CLOEXEC);
    if (metrics->watch.fd >= 0) {
        err->call = "timerfd_create";
        metrics->timer_fd =
            timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    }
    if (metrics->timer_fd < 0) {
        err->code = errno;
        return RSL_OS;
    }
    err->call = "epoll_ctl";
    err->code = metrics_set(metrics, EPOLL_CTL_ADD, metrics->listen_fd, EPOLLIN,
                            &metrics->listen_fd);
    if (err->code == 0) {
        err->code = metrics_set(metrics, EPOLL_CTL_ADD, metrics->timer_fd,
                                EPOLLIN, &metrics->timer_fd);
    }
    return err->code == 0 ? RSL_OK : RSL_OS;
}

rsl_status
rsl_metrics_open(rsl_runtime *rt, int fd, uint64_t *out, rsl_err *err)
{
    rsl_metrics *metrics = calloc(1, sizeof *metrics);
    rsl_status status;

    if (metrics == NULL) {
        return RSL_NOMEM;
    }
    metrics->watch = (rsl_rwatch){.fd = -1, .ready = metrics_ready};
    metrics->rt = rt;
    metrics->listen_fd = fd;
    metrics->timer_fd = -1;
    rsl_list_init(&metrics->clients);
    rsl_list_init(&metrics->link);
    status = metrics_fill_set(metrics, err);
    if (status == RSL_OK) {
        status = rsl_rwatch_add(rt, &metrics->watch, EPOLLIN, err);
    }
    if (status != RSL_OK) {
        metrics_free(metrics);
        return status;
    }
    metrics->name = ++rt->metrics_named;
    rsl_list_push(&rt->metrics, &metrics->link);
    *out = metrics->name;
    return RSL_OK;
}

static void
metrics_close(rsl_metrics *metrics)
{
    close(metrics->listen_fd);
    metrics_free(metrics);
}

void
rsl_metrics_close(rsl_runtime *rt, uint64_t name)
{
    for (rsl_list *link = rt->metrics.next; link != &rt->metrics;
         link = link->next) {
        rsl_metrics *metrics = RSL_LIST_ENTRY(link, rsl_metrics, link);

        if (metrics->name == name) {
            rsl_rwatch_remove(rt, &metrics->watch);
            metrics_close(metrics);
            return;
        }
    }
}

void
rsl_metrics_fini(rsl_runtime *rt)
{
    while (!rsl_list_is_empty(&rt->metrics)) {
        metrics_close(RSL_LIST_ENTRY(rt->metrics.next, rsl_metrics, link));
    }
}
