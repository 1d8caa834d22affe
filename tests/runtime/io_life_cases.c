/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/runtime_impl.h"
#include "entries.h"
#include "io_cases.h"

static void
close_under_an_armed_read_sends_fin_at_once(void **state)
{
    io_case *it = *state;
    char byte;

    io_loop_turn(&it->loop, 0);
    rsl_conn_close(it->stream.conn);
    assert_int_equal(io_peer_recv(&it->stream, &byte, 1), 0);
    io_loop_turn(&it->loop, 0);
}

static void
close_of_a_borrowed_fd_tells_its_owner(void **state)
{
    io_case *it = *state;
    int fd;

    fd = rsl_conn_fd(it->stream.conn);
    rsl_conn_borrow_fd(it->stream.conn);
    io_loop_turn(&it->loop, 0);
    rsl_conn_close(it->stream.conn);
    assert_int_equal(io_closed, 1);
    assert_int_equal(send(fd, "usable", 6, MSG_NOSIGNAL), 6);
    close(fd);
}

static void
close_while_the_token_is_away_waits_for_it(void **state)
{
    io_case *it = *state;
    uint64_t id;
    char byte;

    id = rsl_conn_id(it->stream.conn);
    io_loop_turn(&it->loop, 0);
    assert_true(rsl_token_try_take(&it->loop.rt->token, RSL_TOKEN_RUNTIME));
    rsl_conn_close(it->stream.conn);
    assert_null(rsl_conn_find(it->loop.rt, id));
    assert_int_equal(io_peer_recv(&it->stream, &byte, 1), -1);
    rsl_token_release(&it->loop.rt->token, RSL_TOKEN_RUNTIME);
    io_loop_turn(&it->loop, 0);
    assert_int_equal(io_peer_recv(&it->stream, &byte, 1), 0);
}

static void *
wake_loop(void *arg)
{
    static rsl_msg msg;

    msg = (rsl_msg){.event = {.tag = rsl_tag(RSL_EV_CALL, 0)}};
    rsl_runtime_post(arg, &msg);
    return NULL;
}

static void
message_ends_a_wait(void **state)
{
    io_loop loop;
    pthread_t thread;

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    for (unsigned i = 1; i <= 20; i++) {
        assert_int_equal(pthread_create(&thread, NULL, wake_loop, loop.rt), 0);
        while (loop.messages < i) {
            io_loop_turn(&loop, -1);
        }
        pthread_join(thread, NULL);
    }
    io_loop_fini(&loop);
}

static void
wait_is_not_shorter_than_asked(void **state)
{
    io_loop loop;

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    io_loop_turn(&loop, 0);
    for (int64_t timeout_ns = 1; timeout_ns < 3000000; timeout_ns *= 7) {
        int64_t start_ns = rsl_clock_now_ns();
        io_loop_turn(&loop, timeout_ns);
        assert_true(rsl_clock_now_ns() - start_ns >= timeout_ns);
    }
    io_loop_fini(&loop);
}

typedef struct other_thread {
    io_loop *loop;
    io_stream *stream;
} other_thread;

static void *
run_elsewhere(void *arg)
{
    other_thread *self = arg;
    rsl_err err = {0};

    assert_int_equal(rsl_runtime_enter(self->loop->rt, &err), RSL_OK);
    io_until(self->loop, self->stream->len == 8);
    rsl_runtime_leave(self->loop->rt);
    return NULL;
}

static void
loop_goes_on_in_another_thread(void **state)
{
    io_case *it = *state;
    other_thread other = {.loop = &it->loop, .stream = &it->stream};
    pthread_t thread;
    rsl_err err = {0};

    io_peer_send(&it->loop, &it->stream, "here", 4);
    io_until(&it->loop, it->stream.len == 4);
    rsl_runtime_leave(it->loop.rt);
    io_peer_send(&it->loop, &it->stream, "elsewhere", 4);
    assert_int_equal(pthread_create(&thread, NULL, run_elsewhere, &other), 0);
    pthread_join(thread, NULL);
    assert_int_equal(rsl_runtime_enter(it->loop.rt, &err), RSL_OK);
    io_peer_send(&it->loop, &it->stream, "back", 4);
    io_until(&it->loop, it->stream.len == 12);
    assert_memory_equal(it->stream.bytes, "hereelseback", 12);
}

