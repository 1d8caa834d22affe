/* SPDX-License-Identifier: Apache-2.0 */
/* Requests, whole, in parts and bad, and what they are answered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sight/http.h"

enum { MAX = 256 };

static const struct {
    const char *request;
    rsl_http_verdict verdict;
} cases[] = {
    {"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", RSL_HTTP_OK},
    {"GET /metrics HTTP/1.0\n\n", RSL_HTTP_OK},
    {"GET /metrics?name=x HTTP/1.1\r\n\r\n", RSL_HTTP_OK},
    {"GET /metrics HTTP/1.1\r\n\r\nbody", RSL_HTTP_OK},
    {"GET /metrics HTTP/1.1\r\nHost: x\r\n", RSL_HTTP_MORE},
    {"G", RSL_HTTP_MORE},
    {"", RSL_HTTP_MORE},
    {"GET / HTTP/1.1\r\n\r\n", RSL_HTTP_NOT_FOUND},
    {"GET /metricsx HTTP/1.1\r\n\r\n", RSL_HTTP_NOT_FOUND},
    {"GET /metric HTTP/1.1\r\n\r\n", RSL_HTTP_NOT_FOUND},
    {"GET ?/metrics HTTP/1.1\r\n\r\n", RSL_HTTP_NOT_FOUND},
    {"POST /metrics HTTP/1.1\r\n\r\n", RSL_HTTP_METHOD_NOT_ALLOWED},
    {"GETX /metrics HTTP/1.1\r\n\r\n", RSL_HTTP_METHOD_NOT_ALLOWED},
    {"GET /metrics HTTP/2.0\r\n\r\n", RSL_HTTP_VERSION},
    {"GET /metrics HTTP/1.12\r\n\r\n", RSL_HTTP_BAD_REQUEST},
    {"GET /metrics\r\n\r\n", RSL_HTTP_BAD_REQUEST},
    {"GET  /metrics HTTP/1.1\r\n\r\n", RSL_HTTP_BAD_REQUEST},
    {"GET /metrics HTTP/1.1 x\r\n\r\n", RSL_HTTP_BAD_REQUEST},
    {"GEt /metrics HTTP/1.1\r\n\r\n", RSL_HTTP_BAD_REQUEST},
    {"get /metrics HTTP/1.1\r\n\r\n", RSL_HTTP_BAD_REQUEST},
    {"\r\n\r\n", RSL_HTTP_BAD_REQUEST},
    {"\x16\x03\x01", RSL_HTTP_BAD_REQUEST},
    {"GET\r\n\r\n", RSL_HTTP_BAD_REQUEST},
};

/* A copy without room around it: the sanitizer sees a look too far. */
static rsl_http_verdict
judge(const char *request, size_t len)
{
    char *copy = malloc(len == 0 ? 1 : len);
    rsl_http_verdict verdict;

    assert_non_null(copy);
    memcpy(copy, request, len);
    verdict = rsl_http_judge(copy, len, MAX);
    free(copy);
    return verdict;
}

static void
requests_get_their_verdict(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *request = cases[i].request;

        assert_int_equal(judge(request, strlen(request)), cases[i].verdict);
    }
}

static void
a_part_of_a_good_request_wants_more(void **state)
{
    const char *request = cases[0].request;

    (void)state;
    for (size_t len = 0; len < strlen(request); len++) {
        assert_int_equal(judge(request, len), RSL_HTTP_MORE);
    }
}

static void
a_head_that_does_not_end_is_too_large(void **state)
{
    char request[MAX];

    (void)state;
    memset(request, 'A', sizeof request);
    assert_int_equal(judge(request, MAX - 1), RSL_HTTP_MORE);
    assert_int_equal(judge(request, MAX), RSL_HTTP_TOO_LARGE);
}

static void
a_nul_is_bad(void **state)
{
    static const char request[] = "GET /metrics\0x HTTP/1.1\r\n\r\n";

    (void)state;
    assert_int_equal(judge(request, sizeof request - 1), RSL_HTTP_BAD_REQUEST);
}

/* Whatever comes, there is a verdict, and no look beyond its bytes. */
static void
noise_gets_a_verdict(void **state)
{
    static const char alphabet[] = "GET /metrics HTTP/1.1\r\n\r\n?\0\xff";
    uint32_t seed = 1;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        char request[64];
        size_t len;

        seed = seed * 1664525 + 1013904223;
        len = (seed >> 16) % sizeof request;
        for (size_t i = 0; i < len; i++) {
            seed = seed * 1664525 + 1013904223;
            request[i] = (seed >> 28) != 0 && i + 1 < sizeof alphabet
                             ? alphabet[i]
                             : alphabet[(seed >> 16) % sizeof alphabet];
        }
        assert_non_null(rsl_http_status(judge(request, len)));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_get_their_verdict),
        cmocka_unit_test(a_part_of_a_good_request_wants_more),
        cmocka_unit_test(a_head_that_does_not_end_is_too_large),
        cmocka_unit_test(a_nul_is_bad),
        cmocka_unit_test(noise_gets_a_verdict),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
