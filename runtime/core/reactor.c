/* SPDX-License-Identifier: Apache-2.0 */
/* reactor.c - an epoll set, a heap of timers and a queue of tasks, one lock.
 *
 * Any thread may add a source under the lock; only the runtime thread calls
 * and ends them, without it. A source that is closed is put on the list of
 * those to end, so that no event that epoll has already reported can meet freed
 * memory: ending is the runtime thread's, and comes after the events.
 *
 *   post, watch, timer               close, or a timer's end
 *  ------------------> LIVE --------------------------------> ENDING --> over
 *                       (also when the runtime thread is gone) */
#include "core/reactor.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <rsl/runtime.h>

#include "core/reactor_impl.h"

#define NS_PER_S      INT64_C(1000000000)
#define PERIOD_NS_MAX (INT64_MAX / 4)

enum { EVENTS_AT_ONCE = 32, TASKS_AT_ONCE = 64 };

/* --- Sources --- */

static void
source_unref(rsl_source *source)
{
    if (atomic_fetch_sub(&source->refs, 1) == 1) {
        free(source);
    }
}

static rsl_source *
source_new(rsl_source_calls calls, unsigned refs)
{
    rsl_source *source = calloc(1, sizeof *source);

    if (source != NULL) {
        rsl_list_init(&source->link);
        source->calls = calls;
        source->fd = -1;
        source->place = RSL_NO_PLACE;
        atomic_init(&source->closed, false);
        atomic_init(&source->refs, refs);
    }
    return source;
}

static void
source_end(rsl_source *source)
{
    if (source->calls.over != NULL) {
        source->calls.over(source->calls.arg);
    }
    source_unref(source);
}

/* --- Life --- */

static int
reactor_add_fd(rsl_reactor *reactor, int *fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = fd};

    return epoll_ctl(reactor->watch.fd, EPOLL_CTL_ADD, *fd, &event);
}

