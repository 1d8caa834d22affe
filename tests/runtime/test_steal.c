/* SPDX-License-Identifier: Apache-2.0 */
/* Reads stolen by the runtime thread: order, ends, pauses, closes, limits. */
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

/* --- Order of a stream --- */

static void
stolen_bytes_come_before_those_read_later(void **state)
{
    fixture *f = *state;

    feed(f, "abc");
    assert_int_equal(rsl_tick(f->rt, true), 3);
    feed(f, "def");
    turns(f, 3);
    assert_delivered(f, "abcdef");
}

static void
what_is_drained_together_is_one_event(void **state)
{
    fixture *f = *state;
    fake_reader other = {0};
    int peer;
    rsl_conn *conn = fake_conn(f->rt, &other, &peer);

    assert_int_equal(rsl_conn_read_start(conn), RSL_OK);
    for (int i = 0; i < 3; i++) {
        feed(f, "abc");
        fake_feed(f->fake, conn, "xyz", 3);
        assert_int_equal(rsl_tick(f->rt, true), 6);
    }
    fake_feed_eof(f->fake, f->conn);
    (void)rsl_tick(f->rt, true);
    rsl_runtime_drain(f->rt, &f->loop.sink);
    assert_int_equal(f->loop.count, 3); /* two chains and an end */
    fake_loop_run(&f->loop, 3);
    assert_delivered(f, "abcabcabc");
    assert_int_equal(f->reader.eofs, 1);
    assert_memory_equal(other.bytes, "xyzxyzxyz", 9);
    fake_reader_fini(&other);
    close(peer);
}

static void
a_chain_is_no_longer_than_one_receive(void **state)
{
    fixture *f = *state;
    size_t len = RSL_CHAIN_BYTES_MAX + 1;

    f->bytes = calloc(1, len);
    fake_feed(f->fake, f->conn, f->bytes, len);
    while (rsl_tick(f->rt, true) > 0) {
        continue;
    }
    rsl_runtime_drain(f->rt, &f->loop.sink);
    assert_int_equal(f->loop.count, 2);
    fake_loop_run(&f->loop, 2);
    assert_int_equal(f->reader.len, len);
}

static void
a_poll_that_brings_bytes_drains_first(void **state)
{
    fixture *f = *state;

    fake_use_completions(f->fake);
    rsl_runtime_drain(f->rt, &f->loop.sink);
    feed(f, "abc"); /* the runtime thread is here between drain and acquire */
    assert_int_equal(rsl_tick(f->rt, true), 3);
    feed(f, "def");
    assert_int_equal(rsl_runtime_acquire(f->rt, &f->loop.sink), RSL_OK);
    rsl_runtime_collect(f->rt, &f->loop.sink);
    rsl_runtime_release(f->rt, 2);
    fake_loop_run(&f->loop, 2);
    assert_delivered(f, "abcdef");
}

static void
a_receive_does_not_overtake_mailbox_or_ready_queue(void **state)
{
    fixture *f = *state;
    uint8_t byte;
    size_t len;
    rsl_err err;

    feed(f, "a");
    assert_int_equal(rsl_tick(f->rt, true), 1);
    feed(f, "b");
    assert_int_equal(rsl_conn_recv(f->conn, &byte, 1, &len, &err), RSL_BUSY);
    rsl_runtime_drain(f->rt, &f->loop.sink);
    assert_int_equal(rsl_conn_recv(f->conn, &byte, 1, &len, &err), RSL_BUSY);
    fake_loop_run(&f->loop, 1);
    assert_delivered(f, "a");
    assert_int_equal(rsl_conn_recv(f->conn, &byte, 1, &len, &err), RSL_OK);
    assert_int_equal(byte, 'b');
}

static void
bytes_stolen_between_poll_and_callback_stay_in_order(void **state)
{
    fixture *f = *state;

    feed(f, "abc");
    fake_loop_poll(&f->loop, 0); /* READABLE is ready, not run */
    assert_int_equal(rsl_tick(f->rt, true), 3);
    feed(f, "def");
    fake_loop_run(&f->loop, 1);
    assert_delivered(f, "");
    turns(f, 2);
    assert_delivered(f, "abcdef");
}

