/* SPDX-License-Identifier: Apache-2.0 */
/* stream_write.c - from write() to the runtime's queue. */
#include "args.h"
#include "errors.h"
#include "stream_impl.h"
#include "stream_tls.h"

/* 3.12 gave writelines() its own words; before it joined and called write(). */
#if PY_VERSION_HEX >= 0x030C0000
#define WRITELINES_AFTER_EOF   "Cannot call writelines() after write_eof()"
#define WRITELINES_IN_SENDFILE "unable to writelines; sendfile is in progress"
#else
#define WRITELINES_AFTER_EOF   "Cannot call write() after write_eof()"
#define WRITELINES_IN_SENDFILE "unable to write; sendfile is in progress"
#endif

/* hooks.loan_return: every loan is the object that has the bytes. */
void
pyrsl_stream_loan_return(void *loan)
{
    Py_DECREF((PyObject *)loan);
}

/* --- Sending --- */

/* Let the protocol know when the socket is full. */
static int
write_tell_flow(StreamTransport *self)
{
    if (pyrsl_stream_check_backlog(self) < 0) {
        return -1;
    }
    if (self->conn == NULL || self->conn_lost != 0) {
        return 0;
    }
    return pyrsl_flow_grown(&self->flow, self->loop, (PyObject *)self,
                            self->protocol, rsl_conn_backlog(self->conn));
}

/* The rare half of write(): send what is queued. */
static int
write_now(StreamTransport *self)
{
    if (!self->write_blocked && pyrsl_stream_flush(self) < 0) {
        return -1;
    }
    pyrsl_stream_note_send(self);
    return write_tell_flow(self);
}

/* Whether what is queued may wait for the end of the turn: there is one, and
 * the transport lives until then. */
static inline bool
write_may_wait(const StreamTransport *self)
{
    return self->reading && rsl_conn_backlog(self->conn) <= self->flush_at
           && atomic_load_explicit(&self->loop->thread_id, memory_order_relaxed)
                  != 0;
}

static inline int
write_queued(StreamTransport *self)
{
    if (self->deadlines != NULL) {
        pyrsl_stream_touch_output(self);
    }
    return write_may_wait(self) ? 0 : write_now(self);
}

/* --- Queueing --- */

typedef struct write_piece {
    PyObject *loan; /* an exact bytes object, which nobody can change */
    const char *data;
    size_t size;
} write_piece;

/* A view of bytes is as safe as the bytes. */
static bool
piece_of_view(PyObject *data, write_piece *out)
{
    PyObject *base = PyMemoryView_GET_BASE(data);
    Py_buffer view;
    if (base == NULL || !PyBytes_CheckExact(base)
        || PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        PyErr_Clear();
        return false;
    }
    out->loan = Py_NewRef(base);
    out->data = view.buf;
    out->size = (size_t)view.len;
    PyBuffer_Release(&view);
    return true;
}

/* A reference where the content cannot change, a copy elsewhere. */
static int
piece_of(PyObject *data, write_piece *out)
{
    if (PyBytes_CheckExact(data)) {
        out->loan = Py_NewRef(data);
    } else if (PyMemoryView_Check(data) && piece_of_view(data, out)) {
        return 0;
    } else if (PyByteArray_CheckExact(data)) {
        out->loan = PyBytes_FromStringAndSize(PyByteArray_AS_STRING(data),
                                              PyByteArray_GET_SIZE(data));
    } else {
        PyObject *view = PyMemoryView_FromObject(data);
        out->loan = view == NULL ? NULL : PyBytes_FromObject(view);
        Py_XDECREF(view);
    }
    if (out->loan == NULL) {
        return -1;
    }
    out->data = PyBytes_AS_STRING(out->loan);
    out->size = (size_t)PyBytes_GET_SIZE(out->loan);
    return 0;
}

