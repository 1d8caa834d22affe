/* SPDX-License-Identifier: Apache-2.0 */
/* Looking before a sleep: when, for how long, and what ends it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "turn_fixture.h"

#define LONG_NS  INT64_C(60000000000)
#define SHORT_NS 1000000

/* One wait of the loop thread that may last `timeout_ns`, and its turn. */
static void
wait_once(fixture *f, int64_t timeout_ns)
{
    rsl_err err;

    assert_int_equal(rsl_runtime_acquire(f->rt, &f->loop.sink), RSL_OK);
    assert_int_equal(rsl_runtime_wait(f->rt, timeout_ns, &err), RSL_OK);
    rsl_runtime_release(f->rt, 0);
}

/* Looks last `limit_ns`, and there is enough for one of them. */
static void
allow(fixture *f, int64_t limit_ns)
{
    f->rt->spin.looks.limit_ns = limit_ns;
    f->rt->spin.looks.balance_ns = limit_ns;
}

static void
feed_at_third_peek(void *arg)
{
    fixture *f = arg;

    if (fake_peeks(f->fake) == 2) {
        feed(f, "abc");
    }
}

static void
post_at_third_peek(void *arg)
{
    static rsl_msg msg = {
        .event = {.tag = (uint64_t)RSL_EV_CALL << RSL_ID_BITS}};
    fixture *f = arg;

    if (fake_peeks(f->fake) == 2) {
        rsl_runtime_post(f->rt, &msg);
    }
}

static void
wake_at_third_peek(void *arg)
{
    fixture *f = arg;

    if (fake_peeks(f->fake) == 2) {
        rsl_runtime_wake(f->rt);
    }
}

static void
without_a_limit_nobody_looks(void **state)
{
    fixture *f = *state;

    wait_once(f, SHORT_NS);
    assert_int_equal(fake_peeks(f->fake), 0);
    assert_int_equal(fake_waited_ns(f->fake), SHORT_NS);
}

static void
input_ends_a_look_and_no_sleep_begins(void **state)
{
    fixture *f = *state;

    allow(f, LONG_NS);
    fake_during_peek(f->fake, feed_at_third_peek, f);
    wait_once(f, -1);
    assert_int_equal(fake_peeks(f->fake), 3);
    assert_int_equal(fake_waited_ns(f->fake), 0);
    turns(f, 2);
    assert_delivered(f, "abc");
}

static void
a_message_ends_a_look_without_a_wake(void **state)
{
    fixture *f = *state;

    allow(f, LONG_NS);
    fake_during_peek(f->fake, post_at_third_peek, f);
    wait_once(f, -1);
    assert_int_equal(fake_peeks(f->fake), 3);
    assert_int_equal(fake_waited_ns(f->fake), 0);
    turns(f, 1);
    assert_int_equal(f->loop.calls, 1);
}

static void
a_wake_ends_a_look(void **state)
{
    fixture *f = *state;

    allow(f, LONG_NS);
    fake_during_peek(f->fake, wake_at_third_peek, f);
    wait_once(f, -1);
    assert_int_equal(fake_waited_ns(f->fake), 0);
}

static void
a_wake_before_a_sleep_is_not_lost(void **state)
{
    fixture *f = *state;
    rsl_err err;

    assert_int_equal(rsl_runtime_acquire(f->rt, &f->loop.sink), RSL_OK);
    rsl_runtime_wake(f->rt);
    assert_int_equal(rsl_runtime_wait(f->rt, -1, &err), RSL_OK);
    assert_int_equal(fake_waited_ns(f->fake), 0);
    rsl_runtime_release(f->rt, 0);
    rsl_runtime_drain(f->rt, &f->loop.sink); /* that was the look around */
    wait_once(f, SHORT_NS);
    assert_int_equal(fake_waited_ns(f->fake), SHORT_NS);
}

static void
a_look_ends_when_the_time_is_over(void **state)
{
    fixture *f = *state;
    int64_t start_ns;

    allow(f, LONG_NS);
    start_ns = rsl_clock_now_ns();
    wait_once(f, SHORT_NS);
    assert_true(rsl_clock_now_ns() - start_ns < LONG_NS);
    assert_true(fake_peeks(f->fake) > 0);
}

