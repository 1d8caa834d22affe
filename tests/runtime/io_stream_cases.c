/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/runtime_impl.h"
#include "io_cases.h"
#include "net/conn_impl.h"

static int
case_setup(void **state, bool tcp)
{
    io_case *it = calloc(1, sizeof *it);

    assert_non_null(it);
    io_loop_init(&it->loop, RSL_TAKEOVER_NEVER);
    io_stream_open(&it->loop, &it->stream, tcp);
    *state = it;
    return 0;
}

int
io_case_setup_tcp(void **state)
{
    return case_setup(state, true);
}

int
io_case_setup_unix(void **state)
{
    return case_setup(state, false);
}

int
io_case_teardown(void **state)
{
    io_case *it = *state;

    io_stream_fini(&it->stream);
    io_loop_fini(&it->loop);
    free(it);
    return 0;
}

static void
stream_delivers_bytes_then_one_eof(void **state)
{
    io_case *it = *state;

    io_peer_send(&it->loop, &it->stream, "hello ", 6);
    io_until(&it->loop, it->stream.len == 6);
    io_peer_send(&it->loop, &it->stream, "world", 5);
    assert_int_equal(shutdown(it->stream.peer, SHUT_WR), 0);
    io_until(&it->loop, it->stream.eofs == 1);
    io_loop_turn(&it->loop, 1000000);
    io_loop_turn(&it->loop, 1000000);
    assert_int_equal(it->stream.eofs, 1);
    assert_int_equal(it->stream.errors, 0);
    assert_int_equal(it->stream.len, 11);
    assert_memory_equal(it->stream.bytes, "hello world", 11);
    rsl_conn_close(it->stream.conn);
}

static void
stream_delivers_megabytes_in_order(void **state)
{
    static uint32_t words[1 << 18]; /* 1 MiB */
    const size_t size = sizeof words;
    io_case *it = *state;

    for (uint32_t i = 0; i < 1u << 18; i++) {
        words[i] = i * 2654435761u;
    }
    for (int i = 0; i < 6; i++) {
        io_peer_send(&it->loop, &it->stream, words, size);
    }
    io_until(&it->loop, it->stream.len == 6 * size);
    for (size_t i = 0; i < 6; i++) {
        assert_memory_equal(it->stream.bytes + i * size, words, size);
    }
}

static void
stream_reports_a_reset_once(void **state)
{
    io_case *it = *state;

    io_loop_turn(&it->loop, 0);
    io_peer_reset(&it->stream);
    io_until(&it->loop, it->stream.errors + it->stream.eofs > 0);
    io_loop_turn(&it->loop, 1000000);
    assert_int_equal(it->stream.errors, 1);
    assert_int_equal(it->stream.error, ECONNRESET);
    assert_int_equal(it->stream.eofs, 0);
    rsl_conn_close(it->stream.conn);
}

static void
stopped_stream_loses_nothing(void **state)
{
    io_case *it = *state;

    io_peer_send(&it->loop, &it->stream, "a", 1);
    io_until(&it->loop, it->stream.len == 1);
    io_peer_send(&it->loop, &it->stream, "b", 1);
    io_stream_pause(&it->stream);
    for (int i = 0; i < 4; i++) {
        io_loop_turn(&it->loop, 1000000);
    }
    io_peer_send(&it->loop, &it->stream, "c", 1);
    for (int i = 0; i < 4; i++) {
        io_loop_turn(&it->loop, 1000000);
    }
    assert_int_equal(it->stream.len, 1);
    io_stream_resume(&it->loop, &it->stream);
    io_stream_pause(&it->stream);
    io_stream_resume(&it->loop, &it->stream);
    io_until(&it->loop, it->stream.len == 3);
    assert_memory_equal(it->stream.bytes, "abc", 3);
}

/* A stop and a start in one turn meet a cancel that is under way. */
static void
start_after_a_cancelled_read_reads_on(void **state)
{
    io_case *it = *state;

    for (size_t i = 1; i <= 50; i++) {
        io_stream_pause(&it->stream);
        if (i % 2 == 0) {
            io_loop_turn(&it->loop, 0);
        }
        if (i % 3 == 0) {
            io_loop_turn(&it->loop, 0);
        }
        io_peer_send(&it->loop, &it->stream, "x", 1);
        io_stream_resume(&it->loop, &it->stream);
        io_until(&it->loop, it->stream.len == i);
    }
}

static void
stopped_stream_meets_its_eof_when_it_starts(void **state)
{
    io_case *it = *state;

    io_loop_turn(&it->loop, 0);
    io_stream_pause(&it->stream);
    io_peer_send(&it->loop, &it->stream, "tail", 4);
    close(it->stream.peer);
    it->stream.peer = -1;
    for (int i = 0; i < 4; i++) {
        io_loop_turn(&it->loop, 1000000);
    }
    assert_int_equal(it->stream.eofs, 0);
    io_stream_resume(&it->loop, &it->stream);
    io_until(&it->loop, it->stream.eofs == 1);
    assert_int_equal(it->stream.len, 4);
}

