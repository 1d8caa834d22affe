/* SPDX-License-Identifier: Apache-2.0 */
/* handshake_fixture.h - connections whose handshakes are made on the pool.
 *
 * Role:    each side is driven as a transport does it: fed on the loop thread,
 *          stepped by the pool, its output carried when it has come back.
 * Thread:  the one that opened the loop.
 * Memory:  tls_pair_close() frees what a shake holds. */
#ifndef HANDSHAKE_FIXTURE_H
#define HANDSHAKE_FIXTURE_H

#include <rsl/handshake.h>

#include "tls_pair.h"

enum { PAIRS = 8 };

typedef struct test_loop {
    rsl_runtime *rt;
    rsl_sink sink;
    rsl_msg *arrived[4 * PAIRS];
    unsigned count;
} test_loop;

/* One end of a pair: its engine is away while `posted`. */
typedef struct side {
    tls_end *end;
    test_loop *loop;
    bool posted;
    unsigned steps, done, abandoned;
    rsl_tls_status status;
} side;

typedef struct shake {
    tls_pair pair;
    side client, server;
} shake;

void loop_open(test_loop *loop);
void loop_close(test_loop *loop);

/* Deliver what has come; sleep until there is something. What the owners
 * returned. */
int loop_turn(test_loop *loop);

/* Its next step goes to the pool; how it comes back. */
void side_post(side *s);
int side_done(void *object, rsl_tls_status status);
void side_abandon(void *object);

void
shake_open(shake *s, test_loop *loop, tls_library client, tls_library server);

/* Engines of another shake's contexts, as all connections of a server have. */
void shake_share(shake *s, const shake *other);

/* When both engines are at home, whoever has something to say is heard. True
 * while one of them is away. */
bool shake_go_on(shake *s);

#endif
