/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tls/client_hello.h"
#include "tls_pair.h"

/* What a client of mbedTLS says first. */
static uint8_t *
greeting(size_t *len)
{
    tls_settings client = {.library = TLS_MBEDTLS, .alpn = "h2,http/1.1"};
    tls_settings server = {.library = TLS_MBEDTLS, .server = true};
    tls_pair pair;
    uint8_t *data;

    tls_pair_open(&pair, &client, &server, "www.example.com");
    tls_end_step(&pair.client);
    data = tls_end_take(&pair.client, len);
    tls_pair_close(&pair);
    return data;
}

static void
assert_found(const uint8_t *data, size_t len)
{
    static const char *const second[] = {"http/1.1", NULL};
    static const char *const other[] = {"http/1.0", "h", NULL};
    uint8_t *room = malloc(len);
    rsl_client_hello hello;

    assert_int_equal(rsl_client_hello_look(data, len), RSL_HELLO_DONE);
    assert_int_equal(rsl_client_hello_read(data, len, room, &hello),
                     RSL_HELLO_DONE);
    assert_int_equal(hello.server_name_len, strlen("www.example.com"));
    assert_memory_equal(hello.server_name, "www.example.com", 15);
    assert_true(rsl_client_hello_offers(&hello, second));
    assert_false(rsl_client_hello_offers(&hello, other));
    free(room);
}

static void
name_and_protocols_are_found(void **state)
{
    size_t len;
    uint8_t *data = greeting(&len);

    (void)state;
    assert_found(data, len);
    free(data);
}

static void
less_than_all_of_it_is_not_enough(void **state)
{
    size_t len;
    uint8_t *data = greeting(&len);

    (void)state;
    for (size_t part = 0; part < len; part++) {
        uint8_t *copy = malloc(part + 1);

        memcpy(copy, data, part);
        assert_int_equal(rsl_client_hello_look(copy, part), RSL_HELLO_MORE);
        free(copy);
    }
    free(data);
}

static void
it_may_come_in_many_records(void **state)
{
    size_t len, end = 0;
    uint8_t *data = greeting(&len), *cut = malloc(len * 6);

    (void)state;
    for (size_t at = 5; at < len;) {
        size_t part = 1 + at % 7;

        part = part < len - at ? part : len - at;
        memcpy(cut + end, (const uint8_t[5]){22, 3, 1, 0, (uint8_t)part}, 5);
        memcpy(cut + end + 5, data + at, part);
        end += 5 + part;
        at += part;
    }
    assert_found(cut, end);
    free(cut);
    free(data);
}

static void
what_is_none_is_said_to_be_strange(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } strange[] = {
        {"GET / HTTP/1.1", 14},
        {"\x16\x02", 2},
        {"\x16\x03\x01\x00\x00", 5},
        {"\x16\x03\x01\x00\x04\x02\x00\x00\x00", 9},
        {"\x16\x03\x01\x00\x04\x01\xff\xff\xff", 9},
        {"\x17", 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        assert_int_equal(rsl_client_hello_look(
                             (const uint8_t *)strange[i].bytes, strange[i].len),
                         RSL_HELLO_STRANGE);
    }
    assert_int_equal(rsl_client_hello_look(NULL, 0), RSL_HELLO_MORE);
}

static void
a_broken_one_is_survived(void **state)
{
    size_t len;
    uint8_t *data = greeting(&len), *room = malloc(len);

    (void)state;
    for (size_t at = 9; at < len; at++) {
        for (int bit = 0; bit < 8; bit++) {
            rsl_client_hello hello;

            data[at] ^= (uint8_t)(1 << bit);
            if (rsl_client_hello_look(data, len) == RSL_HELLO_DONE
                && rsl_client_hello_read(data, len, room, &hello)
                       != RSL_HELLO_DONE) {
                assert_null(hello.server_name);
                assert_null(hello.alpn);
            }
            data[at] ^= (uint8_t)(1 << bit);
        }
    }
    free(room);
    free(data);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(name_and_protocols_are_found),
        cmocka_unit_test(less_than_all_of_it_is_not_enough),
        cmocka_unit_test(it_may_come_in_many_records),
        cmocka_unit_test(what_is_none_is_said_to_be_strange),
        cmocka_unit_test(a_broken_one_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
