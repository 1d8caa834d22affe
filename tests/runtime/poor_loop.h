/* SPDX-License-Identifier: Apache-2.0 */
/* poor_loop.h - a loop that allocates nothing itself.
 *
 * Role:    the driver of test_no_memory.c: turns, and what came in them.
 * Thread:  the loop thread.
 * Memory:  events in an array of its own; the runtime is the test's. */
#ifndef POOR_LOOP_H
#define POOR_LOOP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <rsl/runtime.h>

enum { POOR_EVENTS = 4096, POOR_TURNS = 20, POOR_TURN_NS = 2000000 };

typedef struct poor_loop {
    rsl_runtime *rt;
    rsl_sink sink;
    rsl_event events[POOR_EVENTS];
    unsigned count;
    size_t received;
    unsigned ends, messages, datagrams, watched, accepts;
} poor_loop;

/* Which backend poor_begin() opens. */
extern rsl_backend_kind poor_backend;

/* Loans that have not come back; who writes counts them. */
extern unsigned poor_loans;

/* A runtime that is entered; false when memory was out. */
bool poor_begin(poor_loop *loop);
void poor_end(poor_loop *loop);

void poor_turn(poor_loop *loop);

#define poor_until(loop, condition)                                     \
    for (int poor_i = 0; poor_i < POOR_TURNS && !(condition); poor_i++) \
    poor_turn(loop)

#endif
