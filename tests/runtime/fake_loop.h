/* SPDX-License-Identifier: Apache-2.0 */
/* fake_loop.h - the loop thread's caller, as small as it can be.
 *
 * Role:    what pyext does with the runtime: turns, a ready queue, and a
 *          protocol that collects bytes. A conn's owner is its fake_reader.
 * Thread:  the loop thread.
 * Memory:  fake_loop_init() .. fake_loop_fini(); readers are the test's. */
#ifndef FAKE_LOOP_H
#define FAKE_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rsl/runtime.h>

enum { FAKE_RECV_BYTES = 64, FAKE_READY_FEW = 64 };

/* One stream's protocol. */
typedef struct fake_reader {
    uint8_t *bytes; /* everything that was delivered */
    size_t len;
    unsigned eofs, errors;
    int error;      /* the last one */
    unsigned sents; /* RSL_EV_SENT */
    int sent_code;
    bool paused;
    bool eof_waits; /* came while paused: an end is not told before bytes */
} fake_reader;

typedef struct fake_loop {
    rsl_runtime *rt;
    rsl_sink sink;    /* into `ready` */
    rsl_event *ready; /* a ring: `few` until it has to grow */
    unsigned head, count, cap;
    rsl_event few[FAKE_READY_FEW];
    unsigned calls;          /* RSL_EV_CALL seen */
    void (*call)(void *ptr); /* what to do with them; may be NULL */
} fake_loop;

void fake_loop_init(fake_loop *loop, rsl_runtime *rt);
void fake_loop_fini(fake_loop *loop);
void fake_reader_fini(fake_reader *reader);

/* One turn; sleeps at most `timeout_ns` when nothing is ready. */
void fake_loop_turn(fake_loop *loop, int64_t timeout_ns);

/* Its parts: until something may be ready; run at most `most`. */
void fake_loop_poll(fake_loop *loop, int64_t timeout_ns);
void fake_loop_run(fake_loop *loop, unsigned most);

/* The protocol's pause_reading() and resume_reading(). */
void fake_pause(rsl_conn *conn);
void fake_resume(rsl_runtime *rt, rsl_conn *conn);

#endif
