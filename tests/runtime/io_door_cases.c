/* SPDX-License-Identifier: Apache-2.0 */
/* io_door_cases.c - listeners, on every backend. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "entries.h"
#include "io_cases.h"

static void
listener_accepts_until_it_is_closed(void **state)
{
    io_loop loop;
    rsl_listener *listener;
    rsl_err err = {0};
    int fd = io_listening_fd(), clients[8];

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    assert_int_equal(rsl_listener_open(loop.rt, fd, NULL, &listener, &err),
                     RSL_OK);
    for (unsigned i = 0; i < 8; i++) {
        clients[i] = io_connect(fd);
        assert_true(clients[i] >= 0);
    }
    io_until(&loop, loop.accepts == 8);
    for (unsigned i = 0; i < 8; i++) {
        assert_true(fcntl(loop.accepted[i], F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(loop.accepted[i], F_GETFD) & FD_CLOEXEC);
        close(clients[i]);
    }
    rsl_listener_pause(listener);
    clients[0] = io_connect(fd);
    io_loop_turn(&loop, 1000000);
    io_loop_turn(&loop, 1000000);
    assert_int_equal(loop.accepts, 8);
    assert_int_equal(rsl_listener_resume(listener, &err), RSL_OK);
    io_until(&loop, loop.accepts == 9);
    close(clients[0]);
    rsl_listener_close(listener);
    close(fd);
    io_loop_fini(&loop);
}

/* The kernel keeps no reference: the port is free when the fd is closed. */
static void
closed_listener_refuses_at_once(void **state)
{
    io_loop loop;
    rsl_listener *listener;
    rsl_err err = {0};
    unsigned fds = entries_of("/proc/self/fd");

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_ALWAYS);
    for (unsigned i = 0; i < 50; i++) {
        struct sockaddr_storage address;
        socklen_t len = sizeof address;
        int fd = io_listening_fd(), client, late;

        assert_int_equal(getsockname(fd, (void *)&address, &len), 0);
        assert_int_equal(rsl_listener_open(loop.rt, fd, NULL, &listener, &err),
                         RSL_OK);
        io_loop_turn(&loop, 0);
        client = io_connect(fd);
        rsl_listener_close(listener);
        close(fd);
        late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(late, (void *)&address, len), -1);
        assert_int_equal(errno, ECONNREFUSED);
        close(late);
        close(client);
        io_loop_turn(&loop, 0);
    }
    assert_int_equal(loop.accepts, 0);
    io_loop_fini(&loop);
    assert_int_equal(entries_of("/proc/self/fd"), fds);
}

static void
accept_without_descriptors_is_told_and_resumes(void **state)
{
    io_loop loop;
    rsl_listener *listener;
    rsl_err err = {0};
    struct rlimit limit, tight;
    int fd = io_listening_fd(), client;

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    client = io_connect(fd);
    io_loop_turn(&loop, 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    tight = limit;
    tight.rlim_cur = 3; /* fds that are open stay open */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    assert_int_equal(rsl_listener_open(loop.rt, fd, NULL, &listener, &err),
                     RSL_OK);
    io_until(&loop, loop.accept_errors == 1);
    assert_int_equal(loop.accept_error, EMFILE);
    io_loop_turn(&loop, 1000000);
    assert_int_equal(loop.accept_errors, 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(rsl_listener_resume(listener, &err), RSL_OK);
    io_until(&loop, loop.accepts == 1);
    rsl_listener_close(listener);
    close(client);
    close(fd);
    io_loop_fini(&loop);
}

/* More bytes wait than the ring has buffers for, on more conns than it has
 * buffers: whoever is refused one goes on when some have come back. */
static void
starved_receives_lose_nothing(void **state)
{
    enum { STREAMS = 200, BYTES = 100000 };
    static uint8_t sent[BYTES];
    static io_stream streams[STREAMS];
    io_loop loop;

    (void)state;
    for (size_t i = 0; i < BYTES; i++) {
        sent[i] = (uint8_t)(i * 7 + (i >> 9));
    }
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    for (unsigned i = 0; i < STREAMS; i++) {
        io_stream_open(&loop, &streams[i], false);
    }
    io_loop_turn(&loop, 0);
    for (unsigned i = 0; i < STREAMS; i++) {
        assert_int_equal(
            send(streams[i].peer, sent, BYTES, MSG_DONTWAIT | MSG_NOSIGNAL),
            BYTES);
        close(streams[i].peer);
        streams[i].peer = -1;
    }
    for (unsigned i = 0; i < STREAMS; i++) {
        io_until(&loop, streams[i].len == BYTES && streams[i].eofs == 1);
        assert_memory_equal(streams[i].bytes, sent, BYTES);
        rsl_conn_close(streams[i].conn);
        io_stream_fini(&streams[i]);
    }
    io_loop_fini(&loop);
}

int
io_run_door_cases(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listener_accepts_until_it_is_closed),
        cmocka_unit_test(closed_listener_refuses_at_once),
        cmocka_unit_test(accept_without_descriptors_is_told_and_resumes),
        cmocka_unit_test(starved_receives_lose_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