static void *
close_elsewhere(void *arg)
{
    rsl_conn_close(((other_thread *)arg)->stream->conn);
    rsl_runtime_close(((other_thread *)arg)->loop->rt);
    return NULL;
}

static void
loop_may_be_closed_by_another_thread(void **state)
{
    io_loop loop;
    io_stream streams[2];
    other_thread other = {.loop = &loop, .stream = &streams[0]};
    pthread_t thread;

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    io_stream_open(&loop, &streams[0], true);
    io_stream_open(&loop, &streams[1], true);
    io_loop_turn(&loop, 0);
    rsl_runtime_leave(loop.rt);
    assert_int_equal(pthread_create(&thread, NULL, close_elsewhere, &other), 0);
    pthread_join(thread, NULL);
    rsl_runtime_free(loop.rt);
    free(loop.ready);
    io_stream_fini(&streams[0]);
    io_stream_fini(&streams[1]);
}

/* The child drops its copies; the parent's loop does not notice. */
static void
forked_child_leaves_the_parent_alone(void **state)
{
    io_loop loop;
    io_stream streams[6];
    int status;
    pid_t child;

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    for (unsigned i = 0; i < 6; i++) {
        io_stream_open(&loop, &streams[i], true);
    }
    io_loop_turn(&loop, 0);
    for (unsigned i = 0; i < 6; i++) {
        io_queue(&streams[i], "prepared", 8, i);
    }
    rsl_runtime_flush(loop.rt, &loop.sink);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        rsl_err err = {0};
        bool good = rsl_conn_read_start(streams[0].conn) == RSL_OK
                    || rsl_conn_flush(streams[0].conn, &err) == RSL_FORKED;

        rsl_conn_close(streams[0].conn);
        rsl_runtime_free(loop.rt);
        for (unsigned i = 0; i < 6; i++) {
            good = good && io_loans[i] == 1;
        }
        _exit(good ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    for (unsigned i = 0; i < 6; i++) {
        char buf[16];

        io_peer_send(&loop, &streams[i], "alive", 5);
        io_until(&loop, streams[i].len == 5);
        assert_int_equal(io_peer_recv(&streams[i], buf, sizeof buf), 8);
        assert_int_equal(io_loans[i], 1);
        io_stream_fini(&streams[i]);
    }
    io_loop_fini(&loop);
}

/* 10,000 connections, ended by either side, by FIN or RST, at each phase. */
static void
connections_come_and_go_without_a_trace(void **state)
{
    io_loop loop;
    io_stream stream;
    unsigned fds;

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    io_loop_turn(&loop, 0);
    fds = entries_of("/proc/self/fd");
    for (unsigned i = 0; i < 10000; i++) {
        io_stream_open(&loop, &stream, i % 10 == 0);
        if (i % 3 != 0) {
            io_loop_turn(&loop, 0);
        }
        if (i % 4 != 0) {
            io_peer_send(&loop, &stream, "request", 7);
            io_queue(&stream, "response", 8, i % IO_LOANS_MAX);
        }
        if (i % 5 != 0) {
            io_loop_turn(&loop, 0);
        }
        if (i % 20 == 0) {
            io_peer_reset(&stream);
        } else if (i % 2 == 0) {
            close(stream.peer);
            stream.peer = -1;
        }
        if (i % 7 != 0) {
            io_loop_turn(&loop, 0);
        }
        rsl_conn_close(stream.conn);
        io_stream_fini(&stream);
    }
    io_loop_turn(&loop, 0);
    assert_int_equal(entries_of("/proc/self/fd"), fds);
    assert_int_equal(atomic_load(&loop.rt->conns.count), 0);
    io_loop_fini(&loop);
}

int
io_run_life_cases(void)
{
    const struct CMUnitTest tests[] = {
        io_tcp_test(close_under_an_armed_read_sends_fin_at_once),
        io_tcp_test(close_of_a_borrowed_fd_tells_its_owner),
        io_tcp_test(close_while_the_token_is_away_waits_for_it),
        cmocka_unit_test(message_ends_a_wait),
        cmocka_unit_test(wait_is_not_shorter_than_asked),
        io_tcp_test(loop_goes_on_in_another_thread),
        cmocka_unit_test(loop_may_be_closed_by_another_thread),
        cmocka_unit_test(forked_child_leaves_the_parent_alone),
        cmocka_unit_test(connections_come_and_go_without_a_trace),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
