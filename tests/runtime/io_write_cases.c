/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/runtime_impl.h"
#include "io_cases.h"
#include "net/conn_impl.h"

enum { BATCH = 12 };

static uint8_t big[4 << 20];

static void
small_buffers(io_stream *stream)
{
    int size = 4096;

    assert_int_equal(setsockopt(rsl_conn_fd(stream->conn), SOL_SOCKET,
                                SO_SNDBUF, &size, sizeof size),
                     0);
}

static void
writes_of_a_turn_go_out_at_its_end(void **state)
{
    io_case *it = *state;
    char buf[16];

    io_queue(&it->stream, "ab", 2, 0);
    io_queue(&it->stream, "", 0, 1);
    io_queue(&it->stream, "cd", 2, 2);
    assert_int_equal(io_loans[1], 1);
    assert_int_equal(rsl_conn_backlog(it->stream.conn), 4);
    assert_int_equal(io_peer_recv(&it->stream, buf, sizeof buf), -1);
    rsl_runtime_flush(it->loop.rt, &it->loop.sink);
    assert_int_equal(io_peer_recv(&it->stream, buf, sizeof buf), 4);
    assert_memory_equal(buf, "abcd", 4);
    assert_int_equal(rsl_conn_backlog(it->stream.conn), 0);
    assert_int_equal(io_loans[0], 1);
    assert_int_equal(io_loans[2], 1);
}

static void
lingering_output_waits_for_more(void **state)
{
    io_case *it = *state;
    char buf[16];

    rsl_conn_linger(it->stream.conn, true);
    io_queue(&it->stream, "ab", 2, 0);
    rsl_runtime_flush_turn(it->loop.rt, &it->loop.sink, true);
    assert_int_equal(io_peer_recv(&it->stream, buf, sizeof buf), -1);
    io_queue(&it->stream, "cd", 2, 1);
    rsl_runtime_flush_turn(it->loop.rt, &it->loop.sink, false);
    assert_int_equal(io_peer_recv(&it->stream, buf, sizeof buf), 4);
    assert_memory_equal(buf, "abcd", 4);

    io_queue(&it->stream, "ef", 2, 2);
    rsl_runtime_flush_turn(it->loop.rt, &it->loop.sink, true);
    usleep(200); /* RSL_WRITE_AGE_NS and some more */
    rsl_runtime_flush_stale(it->loop.rt, &it->loop.sink);
    assert_int_equal(io_peer_recv(&it->stream, buf, sizeof buf), 2);

    rsl_conn_linger(it->stream.conn, false);
    io_queue(&it->stream, "gh", 2, 3);
    rsl_runtime_flush_turn(it->loop.rt, &it->loop.sink, true);
    assert_int_equal(io_peer_recv(&it->stream, buf, sizeof buf), 2);
}

static void
one_that_does_not_linger_takes_all_along(void **state)
{
    io_case *it = *state;
    io_stream other;
    char buf[16];

    io_stream_open(&it->loop, &other, true);
    rsl_conn_linger(it->stream.conn, true);
    io_queue(&it->stream, "ab", 2, 0);
    io_queue(&other, "cd", 2, 1);
    rsl_runtime_flush_turn(it->loop.rt, &it->loop.sink, true);
    assert_int_equal(io_peer_recv(&it->stream, buf, sizeof buf), 2);
    assert_int_equal(io_peer_recv(&other, buf, sizeof buf), 2);
    io_stream_fini(&other);
}

static void
room_shrinks_with_what_the_peer_has_not_read(void **state)
{
    io_case *it = *state;
    size_t room = rsl_conn_room(it->stream.conn);
    rsl_err err = {0};

    assert_true(room > 0);
    io_queue(&it->stream, big, sizeof big, 0);
    assert_int_equal(rsl_conn_flush(it->stream.conn, &err), RSL_AGAIN);
    assert_true(rsl_conn_room(it->stream.conn) < room);
}

static void
full_socket_is_armed_and_drains(void **state)
{
    io_case *it = *state;
    static uint8_t got[sizeof big];
    size_t total = 0;
    rsl_err err = {0};

    small_buffers(&it->stream);
    for (unsigned i = 0; i < 256; i++) {
        io_queue(&it->stream, big + i * (sizeof big / 256), sizeof big / 256,
                 i);
    }
    assert_int_equal(rsl_conn_flush(it->stream.conn, &err), RSL_AGAIN);
    assert_int_equal(rsl_conn_flush(it->stream.conn, &err), RSL_AGAIN);
    while (total < sizeof big) {
        ssize_t len =
            io_peer_recv(&it->stream, got + total, sizeof got - total);
        total += len > 0 ? (size_t)len : 0;
        io_loop_turn(&it->loop, 100000);
    }
    assert_memory_equal(got, big, sizeof big);
    assert_int_equal(rsl_conn_backlog(it->stream.conn), 0);
    assert_true(it->stream.writables > 0);
    for (unsigned i = 0; i < 256; i++) {
        assert_int_equal(io_loans[i], 1);
    }
    assert_int_equal(it->stream.conn->write_cap,
                     0); /* storage was given back */
}

