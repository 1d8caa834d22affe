/* SPDX-License-Identifier: Apache-2.0 */
/* tls_engine.h - an engine of <rsl/tls.h> with the objects that it needs.
 *
 * Role:    what python/rsloop_c/_tls.py has chosen for one connection, ready
 *          for its handshake; and its errors as exceptions of ssl's.
 * Thread:  made on the loop thread. Who drives `tls` is the transport's
 *          business; where needs_gil is true it is the loop thread, which can
 *          take the GIL: libssl then calls into Python.
 * Memory:  the object frees the engine when it dies, so it has to live for as
 *          long as anybody drives it. It is not cleared by the collector:
 *          libssl's callbacks use the context without holding a reference. */
#ifndef PYRSL_TLS_ENGINE_H
#define PYRSL_TLS_ENGINE_H

#include <stdbool.h>

#include <rsl/stats.h>
#include <rsl/tls.h>

#include "state.h"

typedef struct TLSEngineObject {
    PyObject_HEAD
    rsl_tls *tls;              /* [K] owned */
    rsl_stat_engine kind;      /* [K] */
    PyObject *ssl_object;      /* [K] openssl: the SSLObject; else None */
    PyObject *context;         /* [K] the ssl.SSLContext */
    PyObject *server_hostname; /* [K] as the caller gave it, or None */
    PyObject *reason;          /* [K] why this engine */
    PyObject *config;          /* [K] mbedtls: its TLSConfig, or NULL */
    PyObject *sessions;        /* [K] a TLSSessions, or NULL */
    PyObject *session_key;     /* [K] bytes: for sessions, or NULL */
    PyObject *session_peer;    /* [K] bytes: the certificate that came with the
                                * session that is offered, or NULL */
    bool needs_gil;            /* [K] */
    bool server_side;          /* [K] */
} TLSEngineObject;

/* Tickets that clients have got, by name; for all threads. */
typedef struct TLSSessionsObject TLSSessionsObject;

/* TLSEngine, TLSSessions and, with mbedTLS, TLSConfig. */
int pyrsl_tls_types(PyObject *module, module_state *st);

/* tls_talk.c */
extern PyMethodDef pyrsl_tls_engine_methods[];

/* Offer the session that engine->sessions has for engine->session_key, and keep
 * what comes. 0, or -1 with an exception. */
int pyrsl_tls_sessions_use(TLSEngineObject *engine);
PyTypeObject *pyrsl_tls_sessions_type(PyObject *module);

/* The fields of a new object, borrowed. */
typedef struct pyrsl_tls_objects {
    PyObject *ssl_object;
    PyObject *context;
    PyObject *server_hostname;
    PyObject *reason;
    PyObject *config; /* or NULL */
    bool needs_gil;
    bool server_side;
} pyrsl_tls_objects;

/* An object that takes `tls`; NULL with an exception, and it is freed. */
TLSEngineObject *
pyrsl_tls_engine_new(module_state *st, rsl_stat_engine kind, rsl_tls *tls,
                     const pyrsl_tls_objects *objects);

/* A new exception instance for rsl_tls_last_error() of the engine of a
 * TLSEngineObject, as the ssl module would have raised it; NULL with an
 * exception. The engine has failed. */
PyObject *pyrsl_tls_exception(module_state *st, rsl_tls *tls);

/* _tls_openssl_open, _tls_openssl_differs, _tls_openssl_engine,
 * _tls_context_word, _tls_context_word_set */
extern PyMethodDef pyrsl_tls_openssl_functions[];

#ifdef RSL_HAVE_MBEDTLS
/* _tls_mbedtls_config, _tls_mbedtls_engine, _tls_mbedtls_knows */
extern PyMethodDef pyrsl_tls_mbedtls_functions[];
PyTypeObject *pyrsl_tls_config_type(PyObject *module);
#endif

#endif
