/* SPDX-License-Identifier: Apache-2.0 */
/* test_no_memory.c - every allocation of the runtime fails once, on each real
 * backend. What asked for it says RSL_NOMEM, nothing leaks, and the loop works
 * afterwards. */
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rsl/dgram.h>
#include <rsl/jobs.h>
#include <rsl/listener.h>
#include <rsl/reactor.h>
#include <rsl/resolver.h>
#include <rsl/watch.h>

#include "entries.h"
#include "poor_loop.h"
#include "wrap.h"

enum {
    POOR_CONNS = 200, /* more than a table has to begin with */
    POOR_PIECES = 40,
    POOR_FD = 700,
    POOR_ALLOCATIONS_MAX = 400,
};

static void
poor_abandon(void *object)
{
    (void)object;
}

static void
poor_pair(int pair[2])
{
    assert_int_equal(socketpair(AF_UNIX,
                                SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                                pair),
                     0);
}

/* Adopt pair[0] as a conn that reads, or close it. */
static rsl_conn *
poor_open(poor_loop *loop, const int pair[2])
{
    rsl_conn *conn;

    if (rsl_conn_open(loop->rt, pair[0], false, loop, &conn) != RSL_OK) {
        close(pair[0]);
        return NULL;
    }
    if (rsl_conn_read_start(conn) != RSL_OK) {
        rsl_conn_close(conn);
        return NULL;
    }
    return conn;
}

/* --- What may fail --- */

static void
stream_life(poor_loop *loop)
{
    char buf[256];
    rsl_conn *conn;
    rsl_err err = {0};
    int pair[2];

    poor_pair(pair);
    assert_int_equal(send(pair[1], "abc", 3, 0), 3);
    conn = poor_open(loop, pair);
    if (conn != NULL) {
        poor_until(loop, loop->received == 3);
        assert_int_equal(loop->received, 3);
        for (unsigned i = 0; i < POOR_PIECES; i++) {
            poor_loans++;
            if (rsl_conn_write(conn, "x", 1, loop) != RSL_OK) {
                poor_loans--; /* not taken */
            }
        }
        assert_true(rsl_conn_backlog(conn) >= POOR_PIECES - 1);
        assert_int_equal(rsl_conn_flush(conn, &err), RSL_OK);
        assert_true(recv(pair[1], buf, sizeof buf, 0) >= POOR_PIECES - 1);
        assert_int_equal(shutdown(pair[1], SHUT_WR), 0);
        poor_until(loop, loop->ends == 1);
        assert_int_equal(loop->ends, 1);
        rsl_conn_close(conn);
    }
    close(pair[1]);
    assert_int_equal(poor_loans, 0);
}

static void
many_streams(poor_loop *loop)
{
    static rsl_conn *conns[POOR_CONNS];
    static int peers[POOR_CONNS];
    size_t open = 0;

    for (unsigned i = 0; i < POOR_CONNS; i++) {
        int pair[2];

        poor_pair(pair);
        peers[i] = pair[1];
        conns[i] = poor_open(loop, pair);
        if (conns[i] != NULL) {
            open++;
            assert_int_equal(send(pair[1], "x", 1, 0), 1);
        }
    }
    assert_true(open >= POOR_CONNS - 1);
    poor_until(loop, loop->received == open);
    assert_int_equal(loop->received, open);
    for (unsigned i = 0; i < POOR_CONNS; i++) {
        if (conns[i] != NULL) {
            rsl_conn_close(conns[i]);
        }
        close(peers[i]);
    }
}

static int
poor_listener(struct sockaddr_in *address)
{
    socklen_t length = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    *address = (struct sockaddr_in){.sin_family = AF_INET,
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (void *)address, sizeof *address), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (void *)address, &length), 0);
    return fd;
}

static void
accepting(poor_loop *loop)
{
    struct sockaddr_in address;
    rsl_listener *listener;
    rsl_err err = {0};
    int fd = poor_listener(&address), client;

    if (rsl_listener_open(loop->rt, fd, loop, &listener, &err) == RSL_OK) {
        client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(client, (void *)&address, sizeof address), 0);
        poor_until(loop, loop->accepts == 1);
        assert_int_equal(loop->accepts, 1);
        rsl_listener_close(listener);
        close(client);
    }
    close(fd);
}

