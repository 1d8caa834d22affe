/* SPDX-License-Identifier: Apache-2.0 */
/* waits.h - waits that are over: for a socket, or for a job of an executor.
 *
 * Role:    between the poll that found them and the end of that poll: futures
 *          are resolved afterwards, because that runs Python.
 * Thread:  loop thread.
 * Memory:  a socket's place only, its future is the loop_watch's; a job's
 *          message. */
#ifndef PYRSL_WAITS_H
#define PYRSL_WAITS_H

#include <stddef.h>

#include <rsl/mailbox.h>

#include "pycompat.h"

struct LoopObject;

typedef struct pyrsl_wait_place {
    rsl_msg *work; /* PYRSL_MSG_WORK or _SETTLE; NULL: the socket's */
    int fd;
    unsigned bit; /* RSL_WATCH_* */
} pyrsl_wait_place;

typedef struct pyrsl_waits {
    pyrsl_wait_place *places;
    size_t count, cap;
    rsl_msg *late, **late_end; /* messages for which memory was out: a list */
} pyrsl_waits;

/* -1 without an exception when memory is out. */
int pyrsl_waits_push(pyrsl_waits *waits, int fd, unsigned bit);

/* Takes a job's outcome or native code's. It comes but once, so it needs no
 * memory. */
void pyrsl_waits_push_work(pyrsl_waits *waits, rsl_msg *msg);

/* Forget them all: the loop is closed. */
void pyrsl_waits_drop(pyrsl_waits *waits);

int pyrsl_waits_traverse(const pyrsl_waits *waits, visitproc visit, void *arg);

/* Resolve them all: their tasks join the ready queue. */
void pyrsl_waits_end(struct LoopObject *loop);

#endif
