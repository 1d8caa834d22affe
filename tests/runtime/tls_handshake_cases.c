/* SPDX-License-Identifier: Apache-2.0 */
/* tls_handshake_cases.c - what the two sides agree on. */
#include "tls_cases.h"

static const char *
version_name(void)
{
    return tls_combo.version == TLS_1_3 ? "TLSv1.3" : "TLSv1.2";
}

static const char *
cipher(void)
{
    return tls_combo.version == TLS_1_3
               ? "TLS1-3-AES-128-GCM-SHA256"
               : "TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256";
}

static void
both_sides_tell_what_was_agreed_on(void **state)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();
    bool old = tls_combo.version == TLS_1_2;
    tls_end *ends[2];
    tls_pair pair;

    (void)state;
    client.cipher = cipher();
    tls_pair_open(&pair, &client, &server, "localhost");
    tls_pair_shake(&pair);
    ends[0] = &pair.client;
    ends[1] = &pair.server;
    for (int i = 0; i < 2; i++) {
        rsl_tls_info info;

        rsl_tls_get_info(ends[i]->tls, &info);
        assert_string_equal(info.version, version_name());
        assert_string_equal(info.cipher, old ? "ECDHE-ECDSA-AES128-GCM-SHA256"
                                             : "TLS_AES_128_GCM_SHA256");
        assert_string_equal(info.cipher_protocol, version_name());
        assert_int_equal(info.cipher_bits, 128);
        assert_null(info.alpn);
        assert_false(info.resumed);
        assert_int_equal(info.verify_code, 0);
        assert_string_equal(info.server_name, "localhost");
    }
    tls_pair_close(&pair);
}

static void
a_handshake_survives_any_cutting(void **state)
{
    static const tls_cut cuts[] = {TLS_BYTES, TLS_RANDOM};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        tls_settings client = tls_client_settings();
        tls_settings server = tls_server_settings();
        tls_pair pair;

        tls_pair_open(&pair, &client, &server, "localhost");
        pair.cut = cuts[i];
        tls_pair_shake(&pair);
        tls_end_say(&pair.client, "ping");
        tls_pair_run(&pair);
        assert_int_equal(pair.server.got_len, 4);
        tls_pair_close(&pair);
    }
}

static void
rsa_certificates_serve(void **state)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();
    tls_pair pair;

    (void)state;
    server.cert = "rsa.pem";
    tls_pair_open(&pair, &client, &server, "localhost");
    tls_pair_shake(&pair);
    tls_pair_close(&pair);
}

static void
encrypted_keys_are_opened_by_their_password(void **state)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();
    tls_pair pair;

    (void)state;
    server.key = "ec-encrypted.key";
    server.password = "secret";
    tls_pair_open(&pair, &client, &server, "localhost");
    tls_pair_shake(&pair);
    tls_pair_close(&pair);
}

static void
assert_alpn(rsl_tls *tls, const char *expected)
{
    rsl_tls_info info;

    rsl_tls_get_info(tls, &info);
    if (expected == NULL) {
        assert_int_equal(info.alpn_len, 0);
        return;
    }
    assert_int_equal(info.alpn_len, strlen(expected));
    assert_memory_equal(info.alpn, expected, info.alpn_len);
}

/* What both sides tell when each offers its own; NULL: nothing. */
static void
assert_agreed_alpn(const char *client_alpn, const char *server_alpn,
                   const char *expected)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();
    tls_pair pair;

    client.alpn = client_alpn;
    server.alpn = server_alpn;
    tls_pair_open(&pair, &client, &server, "localhost");
    tls_pair_shake(&pair);
    assert_alpn(pair.client.tls, expected);
    assert_alpn(pair.server.tls, expected);
    tls_pair_close(&pair);
}

static void
alpn_is_the_servers_first_that_the_client_has(void **state)
{
    (void)state;
    assert_agreed_alpn("http/1.1,h2", "h2,http/1.1", "h2");
}

static void
alpn_of_one_side_only_is_none(void **state)
{
    (void)state;
    assert_agreed_alpn("h2", NULL, NULL);
}

/* As ssl.SSLContext has it: who shares no protocol goes on without. */
static void
alpn_without_overlap_is_no_fault(void **state)
{
    (void)state;
    assert_agreed_alpn("h2", "http/1.1", NULL);
}

static void
no_common_version_fails_on_both_sides(void **state)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();
    tls_pair pair;

    (void)state;
    server.version = server.version == TLS_1_3 ? TLS_1_2 : TLS_1_3;
    tls_pair_open(&pair, &client, &server, "localhost");
    tls_pair_run(&pair);
    assert_int_equal(pair.client.status, RSL_TLS_ERROR);
    assert_int_equal(pair.server.status, RSL_TLS_ERROR);
    assert_int_equal(rsl_tls_last_error(pair.server.tls)->kind,
                     RSL_TLS_ERR_SSL);
    /* mbedTLS calls a client that is too new a failed handshake. */
    tls_assert_alert(
        pair.server.tls, pair.client.tls,
        tls_combo.server == TLS_MBEDTLS && server.version == TLS_1_2 ? 40 : 70);
    tls_pair_close(&pair);
}

