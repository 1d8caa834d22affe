/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <sys/socket.h>

#include "io_cases.h"

/* Send it and turn until it is there, at the end of what was. */
static void
pass(io_case *it, const void *data, size_t len)
{
    size_t before = it->stream.len;

    io_peer_send(&it->loop, &it->stream, data, len);
    io_until(&it->loop, it->stream.len >= before + len);
    assert_int_equal(it->stream.len, before + len);
    assert_memory_equal(it->stream.bytes + before, data, len);
}

static void
stream_of_much_is_polled_until_little_comes(void **state)
{
    static uint32_t words[1 << 16]; /* 256 KiB */
    io_case *it = *state;
    unsigned polled;

    for (uint32_t i = 0; i < 1u << 16; i++) {
        words[i] = i * 2654435761u;
    }
    pass(it, "first", 5);
    for (unsigned round = 0; round < 3; round++) {
        polled = it->stream.readables;
        pass(it, "little", 6); /* by multishot */
        assert_int_equal(it->stream.readables, polled);
        pass(it, words, sizeof words);
        polled = it->stream.readables;
        pass(it, words, sizeof words);
        assert_true(it->stream.readables > polled);
        for (int i = 0; i < 20; i++) {
            pass(it, &words[i], 100);
        }
    }
}

/* Nothing is armed when it closes then: no cancel. */
static void
first_input_is_polled_and_the_next_is_not(void **state)
{
    io_case *it = *state;

    pass(it, "first", 5);
    assert_int_equal(it->stream.readables, 1);
    pass(it, "second", 6);
    pass(it, "third", 5);
    assert_int_equal(it->stream.readables, 1);
}

static void
polled_stream_stops_and_starts(void **state)
{
    static uint8_t bytes[256 << 10];
    io_case *it = *state;

    pass(it, bytes, sizeof bytes);
    io_stream_pause(&it->stream);
    io_peer_send(&it->loop, &it->stream, "kept", 4);
    for (int i = 0; i < 3; i++) {
        io_loop_turn(&it->loop, 0);
        assert_int_equal(it->stream.len, sizeof bytes);
    }
    io_stream_resume(&it->loop, &it->stream);
    io_until(&it->loop, it->stream.len == sizeof bytes + 4);
    assert_int_equal(shutdown(it->stream.peer, SHUT_WR), 0);
    io_until(&it->loop, it->stream.eofs == 1);
    rsl_conn_close(it->stream.conn);
}

static int
run_read_mode_cases(void)
{
    const struct CMUnitTest tests[] = {
        io_tcp_test(stream_of_much_is_polled_until_little_comes),
        io_tcp_test(first_input_is_polled_and_the_next_is_not),
        io_tcp_test(polled_stream_stops_and_starts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int
main(void)
{
    rsl_info info;

    io_backend = RSL_BACKEND_IO_URING;
    rsl_backend_probe(io_backend, &info);
    if (strcmp(info.backend, "io_uring") != 0) {
        printf("skipped: %s\n", info.reason);
        return 77;
    }
    return io_run_stream_cases() + io_run_write_cases() + io_run_life_cases()
           + io_run_door_cases() + io_run_watch_cases() + run_read_mode_cases();
}
