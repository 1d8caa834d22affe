/* SPDX-License-Identifier: Apache-2.0 */
/* limits.h - what one loop, or one server, takes on.
 *
 * Role:    settings that users change (loop.limits, server.limits), and the
 *          figures that they are compared with: connections, handshakes, when
 *          the next accept is due. A server's hold beside its loop's.
 * Thread:  loop thread; the getters also others.
 * Memory:  a GC object that the loop, its servers, acceptors and transports
 *          have references to. A server's keeps its loop alive, a loop's does
 *          not. */
#ifndef PYRSL_LIMITS_H
#define PYRSL_LIMITS_H

#include "loop.h"

/* INFINITY is no limit. */
typedef struct pyrsl_limit_values {
    double max_connections;
    double max_accept_rate; /* a second */
    double max_pending_tls_handshakes;
    double idle_timeout; /* seconds, as the next two */
    double read_timeout;
    double write_timeout;
    double max_write_buffer_bytes;
    double max_pending_read_bytes;
    double tls_silence_timeout; /* seconds */
} pyrsl_limit_values;

typedef struct LimitsObject {
    PyObject_HEAD
    LoopObject *loop; /* borrowed by the loop's own, which it clears; or NULL */
    bool is_loops;
    bool handshakes_full; /* until some have ended */
    pyrsl_limit_values values;
    size_t connections; /* accepted and open */
    size_t handshakes;  /* of servers, and unfinished; of a loop */
    int64_t accept_ns;  /* when the next one is due, at the permitted rate */
    PyObject *waiters;  /* futures for an end of the last one, or NULL */
} LimitsObject;

/* Make st->LimitsType; -1 with an exception. */
int pyrsl_limits_type(PyObject *module, module_state *st);

/* The loop's own, by environment variables: a new reference, or NULL with
 * ValueError. */
PyObject *pyrsl_limits_of_environment(LoopObject *loop);

/* A loop's has changed, or its runtime is new. */
void pyrsl_limits_tell_runtime(const LimitsObject *self);

/* server.limits if it has such, else the loop's: a new reference, or NULL with
 * an exception. */
PyObject *pyrsl_limits_of_server(LoopObject *loop, PyObject *server);

static inline LimitsObject *
pyrsl_limits_of_loop(const LoopObject *loop)
{
    return (LimitsObject *)loop->limits;
}

/* A connection was accepted, or is over; counted with the loop's as well. */
void pyrsl_limits_join(LimitsObject *self);
int pyrsl_limits_leave(LimitsObject *self);

/* How many more may be accepted, of `most`, and when: *wait_ns is 0 for now, or
 * the time of the next permitted accept. */
size_t
pyrsl_limits_room(const LimitsObject *self, size_t most, int64_t *wait_ns);

/* One was accepted. */
void pyrsl_limits_note_accept(LimitsObject *self);

/* How many handshakes, of `most`, a TLS server may begin. */
size_t pyrsl_limits_handshake_room(const LimitsObject *self, size_t most);

/* --- Server handshakes of a loop, for whoever drives them --- */

/* One has begun. */
void pyrsl_handshake_began(LoopObject *loop);

/* One is over, in whatever way; once for each that began. -1 with an exception
 * when accepting could not be resumed. */
int pyrsl_handshake_ended(LoopObject *loop);

extern PyMethodDef pyrsl_handshakes_loop_methods[];

extern PyMethodDef pyrsl_limits_loop_methods[];

#endif
