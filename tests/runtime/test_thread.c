/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime thread: what it is, when it helps, and that it stops. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/thread.h"
#include "core/tick.h"
#include "fake_backend.h"
#include "fake_loop.h"

enum { PATIENCE_NS = 2000000000 };

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

static void
the_thread_has_a_name_and_every_signal_blocked(void **state)
{
    rsl_runtime *rt = fake_runtime(RSL_TAKEOVER_AUTO, NULL);
    int64_t start_ns = rsl_clock_now_ns();
    char path[64], line[128], name[32] = "";
    unsigned long long blocked = 0;
    rsl_info info = {0};
    FILE *file;

    (void)state;
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
    rsl_runtime *rt = fake_runtime(RSL_TAKEOVER_ALWAYS, NULL);
    static fake_reader reader;
    static fake_loop loop;
    pthread_t opener;
    rsl_conn *conn;
    int peer;

    (void)state;
    assert_int_equal(sem_init(&gate, 0, 0), 0);
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

    if (!rsl_thread_has_cpu()) {
        skip(); /* on one CPU nobody helps */
    }
    memset(f, 0, sizeof *f);
    f->rt = fake_runtime(RSL_TAKEOVER_AUTO, NULL);
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

/* Help would take its CPU away. */
static void
a_loop_thread_bound_to_one_cpu_gets_none(void **state)
{
    busy_fixture f;
    cpu_set_t before, one;

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    begin_busy(&f, 2 * RSL_TICK_WORTH_BYTES);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    look_busy_for(f.rt, 2 * RSL_BUSY_KICK_NS);
    rsl_runtime_note_busy(f.rt, 2);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    assert_int_equal(f.rt->kicks, 0);
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_thread_has_a_name_and_every_signal_blocked),
        cmocka_unit_test(leave_waits_for_a_steal_in_progress),
        cmocka_unit_test(a_saturated_loop_thread_gets_help),
        cmocka_unit_test(a_loop_thread_bound_to_one_cpu_gets_none),
        cmocka_unit_test(a_quick_turn_gets_none),
        cmocka_unit_test(kicks_are_rare),
        cmocka_unit_test(help_that_was_not_worth_it_is_not_repeated_soon),
        cmocka_unit_test(a_release_with_little_to_do_asks_for_no_help),
        cmocka_unit_test(
            the_poll_is_left_to_a_thread_that_steals_but_not_for_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
