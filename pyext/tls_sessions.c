/* SPDX-License-Identifier: Apache-2.0 */
/* tls_sessions.c - sessions that clients may resume.
 *
 * A session comes on whatever thread reads, without the GIL, and goes to one
 * new connection: RFC 8446, C.4, would not have a ticket used twice. With it is
 * kept the peer's certificate, which mbedTLS forgets. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tls_engine.h"

enum {
    SESSIONS_MAX = 256, /* the oldest goes first */
    SESSIONS_OF_KEY = 4,
};

typedef struct session_entry {
    uint8_t *data; /* key, certificate, session; NULL: free */
    size_t key_len, der_len, len;
    uint64_t stamp;
} session_entry;

struct TLSSessionsObject {
    PyObject_HEAD
    pthread_mutex_t lock; /* of what follows */
    uint64_t stamp;
    session_entry entries[SESSIONS_MAX];
};

static bool
entry_is_of(const session_entry *entry, const char *key, size_t key_len)
{
    return entry->data != NULL && entry->key_len == key_len
           && memcmp(entry->data, key, key_len) == 0;
}

static void
entry_drop(session_entry *entry)
{
    free(entry->data);
    memset(entry, 0, sizeof *entry);
}

/* Where a new session of `key` goes: the oldest of the key that has enough,
 * else a free place, else the oldest of all. */
static session_entry *
sessions_place(TLSSessionsObject *self, const char *key, size_t key_len)
{
    session_entry *oldest = &self->entries[0], *own = NULL;
    int owned = 0;

    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        session_entry *entry = &self->entries[i];

        if (entry->stamp < oldest->stamp) { /* 0: free */
            oldest = entry;
        }
        if (entry_is_of(entry, key, key_len)) {
            owned++;
            own = own == NULL || entry->stamp < own->stamp ? entry : own;
        }
    }
    return owned >= SESSIONS_OF_KEY ? own : oldest;
}

/* The certificate of a peer; `data` has room for it, or is NULL. */
typedef struct peer_der {
    uint8_t *data;
    size_t len;
    bool found;
} peer_der;

/* rsl_tls_each_der */
static void
peer_take_first(void *arg, const uint8_t *der, size_t len)
{
    peer_der *peer = arg;

    if (peer->found) {
        return;
    }
    peer->found = true;
    peer->len = len;
    if (peer->data != NULL) {
        memcpy(peer->data, der, len);
    }
}

/* The peer's certificate into `data`, or its size alone. */
static size_t
peer_copy(const TLSEngineObject *engine, uint8_t *data)
{
    peer_der peer = {.data = data};
    PyObject *kept = engine->session_peer;

    if (rsl_tls_peer_chain(engine->tls, peer_take_first, &peer) == RSL_OK
        && !peer.found && kept != NULL) {
        peer_take_first(&peer, (const uint8_t *)PyBytes_AS_STRING(kept),
                        (size_t)PyBytes_GET_SIZE(kept));
    }
    return peer.len;
}

/* rsl_tls_session_sink; without memory the session is not kept. */
static void
sessions_put(void *arg, const uint8_t *data, size_t len)
{
    const TLSEngineObject *engine = arg;
    TLSSessionsObject *self = (TLSSessionsObject *)engine->sessions;
    const char *key = PyBytes_AS_STRING(engine->session_key);
    size_t key_len = (size_t)PyBytes_GET_SIZE(engine->session_key);
    size_t der_len = peer_copy(engine, NULL);
    uint8_t *copy = malloc(key_len + der_len + len);

    if (copy == NULL) {
        return;
    }
    memcpy(copy, key, key_len);
    if (peer_copy(engine, copy + key_len) != der_len) {
        free(copy);
        return;
    }
    memcpy(copy + key_len + der_len, data, len);
    pthread_mutex_lock(&self->lock);
    session_entry *entry = sessions_place(self, key, key_len);
    entry_drop(entry);
    *entry = (session_entry){copy, key_len, der_len, len, ++self->stamp};
    pthread_mutex_unlock(&self->lock);
}