static void
stopped_stream_with_a_hangup_lets_the_loop_sleep(void **state)
{
    io_case *it = *state;

    io_loop_turn(&it->loop, 0);
    io_stream_pause(&it->stream);
    close(it->stream.peer);
    it->stream.peer = -1;
    io_loop_turn(&it->loop, 1000000);
    io_loop_turn(&it->loop, 1000000);
    for (int i = 0; i < 3; i++) {
        int64_t start_ns = rsl_clock_now_ns();
        io_loop_turn(&it->loop, 2000000);
        assert_true(rsl_clock_now_ns() - start_ns >= 2000000);
    }
}

static void
recv_is_busy_while_an_event_waits(void **state)
{
    io_case *it = *state;
    uint8_t byte;
    size_t got = 0;
    rsl_err err = {0};

    io_peer_send(&it->loop, &it->stream, "1", 1);
    it->stream.conn->queued_events++;
    assert_int_equal(rsl_conn_recv(it->stream.conn, &byte, 1, &got, &err),
                     RSL_BUSY);
    rsl_conn_received(it->stream.conn);
    atomic_store(&it->stream.conn->stolen_bytes, 1);
    assert_int_equal(rsl_conn_recv(it->stream.conn, &byte, 1, &got, &err),
                     RSL_BUSY);
    atomic_store(&it->stream.conn->stolen_bytes, 0);
    assert_true(rsl_token_try_take(&it->loop.rt->token, RSL_TOKEN_RUNTIME));
    assert_int_equal(rsl_conn_recv(it->stream.conn, &byte, 1, &got, &err),
                     RSL_BUSY);
    rsl_token_release(&it->loop.rt->token, RSL_TOKEN_RUNTIME);
    assert_int_equal(rsl_conn_recv(it->stream.conn, &byte, 1, &got, &err),
                     RSL_OK);
    assert_int_equal(byte, '1');
    assert_int_equal(rsl_conn_recv(it->stream.conn, &byte, 1, &got, &err),
                     RSL_AGAIN);
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

static void
settle(io_loop *loop)
{
    for (unsigned i = 0; i < 100; i++) {
        io_loop_turn(loop, 0);
    }
}

/* A turn may go without a poll only while there is nothing to find: input, of
 * a conn that is new too, and output end that. */
static void
quiet_ends_with_input_and_output(void **state)
{
    io_case *it = *state;
    io_stream other;
    rsl_runtime *rt = it->loop.rt;
    int64_t deadline = rsl_clock_now_ns() + INT64_C(5000000000);

    settle(&it->loop);
    while (!rsl_runtime_is_quiet(rt)) { /* epoll's has a time limit */
        assert_true(rsl_clock_now_ns() < deadline);
        io_loop_turn(&it->loop, 0);
    }
    io_peer_send(&it->loop, &it->stream, "x", 1);
    while (rsl_runtime_is_quiet(rt)) { /* no turn: nothing but time passes */
        assert_true(rsl_clock_now_ns() < deadline);
    }
    io_until(&it->loop, it->stream.len == 1);

    assert_int_equal(rsl_conn_write(it->stream.conn, "z", 1, io_loan(0)),
                     RSL_OK);
    assert_false(rsl_runtime_is_quiet(rt));
    settle(&it->loop);
    io_stream_open(&it->loop, &other, true);
    io_peer_send(&it->loop, &other, "y", 1);
    while (other.len == 0) { /* as the extension's turn does */
        assert_true(rsl_clock_now_ns() < deadline);
        rsl_runtime_drain(rt, &it->loop.sink);
        if (!rsl_runtime_is_quiet(rt)) {
            io_loop_turn(&it->loop, 0);
        }
    }
    rsl_conn_close(other.conn);
    io_stream_fini(&other);
}

int
io_run_stream_cases(void)
{
    const struct CMUnitTest tests[] = {
        io_tcp_test(stream_delivers_bytes_then_one_eof),
        io_tcp_test(stream_delivers_megabytes_in_order),
        io_tcp_test(stream_reports_a_reset_once),
        io_tcp_test(stopped_stream_loses_nothing),
        io_tcp_test(start_after_a_cancelled_read_reads_on),
        io_unix_test(stopped_stream_meets_its_eof_when_it_starts),
        io_unix_test(stopped_stream_with_a_hangup_lets_the_loop_sleep),
        cmocka_unit_test(end_right_behind_bytes_is_noticed),
        io_unix_test(recv_is_busy_while_an_event_waits),
        io_tcp_test(quiet_ends_with_input_and_output),
        cmocka_unit_test(stolen_and_polled_bytes_keep_their_order),
        cmocka_unit_test(close_while_the_runtime_thread_reads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