static void
receive_now(void *arg)
{
    fixture *f = arg;
    uint8_t byte;
    size_t len;
    rsl_err err;

    f->status = rsl_conn_recv(f->conn, &byte, 1, &len, &err);
}

static void
a_receive_while_the_other_reads_is_told_to_wait_for_an_event(void **state)
{
    fixture *f = *state;

    feed(f, "abc");
    fake_during_steal(f->fake, receive_now, f);
    assert_int_equal(rsl_tick(f->rt, true), 3);
    assert_int_equal(f->status, RSL_BUSY);
    turns(f, 1);
    assert_delivered(f, "abc");
}

/* Each seed is another interleaving of feeding, stealing, turns that leave
 * part of the ready queue, pauses, and short and shuffled reads. */
static void
any_interleaving_keeps_the_stream(void **state)
{
    fixture *f = *state;
    unsigned char sent = 0;

    for (unsigned seed = 1; seed <= 60; seed++) {
        fake_disturb(f->fake, seed, 5);
        srand(seed);
        for (int step = 0; step < 60; step++) {
            unsigned char bytes[3] = {sent, (unsigned char)(sent + 1),
                                      (unsigned char)(sent + 2)};

            switch (rand() % 6) {
            case 0:
            case 1:
                fake_feed(f->fake, f->conn, bytes, 3);
                sent = (unsigned char)(sent + 3);
                break;
            case 2:
                (void)rsl_tick(f->rt, true);
                break;
            case 3:
                fake_loop_poll(&f->loop, 0);
                break;
            case 4:
                fake_loop_run(&f->loop, (unsigned)rand() % 3);
                break;
            case 5:
                if (f->reader.paused) {
                    fake_resume(f->rt, f->conn);
                } else {
                    fake_pause(f->conn);
                }
                break;
            }
        }
        if (f->reader.paused) {
            fake_resume(f->rt, f->conn);
        }
        if (seed == 30) {
            fake_use_completions(f->fake);
        }
    }
    for (int i = 0; i < 5000 && fake_unread(f->fake, f->conn) > 0; i++) {
        fake_loop_turn(&f->loop, 0);
    }
    turns(f, 2);
    assert_int_equal((unsigned char)f->reader.len, sent);
    for (size_t i = 0; i < f->reader.len; i++) {
        assert_int_equal(f->reader.bytes[i], (unsigned char)i);
    }
}

/* --- The end of a stream --- */

static void
an_end_that_the_runtime_thread_saw_comes_once(void **state)
{
    fixture *f = *state;

    feed(f, "abc");
    fake_feed_eof(f->fake, f->conn);
    assert_int_equal(rsl_tick(f->rt, true), 3);
    turns(f, 3);
    (void)rsl_tick(f->rt, true);
    turns(f, 3);
    assert_delivered(f, "abc");
    assert_int_equal(f->reader.eofs, 1);
}

static void
an_end_that_the_loop_thread_saw_comes_once(void **state)
{
    fixture *f = *state;

    feed(f, "abc");
    fake_feed_eof(f->fake, f->conn);
    turns(f, 3);
    (void)rsl_tick(f->rt, true);
    turns(f, 3);
    assert_delivered(f, "abc");
    assert_int_equal(f->reader.eofs, 1);
}

static void
an_end_stolen_between_poll_and_callback_comes_once(void **state)
{
    fixture *f = *state;

    fake_feed_eof(f->fake, f->conn);
    fake_loop_poll(&f->loop, 0);
    (void)rsl_tick(f->rt, true);
    fake_loop_run(&f->loop, 10);
    assert_int_equal(f->reader.eofs, 0);
    turns(f, 3);
    assert_int_equal(f->reader.eofs, 1);
}

