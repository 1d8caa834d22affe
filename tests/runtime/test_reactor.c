/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks, watches and timers on the runtime thread, and their end. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <rsl/reactor.h>

#include "core/runtime_impl.h"
#include "core/thread.h"
#include "fake_backend.h"
#include "fake_loop.h"

enum { PATIENCE_S = 30, HOUR_S = 3600 };

#define NS_PER_S INT64_C(1000000000)

/* What a source has told, for a test that waits for it. */
typedef struct witness {
    pthread_mutex_t lock;
    pthread_cond_t news;
    unsigned events, overs;
    uint64_t last;
    pthread_t thread;
    void (*also)(struct witness *self); /* inside the event */
    rsl_reactor *reactor;
    rsl_source *source;
    int fd;
} witness;

static void
witness_init(witness *self)
{
    *self = (witness){.lock = PTHREAD_MUTEX_INITIALIZER,
                      .news = PTHREAD_COND_INITIALIZER};
}

static void
witness_event(void *arg, uint64_t what)
{
    witness *self = arg;

    if (self->also != NULL) {
        self->also(self);
    }
    pthread_mutex_lock(&self->lock);
    self->events++;
    self->last = what;
    self->thread = pthread_self();
    pthread_cond_broadcast(&self->news);
    pthread_mutex_unlock(&self->lock);
}

static void
witness_over(void *arg)
{
    witness *self = arg;

    pthread_mutex_lock(&self->lock);
    self->overs++;
    self->thread = pthread_self();
    pthread_cond_broadcast(&self->news);
    pthread_mutex_unlock(&self->lock);
}

static rsl_source_calls
calls_of(witness *self)
{
    return (rsl_source_calls){witness_event, witness_over, self};
}

static void
await_count(witness *self, const unsigned *count, unsigned wanted)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&self->lock);
    while (*count < wanted) {
        assert_int_equal(
            pthread_cond_timedwait(&self->news, &self->lock, &until), 0);
    }
    pthread_mutex_unlock(&self->lock);
}

static rsl_reactor *
reactor_of(rsl_runtime *rt)
{
    rsl_reactor *reactor = NULL;
    rsl_err err = {0};

    assert_int_equal(rsl_runtime_reactor(rt, &reactor, &err), RSL_OK);
    return reactor;
}

static void
end(rsl_runtime *rt)
{
    rsl_runtime_leave(rt);
    rsl_runtime_free(rt);
}

/* --- Tasks --- */

static void
a_task_runs_on_the_runtime_thread_and_is_over(void **state)
{
    static const rsl_takeover takeovers[] = {
        RSL_TAKEOVER_AUTO, RSL_TAKEOVER_NEVER, RSL_TAKEOVER_ALWAYS};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        rsl_runtime *rt = fake_runtime(takeovers[i], NULL);
        rsl_reactor *reactor = reactor_of(rt);
        witness task;

        witness_init(&task);
        assert_int_equal(rsl_reactor_post(reactor, calls_of(&task)), RSL_OK);
        await_count(&task, &task.overs, 1);
        assert_int_equal(task.events, 1);
        assert_false(pthread_equal(task.thread, pthread_self()));
        end(rt);
    }
}

enum { MANY = 1000 };
static unsigned order[MANY], order_count;

static void
note_order(void *arg, uint64_t what)
{
    (void)what;
    order[order_count++] = (unsigned)(uintptr_t)arg;
}

static void
tasks_of_one_thread_keep_their_order(void **state)
{
    rsl_runtime *rt = fake_runtime(RSL_TAKEOVER_AUTO, NULL);
    rsl_reactor *reactor = reactor_of(rt);
    witness last;

    (void)state;
    order_count = 0;
    for (uintptr_t i = 0; i < MANY; i++) {
        rsl_source_calls calls = {note_order, NULL, (void *)i};

        assert_int_equal(rsl_reactor_post(reactor, calls), RSL_OK);
    }
    witness_init(&last);
    assert_int_equal(rsl_reactor_post(reactor, calls_of(&last)), RSL_OK);
    await_count(&last, &last.overs, 1);
    assert_int_equal(order_count, MANY);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(order[i], i);
    }
    end(rt);
}

