/* SPDX-License-Identifier: Apache-2.0 */
/* waits.h - waits for a socket whose socket has become ready.
 *
 * Role:    between the poll that found them and the end of that poll: futures
 *          are resolved afterwards, because that runs Python.
 * Thread:  loop thread.
 * Memory:  places only; the future is the loop_watch's. */
#ifndef PYRSL_WAITS_H
#define PYRSL_WAITS_H

#include <stddef.h>

struct LoopObject;

typedef struct pyrsl_wait_place {
    int fd;
    unsigned bit; /* RSL_WATCH_* */
} pyrsl_wait_place;

typedef struct pyrsl_waits {
    pyrsl_wait_place *places;
    size_t count, cap;
} pyrsl_waits;

/* -1 without an exception when memory is out. */
int pyrsl_waits_push(pyrsl_waits *waits, int fd, unsigned bit);

/* Resolve them all: their tasks join the ready queue. */
void pyrsl_waits_end(struct LoopObject *loop);

#endif
