/* SPDX-License-Identifier: Apache-2.0 */
/* stream_tls_flow.c - flow control where asyncio's TLS has marks of its own.
 *
 * Those of reading say how much ciphertext may wait while the protocol pauses.
 * Here the socket is not read then, so that they are kept whatever they are. */
#include "args.h"
#include "flow.h"
#include "stream_tls.h"

void
pyrsl_stream_tls_set_flow(StreamTransport *self)
{
    pyrsl_flow_set_high(&self->flow, PYRSL_FLOW_HIGH_TLS_WRITE);
    pyrsl_stream_end_bulk(self);
}

PyDoc_STRVAR(stream_set_read_buffer_limits_doc,
"set_read_buffer_limits($self, /, high=None, low=None)\n--\n\n"
"Set how much may be received and wait while reading is paused.\n\n"
"Nothing is received then. Raises ValueError unless high >= low >= 0.");

static PyObject *
stream_set_read_buffer_limits(StreamTransport *self, PyObject *const *args,
                              Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *bound[2];
    pyrsl_flow marks = {0};
    if (pyrsl_args_bind(&pyrsl_flow_read_params, args, nargs, kwnames, bound)
            < 0
        || pyrsl_loop_check_thread(self->loop) < 0
        || pyrsl_flow_set_limits(&marks, bound[0], bound[1],
                                 PYRSL_FLOW_HIGH_TLS_READ)
               < 0) {
        return NULL;
    }
    if (self->tls != NULL) {
        self->tls->read_marks = marks;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stream_get_read_buffer_limits_doc,
"get_read_buffer_limits($self, /)\n--\n\n"
"Return what set_read_buffer_limits() has set: the low mark and the high one.");

static PyObject *
stream_get_read_buffer_limits(StreamTransport *self,
                              PyObject *Py_UNUSED(ignored))
{
    static const pyrsl_flow none; /* the collector was here */
    return pyrsl_flow_limits(self->tls == NULL ? &none
                                               : &self->tls->read_marks);
}

PyDoc_STRVAR(stream_get_read_buffer_size_doc,
"get_read_buffer_size($self, /)\n--\n\n"
"Return how many bytes were received and not decrypted yet.");

static PyObject *
stream_get_read_buffer_size(StreamTransport *self, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSize_t(self->conn == NULL || self->tls == NULL
                                 ? 0
                                 : rsl_conn_tls_input_bytes(self->conn));
}

PyMethodDef pyrsl_stream_tls_flow_methods[] = {
    {"set_read_buffer_limits",
     (PyCFunction)(void (*)(void))stream_set_read_buffer_limits,
     METH_FASTCALL | METH_KEYWORDS, stream_set_read_buffer_limits_doc},
    {"get_read_buffer_limits",
     (PyCFunction)(void (*)(void))stream_get_read_buffer_limits, METH_NOARGS,
     stream_get_read_buffer_limits_doc},
    {"get_read_buffer_size",
     (PyCFunction)(void (*)(void))stream_get_read_buffer_size, METH_NOARGS,
     stream_get_read_buffer_size_doc},
    {NULL, NULL, 0, NULL},
};
