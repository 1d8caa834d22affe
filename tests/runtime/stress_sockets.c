/* SPDX-License-Identifier: Apache-2.0 */
/* stress_sockets.c - real sockets on each backend, both directions at once,
 * while the runtime thread steals at every tick or whenever it sees fit.
 *
 * Both sides check that they get counting bytes and one end. Reading pauses,
 * conns that the peer resets come and go, the loop stops and runs again. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fake_loop.h"

enum { STREAMS = 8, HANG_SECONDS = 100, PIECE_MAX = 6000 };

typedef struct stream {
    fake_reader reader;
    rsl_conn *conn;
    int peer;
    unsigned random;
    size_t written; /* by the loop thread */
    bool shut;
    pthread_t sender, receiver;
} stream;

static rsl_runtime *rt;
static stream streams[STREAMS];
static size_t stream_bytes = 100000;
static uint8_t counting[256 + PIECE_MAX];
static size_t loans;

static void
count_loan(void *loan)
{
    (void)loan;
    loans++;
}

static void *
sender_main(void *arg)
{
    stream *s = arg;
    size_t sent = 0;

    while (sent < stream_bytes) {
        size_t len = 1 + (size_t)rand_r(&s->random) % PIECE_MAX;
        ssize_t n;

        len = len < stream_bytes - sent ? len : stream_bytes - sent;
        n = send(s->peer, counting + sent % 256, len, MSG_NOSIGNAL);
        if (n < 0) {
            perror("send");
            abort();
        }
        sent += (size_t)n;
        if (rand_r(&s->random) % 4 == 0) {
            usleep(100);
        }
    }
    shutdown(s->peer, SHUT_WR);
    return NULL;
}

static void *
receiver_main(void *arg)
{
    stream *s = arg;
    uint8_t bytes[4096];
    size_t received = 0;
    ssize_t n;

    while ((n = recv(s->peer, bytes, sizeof bytes, 0)) > 0) {
        if (memcmp(bytes, counting + received % 256, (size_t)n) != 0) {
            fprintf(stderr, "the peer got wrong bytes at %zu\n", received);
            abort();
        }
        received += (size_t)n;
    }
    if (n < 0 || received != stream_bytes) {
        fprintf(stderr, "the peer got %zu bytes\n", received);
        abort();
    }
    return NULL;
}

/* Keeps some output queued until everything is written, then half-closes. */
static void
stream_write(stream *s)
{
    rsl_err err;

    if (s->written < stream_bytes && rsl_conn_backlog(s->conn) < 100000) {
        size_t len = 1 + (size_t)rand() % PIECE_MAX;

        len = len < stream_bytes - s->written ? len : stream_bytes - s->written;
        if (rsl_conn_write(s->conn, counting + s->written % 256, len, s)
            != RSL_OK) {
            abort();
        }
        s->written += len;
    }
    if (s->written == stream_bytes && !s->shut
        && rsl_conn_backlog(s->conn) == 0) {
        s->shut = true;
        if (rsl_conn_shutdown_write(s->conn, &err) != RSL_OK) {
            abort();
        }
    }
}

static bool
all_done(void)
{
    for (int i = 0; i < STREAMS; i++) {
        if (streams[i].reader.eofs == 0 || !streams[i].shut) {
            return false;
        }
    }
    return true;
}

/* A conn whose peer resets or closes it at some phase. */
static void
passing_conn(fake_loop *loop)
{
    static fake_reader reader;
    rsl_conn *conn;
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair)
            != 0
        || rsl_conn_open(rt, pair[0], false, &reader, &conn) != RSL_OK
        || rsl_conn_read_start(conn) != RSL_OK) {
        abort();
    }
    if (rand() % 2 == 0) {
        (void)!write(pair[1], "gone", 4);
    }
    if (rand() % 2 == 0) {
        fake_loop_turn(loop, 0);
    }
    if (rand() % 2 == 0) {
        /* Unread output makes this a reset. */
        if (rsl_conn_write(conn, "gone", 4, &reader) != RSL_OK) {
            abort();
        }
        rsl_runtime_flush(rt, &loop->sink);
        close(pair[1]);
        pair[1] = -1;
        fake_loop_turn(loop, 0);
    }
    rsl_conn_close(conn);
    if (pair[1] >= 0) {
        close(pair[1]);
    }
    fake_reader_fini(&reader);
}

