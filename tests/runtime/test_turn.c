/* SPDX-License-Identifier: Apache-2.0 */
/* Who drives, who sleeps, who wakes whom; and what a turn sends. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "turn_fixture.h"

/* --- Who drives --- */

static void
the_runtime_thread_gives_way_while_the_loop_thread_polls(void **state)
{
    fixture *f = *state;

    feed(f, "abc");
    assert_int_equal(rsl_runtime_acquire(f->rt, &f->loop.sink), RSL_OK);
    assert_int_equal(rsl_tick(f->rt, true), 0);
    rsl_runtime_release(f->rt, 0);
    assert_int_equal(rsl_tick(f->rt, true), 3);
}

static void
acquire_now(void *arg)
{
    fixture *f = arg;

    f->status = rsl_runtime_acquire(f->rt, &f->loop.sink);
}

static void
the_loop_thread_does_not_wait_for_the_token(void **state)
{
    fixture *f = *state;

    feed(f, "abc");
    fake_during_steal(f->fake, acquire_now, f);
    assert_int_equal(rsl_tick(f->rt, true), 3);
    assert_int_equal(f->status, RSL_BUSY);
    assert_false(f->rt->has_token);
}

static void
sleep_2ms(void *arg)
{
    fixture *f = arg;
    rsl_err err;
    int64_t start_ns = rsl_clock_now_ns();

    f->status = rsl_runtime_sleep(f->rt, 2000000, &err);
    f->slept_ns = rsl_clock_now_ns() - start_ns;
}

static void
a_sleep_while_the_other_drives_ends_at_its_timer(void **state)
{
    fixture *f = *state;

    feed(f, "abc");
    fake_during_steal(f->fake, sleep_2ms, f);
    assert_int_equal(rsl_tick(f->rt, true), 3);
    assert_int_equal(f->status, RSL_OK);
    assert_true(f->slept_ns >= 2000000);
    assert_int_equal(f->rt->busy_since_ns, 0);
}

static void
push_then_sleep(void *arg)
{
    static rsl_msg msg = {
        .event = {.tag = (uint64_t)RSL_EV_CALL << RSL_ID_BITS}};

    rsl_runtime_post(((fixture *)arg)->rt, &msg);
    sleep_2ms(arg);
}

static void
a_sleep_does_not_begin_with_a_message_waiting(void **state)
{
    fixture *f = *state;

    feed(f, "abc");
    fake_during_steal(f->fake, push_then_sleep, f);
    assert_int_equal(rsl_tick(f->rt, true), 3);
    assert_true(f->slept_ns < 2000000);
    turns(f, 1);
    assert_int_equal(f->loop.calls, 1);
}

static void
a_sleep_is_not_ended_by_wakes_of_earlier_ones(void **state)
{
    fixture *f = *state;

    assert_true(rsl_mailbox_park(&f->rt->mailbox));
    rsl_runtime_wake(f->rt);                 /* leaves a count in the eventfd */
    rsl_runtime_drain(f->rt, &f->loop.sink); /* of the turn that it caused */
    feed(f, "abc");
    fake_during_steal(f->fake, sleep_2ms, f);
    assert_int_equal(rsl_tick(f->rt, true), 3);
    assert_true(f->slept_ns >= 2000000);
}

static void
a_sleep_with_a_free_token_returns_to_poll(void **state)
{
    fixture *f = *state;
    rsl_err err;

    /* Endless, if it did not look at the token. */
    assert_int_equal(rsl_runtime_sleep(f->rt, -1, &err), RSL_OK);
    assert_false(atomic_load(&f->rt->mailbox.asleep));
}

static void
a_release_wakes_a_loop_thread_that_has_no_driver(void **state)
{
    fixture *f = *state;
    uint64_t count = 0;

    assert_true(rsl_mailbox_park(&f->rt->mailbox)); /* it slept meanwhile */
    assert_int_equal(rsl_tick(f->rt, true), 0);     /* nothing was stolen */
    assert_false(atomic_load(&f->rt->mailbox.asleep));
    assert_int_equal(read(f->rt->mailbox.wake_fd, &count, sizeof count),
                     sizeof count);
    assert_int_equal(count, 1);
}

/* --- Waiting and waking --- */

static void
the_time_out_reaches_the_backend_in_nanoseconds(void **state)
{
    fixture *f = *state;
    rsl_err err;

    assert_int_equal(rsl_runtime_acquire(f->rt, &f->loop.sink), RSL_OK);
    assert_int_equal(rsl_runtime_wait(f->rt, 1234567, &err), RSL_OK);
    assert_int_equal(fake_waited_ns(f->fake), 1234567);
    rsl_runtime_release(f->rt, 0);
}

static void
a_message_before_the_wait_makes_it_a_poll(void **state)
{
    static rsl_msg msg = {
        .event = {.tag = (uint64_t)RSL_EV_CALL << RSL_ID_BITS}};
    fixture *f = *state;
    rsl_err err;

    assert_int_equal(rsl_runtime_acquire(f->rt, &f->loop.sink), RSL_OK);
    rsl_runtime_post(f->rt, &msg);
    assert_int_equal(rsl_runtime_wait(f->rt, -1, &err), RSL_OK);
    assert_int_equal(fake_waited_ns(f->fake), 0);
    rsl_runtime_release(f->rt, 0);
    turns(f, 1);
    assert_int_equal(f->loop.calls, 1);
}

