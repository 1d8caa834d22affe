/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/runtime_impl.h"
#include "io_cases.h"
#include "net/conn_impl.h"

static void
stream_delivers_bytes_then_one_eof(void **state)
{
    io_loop loop;
    io_stream stream;

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    io_stream_open(&loop, &stream, true);
    io_peer_send(&loop, &stream, "hello ", 6);
    io_until(&loop, stream.len == 6);
    io_peer_send(&loop, &stream, "world", 5);
    assert_int_equal(shutdown(stream.peer, SHUT_WR), 0);
    io_until(&loop, stream.eofs == 1);
    io_loop_turn(&loop, 1000000);
    io_loop_turn(&loop, 1000000);
    assert_int_equal(stream.eofs, 1);
    assert_int_equal(stream.errors, 0);
    assert_int_equal(stream.len, 11);
    assert_memory_equal(stream.bytes, "hello world", 11);
    rsl_conn_close(stream.conn);
    io_stream_fini(&stream);
    io_loop_fini(&loop);
}

static void
stream_delivers_megabytes_in_order(void **state)
{
    static uint32_t words[1 << 18]; /* 1 MiB */
    const size_t size = sizeof words;
    io_loop loop;
    io_stream stream;

    (void)state;
    for (uint32_t i = 0; i < 1u << 18; i++) {
        words[i] = i * 2654435761u;
    }
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    io_stream_open(&loop, &stream, true);
    for (int i = 0; i < 6; i++) {
        io_peer_send(&loop, &stream, words, size);
    }
    io_until(&loop, stream.len == 6 * size);
    for (size_t i = 0; i < 6; i++) {
        assert_memory_equal(stream.bytes + i * size, words, size);
    }
    io_stream_fini(&stream);
    io_loop_fini(&loop);
}

static void
stream_reports_a_reset_once(void **state)
{
    io_loop loop;
    io_stream stream;

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    io_stream_open(&loop, &stream, true);
    io_loop_turn(&loop, 0);
    io_peer_reset(&stream);
    io_until(&loop, stream.errors + stream.eofs > 0);
    io_loop_turn(&loop, 1000000);
    assert_int_equal(stream.errors, 1);
    assert_int_equal(stream.error, ECONNRESET);
    assert_int_equal(stream.eofs, 0);
    rsl_conn_close(stream.conn);
    io_stream_fini(&stream);
    io_loop_fini(&loop);
}

static void
stopped_stream_loses_nothing(void **state)
{
    io_loop loop;
    io_stream stream;

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    io_stream_open(&loop, &stream, true);
    io_peer_send(&loop, &stream, "a", 1);
    io_until(&loop, stream.len == 1);
    io_peer_send(&loop, &stream, "b", 1);
    io_stream_pause(&stream);
    for (int i = 0; i < 4; i++) {
        io_loop_turn(&loop, 1000000);
    }
    io_peer_send(&loop, &stream, "c", 1);
    for (int i = 0; i < 4; i++) {
        io_loop_turn(&loop, 1000000);
    }
    assert_int_equal(stream.len, 1);
    io_stream_resume(&loop, &stream);
    io_stream_pause(&stream);
    io_stream_resume(&loop, &stream);
    io_until(&loop, stream.len == 3);
    assert_memory_equal(stream.bytes, "abc", 3);
    io_stream_fini(&stream);
    io_loop_fini(&loop);
}

/* A stop and a start in one turn meet a cancel that is under way. */
static void
start_after_a_cancelled_read_reads_on(void **state)
{
    io_loop loop;
    io_stream stream;

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    io_stream_open(&loop, &stream, true);
    for (size_t i = 1; i <= 50; i++) {
        io_stream_pause(&stream);
        if (i % 2 == 0) {
            io_loop_turn(&loop, 0);
        }
        if (i % 3 == 0) {
            io_loop_turn(&loop, 0);
        }
        io_peer_send(&loop, &stream, "x", 1);
        io_stream_resume(&loop, &stream);
        io_until(&loop, stream.len == i);
    }
    io_stream_fini(&stream);
    io_loop_fini(&loop);
}

