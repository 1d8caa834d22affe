/* SPDX-License-Identifier: Apache-2.0 */
/* fast_reader_type.c - StreamReader for Python: attributes, construction. */
#include <stddef.h>

#include "fast_read.h"
#include "future.h"

/* asyncio.streams._DEFAULT_LIMIT */
#define READER_LIMIT_DEFAULT (64 * 1024)

/* --- The limit --- */

/* The largest size that is not above `limit`; -1 when all are, as is -2. */
static int
reader_limit_size(PyObject *limit, Py_ssize_t *out)
{
    PyObject *whole = PyNumber_Long(limit);
    if (whole == NULL) {
        /* float("inf") has been used for "none". */
        double value = PyFloat_Check(limit) ? PyFloat_AS_DOUBLE(limit) : 0;
        if (!PyErr_ExceptionMatches(PyExc_OverflowError) || value == 0) {
            return -1;
        }
        PyErr_Clear();
        *out = value > 0 ? PY_SSIZE_T_MAX : -1;
        return 0;
    }
    int overflow = 0;
    long long size = PyLong_AsLongLongAndOverflow(whole, &overflow);
    Py_DECREF(whole);
    *out =
        overflow != 0 ? (overflow > 0 ? PY_SSIZE_T_MAX : -1) : (Py_ssize_t)size;
    return 0;
}

static int
reader_set_limit(FastReader *self, PyObject *limit)
{
    Py_ssize_t size;
    if (limit == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_limit");
        return -1;
    }
    if (reader_limit_size(limit, &size) < 0) {
        return -1;
    }
    self->limit_max = size;
    Py_XSETREF(self->limit, Py_NewRef(limit));
    return 0;
}

/* --- Attributes --- */

static PyObject *
reader_get_buffer(FastReader *self, void *Py_UNUSED(closure))
{
    return pyrsl_buffer_show(&self->buffer);
}

static int
reader_set_buffer(FastReader *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL || !PyByteArray_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "_buffer must be a bytearray");
        return -1;
    }
    pyrsl_buffer_replace(&self->buffer, value);
    return 0;
}

static PyObject *
reader_get_limit(FastReader *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->limit == NULL ? Py_None : self->limit);
}

static int
reader_put_limit(FastReader *self, PyObject *value, void *Py_UNUSED(closure))
{
    return reader_set_limit(self, value);
}