/* --- Watches --- */

static void
read_one(witness *self)
{
    char byte;

    assert_int_equal(read(self->fd, &byte, 1), 1);
}

static void
a_watch_tells_of_each_byte_until_it_is_closed(void **state)
{
    rsl_runtime *rt = fake_runtime(RSL_TAKEOVER_AUTO, NULL);
    rsl_reactor *reactor = reactor_of(rt);
    witness watch;
    rsl_err err = {0};
    int ends[2];

    (void)state;
    witness_init(&watch);
    assert_int_equal(pipe(ends), 0);
    watch.also = read_one;
    watch.fd = ends[0];
    assert_int_equal(rsl_reactor_watch(reactor,
                                       (rsl_fd_events){ends[0], EPOLLIN},
                                       calls_of(&watch), &watch.source, &err),
                     RSL_OK);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(write(ends[1], "x", 1), 1);
        await_count(&watch, &watch.events, i);
    }
    assert_int_equal(watch.last, EPOLLIN);
    rsl_source_close(reactor, watch.source);
    await_count(&watch, &watch.overs, 1);
    assert_int_equal(write(ends[1], "x", 1), 1);
    end(rt);
    assert_int_equal(watch.events, 3);
    assert_int_equal(watch.overs, 1);
    close(ends[0]);
    close(ends[1]);
}

static void
close_itself(witness *self)
{
    rsl_source_close(self->reactor, self->source);
}

static void
a_watch_may_close_itself(void **state)
{
    rsl_runtime *rt = fake_runtime(RSL_TAKEOVER_ALWAYS, NULL);
    witness watch;
    rsl_err err = {0};
    int ends[2];

    (void)state;
    witness_init(&watch);
    assert_int_equal(pipe(ends), 0);
    watch.also = close_itself;
    watch.reactor = reactor_of(rt);
    assert_int_equal(write(ends[1], "x", 1), 1); /* it stays readable */
    assert_int_equal(rsl_reactor_watch(watch.reactor,
                                       (rsl_fd_events){ends[0], EPOLLIN},
                                       calls_of(&watch), &watch.source, &err),
                     RSL_OK);
    await_count(&watch, &watch.overs, 1);
    assert_int_equal(watch.events, 1);
    end(rt);
    close(ends[0]);
    close(ends[1]);
}

static void
a_oneshot_watch_is_armed_again_by_a_change(void **state)
{
    rsl_runtime *rt = fake_runtime(RSL_TAKEOVER_AUTO, NULL);
    rsl_reactor *reactor = reactor_of(rt);
    const uint32_t once = EPOLLIN | EPOLLONESHOT;
    witness watch;
    rsl_err err = {0};
    int ends[2];

    (void)state;
    witness_init(&watch);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(rsl_reactor_watch(reactor, (rsl_fd_events){ends[0], once},
                                       calls_of(&watch), &watch.source, &err),
                     RSL_OK);
    await_count(&watch, &watch.events, 1);
    assert_int_equal(rsl_reactor_change(reactor, watch.source, once, &err),
                     RSL_OK);
    await_count(&watch, &watch.events, 2);
    rsl_source_close(reactor, watch.source);
    end(rt);
    assert_int_equal(watch.events, 2);
    close(ends[0]);
    close(ends[1]);
}

static void
a_watch_of_nothing_is_refused(void **state)
{
    rsl_runtime *rt = fake_runtime(RSL_TAKEOVER_AUTO, NULL);
    rsl_reactor *reactor = reactor_of(rt);
    rsl_source *source = NULL;
    witness watch;
    rsl_err err = {0};

    (void)state;
    witness_init(&watch);
    assert_int_equal(rsl_reactor_watch(reactor, (rsl_fd_events){99999, EPOLLIN},
                                       calls_of(&watch), &source, &err),
                     RSL_OS);
    assert_int_equal(err.code, EBADF);
    end(rt);
    assert_int_equal(watch.overs, 0);
}

