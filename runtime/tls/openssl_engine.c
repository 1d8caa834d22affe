/* SPDX-License-Identifier: Apache-2.0 */
#include "tls/openssl_engine.h"

#include <limits.h>
#include <stdlib.h>

#include "tls/openssl_impl.h"

/* Of <openssl/ssl.h> and <openssl/err.h>. */
enum {
    SSL_ERROR_SSL = 1,
    SSL_ERROR_WANT_READ = 2,
    SSL_ERROR_SYSCALL = 5,
    SSL_ERROR_ZERO_RETURN = 6,
    SSL_CTRL_MODE = 33,
    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER = 0x02,
    SSL_MODE_AUTO_RETRY = 0x04,
    SSL_MODE_RELEASE_BUFFERS = 0x10,
    SSL_R_CERTIFICATE_VERIFY_FAILED = 134,
    SSL_R_UNEXPECTED_EOF_WHILE_READING = 294,
    ERR_LIB_SSL = 20,
};

/* How OpenSSL packs its errors has changed with version 3. */
static const unsigned long OPENSSL_3 = 0x30000000;
enum {
    ERR_R_MALLOC_FAILURE_1 = 65,
    ERR_R_MALLOC_FAILURE_3 = 256 | 3 << 18,
};

/* ssl.SSLError.library */
static const struct {
    int number;
    const char *name;
} library_names[] = {
    {4, "RSA"},   {6, "EVP"}, {9, "PEM"},           {11, "X509"},
    {13, "ASN1"}, {16, "EC"}, {ERR_LIB_SSL, "SSL"}, {34, "X509V3"},
};

static openssl_tls *
openssl_of(rsl_tls *base)
{
    return (openssl_tls *)(void *)base;
}

/* --- Errors --- */

static int
error_library(const rsl_openssl_api *api, unsigned long code)
{
    return api->OpenSSL_version_num() >= OPENSSL_3 ? (int)(code >> 23 & 0xff)
                                                   : (int)(code >> 24 & 0xff);
}

static int
error_reason(const rsl_openssl_api *api, unsigned long code)
{
    return api->OpenSSL_version_num() >= OPENSSL_3 ? (int)(code & 0x7fffff)
                                                   : (int)(code & 0xfff);
}

static bool
error_is_no_memory(const rsl_openssl_api *api, unsigned long code)
{
    return error_reason(api, code)
           == (api->OpenSSL_version_num() >= OPENSSL_3
                   ? ERR_R_MALLOC_FAILURE_3
                   : ERR_R_MALLOC_FAILURE_1);
}

static const char *
error_library_name(const rsl_openssl_api *api, unsigned long code)
{
    int number = error_library(api, code);

    for (size_t i = 0; i < sizeof library_names / sizeof *library_names; i++) {
        if (library_names[i].number == number) {
            return library_names[i].name;
        }
    }
    return api->ERR_lib_error_string(code);
}

static rsl_tls_error_kind
error_kind(openssl_tls *tls, unsigned long code, int ssl_error)
{
    int reason = error_reason(tls->api, code);

    if (tls->no_memory || error_is_no_memory(tls->api, code)) {
        return RSL_TLS_ERR_NOMEM;
    }
    if (error_library(tls->api, code) == ERR_LIB_SSL) {
        if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
            return RSL_TLS_ERR_VERIFY;
        }
        if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
            return RSL_TLS_ERR_EOF;
        }
    }
    /* So OpenSSL 1.1.1 says that the input has ended. */
    return ssl_error == SSL_ERROR_SYSCALL && code == 0 && tls->base.input.ended
               ? RSL_TLS_ERR_EOF
               : RSL_TLS_ERR_SSL;
}

rsl_tls_status
rsl_openssl_fail(openssl_tls *tls, int ssl_error)
{
    const rsl_openssl_api *api = tls->api;
    unsigned long code = api->ERR_peek_last_error();
    rsl_tls_error *error = &tls->base.error;

    error->kind = (uint8_t)error_kind(tls, code, ssl_error);
    error->code = code;
    if (code != 0) {
        error->library = error_library_name(api, code);
        error->text = api->ERR_reason_error_string(code);
    }
    if (error->kind == RSL_TLS_ERR_VERIFY) {
        long verify = api->SSL_get_verify_result(tls->ssl);

        error->verify_code = (int)verify;
        error->verify_message = api->X509_verify_cert_error_string(verify);
    }
    api->ERR_clear_error();
    return RSL_TLS_ERROR;
}

/* What the result `ret`, which is no success, of an SSL function means. */
static rsl_tls_status
openssl_answer(openssl_tls *tls, int ret)
{
    int ssl_error = tls->api->SSL_get_error(tls->ssl, ret);

    if (ssl_error == SSL_ERROR_WANT_READ) {
        return RSL_TLS_WANT_READ;
    }
    if (ssl_error == SSL_ERROR_ZERO_RETURN) {
        return RSL_TLS_EOF;
    }
    return rsl_openssl_fail(tls, ssl_error);
}

