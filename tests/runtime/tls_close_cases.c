/* SPDX-License-Identifier: Apache-2.0 */
/* tls_close_cases.c - the end of a connection, and of its memory. */
#include "tls_cases.h"

static void
assert_state(const tls_end *end, rsl_tls_state state)
{
    assert_int_equal(rsl_tls_state_now(end->tls), state);
}

static void
each_side_closes_its_direction(void **state)
{
    struct iovec piece = {(char[]){"x"}, 1};
    tls_pair pair;
    size_t taken;

    (void)state;
    tls_pair_plain(&pair);
    tls_end_say(&pair.client, "last words");
    assert_int_equal(rsl_tls_close_notify(pair.client.tls), RSL_TLS_DONE);
    assert_int_equal(rsl_tls_close_notify(pair.client.tls), RSL_TLS_DONE);
    assert_state(&pair.client, RSL_TLS_STATE_CLOSE_SENT);
    assert_int_equal(rsl_tls_write(pair.client.tls, &piece, 1, &taken),
                     RSL_TLS_EOF);
    tls_pair_carry(&pair, &pair.client, &pair.server);
    assert_int_equal(pair.server.got_len, 10);
    assert_int_equal(pair.server.status, RSL_TLS_EOF);
    assert_state(&pair.server, RSL_TLS_STATE_PEER_CLOSED);
    assert_int_equal(rsl_tls_close_notify(pair.server.tls), RSL_TLS_DONE);
    assert_state(&pair.server, RSL_TLS_STATE_CLOSED);
    tls_pair_carry(&pair, &pair.server, &pair.client);
    assert_int_equal(pair.client.status, RSL_TLS_EOF);
    assert_state(&pair.client, RSL_TLS_STATE_CLOSED);
    assert_int_equal(rsl_tls_output_bytes(pair.client.tls), 0);
    tls_pair_close(&pair);
}

/* TLS 1.3 lets the other direction go on; TLS 1.2's libraries do so as well. */
static void
a_half_closed_connection_still_carries_the_other_half(void **state)
{
    tls_pair pair;

    (void)state;
    tls_pair_plain(&pair);
    assert_int_equal(rsl_tls_close_notify(pair.client.tls), RSL_TLS_DONE);
    tls_pair_carry(&pair, &pair.client, &pair.server);
    tls_end_say(&pair.server, "the answer");
    tls_pair_carry(&pair, &pair.server, &pair.client);
    assert_int_equal(pair.client.got_len, 10);
    assert_state(&pair.client, RSL_TLS_STATE_CLOSE_SENT);
    assert_int_equal(rsl_tls_close_notify(pair.server.tls), RSL_TLS_DONE);
    tls_pair_carry(&pair, &pair.server, &pair.client);
    assert_state(&pair.client, RSL_TLS_STATE_CLOSED);
    tls_pair_close(&pair);
}

static void
both_may_close_at_once(void **state)
{
    tls_pair pair;

    (void)state;
    tls_pair_plain(&pair);
    assert_int_equal(rsl_tls_close_notify(pair.client.tls), RSL_TLS_DONE);
    assert_int_equal(rsl_tls_close_notify(pair.server.tls), RSL_TLS_DONE);
    tls_pair_run(&pair);
    assert_state(&pair.client, RSL_TLS_STATE_CLOSED);
    assert_state(&pair.server, RSL_TLS_STATE_CLOSED);
    tls_pair_close(&pair);
}

static void
an_end_without_close_notify_is_a_truncation(void **state)
{
    char reason[64], buf[16];
    size_t some;
    tls_pair pair;

    (void)state;
    tls_pair_plain(&pair);
    tls_end_say(&pair.client, "half of it");
    tls_pair_carry(&pair, &pair.client, &pair.server);
    rsl_tls_feed_eof(pair.server.tls);
    assert_int_equal(rsl_tls_read(pair.server.tls, buf, sizeof buf, &some),
                     RSL_TLS_ERROR);
    assert_int_equal(rsl_tls_last_error(pair.server.tls)->kind,
                     RSL_TLS_ERR_EOF);
    rsl_tls_error_reason(rsl_tls_last_error(pair.server.tls), reason,
                         sizeof reason);
    assert_string_equal(reason, "UNEXPECTED_EOF_WHILE_READING");
    assert_state(&pair.server, RSL_TLS_STATE_FAILED);
    tls_pair_close(&pair);
}