static void
datagrams(poor_loop *loop)
{
    rsl_dgram *dgram;
    rsl_err err = {0};
    int pair[2];

    assert_int_equal(
        socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
        0);
    if (rsl_dgram_open(loop->rt, pair[0], loop, &dgram) == RSL_OK) {
        assert_int_equal(rsl_dgram_want(dgram, RSL_WATCH_READ, &err), RSL_OK);
        assert_int_equal(send(pair[1], "x", 1, 0), 1);
        poor_until(loop, loop->datagrams > 0);
        assert_true(loop->datagrams > 0);
        rsl_dgram_close(dgram);
    }
    close(pair[0]);
    close(pair[1]);
}

static void
watches(poor_loop *loop)
{
    rsl_err err = {0};
    rsl_status status;
    int pair[2], high;

    poor_pair(pair);
    high = fcntl(pair[0], F_DUPFD_CLOEXEC, POOR_FD);
    assert_true(high >= POOR_FD);
    status = rsl_watch_set(loop->rt, high, RSL_WATCH_READ, &err);
    if (status == RSL_OK) {
        assert_int_equal(send(pair[1], "x", 1, 0), 1);
        poor_until(loop, loop->watched > 0);
        assert_true(loop->watched > 0);
        assert_int_equal(rsl_watch_set(loop->rt, high, 0, &err), RSL_OK);
    } else {
        assert_int_equal(status, RSL_NOMEM);
    }
    close(high);
    close(pair[0]);
    close(pair[1]);
}

static void
look_up(poor_loop *loop)
{
    rsl_address_query query = {.host = "127.0.0.1",
                               .service = "80",
                               .family = AF_INET,
                               .type = SOCK_STREAM};
    rsl_job_owner owner = {loop, poor_abandon};
    rsl_err err = {0};
    rsl_status status = rsl_resolve_address(loop->rt, &query, owner, &err);

    if (status == RSL_OK) {
        for (int i = 0; i < 1000 && loop->messages == 0; i++) {
            poor_turn(loop);
        }
        assert_int_equal(loop->messages, 1);
    } else {
        assert_int_equal(status, RSL_NOMEM);
    }
}

static atomic_uint sources_over;

static void
source_event(void *arg, uint64_t what)
{
    (void)arg;
    (void)what;
}

static void
source_over(void *arg)
{
    (void)arg;
    atomic_fetch_add(&sources_over, 1);
}

/* What is not refused is over once, be it closed by us or by itself. */
static void
sources(poor_loop *loop)
{
    const rsl_source_calls calls = {source_event, source_over, NULL};
    const int64_t hour_ns = INT64_C(3600000000000);
    rsl_source *watch = NULL, *timer = NULL;
    rsl_reactor *reactor;
    unsigned made = 0;
    rsl_err err = {0};
    int pair[2];

    poor_pair(pair);
    atomic_store(&sources_over, 0);
    if (rsl_runtime_reactor(loop->rt, &reactor, &err) == RSL_OK) {
        made += rsl_reactor_post(reactor, calls) == RSL_OK;
        made += rsl_reactor_watch(reactor, (rsl_fd_events){pair[0], EPOLLIN},
                                  calls, &watch, &err)
                == RSL_OK;
        made += rsl_reactor_timer(reactor, hour_ns, 0, calls, &timer) == RSL_OK;
        made += rsl_job_submit(source_over, NULL, &err) == RSL_OK;
        assert_true(made >= 3);
    }
    if (watch != NULL) {
        rsl_source_close(reactor, watch);
    }
    if (timer != NULL) {
        rsl_source_close(reactor, timer);
    }
    for (int i = 0; i < 5000 && atomic_load(&sources_over) != made; i++) {
        poor_turn(loop);
    }
    assert_int_equal(sources_over, made);
    close(pair[0]);
    close(pair[1]);
}

/* --- A loop that moves with completions that nobody has looked at --- */

typedef struct poor_move {
    poor_loop *loop;
    unsigned nth;
    bool failed;
    rsl_status status;
} poor_move;

static void *
poor_enter_elsewhere(void *arg)
{
    poor_move *self = arg;
    rsl_err err = {0};

    wrap_fail_allocation(self->nth);
    self->status = rsl_runtime_enter(self->loop->rt, &err);
    self->failed = wrap_failed_allocation();
    wrap_fail_allocation(0);
    if (self->status == RSL_OK) {
        poor_until(self->loop, self->loop->received == 3);
        rsl_runtime_leave(self->loop->rt);
    }
    return NULL;
}

/* --- The sweep --- */

