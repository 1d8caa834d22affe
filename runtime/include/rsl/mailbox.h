/* SPDX-License-Identifier: Apache-2.0 */
/* mailbox.h - lock-free many-producer, one-consumer queue with park and wake.
 *
 * Role:    carries rsl_msg from any thread to the loop thread, in FIFO order
 *          per producer and in the order of the pushes overall.
 * Thread:  push from any thread; take, park and unpark by the consumer only.
 * Memory:  intrusive: the node belongs to the mailbox from push to take. */
#ifndef RSL_MAILBOX_H
#define RSL_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>

#include <rsl/event.h>
#include <rsl/status.h>

typedef struct rsl_msg rsl_msg;

/* A node. `event` is what the consumer's sink is given; the receiver of an
 * RSL_EV_MESSAGE takes the node. `discard` is called instead when the mailbox
 * is drained for good. */
struct rsl_msg {
    rsl_msg *next;
    rsl_event event;
    void (*discard)(rsl_msg *msg);
};

typedef struct rsl_mailbox {
    _Atomic(rsl_msg *) head; /* [A] newest first; NULL when empty */
    atomic_bool asleep;      /* [A] the consumer sleeps, or is about to */
    atomic_uint wakers;      /* [A] threads that may be writing to wake_fd */
    int wake_fd;             /* [K] eventfd, non-blocking, -1 once shut */
} rsl_mailbox;

/* Open the mailbox and its eventfd. */
rsl_status rsl_mailbox_init(rsl_mailbox *box, rsl_err *err);

/* Close the eventfd. The consumer never parks again; messages may still be
 * pushed and taken. Consumer. Idempotent. */
void rsl_mailbox_shut(rsl_mailbox *box);

/* Shut, and discard what is left. No producer may be left. */
void rsl_mailbox_fini(rsl_mailbox *box);

/* Takes `msg`. Wakes the consumer only when it sleeps. Any thread. */
void rsl_mailbox_push(rsl_mailbox *box, rsl_msg *msg);

/* The whole content, oldest first, or NULL. Consumer. */
rsl_msg *rsl_mailbox_take(rsl_mailbox *box);

/* True when nothing is waiting; a hint unless the consumer is parked. */
bool rsl_mailbox_is_empty(const rsl_mailbox *box);

/* Announce sleep. False when a message is already there: do not sleep (the
 * announcement has been withdrawn). Consumer. */
bool rsl_mailbox_park(rsl_mailbox *box);

/* Withdraw the announcement after a sleep, however it ended. Consumer. */
void rsl_mailbox_unpark(rsl_mailbox *box);

/* Wake the consumer if it sleeps, without a message. Any thread. */
void rsl_mailbox_wake(rsl_mailbox *box);

#endif
