/* SPDX-License-Identifier: Apache-2.0 */
/* test_handshake.c - both engines' handshakes on the pool's threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/pool.h"
#include "handshake_fixture.h"

static bool
lacks(tls_library library)
{
    return tls_library_fault(library) != NULL;
}

static void
shake_many(tls_library client, tls_library server)
{
    shake shakes[PAIRS];
    test_loop loop;
    bool going = true;

    loop_open(&loop);
    for (int i = 0; i < PAIRS; i++) {
        shake_open(&shakes[i], &loop, client, server);
        if (i > 0) {
            shake_share(&shakes[i], &shakes[0]);
        }
        side_post(&shakes[i].client);
    }
    while (going) {
        assert_int_equal(loop_turn(&loop), 0);
        going = false;
        for (int i = 0; i < PAIRS; i++) {
            going |= shake_go_on(&shakes[i]);
        }
    }
    assert_true(rsl_pool_threads(&rsl_pool_of_handshakes) <= 4);
    for (int i = PAIRS - 1; i >= 0; i--) {
        tls_pair_shake(&shakes[i].pair); /* the rest of it, and open */
        tls_end_say(&shakes[i].pair.client, "hello");
        tls_pair_run(&shakes[i].pair);
        assert_int_equal(shakes[i].pair.server.got_len, 5);
        assert_int_equal(shakes[i].client.steps, shakes[i].client.done);
        assert_int_equal(shakes[i].server.steps, shakes[i].server.done);
        assert_true(shakes[i].server.steps > 0);
        tls_pair_close(&shakes[i].pair);
    }
    loop_close(&loop);
}

static void
both_sides_of_openssl_shake_hands_on_the_pool(void **state)
{
    (void)state;
    if (lacks(TLS_OPENSSL)) {
        skip();
    }
    shake_many(TLS_OPENSSL, TLS_OPENSSL);
}

static void
both_sides_of_mbedtls_shake_hands_on_the_pool(void **state)
{
    (void)state;
    if (lacks(TLS_MBEDTLS)) {
        skip();
    }
    shake_many(TLS_MBEDTLS, TLS_MBEDTLS);
}

static void
engines_of_both_libraries_meet_on_the_pool(void **state)
{
    (void)state;
    if (lacks(TLS_OPENSSL) || lacks(TLS_MBEDTLS)) {
        skip();
    }
    shake_many(TLS_MBEDTLS, TLS_OPENSSL);
    shake_many(TLS_OPENSSL, TLS_MBEDTLS);
}

static tls_library
some_library(void)
{
    return lacks(TLS_OPENSSL) ? TLS_MBEDTLS : TLS_OPENSSL;
}

static void
what_is_no_tls_comes_back_as_an_error(void **state)
{
    static const char noise[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    shake s;
    test_loop loop;

    (void)state;
    loop_open(&loop);
    shake_open(&s, &loop, some_library(), some_library());
    rsl_tls_feed(s.pair.server.tls, noise, sizeof noise - 1);
    assert_int_equal(rsl_tls_keep(s.pair.server.tls), RSL_OK);
    side_post(&s.server);
    (void)loop_turn(&loop);
    assert_int_equal(s.server.status, RSL_TLS_ERROR);
    assert_int_equal(rsl_tls_last_error(s.pair.server.tls)->kind,
                     RSL_TLS_ERR_SSL);
    tls_pair_close(&s.pair);
    loop_close(&loop);
}

static int
done_leaves_the_loop(void *object, rsl_tls_status status)
{
    return side_done(object, status) - 1;
}

static void
deliver_returns_what_the_owner_returned(void **state)
{
    rsl_handshake_owner owner = {.done = done_leaves_the_loop,
                                 .abandon = side_abandon};
    shake s;
    test_loop loop;
    rsl_err err;

    (void)state;
    loop_open(&loop);
    shake_open(&s, &loop, some_library(), some_library());
    owner.object = &s.client;
    s.client.posted = true;
    assert_int_equal(
        rsl_handshake_post(loop.rt, s.pair.client.tls, owner, &err), RSL_OK);
    assert_int_equal(loop_turn(&loop), -1);
    assert_int_equal(s.client.status, RSL_TLS_WANT_READ);
    assert_true(rsl_tls_output_bytes(s.pair.client.tls) > 0);
    tls_pair_close(&s.pair);
    loop_close(&loop);
}

/* At every stage of a step, queued, running, in the mailbox, delivered: each
 * owner has its engine back when close returns, and frees it. */
static void
a_runtime_that_closes_gives_every_engine_back(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 24; round++) {
        shake shakes[PAIRS];
        test_loop loop;

        loop_open(&loop);
        for (int i = 0; i < PAIRS; i++) {
            shake_open(&shakes[i], &loop, some_library(), some_library());
            side_post(&shakes[i].client);
        }
        for (unsigned turns = 0; turns < round % 4; turns++) {
            bool any = false;

            for (int i = 0; i < PAIRS; i++) {
                any |= shake_go_on(&shakes[i]);
            }
            if (any) {
                (void)loop_turn(&loop);
            }
        }
        rsl_runtime_leave(loop.rt);
        rsl_runtime_close(loop.rt);
        for (int i = 0; i < PAIRS; i++) {
            side *sides[2] = {&shakes[i].client, &shakes[i].server};

            for (int j = 0; j < 2; j++) {
                assert_false(sides[j]->posted);
                assert_int_equal(sides[j]->steps,
                                 sides[j]->done + sides[j]->abandoned);
            }
            tls_pair_close(&shakes[i].pair);
        }
        rsl_runtime_free(loop.rt);
    }
}

