/* SPDX-License-Identifier: Apache-2.0 */
#include "flight.h"

#include <stdlib.h>

#include "stream_impl.h"

typedef struct flight_event {
    int64_t at_ns;
    uint64_t amount;
    flight_kind kind;
} flight_event;

struct pyrsl_flight {
    uint32_t size;
    bool reading;   /* the newest is a READ whose amount is the bytes that
                           * the connection had received before */
    uint64_t count; /* of all there were */
    flight_event ring[];
};

pyrsl_flight *
pyrsl_flight_new(uint32_t events)
{
    if (events == 0) {
        return NULL;
    }
    pyrsl_flight *flight =
        calloc(1, sizeof(*flight) + events * sizeof(*flight->ring));
    if (flight != NULL) {
        flight->size = events;
    }
    return flight;
}

void
pyrsl_flight_settle(StreamTransport *self)
{
    pyrsl_flight *flight = self->flight;
    if (flight->reading && self->conn != NULL) {
        flight_event *newest =
            &flight->ring[(flight->count - 1) % flight->size];
        newest->amount = rsl_conn_bytes_read(self->conn) - newest->amount;
        flight->reading = false;
    }
}

void
pyrsl_flight_add(StreamTransport *self, flight_kind kind, uint64_t amount)
{
    pyrsl_flight *flight = self->flight;
    pyrsl_flight_settle(self);
    flight->ring[flight->count++ % flight->size] =
        (flight_event){rsl_clock_now_ns(), amount, kind};
}

static uint64_t
flight_chunk_bytes(const rsl_chunk *chunk)
{
    uint64_t bytes = 0;
    for (; chunk != NULL; chunk = chunk->next) {
        bytes += chunk->len;
    }
    return bytes;
}

void
pyrsl_flight_add_event(StreamTransport *self, rsl_event event)
{
    switch (rsl_tag_kind(event.tag)) {
    case RSL_EV_DATA:
        pyrsl_flight_add(self, FLIGHT_READ, flight_chunk_bytes(event.u.ptr));
        break;
    case RSL_EV_READABLE:
        pyrsl_flight_add(self, FLIGHT_READ, rsl_conn_bytes_read(self->conn));
        self->flight->reading = true;
        break;
    case RSL_EV_WRITABLE:
        pyrsl_flight_add(self, FLIGHT_WRITABLE, 0);
        break;
    case RSL_EV_SENT:
        pyrsl_flight_add(self, FLIGHT_SEND_ERROR, (uint64_t)event.u.arg);
        break;
    case RSL_EV_EOF: /* a read may find them: see read_ended() */
    case RSL_EV_READ_ERROR:
    case RSL_EV_NONE:
    case RSL_EV_CALL:
    case RSL_EV_ACCEPTABLE:
    case RSL_EV_ACCEPT_ERROR:
    case RSL_EV_DGRAM:
    case RSL_EV_WATCH:
    case RSL_EV_MESSAGE:
        break;
    }
}

static const char *
flight_name(flight_kind kind)
{
    static const char *const names[] = {
        [FLIGHT_CONNECTED] = "connected",
        [FLIGHT_READ] = "read",
        [FLIGHT_EOF] = "eof",
        [FLIGHT_READ_ERROR] = "read error",
        [FLIGHT_WRITABLE] = "writable",
        [FLIGHT_SEND_ERROR] = "send error",
        [FLIGHT_WRITE] = "write",
        [FLIGHT_WRITELINES] = "writelines",
        [FLIGHT_PAUSE_READING] = "pause_reading",
        [FLIGHT_RESUME_READING] = "resume_reading",
        [FLIGHT_WRITE_EOF] = "write_eof",
        [FLIGHT_CLOSE] = "close",
        [FLIGHT_ABORT] = "abort",
        [FLIGHT_ERROR] = "error",
        [FLIGHT_LOST] = "lost",
    };
    return names[kind];
}

PyObject *
pyrsl_flight_list(StreamTransport *self)
{
    pyrsl_flight *flight = self->flight;
    pyrsl_flight_settle(self);
    uint64_t end = flight->count;
    uint64_t begin = end > flight->size ? end - flight->size : 0;
    PyObject *list = PyList_New(0);
    for (uint64_t i = begin; list != NULL && i < end; i++) {
        const flight_event *event = &flight->ring[i % flight->size];
        PyObject *item = Py_BuildValue("(dsK)", (double)event->at_ns * 1e-9,
                                       flight_name(event->kind),
                                       (unsigned long long)event->amount);
        if (item == NULL || PyList_Append(list, item) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(item);
    }
    return list;
}
