/* SPDX-License-Identifier: Apache-2.0 */
/* io_loop.h - a loop over a real backend, for the tests of io/ and net/.
 *
 * Role:    turns, and owners that record what they are told. A conn's owner is
 *          its io_stream; listeners and watches report to the io_loop.
 * Thread:  the loop thread.
 * Memory:  io_loop_init() .. io_loop_fini(); streams are the test's. */
#ifndef IO_LOOP_H
#define IO_LOOP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include <cmocka.h>

#include <rsl/listener.h>
#include <rsl/runtime.h>
#include <rsl/watch.h>

enum { IO_FDS_MAX = 1024, IO_LOANS_MAX = 4096 };

typedef struct io_stream {
    rsl_conn *conn;
    int peer; /* the test's end, non-blocking */
    uint8_t *bytes;
    size_t len;
    bool paused;
    bool has_tls;          /* the conn has an engine */
    bool expects;          /* rsl_conn_expect() before each recv */
    unsigned plain_chunks; /* that the runtime thread had decrypted */
    unsigned events, readables, eofs, errors, writables, sents;
    int error, sent_code;
} io_stream;

typedef struct io_loop {
    rsl_runtime *rt;
    rsl_sink sink;
    rsl_event *ready;
    size_t head, count, cap;
    int accepted[IO_FDS_MAX];
    unsigned accepts, accept_errors;
    int accept_error;
    unsigned watch_events[IO_FDS_MAX]; /* by fd */
    unsigned watch_mask[IO_FDS_MAX];   /* the last one */
    unsigned messages;                 /* RSL_EV_CALL */
    unsigned dgram_events, dgram_mask; /* the last one's mask */
    unsigned collected;                /* events of the last turn's collect */
} io_loop;

/* What the program tests: set by its main(). */
extern rsl_backend_kind io_backend;

/* How often each loan came back; loan i is io_loan(i). */
extern unsigned io_loans[IO_LOANS_MAX];
void *io_loan(unsigned number);

/* Conns of borrowed fds that were closed. */
extern unsigned io_closed;

/* Fails the test when the backend is not the one wanted. */
void io_loop_init(io_loop *loop, rsl_takeover takeover);
void io_loop_fini(io_loop *loop);

void io_loop_turn(io_loop *loop, int64_t timeout_ns);
/* Its parts. */
void io_loop_poll(io_loop *loop, int64_t timeout_ns);
void io_loop_run(io_loop *loop);

/* Turns until `condition`; fails the test after five seconds. */
#define io_until(loop, condition)                                       \
    do {                                                                \
        int64_t io_deadline = rsl_clock_now_ns() + INT64_C(5000000000); \
        while (!(condition)) {                                          \
            assert_true(rsl_clock_now_ns() < io_deadline);              \
            io_loop_turn(loop, 10000000);                               \
        }                                                               \
    } while (0)

/* A TCP connection over loopback, or a unix socket pair, that reads. */
void io_tcp_pair(int pair[2]);
void io_stream_open(io_loop *loop, io_stream *stream, bool tcp);
void io_stream_fini(io_stream *stream);
void io_stream_pause(io_stream *stream);
void io_stream_resume(io_loop *loop, io_stream *stream);
/* Send all of it from the peer, turning the loop while there is no room. */
void
io_peer_send(io_loop *loop, io_stream *stream, const void *data, size_t len);
/* Read what is there; -1 for nothing, 0 for the end. */
ssize_t io_peer_recv(io_stream *stream, void *buf, size_t cap);
/* Close the peer's end so that the conn sees a reset. */
void io_peer_reset(io_stream *stream);
void io_queue(io_stream *stream, const void *data, size_t len, unsigned loan);

/* A listening socket on a free port of loopback, and a client of it. */
int io_listening_fd(void);
int io_connect(int listening_fd);

#endif
