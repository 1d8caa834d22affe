/* SPDX-License-Identifier: Apache-2.0 */
/* tls_side.h - one side of a TLS connection, for tests of every engine.
 *
 * Role:    makes contexts and engines of the library that a test names, from
 *          the files in tls_certs/.
 * Thread:  any, one at a time.
 * Memory:  a context outlives its engines. */
#ifndef TLS_SIDE_H
#define TLS_SIDE_H

#include <rsl/tls.h>

typedef enum tls_library {
    TLS_OPENSSL,
    TLS_MBEDTLS,
} tls_library;

typedef enum tls_verify {
    TLS_VERIFY_DEFAULT, /* a client's peer is verified, a server's is not */
    TLS_VERIFY_NONE,
    TLS_VERIFY_OPTIONAL,
    TLS_VERIFY_REQUIRED,
} tls_verify;

enum { TLS_1_2 = 0x0303, TLS_1_3 = 0x0304 };

/* What is 0 or NULL is left to the library, or absent. Names are of files. */
typedef struct tls_settings {
    tls_library library;
    bool server;
    int version; /* the only one */
    tls_verify verify;
    const char *cert; /* a server's default: ec.pem */
    const char *key;  /* default: ec.key, and rsa.key for rsa.pem */
    const char *password;
    const char *ca; /* default: ca.pem */
    const char *crl;
    const char *alpn;   /* "h2,http/1.1" */
    const char *cipher; /* the only one, by its IANA name */
    bool no_tickets;
    /* Of mbedTLS alone: */
    bool ask_sni;
    void (*keylog)(void *arg, const char *line);
    void *keylog_arg;
} tls_settings;

typedef struct tls_context tls_context;

/* NULL when it serves, else why it does not. */
const char *tls_library_fault(tls_library library);

/* Fails the test when the library does not take the settings. */
tls_context *tls_context_new(const tls_settings *settings);

/* An engine; `server_name` is what a client asks for and verifies. NULL
 * without memory. */
rsl_tls *tls_context_open(tls_context *context, const char *server_name);

void tls_context_free(tls_context *context);

/* The bytes of a file in tls_certs/, terminated; for free(). */
char *tls_file(const char *name, size_t *len);

/* TLS 1.2: ask for another handshake; TLS 1.3: for new keys in both directions.
 * Of OpenSSL's engine; true when there will be one. */
bool tls_openssl_renegotiate(rsl_tls *tls);
bool tls_openssl_update_keys(rsl_tls *tls);

/* --- Each library's part --- */

typedef struct tls_library_ops {
    const char *(*fault)(void);
    tls_context *(*context_new)(const tls_settings *settings);
    rsl_tls *(*open)(tls_context *context, const char *server_name);
    void (*context_free)(tls_context *context);
} tls_library_ops;

struct tls_context {
    const tls_library_ops *ops;
};

extern const tls_library_ops tls_openssl_side;
extern const tls_library_ops tls_mbedtls_side;

#endif
