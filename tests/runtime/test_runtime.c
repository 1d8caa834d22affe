/* SPDX-License-Identifier: Apache-2.0 */
/* Starting, stopping and ending, with a real runtime thread on the fake. */
#include <dirent.h>
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
#include "fake_backend.h"
#include "fake_loop.h"
#include "wrap.h"

enum { PATIENCE_NS = 2000000000 };

static unsigned
entries_of(const char *path)
{
    DIR *dir = opendir(path);
    unsigned count = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

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

/* True when `condition` came about in time; it is looked at, not slept for. */
#define SOON(condition) soon_until(rsl_clock_now_ns(), &(condition))

static bool
soon_until(int64_t start_ns, const atomic_uint_fast64_t *counter)
{
    while (atomic_load(counter) == 0) {
        if (rsl_clock_now_ns() - start_ns > PATIENCE_NS) {
            return false;
        }
        sched_yield();
    }
    return true;
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

static void
the_thread_has_a_name_and_every_signal_blocked(void **state)
{
    rsl_runtime *rt = new_runtime(RSL_TAKEOVER_AUTO);
    int64_t start_ns = rsl_clock_now_ns();
    char path[64], line[128], name[32] = "";
    unsigned long long blocked = 0;
    rsl_info info = {0};
    FILE *file;

    (void)state;
    enter(rt);
    while (info.runtime_tid == 0 || strcmp(name, "rsloop_c\n") != 0) {
        rsl_runtime_info(rt, &info);
        snprintf(path, sizeof path, "/proc/self/task/%d/comm",
                 info.runtime_tid);
        file = fopen(path, "r");
        if (file != NULL) {
            (void)!fgets(name, sizeof name, file);
            fclose(file);
        }
        assert_true(rsl_clock_now_ns() - start_ns < PATIENCE_NS);
    }
    snprintf(path, sizeof path, "/proc/self/task/%d/status", info.runtime_tid);
    file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        (void)sscanf(line, "SigBlk: %llx", &blocked);
    }
    fclose(file);
    assert_int_equal(blocked & 0x7fff, 0x7fff & ~(1ull << 8)); /* SIGKILL */
    rsl_runtime_leave(rt);
    rsl_runtime_free(rt);
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

/* --- Leaving --- */

static sem_t gate;
static atomic_uint_fast64_t at_gate;
static atomic_bool past_gate;

static void
wait_at_gate(void *arg)
{
    (void)arg;
    atomic_fetch_add(&at_gate, 1);
    while (sem_wait(&gate) != 0) {
        continue; /* EINTR */
    }
    atomic_store(&past_gate, true);
}

static void *
open_gate_later(void *arg)
{
    usleep(20000); /* leave() gets every chance to return too early */
    sem_post(&gate);
    return arg;
}

static void
leave_waits_for_a_steal_in_progress(void **state)
{
    rsl_runtime *rt = new_runtime(RSL_TAKEOVER_ALWAYS);
    static fake_reader reader;
    static fake_loop loop;
    pthread_t opener;
    rsl_conn *conn;
    int peer;

    (void)state;
    assert_int_equal(sem_init(&gate, 0, 0), 0);
    enter(rt);
    fake_loop_init(&loop, rt);
    conn = fake_conn(rt, &reader, &peer);
    fake_during_steal(fake_of(rt), wait_at_gate, NULL);
    fake_feed(fake_of(rt), conn, "abc", 3);
    assert_int_equal(rsl_conn_read_start(conn), RSL_OK);
    assert_true(SOON(at_gate));
    assert_int_equal(rsl_runtime_acquire(rt, &loop.sink), RSL_BUSY);
    assert_int_equal(pthread_create(&opener, NULL, open_gate_later, NULL), 0);
    rsl_runtime_leave(rt);
    assert_true(atomic_load(&past_gate));
    assert_int_equal(pthread_join(opener, NULL), 0);
    /* It was told to stop before it read. */
    assert_int_equal(fake_unread(fake_of(rt), conn), 3);
    rsl_runtime_free(rt);
    close(peer);
    sem_destroy(&gate);
}

/* --- Takeover by itself --- */

static void
look_busy_for(rsl_runtime *rt, int64_t busy_ns)
{
    atomic_store(&rt->busy_since_ns, rsl_clock_now_ns() - busy_ns);
}

typedef struct busy_fixture {
    rsl_runtime *rt;
    fake_reader reader;
    rsl_conn *conn;
    int peer;
} busy_fixture;

/* A loop thread that has released the token with `len` bytes unread. */
static void
begin_busy(busy_fixture *f, size_t len)
{
    static const uint8_t zeros[2 * RSL_TICK_WORTH_BYTES];

    memset(f, 0, sizeof *f);
    f->rt = new_runtime(RSL_TAKEOVER_AUTO);
    enter(f->rt);
    f->conn = fake_conn(f->rt, &f->reader, &f->peer);
    fake_feed(fake_of(f->rt), f->conn, zeros, len);
    assert_int_equal(rsl_conn_read_start(f->conn), RSL_OK);
}

static void
end_busy(busy_fixture *f)
{
    rsl_runtime_leave(f->rt);
    rsl_runtime_free(f->rt);
    close(f->peer);
}

static void
a_saturated_loop_thread_gets_help(void **state)
{
    busy_fixture f;

    (void)state;
    begin_busy(&f, 2 * RSL_TICK_WORTH_BYTES);
    look_busy_for(f.rt, 2 * RSL_BUSY_KICK_NS);
    rsl_runtime_note_busy(f.rt, 2);
    assert_true(SOON(f.rt->takeovers));
    assert_int_equal(f.rt->kicks, 1);
    end_busy(&f);
}

static void
a_quick_turn_gets_none(void **state)
{
    busy_fixture f;

    (void)state;
    begin_busy(&f, 10);
    look_busy_for(f.rt, 0);
    rsl_runtime_note_busy(f.rt, 2);
    look_busy_for(f.rt, 2 * RSL_BUSY_KICK_NS);
    rsl_runtime_note_busy(f.rt, 1); /* nothing else waits */
    assert_int_equal(f.rt->kicks, 0);
    end_busy(&f);
}

static void
kicks_are_rare(void **state)
{
    busy_fixture f;
    int64_t start_ns;

    (void)state;
    begin_busy(&f, 10);
    start_ns = rsl_clock_now_ns();
    look_busy_for(f.rt, 1000 * (int64_t)RSL_BUSY_KICK_NS);
    for (int i = 0; i < 1000; i++) {
        rsl_runtime_note_busy(f.rt, 2);
    }
    assert_true(f.rt->kicks <= 2
                                   + (uint64_t)((rsl_clock_now_ns() - start_ns)
                                                / RSL_KICK_INTERVAL_NS));
    end_busy(&f);
}

static void
help_that_was_not_worth_it_is_not_repeated_soon(void **state)
{
    busy_fixture f;
    int64_t start_ns;

    (void)state;
    begin_busy(&f, 10);
    look_busy_for(f.rt, 2 * RSL_BUSY_KICK_NS);
    rsl_runtime_note_busy(f.rt, 2);
    assert_true(SOON(f.rt->takeovers));
    start_ns = rsl_clock_now_ns();
    while (rsl_thread_kick_after_ns(f.rt->thread) < start_ns) {
        assert_true(rsl_clock_now_ns() - start_ns < PATIENCE_NS);
        sched_yield();
    }
    rsl_runtime_note_busy(f.rt, 2);
    assert_int_equal(f.rt->kicks, 1);
    end_busy(&f);
}

static void
a_release_with_little_to_do_asks_for_no_help(void **state)
{
    busy_fixture f;
    static fake_loop loop;

    (void)state;
    begin_busy(&f, 10);
    fake_loop_init(&loop, f.rt);
    assert_int_equal(rsl_runtime_acquire(f.rt, &loop.sink), RSL_OK);
    rsl_runtime_release(f.rt, 1);
    assert_int_equal(f.rt->busy_since_ns, 0);
    assert_int_equal(rsl_tick(f.rt, false), 0);
    rsl_runtime_note_busy(f.rt, 2); /* more came */
    assert_int_not_equal(f.rt->busy_since_ns, 0);
    end_busy(&f);
}

static void
the_poll_is_left_to_a_thread_that_steals_but_not_for_long(void **state)
{
    busy_fixture f;
    static fake_loop loop;

    (void)state;
    begin_busy(&f, 10);
    fake_loop_init(&loop, f.rt);
    look_busy_for(f.rt, 2 * RSL_BUSY_KICK_NS);
    assert_int_equal(rsl_tick(f.rt, false), 10);
    atomic_store(&f.rt->sticky, true);
    rsl_runtime_drain(f.rt, &loop.sink); /* something to run */
    assert_int_equal(rsl_runtime_acquire(f.rt, &loop.sink), RSL_BUSY);
    look_busy_for(f.rt, RSL_STICKY_POLL_NS);
    assert_int_equal(rsl_runtime_acquire(f.rt, &loop.sink), RSL_OK);
    rsl_runtime_release(f.rt, 2);
    rsl_runtime_drain(f.rt, &loop.sink); /* nothing to run */
    assert_int_equal(rsl_runtime_acquire(f.rt, &loop.sink), RSL_OK);
    rsl_runtime_release(f.rt, 0);
    fake_loop_fini(&loop);
    fake_reader_fini(&f.reader);
    end_busy(&f);
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
        cmocka_unit_test(the_thread_has_a_name_and_every_signal_blocked),
        cmocka_unit_test(
            a_thread_that_cannot_start_is_reported_and_leaks_nothing),
        cmocka_unit_test(
            a_backend_that_cannot_attach_is_reported_and_may_be_tried_again),
        cmocka_unit_test(no_failed_allocation_leaks_or_hangs),
        cmocka_unit_test(leave_waits_for_a_steal_in_progress),
        cmocka_unit_test(a_saturated_loop_thread_gets_help),
        cmocka_unit_test(a_quick_turn_gets_none),
        cmocka_unit_test(kicks_are_rare),
        cmocka_unit_test(help_that_was_not_worth_it_is_not_repeated_soon),
        cmocka_unit_test(a_release_with_little_to_do_asks_for_no_help),
        cmocka_unit_test(
            the_poll_is_left_to_a_thread_that_steals_but_not_for_long),
    };

    /* ThreadSanitizer adds a thread of its own to the first one. */
    if (pthread_create(&first, NULL, no_work, NULL) != 0
        || pthread_join(first, NULL) != 0) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
