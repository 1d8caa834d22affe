/* SPDX-License-Identifier: Apache-2.0 */
/* acceptor.h - a listening socket, and whether it accepts now.
 *
 * Role:    what asyncio keeps in a reader's Handle: listener, factory, context;
 *          and the limits that pause the listener.
 * Thread:  loop thread.
 * Memory:  the loop owns it until it is stopped; each event borrows it by
 *          `users`, because a factory may stop its own server. */
#ifndef PYRSL_ACCEPTOR_H
#define PYRSL_ACCEPTOR_H

#include <rsl/listener.h>

#include "limits.h"
#include "stream_impl.h"
#include "wheel.h"

typedef struct pyrsl_acceptor {
    struct pyrsl_acceptor *next;
    rsl_listener *listener; /* NULL once stopped */
    unsigned users;
    int fd;
    int family, type, proto;
    long backlog;            /* accepts at one event */
    unsigned lone;           /* next events that are taken to bring one */
    bool has_nodelay;        /* the listener, whose connections inherit it */
    bool failed;             /* accept() had no resources: Python resumes */
    bool waits;              /* a limit has paused it */
    pyrsl_wheel_entry retry; /* while the accept rate pauses it */
    LimitsObject *limits;    /* its server's, or the loop's */
    PyObject *factory;
    PyObject *sock;
    PyObject *sslcontext; /* None for plain streams */
    PyObject *server;     /* or None */
    PyObject *timeouts;   /* a dict for asyncio's _accept_connection2() */
    PyObject *tls;        /* what Loop._tls_serving() said, or NULL */
    PyObject *context;
} pyrsl_acceptor;

/* With one reference, the caller's; NULL with MemoryError. */
pyrsl_acceptor *pyrsl_acceptor_alloc(void);
void pyrsl_acceptor_unref(pyrsl_acceptor *acceptor);

/* How many connections it may accept now, up to its backlog. When none, the
 * listener pauses until that changes. */
long pyrsl_acceptor_room(LoopObject *loop, pyrsl_acceptor *acceptor);

/* accept() failed: nothing is accepted until pyrsl_acceptor_retry(). */
void pyrsl_acceptor_fail(pyrsl_acceptor *acceptor);

/* Accept again, if no limit is in the way. -1 with an exception when the
 * listener cannot be resumed. */
int pyrsl_acceptor_retry(LoopObject *loop, pyrsl_acceptor *acceptor);

/* Limits, or what is compared with them, have changed. -1 with an exception
 * that leaves the loop. */
int pyrsl_acceptors_update(LoopObject *loop);

/* Whether a client knocks at a TLS server that a limit has paused. */
bool pyrsl_acceptors_are_called(const LoopObject *loop);

/* --- accept.c --- */

/* What the transport of an accepted `fd` is made from, but for its protocol. */
stream_request pyrsl_accept_request(const pyrsl_acceptor *acceptor, int fd,
                                    const rsl_addr *peer);

/* The exception that is set, of a connection that could not be made: reported
 * in debug mode only, as asyncio does. `protocol` may be NULL. -1 when it has
 * to leave the loop. */
int pyrsl_accept_failed(LoopObject *loop, PyObject *protocol);

/* --- accept_tls.c --- */

/* Make the transport of an accepted `fd`, which it takes, and begin its
 * handshake. */
int pyrsl_accept_tls(LoopObject *loop, pyrsl_acceptor *acceptor, int fd,
                     const rsl_addr *peer);

#endif
