/* SPDX-License-Identifier: Apache-2.0 */
/* test_tls_no_memory.c - each allocation of ours fails once: an engine says
 * so, fails, and leaks nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tls_pair.h"
#include "wrap.h"

enum { POOR_ALLOCATIONS_MAX = 60 };

/* Carry what there is, without helpers that allocate. False when an engine has
 * met the failure. */
static bool
poor_carry(rsl_tls *from, rsl_tls *to)
{
    static uint8_t wire[1 << 17];
    size_t len = 0, some;
    struct iovec iov[8];

    while (rsl_tls_output_bytes(from) > 0) {
        rsl_tls_output(from, iov, 8);
        assert_true(len + iov[0].iov_len <= sizeof wire);
        memcpy(wire + len, iov[0].iov_base, iov[0].iov_len);
        len += iov[0].iov_len;
        rsl_tls_consume(from, iov[0].iov_len);
    }
    /* In two parts: the first leaves a piece of a record behind. */
    for (size_t done = 0; done < len; done += some) {
        static uint8_t plain[1 << 16];
        size_t got;

        some = done == 0 && len > 3 ? len - 3 : len - done;
        rsl_tls_feed(to, wire + done, some);
        if (rsl_tls_handshake(to) == RSL_TLS_DONE) {
            while (rsl_tls_read(to, plain, sizeof plain, &got)
                   == RSL_TLS_DONE) {
            }
        }
        if (rsl_tls_keep(to) != RSL_OK
            || rsl_tls_state_now(to) == RSL_TLS_STATE_FAILED) {
            return false;
        }
    }
    return true;
}

static bool
poor_connect(rsl_tls *client, rsl_tls *server)
{
    struct iovec piece = {(char[20000]){"x"}, 20000};
    size_t taken;

    if (rsl_tls_handshake(client) == RSL_TLS_ERROR) {
        return false;
    }
    for (int i = 0; i < 4; i++) {
        if (!poor_carry(client, server) || !poor_carry(server, client)) {
            return false;
        }
    }
    assert_int_equal(rsl_tls_state_now(client), RSL_TLS_STATE_OPEN);
    return rsl_tls_write(client, &piece, 1, &taken) == RSL_TLS_DONE
           && poor_carry(client, server)
           && rsl_tls_close_notify(client) == RSL_TLS_DONE;
}

static bool
poor_life(tls_context *client_context, tls_context *server_context)
{
    rsl_tls *client = tls_context_open(client_context, "localhost");
    rsl_tls *server = tls_context_open(server_context, NULL);
    bool done = client != NULL && server != NULL;

    if (done) {
        done = poor_connect(client, server);
        if (rsl_tls_state_now(client) == RSL_TLS_STATE_FAILED) {
            assert_int_not_equal(rsl_tls_last_error(client)->kind,
                                 RSL_TLS_ERR_NONE);
        }
    }
    rsl_tls_free(client);
    rsl_tls_free(server);
    return done;
}

static void
poor_engine(tls_library library)
{
    tls_settings client = {.library = library};
    tls_settings server = {.library = library, .server = true};
    tls_context *client_context, *server_context;
    unsigned nth;

    if (tls_library_fault(library) != NULL) {
        print_message("skipped: %s\n", tls_library_fault(library));
        return;
    }
    client_context = tls_context_new(&client);
    server_context = tls_context_new(&server);
    for (nth = 1; nth < POOR_ALLOCATIONS_MAX; nth++) {
        bool done;

        wrap_fail_allocation(nth);
        done = poor_life(client_context, server_context);
        if (!wrap_failed_allocation()) {
            assert_true(done);
            break;
        }
        wrap_fail_allocation(0);
        assert_true(poor_life(client_context, server_context));
    }
    wrap_fail_allocation(0);
    assert_in_range(nth, 5, POOR_ALLOCATIONS_MAX - 1);
    tls_context_free(client_context);
    tls_context_free(server_context);
}

static void
openssl_without_memory(void **state)
{
    (void)state;
    poor_engine(TLS_OPENSSL);
}

static void
mbedtls_without_memory(void **state)
{
    (void)state;
    poor_engine(TLS_MBEDTLS);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openssl_without_memory),
        cmocka_unit_test(mbedtls_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
