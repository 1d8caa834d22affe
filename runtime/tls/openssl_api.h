/* SPDX-License-Identifier: Apache-2.0 */
/* openssl_api.h - the functions of a libssl that is already in the process.
 *
 * Role:    OpenSSL 1.1.1 or newer, found by name at run time: neither its
 *          headers nor its library are needed to build. The prototypes are our
 *          own, of its documentation.
 * Thread:  a table is constant once it is open.
 * Memory:  the table outlives every engine that uses it. */
#ifndef RSL_TLS_OPENSSL_API_H
#define RSL_TLS_OPENSSL_API_H

#include <stddef.h>

#include <rsl/status.h>

/* OpenSSL's own, which we only pass on. */
typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_session_st SSL_SESSION;
typedef struct ssl_cipher_st SSL_CIPHER;
typedef struct bio_st BIO;
typedef struct bio_method_st BIO_METHOD;
typedef struct x509_st X509;
typedef struct stack_st OPENSSL_STACK;

typedef void rsl_ssl_info_fn(const SSL *ssl, int where, int ret);

/* X(result, name, parameters) */
#define RSL_OPENSSL_FUNCTIONS(X)                                           \
    X(unsigned long, OpenSSL_version_num, (void))                          \
    X(int, BIO_get_new_index, (void))                                      \
    X(BIO_METHOD *, BIO_meth_new, (int type, const char *name))            \
    X(void, BIO_meth_free, (BIO_METHOD *))                                 \
    X(int, BIO_meth_set_read, (BIO_METHOD *, int (*)(BIO *, char *, int))) \
    X(int, BIO_meth_set_write,                                             \
      (BIO_METHOD *, int (*)(BIO *, const char *, int)))                   \
    X(int, BIO_meth_set_ctrl,                                              \
      (BIO_METHOD *, long (*)(BIO *, int, long, void *)))                  \
    X(BIO *, BIO_new, (const BIO_METHOD *))                                \
    X(int, BIO_free, (BIO *))                                              \
    X(void, BIO_set_flags, (BIO *, int))                                   \
    X(void, BIO_clear_flags, (BIO *, int))                                 \
    X(unsigned long, ERR_peek_last_error, (void))                          \
    X(void, ERR_clear_error, (void))                                       \
    X(const char *, ERR_lib_error_string, (unsigned long))                 \
    X(const char *, ERR_reason_error_string, (unsigned long))              \
    X(const char *, X509_verify_cert_error_string, (long))                 \
    X(int, i2d_X509, (X509 *, unsigned char **))                           \
    X(void, X509_free, (X509 *))                                           \
    X(int, OPENSSL_sk_num, (const OPENSSL_STACK *))                        \
    X(void *, OPENSSL_sk_value, (const OPENSSL_STACK *, int))              \
    X(void, SSL_free, (SSL *))                                             \
    X(int, SSL_up_ref, (SSL *))                                            \
    X(void, SSL_set_bio, (SSL *, BIO *, BIO *))                            \
    X(long, SSL_ctrl, (SSL *, int, long, void *))                          \
    X(int, SSL_do_handshake, (SSL *))                                      \
    X(int, SSL_read, (SSL *, void *, int))                                 \
    X(int, SSL_write, (SSL *, const void *, int))                          \
    X(int, SSL_shutdown, (SSL *))                                          \
    X(int, SSL_get_error, (const SSL *, int))                              \
    X(int, SSL_has_pending, (const SSL *))                                 \
    X(int, SSL_is_server, (const SSL *))                                   \
    X(SSL_CTX *, SSL_get_SSL_CTX, (const SSL *))                           \
    X(void *, SSL_get_ex_data, (const SSL *, int))                         \
    X(unsigned long, SSL_CTX_get_options, (const SSL_CTX *))               \
    X(int, SSL_CTX_get_verify_mode, (const SSL_CTX *))                     \
    X(size_t, SSL_CTX_get_num_tickets, (const SSL_CTX *))                  \
    X(void, SSL_set_info_callback, (SSL *, rsl_ssl_info_fn *))             \
    X(const char *, SSL_get_version, (const SSL *))                        \
    X(const SSL_CIPHER *, SSL_get_current_cipher, (const SSL *))           \
    X(const char *, SSL_CIPHER_get_name, (const SSL_CIPHER *))             \
    X(const char *, SSL_CIPHER_get_version, (const SSL_CIPHER *))          \
    X(int, SSL_CIPHER_get_bits, (const SSL_CIPHER *, int *))               \
    X(void, SSL_get0_alpn_selected,                                        \
      (const SSL *, const unsigned char **, unsigned *))                   \
    X(const char *, SSL_get_servername, (const SSL *, int))                \
    X(int, SSL_session_reused, (const SSL *))                              \
    X(long, SSL_get_verify_result, (const SSL *))                          \
    X(OPENSSL_STACK *, SSL_get_peer_cert_chain, (const SSL *))             \
    X(size_t, SSL_get_finished, (const SSL *, void *, size_t))             \
    X(size_t, SSL_get_peer_finished, (const SSL *, void *, size_t))        \
    X(int, SSL_export_keying_material,                                     \
      (SSL *, unsigned char *, size_t, const char *, size_t,               \
       const unsigned char *, size_t, int))                                \
    X(SSL_SESSION *, SSL_get1_session, (SSL *))                            \
    X(SSL_SESSION *, SSL_get_session, (const SSL *))                       \
    X(int, SSL_set_session, (SSL *, SSL_SESSION *))                        \
    X(int, SSL_SESSION_is_resumable, (const SSL_SESSION *))                \
    X(void, SSL_SESSION_free, (SSL_SESSION *))                             \
    X(int, i2d_SSL_SESSION, (const SSL_SESSION *, unsigned char **))       \
    X(SSL_SESSION *, d2i_SSL_SESSION,                                      \
      (SSL_SESSION **, const unsigned char **, long))

typedef struct rsl_openssl_api {
#define MEMBER(result, name, parameters) result(*name) parameters;
    RSL_OPENSSL_FUNCTIONS(MEMBER)
#undef MEMBER
    /* SSL_get1_peer_certificate(), which is SSL_get_peer_certificate() before
     * OpenSSL 3. */
    X509 *(*get1_peer_certificate)(const SSL *);
    BIO_METHOD *method; /* the BIO that is an rsl_tls */
} rsl_openssl_api;

/* Fill `*api` from `handle`, which dlopen() gave for libssl or for something
 * that depends on it and which stays open. RSL_OK; RSL_UNSUPPORTED, with the
 * name of the first missing function, or "version", in *missing; RSL_NOMEM. */
rsl_status
rsl_openssl_api_open(rsl_openssl_api *api, void *handle, const char **missing);

void rsl_openssl_api_close(rsl_openssl_api *api);

#endif
