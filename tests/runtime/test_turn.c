/* SPDX-License-Identifier: Apache-2.0 */
/* The interleavings of loop thread and runtime thread, one by one. The runtime
 * thread is played by rsl_tick() on this thread; what the loop thread does in
 * the middle of a tick is played by the fake's steal hook. */
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

#include "core/tick.h"
#include "fake_backend.h"
#include "fake_loop.h"
#include "net/conn_impl.h"

typedef struct fixture {
    rsl_runtime *rt;
    fake_backend *fake;
    fake_loop loop;
    fake_reader reader;
    rsl_conn *conn; /* reading */
    int peer;
    int64_t slept_ns;
    rsl_status status;
    uint8_t *bytes;
} fixture;

static unsigned loans_returned;

static void
count_loan(void *loan)
{
    (void)loan;
    loans_returned++;
}

static int
set_up(void **state)
{
    static const rsl_hooks hooks = {.loan_return = count_loan};
    static fixture f;

    memset(&f, 0, sizeof f);
    loans_returned = 0;
    f.rt = fake_runtime(RSL_TAKEOVER_NEVER, &hooks);
    f.fake = fake_of(f.rt);
    fake_loop_init(&f.loop, f.rt);
    f.conn = fake_conn(f.rt, &f.reader, &f.peer);
    assert_int_equal(rsl_conn_read_start(f.conn), RSL_OK);
    *state = &f;
    return 0;
}

static int
tear_down(void **state)
{
    fixture *f = *state;

    fake_loop_fini(&f->loop);
    rsl_runtime_leave(f->rt);
    rsl_runtime_free(f->rt);
    fake_reader_fini(&f->reader);
    free(f->bytes);
    close(f->peer);
    return 0;
}

static void
feed(fixture *f, const char *text)
{
    fake_feed(f->fake, f->conn, text, strlen(text));
}

static void
delivered(fixture *f, const char *text)
{
    assert_int_equal(f->reader.len, strlen(text));
    assert_memory_equal(f->reader.bytes, text, strlen(text));
}

static void
turns(fixture *f, int count)
{
    for (int i = 0; i < count; i++) {
        fake_loop_turn(&f->loop, 0);
    }
}

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
    rsl_runtime_wake(f->rt); /* leaves a count in the eventfd */
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

/* --- Order of a stream --- */

static void
stolen_bytes_come_before_those_read_later(void **state)
{
    fixture *f = *state;

    feed(f, "abc");
    assert_int_equal(rsl_tick(f->rt, true), 3);
    feed(f, "def");
    turns(f, 3);
    delivered(f, "abcdef");
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
    delivered(f, "abcdef");
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
    delivered(f, "a");
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
    delivered(f, "");
    turns(f, 2);
    delivered(f, "abcdef");
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
    delivered(f, "abc");
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
    delivered(f, "abc");
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
    delivered(f, "abc");
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
    delivered(f, "");
    fake_resume(f->rt, f->conn);
    turns(f, 3);
    delivered(f, "abcdef");
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
    delivered(f, "");
    fake_resume(f->rt, f->conn);
    turns(f, 3);
    delivered(f, "abc");
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
    size_t len = 3 * RSL_CONN_STOLEN_MAX;

    f->bytes = calloc(1, len);
    fake_feed(f->fake, f->conn, f->bytes, len);
    while (rsl_tick(f->rt, true) > 0) {
        continue;
    }
    assert_true(f->rt->stolen_bytes_queued >= RSL_CONN_STOLEN_MAX);
    assert_true(f->rt->stolen_bytes_queued
                <= RSL_CONN_STOLEN_MAX + RSL_STEAL_BUDGET);
    turns(f, 1); /* drained: it may go on */
    assert_int_equal(f->rt->stolen_bytes_queued, 0);
    assert_true(rsl_tick(f->rt, true) > 0);
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
    atomic_store(&f->rt->stolen_bytes_queued, RSL_LOOP_STOLEN_MAX);
    assert_int_equal(rsl_tick(f->rt, true), 0);
    atomic_store(&f->rt->stolen_bytes_queued, 0);
    assert_int_equal(rsl_tick(f->rt, true), 3);
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
    assert_int_equal(loans_returned, 2);
    turns(f, 1);
    assert_int_equal(f->reader.sents, 1);
    assert_int_equal(f->reader.sent_code, 0);
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
    assert_int_equal(loans_returned, 0);
    fake_set_window(f->fake, f->conn, 100);
    turns(f, 2);
    assert_int_equal(rsl_conn_backlog(f->conn), 0);
    assert_int_equal(fake_take_sent(f->fake, f->conn, sent, 16), 6);
    assert_memory_equal(sent, "abcdef", 6);
    assert_int_equal(loans_returned, 1);
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
    assert_int_equal(loans_returned, 0);
    rsl_conn_close(f->conn);
    assert_int_equal(loans_returned, 1);
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
    assert_int_equal(loans_returned, 40);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_runtime_thread_gives_way_while_the_loop_thread_polls),
        TEST(the_loop_thread_does_not_wait_for_the_token),
        TEST(a_sleep_while_the_other_drives_ends_at_its_timer),
        TEST(a_sleep_does_not_begin_with_a_message_waiting),
        TEST(a_sleep_is_not_ended_by_wakes_of_earlier_ones),
        TEST(a_sleep_with_a_free_token_returns_to_poll),
        TEST(a_release_wakes_a_loop_thread_that_has_no_driver),
        TEST(stolen_bytes_come_before_those_read_later),
        TEST(a_poll_that_brings_bytes_drains_first),
        TEST(a_receive_does_not_overtake_mailbox_or_ready_queue),
        TEST(bytes_stolen_between_poll_and_callback_stay_in_order),
        TEST(a_receive_while_the_other_reads_is_told_to_wait_for_an_event),
        TEST(any_interleaving_keeps_the_stream),
        TEST(an_end_that_the_runtime_thread_saw_comes_once),
        TEST(an_end_that_the_loop_thread_saw_comes_once),
        TEST(an_end_stolen_between_poll_and_callback_comes_once),
        TEST(a_reset_comes_once_from_either_thread),
        TEST(a_failed_receive_of_the_runtime_thread_is_reported),
        TEST(bytes_stolen_before_a_pause_are_kept_in_order),
        TEST(a_pause_while_the_other_reads_delivers_nothing),
        TEST(a_close_while_the_other_reads_waits_for_the_token),
        TEST(what_was_stolen_of_a_closed_conn_is_dropped),
        TEST(events_of_a_closed_conn_do_not_reach_its_successor),
        TEST(stealing_stops_at_the_cap_of_a_conn),
        TEST(one_holding_takes_no_more_than_its_budget),
        TEST(stealing_stops_at_the_cap_of_the_loop),
        TEST(the_time_out_reaches_the_backend_in_nanoseconds),
        TEST(a_message_before_the_wait_makes_it_a_poll),
        TEST(unsent_output_makes_the_wait_a_poll),
        TEST(a_failed_wait_is_reported_and_leaves_nobody_asleep),
        TEST(a_flush_sends_what_the_turn_wrote),
        TEST(a_full_socket_waits_until_it_is_writable),
        TEST(a_failed_send_reaches_the_owner),
        TEST(many_conns_are_flushed_in_one_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
