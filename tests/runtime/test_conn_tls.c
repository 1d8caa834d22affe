/* SPDX-License-Identifier: Apache-2.0 */
/* A stream with a TLS engine: who decrypts, in which order, and its ends. */
#include "io_loop.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "core/post.h"
#include "core/runtime_impl.h"
#include "net/conn_impl.h"
#include "net/conn_tls.h"
#include "tls_pair.h"

enum {
    BULK = 256 << 10,
    PIECE = 20000, /* more than a record, less than two */
    ENOUGH_CHUNKS = 20,
};

typedef struct fixture {
    io_loop loop;
    io_stream stream; /* the server */
    tls_end peer;     /* the client, driven by hand */
    tls_context *server;
    rsl_tls *engine;
    uint8_t *bulk; /* BULK bytes that are sent again and again */
    size_t sent;
} fixture;

/* --- The peer --- */

static void
peer_flush(fixture *f)
{
    size_t len;
    uint8_t *data = tls_end_take(&f->peer, &len);

    io_peer_send(&f->loop, &f->stream, data, len);
    free(data);
}

static void
peer_step(fixture *f)
{
    uint8_t buf[64 << 10];
    ssize_t got = io_peer_recv(&f->stream, buf, sizeof buf);

    if (got > 0) {
        tls_end_feed(&f->peer, buf, (size_t)got);
    }
    tls_end_step(&f->peer);
    peer_flush(f);
}

/* A piece of the pattern, which goes on where it has stopped. */
static void
peer_send_piece(fixture *f)
{
    size_t at = f->sent % (BULK - PIECE);
    struct iovec iov = {.iov_base = f->bulk + at, .iov_len = PIECE};
    size_t taken = 0;

    assert_int_equal(rsl_tls_write(f->peer.tls, &iov, 1, &taken), RSL_TLS_DONE);
    assert_int_equal(taken, PIECE);
    f->sent += PIECE;
    peer_flush(f);
}

static void
assert_all_arrived(const fixture *f)
{
    assert_int_equal(f->stream.len, f->sent);
    for (size_t at = 0; at < f->sent; at += PIECE) {
        assert_memory_equal(f->stream.bytes + at, f->bulk + at % (BULK - PIECE),
                            PIECE);
    }
}

/* --- Set-up --- */

static void
shake_hands(fixture *f)
{
    rsl_status status = RSL_AGAIN;
    rsl_err err = {0};

    while (status == RSL_AGAIN
           || rsl_tls_state_now(f->peer.tls) == RSL_TLS_STATE_HANDSHAKE) {
        size_t input = 0;

        peer_step(f);
        io_loop_turn(&f->loop, 1000000);
        (void)rsl_conn_handshake_feed(f->stream.conn, &input, &err);
        if (status == RSL_AGAIN) {
            status = rsl_conn_handshake(f->stream.conn);
        }
    }
    assert_int_equal(status, RSL_OK);
}

static void
open_fixture(fixture *f, rsl_takeover takeover)
{
    const tls_settings client = {.library = TLS_MBEDTLS};
    const tls_settings server = {.library = TLS_MBEDTLS, .server = true};
    uint32_t seed = 1;

    memset(f, 0, sizeof *f);
    f->bulk = malloc(BULK);
    for (size_t i = 0; i < BULK; i++) {
        f->bulk[i] = (uint8_t)tls_random(&seed);
    }
    io_loop_init(&f->loop, takeover);
    io_stream_open(&f->loop, &f->stream, true);
    f->server = tls_context_new(&server);
    f->engine = tls_context_open(f->server, NULL);
    f->peer.context = tls_context_new(&client);
    f->peer.tls = tls_context_open(f->peer.context, "localhost");
    assert_int_equal(rsl_conn_set_tls(f->stream.conn, f->engine), RSL_OK);
    f->stream.has_tls = true;
    shake_hands(f);
}

static void
close_fixture(fixture *f)
{
    rsl_conn_close(f->stream.conn);
    io_loop_fini(&f->loop);
    rsl_tls_free(f->engine);
    rsl_tls_free(f->peer.tls);
    tls_context_free(f->server);
    tls_context_free(f->peer.context);
    io_stream_fini(&f->stream);
    free(f->peer.got);
    free(f->bulk);
}

