/* SPDX-License-Identifier: Apache-2.0 */
/* Starting, stopping and ending, with a real runtime thread on the fake. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/thread.h"
#include "core/tick.h"
#include "entries.h"
#include "fake_backend.h"
#include "fake_loop.h"
#include "wrap.h"

enum { PATIENCE_NS = 2000000000 };

/* A thread that has been joined is gone from /proc a moment later. */
static void
assert_threads(unsigned count)
{
    int64_t start_ns = rsl_clock_now_ns();

    while (entries_of("/proc/self/task") != count) {
        assert_true(rsl_clock_now_ns() - start_ns < PATIENCE_NS);
        sched_yield();
    }
}

static rsl_runtime *
new_runtime(rsl_takeover takeover)
{
    rsl_config config = {.takeover = takeover};
    rsl_runtime *rt = NULL;
    rsl_err err;

    assert_int_equal(rsl_runtime_new_on(&config, fake_backend_open, &rt, &err),
                     RSL_OK);
    return rt;
}

static void
enter(rsl_runtime *rt)
{
    rsl_err err;

    assert_int_equal(rsl_runtime_enter(rt, &err), RSL_OK);
}

/* --- Life --- */

static void
a_runtime_leaves_no_descriptor_and_no_thread(void **state)
{
    unsigned fds = entries_of("/proc/self/fd");
    unsigned threads = entries_of("/proc/self/task");

    (void)state;
    for (int i = 0; i < 20; i++) {
        rsl_runtime *rt = new_runtime(RSL_TAKEOVER_ALWAYS);
        static fake_reader reader;
        int peer;

        enter(rt);
        (void)fake_conn(rt, &reader, &peer); /* open when the loop ends */
        rsl_runtime_leave(rt);
        rsl_runtime_free(rt);
        close(peer);
    }
    assert_int_equal(entries_of("/proc/self/fd"), fds);
    assert_threads(threads);
}

static void
a_runtime_that_never_ran_has_no_thread(void **state)
{
    unsigned threads = entries_of("/proc/self/task");
    rsl_runtime *rt = new_runtime(RSL_TAKEOVER_AUTO);
    rsl_info info;

    (void)state;
    assert_threads(threads);
    rsl_runtime_info(rt, &info);
    assert_int_equal(info.runtime_tid, 0);
    assert_string_equal(info.backend, "fake");
    rsl_runtime_free(rt);
}

static void
runs_share_one_thread(void **state)
{
    unsigned threads = entries_of("/proc/self/task");
    rsl_runtime *rt = new_runtime(RSL_TAKEOVER_AUTO);

    (void)state;
    for (int i = 0; i < 50; i++) {
        enter(rt);
        assert_threads(threads + 1);
        rsl_runtime_leave(rt);
    }
    rsl_runtime_free(rt);
}

static void *
run_elsewhere(void *arg)
{
    rsl_runtime *rt = arg;
    rsl_err err;

    if (rsl_runtime_enter(rt, &err) != RSL_OK) {
        return NULL;
    }
    rsl_runtime_leave(rt);
    return rt;
}

static void
a_runtime_may_run_on_one_thread_after_another(void **state)
{
    rsl_runtime *rt = new_runtime(RSL_TAKEOVER_ALWAYS);
    pthread_t thread;
    void *result;

    (void)state;
    enter(rt);
    rsl_runtime_leave(rt);
    assert_int_equal(pthread_create(&thread, NULL, run_elsewhere, rt), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, rt);
    enter(rt);
    rsl_runtime_leave(rt);
    rsl_runtime_free(rt);
}

static unsigned discards;

static void
count_discard(rsl_msg *msg)
{
    (void)msg;
    discards++;
}

static void
a_closed_runtime_still_takes_messages_and_tells_its_backend(void **state)
{
    rsl_runtime *rt = new_runtime(RSL_TAKEOVER_AUTO);
    rsl_msg msg = {.event.tag = rsl_tag(RSL_EV_CALL, 0),
                   .discard = count_discard};
    rsl_info info;

    (void)state;
    discards = 0;
    rsl_runtime_close(rt);
    rsl_runtime_close(rt);
    rsl_runtime_post(rt, &msg);
    rsl_runtime_wake(rt);
    rsl_runtime_info(rt, &info);
    assert_string_equal(info.backend, "fake");
    assert_int_equal(info.conns, 0);
    rsl_runtime_free(rt);
    assert_int_equal(discards, 1);
}

/* --- Failures --- */

