/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_world.h - contexts that all runs of a fuzzer share.
 *
 * Role:    engines of the library, the role and the version that the bits of
 *          an input's first byte name.
 * Thread:  one.
 * Memory:  the contexts live as long as the process. */
#ifndef FUZZ_WORLD_H
#define FUZZ_WORLD_H

#include "tls_side.h"

enum {
    FUZZ_CLIENT_MBEDTLS = 1,
    FUZZ_SERVER_MBEDTLS = 2,
    FUZZ_TLS_1_2 = 4,
    FUZZ_VERIFY_CLIENT = 8,
    FUZZ_AS_CLIENT = 16, /* fuzz_flight: the engine is the client */
    FUZZ_CHOICES = 32,
};

/* A client or a server for these bits; NULL where its library is missing. */
rsl_tls *fuzz_open(unsigned choice, bool server);

#endif