static void
unsent_output_makes_the_wait_a_poll(void **state)
{
    fixture *f = *state;
    rsl_err err;

    assert_int_equal(rsl_conn_write(f->conn, "abc", 3, f), RSL_OK);
    assert_int_equal(rsl_runtime_acquire(f->rt, &f->loop.sink), RSL_OK);
    assert_int_equal(rsl_runtime_wait(f->rt, -1, &err), RSL_OK);
    assert_int_equal(fake_waited_ns(f->fake), 0);
    rsl_runtime_release(f->rt, 0);
    assert_int_equal(rsl_runtime_sleep(f->rt, -1, &err), RSL_OK);
}

static void
a_failed_wait_is_reported_and_leaves_nobody_asleep(void **state)
{
    fixture *f = *state;
    rsl_err err = {0};

    assert_int_equal(rsl_runtime_acquire(f->rt, &f->loop.sink), RSL_OK);
    fake_fail(f->fake, FAKE_WAIT, 1, EBADF);
    assert_int_equal(rsl_runtime_wait(f->rt, -1, &err), RSL_OS);
    assert_int_equal(err.code, EBADF);
    assert_false(atomic_load(&f->rt->mailbox.asleep));
    rsl_runtime_release(f->rt, 0);
}

/* --- Sending --- */

static void
a_flush_sends_what_the_turn_wrote(void **state)
{
    fixture *f = *state;
    char sent[16];

    assert_int_equal(rsl_conn_write(f->conn, "abc", 3, f), RSL_OK);
    assert_int_equal(rsl_conn_write(f->conn, "def", 3, f), RSL_OK);
    assert_int_equal(fake_calls(f->fake, FAKE_SEND), 0);
    rsl_runtime_flush(f->rt, &f->loop.sink);
    assert_int_equal(fake_calls(f->fake, FAKE_SEND), 1);
    assert_int_equal(fake_take_sent(f->fake, f->conn, sent, 16), 6);
    assert_memory_equal(sent, "abcdef", 6);
    assert_int_equal(f->loans_returned, 2);
    turns(f, 1);
    assert_int_equal(f->reader.sents, 0); /* success makes no event */
}

static void
a_full_socket_waits_until_it_is_writable(void **state)
{
    fixture *f = *state;
    char sent[16];

    fake_set_window(f->fake, f->conn, 2);
    assert_int_equal(rsl_conn_write(f->conn, "abcdef", 6, f), RSL_OK);
    turns(f, 2);
    assert_int_equal(rsl_conn_backlog(f->conn), 4);
    assert_true(rsl_list_is_empty(&f->rt->dirty));
    assert_int_equal(f->loans_returned, 0);
    fake_set_window(f->fake, f->conn, 100);
    turns(f, 2);
    assert_int_equal(rsl_conn_backlog(f->conn), 0);
    assert_int_equal(fake_take_sent(f->fake, f->conn, sent, 16), 6);
    assert_memory_equal(sent, "abcdef", 6);
    assert_int_equal(f->loans_returned, 1);
}

static void
a_failed_send_reaches_the_owner(void **state)
{
    fixture *f = *state;

    fake_fail(f->fake, FAKE_SEND, 1, EPIPE);
    assert_int_equal(rsl_conn_write(f->conn, "abc", 3, f), RSL_OK);
    turns(f, 2);
    assert_int_equal(f->reader.sents, 1);
    assert_int_equal(f->reader.sent_code, EPIPE);
    assert_int_equal(f->loans_returned, 0);
    rsl_conn_close(f->conn);
    assert_int_equal(f->loans_returned, 1);
}

static void
many_conns_are_flushed_in_one_go(void **state)
{
    fixture *f = *state;
    fake_reader readers[40] = {0};
    rsl_conn *conns[40];
    int peers[40];

    fake_disturb(f->fake, 3, 2); /* sends come short */
    for (int i = 0; i < 40; i++) {
        conns[i] = fake_conn(f->rt, &readers[i], &peers[i]);
        assert_int_equal(rsl_conn_write(conns[i], "abcdefgh", 8, f), RSL_OK);
    }
    turns(f, 20);
    for (int i = 0; i < 40; i++) {
        char sent[16];

        assert_int_equal(fake_take_sent(f->fake, conns[i], sent, 16), 8);
        assert_memory_equal(sent, "abcdefgh", 8);
        close(peers[i]);
    }
    assert_int_equal(f->loans_returned, 40);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TURN_TEST(the_runtime_thread_gives_way_while_the_loop_thread_polls),
        TURN_TEST(the_loop_thread_does_not_wait_for_the_token),
        TURN_TEST(a_sleep_while_the_other_drives_ends_at_its_timer),
        TURN_TEST(a_sleep_does_not_begin_with_a_message_waiting),
        TURN_TEST(a_sleep_is_not_ended_by_wakes_of_earlier_ones),
        TURN_TEST(a_sleep_with_a_free_token_returns_to_poll),
        TURN_TEST(a_release_wakes_a_loop_thread_that_has_no_driver),
        TURN_TEST(the_time_out_reaches_the_backend_in_nanoseconds),
        TURN_TEST(a_message_before_the_wait_makes_it_a_poll),
        TURN_TEST(unsent_output_makes_the_wait_a_poll),
        TURN_TEST(a_failed_wait_is_reported_and_leaves_nobody_asleep),
        TURN_TEST(a_flush_sends_what_the_turn_wrote),
        TURN_TEST(a_full_socket_waits_until_it_is_writable),
        TURN_TEST(a_failed_send_reaches_the_owner),
        TURN_TEST(many_conns_are_flushed_in_one_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
