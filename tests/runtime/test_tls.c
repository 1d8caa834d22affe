/* SPDX-License-Identifier: Apache-2.0 */
/* test_tls.c - each engine against itself and against the others, in both
 * roles and both versions. */
#include <stdio.h>

#include "tls_cases.h"

tls_combination tls_combo;

tls_settings
tls_client_settings(void)
{
    return (tls_settings){.library = tls_combo.client,
                          .version = tls_combo.version};
}

tls_settings
tls_server_settings(void)
{
    return (tls_settings){.library = tls_combo.server,
                          .version = tls_combo.version,
                          .server = true};
}

void
tls_pair_plain(tls_pair *pair)
{
    tls_settings client = tls_client_settings();
    tls_settings server = tls_server_settings();

    tls_pair_open(pair, &client, &server, "localhost");
    tls_pair_shake(pair);
}

void
tls_assert_alert(const rsl_tls *sender, const rsl_tls *receiver, int alert)
{
    const rsl_tls_error *sent = rsl_tls_last_error(sender);
    const rsl_tls_error *received = rsl_tls_last_error(receiver);

    assert_true(sent->alert_sent);
    assert_int_equal(sent->sent_alert, alert);
    assert_true(received->alert_received);
    assert_int_equal(received->received_alert, alert);
}

static int
run_group(const tls_group *group, const char *what)
{
    char name[128];

    snprintf(name, sizeof name, "%s: %s", tls_combo.name, what);
    printf("%s\n", name);
    return _cmocka_run_group_tests(name, group->tests, group->count, NULL,
                                   NULL);
}

static const tls_combination combinations[] = {
    {"openssl, 1.3", TLS_OPENSSL, TLS_OPENSSL, TLS_1_3},
    {"openssl, 1.2", TLS_OPENSSL, TLS_OPENSSL, TLS_1_2},
    {"mbedtls, 1.3", TLS_MBEDTLS, TLS_MBEDTLS, TLS_1_3},
    {"mbedtls, 1.2", TLS_MBEDTLS, TLS_MBEDTLS, TLS_1_2},
    {"mbedtls to openssl, 1.3", TLS_MBEDTLS, TLS_OPENSSL, TLS_1_3},
    {"mbedtls to openssl, 1.2", TLS_MBEDTLS, TLS_OPENSSL, TLS_1_2},
    {"openssl to mbedtls, 1.3", TLS_OPENSSL, TLS_MBEDTLS, TLS_1_3},
    {"openssl to mbedtls, 1.2", TLS_OPENSSL, TLS_MBEDTLS, TLS_1_2},
};

int
main(void)
{
    int failed = 0, run = 0;

    for (size_t i = 0; i < sizeof combinations / sizeof *combinations; i++) {
        const char *fault;

        tls_combo = combinations[i];
        fault = tls_library_fault(tls_combo.client);
        fault = fault == NULL ? tls_library_fault(tls_combo.server) : fault;
        if (fault != NULL) {
            printf("%s: skipped, %s\n", tls_combo.name, fault);
            continue;
        }
        run++;
        failed += run_group(&tls_handshake_cases, "handshake");
        failed += run_group(&tls_verify_cases, "verification");
        failed += run_group(&tls_data_cases, "data");
        failed += run_group(&tls_close_cases, "close");
        failed += run_group(&tls_fault_cases, "faults");
    }
    if (run == 0) {
        return 77;
    }
    return failed == 0 ? 0 : 1;
}
