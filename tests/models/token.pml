/* SPDX-License-Identifier: Apache-2.0 */
/* token.pml - core/turn.c, core/tick.c, core/token.c and rsl_conn_recv():
 * loop thread P and runtime thread R read one stream under the token.
 *
 * Checked over every interleaving: P's protocol gets bytes 1 .. BYTES in order
 * and once, and P never sleeps while there is something for it and nobody who
 * will wake it. R may stop helping at any moment, so P cannot count on it.
 *
 * The mailbox is a FIFO here; mailbox.pml is about its inside. P's ready queue
 * may keep entries for a later turn, as it does when a callback takes long.
 *
 * Each of these must make the checker fail:
 *  -DNO_WAKE_ON_RELEASE   R releases and does not look whether P sleeps
 *  -DWAKE_BEFORE_RELEASE  R looks, then releases: what a release weaker than
 *                         seq_cst would allow
 *  -DNO_TOKEN_RECHECK     P sleeps without looking whether R still drives
 *  -DNO_STOLEN_CHECK      a receive overtakes what waits in the mailbox
 *  -DNO_QUEUED_CHECK      a receive overtakes what waits in the ready queue
 * and with -DCOMPLETIONS:
 *  -DNO_SECOND_DRAIN      P reads after the drain that came before the token
 *  -DPUSH_AFTER_RELEASE   R gives the token back, then pushes */

#ifndef BYTES
#define BYTES 3
#endif
#ifndef TICKS
#define TICKS 2
#endif

mtype = { NOBODY, LOOP, RUNTIME, READABLE, DATA };

mtype token = NOBODY;
bool asleep;
bool count;            /* the eventfd is readable */
bool edge;             /* epoll has not reported its last write yet */
chan mailbox = [BYTES] of { byte };
chan ready = [8] of { mtype, byte };

byte arrived;          /* bytes that the peer has sent */
byte taken;            /* bytes that left the socket */
byte stolen;           /* in the mailbox: conn->stolen_bytes */
byte queued;           /* DATA in the ready queue: conn->queued_events */
bool readable_queued;
byte delivered;        /* the protocol's */

/* -DCOMPLETIONS is the ring's way: bytes come with the poll. Without it the
 * poll reports readiness and a callback receives. */

inline wake(was) {
    if
    :: asleep ->
        atomic { was = asleep; asleep = false }
        if
        :: was -> atomic { count = true; edge = true }
        :: else
        fi
    :: else
    fi
}

inline deliver(b) {
    d_step {
        assert(b == delivered + 1);
        delivered = b
    }
}

proctype peer() {
    do
    :: arrived < BYTES -> arrived++
    :: else -> break
    od
}

proctype runtime_thread() {
    byte ticks = 0, held = 0;
    bool was, mine;

    do
    :: ticks < TICKS ->
        ticks++;
        atomic {
            mine = (token == NOBODY);
            if
            :: mine -> token = RUNTIME
            :: else
            fi
        }
        if
        :: mine ->
            /* Its poll may swallow the eventfd's edge. */
            if
            :: edge = false
            :: true
            fi;
            do
            :: taken < arrived ->
                atomic { taken++; held = taken };
                atomic { stolen++ };
#ifdef PUSH_AFTER_RELEASE
                break
#else
                mailbox!held;
                wake(was);
                held = 0
#endif
            :: break
            od;
#ifdef WAKE_BEFORE_RELEASE
            wake(was);
#endif
            token = NOBODY;
#ifdef PUSH_AFTER_RELEASE
            if
            :: held != 0 -> mailbox!held; wake(was); held = 0
            :: else
            fi;
#endif
#ifndef NO_WAKE_ON_RELEASE
#ifndef WAKE_BEFORE_RELEASE
            wake(was)
#endif
#endif
        :: else
        fi
    :: break
    od
}

inline drain() {
    do
    :: nempty(mailbox) ->
        atomic {
            mailbox?value;
            stolen--;
            queued++;
            ready!DATA(value)
        }
    :: empty(mailbox) -> break
    od
}

#ifdef NO_STOLEN_CHECK
#define OVERTAKES (queued > 0)
#else
#ifdef NO_QUEUED_CHECK
#define OVERTAKES (stolen > 0)
#else
#define OVERTAKES (stolen > 0 || queued > 0)
#endif
#endif

/* Run some of what is ready, and all of it before a sleep (`timeout` is 0 as
 * long as something is ready). */
inline run_ready() {
    do
    :: ready?DATA(value) -> queued--; deliver(value)
    :: ready?READABLE(value) ->
        readable_queued = false;
        atomic {
            mine = (token == NOBODY);
            if
            :: mine -> token = LOOP
            :: else
            fi
        }
        if
        :: !mine /* RSL_BUSY: R reads, or the next poll reports it again */
        :: else ->
            if
            :: OVERTAKES /* RSL_BUSY: an event follows */
            :: !OVERTAKES && taken < arrived -> taken++; deliver(taken)
            :: !OVERTAKES && taken == arrived /* RSL_AGAIN */
            fi;
            token = NOBODY
        fi
    :: empty(ready) -> break
    :: nempty(ready) -> break /* the rest in the next turn */
    od
}

proctype loop_thread() {
    byte value;
    bool mine, message;

    do
    :: delivered == BYTES -> break
    :: else ->
        drain();
        atomic {
            mine = (token == NOBODY);
            if
            :: mine -> token = LOOP
            :: else
            fi
        }
        if
        :: mine ->
#ifndef NO_SECOND_DRAIN
            drain();
#endif
            if
            :: nempty(ready) /* a poll that does not sleep */
            :: empty(ready) ->
                asleep = true;
                message = nempty(mailbox);
                if
                :: message
                :: else ->
                    atomic {
                        if
                        :: taken < arrived
                        :: edge -> edge = false
                        fi
                    }
                fi;
                asleep = false
            fi;
#ifdef COMPLETIONS
            do
            :: taken < arrived ->
                taken++;
                queued++;
                ready!DATA(taken)
            :: break
            od;
#else
            if
            :: taken < arrived && !readable_queued ->
                readable_queued = true;
                ready!READABLE(0)
            :: else
            fi;
#endif
            token = NOBODY
        :: else ->
            if
            :: nempty(ready)
            :: empty(ready) ->
                count = false;
                asleep = true;
                message = nempty(mailbox);
                if
                :: message
#ifndef NO_TOKEN_RECHECK
                :: !message && token != RUNTIME
                :: !message && token == RUNTIME -> count
#else
                :: !message -> count
#endif
                fi;
                asleep = false
            fi
        fi;
        run_ready()
    od
}

init {
    atomic {
        run peer();
        run loop_thread();
        run runtime_thread()
    }
}
