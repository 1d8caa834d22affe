/* SPDX-License-Identifier: Apache-2.0 */
#include <time.h>

#include "io_cases.h"

enum { QUIET_TURNS = 1000, QUIET_NS = 50000 };

/* Turns that find nothing poll seldom; what comes is seen in time. */
static void
quiet_turns_see_bytes_in_time(void **state)
{
    const struct timespec pause = {.tv_nsec = QUIET_NS};
    io_case *it = *state;

    for (int i = 0; i < QUIET_TURNS; i++) {
        io_loop_turn(&it->loop, 0);
    }
    io_peer_send(&it->loop, &it->stream, "x", 1);
    assert_int_equal(nanosleep(&pause, NULL), 0);
    io_loop_turn(&it->loop, 0);
    assert_int_equal(it->stream.len, 1);
}

static void
sleep_after_quiet_turns_sees_bytes_at_once(void **state)
{
    io_case *it = *state;

    for (int i = 0; i < QUIET_TURNS; i++) {
        io_loop_turn(&it->loop, 0);
    }
    io_peer_send(&it->loop, &it->stream, "x", 1);
    io_loop_turn(&it->loop, INT64_C(1000000000));
    assert_int_equal(it->stream.len, 1);
}

static int
run_quiet_cases(void)
{
    const struct CMUnitTest tests[] = {
        io_tcp_test(quiet_turns_see_bytes_in_time),
        io_tcp_test(sleep_after_quiet_turns_sees_bytes_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int
main(void)
{
    io_backend = RSL_BACKEND_EPOLL;
    return io_run_stream_cases() + io_run_write_cases() + io_run_life_cases()
           + io_run_door_cases() + io_run_watch_cases() + run_quiet_cases();
}