static void
a_session_resumes(void **state)
{
    rsl_tls_info info;
    uint8_t *session;
    size_t len;
    tls_pair pair;

    (void)state;
    tls_pair_plain(&pair);
    tls_end_say(&pair.server, "a record, so that tickets are read");
    tls_pair_run(&pair);
    assert_int_equal(rsl_tls_get_session(pair.client.tls, &session, &len),
                     RSL_OK);
    assert_true(len > 0);
    tls_pair_again(&pair, "localhost");
    assert_int_equal(rsl_tls_set_session(pair.client.tls, session, len),
                     RSL_OK);
    tls_pair_shake(&pair);
    rsl_tls_get_info(pair.client.tls, &info);
    assert_true(info.resumed);
    assert_int_equal(info.verify_code, 0);
    rsl_tls_get_info(pair.server.tls, &info);
    assert_true(info.resumed);
    tls_end_say(&pair.client, "again");
    tls_pair_run(&pair);
    assert_int_equal(pair.server.got_len, 5);
    free(session);
    tls_pair_close(&pair);
}

static void
bytes_that_are_no_session_are_refused(void **state)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();
    tls_pair pair;

    (void)state;
    tls_pair_open(&pair, &client, &server, "localhost");
    assert_int_equal(
        rsl_tls_set_session(pair.client.tls, (const uint8_t *)"no session", 10),
        RSL_UNSUPPORTED);
    tls_pair_shake(&pair); /* it does no harm */
    tls_pair_close(&pair);
}

static void
without_tickets_nothing_resumes(void **state)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();
    rsl_tls_info info;
    uint8_t *session;
    size_t len;
    tls_pair pair;

    (void)state;
    server.no_tickets = true;
    tls_pair_open(&pair, &client, &server, "localhost");
    tls_pair_shake(&pair);
    tls_pair_run(&pair);
    if (rsl_tls_get_session(pair.client.tls, &session, &len) == RSL_OK) {
        /* TLS 1.2 knows sessions by a number as well. */
        assert_int_equal(tls_combo.version, TLS_1_2);
        free(session);
    }
    rsl_tls_get_info(pair.client.tls, &info);
    assert_false(info.resumed);
    tls_pair_close(&pair);
}

static void
both_sides_export_the_same_keys(void **state)
{
    uint8_t a[32], b[32], other[32];
    tls_pair pair;

    (void)state;
    tls_pair_plain(&pair);
    assert_int_equal(rsl_tls_export(pair.client.tls, "EXPORTER-x", a, 32),
                     RSL_OK);
    assert_int_equal(rsl_tls_export(pair.server.tls, "EXPORTER-x", b, 32),
                     RSL_OK);
    assert_memory_equal(a, b, 32);
    assert_int_equal(rsl_tls_export(pair.client.tls, "EXPORTER-y", other, 32),
                     RSL_OK);
    assert_memory_not_equal(a, other, 32);
    tls_pair_close(&pair);
}

static void
tls_unique_is_the_same_on_both_sides(void **state)
{
    uint8_t a[RSL_TLS_BINDING_MAX], b[RSL_TLS_BINDING_MAX];
    size_t a_len, b_len;
    rsl_status status;
    tls_pair pair;

    (void)state;
    tls_pair_plain(&pair);
    status = rsl_tls_channel_binding(pair.client.tls, RSL_TLS_BINDING_UNIQUE, a,
                                     &a_len);
    if (tls_combo.version == TLS_1_3) {
        assert_int_equal(status, RSL_UNSUPPORTED);
    } else {
        assert_int_equal(status, RSL_OK);
        assert_int_equal(rsl_tls_channel_binding(pair.server.tls,
                                                 RSL_TLS_BINDING_UNIQUE, b,
                                                 &b_len),
                         RSL_OK);
        assert_int_equal(a_len, 12);
        assert_int_equal(b_len, 12);
        assert_memory_equal(a, b, 12);
    }
    tls_pair_close(&pair);
}

static void
nothing_is_known_before_the_handshake(void **state)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();
    uint8_t buf[RSL_TLS_BINDING_MAX], *session;
    struct iovec piece = {buf, 1};
    tls_pair pair;
    size_t len;

    (void)state;
    tls_pair_open(&pair, &client, &server, "localhost");
    assert_int_equal(rsl_tls_export(pair.client.tls, "x", buf, 1),
                     RSL_UNSUPPORTED);
    assert_int_equal(rsl_tls_channel_binding(pair.client.tls,
                                             RSL_TLS_BINDING_UNIQUE, buf, &len),
                     RSL_UNSUPPORTED);
    assert_int_equal(rsl_tls_get_session(pair.client.tls, &session, &len),
                     RSL_AGAIN);
    assert_int_equal(rsl_tls_read(pair.client.tls, buf, 1, &len),
                     RSL_TLS_WANT_READ);
    buf[0] = 0;
    assert_int_equal(rsl_tls_write(pair.client.tls, &piece, 1, &len),
                     RSL_TLS_WANT_READ);
    assert_int_equal(len, 0);
    tls_pair_close(&pair);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(both_sides_tell_what_was_agreed_on),
    cmocka_unit_test(a_handshake_survives_any_cutting),
    cmocka_unit_test(rsa_certificates_serve),
    cmocka_unit_test(encrypted_keys_are_opened_by_their_password),
    cmocka_unit_test(alpn_is_the_servers_first_that_the_client_has),
    cmocka_unit_test(alpn_of_one_side_only_is_none),
    cmocka_unit_test(alpn_without_overlap_is_no_fault),
    cmocka_unit_test(no_common_version_fails_on_both_sides),
    cmocka_unit_test(a_session_resumes),
    cmocka_unit_test(bytes_that_are_no_session_are_refused),
    cmocka_unit_test(without_tickets_nothing_resumes),
    cmocka_unit_test(both_sides_export_the_same_keys),
    cmocka_unit_test(tls_unique_is_the_same_on_both_sides),
    cmocka_unit_test(nothing_is_known_before_the_handshake),
};

const tls_group tls_handshake_cases = TLS_GROUP(tests);
