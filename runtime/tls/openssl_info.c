/* SPDX-License-Identifier: Apache-2.0 */
/* openssl_info.c - what an SSL knows of its connection. */
#include <stdlib.h>
#include <string.h>

#include "tls/openssl_impl.h"

enum { TLSEXT_NAMETYPE_HOST_NAME = 0 };

static openssl_tls *
openssl_of(rsl_tls *base)
{
    return (openssl_tls *)(void *)base;
}

void
rsl_openssl_get_info(rsl_tls *base, rsl_tls_info *out)
{
    openssl_tls *tls = openssl_of(base);
    const rsl_openssl_api *api = tls->api;
    const SSL_CIPHER *cipher = api->SSL_get_current_cipher(tls->ssl);
    unsigned alpn_len = 0;

    out->version = api->SSL_get_version(tls->ssl);
    if (cipher != NULL) {
        out->cipher = api->SSL_CIPHER_get_name(cipher);
        out->cipher_protocol = api->SSL_CIPHER_get_version(cipher);
        out->cipher_bits = api->SSL_CIPHER_get_bits(cipher, NULL);
    }
    api->SSL_get0_alpn_selected(tls->ssl, &out->alpn, &alpn_len);
    out->alpn_len = alpn_len;
    out->server_name =
        api->SSL_get_servername(tls->ssl, TLSEXT_NAMETYPE_HOST_NAME);
    out->resumed = api->SSL_session_reused(tls->ssl) == 1;
    out->verify_code = (int)api->SSL_get_verify_result(tls->ssl);
}

static rsl_status
chain_show(const rsl_openssl_api *api, X509 *certificate, rsl_tls_each_der each,
           void *arg)
{
    unsigned char *der = NULL, *end;
    int len = api->i2d_X509(certificate, NULL);

    if (len <= 0 || (der = malloc((size_t)len)) == NULL) {
        return RSL_NOMEM;
    }
    end = der;
    len = api->i2d_X509(certificate, &end);
    if (len > 0) {
        each(arg, der, (size_t)len);
    }
    free(der);
    return len > 0 ? RSL_OK : RSL_NOMEM;
}

rsl_status
rsl_openssl_peer_chain(rsl_tls *base, rsl_tls_each_der each, void *arg)
{
    openssl_tls *tls = openssl_of(base);
    const rsl_openssl_api *api = tls->api;
    OPENSSL_STACK *chain = api->SSL_get_peer_cert_chain(tls->ssl);
    int count = chain == NULL ? 0 : api->OPENSSL_sk_num(chain);
    rsl_status status = RSL_OK;

    /* A server's view of the chain leaves the client's own certificate out. */
    if (api->SSL_is_server(tls->ssl)) {
        X509 *own = api->get1_peer_certificate(tls->ssl);

        if (own != NULL) {
            status = chain_show(api, own, each, arg);
            api->X509_free(own);
        }
    }
    for (int i = 0; i < count && status == RSL_OK; i++) {
        status = chain_show(api, api->OPENSSL_sk_value(chain, i), each, arg);
    }
    return status;
}

/* The first Finished message: the client's, and the server's when the session
 * was resumed. */
rsl_status
rsl_openssl_tls_unique(rsl_tls *base, uint8_t *buf, size_t *out)
{
    openssl_tls *tls = openssl_of(base);
    const rsl_openssl_api *api = tls->api;
    bool server = api->SSL_is_server(tls->ssl) != 0;
    bool resumed = api->SSL_session_reused(tls->ssl) != 0;
    size_t len;

    if (strcmp(api->SSL_get_version(tls->ssl), "TLSv1.3") == 0) {
        return RSL_UNSUPPORTED;
    }
    len = server == resumed
              ? api->SSL_get_finished(tls->ssl, buf, RSL_TLS_BINDING_MAX)
              : api->SSL_get_peer_finished(tls->ssl, buf, RSL_TLS_BINDING_MAX);
    if (len == 0 || len > RSL_TLS_BINDING_MAX) {
        return RSL_UNSUPPORTED;
    }
    *out = len;
    return RSL_OK;
}

rsl_status
rsl_openssl_export(rsl_tls *base, const char *label, uint8_t *buf, size_t len)
{
    openssl_tls *tls = openssl_of(base);
    int ret;

    rsl_openssl_enter(tls);
    ret = tls->api->SSL_export_keying_material(tls->ssl, buf, len, label,
                                               strlen(label), NULL, 0, 0);
    tls->api->ERR_clear_error();
    rsl_openssl_leave();
    return ret == 1 ? RSL_OK : RSL_UNSUPPORTED;
}

rsl_status
rsl_openssl_get_session(rsl_tls *base, uint8_t **out, size_t *len)
{
    openssl_tls *tls = openssl_of(base);
    const rsl_openssl_api *api = tls->api;
    SSL_SESSION *session;
    rsl_status status = RSL_AGAIN;

    if (tls->given != NULL && api->SSL_get_session(tls->ssl) == tls->given) {
        return RSL_AGAIN;
    }
    session = api->SSL_get1_session(tls->ssl);
    if (session != NULL && api->SSL_SESSION_is_resumable(session)) {
        int size = api->i2d_SSL_SESSION(session, NULL);
        unsigned char *data = size <= 0 ? NULL : malloc((size_t)size);
        unsigned char *end = data;

        status = data == NULL ? RSL_NOMEM : RSL_OK;
        if (data != NULL) {
            *len = (size_t)api->i2d_SSL_SESSION(session, &end);
            *out = data;
            tls->given = session;
        }
    }
    if (session != NULL) {
        api->SSL_SESSION_free(session);
    }
    return status;
}

rsl_status
rsl_openssl_set_session(rsl_tls *base, const uint8_t *data, size_t len)
{
    openssl_tls *tls = openssl_of(base);
    const rsl_openssl_api *api = tls->api;
    const unsigned char *end = data;
    SSL_SESSION *session;
    rsl_status status = RSL_UNSUPPORTED;

    rsl_openssl_enter(tls);
    session = api->d2i_SSL_SESSION(NULL, &end, (long)len);
    if (session != NULL) {
        status = api->SSL_set_session(tls->ssl, session) == 1 ? RSL_OK : status;
        api->SSL_SESSION_free(session);
    }
    api->ERR_clear_error();
    rsl_openssl_leave();
    return status;
}