/* --- Timers --- */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void
pass_gate(witness *self)
{
    pthread_mutex_lock(&self->lock);
    self->fd = 1; /* it is there */
    pthread_cond_broadcast(&self->news);
    pthread_mutex_unlock(&self->lock);
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
}

/* All are overdue when the thread comes to look. */
static void
timers_fire_in_the_order_of_their_times(void **state)
{
    rsl_runtime *rt = fake_runtime(RSL_TAKEOVER_AUTO, NULL);
    rsl_reactor *reactor = reactor_of(rt);
    witness task, last;

    (void)state;
    order_count = 0;
    witness_init(&task);
    witness_init(&last);
    task.also = pass_gate;
    pthread_mutex_lock(&gate);
    assert_int_equal(rsl_reactor_post(reactor, calls_of(&task)), RSL_OK);
    await_count(&task, (unsigned *)&task.fd, 1);
    /* A permutation: 7 has no factor with 100. */
    for (uintptr_t i = 0; i < 100; i++) {
        uintptr_t rank = i * 7 % 100;
        int64_t delay_ns = ((int64_t)rank - HOUR_S) * NS_PER_S;
        rsl_source_calls calls = {note_order, NULL, (void *)rank};

        assert_int_equal(rsl_reactor_timer(reactor, delay_ns, 0, calls, NULL),
                         RSL_OK);
    }
    assert_int_equal(rsl_reactor_timer(reactor, 0, 0, calls_of(&last), NULL),
                     RSL_OK);
    pthread_mutex_unlock(&gate);
    await_count(&last, &last.overs, 1);
    assert_int_equal(order_count, 100);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(order[i], i);
    }
    end(rt);
}

static void
a_period_repeats_until_it_is_closed(void **state)
{
    rsl_runtime *rt = fake_runtime(RSL_TAKEOVER_AUTO, NULL);
    rsl_reactor *reactor = reactor_of(rt);
    witness timer;

    (void)state;
    witness_init(&timer);
    assert_int_equal(
        rsl_reactor_timer(reactor, 0, 1000000, calls_of(&timer), &timer.source),
        RSL_OK);
    await_count(&timer, &timer.events, 3);
    assert_true(timer.last >= 1);
    rsl_source_close(reactor, timer.source);
    await_count(&timer, &timer.overs, 1);
    end(rt);
    assert_int_equal(timer.overs, 1);
}

static void
a_timer_that_has_fired_may_still_be_closed(void **state)
{
    rsl_runtime *rt = fake_runtime(RSL_TAKEOVER_AUTO, NULL);
    rsl_reactor *reactor = reactor_of(rt);
    witness timer;
    rsl_err err = {0};

    (void)state;
    witness_init(&timer);
    assert_int_equal(
        rsl_reactor_timer(reactor, 0, 0, calls_of(&timer), &timer.source),
        RSL_OK);
    await_count(&timer, &timer.overs, 1);
    assert_int_equal(rsl_reactor_change(reactor, timer.source, EPOLLIN, &err),
                     RSL_UNSUPPORTED);
    rsl_source_close(reactor, timer.source);
    end(rt);
    assert_int_equal(timer.events, 1);
    assert_int_equal(timer.overs, 1);
}

