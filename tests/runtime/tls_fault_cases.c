/* SPDX-License-Identifier: Apache-2.0 */
/* tls_fault_cases.c - peers that do not keep to the protocol. */
#include "tls_cases.h"

enum { ALERT_BAD_MAC = 20 };

/* The server has failed, says why by an alert, and stays failed. */
static void
assert_server_failed(tls_pair *pair)
{
    struct iovec piece = {(char[]){"x"}, 1};
    size_t some;
    char buf[8];

    assert_int_equal(pair->server.status, RSL_TLS_ERROR);
    assert_int_equal(rsl_tls_state_now(pair->server.tls), RSL_TLS_STATE_FAILED);
    assert_int_equal(rsl_tls_last_error(pair->server.tls)->kind,
                     RSL_TLS_ERR_SSL);
    assert_non_null(rsl_tls_last_error(pair->server.tls)->text);
    assert_int_equal(rsl_tls_read(pair->server.tls, buf, sizeof buf, &some),
                     RSL_TLS_ERROR);
    assert_int_equal(rsl_tls_write(pair->server.tls, &piece, 1, &some),
                     RSL_TLS_ERROR);
    assert_int_equal(rsl_tls_close_notify(pair->server.tls), RSL_TLS_ERROR);
    assert_int_equal(rsl_tls_handshake(pair->server.tls), RSL_TLS_ERROR);
}

static void
a_flipped_bit_is_a_bad_record(void **state)
{
    (void)state;
    for (size_t at = 5; at < 25; at += 3) {
        uint8_t *sent;
        tls_pair pair;
        size_t len;

        tls_pair_plain(&pair);
        tls_pair_run(&pair);
        tls_end_say(&pair.client, "to be changed");
        sent = tls_end_take(&pair.client, &len);
        sent[at] ^= 1;
        tls_end_feed(&pair.server, sent, len);
        free(sent);
        assert_server_failed(&pair);
        assert_int_equal(pair.server.got_len, 0);
        tls_pair_carry(&pair, &pair.server, &pair.client);
        tls_assert_alert(pair.server.tls, pair.client.tls, ALERT_BAD_MAC);
        tls_pair_close(&pair);
    }
}

static void
records_in_the_wrong_order_are_refused(void **state)
{
    uint8_t *first, *second;
    size_t first_len, second_len;
    tls_pair pair;

    (void)state;
    tls_pair_plain(&pair);
    tls_pair_run(&pair);
    tls_end_say(&pair.client, "first");
    first = tls_end_take(&pair.client, &first_len);
    tls_end_say(&pair.client, "second");
    second = tls_end_take(&pair.client, &second_len);
    tls_end_feed(&pair.server, second, second_len);
    assert_server_failed(&pair);
    free(first);
    free(second);
    tls_pair_close(&pair);
}

static void
a_record_twice_is_refused(void **state)
{
    uint8_t *sent;
    tls_pair pair;
    size_t len;

    (void)state;
    tls_pair_plain(&pair);
    tls_pair_run(&pair);
    tls_end_say(&pair.client, "once");
    sent = tls_end_take(&pair.client, &len);
    tls_end_feed(&pair.server, sent, len);
    assert_int_equal(pair.server.got_len, 4);
    tls_end_feed(&pair.server, sent, len);
    assert_server_failed(&pair);
    assert_int_equal(pair.server.got_len, 4);
    free(sent);
    tls_pair_close(&pair);
}

static void
a_record_that_is_too_long_is_refused(void **state)
{
    static const uint8_t header[5] = {23, 3, 3, 0x48, 0x01};
    uint8_t *record = calloc(1, 5 + 0x4801);
    tls_pair pair;

    (void)state;
    assert_non_null(record);
    memcpy(record, header, sizeof header);
    tls_pair_plain(&pair);
    tls_pair_run(&pair);
    tls_end_feed(&pair.server, record, 5 + 0x4801);
    assert_server_failed(&pair);
    free(record);
    tls_pair_close(&pair);
}

static void
what_is_no_tls_is_refused(void **state)
{
    static const char *const texts[] = {
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff",
        "\x17\x03\x03\x00\x04 abcd",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        tls_settings client = tls_client_settings();
        tls_settings server = tls_server_settings();
        tls_pair pair;
        size_t len = i == 0 ? strlen(texts[0]) : 10;

        tls_pair_open(&pair, &client, &server, "localhost");
        tls_end_feed(&pair.server, (const uint8_t *)texts[i], len);
        if (i == 1) { /* a handshake message of 16 MB: no more of it comes */
            tls_end_feed(&pair.server, (const uint8_t *)texts[0], 30);
        }
        assert_server_failed(&pair);
        tls_pair_close(&pair);
    }
}

/* Every place of every flight is changed once: no crash, no hang, and never
 * bytes that were not sent. */
static void
a_handshake_with_one_wrong_byte_fails_or_works(void **state)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();
    uint32_t seed = 99;
    tls_pair pair;

    (void)state;
    tls_pair_open(&pair, &client, &server, "localhost");
    for (int i = 0; i < 60; i++) {
        int flight = i % 3;
        uint8_t *sent;
        size_t len;

        tls_pair_again(&pair, "localhost");
        tls_end_step(&pair.client);
        for (int j = 0; j < flight; j++) {
            tls_pair_carry(&pair, j % 2 == 0 ? &pair.client : &pair.server,
                           j % 2 == 0 ? &pair.server : &pair.client);
        }
        sent =
            tls_end_take(flight % 2 == 0 ? &pair.client : &pair.server, &len);
        assert_true(len > 0);
        sent[tls_random(&seed) % len] ^= (uint8_t)(1u << tls_random(&seed) % 8);
        tls_end_feed(flight % 2 == 0 ? &pair.server : &pair.client, sent, len);
        free(sent);
        tls_pair_run(&pair);
        assert_int_equal(pair.client.got_len, 0);
        assert_int_equal(pair.server.got_len, 0);
    }
    tls_pair_close(&pair);
}

static void
a_flight_that_stops_short_waits(void **state)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();
    uint8_t *sent;
    tls_pair pair;
    size_t len;

    (void)state;
    tls_pair_open(&pair, &client, &server, "localhost");
    tls_end_step(&pair.client);
    sent = tls_end_take(&pair.client, &len);
    tls_end_feed(&pair.server, sent, len - 1);
    assert_int_equal(pair.server.status, RSL_TLS_WANT_READ);
    assert_int_equal(rsl_tls_output_bytes(pair.server.tls), 0);
    tls_end_feed(&pair.server, sent + len - 1, 1);
    assert_true(rsl_tls_output_bytes(pair.server.tls) > 0);
    free(sent);
    tls_pair_shake(&pair);
    tls_pair_close(&pair);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_flipped_bit_is_a_bad_record),
    cmocka_unit_test(records_in_the_wrong_order_are_refused),
    cmocka_unit_test(a_record_twice_is_refused),
    cmocka_unit_test(a_record_that_is_too_long_is_refused),
    cmocka_unit_test(what_is_no_tls_is_refused),
    cmocka_unit_test(a_handshake_with_one_wrong_byte_fails_or_works),
    cmocka_unit_test(a_flight_that_stops_short_waits),
};

const tls_group tls_fault_cases = TLS_GROUP(tests);
