/* SPDX-License-Identifier: Apache-2.0 */
/* test_tls_mbedtls.c - what only the mbedtls engine has, or has not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tls/mbedtls_engine.h"
#include "tls_pair.h"

static tls_settings
settings_of(tls_library library, bool server, int version)
{
    return (tls_settings){
        .library = library, .server = server, .version = version};
}

/* --- Server names --- */

static rsl_tls_blob
blob_of(const char *name)
{
    rsl_tls_blob blob;

    blob.data = (uint8_t *)tls_file(name, &blob.len);
    blob.len++;
    return blob;
}

static rsl_mbedtls_config *
rsa_config(void)
{
    rsl_tls_settings settings = {.server = true,
                                 .certificate = blob_of("rsa.pem"),
                                 .key = blob_of("rsa.key")};
    rsl_mbedtls_config *config;
    const char *why;

    assert_int_equal(rsl_mbedtls_config_new(&settings, &config, &why), RSL_OK);
    free((void *)(uintptr_t)settings.certificate.data);
    free((void *)(uintptr_t)settings.key.data);
    return config;
}

static void
keep_size(void *arg, const uint8_t *der, size_t len)
{
    size_t *first = arg;

    (void)der;
    *first = *first == 0 ? len : *first;
}

static void
a_server_stops_once_for_its_config(void **state)
{
    static const tls_cut cuts[] = {TLS_WHOLE, TLS_BYTES};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        tls_settings client = settings_of(TLS_MBEDTLS, false, TLS_1_3);
        tls_settings server = settings_of(TLS_MBEDTLS, true, TLS_1_3);
        rsl_mbedtls_config *config = rsa_config();
        rsl_tls_info info;
        size_t leaf = 0;
        tls_pair pair;

        server.ask_sni = true;
        tls_pair_open(&pair, &client, &server, "localhost");
        pair.cut = cuts[i];
        tls_pair_run(&pair);
        assert_int_equal(pair.server.status, RSL_TLS_NEED_SNI);
        rsl_tls_get_info(pair.server.tls, &info);
        assert_string_equal(info.server_name, "localhost");
        rsl_mbedtls_tls_choose(pair.server.tls, config);
        tls_end_step(&pair.server);
        tls_pair_shake(&pair);
        assert_int_equal(rsl_tls_peer_chain(pair.client.tls, keep_size, &leaf),
                         RSL_OK);
        assert_true(leaf > 500); /* RSA's; the other is smaller */
        tls_pair_close(&pair);
        rsl_mbedtls_config_free(config);
    }
}

/* --- Key log --- */

typedef struct key_lines {
    char text[8192];
} key_lines;

static void
keep_line(void *arg, const char *line)
{
    key_lines *lines = arg;

    assert_true(strlen(lines->text) + strlen(line) + 2 < sizeof lines->text);
    strcat(lines->text, line);
    strcat(lines->text, "\n");
}

static void
both_sides_log_the_same_keys(void **state)
{
    static const int versions[] = {TLS_1_2, TLS_1_3};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        tls_settings client = settings_of(TLS_MBEDTLS, false, versions[i]);
        tls_settings server = settings_of(TLS_MBEDTLS, true, versions[i]);
        key_lines a = {""}, b = {""};
        tls_pair pair;

        client.keylog = server.keylog = keep_line;
        client.keylog_arg = &a;
        server.keylog_arg = &b;
        tls_pair_open(&pair, &client, &server, "localhost");
        tls_pair_shake(&pair);
        assert_string_equal(a.text, b.text);
        assert_non_null(strstr(a.text, versions[i] == TLS_1_2
                                           ? "CLIENT_RANDOM "
                                           : "SERVER_TRAFFIC_SECRET_0 "));
        tls_pair_close(&pair);
    }
}

/* --- Configs --- */

static void
assert_no_config(const char *cert, const char *key, const char *password,
                 uint16_t version)
{
    rsl_tls_settings settings = {.server = true,
                                 .certificate = blob_of(cert),
                                 .key = blob_of(key),
                                 .password = password,
                                 .version_max = version};
    rsl_mbedtls_config *config;
    const char *why;

    assert_int_equal(rsl_mbedtls_config_new(&settings, &config, &why),
                     RSL_UNSUPPORTED);
    assert_non_null(why);
    free((void *)(uintptr_t)settings.certificate.data);
    free((void *)(uintptr_t)settings.key.data);
}