static void
stopped_stream_meets_its_eof_when_it_starts(void **state)
{
    io_loop loop;
    io_stream stream;

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    io_stream_open(&loop, &stream, false);
    io_loop_turn(&loop, 0);
    io_stream_pause(&stream);
    io_peer_send(&loop, &stream, "tail", 4);
    close(stream.peer);
    stream.peer = -1;
    for (int i = 0; i < 4; i++) {
        io_loop_turn(&loop, 1000000);
    }
    assert_int_equal(stream.eofs, 0);
    io_stream_resume(&loop, &stream);
    io_until(&loop, stream.eofs == 1);
    assert_int_equal(stream.len, 4);
    io_stream_fini(&stream);
    io_loop_fini(&loop);
}

static void
stopped_stream_with_a_hangup_lets_the_loop_sleep(void **state)
{
    io_loop loop;
    io_stream stream;

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    io_stream_open(&loop, &stream, false);
    io_loop_turn(&loop, 0);
    io_stream_pause(&stream);
    close(stream.peer);
    stream.peer = -1;
    io_loop_turn(&loop, 1000000);
    io_loop_turn(&loop, 1000000);
    for (int i = 0; i < 3; i++) {
        int64_t start_ns = rsl_clock_now_ns();
        io_loop_turn(&loop, 2000000);
        assert_true(rsl_clock_now_ns() - start_ns >= 2000000);
    }
    io_stream_fini(&stream);
    io_loop_fini(&loop);
}

static void
recv_is_busy_while_an_event_waits(void **state)
{
    io_loop loop;
    io_stream stream;
    uint8_t byte;
    size_t got = 0;
    rsl_err err = {0};

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    io_stream_open(&loop, &stream, false);
    io_peer_send(&loop, &stream, "1", 1);
    stream.conn->queued_events++;
    assert_int_equal(rsl_conn_recv(stream.conn, &byte, 1, &got, &err),
                     RSL_BUSY);
    rsl_conn_received(stream.conn);
    atomic_store(&stream.conn->stolen_bytes, 1);
    assert_int_equal(rsl_conn_recv(stream.conn, &byte, 1, &got, &err),
                     RSL_BUSY);
    atomic_store(&stream.conn->stolen_bytes, 0);
    assert_true(rsl_token_try_take(&loop.rt->token, RSL_TOKEN_RUNTIME));
    assert_int_equal(rsl_conn_recv(stream.conn, &byte, 1, &got, &err),
                     RSL_BUSY);
    rsl_token_release(&loop.rt->token, RSL_TOKEN_RUNTIME);
    assert_int_equal(rsl_conn_recv(stream.conn, &byte, 1, &got, &err), RSL_OK);
    assert_int_equal(byte, '1');
    assert_int_equal(rsl_conn_recv(stream.conn, &byte, 1, &got, &err),
                     RSL_AGAIN);
    io_stream_fini(&stream);
    io_loop_fini(&loop);
}

/* The loop thread is slow, so the runtime thread reads too: the bytes that
 * come by mailbox and those that come by poll make one stream. */
