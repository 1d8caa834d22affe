/* SPDX-License-Identifier: Apache-2.0 */
/* stream_recv.c - how much to receive at once, and into what. */
#include "stream_tls.h"
#include "tls_engine.h"

/* At most so much at once: with twice that, bulk input has a tenth less of
 * its rate and costs a tenth more CPU (docs/benchmarks.md). */
#define READ_MAX (128u << 10)

/* Reads of these sizes are worth an object of their own. Larger ones malloc
 * maps each by itself. The size is a multiple of READ_STEP, so that a little
 * more is noticed. */
#define READ_DIRECT_MIN     (32u << 10)
#define READ_DIRECT_MAX     (120u << 10)
#define READ_STEP           (8u << 10)
#define READ_ROUND_UP(size) (((size) / READ_STEP + 1) * READ_STEP)

/* The size sinks by one part in so many with each read that was smaller. */
#define READ_FADE 8

/* Where much comes the next read goes straight into a bytes object of the size
 * that recent reads had, and which it is likely to fill. What is made larger
 * and then shrunk costs more than a copy once malloc maps and unmaps its pages
 * each time; so little lands in the loop's scratch buffer, and so does the read
 * after one that filled its room, to find out how much there is. The size sinks
 * slowly: a message that came in two pieces shall not cost the next one a
 * second system call. */
static void
read_adapt(StreamTransport *self, size_t room, size_t size)
{
    self->reads_records = self->tls != NULL && size >= RSL_TLS_RECORD_MAX;
    size_t kept = self->read_hint - self->read_hint / READ_FADE;
    if (size == room) {
        self->read_hint = size == READ_MAX ? READ_MAX : 0;
        self->read_filled = size == READ_MAX ? 0 : (uint32_t)size;
        return;
    }
    size_t hint = READ_ROUND_UP(self->read_filled + size);
    self->read_filled = 0;
    if (hint < kept && kept <= READ_DIRECT_MAX) {
        hint = kept;
    }
    self->read_hint =
        hint < READ_DIRECT_MIN || hint > READ_DIRECT_MAX ? 0 : (uint32_t)hint;
}

#ifdef Py_GIL_DISABLED
/* Under the lock under which the ssl module answers other threads. */
static rsl_status
recv_beside_getters(StreamTransport *self, void *buf, size_t room, size_t *out,
                    rsl_err *err)
{
    rsl_status status;
    PyObject *raw = PyObject_GetAttrString(
        ((TLSEngineObject *)self->tls->engine)->ssl_object, "_sslobj");
    if (raw == NULL) {
        PyErr_Clear(); /* mbedTLS: what the user has are copies */
        return rsl_conn_recv(self->conn, buf, room, out, err);
    }
    Py_BEGIN_CRITICAL_SECTION(raw);
    status = rsl_conn_recv(self->conn, buf, room, out, err);
    Py_END_CRITICAL_SECTION();
    Py_DECREF(raw);
    return status;
}
#endif

rsl_status
pyrsl_stream_recv(StreamTransport *self, void *buf, size_t room, size_t *out,
                  rsl_err *err)
{
#ifdef Py_GIL_DISABLED
    if (self->tls != NULL && self->tls->given_away) {
        return recv_beside_getters(self, buf, room, out, err);
    }
#endif
    return rsl_conn_recv(self->conn, buf, room, out, err);
}

static rsl_status
read_by_scratch(StreamTransport *self, PyObject **out, rsl_err *err)
{
    uint8_t *scratch = pyrsl_transport_scratch(self->loop);
    if (scratch == NULL) {
        return RSL_NOMEM;
    }
    size_t size = 0;
    rsl_status status = pyrsl_stream_recv(self, scratch, READ_MAX, &size, err);
    if (status == RSL_OK) {
        read_adapt(self, READ_MAX, size);
        *out =
            PyBytes_FromStringAndSize((const char *)scratch, (Py_ssize_t)size);
    }
    return status;
}

/* Takes `data`, which has `room` bytes. */
static rsl_status
read_into(StreamTransport *self, PyObject *data, size_t room, PyObject **out,
          rsl_err *err)
{
    size_t size = 0;
    rsl_status status =
        pyrsl_stream_recv(self, PyBytes_AS_STRING(data), room, &size, err);
    if (status != RSL_OK) {
        Py_DECREF(data);
        return status;
    }
    if (size < room) {
        (void)_PyBytes_Resize(&data, (Py_ssize_t)size); /* data is NULL then */
    }
    read_adapt(self, room, size);
    *out = data;
    return RSL_OK;
}

static rsl_status
read_directly(StreamTransport *self, PyObject **out, rsl_err *err)
{
    PyObject *data =
        PyBytes_FromStringAndSize(NULL, (Py_ssize_t)self->read_hint);
    if (data == NULL) {
        return RSL_OK; /* *out is NULL, and the exception is set */
    }
    return read_into(self, data, self->read_hint, out, err);
}

/* How much there is is known once it is received: of full records the engine
 * decrypts into the very object; little and very much is better copied. */
static rsl_status
read_decrypted(StreamTransport *self, PyObject **out, rsl_err *err)
{
    size_t room = 0;
    rsl_status status = rsl_conn_expect(self->conn, READ_MAX, &room, err);
    if (status != RSL_OK) {
        return status;
    }
    PyObject *data = NULL;
    if (room >= RSL_TLS_RECORD_MAX && room <= READ_DIRECT_MAX) {
        data = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)room);
        if (data == NULL) {
            PyErr_Clear(); /* a recv has to follow, whatever comes of it */
        }
    }
    return data == NULL ? read_by_scratch(self, out, err)
                        : read_into(self, data, room, out, err);
}

rsl_status
pyrsl_stream_recv_bytes(StreamTransport *self, PyObject **out, rsl_err *err)
{
    if (self->reads_records && self->tls != NULL && !self->tls->given_away) {
        return read_decrypted(self, out, err);
    }
    return self->read_hint == 0 ? read_by_scratch(self, out, err)
                                : read_directly(self, out, err);
}
