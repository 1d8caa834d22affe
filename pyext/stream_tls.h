/* SPDX-License-Identifier: Apache-2.0 */
/* stream_tls.h - a StreamTransport whose conn has a TLS engine.
 *
 * Role:    what asyncio's SSLProtocol does around the bytes: the handshake
 *          before connection_made(), close_notify and its time-out after
 *          close(), start_tls(). Between them reading and writing are the
 *          transport's, with plaintext.
 * Thread:  loop thread.
 * Memory:  owned by the transport. */
#ifndef PYRSL_STREAM_TLS_H
#define PYRSL_STREAM_TLS_H

#include "stream_impl.h"
#include "wheel.h"

/*  HANDSHAKE --done--> OPEN --close(), peer's end--> CLOSING --> ENDED
 *      `---- failed, aborted ----> ENDED <---- error, abort() ----'
 *  MOVED: start_tls() has given the conn to another transport. */
typedef enum stream_tls_phase {
    STREAM_TLS_HANDSHAKE,
    STREAM_TLS_OPEN,
    STREAM_TLS_CLOSING,
    STREAM_TLS_ENDED,
    STREAM_TLS_MOVED,
} stream_tls_phase;

/* Of the handshake, then of the end. */
typedef struct stream_tls_timer {
    pyrsl_wheel_entry entry; /* first */
    StreamTransport *stream; /* that has it */
    int64_t when_ns;
} stream_tls_timer;

typedef struct stream_tls {
    PyObject *engine; /* a TLSEngine, which the conn uses */
    PyObject *waiter; /* of the handshake, or NULL */
    stream_tls_timer timer;
    int64_t heard_ns; /* when the peer of a handshake last said something */
    PyObject *handshake_timeout, *shutdown_timeout; /* seconds, numbers */
    PyObject *successor;                            /* when MOVED */
    stream_tls_phase phase;
    unsigned late_writes;  /* dropped because they came after close() */
    bool server;           /* the peer speaks first */
    bool away;             /* another thread makes a step of the handshake */
    int away_errno;        /* of a read meanwhile, or 0 */
    bool calls_made;       /* connection_made() follows the handshake */
    bool made;             /* the protocol knows of the connection */
    bool eof_told;         /* eof_received() was called */
    bool peer_ended;       /* nothing more is to be waited for */
    bool extra_known;      /* `extra` has what the engine says */
    bool given_away;       /* the user has the SSL object */
    bool pending;          /* accepted, counted, and nobody knows of it yet */
    bool counted;          /* as a handshake that goes on, by stats() */
    pyrsl_flow read_marks; /* set_read_buffer_limits(); nothing is paused */
} stream_tls;

/* asyncio's words for what an engine fails with. */
#define STREAM_TLS_FAILED "Fatal error on SSL protocol"

/* What makes a request one for TLS. Borrowed. */
typedef struct stream_tls_request {
    PyObject *engine;
    PyObject *waiter; /* or NULL */
    PyObject *handshake_timeout, *shutdown_timeout;
    bool calls_made;
    bool accepted; /* its handshake counts for the loop's limits */
} stream_tls_request;

/* Give the transport, whose conn is open and has nothing queued, an engine. */
int
pyrsl_stream_tls_attach(StreamTransport *self, const stream_tls_request *tls);

/* Begin the handshake: the transport's first turn. */
int pyrsl_stream_tls_begin(StreamTransport *self);

/* Whether input is for the handshake, or the end, instead of the protocol. */
static inline bool
pyrsl_stream_tls_takes(const StreamTransport *self)
{
    return self->tls != NULL && self->tls->phase != STREAM_TLS_OPEN;
}

/* --- stream_tls_timer.c --- */

/* The time-out of the handshake, or of the end, begins; or does not matter any
 * more. */
int pyrsl_stream_tls_start_timer(StreamTransport *self, PyObject *seconds);
void pyrsl_stream_tls_stop_timer(StreamTransport *self);

/* The timer's pyrsl_wheel_entry.due. */
int pyrsl_stream_tls_timer_due(LoopObject *loop, pyrsl_wheel_entry *entry,
                               int64_t *again_ns);

/* --- stream_tls.c, for stream_tls_timer.c and stream_tls_close.c --- */

/* Close now and let the waiter know the exception that is set. */
int pyrsl_stream_tls_fail(StreamTransport *self, const char *message);

/* Settle the waiter, if it waits: with `exc`, or with None for NULL. */
int pyrsl_stream_tls_wake(StreamTransport *self, PyObject *exc);

/* Input after close(): only its end counts. */
int pyrsl_stream_tls_discard(StreamTransport *self);

/* An event with input, of such a transport. */
int pyrsl_stream_tls_event(StreamTransport *self, rsl_event event);

/* close() of an open transport with an engine. */
int pyrsl_stream_tls_close(StreamTransport *self);

/* Whom start_tls() has given the connection to, or NULL. */
static inline StreamTransport *
pyrsl_stream_successor(const StreamTransport *self)
{
    return self->tls == NULL ? NULL : (StreamTransport *)self->tls->successor;
}

/* All output of a closing transport has been sent. */
int pyrsl_stream_tls_drained(StreamTransport *self);

/* eof_received(), once, whose answer means nothing here. The caller has entered
 * a context for it. */
int pyrsl_stream_tls_tell_eof(StreamTransport *self);

/* Set the exception of the engine that has failed. */
void pyrsl_stream_tls_raise(const StreamTransport *self);

/* Whether the engine has failed, so that an error is its. */
bool pyrsl_stream_tls_has_failed(const StreamTransport *self);

/* The connection is lost: whether the protocol has to be told. Stops the
 * timer and wakes the waiter. */
int pyrsl_stream_tls_lose(StreamTransport *self, PyObject *exc, bool *told);

/* --- stream_tls_count.c --- */

/* The handshake of a transport that has just got its engine goes on now. */
void pyrsl_stream_tls_count_start(StreamTransport *self);

/* The handshake is over, in whatever way: it counts as one that goes on no
 * more. Idempotent; -1 with an exception that leaves the loop. */
int pyrsl_stream_tls_settle(StreamTransport *self);

/* Add to `extra` what the engine says of `name`, and perhaps of others. */
int
pyrsl_stream_tls_extra(StreamTransport *self, PyObject *extra, PyObject *name);

int
pyrsl_stream_tls_traverse(const stream_tls *tls, visitproc visit, void *arg);
void pyrsl_stream_tls_free(stream_tls *tls);

/* --- stream_tls_flow.c --- */

/* The marks of write flow control that asyncio's TLS begins with. */
void pyrsl_stream_tls_set_flow(StreamTransport *self);

/* Of transports with TLS alone. */
extern PyMethodDef pyrsl_stream_tls_flow_methods[];

/* --- stream_tls_open.c --- */

extern PyMethodDef pyrsl_stream_tls_open_methods[];

#endif
