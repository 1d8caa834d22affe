/* SPDX-License-Identifier: Apache-2.0 */
/* turn_fixture.h - one runtime on the fake with one conn that reads.
 *
 * Role:    shared by the tests that play loop thread and runtime thread on one
 *          thread: rsl_tick() is the runtime thread, and the fake's steal hook
 *          is what the loop thread does in the middle of a tick.
 * Thread:  one.
 * Memory:  turn_set_up() .. turn_tear_down(), cmocka's. */
#ifndef TURN_FIXTURE_H
#define TURN_FIXTURE_H

#include "core/tick.h"
#include "fake_backend.h"
#include "fake_loop.h"
#include "net/conn_impl.h"

typedef struct fixture {
    rsl_runtime *rt;
    fake_backend *fake;
    fake_loop loop;
    fake_reader reader;
    rsl_conn *conn; /* reading */
    int peer;
    int64_t slept_ns;
    rsl_status status;
    uint8_t *bytes; /* freed with the fixture */
    unsigned loans_returned;
} fixture;

int turn_set_up(void **state);
int turn_tear_down(void **state);

#define TURN_TEST(name) \
    cmocka_unit_test_setup_teardown(name, turn_set_up, turn_tear_down)

/* The peer sends `text`. */
void feed(fixture *f, const char *text);

/* Exactly `text` has reached the protocol. */
void assert_delivered(fixture *f, const char *text);

void turns(fixture *f, int count);

#endif
