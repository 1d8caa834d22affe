/* SPDX-License-Identifier: Apache-2.0 */
/* tls_pair.h - a client and a server that talk through memory.
 *
 * Role:    carries ciphertext between two engines, whole, in single bytes or
 *          in random pieces, and collects the plaintext that arrives.
 * Thread:  any, one at a time.
 * Memory:  tls_pair_close() frees what a pair holds. */
#ifndef TLS_PAIR_H
#define TLS_PAIR_H

#include "tls_side.h"

typedef enum tls_cut {
    TLS_WHOLE,
    TLS_BYTES,
    TLS_RANDOM,
} tls_cut;

typedef struct tls_end {
    tls_context *context;
    rsl_tls *tls;
    rsl_tls_status status; /* of the last step */
    uint8_t *got;
    size_t got_len, got_cap;
} tls_end;

typedef struct tls_pair {
    tls_end client, server;
    tls_cut cut;
    uint32_t seed;
} tls_pair;

/* Contexts and engines, connected to nothing yet. The client asks for
 * "localhost", or for nobody when `name` is NULL. */
void tls_pair_open(tls_pair *pair, const tls_settings *client,
                   const tls_settings *server, const char *name);

/* New engines of the same contexts. */
void tls_pair_again(tls_pair *pair, const char *name);

void tls_pair_close(tls_pair *pair);

/* Carry everything both ways until nothing moves. */
void tls_pair_run(tls_pair *pair);

/* Run, and both sides have to be open. */
void tls_pair_shake(tls_pair *pair);

/* Carry what `from` has to say to `to`; the number of bytes. */
size_t tls_pair_carry(tls_pair *pair, tls_end *from, tls_end *to);

/* Feed bytes that a test has made. */
void tls_end_feed(tls_end *end, const uint8_t *data, size_t len);

/* Take the handshake, or reading, as far as it goes. */
void tls_end_step(tls_end *end);

/* All output of an end, consumed, for free(). */
uint8_t *tls_end_take(tls_end *end, size_t *len);

/* Write all of it; fails the test if that cannot be done at once. */
void tls_end_say(tls_end *end, const char *text);

uint32_t tls_random(uint32_t *seed);

#endif
