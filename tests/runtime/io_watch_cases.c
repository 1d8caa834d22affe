/* SPDX-License-Identifier: Apache-2.0 */
/* io_watch_cases.c - watches, on every backend. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/tick.h"
#include "entries.h"
#include "io_cases.h"

static void
watch_is_level_triggered(void **state)
{
    io_loop loop;
    rsl_err err = {0};
    int pair[2];
    char byte;

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    assert_int_equal(rsl_watch_set(loop.rt, pair[0], RSL_WATCH_READ, &err),
                     RSL_OK);
    io_loop_turn(&loop, 0);
    assert_int_equal(write(pair[1], "abc", 3), 3);
    for (unsigned i = 1; i <= 3; i++) {
        io_until(&loop, loop.watch_events[pair[0]] >= i);
        assert_int_equal(read(pair[0], &byte, 1), 1);
        loop.watch_events[pair[0]] = i;
    }
    io_loop_turn(&loop, 1000000);
    assert_int_equal(loop.watch_events[pair[0]], 3);
    assert_int_equal(rsl_watch_set(loop.rt, pair[1], RSL_WATCH_WRITE, &err),
                     RSL_OK);
    io_until(&loop, loop.watch_events[pair[1]] > 2);
    assert_int_equal(loop.watch_mask[pair[1]], RSL_WATCH_WRITE);
    close(pair[1]); /* forgotten by the kernel, then by us */
    assert_int_equal(rsl_watch_set(loop.rt, pair[1], 0, &err), RSL_OK);
    io_until(&loop, loop.watch_events[pair[0]] > 3); /* hang-up */
    assert_int_equal(rsl_watch_set(loop.rt, pair[0], 0, &err), RSL_OK);
    loop.watch_events[pair[0]] = 0;
    io_loop_turn(&loop, 1000000);
    assert_int_equal(loop.watch_events[pair[0]], 0);
    close(pair[0]);
    io_loop_fini(&loop);
}

static void
watch_survives_a_reused_fd(void **state)
{
    io_loop loop;
    rsl_err err = {0};
    int pair[2], other[2];

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    assert_int_equal(rsl_watch_set(loop.rt, pair[0], RSL_WATCH_READ, &err),
                     RSL_OK);
    io_loop_turn(&loop, 0);
    assert_int_equal(pipe2(other, O_CLOEXEC), 0);
    assert_int_equal(dup3(other[0], pair[0], O_CLOEXEC), pair[0]);
    assert_int_equal(rsl_watch_set(loop.rt, pair[0], RSL_WATCH_READ, &err),
                     RSL_OK);
    assert_int_equal(write(other[1], "x", 1), 1);
    io_until(&loop, loop.watch_events[pair[0]] > 0);
    close(pair[0]);
    close(pair[1]);
    close(other[0]);
    close(other[1]);
    io_loop_fini(&loop);
}

static void
set_watch(io_loop *loop, int fd, unsigned mask)
{
    rsl_err err = {0};

    assert_int_equal(rsl_watch_set(loop->rt, fd, mask, &err), RSL_OK);
}

static void
single_watch_reports_each_side_once(void **state)
{
    io_loop loop;
    int pair[2];
    char byte;

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair),
                     0);
    set_watch(&loop, pair[0],
              RSL_WATCH_READ | RSL_WATCH_WRITE | RSL_WATCH_ONCE);
    io_until(&loop, loop.watch_events[pair[0]] == 1);
    assert_int_equal(loop.watch_mask[pair[0]], RSL_WATCH_WRITE);
    io_loop_turn(&loop, 1000000);
    assert_int_equal(loop.watch_events[pair[0]], 1);
    assert_int_equal(write(pair[1], "abc", 3), 3);
    io_until(&loop, loop.watch_events[pair[0]] == 2);
    assert_int_equal(loop.watch_mask[pair[0]], RSL_WATCH_READ);
    io_loop_turn(&loop, 1000000); /* still readable, nobody waits */
    assert_int_equal(loop.watch_events[pair[0]], 2);
    set_watch(&loop, pair[0], RSL_WATCH_READ | RSL_WATCH_ONCE);
    io_until(&loop, loop.watch_events[pair[0]] == 3);
    set_watch(&loop, pair[0], RSL_WATCH_READ); /* from now on, each time */
    io_until(&loop, loop.watch_events[pair[0]] >= 5);
    assert_int_equal(read(pair[0], &byte, 1), 1);
    set_watch(&loop, pair[0], 0);
    loop.watch_events[pair[0]] = 0;
    close(pair[1]);
    io_loop_turn(&loop, 1000000);
    assert_int_equal(loop.watch_events[pair[0]], 0);
    close(pair[0]);
    io_loop_fini(&loop);
}

