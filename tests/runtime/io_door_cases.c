/* SPDX-License-Identifier: Apache-2.0 */
/* io_door_cases.c - listeners and watches, on every backend. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/tick.h"
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

static void
watch_is_level_triggered(void **state)
{
    io_loop loop;
    rsl_err err = {0};
    int pair[2];
    char byte;

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    assert_int_equal(rsl_watch_set(loop.rt, pair[0], RSL_WATCH_READ, &err),
                     RSL_OK);
    io_loop_turn(&loop, 0);
    assert_int_equal(write(pair[1], "abc", 3), 3);
    for (unsigned i = 1; i <= 3; i++) {
        io_until(&loop, loop.watch_events[pair[0]] >= i);
        assert_int_equal(read(pair[0], &byte, 1), 1);
        loop.watch_events[pair[0]] = i;
    }
    io_loop_turn(&loop, 1000000);
    assert_int_equal(loop.watch_events[pair[0]], 3);
    assert_int_equal(rsl_watch_set(loop.rt, pair[1], RSL_WATCH_WRITE, &err),
                     RSL_OK);
    io_until(&loop, loop.watch_events[pair[1]] > 2);
    assert_int_equal(loop.watch_mask[pair[1]], RSL_WATCH_WRITE);
    close(pair[1]); /* forgotten by the kernel, then by us */
    assert_int_equal(rsl_watch_set(loop.rt, pair[1], 0, &err), RSL_OK);
    io_until(&loop, loop.watch_events[pair[0]] > 3); /* hang-up */
    assert_int_equal(rsl_watch_set(loop.rt, pair[0], 0, &err), RSL_OK);
    loop.watch_events[pair[0]] = 0;
    io_loop_turn(&loop, 1000000);
    assert_int_equal(loop.watch_events[pair[0]], 0);
    close(pair[0]);
    io_loop_fini(&loop);
}

static void
watch_survives_a_reused_fd(void **state)
{
    io_loop loop;
    rsl_err err = {0};
    int pair[2], other[2];

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    assert_int_equal(rsl_watch_set(loop.rt, pair[0], RSL_WATCH_READ, &err),
                     RSL_OK);
    io_loop_turn(&loop, 0);
    assert_int_equal(pipe2(other, O_CLOEXEC), 0);
    assert_int_equal(dup3(other[0], pair[0], O_CLOEXEC), pair[0]);
    assert_int_equal(rsl_watch_set(loop.rt, pair[0], RSL_WATCH_READ, &err),
                     RSL_OK);
    assert_int_equal(write(other[1], "x", 1), 1);
    io_until(&loop, loop.watch_events[pair[0]] > 0);
    close(pair[0]);
    close(pair[1]);
    close(other[0]);
    close(other[1]);
    io_loop_fini(&loop);
}

static void
set_watch(io_loop *loop, int fd, unsigned mask)
{
    rsl_err err = {0};

    assert_int_equal(rsl_watch_set(loop->rt, fd, mask, &err), RSL_OK);
}

static void
single_watch_reports_each_side_once(void **state)
{
    io_loop loop;
    int pair[2];
    char byte;

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair),
                     0);
    set_watch(&loop, pair[0],
              RSL_WATCH_READ | RSL_WATCH_WRITE | RSL_WATCH_ONCE);
    io_until(&loop, loop.watch_events[pair[0]] == 1);
    assert_int_equal(loop.watch_mask[pair[0]], RSL_WATCH_WRITE);
    io_loop_turn(&loop, 1000000);
    assert_int_equal(loop.watch_events[pair[0]], 1);
    assert_int_equal(write(pair[1], "abc", 3), 3);
    io_until(&loop, loop.watch_events[pair[0]] == 2);
    assert_int_equal(loop.watch_mask[pair[0]], RSL_WATCH_READ);
    io_loop_turn(&loop, 1000000); /* still readable, nobody waits */
    assert_int_equal(loop.watch_events[pair[0]], 2);
    set_watch(&loop, pair[0], RSL_WATCH_READ | RSL_WATCH_ONCE);
    io_until(&loop, loop.watch_events[pair[0]] == 3);
    set_watch(&loop, pair[0], RSL_WATCH_READ); /* from now on, each time */
    io_until(&loop, loop.watch_events[pair[0]] >= 5);
    assert_int_equal(read(pair[0], &byte, 1), 1);
    set_watch(&loop, pair[0], 0);
    loop.watch_events[pair[0]] = 0;
    close(pair[1]);
    io_loop_turn(&loop, 1000000);
    assert_int_equal(loop.watch_events[pair[0]], 0);
    close(pair[0]);
    io_loop_fini(&loop);
}

/* A watch that has reported stays in the set; what it stood for may be closed,
 * another file may have its number, and a dup may keep the first one open. */
