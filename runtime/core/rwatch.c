/* SPDX-License-Identifier: Apache-2.0 */
/* rwatch.c - fds of the runtime thread.
 *
 * One event is fetched and answered at a time, under the lock: whoever removes
 * a watch under the same lock knows that no event of it is left behind. */
#include "core/rwatch.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <rsl/rwatch.h>

#include "core/runtime_impl.h"
#include "core/thread.h"

/* Watches that are always ready leave the thread time for its loop. */
enum { RWATCH_BATCH = 16 };

void
rsl_rwatches_init(rsl_rwatches *watches)
{
    atomic_init(&watches->epfd, -1);
    pthread_mutex_init(&watches->lock, NULL);
}

void
rsl_rwatches_fini(rsl_rwatches *watches, bool forked)
{
    int epfd = atomic_exchange(&watches->epfd, -1);

    if (epfd >= 0) {
        close(epfd);
    }
    if (!forked) { /* there, the thread that held it does not exist */
        pthread_mutex_destroy(&watches->lock);
    }
}

void
rsl_rwatches_serve(rsl_runtime *rt)
{
    rsl_rwatches *watches = &rt->rwatches;
    int epfd = atomic_load(&watches->epfd);

    for (int i = 0; i < RWATCH_BATCH; i++) {
        struct epoll_event event;
        int count;

        pthread_mutex_lock(&watches->lock);
        count = epoll_wait(epfd, &event, 1, 0);
        if (count == 1) {
            rsl_rwatch *watch = event.data.ptr;

            watch->ready(watch, event.events);
        }
        pthread_mutex_unlock(&watches->lock);
        if (count != 1) {
            return;
        }
    }
}

static bool
rwatch_is_on_thread(const rsl_runtime *rt)
{
    return atomic_load(&rt->runtime_tid) == (int)gettid();
}

/* The thread and its set, made when they are missing. */
static rsl_status
rwatch_prepare(rsl_runtime *rt, rsl_err *err)
{
    rsl_rwatches *watches = &rt->rwatches;
    rsl_status status = RSL_OK;
    int epfd;

    if (rsl_runtime_is_forked(rt)) {
        return RSL_FORKED;
    }
    if (rwatch_is_on_thread(rt)) {
        return RSL_OK; /* called by a watch: both are there */
    }
    if (rt->closed) {
        return RSL_CLOSED;
    }
    if (rt->thread == NULL) {
        status = rsl_thread_new(rt, &rt->thread, err);
    }
    if (status != RSL_OK || atomic_load(&watches->epfd) >= 0) {
        return status;
    }
    epfd = epoll_create1(EPOLL_CLOEXEC);
    if (epfd < 0) {
        *err = (rsl_err){.code = errno, .call = "epoll_create1"};
        return RSL_OS;
    }
    atomic_store(&watches->epfd, epfd);
    rsl_thread_look(rt->thread); /* it sleeps on what it knew before */
    return RSL_OK;
}

static rsl_status
rwatch_ctl(rsl_runtime *rt, int op, rsl_rwatch *watch, uint32_t events,
           rsl_err *err)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};

    if (epoll_ctl(atomic_load(&rt->rwatches.epfd), op, watch->fd, &event) < 0) {
        *err = (rsl_err){.code = errno, .call = "epoll_ctl"};
        return RSL_OS;
    }
    return RSL_OK;
}

rsl_status
rsl_rwatch_add(rsl_runtime *rt, rsl_rwatch *watch, uint32_t events,
               rsl_err *err)
{
    rsl_status status = rwatch_prepare(rt, err);

    if (status != RSL_OK) {
        return status;
    }
    return rwatch_ctl(rt, EPOLL_CTL_ADD, watch, events, err);
}

rsl_status
rsl_rwatch_change(rsl_runtime *rt, rsl_rwatch *watch, uint32_t events,
                  rsl_err *err)
{
    if (rsl_runtime_is_forked(rt)) {
        return RSL_FORKED;
    }
    return rwatch_ctl(rt, EPOLL_CTL_MOD, watch, events, err);
}

void
rsl_rwatch_remove(rsl_runtime *rt, rsl_rwatch *watch)
{
    rsl_rwatches *watches = &rt->rwatches;
    bool locks = !rwatch_is_on_thread(rt);
    rsl_err err;

    /* In a forked child the set is the parent's, and the lock perhaps held by
     * a thread that is not here. Closed: both are gone. */
    if (rsl_runtime_is_forked(rt) || atomic_load(&watches->epfd) < 0) {
        return;
    }
    if (locks) {
        pthread_mutex_lock(&watches->lock);
    }
    /* ENOENT, EBADF: its owner closed the fd, which is as good. */
    (void)rwatch_ctl(rt, EPOLL_CTL_DEL, watch, 0, &err);
    if (locks) {
        pthread_mutex_unlock(&watches->lock);
    }
}