static void
a_reset_comes_once_from_either_thread(void **state)
{
    fixture *f = *state;

    fake_feed_reset(f->fake, f->conn, ECONNRESET);
    (void)rsl_tick(f->rt, true);
    turns(f, 3);
    assert_int_equal(f->reader.errors, 1);
    assert_int_equal(f->reader.error, ECONNRESET);
    assert_int_equal(f->reader.eofs, 0);
}

static void
a_failed_receive_of_the_runtime_thread_is_reported(void **state)
{
    fixture *f = *state;

    feed(f, "abc");
    fake_fail(f->fake, FAKE_RECV, 1, ETIMEDOUT);
    (void)rsl_tick(f->rt, true);
    turns(f, 2);
    assert_int_equal(f->reader.errors, 1);
    assert_int_equal(f->reader.error, ETIMEDOUT);
}

/* --- Pausing --- */

static void
bytes_stolen_before_a_pause_are_kept_in_order(void **state)
{
    fixture *f = *state;

    feed(f, "abc");
    assert_int_equal(rsl_tick(f->rt, true), 3);
    fake_pause(f->conn);
    feed(f, "def");
    assert_int_equal(rsl_tick(f->rt, true), 0);
    turns(f, 3);
    assert_delivered(f, "");
    fake_resume(f->rt, f->conn);
    turns(f, 3);
    assert_delivered(f, "abcdef");
}

static void
pause_now(void *arg)
{
    fake_pause(((fixture *)arg)->conn);
}

static void
a_pause_while_the_other_reads_delivers_nothing(void **state)
{
    fixture *f = *state;

    feed(f, "abc");
    fake_during_steal(f->fake, pause_now, f);
    (void)rsl_tick(f->rt, true);
    turns(f, 3);
    assert_delivered(f, "");
    fake_resume(f->rt, f->conn);
    turns(f, 3);
    assert_delivered(f, "abc");
}

/* --- Closing --- */

static bool
peer_sees_close(fixture *f)
{
    char byte;

    return recv(f->peer, &byte, 1, MSG_DONTWAIT) == 0;
}

static void
close_now(void *arg)
{
    fixture *f = arg;

    rsl_conn_close(f->conn);
    f->conn = NULL;
}

static void
a_close_while_the_other_reads_waits_for_the_token(void **state)
{
    fixture *f = *state;
    uint64_t id = rsl_conn_id(f->conn);

    feed(f, "abc");
    fake_during_steal(f->fake, close_now, f);
    assert_int_equal(rsl_tick(f->rt, true), 0);
    assert_null(rsl_conn_find(f->rt, id));
    assert_false(peer_sees_close(f));
    turns(f, 1);
    assert_true(peer_sees_close(f));
    assert_int_equal(fake_streams(f->fake), 0);
    assert_int_equal(f->reader.len, 0);
}

static void
what_was_stolen_of_a_closed_conn_is_dropped(void **state)
{
    fixture *f = *state;

    feed(f, "abc");
    fake_feed_eof(f->fake, f->conn);
    assert_int_equal(rsl_tick(f->rt, true), 3);
    close_now(f);
    assert_true(peer_sees_close(f));
    turns(f, 2);
    assert_int_equal(f->reader.len, 0);
    assert_int_equal(f->reader.eofs, 0);
    assert_int_equal(f->rt->stolen_bytes_queued, 0);
}

static void
events_of_a_closed_conn_do_not_reach_its_successor(void **state)
{
    fixture *f = *state;
    fake_reader other = {0};
    int peer;

    feed(f, "abc");
    assert_int_equal(rsl_tick(f->rt, true), 3);
    close_now(f);
    (void)fake_conn(f->rt, &other, &peer); /* takes the slot */
    turns(f, 2);
    assert_int_equal(other.len, 0);
    close(peer);
}

/* --- Backpressure --- */

