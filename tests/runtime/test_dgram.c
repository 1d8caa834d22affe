/* SPDX-License-Identifier: Apache-2.0 */
/* test_dgram.c - datagram sockets on every backend that is there. */
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rsl/dgram.h>

#include "io_loop.h"

enum { DGRAM_SILENCE_NS = 2000000, DGRAM_BUF = 4096 };

/* A loop, a dgram on loopback and a peer that is connected to it. */
typedef struct dgram_case {
    io_loop loop;
    rsl_dgram *dgram;
    int fd, peer;
    int rebound; /* what bind() said of the address of the closed one */
    uint8_t buf[DGRAM_BUF];
    rsl_datagram message;
} dgram_case;

static int
dgram_udp_socket(rsl_addr *name)
{
    struct sockaddr_in any = {.sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    rsl_err err = {0};

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof any), 0);
    assert_int_equal(rsl_addr_local(fd, name, &err), RSL_OK);
    return fd;
}

static int
dgram_setup(void **state)
{
    dgram_case *self = calloc(1, sizeof *self);
    rsl_addr ours, theirs;
    rsl_err err = {0};

    assert_non_null(self);
    io_loop_init(&self->loop, RSL_TAKEOVER_NEVER);
    self->fd = dgram_udp_socket(&ours);
    self->peer = dgram_udp_socket(&theirs);
    assert_int_equal(connect(self->peer, rsl_addr_sockaddr(&ours), ours.length),
                     0);
    assert_int_equal(
        rsl_dgram_open(self->loop.rt, self->fd, self, &self->dgram), RSL_OK);
    assert_int_equal(rsl_dgram_want(self->dgram, RSL_WATCH_READ, &err), RSL_OK);
    self->message.buf = self->buf;
    self->message.cap = sizeof self->buf;
    *state = self;
    return 0;
}

static int
dgram_teardown(void **state)
{
    dgram_case *self = *state;

    if (self->dgram != NULL) {
        rsl_dgram_close(self->dgram);
    }
    close(self->fd);
    close(self->peer);
    io_loop_fini(&self->loop);
    free(self);
    return 0;
}

static void
peer_send(dgram_case *self, const char *text)
{
    assert_int_equal(send(self->peer, text, strlen(text), 0), strlen(text));
}

static rsl_status
dgram_recv(dgram_case *self)
{
    rsl_err err = {0};

    return rsl_dgram_recv(self->dgram, &self->message, &err);
}

static void
expect_message(dgram_case *self, const char *text)
{
    assert_int_equal(dgram_recv(self), RSL_OK);
    assert_int_equal(self->message.len, strlen(text));
    assert_memory_equal(self->buf, text, strlen(text));
}

static void
expect_silence(dgram_case *self)
{
    unsigned before = self->loop.dgram_events;

    for (int i = 0; i < 3; i++) {
        io_loop_turn(&self->loop, DGRAM_SILENCE_NS);
    }
    assert_int_equal(self->loop.dgram_events, before);
}

static void
dgram_reports_a_message_and_its_sender(void **state)
{
    dgram_case *self = *state;
    rsl_addr peer;
    rsl_err err = {0};

    expect_silence(self);
    peer_send(self, "hello");
    io_until(&self->loop, self->loop.dgram_events > 0);
    assert_int_equal(self->loop.dgram_mask, RSL_WATCH_READ);
    expect_message(self, "hello");
    assert_int_equal(rsl_addr_local(self->peer, &peer, &err), RSL_OK);
    assert_int_equal(self->message.from.length, peer.length);
    assert_memory_equal(&self->message.from.storage, &peer.storage,
                        peer.length);
    assert_int_equal(dgram_recv(self), RSL_AGAIN);
    expect_silence(self);
}

static void
dgram_reports_again_what_is_left(void **state)
{
    dgram_case *self = *state;

    peer_send(self, "1");
    peer_send(self, "2");
    for (unsigned i = 1; i <= 5; i++) {
        io_until(&self->loop, self->loop.dgram_events >= i);
    }
    expect_message(self, "1");
    io_until(&self->loop, self->loop.dgram_events > 5);
    expect_message(self, "2");
    io_loop_turn(&self->loop, 0); /* what was armed before that */
    io_loop_turn(&self->loop, 0);
    expect_silence(self);
}

static void
empty_message_is_a_message(void **state)
{
    dgram_case *self = *state;

    assert_int_equal(send(self->peer, "", 0, 0), 0);
    io_until(&self->loop, self->loop.dgram_events > 0);
    expect_message(self, "");
    assert_true(self->message.from.length > 0);
}