/* A watch that has reported stays in the set; what it stood for may be closed,
 * another file may have its number, and a dup may keep the first one open. */
static void
single_watch_survives_a_reused_fd(void **state)
{
    io_loop loop;
    int pair[2], other[2], keep;

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    assert_int_equal(pipe2(other, O_CLOEXEC), 0);
    set_watch(&loop, pair[0], RSL_WATCH_READ | RSL_WATCH_ONCE);
    assert_int_equal(write(pair[1], "x", 1), 1);
    io_until(&loop, loop.watch_events[pair[0]] == 1);
    keep = fcntl(pair[0], F_DUPFD_CLOEXEC, 0);
    assert_int_equal(dup3(other[0], pair[0], O_CLOEXEC), pair[0]);
    io_loop_turn(&loop, 1000000); /* the old file is readable: not a word */
    assert_int_equal(loop.watch_events[pair[0]], 1);
    set_watch(&loop, pair[0], RSL_WATCH_READ | RSL_WATCH_ONCE);
    io_loop_turn(&loop, 1000000);
    assert_int_equal(loop.watch_events[pair[0]], 1);
    assert_int_equal(write(other[1], "y", 1), 1);
    io_until(&loop, loop.watch_events[pair[0]] == 2);
    close(keep);
    close(pair[0]);
    close(pair[1]);
    close(other[0]);
    close(other[1]);
    io_loop_fini(&loop);
}

/* Watched once and reported: the next time it is only noted at first. */
static void
pipe_seen_once(io_loop *loop, int pair[2])
{
    char byte;

    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    set_watch(loop, pair[0], RSL_WATCH_READ | RSL_WATCH_ONCE);
    assert_int_equal(write(pair[1], "x", 1), 1);
    io_until(loop, loop->watch_events[pair[0]] == 1);
    assert_int_equal(read(pair[0], &byte, 1), 1);
    loop->watch_events[pair[0]] = 0;
}

/* Input before the next look, between looks that do not sleep, and in a sleep;
 * each is reported once, and nobody hears of those that have none. */