static PyGetSetDef reader_getset[] = {
    PYRSL_FAST_ATTRIBUTE("_loop", FastReader, loop),
    PYRSL_FAST_ATTRIBUTE("_waiter", FastReader, waiter),
    PYRSL_FAST_ATTRIBUTE("_exception", FastReader, exception),
    PYRSL_FAST_ATTRIBUTE("_transport", FastReader, transport),
    {"_buffer", (getter)reader_get_buffer, (setter)reader_set_buffer, NULL,
     NULL},
    {"_limit", (getter)reader_get_limit, (setter)reader_put_limit, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef reader_members[] = {
    {"_eof", Py_T_BOOL, offsetof(FastReader, eof), 0, NULL},
    {"_paused", Py_T_BOOL, offsetof(FastReader, paused), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

/* As asyncio's, without showing the buffer. */
static PyObject *
reader_repr(FastReader *self)
{
    PyObject *info = PyUnicode_FromString("<StreamReader");
    size_t size = pyrsl_buffer_size(&self->buffer);
    if (info != NULL && size > 0) {
        Py_SETREF(info, PyUnicode_FromFormat("%U %zu bytes", info, size));
    }
    if (info != NULL && self->eof) {
        Py_SETREF(info, PyUnicode_FromFormat("%U eof", info));
    }
    if (info != NULL && self->limit_max != READER_LIMIT_DEFAULT) {
        Py_SETREF(info, PyUnicode_FromFormat(
                            "%U limit=%S", info,
                            self->limit == NULL ? Py_None : self->limit));
    }
    if (info != NULL && self->waiter != NULL) {
        Py_SETREF(info,
                  PyUnicode_FromFormat("%U waiter=%R", info, self->waiter));
    }
    if (info != NULL && self->exception != NULL) {
        Py_SETREF(info, PyUnicode_FromFormat("%U exception=%R", info,
                                             self->exception));
    }
    if (info != NULL && self->transport != NULL) {
        Py_SETREF(info, PyUnicode_FromFormat("%U transport=%R", info,
                                             self->transport));
    }
    if (info != NULL) {
        Py_SETREF(info, PyUnicode_FromFormat("%U%s>", info,
                                             self->paused ? " paused" : ""));
    }
    return info;
}

/* --- The type --- */

/* What asyncio's own methods, or ours, find in a class that has not replaced
 * any of it. */
static const char *const reader_own[] = {
    "read",
    "readline",
    "readuntil",
    "readexactly",
    "feed_data",
    "feed_eof",
    "exception",
    "__anext__",
    "_wait_for_data",
    "set_exception",
    "_wakeup_waiter",
    "_maybe_resume_transport",
    NULL,
};

static PyObject *
reader_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
           PyObject *Py_UNUSED(kwargs))
{
    module_state *st = pyrsl_state_of_type(type);
    if (st == NULL) {
        return NULL;
    }
    FastReader *self = (FastReader *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->st = st;
    self->limit_max = READER_LIMIT_DEFAULT;
    int plain =
        pyrsl_fast_has_own(type, reader_own, (PyObject *)st->FastReaderType,
                           st->AsyncioStreamReader);
    if (plain < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->plain = plain != 0;
    return (PyObject *)self;
}

/* Finding a loop and noting who asks are asyncio's. */
static int
reader_inherited_init(FastReader *self, PyObject *args, PyObject *kwargs)
{
    PyObject *init =
        PyObject_GetAttrString(self->st->AsyncioStreamReader, "__init__");
    PyObject *bound =
        init == NULL ? NULL : PyMethod_New(init, (PyObject *)self);
    PyObject *result =
        bound == NULL ? NULL : PyObject_Call(bound, args, kwargs);
    Py_XDECREF(init);
    Py_XDECREF(bound);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int
reader_check_limit(PyObject *limit)
{
    PyObject *zero = PyLong_FromLong(0);
    if (zero == NULL) {
        return -1;
    }
    int low = PyObject_RichCompareBool(limit, zero, Py_LE);
    Py_DECREF(zero);
    if (low > 0) {
        PyErr_SetString(PyExc_ValueError, "Limit cannot be <= 0");
    }
    return low == 0 ? 0 : -1;
}

/* StreamReader(limit=65536, loop=None) */
static int
reader_init(FastReader *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"limit", "loop", NULL};
    PyObject *limit = NULL, *loop = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:StreamReader", names,
                                     &limit, &loop)) {
        return -1;
    }
    int debug = loop == Py_None ? 1 : pyrsl_ask(loop, self->st->str_get_debug);
    if (debug != 0) {
        return debug < 0 ? -1 : reader_inherited_init(self, args, kwargs);
    }
    limit = limit == NULL ? PyLong_FromLong(READER_LIMIT_DEFAULT)
                          : Py_NewRef(limit);
    if (limit == NULL || reader_check_limit(limit) < 0
        || reader_set_limit(self, limit) < 0) {
        Py_XDECREF(limit);
        return -1;
    }
    Py_DECREF(limit);
    Py_XSETREF(self->loop, Py_NewRef(loop));
    pyrsl_buffer_clear(&self->buffer);
    self->eof = false;
    self->paused = false;
    Py_CLEAR(self->waiter);
    Py_CLEAR(self->exception);
    Py_CLEAR(self->transport);
    return 0;
}

static int
reader_setattro(FastReader *self, PyObject *name, PyObject *value)
{
    return pyrsl_fast_setattr((PyObject *)self, name, value, reader_own,
                              &self->plain);
}

static int
reader_traverse(FastReader *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->loop);
    Py_VISIT(self->waiter);
    Py_VISIT(self->exception);
    Py_VISIT(self->transport);
    Py_VISIT(self->limit);
    Py_VISIT(self->buffer.shown);
    return 0;
}

static int
reader_clear(FastReader *self)
{
    Py_CLEAR(self->loop);
    Py_CLEAR(self->waiter);
    Py_CLEAR(self->exception);
    Py_CLEAR(self->transport);
    Py_CLEAR(self->limit);
    pyrsl_buffer_clear(&self->buffer);
    return 0;
}

static void
reader_dealloc(FastReader *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)reader_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot reader_slots[] = {
    {Py_tp_doc, "The C half of rsloop_c.StreamReader."},
    {Py_tp_new, reader_new},
    {Py_tp_init, reader_init},
    {Py_tp_dealloc, reader_dealloc},
    {Py_tp_traverse, reader_traverse},
    {Py_tp_clear, reader_clear},
    {Py_tp_repr, reader_repr},
    {Py_tp_setattro, reader_setattro},
    {Py_tp_methods, pyrsl_fast_reader_methods},
    {Py_tp_getset, reader_getset},
    {Py_tp_members, reader_members},
    {Py_am_aiter, PyObject_SelfIter},
    {Py_am_anext, pyrsl_fast_read_next},
    {0, NULL},
};

static PyType_Spec reader_spec = {
    .name = "rsloop_c._core.StreamReader",
    .basicsize = sizeof(FastReader),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = reader_slots,
};

PyTypeObject *
pyrsl_fast_reader_type(PyObject *module, module_state *st)
{
    PyMethodDef *const tables[] = {pyrsl_fast_read_methods,
                                   pyrsl_fast_until_methods, NULL};
    st->FastReaderType =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &reader_spec, NULL);
    if (st->FastReaderType == NULL
        || pyrsl_type_add_methods(st->FastReaderType, tables) < 0) {
        return NULL;
    }
    return st->FastReaderType;
}
