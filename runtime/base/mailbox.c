/* SPDX-License-Identifier: Apache-2.0 */
/* mailbox.c - a stack pushed by compare-and-swap, taken whole and reversed.
 *
 * Why not a linked queue with a tail exchange: a producer preempted between
 * its exchange and its link hides every later push, complete ones too, and
 * the loop thread would read a socket past bytes that the runtime thread has
 * already pushed. Here a push is visible as soon as its one RMW is done.
 *
 * Order: pushes are totally ordered by the modification order of `head`; a
 * take sees a prefix of it, and reversing gives it back oldest first.
 * ABA: a push only needs `next` to be the head that its CAS replaced, and
 * nobody pops single nodes, so a head that came back is as good as before. */
#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <rsl/mailbox.h>

rsl_status
rsl_mailbox_init(rsl_mailbox *box, rsl_err *err)
{
    atomic_init(&box->head, NULL);
    atomic_init(&box->asleep, false);
    atomic_init(&box->wakers, 0);
    box->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (box->wake_fd < 0) {
        err->code = errno;
        err->call = "eventfd";
        return RSL_OS;
    }
    return RSL_OK;
}

void
rsl_mailbox_fini(rsl_mailbox *box)
{
    rsl_msg *msg;

    /* A discarded message may make its owner post another. */
    while ((msg = rsl_mailbox_take(box)) != NULL) {
        while (msg != NULL) {
            rsl_msg *next = msg->next;
            msg->discard(msg);
            msg = next;
        }
    }
    rsl_mailbox_shut(box);
}

/* Pairs with rsl_mailbox_wake(): a thread counts itself in before it takes
 * `asleep`, and nobody sets `asleep` any more. So a thread that comes after we
 * have read 0 finds `asleep` false and does not write, and one that came before
 * has left: the descriptor's number cannot be somebody else's when it is used.
 * A waker is between two instructions or in a non-blocking write(). */
void
rsl_mailbox_shut(rsl_mailbox *box)
{
    if (box->wake_fd < 0) {
        return;
    }
    atomic_store(&box->asleep, false);
    while (atomic_load(&box->wakers) != 0) {
        sched_yield();
    }
    close(box->wake_fd);
    box->wake_fd = -1;
}

void
rsl_mailbox_push(rsl_mailbox *box, rsl_msg *msg)
{
    rsl_msg *head = atomic_load(&box->head);

    do {
        msg->next = head;
    } while (!atomic_compare_exchange_weak(&box->head, &head, msg));
    rsl_mailbox_wake(box);
}

rsl_msg *
rsl_mailbox_take(rsl_mailbox *box)
{
    rsl_msg *newest, *oldest = NULL;

    /* Whoever must see a push has synchronized with it already (by the token
     * or by waking), and then this load sees it too: the exchange, which is
     * dearer, is left out of the many turns that have no message. */
    if (atomic_load(&box->head) == NULL) {
        return NULL;
    }
    newest = atomic_exchange(&box->head, NULL);
    while (newest != NULL) {
        rsl_msg *older = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = older;
    }
    return oldest;
}

bool
rsl_mailbox_is_empty(const rsl_mailbox *box)
{
    return atomic_load(&box->head) == NULL;
}

/* Pairs with rsl_mailbox_wake() after a push: we set `asleep`, then read
 * `head`; a producer changes `head`, then reads `asleep`. All four are
 * seq_cst, so in their single total order one of us sees the other, and a
 * message is never left behind a sleeping consumer. */
bool
rsl_mailbox_park(rsl_mailbox *box)
{
    atomic_store(&box->asleep, true);
    if (atomic_load(&box->head) == NULL) {
        return true;
    }
    atomic_store(&box->asleep, false);
    return false;
}

void
rsl_mailbox_unpark(rsl_mailbox *box)
{
    atomic_store(&box->asleep, false);
}

/* Of several that find the consumer asleep the exchange picks one, so that a
 * sleep costs one write() however many messages end it. A write that comes
 * late leaves a count in the eventfd and costs one look around. */
void
rsl_mailbox_wake(rsl_mailbox *box)
{
    static const uint64_t one = 1;
    int saved_errno;

    if (!atomic_load(&box->asleep)) {
        return;
    }
    atomic_fetch_add(&box->wakers, 1); /* see rsl_mailbox_shut() */
    if (atomic_exchange(&box->asleep, false)) {
        saved_errno = errno; /* this may run in a signal handler */
        /* EAGAIN: the count is full, hence readable, as good as ours. */
        if (write(box->wake_fd, &one, sizeof one) < 0) {
            errno = saved_errno;
        }
    }
    atomic_fetch_sub(&box->wakers, 1);
}
