/* SPDX-License-Identifier: Apache-2.0 */
/* fast_streams.h - StreamReader, StreamWriter and StreamReaderProtocol in C.
 *
 * Role:    what these three do for each message. Each is the first base of a
 *          class in _streams.py whose second base is asyncio's own, which has
 *          what happens once a connection or less; asyncio's attributes are
 *          all there for it.
 * Thread:  the loop's thread.
 * Memory:  GC objects. */
#ifndef PYRSL_FAST_STREAMS_H
#define PYRSL_FAST_STREAMS_H

#include <stdbool.h>

#include "fast_buffer.h"
#include "fast_call.h"
#include "stream_impl.h"

typedef struct FastReader {
    PyObject_HEAD
    module_state *st;
    PyObject *loop;      /* these are NULL where asyncio has None */
    PyObject *waiter;    /* the future that a read*() waits for */
    PyObject *exception; /* set_exception() */
    PyObject *transport;
    PyObject *limit;      /* as it was given */
    Py_ssize_t limit_max; /* the same: no size is above it that is not above
                           * `limit` */
    pyrsl_buffer buffer;
    bool eof;
    bool paused; /* we have paused the transport */
    /* No class between has replaced what the C methods here do, or call of
     * asyncio's. Those of other readers go to asyncio's methods. */
    bool plain;
} FastReader;

typedef struct FastWriter {
    PyObject_HEAD
    module_state *st;
    PyObject *loop; /* these are NULL before asyncio's __init__() */
    PyObject *transport;
    PyObject *protocol;
    PyObject *reader;
} FastWriter;

typedef struct FastProtocol {
    PyObject_HEAD
    module_state *st;
    PyObject *reader_ref; /* a weak reference, or NULL for None */
    bool paused;          /* pause_writing() */
    bool connection_lost;
    bool plain; /* data_received() and _drain_helper() are not replaced */
} FastProtocol;

/* Make the types. */
int pyrsl_fast_types(PyObject *module, module_state *st);

/* --- What all three share --- */

/* Getter and setter of a PyObject * whose NULL is None; `closure` is where it
 * is in the object. */
PyObject *pyrsl_fast_get(PyObject *self, void *closure);
int pyrsl_fast_set(PyObject *self, PyObject *value, void *closure);

#define PYRSL_FAST_ATTRIBUTE(name, type, field) \
    {name, pyrsl_fast_get, pyrsl_fast_set, NULL, (void *)offsetof(type, field)}

/* Does `type` have the attributes in `names`, which a NULL ends, from `own` or,
 * where that has none, from `inherited`? -1 with an exception. */
int pyrsl_fast_has_own(PyTypeObject *type, const char *const *names,
                       PyObject *own, PyObject *inherited);

/* tp_setattro: as usual, and *plain is cleared when one of `names` is set. */
int pyrsl_fast_setattr(PyObject *self, PyObject *name, PyObject *value,
                       const char *const *names, bool *plain);

/* --- fast_reader.c --- */

static inline bool
pyrsl_fast_is_reader(const module_state *st, PyObject *object)
{
    return PyObject_TypeCheck(object, st->FastReaderType);
}

/* feed_data() of a plain reader; `data` is bytes. */
int pyrsl_fast_feed(FastReader *self, PyObject *data);

/* The first half of that for data that is not empty;
 * pyrsl_fast_pause_above_limit() is the other. */
int pyrsl_fast_put(FastReader *self, PyObject *data);

/* Pause the transport when there is too much; resume it, and do so when there
 * is little enough. */
int pyrsl_fast_pause_above_limit(FastReader *self);
int pyrsl_fast_resume(FastReader *self);
int pyrsl_fast_resume_below_limit(FastReader *self);

static inline bool
pyrsl_fast_is_above(const FastReader *self, size_t size)
{
    return self->limit_max < 0 || size > (size_t)self->limit_max;
}

/* asyncio's own method, for a class that has replaced something. `argument`
 * may be NULL. */
PyObject *pyrsl_fast_reader_inherited(FastReader *self, const char *name,
                                      PyObject *argument);

PyTypeObject *pyrsl_fast_reader_type(PyObject *module, module_state *st);

/* --- fast_read.c, fast_until.c --- */

extern PyMethodDef pyrsl_fast_read_methods[];

/* __anext__() */
PyObject *pyrsl_fast_read_next(PyObject *reader);

/* --- fast_writer.c --- */

PyTypeObject *pyrsl_fast_writer_type(PyObject *module, module_state *st);

/* --- fast_protocol.c --- */

static inline bool
pyrsl_fast_is_protocol(const module_state *st, PyObject *object)
{
    return PyObject_TypeCheck(object, st->FastProtocolType);
}

/* Whether what `transport` reads goes to a StreamReader without a word of
 * Python. */
static inline bool
pyrsl_fast_receives(const StreamTransport *transport)
{
    return transport->fast && ((FastProtocol *)transport->protocol)->plain;
}

/* Then this is protocol.data_received(data) and, at once, the task that waits
 * for data, if the news makes nothing else ready: it need not wait for the
 * loop's next turn. Takes `data`. 0, or -1 with an exception that leaves the
 * loop. */
int pyrsl_fast_deliver(StreamTransport *transport, PyObject *data);

PyTypeObject *pyrsl_fast_protocol_type(PyObject *module, module_state *st);

#endif
