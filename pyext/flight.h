/* SPDX-License-Identifier: Apache-2.0 */
/* flight.h - the last things that happened to a connection.
 *
 * Role:    a ring of events for each stream transport, where
 *          Loop.flight_recorder asks for that; looked at when something has
 *          gone wrong.
 * Thread:  the loop's.
 * Memory:  malloc'd, owned by its transport; NULL when nothing is recorded. */
#ifndef PYRSL_FLIGHT_H
#define PYRSL_FLIGHT_H

#include <stdint.h>

#include <rsl/event.h>

#include "pycompat.h"

struct StreamTransport;

enum { FLIGHT_EVENTS_MAX = 1 << 16 };

typedef enum flight_kind {
    FLIGHT_CONNECTED,
    FLIGHT_READ,       /* amount: bytes */
    FLIGHT_EOF,        /* of the peer */
    FLIGHT_READ_ERROR, /* amount: errno */
    FLIGHT_WRITABLE,
    FLIGHT_SEND_ERROR, /* amount: errno */
    FLIGHT_WRITE,      /* amount: bytes */
    FLIGHT_WRITELINES, /* amount: pieces */
    FLIGHT_PAUSE_READING,
    FLIGHT_RESUME_READING,
    FLIGHT_WRITE_EOF,
    FLIGHT_CLOSE,
    FLIGHT_ABORT, /* or an error that has the same effect */
    FLIGHT_ERROR, /* an exception that the transport reports */
    FLIGHT_LOST,  /* connection_lost() */
} flight_kind;

typedef struct pyrsl_flight pyrsl_flight;

/* Room for the last `events`; NULL for none, and when memory is out. */
pyrsl_flight *pyrsl_flight_new(uint32_t events);

/* Precondition of these: there is a recorder. */
void pyrsl_flight_add(struct StreamTransport *self, flight_kind kind,
                      uint64_t amount);
/* An event that the transport is about to handle. */
void pyrsl_flight_add_event(struct StreamTransport *self, rsl_event event);
/* The connection goes: count what the read that is going on has brought. */
void pyrsl_flight_settle(struct StreamTransport *self);

/* [(loop time, what, amount)], the oldest first; a new reference. */
PyObject *pyrsl_flight_list(struct StreamTransport *self);

#endif