static void
dgram_that_wants_nothing_is_silent(void **state)
{
    dgram_case *self = *state;
    rsl_err err = {0};

    io_loop_turn(&self->loop, 0); /* armed */
    assert_int_equal(rsl_dgram_want(self->dgram, 0, &err), RSL_OK);
    peer_send(self, "later");
    expect_silence(self);
    assert_int_equal(rsl_dgram_want(self->dgram, RSL_WATCH_READ, &err), RSL_OK);
    io_until(&self->loop, self->loop.dgram_events > 0);
    expect_message(self, "later");
}

static void
dgram_is_writable_for_as_long_as_that_is_wanted(void **state)
{
    dgram_case *self = *state;
    unsigned seen;
    rsl_err err = {0};

    assert_int_equal(
        rsl_dgram_want(self->dgram, RSL_WATCH_READ | RSL_WATCH_WRITE, &err),
        RSL_OK);
    io_until(&self->loop, self->loop.dgram_events >= 3);
    assert_int_equal(self->loop.dgram_mask, RSL_WATCH_WRITE);
    assert_int_equal(rsl_dgram_want(self->dgram, RSL_WATCH_READ, &err), RSL_OK);
    seen = self->loop.dgram_events;
    for (int i = 0; i < 4; i++) {
        io_loop_turn(&self->loop, 0);
    }
    assert_true(self->loop.dgram_events <= seen + 1);
    expect_silence(self);
}

static void
dgram_sends_to_an_address_and_to_its_peer(void **state)
{
    dgram_case *self = *state;
    char buf[16];
    rsl_addr peer;
    rsl_err err = {0};

    assert_int_equal(rsl_addr_local(self->peer, &peer, &err), RSL_OK);
    assert_int_equal(rsl_dgram_send(self->dgram, "one", 3, &peer, &err),
                     RSL_OK);
    assert_int_equal(recv(self->peer, buf, sizeof buf, 0), 3);
    assert_int_equal(rsl_dgram_send(self->dgram, "none", 4, NULL, &err),
                     RSL_OS);
    assert_int_equal(err.code, EDESTADDRREQ);
    assert_int_equal(connect(self->fd, rsl_addr_sockaddr(&peer), peer.length),
                     0);
    assert_int_equal(rsl_dgram_send(self->dgram, "two", 3, NULL, &err), RSL_OK);
    assert_int_equal(recv(self->peer, buf, sizeof buf, 0), 3);
    assert_memory_equal(buf, "two", 3);
}

static void
refusal_is_readable(void **state)
{
    dgram_case *self = *state;
    rsl_addr peer;
    rsl_err err = {0};

    assert_int_equal(rsl_addr_local(self->peer, &peer, &err), RSL_OK);
    assert_int_equal(connect(self->fd, rsl_addr_sockaddr(&peer), peer.length),
                     0);
    close(self->peer);
    assert_int_equal(rsl_dgram_send(self->dgram, "x", 1, NULL, &err), RSL_OK);
    io_until(&self->loop, self->loop.dgram_events > 0);
    assert_int_equal(rsl_dgram_recv(self->dgram, &self->message, &err), RSL_OS);
    assert_int_equal(err.code, ECONNREFUSED);
    self->peer = dup(self->fd); /* for teardown to close */
}

/* The kernel keeps no reference: the address is free when the fd is closed. */
static void
closed_dgram_frees_its_address(void **state)
{
    dgram_case *self = *state;
    rsl_addr name;
    rsl_err err = {0};

    assert_int_equal(rsl_addr_local(self->fd, &name, &err), RSL_OK);
    for (unsigned i = 0; i < 50; i++) {
        io_loop_turn(&self->loop, 0); /* armed */
        peer_send(self, "x");
        rsl_dgram_close(self->dgram);
        close(self->fd);
        self->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        assert_int_equal(bind(self->fd, rsl_addr_sockaddr(&name), name.length),
                         0);
        assert_int_equal(
            rsl_dgram_open(self->loop.rt, self->fd, self, &self->dgram),
            RSL_OK);
        assert_int_equal(rsl_dgram_want(self->dgram, RSL_WATCH_READ, &err),
                         RSL_OK);
    }
    /* Nothing that was found of the closed ones reaches the new one. */
    expect_silence(self);
}

static void
closed_dgram_is_found_no_more(void **state)
{
    dgram_case *self = *state;
    uint64_t id = rsl_dgram_id(self->dgram);

    assert_ptr_equal(rsl_dgram_find(self->loop.rt, id), self->dgram);
    assert_ptr_equal(rsl_dgram_owner(self->dgram), self);
    peer_send(self, "x");
    io_loop_poll(&self->loop, DGRAM_SILENCE_NS);
    rsl_dgram_close(self->dgram);
    self->dgram = NULL;
    assert_null(rsl_dgram_find(self->loop.rt, id));
}

