/* SPDX-License-Identifier: Apache-2.0 */
/* stream_impl.h - the inside of StreamTransport, for stream_*.c and accept.c.
 *
 * Role:    asyncio's _SelectorSocketTransport over an rsl_conn.
 * Thread:  [L] the loop's thread; what a stranger's getter may read is said.
 * Memory:  a GC object. While it reads, or waits to write, the loop owns a
 *          reference (`held`), as asyncio's selector would. */
#ifndef PYRSL_STREAM_IMPL_H
#define PYRSL_STREAM_IMPL_H

#include <netinet/in.h>
#include <sys/socket.h>

#include <rsl/addr.h>

#include "flight.h"
#include "flow.h"
#include "transport.h"

/*         close(), output left      drained: connection_lost() at once
 *  OPEN ----------------------> CLOSING ----------------------+
 *   |                              | error, abort()           |
 *   | close(), error, abort()      v                          v
 *   +---------------------------> LOST ------------------> CLOSED
 *                         (scheduled)  connection_lost() called
 *  asyncio's _closing is every state but OPEN; _conn_lost counts from LOST. */
typedef enum stream_state {
    STREAM_OPEN,
    STREAM_CLOSING,
    STREAM_LOST,
    STREAM_CLOSED,
} __attribute__((packed)) stream_state;

/* How input ended, and whether the protocol knows. PENDING ones came while
 * reading was paused. */
typedef enum stream_end {
    STREAM_END_NONE,
    STREAM_END_EOF_PENDING,
    STREAM_END_ERROR_PENDING,
    STREAM_END_TOLD,
} __attribute__((packed)) stream_end;

/* What the kernel says of both ends, for few are ever asked for. Those of other
 * families than these are converted when the transport is made. */
typedef enum stream_name { STREAM_SOCKNAME, STREAM_PEERNAME } stream_name;

typedef struct stream_names {
    uint16_t families[2]; /* AF_INET, AF_INET6, or 0: there is none */
    in_port_t ports[2];   /* of AF_INET, as the next */
    struct in_addr v4[2];
    struct sockaddr_in6 *v6; /* both, malloc()ed; or NULL */
} stream_names;

typedef struct StreamTransport {
    PyObject_HEAD
    /* asyncio.BaseTransport's slot: a dict, or NULL so far. */
    PyObject *extra;
    /* The slots of asyncio's _FlowControlMixin, which its sendfile() asks for
     * by isinstance(). Our getters hide those that stay empty. */
    PyObject *unused_high_water;
    LoopObject *loop; /* NULL after connection_lost(), as asyncio's _loop */
    PyObject *unused_low_water;
    PyObject *unused_protocol_paused;

    PyObject *dict;
    PyObject *weakreflist;
    module_state *st;   /* [K] */
    rsl_conn *conn;     /* NULL once closed or detached */
    PyObject *protocol; /* NULL after connection_lost() */
    PyObject *context;  /* where read callbacks run; see context_shared */
    PyObject *made;     /* connection_made(), bound, until it is called */
    PyObject *server;   /* NULL when there is none, or detached */
    struct LimitsObject *limits; /* that hold for it; NULL once it is lost */
    struct stream_deadlines *deadlines; /* NULL when it has none */
    PyObject *sock;        /* the Python socket that owns the fd, or NULL */
    PyObject *closed_sock; /* what `sock` was: get_extra_info() still has it */
    PyObject *empty_waiter;
    pyrsl_flight *flight;     /* what happened lately; NULL: not kept */
    struct stream_tls *tls;   /* stream_tls.h's, NULL for plain ones */
    PyObject *release_handle; /* owned by the ready queue to be: closes `sock`
                               * once the runtime has let go of the fd */

    int fd;     /* [K] asyncio's _sock_fd: kept after close */
    int raw_fd; /* the fd when it is ours alone (the loop has closed), or -1 */
    unsigned conn_lost; /* asyncio's _conn_lost */
    int end_errno;
    size_t flush_at;      /* backlog above which write() sends at once */
    uint32_t read_hint;   /* 0, or what the next read should have room for */
    uint32_t read_filled; /* what a read that filled its room has taken */
    pyrsl_flow flow;

    stream_state state;
    stream_end end;
    bool context_shared; /* it is the acceptor's, which nobody enters: the
                          * first callback makes a copy */
    bool held;           /* the loop owns a reference */
    bool reading;        /* asyncio would have a reader registered */
    bool paused;         /* pause_reading() */
    bool buffered;       /* the protocol is a BufferedProtocol */
    bool reads_records;  /* TLS: the last read brought full records */
    bool fast;           /* the protocol is a FastProtocol */
    bool counted;        /* among its server's connections */
    bool has_held;       /* the conn keeps chunks that came while paused */
    bool write_blocked;  /* the socket is full: WRITABLE or SENT will come */
    bool eof;            /* write_eof() */
    bool eof_sent;       /* shutdown(SHUT_WR) done */
    uint8_t streak;      /* large sends since the last input, up to
                          * STREAM_BULK: flush_at is raised */
    bool fd_released;    /* hooks.conn_closed() came inside rsl_conn_close() */

    /* What socket.socket() needs to wrap an accepted fd. */
    uint16_t family, type, proto;
    stream_names names;
} StreamTransport;