static void
sweep(void (*scenario)(poor_loop *loop))
{
    static poor_loop loop;
    unsigned nth = 0, fds = entries_of("/proc/self/fd");
    bool failed;

    do {
        wrap_fail_allocation(++nth);
        if (poor_begin(&loop)) {
            scenario(&loop);
            failed = wrap_failed_allocation();
            wrap_fail_allocation(0);
            memset(loop.events, 0, sizeof loop.events);
            loop.received = loop.ends = 0;
            stream_life(&loop);
            poor_end(&loop);
        } else {
            failed = wrap_failed_allocation();
            wrap_fail_allocation(0);
        }
        assert_int_equal(entries_of("/proc/self/fd"), fds);
        assert_true(nth < POOR_ALLOCATIONS_MAX);
    } while (failed);
    if (nth == 1) {
        skip(); /* link-time optimization went around the wrapper */
    }
}

static void
a_stream_lives_or_is_refused(void **state)
{
    (void)state;
    sweep(stream_life);
}

static void
one_of_many_streams_is_refused(void **state)
{
    (void)state;
    sweep(many_streams);
}

static void
a_listener_accepts_or_is_refused(void **state)
{
    (void)state;
    sweep(accepting);
}

static void
a_datagram_socket_works_or_is_refused(void **state)
{
    (void)state;
    sweep(datagrams);
}

static void
a_watch_works_or_is_refused(void **state)
{
    (void)state;
    sweep(watches);
}

static void
a_look_up_ends_or_is_refused(void **state)
{
    (void)state;
    sweep(look_up);
}

static void
a_source_is_served_or_refused(void **state)
{
    (void)state;
    sweep(sources);
}

static void
a_loop_that_cannot_move_can_later(void **state)
{
    static poor_loop loop;
    poor_move move = {.loop = &loop};
    unsigned fds = entries_of("/proc/self/fd");

    (void)state;
    do {
        pthread_t thread;
        rsl_conn *conn;
        rsl_err err = {0};
        int pair[2];

        assert_true(poor_begin(&loop));
        poor_pair(pair);
        conn = poor_open(&loop, pair);
        poor_turn(&loop); /* armed */
        assert_int_equal(send(pair[1], "abc", 3, 0), 3);
        assert_int_equal(rsl_runtime_acquire(loop.rt, &loop.sink), RSL_OK);
        assert_int_equal(rsl_runtime_wait(loop.rt, POOR_TURN_NS, &err), RSL_OK);
        rsl_runtime_release(loop.rt, 0); /* but not collected */
        rsl_runtime_leave(loop.rt);
        move.nth++;
        assert_int_equal(
            pthread_create(&thread, NULL, poor_enter_elsewhere, &move), 0);
        pthread_join(thread, NULL);
        assert_int_equal(move.status == RSL_OK, loop.received == 3);
        assert_int_equal(rsl_runtime_enter(loop.rt, &err), RSL_OK);
        poor_until(&loop, loop.received == 3);
        assert_int_equal(loop.received, 3);
        rsl_conn_close(conn);
        close(pair[1]);
        poor_end(&loop);
        assert_int_equal(entries_of("/proc/self/fd"), fds);
    } while (move.failed);
}

int
main(void)
{
    static const rsl_backend_kind kinds[] = {RSL_BACKEND_EPOLL,
                                             RSL_BACKEND_IO_URING};
    static const char *const names[] = {"epoll", "io_uring"};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_lives_or_is_refused),
        cmocka_unit_test(one_of_many_streams_is_refused),
        cmocka_unit_test(a_listener_accepts_or_is_refused),
        cmocka_unit_test(a_datagram_socket_works_or_is_refused),
        cmocka_unit_test(a_watch_works_or_is_refused),
        cmocka_unit_test(a_look_up_ends_or_is_refused),
        cmocka_unit_test(a_source_is_served_or_refused),
        cmocka_unit_test(a_loop_that_cannot_move_can_later),
    };
    int failed = 0;

    for (unsigned i = 0; i < 2; i++) {
        rsl_info info;

        poor_backend = kinds[i];
        rsl_backend_probe(poor_backend, &info); /* tried once, with memory */
        if (strcmp(info.backend, names[i]) != 0) {
            printf("%s skipped: %s\n", names[i], info.reason);
            continue;
        }
        failed += cmocka_run_group_tests_name(names[i], tests, NULL, NULL);
    }
    return failed;
}