static void
meddle(fake_loop *loop, unsigned turn)
{
    stream *s = &streams[rand() % STREAMS];
    rsl_err err;

    if (s->reader.paused) {
        fake_resume(rt, s->conn);
    } else if (turn % 9 == 0) {
        fake_pause(s->conn);
    }
    if (turn % 16 == 0) {
        passing_conn(loop);
    }
    if (turn % 300 == 0) {
        rsl_runtime_leave(rt);
        if (rsl_runtime_enter(rt, &err) != RSL_OK) {
            abort();
        }
    }
}

static void
open_streams(void)
{
    memset(streams, 0, sizeof streams);
    for (int i = 0; i < STREAMS; i++) {
        stream *s = &streams[i];
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
            abort();
        }
        s->random = (unsigned)i + 1;
        s->peer = pair[1];
        if (rsl_conn_open(rt, pair[0], false, &s->reader, &s->conn) != RSL_OK
            || rsl_conn_read_start(s->conn) != RSL_OK
            || pthread_create(&s->sender, NULL, sender_main, s) != 0
            || pthread_create(&s->receiver, NULL, receiver_main, s) != 0) {
            abort();
        }
    }
}

static void
check_and_close(void)
{
    for (int i = 0; i < STREAMS; i++) {
        stream *s = &streams[i];

        pthread_join(s->sender, NULL);
        pthread_join(s->receiver, NULL);
        rsl_conn_close(s->conn);
        if (s->reader.len != stream_bytes || s->reader.eofs != 1
            || s->reader.errors != 0) {
            fprintf(stderr, "stream %d: %zu bytes, %u ends, %u errors\n", i,
                    s->reader.len, s->reader.eofs, s->reader.errors);
            abort();
        }
        for (size_t at = 0; at < stream_bytes; at++) {
            if (s->reader.bytes[at] != (uint8_t)at) {
                fprintf(stderr, "stream %d: wrong byte at %zu\n", i, at);
                abort();
            }
        }
        fake_reader_fini(&s->reader);
        close(s->peer);
    }
}

static void
stress(rsl_backend_kind backend, rsl_takeover takeover)
{
    static fake_loop loop;
    rsl_config config = {.backend = backend,
                         .takeover = takeover,
                         .hooks.loan_return = count_loan};
    rsl_info info;
    rsl_err err = {0};
    unsigned turn = 0;

    if (rsl_runtime_new(&config, &rt, &err) != RSL_OK
        || rsl_runtime_enter(rt, &err) != RSL_OK) {
        fprintf(stderr, "%s: %s\n", err.call, strerror(err.code));
        abort();
    }
    srand(7);
    fake_loop_init(&loop, rt);
    open_streams();
    while (!all_done()) {
        for (int i = 0; i < STREAMS; i++) {
            stream_write(&streams[i]);
        }
        rsl_runtime_flush(rt, &loop.sink);
        /* A paused stream is resumed by one of the next turns. */
        fake_loop_turn(&loop, 1000000);
        meddle(&loop, ++turn);
    }
    check_and_close();
    rsl_runtime_info(rt, &info);
    printf("%s: %u turns, %llu takeovers, %llu of %zu bytes stolen\n",
           info.backend, turn, (unsigned long long)info.takeovers,
           (unsigned long long)info.stolen_bytes, STREAMS * stream_bytes);
    fake_loop_fini(&loop);
    rsl_runtime_leave(rt);
    rsl_runtime_free(rt);
}

int
main(int argc, char **argv)
{
    const rsl_takeover takeovers[] = {RSL_TAKEOVER_ALWAYS, RSL_TAKEOVER_AUTO,
                                      RSL_TAKEOVER_NEVER};
    rsl_info info;

    if (argc > 1) {
        stream_bytes *= strtoul(argv[1], NULL, 10);
    }
    for (size_t i = 0; i < sizeof counting; i++) {
        counting[i] = (uint8_t)i;
    }
    alarm(HANG_SECONDS);
    rsl_backend_probe(RSL_BACKEND_AUTO, &info);
    for (size_t i = 0; i < sizeof takeovers / sizeof takeovers[0]; i++) {
        stress(RSL_BACKEND_EPOLL, takeovers[i]);
        if (strcmp(info.backend, "io_uring") == 0) {
            stress(RSL_BACKEND_IO_URING, takeovers[i]);
        }
    }
    return 0;
}
