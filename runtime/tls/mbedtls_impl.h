/* SPDX-License-Identifier: Apache-2.0 */
/* mbedtls_impl.h - the inside of the mbedtls engine.
 *
 * Role:    its structs, and what its files take from each other.
 * Thread:  a config is constant, an engine belongs to one thread at a time.
 * Memory:  as the headers of config and engine. */
#ifndef RSL_TLS_MBEDTLS_IMPL_H
#define RSL_TLS_MBEDTLS_IMPL_H

#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>

#include "tls/engine.h"
#include "tls/mbedtls_config.h"
#include "tls/mbedtls_engine.h"

struct rsl_mbedtls_config {
    mbedtls_ssl_config conf;
    /* The same without ALPN: mbedTLS refuses a client that offers no protocol
     * of ours, and ssl.SSLContext goes on without one. */
    mbedtls_ssl_config conf_no_alpn;
    mbedtls_x509_crt certificate, ca;
    mbedtls_x509_crl crl;
    mbedtls_pk_context key;
    mbedtls_ssl_ticket_context tickets;
    int *ciphers;
    const char **alpn;         /* one block with the names */
    rsl_tls_settings settings; /* without its pointers, but keylog's */
};

typedef struct mbedtls_tls {
    rsl_tls base;
    const rsl_mbedtls_config *config;
    mbedtls_ssl_context ssl;
    char *server_name;   /* what a client sends or has sent, or NULL */
    uint8_t address[16]; /* instead of a name, for a client to check */
    uint8_t address_len;
    bool ready;     /* ssl is set up */
    bool asked;     /* for the config, by NEED_SNI */
    bool starved;   /* mbedTLS has met the end of the input */
    bool no_memory; /* the output could not grow */
    bool verified;  /* the verification callback has been called */
    bool full;      /* certificates were exchanged: no resumption */
    bool has_ticket;
    int trust_code;        /* why the chain leads to nobody, X509_V_ERR_* */
    uint32_t verify_flags; /* of the whole chain, mbedTLS's */
} mbedtls_tls;

static inline mbedtls_tls *
rsl_mbedtls_of(rsl_tls *base)
{
    return (mbedtls_tls *)(void *)base;
}

/* mbedtls_verify.c: the callback, for mbedtls_ssl_set_verify(). */
int rsl_mbedtls_verify(void *arg, mbedtls_x509_crt *certificate, int depth,
                       uint32_t *flags);

/* The X509_V_ERR_* that OpenSSL would name first, and its words. */
int rsl_mbedtls_verify_code(const mbedtls_tls *tls);
const char *rsl_mbedtls_verify_text(int code);

/* The alert for it. */
uint8_t rsl_mbedtls_verify_alert(int code);

/* The alert that mbedTLS has sent for the flags, where it refused by itself. */
uint8_t rsl_mbedtls_sent_alert(const mbedtls_tls *tls);

/* mbedtls_error.c: make of mbedTLS's `code` the engine's error. */
rsl_tls_status rsl_mbedtls_fail(mbedtls_tls *tls, int code);

/* mbedtls_info.c */
void rsl_mbedtls_get_info(rsl_tls *base, rsl_tls_info *out);
rsl_status
rsl_mbedtls_peer_chain(rsl_tls *base, rsl_tls_each_der each, void *arg);
rsl_status rsl_mbedtls_tls_unique(rsl_tls *base, uint8_t *buf, size_t *out);
rsl_status
rsl_mbedtls_export(rsl_tls *base, const char *label, uint8_t *buf, size_t len);
rsl_status rsl_mbedtls_get_session(rsl_tls *base, uint8_t **out, size_t *len);
rsl_status
rsl_mbedtls_set_session(rsl_tls *base, const uint8_t *data, size_t len);

/* mbedtls_keylog.c: for mbedtls_ssl_set_export_keys_cb(). */
void rsl_mbedtls_keylog(void *arg, mbedtls_ssl_key_export_type type,
                        const unsigned char *secret, size_t secret_len,
                        const unsigned char client_random[32],
                        const unsigned char server_random[32],
                        mbedtls_tls_prf_types prf);

#endif
