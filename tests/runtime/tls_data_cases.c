/* SPDX-License-Identifier: Apache-2.0 */
/* tls_data_cases.c - bytes of an open connection. */
#include "tls_cases.h"

enum { BIG = 1 << 20 };

static uint8_t *
pattern(size_t len)
{
    uint8_t *data = malloc(len);
    uint32_t seed = 7;

    assert_non_null(data);
    for (size_t i = 0; i < len; i++) {
        data[i] = (uint8_t)tls_random(&seed);
    }
    return data;
}

/* Write all, sending whenever the output is full. The most that waited. */
static size_t
write_all(tls_pair *pair, tls_end *from, tls_end *to, const struct iovec *piece)
{
    struct iovec rest = *piece;
    size_t most = 0, taken;

    while (rest.iov_len > 0) {
        assert_int_equal(rsl_tls_write(from->tls, &rest, 1, &taken),
                         RSL_TLS_DONE);
        assert_true(taken > 0);
        rest.iov_base = (uint8_t *)rest.iov_base + taken;
        rest.iov_len -= taken;
        if (rsl_tls_output_bytes(from->tls) > most) {
            most = rsl_tls_output_bytes(from->tls);
        }
        tls_pair_carry(pair, from, to);
    }
    return most;
}

static void
big_writes_are_taken_in_parts(void **state)
{
    struct iovec piece = {pattern(BIG), BIG};
    tls_pair pair;
    size_t most;

    (void)state;
    tls_pair_plain(&pair);
    pair.cut = TLS_RANDOM;
    most = write_all(&pair, &pair.client, &pair.server, &piece);
    assert_in_range(most, RSL_TLS_OUTPUT_HIGH,
                    RSL_TLS_OUTPUT_HIGH + RSL_TLS_RECORD_MAX + 256);
    assert_int_equal(pair.server.got_len, BIG);
    assert_memory_equal(pair.server.got, piece.iov_base, BIG);
    write_all(&pair, &pair.server, &pair.client, &piece);
    assert_int_equal(pair.client.got_len, BIG);
    assert_memory_equal(pair.client.got, piece.iov_base, BIG);
    free(piece.iov_base);
    tls_pair_close(&pair);
}

static void
nothing_is_taken_while_the_output_is_full(void **state)
{
    struct iovec piece = {pattern(BIG), BIG};
    tls_pair pair;
    size_t taken;

    (void)state;
    tls_pair_plain(&pair);
    assert_int_equal(rsl_tls_write(pair.client.tls, &piece, 1, &taken),
                     RSL_TLS_DONE);
    assert_in_range(taken, 1, BIG - 1);
    assert_int_equal(rsl_tls_write(pair.client.tls, &piece, 1, &taken),
                     RSL_TLS_DONE);
    assert_int_equal(taken, 0);
    free(piece.iov_base);
    tls_pair_close(&pair);
}

/* Records in a stream of ciphertext, by their headers. */
static unsigned
count_records(const uint8_t *data, size_t len)
{
    unsigned count = 0;
    size_t at = 0;

    while (at + 5 <= len) {
        at += 5 + ((size_t)data[at + 3] << 8 | data[at + 4]);
        count++;
    }
    assert_int_equal(at, len);
    return count;
}

static void
small_pieces_share_a_record(void **state)
{
    struct iovec pieces[200];
    uint8_t *data = pattern(2000), *sent;
    size_t taken, len;
    tls_pair pair;

    (void)state;
    for (size_t i = 0; i < 200; i++) {
        /* Some of them are empty. */
        pieces[i] = (struct iovec){data + i * 10, i % 7 == 0 ? 0 : 10};
    }
    tls_pair_plain(&pair);
    assert_int_equal(rsl_tls_write(pair.client.tls, pieces, 200, &taken),
                     RSL_TLS_DONE);
    assert_int_equal(taken, 1710);
    sent = tls_end_take(&pair.client, &len);
    assert_int_equal(count_records(sent, len), 1);
    tls_end_feed(&pair.server, sent, len);
    assert_int_equal(pair.server.got_len, 1710);
    assert_memory_equal(pair.server.got, data + 10, 60);
    assert_memory_equal(pair.server.got + 60, data + 80, 60);
    free(sent);
    free(data);
    tls_pair_close(&pair);
}

static void
records_are_full_whatever_the_pieces(void **state)
{
    struct iovec pieces[3];
    uint8_t *data = pattern(60000), *sent;
    size_t taken, len;
    tls_pair pair;

    (void)state;
    pieces[0] = (struct iovec){data, 10000};
    pieces[1] = (struct iovec){data + 10000, 33000};
    pieces[2] = (struct iovec){data + 43000, 5000};
    tls_pair_plain(&pair);
    assert_int_equal(rsl_tls_write(pair.client.tls, pieces, 3, &taken),
                     RSL_TLS_DONE);
    assert_int_equal(taken, 48000);
    sent = tls_end_take(&pair.client, &len);
    assert_int_equal(count_records(sent, len), 3);
    tls_end_feed(&pair.server, sent, len);
    assert_int_equal(pair.server.got_len, 48000);
    assert_memory_equal(pair.server.got, data, 48000);
    free(sent);
    free(data);
    tls_pair_close(&pair);
}