static inline void
pyrsl_flight_note(StreamTransport *self, flight_kind kind, uint64_t amount)
{
    if (self->flight != NULL) {
        pyrsl_flight_add(self, kind, amount);
    }
}

/* Backlog above which write() sends at once, whatever the high-water mark. */
#define STREAM_BATCH_MAX ((size_t)64 << 10)

/* So many sends above that, with no input between them, are bulk output. */
#define STREAM_BULK 8

/* What a transport is made from. */
typedef struct stream_request {
    int fd;
    PyObject *sock; /* NULL: accepted, the fd is the transport's */
    PyObject *protocol;
    PyObject *waiter;            /* or NULL */
    PyObject *extra;             /* or NULL */
    PyObject *server;            /* or NULL */
    struct LimitsObject *limits; /* the server's, where that is known */
    PyObject *context;           /* whose copy the current one is, or NULL */
    const struct stream_tls_request *tls; /* or NULL */
    const rsl_addr *peer;                 /* what accept() said, or NULL */
    int family, type, proto;              /* of an accepted fd */
    bool has_nodelay;                     /* inherited from the listener */
} stream_request;

/* --- accept.c --- */

void pyrsl_acceptors_close_all(LoopObject *loop);
int pyrsl_acceptors_traverse(LoopObject *loop, visitproc visit, void *arg);

/* --- stream_limits.c --- */

/* The limits of its server (`known`, or NULL to ask), or else of the loop, hold
 * from now on. -1 with an exception. */
int pyrsl_stream_limit(StreamTransport *self, struct LimitsObject *known);

/* They hold no more; it is no connection of its server's any more. */
int pyrsl_stream_unlimit(StreamTransport *self);

/* Something came in, was written, or the socket has room again. For those with
 * deadlines. */
void pyrsl_stream_touch_input(StreamTransport *self);
void pyrsl_stream_touch_output(StreamTransport *self);
void pyrsl_stream_touch_room(StreamTransport *self);

/* Output waits that was not to: abort when it is too much. */
int pyrsl_stream_check_backlog(StreamTransport *self);

/* --- stream_open.c --- */

/* A transport whose connection_made() is scheduled; takes an accepted fd. */
PyObject *pyrsl_stream_open(LoopObject *loop, const stream_request *request);

/* Does `sock` send and receive as socket.socket does? A class that has its own
 * methods, or a stand-in that is no socket at all, is served by these. -1 with
 * an exception. */
int pyrsl_stream_sock_is_plain(const module_state *st, PyObject *sock);

/* --- stream_transport.c --- */

/* asyncio's _fatal_error() for the exception that is set. 0, or -1 when an
 * exception has to leave the loop. */
int pyrsl_stream_fatal(StreamTransport *self, const char *message);

/* asyncio's _force_close(). */
int pyrsl_stream_force_close(StreamTransport *self, PyObject *exc);

/* asyncio's close(). */
int pyrsl_stream_close(StreamTransport *self);

/* The end of an event's handling: report the exception that is set for a
 * `status` of -1. 0, or -1 when it has to leave the loop. */
int pyrsl_stream_event_end(StreamTransport *self, LoopObject *loop, int status);

/* asyncio's _call_connection_lost(). */
int pyrsl_stream_lose(StreamTransport *self, PyObject *exc);

/* Close the fd without telling anybody: the end of connection_lost(), and all
 * that is left to do for a transport that could not be made. */
void pyrsl_stream_release(StreamTransport *self);

/* Part with the runtime and keep the fd open, as asyncio's transports do when
 * their loop is closed. */