static void
single_watch_survives_a_reused_fd(void **state)
{
    io_loop loop;
    int pair[2], other[2], keep;

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    assert_int_equal(pipe2(other, O_CLOEXEC), 0);
    set_watch(&loop, pair[0], RSL_WATCH_READ | RSL_WATCH_ONCE);
    assert_int_equal(write(pair[1], "x", 1), 1);
    io_until(&loop, loop.watch_events[pair[0]] == 1);
    keep = fcntl(pair[0], F_DUPFD_CLOEXEC, 0);
    assert_int_equal(dup3(other[0], pair[0], O_CLOEXEC), pair[0]);
    io_loop_turn(&loop, 1000000); /* the old file is readable: not a word */
    assert_int_equal(loop.watch_events[pair[0]], 1);
    set_watch(&loop, pair[0], RSL_WATCH_READ | RSL_WATCH_ONCE);
    io_loop_turn(&loop, 1000000);
    assert_int_equal(loop.watch_events[pair[0]], 1);
    assert_int_equal(write(other[1], "y", 1), 1);
    io_until(&loop, loop.watch_events[pair[0]] == 2);
    close(keep);
    close(pair[0]);
    close(pair[1]);
    close(other[0]);
    close(other[1]);
    io_loop_fini(&loop);
}

/* The runtime thread polls the same set; what it takes out of it is not lost,
 * however many there are. */
static void
single_watch_outlives_a_tick_of_the_runtime_thread(void **state)
{
    enum { PAIRS = 300 };
    io_loop loop;
    int pairs[PAIRS][2];

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    for (unsigned i = 0; i < PAIRS; i++) {
        assert_int_equal(pipe2(pairs[i], O_CLOEXEC), 0);
        set_watch(&loop, pairs[i][0], RSL_WATCH_READ | RSL_WATCH_ONCE);
        assert_int_equal(write(pairs[i][1], "x", 1), 1);
    }
    set_watch(&loop, pairs[0][0], 0); /* nobody waits for it any more */
    for (unsigned i = 0; i < PAIRS; i++) {
        assert_int_equal(rsl_tick(loop.rt, true), 0);
    }
    set_watch(&loop, pairs[1][0], 0);
    set_watch(&loop, pairs[2][0], RSL_WATCH_READ | RSL_WATCH_ONCE);
    for (unsigned i = 2; i < PAIRS; i++) {
        io_until(&loop, loop.watch_events[pairs[i][0]] > 0);
        assert_int_equal(loop.watch_mask[pairs[i][0]], RSL_WATCH_READ);
    }
    assert_int_equal(loop.watch_events[pairs[0][0]], 0);
    assert_int_equal(loop.watch_events[pairs[1][0]], 0);
    for (unsigned i = 0; i < PAIRS; i++) {
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
    io_loop_fini(&loop);
}

/* A wait for an fd that became a conn's is forgotten without a word to the
 * kernel, whose registration is the conn's. */
static void
forgotten_watch_leaves_the_conn_its_fd(void **state)
{
    io_loop loop;
    io_stream stream;
    int pair[2];

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair),
                     0);
    set_watch(&loop, pair[0], RSL_WATCH_READ | RSL_WATCH_ONCE);
    set_watch(&loop, pair[1], RSL_WATCH_READ | RSL_WATCH_ONCE);
    close(pair[0]);
    close(pair[1]);
    io_stream_open(&loop, &stream, false); /* has their numbers */
    assert_true(rsl_conn_fd(stream.conn) == pair[0]
                || rsl_conn_fd(stream.conn) == pair[1]);
    set_watch(&loop, pair[0], 0);
    set_watch(&loop, pair[1], 0);
    io_peer_send(&loop, &stream, "heard", 5);
    io_until(&loop, stream.len == 5);
    io_stream_fini(&stream);
    io_loop_fini(&loop);
}

static void
watch_of_a_regular_or_closed_fd_is_refused(void **state)
{
    io_loop loop;
    rsl_err err = {0};
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    (void)state;
    io_loop_init(&loop, RSL_TAKEOVER_NEVER);
    assert_int_equal(rsl_watch_set(loop.rt, fd, RSL_WATCH_READ, &err), RSL_OS);
    assert_int_equal(err.code, EPERM);
    close(fd);
    assert_int_equal(rsl_watch_set(loop.rt, fd, RSL_WATCH_READ, &err), RSL_OS);
    assert_int_equal(err.code, EBADF);
    assert_int_equal(rsl_watch_set(loop.rt, -1, RSL_WATCH_READ, &err), RSL_OS);
    assert_int_equal(rsl_watch_set(loop.rt, fd, 0, &err), RSL_OK);
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
        cmocka_unit_test(watch_is_level_triggered),
        cmocka_unit_test(watch_survives_a_reused_fd),
        cmocka_unit_test(single_watch_reports_each_side_once),
        cmocka_unit_test(single_watch_survives_a_reused_fd),
        cmocka_unit_test(single_watch_outlives_a_tick_of_the_runtime_thread),
        cmocka_unit_test(forgotten_watch_leaves_the_conn_its_fd),
        cmocka_unit_test(watch_of_a_regular_or_closed_fd_is_refused),
        cmocka_unit_test(starved_receives_lose_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