/* --- Operations --- */

static rsl_tls_status
openssl_handshake(rsl_tls *base)
{
    openssl_tls *tls = openssl_of(base);
    rsl_tls_status status = RSL_TLS_DONE;
    int ret;

    rsl_openssl_enter(tls);
    ret = tls->api->SSL_do_handshake(tls->ssl);
    if (ret != 1) {
        status = openssl_answer(tls, ret);
        if (status == RSL_TLS_EOF) { /* a close_notify instead of an answer */
            status = rsl_tls_fail(base, RSL_TLS_ERR_EOF, NULL);
        }
    }
    rsl_openssl_leave();
    return status;
}

static rsl_tls_status
openssl_read(rsl_tls *base, void *buf, size_t cap, size_t *out)
{
    openssl_tls *tls = openssl_of(base);
    rsl_tls_status status = RSL_TLS_DONE;
    int ret;

    rsl_openssl_enter(tls);
    ret = tls->api->SSL_read(tls->ssl, buf, cap < INT_MAX ? (int)cap : INT_MAX);
    if (ret > 0) {
        *out = (size_t)ret;
    } else {
        status = openssl_answer(tls, ret);
    }
    rsl_openssl_leave();
    return status;
}

static rsl_tls_status
openssl_write(rsl_tls *base, const uint8_t *data, size_t len)
{
    openssl_tls *tls = openssl_of(base);
    rsl_tls_status status = RSL_TLS_DONE;
    int ret;

    rsl_openssl_enter(tls);
    ret = tls->api->SSL_write(tls->ssl, data, (int)len);
    if (ret <= 0) {
        status = openssl_answer(tls, ret);
        if (status == RSL_TLS_EOF) {
            status = rsl_openssl_fail(tls, SSL_ERROR_SSL);
        }
    }
    rsl_openssl_leave();
    return status;
}

static size_t
openssl_record_max(rsl_tls *base)
{
    (void)base;
    return RSL_TLS_RECORD_MAX;
}

static rsl_tls_status
openssl_close_notify(rsl_tls *base)
{
    openssl_tls *tls = openssl_of(base);
    rsl_tls_status status = RSL_TLS_DONE;
    int ret;

    rsl_openssl_enter(tls);
    /* 0: ours is on its way and the peer's has not come. */
    ret = tls->api->SSL_shutdown(tls->ssl);
    if (ret < 0) {
        status = rsl_openssl_fail(tls, tls->api->SSL_get_error(tls->ssl, ret));
    }
    rsl_openssl_leave();
    return status;
}

static bool
openssl_has_pending(const rsl_tls *base)
{
    const openssl_tls *tls = (const openssl_tls *)(const void *)base;

    return tls->api->SSL_has_pending(tls->ssl) == 1; /* parts of records too */
}

static void
openssl_free(rsl_tls *base)
{
    openssl_tls *tls = openssl_of(base);

    tls->api->SSL_set_info_callback(tls->ssl, NULL);
    tls->api->SSL_set_bio(tls->ssl, NULL, NULL);
    tls->api->SSL_free(tls->ssl);
    free(tls);
}

static const rsl_tls_ops openssl_ops = {
    .name = "openssl",
    .handshake = openssl_handshake,
    .read = openssl_read,
    .write = openssl_write,
    .record_max = openssl_record_max,
    .close_notify = openssl_close_notify,
    .has_pending = openssl_has_pending,
    .get_info = rsl_openssl_get_info,
    .peer_chain = rsl_openssl_peer_chain,
    .tls_unique = rsl_openssl_tls_unique,
    .export = rsl_openssl_export,
    .get_session = rsl_openssl_get_session,
    .set_session = rsl_openssl_set_session,
    .free = openssl_free,
};

rsl_status
rsl_openssl_tls_new(const rsl_openssl_api *api, SSL *ssl, rsl_tls **out)
{
    openssl_tls *tls = calloc(1, sizeof *tls);
    BIO *bio = api->BIO_new(api->method);

    if (tls == NULL || bio == NULL || !api->SSL_up_ref(ssl)) {
        api->BIO_free(bio);
        free(tls);
        return RSL_NOMEM;
    }
    rsl_tls_init(&tls->base, &openssl_ops);
    tls->api = api;
    tls->ssl = ssl;
    api->SSL_set_bio(ssl, bio, bio);
    /* Buffers are for busy connections; a record that is no data does not end
     * a read; the next attempt at a write may come from another place. */
    api->SSL_ctrl(ssl, SSL_CTRL_MODE,
                  SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY
                      | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER,
                  NULL);
    api->SSL_set_info_callback(ssl, rsl_openssl_note_alert);
    *out = &tls->base;
    return RSL_OK;
}