static void
callback_for_200_us(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

/* --- Cases --- */

static void
loop_thread_decrypts(bool expects)
{
    fixture f;

    open_fixture(&f, RSL_TAKEOVER_NEVER);
    rsl_conn_share_tls(f.stream.conn, true);
    f.stream.expects = expects;
    for (int i = 0; i < 50; i++) {
        peer_send_piece(&f);
        io_until(&f.loop, f.stream.len == f.sent);
    }
    assert_all_arrived(&f);
    assert_int_equal(f.stream.plain_chunks, 0);
    close_fixture(&f);
}

static void
the_loop_thread_decrypts(void **state)
{
    (void)state;
    loop_thread_decrypts(false);
}

static void
the_loop_thread_decrypts_what_it_expects(void **state)
{
    (void)state;
    loop_thread_decrypts(true);
}

static void
expect_a_piece(fixture *f)
{
    rsl_status status = RSL_AGAIN;
    rsl_err err = {0};
    size_t room = 0;

    if (io_backend != RSL_BACKEND_EPOLL) {
        skip(); /* the ring receives by itself */
    }
    open_fixture(f, RSL_TAKEOVER_NEVER);
    rsl_conn_share_tls(f->stream.conn, true);
    peer_send_piece(f);
    while (status == RSL_AGAIN) {
        status = rsl_conn_expect(f->stream.conn, BULK, &room, &err);
    }
    assert_int_equal(status, RSL_OK);
    assert_true(room > 0);
}

/* What it has read comes later. */
static void
the_runtime_thread_leaves_what_is_expected(void **state)
{
    fixture f;

    (void)state;
    expect_a_piece(&f);
    assert_false(
        rsl_conn_tls_steal(f.stream.conn, f.stream.conn->tls, "x", 1, NULL));
    peer_send_piece(&f);
    io_until(&f.loop, f.stream.len == f.sent);
    assert_all_arrived(&f);
    close_fixture(&f);
}

/* What was received for a recv that does not follow is in memory that others
 * use as well. */
static void
what_was_expected_is_kept_when_reading_stops(void **state)
{
    fixture f;

    (void)state;
    expect_a_piece(&f);
    rsl_conn_read_stop(f.stream.conn);
    memset(f.loop.rt->tls_scratch, 0, BULK);
    assert_int_equal(rsl_conn_read_start(f.stream.conn), RSL_OK);
    peer_send_piece(&f);
    io_until(&f.loop, f.stream.len == f.sent);
    assert_all_arrived(&f);
    close_fixture(&f);
}

/* Answers are encrypted meanwhile, by the same engine. */
static void
the_runtime_thread_decrypts_for_a_busy_one(void **state)
{
    static const char answer[] = "an answer";
    fixture f;
    size_t answers = 0;

    (void)state;
    open_fixture(&f, RSL_TAKEOVER_ALWAYS);
    rsl_conn_share_tls(f.stream.conn, true);
    while (f.stream.plain_chunks < ENOUGH_CHUNKS) {
        peer_send_piece(&f);
        io_queue(&f.stream, answer, sizeof answer - 1, 0);
        answers++;
        callback_for_200_us();
        io_loop_turn(&f.loop, 0);
        peer_step(&f);
    }
    io_until(&f.loop, f.stream.len == f.sent);
    assert_all_arrived(&f);
    while (f.peer.got_len < answers * (sizeof answer - 1)) {
        io_loop_turn(&f.loop, 1000000);
        peer_step(&f);
    }
    for (size_t i = 0; i < answers; i++) {
        assert_memory_equal(f.peer.got + i * (sizeof answer - 1), answer,
                            sizeof answer - 1);
    }
    assert_int_equal(io_loans[0], answers);
    close_fixture(&f);
}

static void
an_engine_that_is_not_shared_is_the_loops_alone(void **state)
{
    fixture f;

    (void)state;
    open_fixture(&f, RSL_TAKEOVER_ALWAYS);
    for (int i = 0; i < 200; i++) {
        rsl_conn_share_tls(f.stream.conn, false);
        peer_send_piece(&f);
        callback_for_200_us();
        io_loop_turn(&f.loop, 0);
    }
    io_until(&f.loop, f.stream.len == f.sent);
    assert_all_arrived(&f);
    assert_int_equal(f.stream.plain_chunks, 0);
    close_fixture(&f);
}

/* The runtime thread may have told the engine of the end before what came
 * ahead of it has arrived. */
static void
an_end_comes_behind_all_bytes(void **state)
{
    (void)state;
    for (int i = 0; i < 30; i++) {
        fixture f;

        open_fixture(&f, RSL_TAKEOVER_ALWAYS);
        rsl_conn_share_tls(f.stream.conn, true);
        for (int piece = 0; piece < 4; piece++) {
            peer_send_piece(&f);
        }
        (void)rsl_tls_close_notify(f.peer.tls);
        peer_flush(&f);
        callback_for_200_us();
        io_until(&f.loop, f.stream.eofs + f.stream.errors > 0);
        assert_int_equal(f.stream.errors, 0);
        assert_all_arrived(&f);
        close_fixture(&f);
    }
}

/* A sink of the runtime thread's, before whose first event the loop thread
 * reads: the engine is at its end, and nothing has arrived. */
typedef struct late_sink {
    rsl_sink base;
    rsl_conn *conn;
    pthread_t loop_thread;
    bool reads;
    rsl_status status;
} late_sink;

static void *
read_once(void *arg)
{
    late_sink *late = arg;
    uint8_t buf[PIECE];
    size_t got = 0;
    rsl_err err;

    late->status = rsl_conn_recv(late->conn, buf, sizeof buf, &got, &err);
    return NULL;
}

static void
late_emit(rsl_sink *sink, rsl_event event)
{
    late_sink *late = (late_sink *)(void *)sink;

    if (!late->reads) {
        late->reads = true;
        assert_int_equal(
            pthread_create(&late->loop_thread, NULL, read_once, late), 0);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    assert_int_equal(rsl_event_post(late->conn->rt, event), RSL_OK);
}

static void
an_end_that_is_decrypted_is_not_seen_early(void **state)
{
    fixture f;
    late_sink late = {.base.emit = late_emit};
    struct iovec iov;
    uint8_t *data;
    size_t len, taken;

    (void)state;
    open_fixture(&f, RSL_TAKEOVER_NEVER);
    late.conn = f.stream.conn;
    rsl_conn_share_tls(late.conn, true);
    iov = (struct iovec){.iov_base = f.bulk, .iov_len = PIECE};
    assert_int_equal(rsl_tls_write(f.peer.tls, &iov, 1, &taken), RSL_TLS_DONE);
    (void)rsl_tls_close_notify(f.peer.tls);
    data = tls_end_take(&f.peer, &len);
    assert_true(
        rsl_conn_tls_steal(late.conn, late.conn->tls, data, len, &late.base));
    pthread_join(late.loop_thread, NULL);
    assert_int_equal(late.status, RSL_BUSY);
    f.sent = PIECE;
    io_until(&f.loop, f.stream.eofs > 0);
    assert_all_arrived(&f);
    free(data);
    close_fixture(&f);
}

static void
a_close_in_the_middle_leaves_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < 30; i++) {
        fixture f;

        open_fixture(&f, RSL_TAKEOVER_ALWAYS);
        rsl_conn_share_tls(f.stream.conn, true);
        peer_send_piece(&f);
        peer_send_piece(&f);
        if (i % 2 == 0) {
            callback_for_200_us();
        }
        close_fixture(&f);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_loop_thread_decrypts),
        cmocka_unit_test(the_loop_thread_decrypts_what_it_expects),
        cmocka_unit_test(the_runtime_thread_leaves_what_is_expected),
        cmocka_unit_test(what_was_expected_is_kept_when_reading_stops),
        cmocka_unit_test(the_runtime_thread_decrypts_for_a_busy_one),
        cmocka_unit_test(an_engine_that_is_not_shared_is_the_loops_alone),
        cmocka_unit_test(an_end_comes_behind_all_bytes),
        cmocka_unit_test(an_end_that_is_decrypted_is_not_seen_early),
        cmocka_unit_test(a_close_in_the_middle_leaves_nothing),
    };
    rsl_info info;
    int failed;

    io_backend = RSL_BACKEND_EPOLL;
    failed = cmocka_run_group_tests_name("epoll", tests, NULL, NULL);
    rsl_backend_probe(RSL_BACKEND_AUTO, &info);
    if (strcmp(info.backend, "io_uring") == 0) {
        io_backend = RSL_BACKEND_IO_URING;
        failed += cmocka_run_group_tests_name("io_uring", tests, NULL, NULL);
    }
    return failed;
}