static void
noted_watches_report_what_is_there_and_what_comes(void **state)
{
    enum { PAIRS = 60, TURNS = 5 };
    io_loop loop;
    int pairs[PAIRS][2];

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    for (unsigned i = 0; i < PAIRS; i++) {
        pipe_seen_once(&loop, pairs[i]);
    }
    for (unsigned i = 0; i < PAIRS; i++) {
        set_watch(&loop, pairs[i][0], RSL_WATCH_READ | RSL_WATCH_ONCE);
    }
    for (unsigned turn = 0; turn < TURNS; turn++) {
        for (unsigned i = turn; i < PAIRS - 10; i += TURNS) {
            assert_int_equal(write(pairs[i][1], "x", 1), 1);
        }
        io_loop_turn(&loop, 0);
        for (unsigned i = 0; i < PAIRS - 10; i++) {
            if (turn >= 2 && i % TURNS <= turn) { /* the kernel tells */
                io_until(&loop, loop.watch_events[pairs[i][0]] > 0);
            }
            assert_int_equal(loop.watch_events[pairs[i][0]], i % TURNS <= turn);
        }
    }
    io_loop_turn(&loop, 1000000);
    for (unsigned i = PAIRS - 10; i < PAIRS; i++) {
        assert_int_equal(loop.watch_events[pairs[i][0]], 0);
        assert_int_equal(write(pairs[i][1], "x", 1), 1);
    }
    for (unsigned i = PAIRS - 10; i < PAIRS; i++) {
        io_until(&loop, loop.watch_events[pairs[i][0]] > 0);
    }
    io_loop_turn(&loop, 1000000); /* still readable, nobody waits */
    for (unsigned i = 0; i < PAIRS; i++) {
        assert_int_equal(loop.watch_events[pairs[i][0]], 1);
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
    io_loop_fini(&loop);
}

static void
noted_watch_reports_each_side_once(void **state)
{
    io_loop loop;
    int pair[2];

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair),
                     0);
    set_watch(&loop, pair[0], RSL_WATCH_WRITE | RSL_WATCH_ONCE);
    io_until(&loop, loop.watch_events[pair[0]] == 1);
    set_watch(&loop, pair[0],
              RSL_WATCH_READ | RSL_WATCH_WRITE | RSL_WATCH_ONCE);
    io_loop_turn(&loop, 0);
    assert_int_equal(loop.watch_events[pair[0]], 2);
    assert_int_equal(loop.watch_mask[pair[0]], RSL_WATCH_WRITE);
    io_loop_turn(&loop, 0);
    io_loop_turn(&loop, 1000000);
    assert_int_equal(loop.watch_events[pair[0]], 2);
    assert_int_equal(write(pair[1], "x", 1), 1);
    io_until(&loop, loop.watch_events[pair[0]] == 3);
    assert_int_equal(loop.watch_mask[pair[0]], RSL_WATCH_READ);
    set_watch(&loop, pair[0], RSL_WATCH_READ | RSL_WATCH_ONCE);
    set_watch(&loop, pair[0], RSL_WATCH_READ); /* from now on, each time */
    io_until(&loop, loop.watch_events[pair[0]] >= 5);
    close(pair[1]);
    close(pair[0]);
    io_loop_fini(&loop);
}

/* Forgotten, closed, or closed and its number another file's, before anybody
 * has looked. */
static void
noted_watch_that_is_void_says_nothing(void **state)
{
    io_loop loop;
    int forgotten[2], closed[2], reused[2];

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    pipe_seen_once(&loop, forgotten);
    pipe_seen_once(&loop, closed);
    pipe_seen_once(&loop, reused);
    set_watch(&loop, forgotten[0], RSL_WATCH_READ | RSL_WATCH_ONCE);
    set_watch(&loop, closed[0], RSL_WATCH_READ | RSL_WATCH_ONCE);
    set_watch(&loop, reused[0], RSL_WATCH_READ | RSL_WATCH_ONCE);
    assert_int_equal(write(forgotten[1], "x", 1), 1);
    set_watch(&loop, forgotten[0], 0);
    close(closed[0]);
    assert_int_equal(dup3(forgotten[0], reused[0], O_CLOEXEC), reused[0]);
    set_watch(&loop, reused[0], 0);
    io_loop_turn(&loop, 0);
    io_loop_turn(&loop, 1000000);
    assert_int_equal(loop.watch_events[forgotten[0]], 0);
    assert_int_equal(loop.watch_events[closed[0]], 0);
    assert_int_equal(loop.watch_events[reused[0]], 0);
    assert_int_equal(dup3(forgotten[0], closed[0], O_CLOEXEC), closed[0]);
    set_watch(&loop, closed[0], RSL_WATCH_READ | RSL_WATCH_ONCE);
    set_watch(&loop, reused[0], RSL_WATCH_READ | RSL_WATCH_ONCE);
    set_watch(&loop, forgotten[0], RSL_WATCH_READ | RSL_WATCH_ONCE);
    io_until(&loop, loop.watch_events[closed[0]] == 1
                        && loop.watch_events[reused[0]] == 1
                        && loop.watch_events[forgotten[0]] == 1);
    close(closed[0]);
    for (unsigned i = 0; i < 2; i++) {
        close(forgotten[i]);
        close(reused[i]);
    }
    close(closed[1]);
    io_loop_fini(&loop);
}

