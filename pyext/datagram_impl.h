/* SPDX-License-Identifier: Apache-2.0 */
/* datagram_impl.h - the inside of DatagramTransport, for datagram_*.c.
 *
 * Role:    asyncio's _SelectorDatagramTransport over an rsl_dgram.
 * Thread:  [L] the loop's thread.
 * Memory:  a GC object. While it reads, or waits to write, the loop owns a
 *          reference (`held`), as asyncio's selector would. */
#ifndef PYRSL_DATAGRAM_IMPL_H
#define PYRSL_DATAGRAM_IMPL_H

#include <rsl/dgram.h>

#include "flow.h"
#include "transport.h"

/*         close(), output left      drained: connection_lost() at once
 *  OPEN ----------------------> CLOSING ----------------------+
 *   |                              | error, abort()           |
 *   | close(), error, abort()      v                          v
 *   +---------------------------> LOST ------------------> CLOSED
 *                         (scheduled)  connection_lost() called
 *  asyncio's _closing is every state but OPEN; _conn_lost counts from LOST. */
typedef enum datagram_state {
    DATAGRAM_OPEN,
    DATAGRAM_CLOSING,
    DATAGRAM_LOST,
    DATAGRAM_CLOSED,
} datagram_state;

/* A message that the socket had no room for. */
typedef struct datagram_entry {
    PyObject *data; /* bytes */
    PyObject *addr; /* as the caller gave it */
} datagram_entry;

/* A ring; cap is 0 or a power of two. */
typedef struct datagram_queue {
    datagram_entry *ring;
    size_t cap;
    size_t head;
    size_t count;
    size_t size; /* asyncio's _buffer_size */
} datagram_queue;

typedef struct DatagramTransport {
    PyObject_HEAD
    /* asyncio.BaseTransport's slot: a dict. */
    PyObject *extra;
    /* The slots of asyncio's _FlowControlMixin: its datagram transports are
     * asyncio.Transports too. Our getters hide those that stay empty. */
    PyObject *unused_high_water;
    LoopObject *loop; /* NULL after connection_lost(), as asyncio's _loop */
    PyObject *unused_low_water;
    PyObject *unused_protocol_paused;

    PyObject *dict;
    PyObject *weakreflist;
    module_state *st;   /* [K] */
    PyObject *protocol; /* NULL after connection_lost() */
    PyObject *context;  /* where the loop's callbacks run */
    PyObject *sock; /* the Python socket that owns the fd; NULL once closed */
    PyObject *address; /* remote_addr, or NULL */
    rsl_dgram *dgram;  /* NULL once closed, also when the loop is */

    int fd;     /* [K] asyncio's _sock_fd */
    int family; /* [K] */
    datagram_state state;
    unsigned conn_lost; /* asyncio's _conn_lost */
    datagram_queue queue;
    pyrsl_flow flow;

    bool connected; /* [K] has a peername: send(), not sendto() */
    bool held;      /* the loop owns a reference */
    bool reading;   /* asyncio would have a reader registered */
    bool writing;   /* and a writer */
    bool paused;    /* pause_reading() */
} DatagramTransport;

/* --- datagram_open.c --- */

/* Tell the runtime what `reading` and `writing` say, and take or give back the
 * loop's reference. The caller holds another one. */
int pyrsl_datagram_update(DatagramTransport *self);

/* Part with the runtime; the socket stays open. */
void pyrsl_datagram_detach(DatagramTransport *self);

/* --- datagram_transport.c --- */

/* asyncio's _fatal_error() for the exception that is set. 0, or -1 when an
 * exception has to leave the loop. */
int pyrsl_datagram_fatal(DatagramTransport *self, const char *message);

/* protocol.error_received() for the OSError that is set. */
int pyrsl_datagram_tell_error(DatagramTransport *self);

/* asyncio's _call_connection_lost(). */
int pyrsl_datagram_lose(DatagramTransport *self, PyObject *exc);

/* Close the socket without telling anybody. */
void pyrsl_datagram_release(DatagramTransport *self);

extern PyMethodDef pyrsl_datagram_methods[];

/* --- datagram_read.c --- */

/* Deliver what has arrived, for a while. -1 with what a callback raised. */
int pyrsl_datagram_receive(DatagramTransport *self);

extern PyMethodDef pyrsl_datagram_read_methods[];

/* --- datagram_write.c --- */

/* Send from the queue; the socket has room. */
int pyrsl_datagram_drain(DatagramTransport *self);

void pyrsl_datagram_drop_queue(DatagramTransport *self);

extern PyMethodDef pyrsl_datagram_write_methods[];

#endif
