/* SPDX-License-Identifier: Apache-2.0 */
#include "tls_engine.h"

#include <stddef.h>

#include "args.h"

TLSEngineObject *
pyrsl_tls_engine_new(module_state *st, const char *name, rsl_tls *tls,
                     const pyrsl_tls_objects *objects)
{
    TLSEngineObject *self = PyObject_GC_New(TLSEngineObject, st->TLSEngineType);
    if (self == NULL) {
        rsl_tls_free(tls);
        return NULL;
    }
    self->tls = tls;
    self->name = name;
    self->ssl_object = Py_NewRef(objects->ssl_object);
    self->context = Py_NewRef(objects->context);
    self->server_hostname = Py_NewRef(objects->server_hostname);
    self->reason = Py_NewRef(objects->reason);
    self->needs_gil = objects->needs_gil;
    rsl_tls_set_owner(tls, self);
    PyObject_GC_Track(self);
    return self;
}

static int
engine_traverse(TLSEngineObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->ssl_object);
    Py_VISIT(self->context);
    Py_VISIT(self->server_hostname);
    Py_VISIT(self->reason);
    return 0;
}

static void
engine_dealloc(TLSEngineObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    rsl_tls_free(self->tls); /* before the SSLObject that it borrows from */
    Py_XDECREF(self->ssl_object);
    Py_XDECREF(self->context);
    Py_XDECREF(self->server_hostname);
    Py_XDECREF(self->reason);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* --- Driven by tests, in memory --- */

enum { TALK_CHUNK = 65536 };

static const char *const state_names[RSL_TLS_STATE_COUNT] = {
    [RSL_TLS_STATE_HANDSHAKE] = "handshake",
    [RSL_TLS_STATE_OPEN] = "open",
    [RSL_TLS_STATE_PEER_CLOSED] = "peer closed",
    [RSL_TLS_STATE_CLOSE_SENT] = "close sent",
    [RSL_TLS_STATE_CLOSED] = "closed",
    [RSL_TLS_STATE_FAILED] = "failed",
};

/* All plaintext that there is; NULL with an exception for want of memory. */
static PyObject *
talk_read(rsl_tls *tls)
{
    PyObject *plain = PyByteArray_FromStringAndSize(NULL, 0);
    for (Py_ssize_t used = 0; plain != NULL;) {
        size_t count = 0;
        if (PyByteArray_Resize(plain, used + TALK_CHUNK) < 0) {
            Py_CLEAR(plain);
            break;
        }
        rsl_tls_status status = rsl_tls_read(
            tls, PyByteArray_AS_STRING(plain) + used, TALK_CHUNK, &count);
        used += status == RSL_TLS_DONE ? (Py_ssize_t)count : 0;
        if (status != RSL_TLS_DONE) {
            if (PyByteArray_Resize(plain, used) < 0) {
                Py_CLEAR(plain);
            }
            break;
        }
    }
    return plain;
}

static PyObject *
talk_output(rsl_tls *tls)
{
    struct iovec iov[RSL_TLS_OUTPUT_IOV];
    PyObject *out = PyByteArray_FromStringAndSize(NULL, 0);
    while (out != NULL && rsl_tls_output_bytes(tls) > 0) {
        unsigned count = rsl_tls_output(tls, iov, RSL_TLS_OUTPUT_IOV);
        size_t sent = 0;
        for (unsigned i = 0; i < count && out != NULL; i++) {
            Py_ssize_t used = PyByteArray_GET_SIZE(out);
            if (PyByteArray_Resize(out, used + (Py_ssize_t)iov[i].iov_len)
                < 0) {
                Py_CLEAR(out);
                break;
            }
            memcpy(PyByteArray_AS_STRING(out) + used, iov[i].iov_base,
                   iov[i].iov_len);
            sent += iov[i].iov_len;
        }
        rsl_tls_consume(tls, sent);
    }
    return out;
}

PyDoc_STRVAR(engine_talk_doc,
"_talk($self, received, send=b'', /)\n--\n\n"
"Take ciphertext (None: its end) and plaintext (None: the end), and give\n"
"(state, ciphertext, plaintext). For tests: no transport may drive it.");

static PyObject *
engine_talk(TLSEngineObject *self, PyObject *args)
{
    Py_buffer received = {0}, send = {0};
    PyObject *plain = NULL, *out = NULL;
    rsl_tls *tls = self->tls;
    if (!PyArg_ParseTuple(args, "z*|z*:_talk", &received, &send)) {
        return NULL;
    }
    if (received.buf == NULL) {
        rsl_tls_feed_eof(tls);
    } else {
        rsl_tls_feed(tls, received.buf, (size_t)received.len);
    }
    if (rsl_tls_state_now(tls) == RSL_TLS_STATE_HANDSHAKE) {
        (void)rsl_tls_handshake(tls); /* the state says it */
    }
    if (rsl_tls_state_now(tls) == RSL_TLS_STATE_OPEN && send.len > 0) {
        struct iovec piece = {send.buf, (size_t)send.len};
        size_t taken;
        (void)rsl_tls_write(tls, &piece, 1, &taken);
    }
    plain = rsl_tls_state_now(tls) == RSL_TLS_STATE_HANDSHAKE
                ? PyByteArray_FromStringAndSize(NULL, 0)
                : talk_read(tls);
    if (PyTuple_GET_SIZE(args) > 1 && send.buf == NULL) {
        (void)rsl_tls_close_notify(tls);
    }
    if (rsl_tls_keep(tls) == RSL_OK) {
        out = talk_output(tls);
    } else {
        PyErr_NoMemory();
    }
    PyBuffer_Release(&received);
    PyBuffer_Release(&send);
    if (plain == NULL || out == NULL) {
        Py_XDECREF(plain);
        Py_XDECREF(out);
        return NULL;
    }
    return Py_BuildValue("sNN", state_names[rsl_tls_state_now(tls)], out,
                         plain);
}

PyDoc_STRVAR(engine_exception_doc,
"_exception($self, /)\n--\n\n"
"What the engine has failed of, or None. For tests.");

static PyObject *
engine_exception(TLSEngineObject *self, PyObject *Py_UNUSED(ignored))
{
    module_state *st = pyrsl_state_of_type(Py_TYPE(self));
    if (st == NULL) {
        return NULL;
    }
    if (rsl_tls_state_now(self->tls) != RSL_TLS_STATE_FAILED) {
        Py_RETURN_NONE;
    }
    return pyrsl_tls_exception(st, self->tls);
}

static PyMethodDef engine_methods[] = {
    {"_talk", (PyCFunction)(void (*)(void))engine_talk, METH_VARARGS,
     engine_talk_doc},
    {"_exception", (PyCFunction)(void (*)(void))engine_exception, METH_NOARGS,
     engine_exception_doc},
    {NULL, NULL, 0, NULL},
};

/* --- The type --- */

static PyObject *
engine_get_name(TLSEngineObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(self->name);
}

static PyGetSetDef engine_getset[] = {
    {"name", (getter)engine_get_name, NULL, "Which engine it is.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef engine_members[] = {
    {"ssl_object", Py_T_OBJECT_EX, offsetof(TLSEngineObject, ssl_object),
     Py_READONLY, NULL},
    {"context", Py_T_OBJECT_EX, offsetof(TLSEngineObject, context), Py_READONLY,
     NULL},
    {"server_hostname", Py_T_OBJECT_EX,
     offsetof(TLSEngineObject, server_hostname), Py_READONLY, NULL},
    {"reason", Py_T_OBJECT_EX, offsetof(TLSEngineObject, reason), Py_READONLY,
     NULL},
    {"needs_gil", Py_T_BOOL, offsetof(TLSEngineObject, needs_gil), Py_READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot engine_slots[] = {
    {Py_tp_doc, "A TLS engine that is ready for its handshake."},
    {Py_tp_dealloc, engine_dealloc},
    {Py_tp_traverse, engine_traverse},
    {Py_tp_methods, engine_methods},
    {Py_tp_getset, engine_getset},
    {Py_tp_members, engine_members},
    {0, NULL},
};

static PyType_Spec engine_spec = {
    .name = "rsloop_c._core.TLSEngine",
    .basicsize = sizeof(TLSEngineObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = engine_slots,
};

int
pyrsl_tls_engine_type(PyObject *module, module_state *st)
{
    st->TLSEngineType =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &engine_spec, NULL);
    return st->TLSEngineType == NULL ? -1 : 0;
}
