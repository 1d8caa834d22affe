/* SPDX-License-Identifier: Apache-2.0 */
/* tls_verify_cases.c - who is trusted; the verdicts are OpenSSL's. */
#include "tls_cases.h"

/* X509_V_ERR_* */
enum {
    CODE_NO_ISSUER = 20,
    CODE_EXPIRED = 10,
    CODE_SELF_SIGNED = 18,
    CODE_REVOKED = 23,
    CODE_HOSTNAME = 62,
    CODE_ADDRESS = 64,
};

/* A client that must not trust what the server shows. */
static void
assert_client_refuses(const tls_settings *client, const tls_settings *server,
                      const char *name, int code)
{
    const rsl_tls_error *error;
    char reason[64];
    tls_pair pair;

    tls_pair_open(&pair, client, server, name);
    tls_pair_run(&pair);
    assert_int_equal(pair.client.status, RSL_TLS_ERROR);
    error = rsl_tls_last_error(pair.client.tls);
    assert_int_equal(error->kind, RSL_TLS_ERR_VERIFY);
    assert_int_equal(error->verify_code, code);
    assert_non_null(error->verify_message);
    assert_string_equal(error->library, "SSL");
    assert_string_equal(error->text, "certificate verify failed");
    rsl_tls_error_reason(error, reason, sizeof reason);
    assert_string_equal(reason, "CERTIFICATE_VERIFY_FAILED");
    assert_true(error->alert_sent);
    /* The server has heard of it. */
    assert_int_equal(pair.server.status, RSL_TLS_ERROR);
    assert_true(rsl_tls_last_error(pair.server.tls)->alert_received);
    assert_int_equal(rsl_tls_last_error(pair.server.tls)->received_alert,
                     error->sent_alert);
    tls_pair_close(&pair);
}

static void
assert_client_trusts(const tls_settings *client, const tls_settings *server,
                     const char *name)
{
    tls_pair pair;

    tls_pair_open(&pair, client, server, name);
    tls_pair_shake(&pair);
    tls_pair_close(&pair);
}

static void
names_and_addresses_of_the_certificate_are_trusted(void **state)
{
    static const char *const names[] = {"localhost", "LOCALHOST",
                                        "a.wild.example", "127.0.0.1", "::1"};
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_client_trusts(&client, &server, names[i]);
    }
}

static void
other_names_are_not(void **state)
{
    static const char *const names[] = {"example.com", "wild.example",
                                        "a.b.wild.example", "localhos"};
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_client_refuses(&client, &server, names[i], CODE_HOSTNAME);
    }
    assert_client_refuses(&client, &server, "127.0.0.2", CODE_ADDRESS);
    assert_client_refuses(&client, &server, "::2", CODE_ADDRESS);
}

static void
an_address_is_not_sent_as_server_name(void **state)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();
    rsl_tls_info info;
    tls_pair pair;

    (void)state;
    tls_pair_open(&pair, &client, &server, "127.0.0.1");
    tls_pair_shake(&pair);
    rsl_tls_get_info(pair.server.tls, &info);
    assert_null(info.server_name);
    tls_pair_close(&pair);
}

static void
an_expired_certificate_is_refused(void **state)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();

    (void)state;
    server.cert = "expired.pem";
    assert_client_refuses(&client, &server, "localhost", CODE_EXPIRED);
}

static void
a_self_signed_certificate_is_refused(void **state)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();

    (void)state;
    server.cert = "self.pem";
    assert_client_refuses(&client, &server, "localhost", CODE_SELF_SIGNED);
}

static void
a_self_signed_certificate_that_is_known_is_trusted(void **state)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();

    (void)state;
    server.cert = client.ca = "self.pem";
    assert_client_trusts(&client, &server, "localhost");
}

static void
an_unknown_authority_is_refused(void **state)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();

    (void)state;
    client.ca = "other-ca.pem";
    assert_client_refuses(&client, &server, "localhost", CODE_NO_ISSUER);
}

static void
a_revoked_certificate_is_refused(void **state)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();

    (void)state;
    client.crl = "crl.pem";
    assert_client_trusts(&client, &server, "localhost");
    server.cert = "revoked.pem";
    assert_client_refuses(&client, &server, "localhost", CODE_REVOKED);
}

static void
who_does_not_verify_takes_all(void **state)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();

    (void)state;
    client.verify = TLS_VERIFY_NONE;
    server.cert = "expired.pem";
    assert_client_trusts(&client, &server, "example.com");
}

static void
count_der(void *arg, const uint8_t *der, size_t len)
{
    int *count = arg;

    assert_true(len > 4);
    assert_int_equal(der[0], 0x30);
    assert_int_equal(((size_t)der[2] << 8 | der[3]) + 4, len);
    ++*count;
}