/* Memory that was lent for one flush: the rest goes on from a copy. */
static void
relent_piece_goes_on_from_other_memory(void **state)
{
    io_case *it = *state;
    static uint8_t lent[sizeof big], got[sizeof big];
    size_t total = 0, rest;
    rsl_err err = {0};

    small_buffers(&it->stream);
    memcpy(lent, big, sizeof big);
    io_queue(&it->stream, lent, sizeof lent, 0);
    assert_int_equal(rsl_conn_flush(it->stream.conn, &err), RSL_AGAIN);
    rest = rsl_conn_backlog(it->stream.conn);
    assert_in_range(rest, 1, sizeof big - 1);
    assert_int_equal(io_loans[0], 0);
    rsl_conn_relend(it->stream.conn, big + sizeof big - rest, io_loan(1));
    assert_int_equal(io_loans[0], 1);
    memset(lent, 0, sizeof lent);
    while (total < sizeof big) {
        ssize_t len =
            io_peer_recv(&it->stream, got + total, sizeof got - total);
        total += len > 0 ? (size_t)len : 0;
        io_loop_turn(&it->loop, 100000);
    }
    assert_memory_equal(got, big, sizeof big);
    assert_int_equal(io_loans[0], 1);
    assert_int_equal(io_loans[1], 1);
}

static void
batch_reaches_every_peer(void **state)
{
    io_loop loop;
    io_stream streams[BATCH];
    char buf[16];

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    for (unsigned i = 0; i < BATCH; i++) {
        io_stream_open(&loop, &streams[i], i % 2 == 0);
    }
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < BATCH; i++) {
            io_queue(&streams[i], "one", 3, 2 * i);
            if (i % 3 == 0) {
                io_queue(&streams[i], "two", 3, 2 * i + 1);
            }
        }
        io_loop_turn(&loop, 0);
        io_loop_turn(&loop, 0);
        for (unsigned i = 0; i < BATCH; i++) {
            ssize_t wanted = i % 3 == 0 ? 6 : 3;
            assert_int_equal(io_peer_recv(&streams[i], buf, sizeof buf),
                             wanted);
            assert_memory_equal(buf, "onetwo", (size_t)wanted);
            assert_int_equal(rsl_conn_backlog(streams[i].conn), 0);
            assert_int_equal(io_loans[2 * i], round + 1);
        }
    }
    for (unsigned i = 0; i < BATCH; i++) {
        rsl_conn_close(streams[i].conn);
        io_stream_fini(&streams[i]);
    }
    io_loop_fini(&loop);
}

static void
batch_with_full_sockets_drains(void **state)
{
    io_loop loop;
    io_stream streams[BATCH];
    static uint8_t got[1 << 16];
    size_t total[BATCH] = {0};
    const size_t size = 1 << 20;
    unsigned done = 0;

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    for (unsigned i = 0; i < BATCH; i++) {
        io_stream_open(&loop, &streams[i], i % 2 == 0);
        small_buffers(&streams[i]);
        io_queue(&streams[i], big, size, i);
    }
    while (done < BATCH) {
        io_loop_turn(&loop, 1000000);
        done = 0;
        for (unsigned i = 0; i < BATCH; i++) {
            ssize_t len = io_peer_recv(&streams[i], got, sizeof got);

            total[i] += len > 0 ? (size_t)len : 0;
            done += total[i] == size;
        }
    }
    io_loop_turn(&loop, 0);
    for (unsigned i = 0; i < BATCH; i++) {
        assert_int_equal(io_loans[i], 1);
        io_stream_fini(&streams[i]);
    }
    io_loop_fini(&loop);
}

static void
batch_tells_who_is_broken(void **state)
{
    io_loop loop;
    io_stream streams[BATCH];
    char buf[16];

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    for (unsigned i = 0; i < BATCH; i++) {
        io_stream_open(&loop, &streams[i], false);
        rsl_conn_read_stop(streams[i].conn);
        io_queue(&streams[i], "bytes", 5, i);
    }
    close(streams[5].peer);
    streams[5].peer = -1;
    io_loop_turn(&loop, 0);
    io_until(&loop, streams[5].sents == 1);
    assert_int_equal(streams[5].sent_code, EPIPE);
    assert_int_equal(rsl_conn_backlog(streams[5].conn), 5);
    assert_int_equal(io_loans[5], 0);
    for (unsigned i = 0; i < BATCH; i++) {
        if (i != 5) {
            assert_int_equal(streams[i].sents, 0);
            assert_int_equal(io_peer_recv(&streams[i], buf, sizeof buf), 5);
        }
        rsl_conn_close(streams[i].conn);
        assert_int_equal(io_loans[i], 1);
        io_stream_fini(&streams[i]);
    }
    io_loop_fini(&loop);
}