/* The newest session of `key`, which leaves; its data may be NULL. */
static session_entry
sessions_take(TLSSessionsObject *self, const char *key, size_t key_len)
{
    session_entry *newest = NULL, taken = {0};

    pthread_mutex_lock(&self->lock);
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        session_entry *entry = &self->entries[i];

        if (entry_is_of(entry, key, key_len)
            && (newest == NULL || entry->stamp > newest->stamp)) {
            newest = entry;
        }
    }
    if (newest != NULL) {
        taken = *newest;
        memset(newest, 0, sizeof *newest);
    }
    pthread_mutex_unlock(&self->lock);
    return taken;
}

int
pyrsl_tls_sessions_use(TLSEngineObject *engine)
{
    session_entry entry =
        sessions_take((TLSSessionsObject *)engine->sessions,
                      PyBytes_AS_STRING(engine->session_key),
                      (size_t)PyBytes_GET_SIZE(engine->session_key));

    if (entry.data != NULL) {
        const uint8_t *der = entry.data + entry.key_len;

        engine->session_peer = PyBytes_FromStringAndSize(
            (const char *)der, (Py_ssize_t)entry.der_len);
        /* One that the engine does not take means a full handshake. */
        (void)rsl_tls_set_session(engine->tls, der + entry.der_len, entry.len);
        free(entry.data);
        if (engine->session_peer == NULL) {
            return -1;
        }
    }
    rsl_tls_keep_sessions(engine->tls, sessions_put, engine);
    return 0;
}

/* --- The type --- */

static PyObject *
sessions_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) > 0
        || (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0)) {
        PyErr_SetString(PyExc_TypeError, "TLSSessions() takes no arguments");
        return NULL;
    }
    TLSSessionsObject *self = (TLSSessionsObject *)type->tp_alloc(type, 0);
    if (self != NULL) {
        pthread_mutex_init(&self->lock, NULL);
    }
    return (PyObject *)self;
}

static void
sessions_drop_all(TLSSessionsObject *self)
{
    pthread_mutex_lock(&self->lock);
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        entry_drop(&self->entries[i]);
    }
    pthread_mutex_unlock(&self->lock);
}

static void
sessions_dealloc(TLSSessionsObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    sessions_drop_all(self);
    pthread_mutex_destroy(&self->lock);
    type->tp_free(self);
    Py_DECREF(type);
}

PyDoc_STRVAR(sessions_clear_doc,
"clear($self, /)\n--\n\n"
"Forget all sessions.");

static PyObject *
sessions_clear(TLSSessionsObject *self, PyObject *Py_UNUSED(ignored))
{
    sessions_drop_all(self);
    Py_RETURN_NONE;
}

static Py_ssize_t
sessions_length(TLSSessionsObject *self)
{
    Py_ssize_t count = 0;
    pthread_mutex_lock(&self->lock);
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        count += self->entries[i].data != NULL;
    }
    pthread_mutex_unlock(&self->lock);
    return count;
}

static PyMethodDef sessions_methods[] = {
    {"clear", (PyCFunction)(void (*)(void))sessions_clear, METH_NOARGS,
     sessions_clear_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot sessions_slots[] = {
    {Py_tp_doc, "Sessions that clients may resume."},
    {Py_tp_new, sessions_new},
    {Py_tp_dealloc, sessions_dealloc},
    {Py_tp_methods, sessions_methods},
    {Py_sq_length, sessions_length},
    {0, NULL},
};

static PyType_Spec sessions_spec = {
    .name = "rsloop_c._core.TLSSessions",
    .basicsize = sizeof(TLSSessionsObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = sessions_slots,
};

PyTypeObject *
pyrsl_tls_sessions_type(PyObject *module)
{
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, &sessions_spec,
                                                    NULL);
}