static void
a_closed_runtime_takes_no_step(void **state)
{
    rsl_handshake_owner owner = {NULL, side_done, side_abandon};
    shake s;
    test_loop loop;
    rsl_err err;

    (void)state;
    loop_open(&loop);
    shake_open(&s, &loop, some_library(), some_library());
    rsl_runtime_leave(loop.rt);
    rsl_runtime_close(loop.rt);
    owner.object = &s.client;
    assert_int_equal(
        rsl_handshake_post(loop.rt, s.pair.client.tls, owner, &err),
        RSL_CLOSED);
    tls_pair_close(&s.pair);
    rsl_runtime_free(loop.rt);
    assert_int_equal(s.client.abandoned + s.client.done, 0);
}

static void *
shake_on_a_thread(void *unused)
{
    (void)unused;
    for (int i = 0; i < 3; i++) {
        shake_many(some_library(), some_library());
    }
    return NULL;
}

static void
loops_of_several_threads_share_the_pool(void **state)
{
    pthread_t threads[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(
            pthread_create(&threads[i], NULL, shake_on_a_thread, NULL), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_true(rsl_pool_threads(&rsl_pool_of_handshakes) <= 4);
}

static void
threads_without_work_end(void **state)
{
    struct timespec pause = {0, 1000000};

    (void)state;
    rsl_pool_set_idle_ns(&rsl_pool_of_handshakes, 1000000);
    shake_many(some_library(), some_library());
    while (rsl_pool_threads(&rsl_pool_of_handshakes) > 0) {
        nanosleep(&pause, NULL);
    }
    rsl_pool_set_idle_ns(&rsl_pool_of_handshakes, INT64_C(10000000000));
    shake_many(some_library(), some_library());
}

/* The exit code names the first thing that went wrong in the child. */
static int
shake_in_child(test_loop *inherited, shake *s)
{
    rsl_handshake_owner owner = {&s->server, side_done, side_abandon};
    rsl_err err;

    if (rsl_handshake_post(inherited->rt, s->pair.server.tls, owner, &err)
        != RSL_FORKED) {
        return 1;
    }
    rsl_runtime_free(inherited->rt);
    if (s->client.abandoned != 1 || s->server.abandoned != 0) {
        return 2;
    }
    if (rsl_pool_threads(&rsl_pool_of_handshakes) != 0) {
        return 3;
    }
    shake_many(some_library(), some_library());
    return 0;
}

static void
a_forked_child_starts_with_a_pool_of_its_own(void **state)
{
    shake s;
    test_loop loop;
    pid_t child;
    int status;

    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* TSan allows no thread after a fork with threads */
#endif
    loop_open(&loop);
    shake_open(&s, &loop, some_library(), some_library());
    side_post(&s.client);
    child = fork();
    if (child == 0) {
        alarm(60);
        _exit(shake_in_child(&loop, &s));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    while (shake_go_on(&s)) {
        (void)loop_turn(&loop);
    }
    tls_pair_shake(&s.pair);
    tls_pair_close(&s.pair);
    loop_close(&loop);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_sides_of_openssl_shake_hands_on_the_pool),
        cmocka_unit_test(both_sides_of_mbedtls_shake_hands_on_the_pool),
        cmocka_unit_test(engines_of_both_libraries_meet_on_the_pool),
        cmocka_unit_test(what_is_no_tls_comes_back_as_an_error),
        cmocka_unit_test(deliver_returns_what_the_owner_returned),
        cmocka_unit_test(a_runtime_that_closes_gives_every_engine_back),
        cmocka_unit_test(a_closed_runtime_takes_no_step),
        cmocka_unit_test(loops_of_several_threads_share_the_pool),
        cmocka_unit_test(threads_without_work_end),
        cmocka_unit_test(a_forked_child_starts_with_a_pool_of_its_own),
    };

    if (lacks(TLS_OPENSSL) && lacks(TLS_MBEDTLS)) {
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