static void
reactor_close_fds(rsl_reactor *reactor)
{
    const int fds[] = {reactor->watch.fd, reactor->wake_fd, reactor->timer_fd};

    for (unsigned i = 0; i < 3; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
}

static rsl_status
reactor_open_fds(rsl_reactor *reactor, rsl_err *err)
{
    reactor->wake_fd = reactor->timer_fd = -1;
    reactor->watch.fd = epoll_create1(EPOLL_CLOEXEC);
    *err = (rsl_err){.call = "epoll_create1"};
    if (reactor->watch.fd >= 0) {
        reactor->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        err->call = "eventfd";
    }
    if (reactor->wake_fd >= 0) {
        reactor->timer_fd =
            timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        err->call = "timerfd_create";
    }
    if (reactor->timer_fd >= 0
        && reactor_add_fd(reactor, &reactor->wake_fd) == 0
        && reactor_add_fd(reactor, &reactor->timer_fd) == 0) {
        return RSL_OK;
    }
    err->code = errno;
    reactor_close_fds(reactor);
    return RSL_OS;
}

static void reactor_run(rsl_rwatch *watch, uint32_t events);

rsl_status
rsl_reactor_new(rsl_runtime *rt, rsl_reactor **out, rsl_err *err)
{
    rsl_reactor *reactor = calloc(1, sizeof *reactor);
    rsl_status status;

    if (reactor == NULL) {
        return RSL_NOMEM;
    }
    reactor->watch.ready = reactor_run;
    pthread_mutex_init(&reactor->lock, NULL);
    rsl_list_init(&reactor->live);
    rsl_list_init(&reactor->tasks);
    rsl_list_init(&reactor->ending);
    status = reactor_open_fds(reactor, err);
    if (status != RSL_OK) {
        goto fail_free;
    }
    status = rsl_rwatch_add(rt, &reactor->watch, EPOLLIN, err);
    if (status != RSL_OK) {
        goto fail_close;
    }
    *out = reactor;
    return RSL_OK;

fail_close:
    reactor_close_fds(reactor);
fail_free:
    pthread_mutex_destroy(&reactor->lock);
    free(reactor);
    return status;
}

/* End everything in `list`. With the lock, which is left for each call. */
static void
reactor_end_all(rsl_reactor *reactor, rsl_list *list)
{
    while (!rsl_list_is_empty(list)) {
        rsl_source *source = RSL_LIST_ENTRY(list->next, rsl_source, link);

        rsl_list_remove(&source->link);
        atomic_store(&source->closed, true);
        pthread_mutex_unlock(&reactor->lock);
        source_end(source);
        pthread_mutex_lock(&reactor->lock);
    }
}

void
rsl_reactor_free(rsl_reactor *reactor, bool forked)
{
    reactor_close_fds(reactor);
    if (!forked) { /* else somebody who is not here may have the lock */
        pthread_mutex_lock(&reactor->lock);
        reactor_end_all(reactor, &reactor->tasks);
        reactor_end_all(reactor, &reactor->live);
        reactor_end_all(reactor, &reactor->ending);
        pthread_mutex_unlock(&reactor->lock);
        pthread_mutex_destroy(&reactor->lock);
    }
    free(reactor->heap);
    free(reactor);
}

static void
reactor_wake(rsl_reactor *reactor)
{
    static const uint64_t one = 1;

    if (write(reactor->wake_fd, &one, sizeof one) < 0) {
        return; /* EAGAIN: the count is full, so it is readable */
    }
}

/* The descriptor fires for the earliest timer, or not at all. With the lock. */
static void
reactor_set_alarm(rsl_reactor *reactor)
{
    struct itimerspec alarm = {.it_value = {0}};

    if (reactor->timers > 0) {
        int64_t when_ns = reactor->heap[0]->when_ns;

        when_ns = when_ns < 1 ? 1 : when_ns; /* 0 would switch it off */
        alarm.it_value.tv_sec = when_ns / NS_PER_S;
        alarm.it_value.tv_nsec = when_ns % NS_PER_S;
    }
    /* The arguments are good, and nothing else can fail here. */
    (void)timerfd_settime(reactor->timer_fd, TFD_TIMER_ABSTIME, &alarm, NULL);
}

/* --- Any thread --- */

rsl_status
rsl_reactor_post(rsl_reactor *reactor, rsl_source_calls calls)
{
    rsl_source *source = source_new(calls, 1);
    bool first;

    if (source == NULL) {
        return RSL_NOMEM;
    }
    pthread_mutex_lock(&reactor->lock);
    first = rsl_list_is_empty(&reactor->tasks);
    rsl_list_push(&reactor->tasks, &source->link);
    pthread_mutex_unlock(&reactor->lock);
    if (first) {
        reactor_wake(reactor);
    }
    return RSL_OK;
}

rsl_status
rsl_reactor_watch(rsl_reactor *reactor, rsl_fd_events wanted,
                  rsl_source_calls calls, rsl_source **out, rsl_err *err)
{
    rsl_source *source = source_new(calls, 2);
    struct epoll_event event = {.events = wanted.events, .data.ptr = source};
    rsl_status status = RSL_OK;

    if (source == NULL) {
        return RSL_NOMEM;
    }
    source->fd = wanted.fd;
    pthread_mutex_lock(&reactor->lock);
    if (epoll_ctl(reactor->watch.fd, EPOLL_CTL_ADD, wanted.fd, &event) < 0) {
        *err = (rsl_err){.code = errno, .call = "epoll_ctl"};
        status = RSL_OS;
    } else {
        rsl_list_push(&reactor->live, &source->link);
        *out = source; /* before the first event, which waits for the lock */
    }
    pthread_mutex_unlock(&reactor->lock);
    if (status != RSL_OK) {
        free(source);
    }
    return status;
}

rsl_status
rsl_reactor_timer(rsl_reactor *reactor, int64_t delay_ns, int64_t period_ns,
                  rsl_source_calls calls, rsl_source **out)
{
    rsl_source *source = source_new(calls, out == NULL ? 1 : 2);
    int64_t now_ns = rsl_clock_now_ns();

    if (source == NULL) {
        return RSL_NOMEM;
    }
    /* Late by whole periods, `when_ns` must not overflow. */
    source->period_ns = period_ns > PERIOD_NS_MAX ? PERIOD_NS_MAX : period_ns;
    source->when_ns =
        delay_ns > INT64_MAX - now_ns ? INT64_MAX : now_ns + delay_ns;
    pthread_mutex_lock(&reactor->lock);
    if (rsl_reactor_heap_add(reactor, source) < 0) {
        pthread_mutex_unlock(&reactor->lock);
        free(source);
        return RSL_NOMEM;
    }
    rsl_list_push(&reactor->live, &source->link);
    if (out != NULL) {
        *out = source;
    }
    if (source->place == 0) {
        reactor_set_alarm(reactor);
    }
    pthread_mutex_unlock(&reactor->lock);
    return RSL_OK;
}

rsl_status
rsl_reactor_change(rsl_reactor *reactor, rsl_source *source, uint32_t events,
                   rsl_err *err)
{
    struct epoll_event event = {.events = events, .data.ptr = source};
    rsl_status status = RSL_OK;

    pthread_mutex_lock(&reactor->lock);
    if (source->fd < 0 || atomic_load(&source->closed)) {
        status = RSL_UNSUPPORTED;
    } else if (epoll_ctl(reactor->watch.fd, EPOLL_CTL_MOD, source->fd, &event)
               < 0) {
        *err = (rsl_err){.code = errno, .call = "epoll_ctl"};
        status = RSL_OS;
    }
    pthread_mutex_unlock(&reactor->lock);
    return status;
}

/* Out of epoll and of the heap, onto the list of those to end. With the lock;
 * once for each source. */
static void
reactor_retire(rsl_reactor *reactor, rsl_source *source)
{
    atomic_store(&source->closed, true);
    if (source->place != RSL_NO_PLACE) {
        rsl_reactor_heap_remove(reactor, source);
    }
    if (source->fd >= 0) {
        /* EBADF: closed too early by its owner; nothing is left to remove. */
        (void)epoll_ctl(reactor->watch.fd, EPOLL_CTL_DEL, source->fd, NULL);
    }
    rsl_list_remove(&source->link);
    rsl_list_push(&reactor->ending, &source->link);
}

void
rsl_source_close(rsl_reactor *reactor, rsl_source *source)
{
    if (reactor != NULL) {
        bool live;

        pthread_mutex_lock(&reactor->lock);
        live = !atomic_load(&source->closed);
        if (live) {
            reactor_retire(reactor, source);
        }
        pthread_mutex_unlock(&reactor->lock);
        if (live) {
            reactor_wake(reactor);
        }
    }
    source_unref(source);
}

/* --- The runtime thread --- */

static void
source_call(rsl_source *source, uint64_t what)
{
    if (!atomic_load(&source->closed)) {
        source->calls.event(source->calls.arg, what);
    }
}

static rsl_source *
reactor_take_task(rsl_reactor *reactor)
{
    rsl_source *source = NULL;

    pthread_mutex_lock(&reactor->lock);
    if (!rsl_list_is_empty(&reactor->tasks)) {
        source = RSL_LIST_ENTRY(reactor->tasks.next, rsl_source, link);
        rsl_list_remove(&source->link);
    }
    pthread_mutex_unlock(&reactor->lock);
    return source;
}

/* Those that are left over wake the thread again: the loop comes in between. */
static void
reactor_run_tasks(rsl_reactor *reactor)
{
    rsl_source *source = NULL;

    for (unsigned i = 0; i < TASKS_AT_ONCE; i++) {
        source = reactor_take_task(reactor);
        if (source == NULL) {
            return;
        }
        source->calls.event(source->calls.arg, 0);
        source_end(source);
    }
    reactor_wake(reactor);
}

/* The next timer that is due, prepared for its next period or retired, and how
 * many periods have passed; or NULL. It is not freed before this thread ends
 * it. */
static rsl_source *
reactor_take_due(rsl_reactor *reactor, int64_t now_ns, uint64_t *periods)
{
    rsl_source *source = NULL;

    pthread_mutex_lock(&reactor->lock);
    if (reactor->timers > 0 && reactor->heap[0]->when_ns <= now_ns) {
        source = reactor->heap[0];
        *periods = 1;
        if (source->period_ns > 0) {
            int64_t late_ns = now_ns - source->when_ns;

            *periods += (uint64_t)(late_ns / source->period_ns);
            source->when_ns += (int64_t)*periods * source->period_ns;
            rsl_reactor_heap_sink_first(reactor, source);
        } else {
            rsl_reactor_heap_remove(reactor, source);
        }
    }
    pthread_mutex_unlock(&reactor->lock);
    return source;
}

static void
reactor_run_timers(rsl_reactor *reactor)
{
    int64_t now_ns = rsl_clock_now_ns();
    uint64_t periods;
    rsl_source *source;

    while ((source = reactor_take_due(reactor, now_ns, &periods)) != NULL) {
        source_call(source, periods);
        if (source->period_ns > 0) {
            continue;
        }
        pthread_mutex_lock(&reactor->lock);
        if (!atomic_load(&source->closed)) {
            reactor_retire(reactor, source);
        }
        pthread_mutex_unlock(&reactor->lock);
    }
    pthread_mutex_lock(&reactor->lock);
    reactor_set_alarm(reactor); /* which also makes it unreadable */
    pthread_mutex_unlock(&reactor->lock);
}

static void
reactor_run_watches(rsl_reactor *reactor)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    uint64_t count;
    int found = epoll_wait(reactor->watch.fd, events, EVENTS_AT_ONCE, 0);

    for (int i = 0; i < found; i++) {
        void *whose = events[i].data.ptr;

        if (whose == &reactor->wake_fd) {
            /* EAGAIN: it was read before. */
            (void)!read(reactor->wake_fd, &count, sizeof count);
        } else if (whose == &reactor->timer_fd) {
            reactor_run_timers(reactor);
        } else {
            /* Who adds a source stores its handle before this. */
            pthread_mutex_lock(&reactor->lock);
            pthread_mutex_unlock(&reactor->lock);
            source_call(whose, events[i].events);
        }
    }
}

static void
reactor_run(rsl_rwatch *watch, uint32_t events)
{
    rsl_reactor *reactor = RSL_LIST_ENTRY(watch, rsl_reactor, watch);

    (void)events;                 /* the set itself has more to say */
    reactor_run_watches(reactor); /* first: it takes the wake's count */
    reactor_run_tasks(reactor);
    pthread_mutex_lock(&reactor->lock);
    reactor_end_all(reactor, &reactor->ending);
    pthread_mutex_unlock(&reactor->lock);
}
