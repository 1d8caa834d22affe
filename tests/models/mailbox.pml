/* SPDX-License-Identifier: Apache-2.0 */
/* mailbox.pml - runtime/base/mailbox.c: pushes by compare-and-swap, a take by
 * exchange and reversal, park and wake over an eventfd.
 *
 * Checked over every interleaving: each message arrives once, each producer's
 * in order; a take gets every push that was complete when it began (the token
 * builds on that: what was pushed before a release is drained before a read);
 * and the consumer never sleeps on a message (spin reports that as an invalid
 * end state). All atomics of the code are seq_cst, which is spin's memory.
 *
 * The consumer sleeps in both ways of the runtime: in the backend, where the
 * eventfd is edge-triggered and never read, and alone in poll(), where stale
 * counts are read away before the announcement.
 *
 * Each of these must make the checker fail:
 *  -DNO_RECHECK       park() does not look at the head after announcing
 *  -DCHECK_FIRST      park() looks, then announces: what a store that is
 *                     weaker than seq_cst would allow
 *  -DRESET_LATE       the eventfd is read after the announcement
 *  -DNO_REVERSE       the stack is delivered as it lies
 *  -DLINKED_QUEUE     exchange the tail, then link (a queue after Vyukov)
 *  -DNO_WAKERS        the eventfd is closed without waiting for wakers */

#ifndef PRODUCERS
#define PRODUCERS 3
#endif
#ifndef MESSAGES
#define MESSAGES 2
#endif
#define TOTAL (PRODUCERS * MESSAGES)

/* Message m (1 .. TOTAL) is number (m - 1) % MESSAGES of its producer. */
byte head;             /* newest message, 0 when empty */
byte next[TOTAL + 1];
bool asleep;
byte count;            /* the eventfd, saturated at 1 */
bool edge;             /* an edge that epoll has not reported yet */
byte wakers;           /* producers that may write to it */
bool closed;           /* it is shut: its number may be another file's */

byte pushed;           /* pushes completed, a ghost */
byte received;
bool got[TOTAL + 1];
byte last[PRODUCERS];

inline signal() {
    atomic { assert(!closed); count = 1; edge = true }
}

inline wake(was) {
    if
    :: asleep ->
        wakers++;
        atomic { was = asleep; asleep = false }
        if
        :: was -> signal()
        :: else
        fi;
        wakers--
    :: else
    fi
}

#ifdef LINKED_QUEUE
/* next[0] is the stub's link; tail is where the next push exchanges. */
byte tail;
inline push(m, old) {
    atomic { old = tail; tail = m }
    next[old] = m
}
#else
inline push(m, old) {
    old = head;
    do
    :: next[m] = old;
        atomic {
            if
            :: head == old -> head = m; break
            :: else -> old = head
            fi
        }
    od
}
#endif

proctype producer(byte me) {
    byte i = 0, m, old;
    bool was;

    do
    :: i < MESSAGES ->
        m = me * MESSAGES + i + 1;
        push(m, old);
        pushed++;
        wake(was);
        i++
    :: else -> break
    od
}

inline accept(m) {
    d_step {
        assert(!got[m]);
        got[m] = true;
        assert(last[(m - 1) / MESSAGES] == (m - 1) % MESSAGES);
        last[(m - 1) / MESSAGES]++;
        received++
    }
}

#ifdef LINKED_QUEUE
#define HAS_MESSAGE (next[head] != 0)
inline take() {
    do
    :: next[head] != 0 -> head = next[head]; accept(head)
    :: else -> break
    od
}
#else
#define HAS_MESSAGE (head != 0)
inline take() {
    newest = 0;
    if
    :: head != 0 -> atomic { newest = head; head = 0 }
    :: else
    fi;
    oldest = 0;
#ifdef NO_REVERSE
    oldest = newest;
#else
    do
    :: newest != 0 ->
        d_step {
            older = next[newest];
            next[newest] = oldest;
            oldest = newest;
            newest = older
        }
    :: else -> break
    od;
#endif
    do
    :: oldest != 0 -> accept(oldest); oldest = next[oldest]
    :: else -> break
    od
}
#endif

proctype consumer() {
    byte newest, oldest, older, complete;
    bool alone, message;

    do
    :: complete = pushed;
        take();
        assert(received >= complete);
        if
        :: received == TOTAL -> break
        :: else
        fi;
        if
        :: alone = true
        :: alone = false
        fi;
#ifndef RESET_LATE
        if
        :: alone -> count = 0
        :: else
        fi;
#endif
#ifdef CHECK_FIRST
        message = HAS_MESSAGE;
        asleep = true;
#else
        asleep = true;
        message = HAS_MESSAGE;
#endif
#ifdef NO_RECHECK
        message = false;
#endif
#ifdef RESET_LATE
        if
        :: alone -> count = 0
        :: else
        fi;
#endif
        if
        :: message
        :: !message && alone -> count > 0
        :: !message && !alone -> atomic { edge -> edge = false }
        fi;
        asleep = false
    od;
    /* rsl_mailbox_shut() */
    asleep = false;
#ifndef NO_WAKERS
    wakers == 0;
#endif
    closed = true
}

init {
    byte i = 0;

    atomic {
        run consumer();
        do
        :: i < PRODUCERS -> run producer(i); i++
        :: else -> break
        od
    }
}