static void
dgram_that_is_open_ends_with_its_runtime(void **state)
{
    dgram_case *self = *state;

    io_loop_turn(&self->loop, 0);
    self->dgram = NULL;
}

/* While the runtime thread takes the token at every tick. */
static void
takeover_leaves_datagrams_alone(void **state)
{
    dgram_case *self = *state;
    rsl_err err = {0};

    rsl_dgram_close(self->dgram);
    io_loop_fini(&self->loop);
    io_loop_init(&self->loop, RSL_TAKEOVER_ALWAYS);
    assert_int_equal(
        rsl_dgram_open(self->loop.rt, self->fd, self, &self->dgram), RSL_OK);
    assert_int_equal(rsl_dgram_want(self->dgram, RSL_WATCH_READ, &err), RSL_OK);
    for (unsigned i = 0; i < 200; i++) {
        unsigned seen = self->loop.dgram_events;

        peer_send(self, "x");
        io_until(&self->loop, self->loop.dgram_events > seen);
        expect_message(self, "x");
    }
}

/* With a poll that has ended and of which nobody has heard. */
static void *
dgram_close_elsewhere(void *arg)
{
    dgram_case *self = arg;
    rsl_addr name;
    rsl_err err = {0};

    assert_int_equal(rsl_runtime_enter(self->loop.rt, &err), RSL_OK);
    for (int i = 0; i < 3; i++) {
        io_loop_turn(&self->loop, 0);
    }
    assert_int_equal(rsl_addr_local(self->fd, &name, &err), RSL_OK);
    rsl_dgram_close(self->dgram);
    self->dgram = NULL;
    close(self->fd);
    self->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    self->rebound = bind(self->fd, rsl_addr_sockaddr(&name), name.length);
    rsl_runtime_leave(self->loop.rt);
    return NULL;
}

/* It is polled once there too: one cancel frees its address. */
static void
dgram_moves_to_another_thread_with_its_loop(void **state)
{
    dgram_case *self = *state;
    pthread_t thread;
    rsl_err err = {0};

    io_loop_turn(&self->loop, 0); /* armed */
    peer_send(self, "x");
    assert_int_equal(rsl_runtime_acquire(self->loop.rt, &self->loop.sink),
                     RSL_OK);
    assert_int_equal(rsl_runtime_wait(self->loop.rt, DGRAM_SILENCE_NS, &err),
                     RSL_OK);
    rsl_runtime_release(self->loop.rt, 0);
    expect_message(self, "x");
    rsl_runtime_leave(self->loop.rt);
    assert_int_equal(pthread_create(&thread, NULL, dgram_close_elsewhere, self),
                     0);
    pthread_join(thread, NULL);
    assert_int_equal(self->rebound, 0);
    assert_int_equal(rsl_runtime_enter(self->loop.rt, &err), RSL_OK);
}

#define dgram_test(name) \
    cmocka_unit_test_setup_teardown(name, dgram_setup, dgram_teardown)

static const struct CMUnitTest dgram_tests[] = {
    dgram_test(dgram_reports_a_message_and_its_sender),
    dgram_test(dgram_reports_again_what_is_left),
    dgram_test(empty_message_is_a_message),
    dgram_test(dgram_that_wants_nothing_is_silent),
    dgram_test(dgram_is_writable_for_as_long_as_that_is_wanted),
    dgram_test(dgram_sends_to_an_address_and_to_its_peer),
    dgram_test(refusal_is_readable),
    dgram_test(closed_dgram_frees_its_address),
    dgram_test(closed_dgram_is_found_no_more),
    dgram_test(dgram_that_is_open_ends_with_its_runtime),
    dgram_test(takeover_leaves_datagrams_alone),
    dgram_test(dgram_moves_to_another_thread_with_its_loop),
};

int
main(void)
{
    static const rsl_backend_kind kinds[] = {RSL_BACKEND_EPOLL,
                                             RSL_BACKEND_IO_URING};
    static const char *const names[] = {"epoll", "io_uring"};
    int failed = 0;

    for (unsigned i = 0; i < 2; i++) {
        rsl_info info;

        io_backend = kinds[i];
        rsl_backend_probe(io_backend, &info);
        if (strcmp(info.backend, names[i]) != 0) {
            printf("%s skipped: %s\n", names[i], info.reason);
            continue;
        }
        failed +=
            cmocka_run_group_tests_name(names[i], dgram_tests, NULL, NULL);
    }
    return failed;
}