/* Takes the piece's loan. */
static int
piece_queue(StreamTransport *self, const write_piece *piece)
{
    if (piece->size == 0) {
        Py_DECREF(piece->loan);
        return 0;
    }
    rsl_status status =
        rsl_conn_write(self->conn, piece->data, piece->size, piece->loan);
    if (status == RSL_OK) {
        return 0;
    }
    Py_DECREF(piece->loan);
    rsl_err err = {0, NULL};
    pyrsl_raise(status, &err);
    return -1;
}

/* --- What can be changed, and is sent at once --- */

/* Whether `data` would have to be copied for the queue. */
static bool
write_copies(PyObject *data)
{
    PyObject *base =
        PyMemoryView_Check(data) ? PyMemoryView_GET_BASE(data) : data;
    return base == NULL || !PyBytes_CheckExact(base);
}

/* Whether it goes straight to the socket instead, nothing being ahead of it. */
static bool
write_goes_now(const StreamTransport *self, PyObject *data)
{
    return write_copies(data) && !self->write_blocked && self->tls == NULL
           && rsl_conn_backlog(self->conn) == 0;
}

/* The socket has not taken the last `rest` bytes of `view`, which the caller
 * may change from now on. */
static int
write_keep_rest(StreamTransport *self, const Py_buffer *view, size_t rest)
{
    PyObject *copy = PyBytes_FromStringAndSize(
        (const char *)view->buf + view->len - rest, (Py_ssize_t)rest);
    if (copy == NULL) {
        rsl_conn_discard_writes(self->conn);
        return pyrsl_stream_fatal(self,
                                  "Fatal write error on socket transport");
    }
    rsl_conn_relend(self->conn, PyBytes_AS_STRING(copy), copy);
    return 0;
}

/* Send from the memory of `data` itself; only what is left is copied. */
static int
write_view(StreamTransport *self, PyObject *data, const Py_buffer *view)
{
    write_piece piece = {Py_NewRef(data), view->buf, (size_t)view->len};
    if (piece_queue(self, &piece) < 0 || pyrsl_stream_flush(self) < 0) {
        return -1;
    }
    size_t rest = pyrsl_stream_backlog(self);
    return rest == 0 ? 0 : write_keep_rest(self, view, rest);
}

/* Takes over when `data` goes straight to the socket: 1, or -1; else 0. */
static int
write_directly(StreamTransport *self, PyObject *data)
{
    Py_buffer view;
    if (!write_goes_now(self, data)) {
        return 0;
    }
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        PyErr_Clear(); /* not contiguous */
        return 0;
    }
    int status = write_view(self, data, &view);
    PyBuffer_Release(&view);
    return status < 0 || write_tell_flow(self) < 0 ? -1 : 1;
}

/* --- write() and writelines() --- */

/* A closing plain transport still sends; nothing may follow a close_notify. */
static inline bool
write_is_late(const StreamTransport *self)
{
    return self->conn_lost != 0 || self->conn == NULL
           || (self->tls != NULL && self->tls->phase != STREAM_TLS_OPEN);
}

/* asyncio's write() complains itself, before it looks at its transport: bug-fix
 * releases have changed the words. */
static PyObject *
write_wrong_type(const StreamTransport *self, PyObject *data)
{
    if (self->tls != NULL) {
        PyErr_Format(PyExc_TypeError,
                     "data: expecting a bytes-like instance, got %s",
                     Py_TYPE(data)->tp_name);
        return NULL;
    }
    PyObject *module = PyImport_ImportModule("asyncio.selector_events");
    PyObject *type =
        module == NULL
            ? NULL
            : PyObject_GetAttrString(module, "_SelectorSocketTransport");
    Py_XDECREF(module);
    if (type == NULL) {
        return NULL;
    }
    PyObject *result = PyObject_CallMethod(type, "write", "OO", Py_None, data);
    Py_DECREF(type);
    if (result != NULL || !PyErr_ExceptionMatches(PyExc_TypeError)) {
        Py_XDECREF(result); /* data only claims to be of another class */
        PyErr_Format(PyExc_TypeError,
                     "data argument must be a bytes-like object, not %R",
                     (PyObject *)Py_TYPE(data));
    }
    return NULL;
}

/* What can be changed does not wait: it would be copied, and goes on at once
 * when what is ahead of it has gone. */