static void
a_thread_that_cannot_start_is_reported_and_leaks_nothing(void **state)
{
    unsigned fds = entries_of("/proc/self/fd");
    rsl_runtime *rt = new_runtime(RSL_TAKEOVER_AUTO);
    rsl_err err = {0};

    (void)state;
    wrap_fail_pthread_create(EAGAIN);
    assert_int_equal(rsl_runtime_enter(rt, &err), RSL_OS);
    assert_int_equal(err.code, EAGAIN);
    assert_string_equal(err.call, "pthread_create");
    wrap_fail_pthread_create(0);
    enter(rt); /* later it can */
    rsl_runtime_leave(rt);
    rsl_runtime_free(rt);
    assert_int_equal(entries_of("/proc/self/fd"), fds);
}

static void
a_backend_that_cannot_attach_is_reported_and_may_be_tried_again(void **state)
{
    rsl_runtime *rt = new_runtime(RSL_TAKEOVER_ALWAYS);
    rsl_err err = {0};

    (void)state;
    fake_fail(fake_of(rt), FAKE_ATTACH, 1, ENOMEM);
    assert_int_equal(rsl_runtime_enter(rt, &err), RSL_OS);
    assert_int_equal(err.code, ENOMEM);
    enter(rt);
    rsl_runtime_leave(rt);
    fake_fail(fake_of(rt), FAKE_ATTACH, 1, ENOMEM);
    assert_int_equal(rsl_runtime_enter(rt, &err), RSL_OS);
    rsl_runtime_free(rt);
}

/* One life of a loop that carries bytes both ways; statuses are looked at only
 * as far as one needs to go on. */
static void
live_with_failures(void)
{
    static fake_reader reader;
    static fake_loop loop;
    rsl_config config = {.takeover = RSL_TAKEOVER_NEVER};
    rsl_runtime *rt;
    rsl_conn *conn = NULL;
    rsl_err err;
    int fd;

    if (rsl_runtime_new_on(&config, fake_backend_open, &rt, &err) != RSL_OK) {
        return;
    }
    if (rsl_runtime_enter(rt, &err) != RSL_OK) {
        rsl_runtime_free(rt);
        return;
    }
    fake_loop_init(&loop, rt);
    fd = dup(STDIN_FILENO);
    if (rsl_conn_open(rt, fd, false, &reader, &conn) != RSL_OK) {
        close(fd);
    } else if (rsl_conn_read_start(conn) == RSL_OK) {
        fake_feed(fake_of(rt), conn, "abc", 3);
        fake_feed_eof(fake_of(rt), conn);
        (void)rsl_tick(rt, true);
        (void)rsl_conn_write(conn, "abc", 3, NULL); /* the point is to try */
        for (int i = 0; i < 4; i++) {
            fake_loop_turn(&loop, 0);
        }
        assert_int_equal(reader.eofs, 1);
    }
    fake_loop_fini(&loop);
    fake_reader_fini(&reader);
    rsl_runtime_leave(rt);
    rsl_runtime_free(rt);
}

static void
no_failed_allocation_leaks_or_hangs(void **state)
{
    unsigned fds = entries_of("/proc/self/fd");
    unsigned nth = 0;

    (void)state;
    do {
        wrap_fail_allocation(++nth);
        live_with_failures();
    } while (wrap_failed_allocation());
    wrap_fail_allocation(0);
    if (nth == 1) {
        skip(); /* link-time optimization went around the wrapper */
    }
    assert_in_range(nth, 6, 100);
    assert_int_equal(entries_of("/proc/self/fd"), fds);
}

static void *
no_work(void *arg)
{
    return arg;
}

int
main(void)
{
    pthread_t first;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_runtime_leaves_no_descriptor_and_no_thread),
        cmocka_unit_test(a_runtime_that_never_ran_has_no_thread),
        cmocka_unit_test(runs_share_one_thread),
        cmocka_unit_test(a_runtime_may_run_on_one_thread_after_another),
        cmocka_unit_test(
            a_closed_runtime_still_takes_messages_and_tells_its_backend),
        cmocka_unit_test(
            a_thread_that_cannot_start_is_reported_and_leaks_nothing),
        cmocka_unit_test(
            a_backend_that_cannot_attach_is_reported_and_may_be_tried_again),
        cmocka_unit_test(no_failed_allocation_leaks_or_hangs),
    };

    /* ThreadSanitizer adds a thread of its own to the first one. */
    if (pthread_create(&first, NULL, no_work, NULL) != 0
        || pthread_join(first, NULL) != 0) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