static void
an_end_within_a_record_is_a_truncation(void **state)
{
    char buf[16];
    uint8_t *sent;
    size_t len, some;
    tls_pair pair;

    (void)state;
    tls_pair_plain(&pair);
    tls_pair_run(&pair);
    tls_end_say(&pair.client, "half of it");
    sent = tls_end_take(&pair.client, &len);
    tls_end_feed(&pair.server, sent, len - 1);
    free(sent);
    rsl_tls_feed_eof(pair.server.tls);
    assert_int_equal(rsl_tls_read(pair.server.tls, buf, sizeof buf, &some),
                     RSL_TLS_ERROR);
    assert_int_equal(rsl_tls_last_error(pair.server.tls)->kind,
                     RSL_TLS_ERR_EOF);
    tls_pair_close(&pair);
}

static void
an_end_after_close_notify_is_none(void **state)
{
    char buf[16];
    size_t some;
    tls_pair pair;

    (void)state;
    tls_pair_plain(&pair);
    assert_int_equal(rsl_tls_close_notify(pair.client.tls), RSL_TLS_DONE);
    tls_pair_carry(&pair, &pair.client, &pair.server);
    rsl_tls_feed_eof(pair.server.tls);
    assert_int_equal(rsl_tls_read(pair.server.tls, buf, sizeof buf, &some),
                     RSL_TLS_EOF);
    tls_pair_close(&pair);
}

static void
an_end_during_the_handshake_is_an_error(void **state)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();
    tls_pair pair;

    (void)state;
    tls_pair_open(&pair, &client, &server, "localhost");
    tls_end_step(&pair.client);
    tls_pair_carry(&pair, &pair.client, &pair.server);
    rsl_tls_feed_eof(pair.server.tls);
    assert_int_equal(rsl_tls_handshake(pair.server.tls), RSL_TLS_ERROR);
    assert_int_equal(rsl_tls_last_error(pair.server.tls)->kind,
                     RSL_TLS_ERR_EOF);
    tls_pair_close(&pair);
}

static void
closing_during_the_handshake_says_nothing(void **state)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();
    tls_pair pair;
    size_t before;

    (void)state;
    tls_pair_open(&pair, &client, &server, "localhost");
    tls_end_step(&pair.client);
    before = rsl_tls_output_bytes(pair.client.tls);
    assert_int_equal(rsl_tls_close_notify(pair.client.tls), RSL_TLS_DONE);
    assert_state(&pair.client, RSL_TLS_STATE_CLOSED);
    assert_int_equal(rsl_tls_output_bytes(pair.client.tls), before);
    assert_int_equal(rsl_tls_handshake(pair.client.tls), RSL_TLS_ERROR);
    tls_pair_close(&pair);
}

/* The leak checker looks: after each byte of a connection's life. */
static void
freeing_in_any_state_leaks_nothing(void **state)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();
    bool whole = false;
    tls_pair pair;

    (void)state;
    tls_pair_open(&pair, &client, &server, "localhost");
    for (size_t steps = 0; !whole; steps++) {
        whole = true;
        tls_pair_again(&pair, "localhost");
        tls_end_step(&pair.client);
        for (size_t i = 0; i < steps; i++) {
            tls_end *from = i % 2 == 0 ? &pair.client : &pair.server;
            tls_end *to = i % 2 == 0 ? &pair.server : &pair.client;
            whole = tls_pair_carry(&pair, from, to) == 0;
        }
        whole = whole && steps > 2;
    }
    tls_pair_shake(&pair);
    tls_end_say(&pair.client, "unsent and unread");
    tls_pair_again(&pair, "localhost"); /* with output left */
    tls_pair_shake(&pair);
    assert_int_equal(rsl_tls_close_notify(pair.client.tls), RSL_TLS_DONE);
    tls_pair_again(&pair, "localhost"); /* with half of it closed */
    tls_pair_shake(&pair);
    tls_end_feed(&pair.client, (const uint8_t *)"no record", 9);
    tls_pair_close(&pair); /* and failed */
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(each_side_closes_its_direction),
    cmocka_unit_test(a_half_closed_connection_still_carries_the_other_half),
    cmocka_unit_test(both_may_close_at_once),
    cmocka_unit_test(an_end_without_close_notify_is_a_truncation),
    cmocka_unit_test(an_end_within_a_record_is_a_truncation),
    cmocka_unit_test(an_end_after_close_notify_is_none),
    cmocka_unit_test(an_end_during_the_handshake_is_an_error),
    cmocka_unit_test(closing_during_the_handshake_says_nothing),
    cmocka_unit_test(freeing_in_any_state_leaks_nothing),
};

const tls_group tls_close_cases = TLS_GROUP(tests);