static void
stolen_and_polled_bytes_keep_their_order(void **state)
{
    static uint32_t words[1 << 16];
    enum { STREAMS = 8, ROUNDS = 40 };
    io_loop loop;
    io_stream streams[STREAMS];
    rsl_info info;

    (void)state;
    for (uint32_t i = 0; i < 1u << 16; i++) {
        words[i] = i * 2654435761u;
    }
    io_loop_init(&loop, RSL_TAKEOVER_ALWAYS);
    for (int i = 0; i < STREAMS; i++) {
        io_stream_open(&loop, &streams[i], i % 2 == 0);
    }
    for (size_t round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < STREAMS; i++) {
            size_t len = 1 + (round * 7919 + (size_t)i * 104729) % 60000;
            size_t before = streams[i].len;

            io_peer_send(&loop, &streams[i], words, len);
            if (round % 5 == (size_t)i % 5) {
                io_stream_pause(&streams[i]);
                io_loop_turn(&loop, 0);
                io_stream_resume(&loop, &streams[i]);
            }
            (void)before;
        }
        io_loop_turn(&loop, 0);
        for (int64_t end_ns = rsl_clock_now_ns() + 200000;
             rsl_clock_now_ns() < end_ns;) {
            continue;
        }
    }
    for (int i = 0; i < STREAMS; i++) {
        const uint8_t *next = streams[i].bytes;
        size_t total = 0;

        for (size_t round = 0; round < ROUNDS; round++) {
            total += 1 + (round * 7919 + (size_t)i * 104729) % 60000;
        }
        shutdown(streams[i].peer, SHUT_WR);
        io_until(&loop, streams[i].len == total && streams[i].eofs == 1);
        next = streams[i].bytes;
        for (size_t round = 0; round < ROUNDS; round++) {
            size_t len = 1 + (round * 7919 + (size_t)i * 104729) % 60000;
            assert_memory_equal(next, words, len);
            next += len;
        }
    }
    rsl_runtime_info(loop.rt, &info);
    assert_true(info.takeovers > 0);
    for (int i = 0; i < STREAMS; i++) {
        assert_int_equal(streams[i].errors, 0);
        rsl_conn_close(streams[i].conn);
        io_stream_fini(&streams[i]);
    }
    io_loop_fini(&loop);
}

/* Closes race with the runtime thread's reads of the same conns. */
static void
close_while_the_runtime_thread_reads(void **state)
{
    io_loop loop;
    io_stream stream;

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_ALWAYS);
    for (int i = 0; i < 300; i++) {
        io_stream_open(&loop, &stream, i % 2 == 0);
        io_loop_turn(&loop, 0);
        io_peer_send(&loop, &stream, "some bytes on their way", 23);
        for (int k = i % 7; k > 0; k--) {
            io_loop_turn(&loop, 0);
        }
        if (i % 3 == 0) {
            close(stream.peer);
            stream.peer = -1;
        }
        rsl_conn_close(stream.conn);
        io_stream_fini(&stream);
    }
    io_loop_turn(&loop, 0);
    io_loop_fini(&loop);
}

/* Bytes and the end arrive together, long after the read was armed. */
static void
end_right_behind_bytes_is_noticed(void **state)
{
    io_loop loop;
    io_stream stream;

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    for (unsigned i = 0; i < 60; i++) {
        bool reset = i % 3 == 0;

        io_stream_open(&loop, &stream, i % 3 != 2);
        io_peer_send(&loop, &stream, "first", 5);
        io_until(&loop, stream.len == 5);
        if (i % 2 == 0) {
            io_peer_send(&loop, &stream, "second", 6);
            io_until(&loop, stream.len == 11);
        }
        io_peer_send(&loop, &stream, "last", 4);
        if (reset) {
            io_peer_reset(&stream);
        } else {
            close(stream.peer);
            stream.peer = -1;
        }
        io_until(&loop, stream.eofs + stream.errors > 0);
        assert_int_equal(stream.errors, reset);
        assert_int_equal(stream.eofs, !reset);
        assert_memory_equal(stream.bytes + stream.len - 4, "last", 4);
        rsl_conn_close(stream.conn);
        io_stream_fini(&stream);
    }
    io_loop_fini(&loop);
}

int
io_run_stream_cases(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_delivers_bytes_then_one_eof),
        cmocka_unit_test(stream_delivers_megabytes_in_order),
        cmocka_unit_test(stream_reports_a_reset_once),
        cmocka_unit_test(stopped_stream_loses_nothing),
        cmocka_unit_test(start_after_a_cancelled_read_reads_on),
        cmocka_unit_test(stopped_stream_meets_its_eof_when_it_starts),
        cmocka_unit_test(stopped_stream_with_a_hangup_lets_the_loop_sleep),
        cmocka_unit_test(end_right_behind_bytes_is_noticed),
        cmocka_unit_test(recv_is_busy_while_an_event_waits),
        cmocka_unit_test(stolen_and_polled_bytes_keep_their_order),
        cmocka_unit_test(close_while_the_runtime_thread_reads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