static void
looks_in_vain_are_paid_and_end(void **state)
{
    fixture *f = *state;
    unsigned peeks;

    allow(f, SHORT_NS);
    wait_once(f, 2 * SHORT_NS);
    assert_true(f->rt->spin.looks.balance_ns <= 0);
    assert_int_equal(fake_waited_ns(f->fake), 2 * SHORT_NS);
    peeks = fake_peeks(f->fake);
    wait_once(f, 2 * SHORT_NS); /* a long sleep is no reason to look again */
    assert_int_equal(fake_peeks(f->fake), peeks);
}

static void
what_is_there_already_saves_no_sleep(void **state)
{
    fixture *f = *state;

    allow(f, SHORT_NS);
    feed(f, "abc");
    wait_once(f, -1);
    assert_int_equal(fake_peeks(f->fake), 1);
    assert_int_equal(f->rt->spin.looks.balance_ns, SHORT_NS);
}

static void
many_short_sleeps_allow_a_look(void **state)
{
    fixture *f = *state;
    const int64_t limit_ns = 5000;

    f->rt->spin.looks.limit_ns = limit_ns;
    for (int i = 0; i < 100000 && f->rt->spin.looks.balance_ns < limit_ns;
         i++) {
        wait_once(f, 1); /* the fake sleeps in milliseconds: not at all */
    }
    assert_int_equal(fake_peeks(f->fake), 0);
    wait_once(f, 1);
    assert_true(fake_peeks(f->fake) > 0);
}

static void
nobody_looks_while_many_conns_are_at_work(void **state)
{
    fixture *f = *state;
    unsigned peeks = 0;

    for (int round = 0; round < 3; round++) {
        peeks = fake_peeks(f->fake);
        for (int i = 0; i < 16; i++) {
            allow(f, 1);
            rsl_spin_hear(&f->rt->spin, (uint64_t)i);
            rsl_spin_speak(&f->rt->spin);
            wait_once(f, SHORT_NS);
        }
    }
    assert_int_equal(fake_peeks(f->fake), peeks);
    for (int i = 0; i < 32; i++) {
        allow(f, 1);
        rsl_spin_hear(&f->rt->spin, (uint64_t)(i % 3));
        rsl_spin_speak(&f->rt->spin);
        wait_once(f, SHORT_NS);
    }
    assert_true(fake_peeks(f->fake) > peeks);
}

static void
nobody_looks_for_more_of_what_gets_no_answer(void **state)
{
    fixture *f = *state;

    allow(f, SHORT_NS);
    rsl_spin_hear(&f->rt->spin, 1);
    wait_once(f, SHORT_NS);
    assert_int_equal(fake_peeks(f->fake), 0);
    rsl_spin_hear(&f->rt->spin, 1);
    rsl_spin_speak(&f->rt->spin);
    wait_once(f, SHORT_NS);
    assert_true(fake_peeks(f->fake) > 0);
}

static void
what_is_flushed_counts_as_an_answer(void **state)
{
    fixture *f = *state;

    allow(f, SHORT_NS);
    rsl_spin_hear(&f->rt->spin, 1);
    assert_int_equal(rsl_conn_write(f->conn, "abc", 3, f), RSL_OK);
    rsl_runtime_flush(f->rt, &f->loop.sink);
    wait_once(f, SHORT_NS);
    assert_true(fake_peeks(f->fake) > 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TURN_TEST(without_a_limit_nobody_looks),
        TURN_TEST(input_ends_a_look_and_no_sleep_begins),
        TURN_TEST(a_message_ends_a_look_without_a_wake),
        TURN_TEST(a_wake_ends_a_look),
        TURN_TEST(a_wake_before_a_sleep_is_not_lost),
        TURN_TEST(a_look_ends_when_the_time_is_over),
        TURN_TEST(looks_in_vain_are_paid_and_end),
        TURN_TEST(what_is_there_already_saves_no_sleep),
        TURN_TEST(many_short_sleeps_allow_a_look),
        TURN_TEST(nobody_looks_while_many_conns_are_at_work),
        TURN_TEST(nobody_looks_for_more_of_what_gets_no_answer),
        TURN_TEST(what_is_flushed_counts_as_an_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