static void
what_cannot_be_served_is_said_at_once(void **state)
{
    (void)state;
    assert_no_config("ec.pem", "rsa.key", NULL, 0);
    assert_no_config("ec.pem", "ec-encrypted.key", NULL, 0);
    assert_no_config("ec.pem", "ec-encrypted.key", "wrong", 0);
    assert_no_config("ec.key", "ec.key", NULL, 0);
    assert_no_config("ec.pem", "ec.pem", NULL, 0);
    assert_no_config("ec.pem", "ec.key", NULL, 0x0302);
}

static void
a_common_name_is_no_host(void **state)
{
    tls_settings client = settings_of(TLS_MBEDTLS, false, TLS_1_3);
    tls_settings server = settings_of(TLS_MBEDTLS, true, TLS_1_3);
    tls_pair pair;

    (void)state;
    server.cert = "nameless.pem";
    tls_pair_open(&pair, &client, &server, "localhost");
    tls_pair_run(&pair);
    assert_int_equal(pair.client.status, RSL_TLS_ERROR);
    assert_int_equal(rsl_tls_last_error(pair.client.tls)->verify_code, 62);
    tls_pair_close(&pair);
}

static void
a_checked_client_needs_a_name(void **state)
{
    tls_settings client = settings_of(TLS_MBEDTLS, false, TLS_1_3);
    tls_context *context = tls_context_new(&client);
    char name[512];

    (void)state;
    assert_null(tls_context_open(context, NULL));
    memset(name, 'a', sizeof name);
    name[sizeof name - 1] = '\0';
    assert_null(tls_context_open(context, name));
    tls_context_free(context);
}

/* --- What it refuses --- */

static bool
openssl_is_missing(void)
{
    const char *fault = tls_library_fault(TLS_OPENSSL);

    if (fault != NULL) {
        print_message("skipped: %s\n", fault);
    }
    return fault != NULL;
}

static void
a_renegotiation_is_refused(void **state)
{
    tls_settings client = settings_of(TLS_OPENSSL, false, TLS_1_2);
    tls_settings server = settings_of(TLS_MBEDTLS, true, TLS_1_2);
    tls_pair pair;

    (void)state;
    if (openssl_is_missing()) {
        return;
    }
    tls_pair_open(&pair, &client, &server, "localhost");
    tls_pair_shake(&pair);
    assert_true(tls_openssl_renegotiate(pair.client.tls));
    tls_pair_run(&pair);
    /* The server goes on; OpenSSL's client takes the refusal for an end. */
    assert_int_equal(pair.client.status, RSL_TLS_ERROR);
    assert_string_equal(rsl_tls_last_error(pair.client.tls)->text,
                        "no renegotiation");
    tls_pair_close(&pair);
}

/* mbedTLS knows no KeyUpdate (its issue 10881): the connection ends, by an
 * error that both sides see. */
static void
a_key_update_ends_the_connection(void **state)
{
    tls_settings client = settings_of(TLS_OPENSSL, false, TLS_1_3);
    tls_settings server = settings_of(TLS_MBEDTLS, true, TLS_1_3);
    tls_pair pair;

    (void)state;
    if (openssl_is_missing()) {
        return;
    }
    tls_pair_open(&pair, &client, &server, "localhost");
    tls_pair_shake(&pair);
    tls_end_say(&pair.client, "before");
    assert_true(tls_openssl_update_keys(pair.client.tls));
    tls_end_say(&pair.client, "after");
    tls_pair_run(&pair);
    assert_int_equal(pair.server.got_len, strlen("before"));
    assert_int_equal(pair.server.status, RSL_TLS_ERROR);
    tls_pair_close(&pair);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_stops_once_for_its_config),
        cmocka_unit_test(both_sides_log_the_same_keys),
        cmocka_unit_test(what_cannot_be_served_is_said_at_once),
        cmocka_unit_test(a_common_name_is_no_host),
        cmocka_unit_test(a_checked_client_needs_a_name),
        cmocka_unit_test(a_renegotiation_is_refused),
        cmocka_unit_test(a_key_update_ends_the_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
