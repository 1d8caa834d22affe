/* SPDX-License-Identifier: Apache-2.0 */
/* tls_cases.h - what holds for every pair of engines and every version.
 *
 * Role:    test_tls.c runs each group for each combination; `tls_combo` is the
 *          current one.
 * Thread:  the test's.
 * Memory:  none. */
#ifndef TLS_CASES_H
#define TLS_CASES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tls_pair.h"

typedef struct tls_combination {
    const char *name;
    tls_library client, server;
    int version;
} tls_combination;

extern tls_combination tls_combo;

/* Settings of the current combination, to be added to. */
tls_settings tls_client_settings(void);
tls_settings tls_server_settings(void);

/* A pair without special settings, with its handshake done. */
void tls_pair_plain(tls_pair *pair);

/* The first error that a pair has met: kind and alert. */
void
tls_assert_alert(const rsl_tls *sender, const rsl_tls *receiver, int alert);

typedef struct tls_group {
    const struct CMUnitTest *tests;
    size_t count;
} tls_group;

extern const tls_group tls_handshake_cases;
extern const tls_group tls_verify_cases;
extern const tls_group tls_data_cases;
extern const tls_group tls_close_cases;
extern const tls_group tls_fault_cases;

#define TLS_GROUP(tests) {tests, sizeof(tests) / sizeof *(tests)}

#endif
