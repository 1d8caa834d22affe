/* SPDX-License-Identifier: Apache-2.0 */
/* pipe_impl.h - the inside of ReadPipeTransport and WritePipeTransport.
 *
 * Role:    asyncio's _UnixReadPipeTransport and _UnixWritePipeTransport over
 *          watches: fifos, sockets and character devices.
 * Thread:  [L] the loop's thread.
 * Memory:  a GC object that owns the file object it was given. What is watched
 *          is kept alive by the loop, as by asyncio's selector. */
#ifndef PYRSL_PIPE_IMPL_H
#define PYRSL_PIPE_IMPL_H

#include "flow.h"
#include "transport.h"

/*        close(), output left       drained: connection_lost() at once
 *  OPEN ---------------------> CLOSING ---------------------+
 *   |                             | error, abort()          |
 *   | EOF, error, close(), ...    v                         v
 *   +--------------------------> LOST -----------------> CLOSED
 *                        (scheduled)  connection_lost() called
 *  asyncio's _closing is every state but OPEN; a read end is never CLOSING. */
typedef enum pipe_state {
    PIPE_OPEN,
    PIPE_CLOSING,
    PIPE_LOST,
    PIPE_CLOSED,
} pipe_state;

/* Bytes that the kernel has not taken: `loan` is an exact bytes object. */
typedef struct pipe_piece {
    PyObject *loan;
    const char *data;
    size_t size;
} pipe_piece;

/* Output in order: pieces [head, count). */
typedef struct pipe_queue {
    pipe_piece *pieces;
    size_t head, count, cap;
    size_t bytes;
} pipe_queue;

/* What the two ends do differently. */
typedef struct pipe_kind {
    const char *name;    /* in repr() */
    const char *refusal; /* of an fd that is no pipe */
    unsigned polled;     /* RSL_WATCH_*: what "polling" means in repr() */
} pipe_kind;

typedef struct PipeTransport {
    PyObject_HEAD
    /* asyncio.BaseTransport's slot: a dict. */
    PyObject *extra;
    /* The slots of asyncio's _FlowControlMixin, the write end's base. Our
     * getters hide those that stay empty. */
    PyObject *unused_high_water;
    LoopObject *loop; /* NULL after connection_lost(), as asyncio's _loop */
    PyObject *unused_low_water;
    PyObject *unused_protocol_paused;

    PyObject *dict;
    PyObject *weakreflist;
    module_state *st;      /* [K] */
    const pipe_kind *kind; /* [K] */
    PyObject *pipe;        /* NULL once closed */
    PyObject *protocol;    /* NULL after connection_lost() */
    int fd;                /* [K] asyncio's _fileno: kept after close */
    pipe_state state;

    /* The read end's. */
    bool paused;
    size_t read_hint; /* 0, or how much the next read is likely to bring */

    /* The write end's. */
    unsigned conn_lost; /* asyncio's _conn_lost: failed and dropped writes */
    pyrsl_flow flow;
    pipe_queue queue;
} PipeTransport;

/* --- pipe_transport.c --- */

extern const pipe_kind pyrsl_pipe_read_kind;
extern const pipe_kind pyrsl_pipe_write_kind;

bool pyrsl_pipe_is_open(const PipeTransport *self);

/* Stop all watches and schedule connection_lost(exc). */
int pyrsl_pipe_force_close(PipeTransport *self, PyObject *exc);

/* asyncio's _fatal_error() for the exception that is set. 0, or -1 when an
 * exception has to leave the loop. */
int pyrsl_pipe_fatal(PipeTransport *self, const char *message);

/* asyncio's _call_connection_lost(). */
int pyrsl_pipe_lose(PipeTransport *self, PyObject *exc);

extern PyMethodDef pyrsl_pipe_read_methods[];  /* pipe_read.c */
extern PyMethodDef pyrsl_pipe_write_methods[]; /* pipe_write.c */

/* --- pipe_queue.c --- */

/* Append `size` bytes at `rest`, which are the end of `data`: by reference when
 * nobody can change them, as a copy elsewhere. */
int pyrsl_pipe_queue_keep(pipe_queue *queue, PyObject *data, const char *rest,
                          size_t size);

/* One system call: 1 when the kernel took all that it was offered, 0 when it
 * has no room for more, -1 with an OSError. */
int pyrsl_pipe_queue_write(pipe_queue *queue, int fd);

/* Drop what was not written. */
void pyrsl_pipe_queue_clear(pipe_queue *queue);

#endif