/* Between the flush and the next wait the ring only has prepared them. */
static void
flush_and_close_of_a_prepared_batch(void **state)
{
    io_loop loop;
    io_stream streams[BATCH];
    char buf[16];
    rsl_err err = {0};

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    for (unsigned i = 0; i < BATCH; i++) {
        io_stream_open(&loop, &streams[i], true);
        io_queue(&streams[i], "first", 5, i);
    }
    rsl_runtime_flush(loop.rt, &loop.sink);
    io_queue(&streams[0], " more", 5, BATCH);
    assert_int_equal(rsl_conn_flush(streams[0].conn, &err), RSL_OK);
    assert_int_equal(io_peer_recv(&streams[0], buf, sizeof buf), 10);
    assert_memory_equal(buf, "first more", 10);
    for (unsigned i = 0; i < BATCH; i++) {
        io_queue(&streams[i], "again", 5, 100 + i);
    }
    rsl_runtime_flush(loop.rt, &loop.sink);
    rsl_conn_discard_writes(streams[1].conn);
    rsl_conn_close(streams[2].conn);
    rsl_conn_close(streams[3].conn);
    for (unsigned i = 0; i < BATCH; i++) {
        assert_int_equal(io_loans[i], 1);
        assert_int_equal(io_loans[100 + i], 1);
    }
    for (unsigned i = 0; i < BATCH; i++) {
        io_stream_fini(&streams[i]);
    }
    io_loop_fini(&loop);
}

static void
leave_sends_what_was_queued(void **state)
{
    io_loop loop;
    io_stream streams[BATCH];
    char buf[16];
    rsl_err err = {0};

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    for (unsigned i = 0; i < BATCH; i++) {
        io_stream_open(&loop, &streams[i], true);
        io_queue(&streams[i], "bye", 3, i);
    }
    rsl_runtime_leave(loop.rt);
    for (unsigned i = 0; i < BATCH; i++) {
        assert_int_equal(io_peer_recv(&streams[i], buf, sizeof buf), 3);
        assert_int_equal(io_loans[i], 1);
        io_queue(&streams[i], "out", 3, i);
        assert_int_equal(rsl_conn_flush(streams[i].conn, &err), RSL_OK);
        assert_int_equal(io_peer_recv(&streams[i], buf, sizeof buf), 3);
    }
    assert_int_equal(rsl_runtime_enter(loop.rt, &err), RSL_OK);
    for (unsigned i = 0; i < BATCH; i++) {
        io_stream_fini(&streams[i]);
    }
    io_loop_fini(&loop);
}

/* A batch that was sent whole does not keep the loop awake. */
static void
loop_sleeps_after_a_batch(void **state)
{
    io_loop loop;
    io_stream streams[BATCH];
    int64_t start_ns;

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    for (unsigned i = 0; i < BATCH; i++) {
        io_stream_open(&loop, &streams[i], true);
    }
    io_loop_turn(&loop, 0);
    io_loop_turn(&loop, 0);
    for (unsigned i = 0; i < BATCH; i++) {
        io_queue(&streams[i], "x", 1, i);
    }
    io_loop_run(&loop);
    start_ns = rsl_clock_now_ns();
    io_loop_turn(&loop, 3000000);
    assert_true(rsl_clock_now_ns() - start_ns >= 3000000);
    for (unsigned i = 0; i < BATCH; i++) {
        assert_int_equal(io_loans[i], 1);
        io_stream_fini(&streams[i]);
    }
    io_loop_fini(&loop);
}

static void
shutdown_leaves_reading_open(void **state)
{
    io_case *it = *state;
    char buf[16];
    rsl_err err = {0};

    io_queue(&it->stream, "end", 3, 0);
    assert_int_equal(rsl_conn_flush(it->stream.conn, &err), RSL_OK);
    assert_int_equal(rsl_conn_shutdown_write(it->stream.conn, &err), RSL_OK);
    assert_int_equal(io_peer_recv(&it->stream, buf, sizeof buf), 3);
    assert_int_equal(io_peer_recv(&it->stream, buf, sizeof buf), 0);
    io_peer_send(&it->loop, &it->stream, "still", 5);
    io_until(&it->loop, it->stream.len == 5);
}

int
io_run_write_cases(void)
{
    const struct CMUnitTest tests[] = {
        io_tcp_test(writes_of_a_turn_go_out_at_its_end),
        io_tcp_test(lingering_output_waits_for_more),
        io_tcp_test(one_that_does_not_linger_takes_all_along),
        io_tcp_test(room_shrinks_with_what_the_peer_has_not_read),
        io_tcp_test(full_socket_is_armed_and_drains),
        io_tcp_test(relent_piece_goes_on_from_other_memory),
        cmocka_unit_test(batch_reaches_every_peer),
        cmocka_unit_test(batch_with_full_sockets_drains),
        cmocka_unit_test(batch_tells_who_is_broken),
        cmocka_unit_test(flush_and_close_of_a_prepared_batch),
        cmocka_unit_test(leave_sends_what_was_queued),
        cmocka_unit_test(loop_sleeps_after_a_batch),
        io_tcp_test(shutdown_leaves_reading_open),
    };

    for (size_t i = 0; i < sizeof big; i++) {
        big[i] = (uint8_t)(i * 31 + (i >> 12));
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