void pyrsl_stream_detach(StreamTransport *self);

/* What finalizing an open transport comes to, on the loop's thread. */
void pyrsl_stream_abandon(StreamTransport *self);

/* Take or give back the loop's reference, after `reading` or `write_blocked`
 * has changed. The caller holds another one. */
void pyrsl_stream_update_held(StreamTransport *self);

/* --- stream_pause.c --- */

/* Enter the context that callbacks run in: a new reference to it, or NULL. */
PyObject *pyrsl_stream_enter_context(StreamTransport *self);

/* asyncio's _add_reader() and _remove_reader() of the transport. */
int pyrsl_stream_read_begin(StreamTransport *self);
int pyrsl_stream_read_end(StreamTransport *self);

/* -1 when the protocol's class fails isinstance(). */
int pyrsl_stream_set_protocol(StreamTransport *self, PyObject *protocol);

extern PyMethodDef pyrsl_stream_read_methods[];

/* --- stream_read.c --- */

/* Come back to what is kept with the conn, at the next turn. */
int pyrsl_stream_read_again(StreamTransport *self);

int pyrsl_stream_on_readable(StreamTransport *self);
int
pyrsl_stream_on_data(StreamTransport *self, LoopObject *loop, rsl_chunk *chunk);

/* The peer has finished (0) or the stream is broken (errno). */
int pyrsl_stream_on_end(StreamTransport *self, int code);

/* --- stream_recv.c --- */

/* rsl_conn_recv(). */
rsl_status pyrsl_stream_recv(StreamTransport *self, void *buf, size_t room,
                             size_t *out, rsl_err *err);

/* rsl_conn_recv() into a new bytes object; *out stays NULL, with an exception
 * set, where RSL_OK comes without one. */
rsl_status
pyrsl_stream_recv_bytes(StreamTransport *self, PyObject **out, rsl_err *err);

/* --- stream_write.c --- */

/* write() and writelines(); their None, or NULL. */
PyObject *pyrsl_stream_write_data(StreamTransport *self, PyObject *data);
PyObject *pyrsl_stream_write_lines(StreamTransport *self, PyObject *lines);

extern PyMethodDef pyrsl_stream_write_methods[];

/* --- stream_drain.c --- */

/* Send now. Socket errors become a fatal error. */
int pyrsl_stream_flush(StreamTransport *self);

/* Flush, if there is something that asyncio's write() would have sent. */
int pyrsl_stream_catch_up(StreamTransport *self);

/* Bytes that the kernel has not taken; 0 when closed. Any thread. */
size_t pyrsl_stream_backlog(const StreamTransport *self);

/* write() has sent at once: see stream_drain.c, "Bulk output". */
void pyrsl_stream_note_send(StreamTransport *self);

/* Input came, or the limits changed: output waits less again. */
void pyrsl_stream_end_bulk(StreamTransport *self);
/* Something is written to a lost connection: asyncio drops it, and says so from
 * the fifth time on. -1 with an exception. */
int pyrsl_stream_write_dropped(StreamTransport *self);

/* Settle what _make_empty_waiter() gave, if it waits: with `exc`, or with None
 * for NULL. */
int pyrsl_stream_settle_waiter(StreamTransport *self, PyObject *exc);

int pyrsl_stream_on_writable(StreamTransport *self);
int pyrsl_stream_on_sent(StreamTransport *self, int code);

extern PyMethodDef pyrsl_stream_drain_methods[];

/* --- stream_names.c --- */

/* asyncio's _extra, made when there is none: borrowed, or NULL. */
PyObject *pyrsl_stream_extra(StreamTransport *self);

/* As socket.getsockname() and getpeername() give it; None for no name. */
PyObject *pyrsl_stream_name(const StreamTransport *self, stream_name which);

/* Remember both names of the fd; `peer` if it is known, or NULL. */
int pyrsl_stream_note_names(StreamTransport *self, const rsl_addr *peer);

/* Those of `from`; -1 with MemoryError. `self` has none so far. */
int pyrsl_stream_copy_names(StreamTransport *self, const StreamTransport *from);

/* --- stream_info.c --- */

/* The Python socket, made when there is none: a new reference. */
PyObject *pyrsl_stream_socket(StreamTransport *self);

extern PyMethodDef pyrsl_stream_info_methods[];
extern PyGetSetDef pyrsl_stream_getset[];
PyObject *pyrsl_stream_repr(StreamTransport *self);

#endif
