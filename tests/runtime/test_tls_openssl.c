/* SPDX-License-Identifier: Apache-2.0 */
/* test_tls_openssl.c - what only the openssl engine has. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tls/openssl_impl.h"
#include "tls_pair.h"

static void
a_library_that_lacks_a_function_is_refused(void **state)
{
    void *handle = dlopen("libc.so.6", RTLD_NOW);
    const char *missing = NULL;
    rsl_openssl_api api;

    (void)state;
    assert_non_null(handle);
    assert_int_equal(rsl_openssl_api_open(&api, handle, &missing),
                     RSL_UNSUPPORTED);
    assert_string_equal(missing, "OpenSSL_version_num");
    rsl_openssl_api_close(&api);
    dlclose(handle);
}

/* ssl.SSLObject lives on: what is called on it finds no BIO, and no memory of
 * ours. */
static void
an_ssl_outlives_its_engine(void **state)
{
    tls_settings client = {0}, server = {.server = true};
    const rsl_openssl_api *api;
    char buf[16];
    tls_pair pair;
    SSL *ssl;

    (void)state;
    tls_pair_open(&pair, &client, &server, "localhost");
    tls_pair_shake(&pair);
    ssl = ((openssl_tls *)(void *)pair.client.tls)->ssl;
    api = ((openssl_tls *)(void *)pair.client.tls)->api;
    assert_int_equal(api->SSL_up_ref(ssl), 1);
    rsl_tls_free(pair.client.tls);
    pair.client.tls = NULL;
    assert_string_equal(api->SSL_get_version(ssl), "TLSv1.3");
    assert_true(api->SSL_read(ssl, buf, sizeof buf) <= 0);
    assert_true(api->SSL_write(ssl, "x", 1) <= 0);
    api->ERR_clear_error();
    api->SSL_free(ssl);
    tls_pair_close(&pair);
}

/* Somebody else calls the SSL while the engine lives: nothing is taken from the
 * engine's input, and nothing gets into its output. */
static void
calls_of_others_do_not_reach_the_engine(void **state)
{
    tls_settings client = {0}, server = {.server = true};
    const rsl_openssl_api *api;
    tls_pair pair;
    char buf[16];
    uint8_t *sent;
    size_t len;
    SSL *ssl;

    (void)state;
    tls_pair_open(&pair, &client, &server, "localhost");
    tls_pair_shake(&pair);
    tls_pair_run(&pair);
    ssl = ((openssl_tls *)(void *)pair.server.tls)->ssl;
    api = ((openssl_tls *)(void *)pair.server.tls)->api;
    tls_end_say(&pair.client, "for the engine");
    sent = tls_end_take(&pair.client, &len);
    rsl_tls_feed(pair.server.tls, sent, len);
    assert_true(api->SSL_read(ssl, buf, sizeof buf) <= 0);
    assert_int_equal(rsl_tls_input_bytes(pair.server.tls), len);
    assert_int_equal(rsl_tls_output_bytes(pair.server.tls), 0);
    api->ERR_clear_error();
    tls_end_step(&pair.server);
    assert_int_equal(pair.server.got_len, strlen("for the engine"));
    assert_int_equal(rsl_tls_keep(pair.server.tls), RSL_OK);
    free(sent);
    tls_pair_close(&pair);
}

static void
new_keys_are_taken_and_answered(void **state)
{
    tls_settings client = {.version = TLS_1_3};
    tls_settings server = {.server = true, .version = TLS_1_3};
    tls_pair pair;

    (void)state;
    tls_pair_open(&pair, &client, &server, "localhost");
    tls_pair_shake(&pair);
    for (int i = 0; i < 3; i++) {
        assert_true(tls_openssl_update_keys(pair.client.tls));
        tls_end_say(&pair.client, "after");
        tls_pair_run(&pair);
        tls_end_say(&pair.server, "answer");
        tls_pair_run(&pair);
    }
    assert_int_equal(pair.server.got_len, 3 * strlen("after"));
    assert_int_equal(pair.client.got_len, 3 * strlen("answer"));
    tls_pair_close(&pair);
}

/* What a client writes meanwhile is taken when the handshake is over. */
static void
a_server_may_renegotiate(void **state)
{
    tls_settings client = {.version = TLS_1_2};
    tls_settings server = {.server = true, .version = TLS_1_2};
    struct iovec piece = {"meanwhile", strlen("meanwhile")};
    size_t taken;
    tls_pair pair;

    (void)state;
    tls_pair_open(&pair, &client, &server, "localhost");
    tls_pair_shake(&pair);
    tls_pair_run(&pair);
    for (int i = 0; i < 3; i++) {
        assert_true(tls_openssl_renegotiate(pair.server.tls));
        tls_end_say(&pair.server, "asks");
        tls_end_say(&pair.client, "before");
        assert_true(tls_pair_carry(&pair, &pair.server, &pair.client) > 0);
        assert_int_equal(rsl_tls_write(pair.client.tls, &piece, 1, &taken),
                         RSL_TLS_WANT_READ);
        assert_int_equal(taken, 0);
        tls_pair_run(&pair);
        tls_end_say(&pair.client, "meanwhile");
        tls_end_say(&pair.server, "answer");
        tls_pair_run(&pair);
    }
    assert_int_equal(pair.server.got_len, 3 * strlen("beforemeanwhile"));
    assert_int_equal(pair.client.got_len, 3 * strlen("asksanswer"));
    tls_pair_close(&pair);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_library_that_lacks_a_function_is_refused),
        cmocka_unit_test(an_ssl_outlives_its_engine),
        cmocka_unit_test(calls_of_others_do_not_reach_the_engine),
        cmocka_unit_test(new_keys_are_taken_and_answered),
        cmocka_unit_test(a_server_may_renegotiate),
    };
    const char *fault = tls_library_fault(TLS_OPENSSL);

    if (fault != NULL) {
        printf("skipped: %s\n", fault);
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
