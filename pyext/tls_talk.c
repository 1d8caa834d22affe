/* SPDX-License-Identifier: Apache-2.0 */
/* tls_talk.c - what Python may ask an engine: the facts of its connection, and,
 * for tests, a handshake in memory. */
#include <stdlib.h>

#include "errors.h"
#include "tls_engine.h"

/* --- Facts --- */

PyDoc_STRVAR(engine_info_doc,
"_info($self, /)\n--\n\n"
"What was agreed on, as a dict. Nobody may drive the engine meanwhile.");

static PyObject *
engine_info(TLSEngineObject *self, PyObject *Py_UNUSED(ignored))
{
    rsl_tls_info info;
    rsl_tls_get_info(self->tls, &info);
    return Py_BuildValue(
        "{s:z, s:z, s:z, s:i, s:z#, s:z, s:O, s:i}", "version", info.version,
        "cipher", info.cipher, "cipher_protocol", info.cipher_protocol,
        "cipher_bits", info.cipher_bits, "alpn", (const char *)info.alpn,
        (Py_ssize_t)info.alpn_len, "server_name", info.server_name, "resumed",
        info.resumed ? Py_True : Py_False, "verify_code", info.verify_code);
}

/* rsl_tls_each_der; a list that has become NULL stays so. */
static void
chain_add(void *arg, const uint8_t *der, size_t len)
{
    PyObject **list = arg;
    PyObject *item =
        PyBytes_FromStringAndSize((const char *)der, (Py_ssize_t)len);
    if (item == NULL || *list == NULL || PyList_Append(*list, item) < 0) {
        Py_CLEAR(*list);
    }
    Py_XDECREF(item);
}

PyDoc_STRVAR(engine_peer_chain_doc,
"_peer_chain($self, /)\n--\n\n"
"The certificates that the peer has sent, as DER, its own first; of a resumed\n"
"session its own may be all that is known.");

static PyObject *
engine_peer_chain(TLSEngineObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *list = PyList_New(0);
    if (list == NULL) {
        return NULL;
    }
    if (rsl_tls_peer_chain(self->tls, chain_add, &list) != RSL_OK) {
        Py_XDECREF(list);
        return PyErr_NoMemory();
    }
    if (list != NULL && PyList_GET_SIZE(list) == 0 && self->session_peer != NULL
        && PyList_Append(list, self->session_peer) < 0) {
        Py_CLEAR(list);
    }
    return list;
}

PyDoc_STRVAR(engine_tls_unique_doc,
"_tls_unique($self, /)\n--\n\n"
"The channel binding of that name, or None.");

static PyObject *
engine_tls_unique(TLSEngineObject *self, PyObject *Py_UNUSED(ignored))
{
    uint8_t data[RSL_TLS_BINDING_MAX];
    size_t len;
    if (rsl_tls_channel_binding(self->tls, RSL_TLS_BINDING_UNIQUE, data, &len)
        != RSL_OK) {
        Py_RETURN_NONE;
    }
    return PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)len);
}

PyDoc_STRVAR(engine_use_sessions_doc,
"_use_sessions($self, sessions, key, /)\n--\n\n"
"Offer the session that sessions has for key, and keep those that come.\n"
"Before the handshake.");

static PyObject *
engine_use_sessions(TLSEngineObject *self, PyObject *args)
{
    PyObject *key;
    TLSSessionsObject *sessions;
    module_state *st = pyrsl_state_of_type(Py_TYPE(self));
    if (st == NULL
        || !PyArg_ParseTuple(args, "O!S:_use_sessions", st->TLSSessionsType,
                             &sessions, &key)) {
        return NULL;
    }
    if (self->sessions != NULL
        || rsl_tls_state_now(self->tls) != RSL_TLS_STATE_HANDSHAKE) {
        PyErr_SetString(PyExc_RuntimeError, "sessions come first");
        return NULL;
    }
    self->sessions = Py_NewRef((PyObject *)sessions);
    self->session_key = Py_NewRef(key);
    if (pyrsl_tls_sessions_use(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
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

PyMethodDef pyrsl_tls_engine_methods[] = {
    {"_info", (PyCFunction)(void (*)(void))engine_info, METH_NOARGS,
     engine_info_doc},
    {"_peer_chain", (PyCFunction)(void (*)(void))engine_peer_chain, METH_NOARGS,
     engine_peer_chain_doc},
    {"_tls_unique", (PyCFunction)(void (*)(void))engine_tls_unique, METH_NOARGS,
     engine_tls_unique_doc},
    {"_use_sessions", (PyCFunction)(void (*)(void))engine_use_sessions,
     METH_VARARGS, engine_use_sessions_doc},
    {"_talk", (PyCFunction)(void (*)(void))engine_talk, METH_VARARGS,
     engine_talk_doc},
    {"_exception", (PyCFunction)(void (*)(void))engine_exception, METH_NOARGS,
     engine_exception_doc},
    {NULL, NULL, 0, NULL},
};
