/* SPDX-License-Identifier: Apache-2.0 */
/* mbedtls_config.h - what connections of the mbedtls engine have in common.
 *
 * Role:    material and rules of one side, checked once.
 * Thread:  made on any thread; constant, and used by engines on all.
 * Memory:  the config copies what it needs; it outlives its engines. */
#ifndef RSL_TLS_MBEDTLS_CONFIG_H
#define RSL_TLS_MBEDTLS_CONFIG_H

#include <rsl/tls.h>

typedef enum rsl_tls_verify {
    RSL_TLS_VERIFY_NONE,
    RSL_TLS_VERIFY_OPTIONAL, /* for a client the same as REQUIRED */
    RSL_TLS_VERIFY_REQUIRED,
} rsl_tls_verify;

/* PEM, whose terminating zero is counted, or DER. */
typedef struct rsl_tls_blob {
    const uint8_t *data;
    size_t len;
} rsl_tls_blob;

/* A line of the key log without its newline; any thread that drives an
 * engine. */
typedef void (*rsl_tls_keylog)(void *arg, const char *line);

typedef struct rsl_tls_settings {
    bool server;
    bool check_hostname;    /* a client's */
    bool check_common_name; /* where the certificate names no host otherwise */
    bool
        check_crl; /* the leaf has to be in the scope of a CRL, and not in it */
    bool ask_sni;  /* a server's handshake stops at RSL_TLS_NEED_SNI, once */
    rsl_tls_verify verify;
    uint16_t version_min, version_max; /* 0x0303, 0x0304; 0: no bound */
    rsl_tls_blob certificate;          /* the chain, the leaf first */
    rsl_tls_blob key;
    rsl_tls_blob ca;
    rsl_tls_blob crl;
    const char *password;    /* of the key, or NULL */
    const uint16_t *ciphers; /* IANA numbers by preference, 0 ends; or NULL */
    const char *const *alpn; /* by preference, NULL ends; or NULL */
    unsigned tickets;        /* a server gives so many; a client takes any */
    uint32_t ticket_lifetime_s;
    rsl_tls_keylog keylog;
    void *keylog_arg;
} rsl_tls_settings;

typedef struct rsl_mbedtls_config rsl_mbedtls_config;

/* RSL_OK; RSL_NOMEM; RSL_UNSUPPORTED when mbedTLS cannot serve this faithfully,
 * with *why a literal: another engine has to. */
rsl_status rsl_mbedtls_config_new(const rsl_tls_settings *settings,
                                  rsl_mbedtls_config **out, const char **why);

/* Whether settings.ciphers may name it with an effect. */
bool rsl_mbedtls_knows_cipher(uint16_t number);

void rsl_mbedtls_config_free(rsl_mbedtls_config *config);

#endif
