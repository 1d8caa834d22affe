/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_flight.c - any bytes as what a peer sends first.
 *
 * Input: a byte that chooses (fuzz_world.h), the size of the pieces in which
 * the rest is fed, and the rest. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "fuzz_world.h"

static void
flight_step(rsl_tls *tls)
{
    uint8_t buf[512];
    size_t some;

    if (rsl_tls_handshake(tls) != RSL_TLS_DONE) {
        return;
    }
    while (rsl_tls_read(tls, buf, sizeof buf, &some) == RSL_TLS_DONE) {
        assert(some > 0 && some <= sizeof buf);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rsl_tls *tls;
    size_t part;

    if (size < 2) {
        return 0;
    }
    tls = fuzz_open(data[0], !(data[0] & FUZZ_AS_CLIENT));
    if (tls == NULL) {
        return 0;
    }
    flight_step(tls);
    for (size_t at = 2; at < size; at += part) {
        part = data[1] == 0 ? size - at : data[1];
        part = part < size - at ? part : size - at;
        rsl_tls_feed(tls, data + at, part);
        flight_step(tls);
        assert(rsl_tls_keep(tls) == RSL_OK);
        /* Nobody knows our keys. */
        assert(rsl_tls_state_now(tls) != RSL_TLS_STATE_OPEN);
        if (rsl_tls_state_now(tls) == RSL_TLS_STATE_FAILED) {
            assert(rsl_tls_last_error(tls)->kind != RSL_TLS_ERR_NONE);
        }
    }
    rsl_tls_feed_eof(tls);
    flight_step(tls);
    assert(rsl_tls_state_now(tls) == RSL_TLS_STATE_FAILED);
    rsl_tls_free(tls);
    return 0;
}