/* The runtime thread polls the same set; what it takes out of it is not lost,
 * however many there are. */
static void
single_watch_outlives_a_tick_of_the_runtime_thread(void **state)
{
    enum { PAIRS = 300 };
    io_loop loop;
    int pairs[PAIRS][2];

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    for (unsigned i = 0; i < PAIRS; i++) {
        assert_int_equal(pipe2(pairs[i], O_CLOEXEC), 0);
        set_watch(&loop, pairs[i][0], RSL_WATCH_READ | RSL_WATCH_ONCE);
        assert_int_equal(write(pairs[i][1], "x", 1), 1);
    }
    set_watch(&loop, pairs[0][0], 0); /* nobody waits for it any more */
    for (unsigned i = 0; i < PAIRS; i++) {
        assert_int_equal(rsl_tick(loop.rt, true), 0);
    }
    set_watch(&loop, pairs[1][0], 0);
    set_watch(&loop, pairs[2][0], RSL_WATCH_READ | RSL_WATCH_ONCE);
    for (unsigned i = 2; i < PAIRS; i++) {
        io_until(&loop, loop.watch_events[pairs[i][0]] > 0);
        assert_int_equal(loop.watch_mask[pairs[i][0]], RSL_WATCH_READ);
    }
    assert_int_equal(loop.watch_events[pairs[0][0]], 0);
    assert_int_equal(loop.watch_events[pairs[1][0]], 0);
    for (unsigned i = 0; i < PAIRS; i++) {
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
    io_loop_fini(&loop);
}

/* A wait for an fd that became a conn's is forgotten without a word to the
 * kernel, whose registration is the conn's. */
static void
forgotten_watch_leaves_the_conn_its_fd(void **state)
{
    io_loop loop;
    io_stream stream;
    int pair[2];

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair),
                     0);
    set_watch(&loop, pair[0], RSL_WATCH_READ | RSL_WATCH_ONCE);
    set_watch(&loop, pair[1], RSL_WATCH_READ | RSL_WATCH_ONCE);
    close(pair[0]);
    close(pair[1]);
    io_stream_open(&loop, &stream, false); /* has their numbers */
    assert_true(rsl_conn_fd(stream.conn) == pair[0]
                || rsl_conn_fd(stream.conn) == pair[1]);
    set_watch(&loop, pair[0], 0);
    set_watch(&loop, pair[1], 0);
    io_peer_send(&loop, &stream, "heard", 5);
    io_until(&loop, stream.len == 5);
    io_stream_fini(&stream);
    io_loop_fini(&loop);
}

static void
watch_of_a_regular_or_closed_fd_is_refused(void **state)
{
    io_loop loop;
    rsl_err err = {0};
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    assert_int_equal(rsl_watch_set(loop.rt, fd, RSL_WATCH_READ, &err), RSL_OS);
    assert_int_equal(err.code, EPERM);
    close(fd);
    assert_int_equal(rsl_watch_set(loop.rt, fd, RSL_WATCH_READ, &err), RSL_OS);
    assert_int_equal(err.code, EBADF);
    assert_int_equal(rsl_watch_set(loop.rt, -1, RSL_WATCH_READ, &err), RSL_OS);
    assert_int_equal(rsl_watch_set(loop.rt, fd, 0, &err), RSL_OK);
    io_loop_fini(&loop);
}

int
io_run_watch_cases(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(watch_is_level_triggered),
        cmocka_unit_test(watch_survives_a_reused_fd),
        cmocka_unit_test(single_watch_reports_each_side_once),
        cmocka_unit_test(single_watch_survives_a_reused_fd),
        cmocka_unit_test(single_watch_outlives_a_tick_of_the_runtime_thread),
        cmocka_unit_test(noted_watches_report_what_is_there_and_what_comes),
        cmocka_unit_test(noted_watch_reports_each_side_once),
        cmocka_unit_test(noted_watch_that_is_void_says_nothing),
        cmocka_unit_test(forgotten_watch_leaves_the_conn_its_fd),
        cmocka_unit_test(watch_of_a_regular_or_closed_fd_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