static void
timers_that_are_closed_leave_the_others_in_order(void **state)
{
    enum { COUNT = 64 };
    rsl_runtime *rt = fake_runtime(RSL_TAKEOVER_AUTO, NULL);
    rsl_reactor *reactor = reactor_of(rt);
    static witness timers[COUNT];

    (void)state;
    for (unsigned i = 0; i < COUNT; i++) {
        int64_t delay_ns = i % 2 == 0 ? HOUR_S * NS_PER_S : 1000000;

        witness_init(&timers[i]);
        assert_int_equal(rsl_reactor_timer(reactor, delay_ns, 0,
                                           calls_of(&timers[i]),
                                           &timers[i].source),
                         RSL_OK);
    }
    for (unsigned i = 0; i < COUNT; i += 2) {
        rsl_source_close(reactor, timers[i].source);
    }
    for (unsigned i = 1; i < COUNT; i += 2) {
        await_count(&timers[i], &timers[i].overs, 1);
        rsl_source_close(reactor, timers[i].source);
    }
    end(rt);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(timers[i].events, i % 2);
        assert_int_equal(timers[i].overs, 1);
    }
}

/* --- The end --- */

static void
closing_the_runtime_ends_what_is_left(void **state)
{
    rsl_runtime *rt = fake_runtime(RSL_TAKEOVER_AUTO, NULL);
    rsl_reactor *reactor = reactor_of(rt);
    witness timer, watch;
    rsl_err err = {0};
    int ends[2];

    (void)state;
    witness_init(&timer);
    witness_init(&watch);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(rsl_reactor_timer(reactor, HOUR_S * NS_PER_S, 0,
                                       calls_of(&timer), &timer.source),
                     RSL_OK);
    assert_int_equal(rsl_reactor_watch(reactor,
                                       (rsl_fd_events){ends[0], EPOLLIN},
                                       calls_of(&watch), &watch.source, &err),
                     RSL_OK);
    rsl_runtime_leave(rt);
    rsl_runtime_close(rt);
    assert_int_equal(timer.events + watch.events, 0);
    assert_int_equal(timer.overs, 1);
    assert_int_equal(watch.overs, 1);
    assert_true(pthread_equal(watch.thread, pthread_self()));
    assert_int_equal(rsl_runtime_reactor(rt, &reactor, &err), RSL_CLOSED);
    rsl_source_close(NULL, timer.source);
    rsl_source_close(NULL, watch.source);
    rsl_runtime_free(rt);
    close(ends[0]);
    close(ends[1]);
}

static void
a_forked_child_forgets_the_sources(void **state)
{
    rsl_runtime *rt = fake_runtime(RSL_TAKEOVER_AUTO, NULL);
    rsl_reactor *reactor = reactor_of(rt);
    static witness timer;
    rsl_err err = {0};
    pid_t child;
    int status;

    (void)state;
    witness_init(&timer);
    assert_int_equal(rsl_reactor_timer(reactor, HOUR_S * NS_PER_S, 0,
                                       calls_of(&timer), &timer.source),
                     RSL_OK);
    child = fork();
    if (child == 0) {
        bool good = rsl_runtime_reactor(rt, &reactor, &err) == RSL_FORKED;

        rsl_runtime_close(rt);
        _exit(good && timer.overs == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    rsl_source_close(reactor, timer.source);
    end(rt);
    assert_int_equal(timer.overs, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_runs_on_the_runtime_thread_and_is_over),
        cmocka_unit_test(tasks_of_one_thread_keep_their_order),
        cmocka_unit_test(a_watch_tells_of_each_byte_until_it_is_closed),
        cmocka_unit_test(a_watch_may_close_itself),
        cmocka_unit_test(a_oneshot_watch_is_armed_again_by_a_change),
        cmocka_unit_test(a_watch_of_nothing_is_refused),
        cmocka_unit_test(timers_fire_in_the_order_of_their_times),
        cmocka_unit_test(a_period_repeats_until_it_is_closed),
        cmocka_unit_test(a_timer_that_has_fired_may_still_be_closed),
        cmocka_unit_test(timers_that_are_closed_leave_the_others_in_order),
        cmocka_unit_test(closing_the_runtime_ends_what_is_left),
        cmocka_unit_test(a_forked_child_forgets_the_sources),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
