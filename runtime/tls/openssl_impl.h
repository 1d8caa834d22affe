/* SPDX-License-Identifier: Apache-2.0 */
/* openssl_impl.h - the inside of the openssl engine.
 *
 * Role:    the struct, how OpenSSL is entered, and what openssl_engine.c takes
 *          from openssl_bio.c, openssl_info.c and openssl_session.c.
 * Thread:  the engine's.
 * Memory:  the engine owns one reference to the SSL, the SSL the BIO. */
#ifndef RSL_TLS_OPENSSL_IMPL_H
#define RSL_TLS_OPENSSL_IMPL_H

#include "tls/engine.h"
#include "tls/openssl_api.h"

typedef struct openssl_tls {
    rsl_tls base;
    const rsl_openssl_api *api; /* [K] */
    SSL *ssl;                   /* [K] */
    const SSL_SESSION *given;   /* by get_session(): not ours, to compare */
    bool no_memory;             /* the output could not grow */
} openssl_tls;

/* OpenSSL's callbacks find the engine as the one that this thread has entered.
 * An SSL is its user's as well: called from elsewhere it meets no engine, and
 * its BIO answers that there is nothing. */
void rsl_openssl_enter(openssl_tls *tls);
void rsl_openssl_leave(void);

/* The kind of BIO, once for each table; NULL without memory. */
BIO_METHOD *rsl_openssl_bio_method(const rsl_openssl_api *api);

/* An info callback: notes the alerts of the engine that is entered. */
void rsl_openssl_note_alert(const SSL *ssl, int where, int ret);

/* Make of OpenSSL's error queue and of `ssl_error`, which SSL_get_error() gave,
 * the engine's error: RSL_TLS_ERROR. */
rsl_tls_status rsl_openssl_fail(openssl_tls *tls, int ssl_error);

/* openssl_info.c */
void rsl_openssl_get_info(rsl_tls *base, rsl_tls_info *out);
rsl_status
rsl_openssl_peer_chain(rsl_tls *base, rsl_tls_each_der each, void *arg);
rsl_status rsl_openssl_tls_unique(rsl_tls *base, uint8_t *buf, size_t *out);
rsl_status
rsl_openssl_export(rsl_tls *base, const char *label, uint8_t *buf, size_t len);
rsl_status rsl_openssl_get_session(rsl_tls *base, uint8_t **out, size_t *len);
rsl_status
rsl_openssl_set_session(rsl_tls *base, const uint8_t *data, size_t len);

#endif