static void
an_empty_write_sends_nothing(void **state)
{
    struct iovec piece = {NULL, 0};
    tls_pair pair;
    size_t taken;

    (void)state;
    tls_pair_plain(&pair);
    tls_pair_run(&pair);
    assert_int_equal(rsl_tls_write(pair.client.tls, &piece, 1, &taken),
                     RSL_TLS_DONE);
    assert_int_equal(rsl_tls_write(pair.client.tls, &piece, 0, &taken),
                     RSL_TLS_DONE);
    assert_int_equal(taken, 0);
    assert_int_equal(rsl_tls_output_bytes(pair.client.tls), 0);
    tls_pair_close(&pair);
}

static void
a_small_buffer_gets_the_rest_later(void **state)
{
    const char *text = "more than fits";
    char buf[5], all[32] = "";
    size_t len, filled = 0, some;
    tls_pair pair;
    uint8_t *sent;

    (void)state;
    tls_pair_plain(&pair);
    tls_pair_run(&pair);
    tls_end_say(&pair.client, text);
    sent = tls_end_take(&pair.client, &len);
    rsl_tls_feed(pair.server.tls, sent, len);
    while (rsl_tls_read(pair.server.tls, buf, sizeof buf, &some)
           == RSL_TLS_DONE) {
        assert_in_range(some, 1, sizeof buf);
        memcpy(all + filled, buf, some);
        filled += some;
        assert_int_equal(rsl_tls_has_input(pair.server.tls),
                         filled < strlen(text));
    }
    assert_string_equal(all, text);
    assert_int_equal(rsl_tls_keep(pair.server.tls), RSL_OK);
    free(sent);
    tls_pair_close(&pair);
}

static void
what_was_not_read_is_kept(void **state)
{
    tls_pair pair;
    uint8_t *sent;
    size_t len;

    (void)state;
    tls_pair_plain(&pair);
    tls_pair_run(&pair);
    for (int i = 0; i < 10; i++) {
        tls_end_say(&pair.client, "0123456789");
        sent = tls_end_take(&pair.client, &len);
        rsl_tls_feed(pair.server.tls, sent, len);
        assert_int_equal(rsl_tls_keep(pair.server.tls), RSL_OK);
        memset(sent, 0xff, len);
        free(sent);
    }
    assert_true(rsl_tls_input_bytes(pair.server.tls) >= 10 * len);
    tls_end_step(&pair.server);
    assert_int_equal(pair.server.got_len, 100);
    assert_memory_equal(pair.server.got + 90, "0123456789", 10);
    assert_int_equal(rsl_tls_input_bytes(pair.server.tls), 0);
    tls_pair_close(&pair);
}

/* A send that is in flight reads its memory while the next is prepared. */
static void
output_stays_where_it_is(void **state)
{
    struct iovec before[4], after[4];
    tls_pair pair;
    uint8_t copy[64];

    (void)state;
    tls_pair_plain(&pair);
    tls_pair_run(&pair);
    tls_end_say(&pair.client, "first");
    assert_int_equal(rsl_tls_output(pair.client.tls, before, 4), 1);
    assert_true(before[0].iov_len < sizeof copy);
    memcpy(copy, before[0].iov_base, before[0].iov_len);
    for (int i = 0; i < 100; i++) {
        tls_end_say(&pair.client, "one that follows it");
    }
    assert_true(rsl_tls_output(pair.client.tls, after, 4) > 1);
    assert_ptr_equal(after[0].iov_base, before[0].iov_base);
    assert_memory_equal(copy, after[0].iov_base, before[0].iov_len);
    rsl_tls_consume(pair.client.tls, 3);
    assert_int_equal(rsl_tls_output(pair.client.tls, after, 1), 1);
    assert_ptr_equal(after[0].iov_base, (uint8_t *)before[0].iov_base + 3);
    tls_pair_close(&pair);
}

static void
both_directions_at_once(void **state)
{
    struct iovec piece = {pattern(BIG), BIG};
    struct iovec up = piece, down = piece;
    tls_pair pair;

    (void)state;
    tls_pair_plain(&pair);
    pair.cut = TLS_RANDOM;
    while (up.iov_len > 0 || down.iov_len > 0) {
        size_t taken;

        assert_int_equal(rsl_tls_write(pair.client.tls, &up, 1, &taken),
                         RSL_TLS_DONE);
        up.iov_base = (uint8_t *)up.iov_base + taken;
        up.iov_len -= taken;
        assert_int_equal(rsl_tls_write(pair.server.tls, &down, 1, &taken),
                         RSL_TLS_DONE);
        down.iov_base = (uint8_t *)down.iov_base + taken;
        down.iov_len -= taken;
        tls_pair_carry(&pair, &pair.client, &pair.server);
        tls_pair_carry(&pair, &pair.server, &pair.client);
    }
    assert_int_equal(pair.client.got_len, BIG);
    assert_memory_equal(pair.client.got, piece.iov_base, BIG);
    assert_int_equal(pair.server.got_len, BIG);
    assert_memory_equal(pair.server.got, piece.iov_base, BIG);
    free(piece.iov_base);
    tls_pair_close(&pair);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(big_writes_are_taken_in_parts),
    cmocka_unit_test(nothing_is_taken_while_the_output_is_full),
    cmocka_unit_test(small_pieces_share_a_record),
    cmocka_unit_test(records_are_full_whatever_the_pieces),
    cmocka_unit_test(an_empty_write_sends_nothing),
    cmocka_unit_test(a_small_buffer_gets_the_rest_later),
    cmocka_unit_test(what_was_not_read_is_kept),
    cmocka_unit_test(output_stays_where_it_is),
    cmocka_unit_test(both_directions_at_once),
};

const tls_group tls_data_cases = TLS_GROUP(tests);