static void
stealing_stops_at_the_cap_of_a_conn(void **state)
{
    fixture *f = *state;
    size_t len = 3 * RSL_CONN_PENDING_MAX;

    f->bytes = calloc(1, len);
    fake_feed(f->fake, f->conn, f->bytes, len);
    while (rsl_tick(f->rt, true) > 0) {
        continue;
    }
    assert_true(f->rt->stolen_bytes_queued >= RSL_CONN_PENDING_MAX);
    assert_true(f->rt->stolen_bytes_queued
                <= RSL_CONN_PENDING_MAX + RSL_STEAL_BUDGET);
    turns(f, 1); /* drained: it may go on */
    assert_int_equal(f->rt->stolen_bytes_queued, 0);
    assert_true(rsl_tick(f->rt, true) > 0);
}

static void
the_cap_of_a_conn_can_be_set(void **state)
{
    fixture *f = *state;
    size_t len = 4 * RSL_STEAL_BUDGET;

    rsl_runtime_set_pending_max(f->rt, 1);
    f->bytes = calloc(1, len);
    fake_feed(f->fake, f->conn, f->bytes, len);
    assert_true(rsl_tick(f->rt, true) > 0);
    assert_int_equal(rsl_tick(f->rt, true), 0);
    rsl_runtime_set_pending_max(f->rt, SIZE_MAX);
    while (rsl_tick(f->rt, true) > 0) {
        continue;
    }
    assert_int_equal(f->rt->stolen_bytes_queued, len);
}

static void
one_holding_takes_no_more_than_its_budget(void **state)
{
    fixture *f = *state;

    f->bytes = calloc(1, 2 * RSL_STEAL_BUDGET);
    fake_feed(f->fake, f->conn, f->bytes, 2 * RSL_STEAL_BUDGET);
    assert_in_range(rsl_tick(f->rt, true), RSL_STEAL_BUDGET,
                    RSL_STEAL_BUDGET + 4096);
}

static void
stealing_stops_at_the_cap_of_the_loop(void **state)
{
    fixture *f = *state;

    feed(f, "abc");
    atomic_store(&f->rt->stolen_bytes_queued,
                 RSL_LOOP_PENDING_FACTOR * RSL_CONN_PENDING_MAX);
    assert_int_equal(rsl_tick(f->rt, true), 0);
    atomic_store(&f->rt->stolen_bytes_queued, 0);
    assert_int_equal(rsl_tick(f->rt, true), 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TURN_TEST(stolen_bytes_come_before_those_read_later),
        TURN_TEST(what_is_drained_together_is_one_event),
        TURN_TEST(a_chain_is_no_longer_than_one_receive),
        TURN_TEST(a_poll_that_brings_bytes_drains_first),
        TURN_TEST(a_receive_does_not_overtake_mailbox_or_ready_queue),
        TURN_TEST(bytes_stolen_between_poll_and_callback_stay_in_order),
        TURN_TEST(a_receive_while_the_other_reads_is_told_to_wait_for_an_event),
        TURN_TEST(any_interleaving_keeps_the_stream),
        TURN_TEST(an_end_that_the_runtime_thread_saw_comes_once),
        TURN_TEST(an_end_that_the_loop_thread_saw_comes_once),
        TURN_TEST(an_end_stolen_between_poll_and_callback_comes_once),
        TURN_TEST(a_reset_comes_once_from_either_thread),
        TURN_TEST(a_failed_receive_of_the_runtime_thread_is_reported),
        TURN_TEST(bytes_stolen_before_a_pause_are_kept_in_order),
        TURN_TEST(a_pause_while_the_other_reads_delivers_nothing),
        TURN_TEST(a_close_while_the_other_reads_waits_for_the_token),
        TURN_TEST(what_was_stolen_of_a_closed_conn_is_dropped),
        TURN_TEST(events_of_a_closed_conn_do_not_reach_its_successor),
        TURN_TEST(stealing_stops_at_the_cap_of_a_conn),
        TURN_TEST(the_cap_of_a_conn_can_be_set),
        TURN_TEST(one_holding_takes_no_more_than_its_budget),
        TURN_TEST(stealing_stops_at_the_cap_of_the_loop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