static PyObject *
write_after_bulk(StreamTransport *self, PyObject *data)
{
    pyrsl_stream_end_bulk(self);
    return pyrsl_stream_catch_up(self) < 0
               ? NULL
               : pyrsl_stream_write_data(self, data);
}

PyObject *
pyrsl_stream_write_data(StreamTransport *self, PyObject *data)
{
    if (!PyBytes_Check(data) && !PyByteArray_Check(data)
        && !PyMemoryView_Check(data)) {
        return write_wrong_type(self, data);
    }
    if (self->eof) {
        PyErr_SetString(PyExc_RuntimeError,
                        "Cannot call write() after write_eof()");
        return NULL;
    }
    if (self->empty_waiter != NULL) {
        PyErr_SetString(PyExc_RuntimeError,
                        "unable to write; sendfile is in progress");
        return NULL;
    }
    Py_ssize_t length =
        PyBytes_CheckExact(data) ? PyBytes_GET_SIZE(data) : PyObject_Size(data);
    if (length <= 0) {
        return length < 0 ? NULL : Py_NewRef(Py_None);
    }
    if (write_is_late(self)) {
        return pyrsl_stream_write_dropped(self) < 0 ? NULL : Py_NewRef(Py_None);
    }
    if (pyrsl_loop_is_foreign(self->loop)) {
        return pyrsl_transport_hand_over_data((PyObject *)self, self->loop,
                                              "write", data, NULL);
    }
    pyrsl_flight_note(self, FLIGHT_WRITE, (uint64_t)length);
    if (self->streak == STREAM_BULK && write_copies(data)) {
        return write_after_bulk(self, data);
    }
    int gone = (size_t)length > self->flush_at ? write_directly(self, data) : 0;
    if (gone != 0) {
        return gone < 0 ? NULL : Py_NewRef(Py_None);
    }
    write_piece piece;
    if (piece_of(data, &piece) < 0 || piece_queue(self, &piece) < 0
        || write_queued(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static const char *const write_names[] = {"data", NULL};
static const pyrsl_params write_params = {"write", write_names, 1, 1};

PyDoc_STRVAR(stream_write_doc,
"write($self, /, data)\n--\n\n"
"Send bytes, without waiting and in order.\n\n"
"They leave at the end of the loop's turn, together with what else was\n"
"written. A bytes object is kept until then, anything else is copied now.");

static PyObject *
stream_write(StreamTransport *self, PyObject *const *args, Py_ssize_t nargs,
             PyObject *kwnames)
{
    PyObject *data = pyrsl_args_one(&write_params, args, nargs, kwnames);
    return data == NULL ? NULL : pyrsl_stream_write_data(self, data);
}

/* All pieces or, when one of them is not bytes-like, none. */
static int
writelines_queue(StreamTransport *self, PyObject *items)
{
    Py_ssize_t count = PyTuple_GET_SIZE(items), ready = 0, queued = 0;
    write_piece *pieces = PyMem_New(write_piece, (size_t)count);
    if (pieces == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    while (ready < count
           && piece_of(PyTuple_GET_ITEM(items, ready), &pieces[ready]) == 0) {
        ready++;
    }
    int status = ready == count ? 0 : -1;
    while (status == 0 && queued < ready && !write_is_late(self)) {
        status = piece_queue(self, &pieces[queued]);
        queued++;
    }
    for (; queued < ready; queued++) {
        Py_DECREF(pieces[queued].loan);
    }
    PyMem_Free(pieces);
    return status;
}

static const char *const writelines_names[] = {"list_of_data", NULL};
static const pyrsl_params writelines_params = {"writelines", writelines_names,
                                               1, 1};

#if PY_VERSION_HEX >= 0x030C0000
/* asyncio's `if not list_of_data`, and a lost connection: 1 when there is
 * nothing more to do. */
static int
writelines_settle(StreamTransport *self, PyObject *list_of_data)
{
    int truth = PyObject_IsTrue(list_of_data);
    if (truth <= 0) {
        return truth < 0 ? -1 : 1;
    }
    if (!self->st->writelines_drops_first || !write_is_late(self)) {
        return 0;
    }
    return pyrsl_stream_write_dropped(self) < 0 ? -1 : 1;
}

#define writelines_refuse(list_of_data) ((void)0)
#else
#define writelines_settle(self, list_of_data) 0

/* A TypeError is set: say it in the words of b"".join(), by which asyncio of
 * these versions begins. */
static void
writelines_refuse(PyObject *list_of_data)
{
    if (!PyErr_ExceptionMatches(PyExc_TypeError)) {
        return;
    }
    PyObject *raised = PyErr_GetRaisedException();
    PyObject *empty = PyBytes_FromStringAndSize(NULL, 0);
    PyObject *joined = NULL;
    if (empty != NULL) {
        joined = PyObject_CallMethod(empty, "join", "(O)", list_of_data);
    }
    if (joined != NULL) {
        PyErr_SetRaisedException(Py_NewRef(raised));
    }
    Py_DECREF(raised);
    Py_XDECREF(empty);
    Py_XDECREF(joined);
}
#endif

/* Takes `items`: one write() of the loop's thread. */
static PyObject *
writelines_hand_over(StreamTransport *self, PyObject *items)
{
    PyObject *empty = PyBytes_FromStringAndSize(NULL, 0);
    PyObject *joined = NULL, *result = NULL;
    if (empty != NULL) {
        joined = PyObject_CallMethod(empty, "join", "(O)", items);
    }
    if (joined != NULL) {
        result = pyrsl_transport_hand_over_data((PyObject *)self, self->loop,
                                                "write", joined, NULL);
    }
    Py_DECREF(items);
    Py_XDECREF(empty);
    Py_XDECREF(joined);
    return result;
}

PyObject *
pyrsl_stream_write_lines(StreamTransport *self, PyObject *list_of_data)
{
    if (self->eof) {
        PyErr_SetString(PyExc_RuntimeError, WRITELINES_AFTER_EOF);
        return NULL;
    }
    if (self->empty_waiter != NULL) {
        PyErr_SetString(PyExc_RuntimeError, WRITELINES_IN_SENDFILE);
        return NULL;
    }
    int settled = writelines_settle(self, list_of_data);
    if (settled != 0) {
        return settled < 0 ? NULL : Py_NewRef(Py_None);
    }
    /* A copy: looking at an item may run code that changes the list. */
    PyObject *items = PySequence_Tuple(list_of_data);
    if (items == NULL) {
        writelines_refuse(list_of_data);
        return NULL;
    }
    if (pyrsl_loop_is_foreign(self->loop)) {
        return writelines_hand_over(self, items);
    }
    pyrsl_flight_note(self, FLIGHT_WRITELINES,
                      (uint64_t)PyTuple_GET_SIZE(items));
    int status = 0;
    if (PyTuple_GET_SIZE(items) == 0) {
        status = 0;
    } else if (writelines_queue(self, items) < 0) {
        writelines_refuse(items);
        status = -1;
    } else if (write_is_late(self)) {
        status = pyrsl_stream_write_dropped(self);
    } else {
        status = write_queued(self);
    }
    Py_DECREF(items);
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(stream_writelines_doc,
"writelines($self, /, list_of_data)\n--\n\n"
"Send the pieces in order, as write() would, without joining them.");

static PyObject *
stream_writelines(StreamTransport *self, PyObject *const *args,
                  Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *list_of_data =
        pyrsl_args_one(&writelines_params, args, nargs, kwnames);
    return list_of_data == NULL ? NULL
                                : pyrsl_stream_write_lines(self, list_of_data);
}

PyMethodDef pyrsl_stream_write_methods[] = {
    {"write", (PyCFunction)(void (*)(void))stream_write,
     METH_FASTCALL | METH_KEYWORDS, stream_write_doc},
    {"writelines", (PyCFunction)(void (*)(void))stream_writelines,
     METH_FASTCALL | METH_KEYWORDS, stream_writelines_doc},
    {NULL, NULL, 0, NULL},
};
