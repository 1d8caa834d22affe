/* SPDX-License-Identifier: Apache-2.0 */
/* mbedtls_info.c - what mbedTLS knows of its connection. */
#include <stdlib.h>
#include <string.h>

#include <mbedtls/ssl_ciphersuites.h>

#include "tls/mbedtls_impl.h"

/* OpenSSL's names, and with them ssl.SSLObject.cipher()'s. */
static const struct {
    int number;
    const char *name;
} cipher_names[] = {
    {MBEDTLS_TLS1_3_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256"},
    {MBEDTLS_TLS1_3_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384"},
    {MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256"},
    {MBEDTLS_TLS1_3_AES_128_CCM_SHA256, "TLS_AES_128_CCM_SHA256"},
    {MBEDTLS_TLS1_3_AES_128_CCM_8_SHA256, "TLS_AES_128_CCM_8_SHA256"},
    {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
     "ECDHE-ECDSA-AES128-GCM-SHA256"},
    {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
     "ECDHE-ECDSA-AES256-GCM-SHA384"},
    {MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
     "ECDHE-ECDSA-CHACHA20-POLY1305"},
    {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, "ECDHE-ECDSA-AES128-SHA"},
    {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, "ECDHE-ECDSA-AES256-SHA"},
    {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,
     "ECDHE-ECDSA-AES128-SHA256"},
    {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384,
     "ECDHE-ECDSA-AES256-SHA384"},
    {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_CCM, "ECDHE-ECDSA-AES128-CCM"},
    {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_CCM, "ECDHE-ECDSA-AES256-CCM"},
    {MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
     "ECDHE-RSA-AES128-GCM-SHA256"},
    {MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
     "ECDHE-RSA-AES256-GCM-SHA384"},
    {MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
     "ECDHE-RSA-CHACHA20-POLY1305"},
    {MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "ECDHE-RSA-AES128-SHA"},
    {MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, "ECDHE-RSA-AES256-SHA"},
    {MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, "ECDHE-RSA-AES128-SHA256"},
    {MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384, "ECDHE-RSA-AES256-SHA384"},
    {MBEDTLS_TLS_DHE_RSA_WITH_AES_128_GCM_SHA256, "DHE-RSA-AES128-GCM-SHA256"},
    {MBEDTLS_TLS_DHE_RSA_WITH_AES_256_GCM_SHA384, "DHE-RSA-AES256-GCM-SHA384"},
    {MBEDTLS_TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
     "DHE-RSA-CHACHA20-POLY1305"},
    {MBEDTLS_TLS_DHE_RSA_WITH_AES_128_CBC_SHA, "DHE-RSA-AES128-SHA"},
    {MBEDTLS_TLS_DHE_RSA_WITH_AES_256_CBC_SHA, "DHE-RSA-AES256-SHA"},
    {MBEDTLS_TLS_DHE_RSA_WITH_AES_128_CBC_SHA256, "DHE-RSA-AES128-SHA256"},
    {MBEDTLS_TLS_DHE_RSA_WITH_AES_256_CBC_SHA256, "DHE-RSA-AES256-SHA256"},
    {MBEDTLS_TLS_RSA_WITH_AES_128_GCM_SHA256, "AES128-GCM-SHA256"},
    {MBEDTLS_TLS_RSA_WITH_AES_256_GCM_SHA384, "AES256-GCM-SHA384"},
    {MBEDTLS_TLS_RSA_WITH_AES_128_CBC_SHA, "AES128-SHA"},
    {MBEDTLS_TLS_RSA_WITH_AES_256_CBC_SHA, "AES256-SHA"},
    {MBEDTLS_TLS_RSA_WITH_AES_128_CBC_SHA256, "AES128-SHA256"},
    {MBEDTLS_TLS_RSA_WITH_AES_256_CBC_SHA256, "AES256-SHA256"},
};

static const char *
cipher_name(int number)
{
    for (size_t i = 0; i < sizeof cipher_names / sizeof *cipher_names; i++) {
        if (cipher_names[i].number == number) {
            return cipher_names[i].name;
        }
    }
    return mbedtls_ssl_get_ciphersuite_name(number);
}

/* The version that brought a suite, as OpenSSL counts. */
static const char *
cipher_protocol(const mbedtls_tls *tls, const char *name)
{
    if (mbedtls_ssl_get_version_number(&tls->ssl)
        == MBEDTLS_SSL_VERSION_TLS1_3) {
        return "TLSv1.3";
    }
    /* Suites with a plain SHA-1 are older than TLS 1.2. */
    if (strlen(name) > 4 && strcmp(name + strlen(name) - 4, "-SHA") == 0) {
        return strncmp(name, "ECDHE-", 6) == 0 ? "TLSv1.0" : "SSLv3";
    }
    return "TLSv1.2";
}

void
rsl_mbedtls_get_info(rsl_tls *base, rsl_tls_info *out)
{
    mbedtls_tls *tls = rsl_mbedtls_of(base);
    const mbedtls_ssl_ciphersuite_t *suite;
    const char *alpn;
    int number;

    out->server_name = tls->server_name;
    out->verify_code = rsl_mbedtls_verify_code(tls);
    if (!tls->ready) {
        return;
    }
    out->version = mbedtls_ssl_get_version(&tls->ssl);
    number = mbedtls_ssl_get_ciphersuite_id_from_ssl(&tls->ssl);
    suite = mbedtls_ssl_ciphersuite_from_id(number);
    if (suite != NULL) {
        out->cipher = cipher_name(number);
        out->cipher_protocol = cipher_protocol(tls, out->cipher);
        out->cipher_bits =
            (int)mbedtls_ssl_ciphersuite_get_cipher_key_bitlen(suite);
    }
    alpn = mbedtls_ssl_get_alpn_protocol(&tls->ssl);
    if (alpn != NULL) {
        out->alpn = (const uint8_t *)alpn;
        out->alpn_len = strlen(alpn);
    }
    out->resumed = !tls->full && mbedtls_ssl_is_handshake_over(&tls->ssl);
}

rsl_status
rsl_mbedtls_peer_chain(rsl_tls *base, rsl_tls_each_der each, void *arg)
{
    mbedtls_tls *tls = rsl_mbedtls_of(base);

    if (!tls->ready) {
        return RSL_OK;
    }
    for (const mbedtls_x509_crt *certificate =
             mbedtls_ssl_get_peer_cert(&tls->ssl);
         certificate != NULL; certificate = certificate->next) {
        each(arg, certificate->raw.p, certificate->raw.len);
    }
    return RSL_OK;
}

/* The first Finished message: the client's, and the server's when the session
 * was resumed. mbedTLS keeps both for renegotiation. */
rsl_status
rsl_mbedtls_tls_unique(rsl_tls *base, uint8_t *buf, size_t *out)
{
    mbedtls_tls *tls = rsl_mbedtls_of(base);
    size_t len = tls->ssl.MBEDTLS_PRIVATE(verify_data_len);
    bool own = tls->config->settings.server == !tls->full;

    if (len == 0 || len > RSL_TLS_BINDING_MAX
        || mbedtls_ssl_get_version_number(&tls->ssl)
               != MBEDTLS_SSL_VERSION_TLS1_2) {
        return RSL_UNSUPPORTED;
    }
    memcpy(buf,
           own ? tls->ssl.MBEDTLS_PRIVATE(own_verify_data)
               : tls->ssl.MBEDTLS_PRIVATE(peer_verify_data),
           len);
    *out = len;
    return RSL_OK;
}

rsl_status
rsl_mbedtls_export(rsl_tls *base, const char *label, uint8_t *buf, size_t len)
{
    mbedtls_tls *tls = rsl_mbedtls_of(base);

    return mbedtls_ssl_export_keying_material(&tls->ssl, buf, len, label,
                                              strlen(label), NULL, 0, 0)
                   == 0
               ? RSL_OK
               : RSL_UNSUPPORTED;
}

static rsl_status
session_save(const mbedtls_ssl_session *session, uint8_t **out, size_t *len)
{
    size_t size = 0;
    uint8_t *data;

    (void)mbedtls_ssl_session_save(session, NULL, 0, &size); /* tells it */
    data = size == 0 ? NULL : malloc(size);
    if (data == NULL) {
        return RSL_NOMEM;
    }
    if (mbedtls_ssl_session_save(session, data, size, len) != 0) {
        free(data);
        *len = 0;
        return RSL_NOMEM;
    }
    *out = data;
    return RSL_OK;
}

/* mbedTLS gives each session once. */
rsl_status
rsl_mbedtls_get_session(rsl_tls *base, uint8_t **out, size_t *len)
{
    mbedtls_tls *tls = rsl_mbedtls_of(base);
    mbedtls_ssl_session session;
    rsl_status status = RSL_AGAIN;

    if (!tls->has_ticket
        && mbedtls_ssl_get_version_number(&tls->ssl)
               == MBEDTLS_SSL_VERSION_TLS1_3) {
        return RSL_AGAIN;
    }
    mbedtls_ssl_session_init(&session);
    if (mbedtls_ssl_get_session(&tls->ssl, &session) == 0) {
        status = session_save(&session, out, len);
        tls->has_ticket = false;
    }
    mbedtls_ssl_session_free(&session);
    return status;
}

rsl_status
rsl_mbedtls_set_session(rsl_tls *base, const uint8_t *data, size_t len)
{
    mbedtls_tls *tls = rsl_mbedtls_of(base);
    mbedtls_ssl_session session;
    rsl_status status = RSL_UNSUPPORTED;

    if (tls->config->settings.server) {
        return RSL_UNSUPPORTED;
    }
    mbedtls_ssl_session_init(&session);
    if (mbedtls_ssl_session_load(&session, data, len) == 0
        && mbedtls_ssl_set_session(&tls->ssl, &session) == 0) {
        status = RSL_OK;
    }
    mbedtls_ssl_session_free(&session);
    return status;
}
