/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include <rsl/mailbox.h>

enum { MESSAGES = 5 };

typedef struct fixture {
    rsl_mailbox box;
    rsl_msg messages[MESSAGES];
} fixture;

static unsigned discarded;

static void
count_discarded(rsl_msg *msg)
{
    (void)msg;
    discarded++;
}

static int
set_up(void **state)
{
    static fixture f;
    rsl_err err;

    assert_int_equal(rsl_mailbox_init(&f.box, &err), RSL_OK);
    for (int i = 0; i < MESSAGES; i++) {
        f.messages[i] = (rsl_msg){.event.u.arg = i, .discard = count_discarded};
    }
    discarded = 0;
    *state = &f;
    return 0;
}

static int
tear_down(void **state)
{
    rsl_mailbox_fini(&((fixture *)*state)->box);
    return 0;
}

/* How often the consumer was signalled since the last call. */
static uint64_t
signals(fixture *f)
{
    uint64_t count = 0;
    ssize_t n = read(f->box.wake_fd, &count, sizeof count);

    assert_true(n == sizeof count || errno == EAGAIN);
    return count;
}

static void
an_empty_mailbox_gives_nothing(void **state)
{
    fixture *f = *state;

    assert_true(rsl_mailbox_is_empty(&f->box));
    assert_null(rsl_mailbox_take(&f->box));
}

static void
messages_come_oldest_first(void **state)
{
    fixture *f = *state;
    rsl_msg *msg;

    for (int i = 0; i < MESSAGES; i++) {
        rsl_mailbox_push(&f->box, &f->messages[i]);
    }
    assert_false(rsl_mailbox_is_empty(&f->box));
    msg = rsl_mailbox_take(&f->box);
    for (int i = 0; i < MESSAGES; i++) {
        assert_non_null(msg);
        assert_int_equal(msg->event.u.arg, i);
        msg = msg->next;
    }
    assert_null(msg);
    assert_null(rsl_mailbox_take(&f->box));
}

static void
a_push_to_a_consumer_that_is_awake_makes_no_signal(void **state)
{
    fixture *f = *state;

    rsl_mailbox_push(&f->box, &f->messages[0]);
    assert_int_equal(signals(f), 0);
}

static void
many_pushes_to_a_sleeper_make_one_signal(void **state)
{
    fixture *f = *state;

    assert_true(rsl_mailbox_park(&f->box));
    for (int i = 0; i < MESSAGES; i++) {
        rsl_mailbox_push(&f->box, &f->messages[i]);
    }
    assert_int_equal(signals(f), 1);
}

static void
park_fails_when_a_message_is_there(void **state)
{
    fixture *f = *state;

    rsl_mailbox_push(&f->box, &f->messages[0]);
    assert_false(rsl_mailbox_park(&f->box));
    /* The announcement is withdrawn: nobody signals. */
    rsl_mailbox_push(&f->box, &f->messages[1]);
    assert_int_equal(signals(f), 0);
}

static void
unpark_ends_the_signals(void **state)
{
    fixture *f = *state;

    assert_true(rsl_mailbox_park(&f->box));
    rsl_mailbox_unpark(&f->box);
    rsl_mailbox_push(&f->box, &f->messages[0]);
    rsl_mailbox_wake(&f->box);
    assert_int_equal(signals(f), 0);
}

static void
wake_ends_a_sleep_without_a_message(void **state)
{
    fixture *f = *state;
    struct pollfd wake = {.fd = f->box.wake_fd, .events = POLLIN};

    assert_true(rsl_mailbox_park(&f->box));
    assert_int_equal(poll(&wake, 1, 0), 0);
    rsl_mailbox_wake(&f->box);
    rsl_mailbox_wake(&f->box);
    assert_int_equal(poll(&wake, 1, 0), 1);
    assert_int_equal(signals(f), 1);
    assert_null(rsl_mailbox_take(&f->box));
}

static void
wake_leaves_errno_to_the_interrupted_code(void **state)
{
    fixture *f = *state;
    uint64_t full = UINT64_MAX - 1;

    assert_true(rsl_mailbox_park(&f->box));
    assert_int_equal(write(f->box.wake_fd, &full, sizeof full), sizeof full);
    errno = ENOENT;
    rsl_mailbox_wake(&f->box); /* its write() finds the count full */
    assert_int_equal(errno, ENOENT);
    assert_int_equal(signals(f), full);
}

static void
a_shut_mailbox_carries_messages_without_its_eventfd(void **state)
{
    fixture *f = *state;
    int fd = f->box.wake_fd;

    rsl_mailbox_shut(&f->box);
    rsl_mailbox_shut(&f->box);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    rsl_mailbox_push(&f->box, &f->messages[0]);
    rsl_mailbox_wake(&f->box);
    assert_ptr_equal(rsl_mailbox_take(&f->box), &f->messages[0]);
    rsl_mailbox_push(&f->box, &f->messages[1]); /* for fini to discard */
}

static void
repost(rsl_msg *msg)
{
    rsl_mailbox *box = msg->event.u.ptr;

    discarded++;
    msg->discard = count_discarded;
    rsl_mailbox_push(box, msg);
}

static void
fini_discards_what_is_left_and_what_that_posts(void **state)
{
    rsl_mailbox box;
    rsl_msg messages[2] = {{.discard = repost, .event.u.ptr = &box},
                           {.discard = count_discarded}};
    rsl_err err;

    (void)state;
    assert_int_equal(rsl_mailbox_init(&box, &err), RSL_OK);
    rsl_mailbox_push(&box, &messages[0]);
    rsl_mailbox_push(&box, &messages[1]);
    rsl_mailbox_fini(&box);
    assert_int_equal(discarded, 3);
}

static void
init_reports_that_descriptors_ran_out(void **state)
{
    struct rlimit before, none;
    rsl_mailbox box;
    rsl_err err = {0};
    rsl_status status;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    status = rsl_mailbox_init(&box, &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(status, RSL_OS);
    assert_int_equal(err.code, EMFILE);
    assert_string_equal(err.call, "eventfd");
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(an_empty_mailbox_gives_nothing),
        TEST(messages_come_oldest_first),
        TEST(a_push_to_a_consumer_that_is_awake_makes_no_signal),
        TEST(many_pushes_to_a_sleeper_make_one_signal),
        TEST(park_fails_when_a_message_is_there),
        TEST(unpark_ends_the_signals),
        TEST(wake_ends_a_sleep_without_a_message),
        TEST(wake_leaves_errno_to_the_interrupted_code),
        TEST(a_shut_mailbox_carries_messages_without_its_eventfd),
        TEST(fini_discards_what_is_left_and_what_that_posts),
        TEST(init_reports_that_descriptors_ran_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