static void
the_peers_chain_is_shown(void **state)
{
    tls_pair pair;
    int count = 0;

    (void)state;
    tls_pair_plain(&pair);
    assert_int_equal(rsl_tls_peer_chain(pair.client.tls, count_der, &count),
                     RSL_OK);
    assert_int_equal(count, 2);
    count = 0;
    assert_int_equal(rsl_tls_peer_chain(pair.server.tls, count_der, &count),
                     RSL_OK);
    assert_int_equal(count, 0);
    tls_pair_close(&pair);
}

/* --- Certificates of clients --- */

static void
a_client_is_asked_and_trusted(void **state)
{
    static const tls_verify modes[] = {TLS_VERIFY_OPTIONAL,
                                       TLS_VERIFY_REQUIRED};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        tls_settings client = tls_client_settings();
        tls_settings server = tls_server_settings();
        tls_pair pair;
        int count = 0;

        client.cert = "client.pem";
        server.verify = modes[i];
        tls_pair_open(&pair, &client, &server, "localhost");
        tls_pair_shake(&pair);
        assert_int_equal(rsl_tls_peer_chain(pair.server.tls, count_der, &count),
                         RSL_OK);
        assert_int_equal(count, 2);
        tls_end_say(&pair.client, "me");
        tls_pair_run(&pair);
        assert_int_equal(pair.server.got_len, 2);
        tls_pair_close(&pair);
    }
}

static void
assert_server_refuses(const tls_settings *client, const tls_settings *server,
                      rsl_tls_error_kind kind)
{
    const rsl_tls_error *error;
    tls_pair pair;

    tls_pair_open(&pair, client, server, "localhost");
    tls_pair_run(&pair);
    assert_int_equal(pair.server.status, RSL_TLS_ERROR);
    assert_int_equal(rsl_tls_state_now(pair.server.tls), RSL_TLS_STATE_FAILED);
    error = rsl_tls_last_error(pair.server.tls);
    assert_int_equal(error->kind, kind);
    assert_true(error->alert_sent);
    assert_int_equal(pair.client.status, RSL_TLS_ERROR);
    /* A server of mbedTLS in TLS 1.3 says it under the keys of the handshake,
     * which the client no longer has: it fails, but cannot know why. */
    if (tls_combo.server != TLS_MBEDTLS || tls_combo.version != TLS_1_3) {
        assert_int_equal(rsl_tls_last_error(pair.client.tls)->received_alert,
                         error->sent_alert);
    }
    tls_pair_close(&pair);
}

static void
a_client_without_certificate_is_refused_where_one_is_required(void **state)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();

    (void)state;
    server.verify = TLS_VERIFY_OPTIONAL;
    assert_client_trusts(&client, &server, "localhost");
    server.verify = TLS_VERIFY_REQUIRED;
    assert_server_refuses(&client, &server, RSL_TLS_ERR_SSL);
}

static void
a_bad_client_certificate_is_refused_where_it_is_optional(void **state)
{
    static const tls_verify modes[] = {TLS_VERIFY_OPTIONAL,
                                       TLS_VERIFY_REQUIRED};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        tls_settings client = tls_client_settings();
        tls_settings server = tls_server_settings();

        server.verify = modes[i];
        client.cert = "self.pem";
        assert_server_refuses(&client, &server, RSL_TLS_ERR_VERIFY);
        client.cert = "client.pem";
        server.ca = "other-ca.pem";
        assert_server_refuses(&client, &server, RSL_TLS_ERR_VERIFY);
    }
}

/* A certificate of a server is none of a client's. */
static void
a_certificate_for_another_purpose_is_refused(void **state)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();

    (void)state;
    client.cert = "ec.pem";
    server.verify = TLS_VERIFY_REQUIRED;
    assert_server_refuses(&client, &server, RSL_TLS_ERR_VERIFY);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(names_and_addresses_of_the_certificate_are_trusted),
    cmocka_unit_test(other_names_are_not),
    cmocka_unit_test(an_address_is_not_sent_as_server_name),
    cmocka_unit_test(an_expired_certificate_is_refused),
    cmocka_unit_test(a_self_signed_certificate_is_refused),
    cmocka_unit_test(a_self_signed_certificate_that_is_known_is_trusted),
    cmocka_unit_test(an_unknown_authority_is_refused),
    cmocka_unit_test(a_revoked_certificate_is_refused),
    cmocka_unit_test(who_does_not_verify_takes_all),
    cmocka_unit_test(the_peers_chain_is_shown),
    cmocka_unit_test(a_client_is_asked_and_trusted),
    cmocka_unit_test(
        a_client_without_certificate_is_refused_where_one_is_required),
    cmocka_unit_test(a_bad_client_certificate_is_refused_where_it_is_optional),
    cmocka_unit_test(a_certificate_for_another_purpose_is_refused),
};

const tls_group tls_verify_cases = TLS_GROUP(tests);
