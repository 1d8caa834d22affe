/* SPDX-License-Identifier: Apache-2.0 */
#include "tls/mbedtls_config.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <mbedtls/psa_util.h>
#include <mbedtls/ssl_ciphersuites.h>
#include <psa/crypto.h>

#include "tls/mbedtls_impl.h"

/* Preferred where the context names nothing: as OpenSSL orders them, since
 * mbedTLS puts ChaCha20 first, which is slower where AES is in hardware. */
static const int default_ciphers[] = {
    MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
    MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    0,
};

static pthread_once_t psa_once = PTHREAD_ONCE_INIT;
static psa_status_t psa_status;

static void
psa_start(void)
{
    psa_status = psa_crypto_init();
}

/* --- Material --- */

static const char *
config_parse_certificates(rsl_mbedtls_config *config,
                          const rsl_tls_settings *settings)
{
    const rsl_tls_blob *own = &settings->certificate, *ca = &settings->ca;
    const rsl_tls_blob *crl = &settings->crl;

    if (own->len > 0
        && mbedtls_x509_crt_parse(&config->certificate, own->data, own->len)
               != 0) {
        return "a certificate of a kind that mbedTLS does not know";
    }
    /* All of them: a CA that is left out would be trust withheld. */
    if (ca->len > 0
        && mbedtls_x509_crt_parse(&config->ca, ca->data, ca->len) != 0) {
        return "a CA of a kind that mbedTLS does not know";
    }
    if (crl->len > 0
        && mbedtls_x509_crl_parse(&config->crl, crl->data, crl->len) != 0) {
        return "a CRL of a kind that mbedTLS does not know";
    }
    return NULL;
}

static const char *
config_parse_key(rsl_mbedtls_config *config, const rsl_tls_settings *settings)
{
    const char *password = settings->password;
    size_t len = password == NULL ? 0 : strlen(password);

    if (settings->key.len == 0) {
        return settings->certificate.len > 0 || settings->server
                   ? "no private key"
                   : NULL;
    }
    if (mbedtls_pk_parse_key(&config->key, settings->key.data,
                             settings->key.len, (const unsigned char *)password,
                             len, mbedtls_psa_get_random,
                             MBEDTLS_PSA_RANDOM_STATE)
        != 0) {
        return "a key of a kind that mbedTLS does not know, or its password";
    }
    if (mbedtls_pk_check_pair(&config->certificate.pk, &config->key,
                              mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE)
        != 0) {
        return "the private key is not the certificate's";
    }
    return NULL;
}

/* Copies of the lists that mbedTLS only points to. */
static rsl_status
config_copy_lists(rsl_mbedtls_config *config, const rsl_tls_settings *settings)
{
    size_t count = 0, bytes = 0;
    char *names;

    while (settings->ciphers != NULL && settings->ciphers[count] != 0) {
        count++;
    }
    if (count > 0) {
        config->ciphers = calloc(count + 1, sizeof *config->ciphers);
        if (config->ciphers == NULL) {
            return RSL_NOMEM;
        }
        for (size_t i = 0; i < count; i++) {
            config->ciphers[i] = settings->ciphers[i];
        }
    }
    for (count = 0; settings->alpn != NULL && settings->alpn[count] != NULL;
         count++) {
        bytes += strlen(settings->alpn[count]) + 1;
    }
    if (count == 0) {
        return RSL_OK;
    }
    config->alpn = calloc(1, (count + 1) * sizeof *config->alpn + bytes);
    if (config->alpn == NULL) {
        return RSL_NOMEM;
    }
    names = (char *)(config->alpn + count + 1);
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(settings->alpn[i]) + 1;

        config->alpn[i] = memcpy(names, settings->alpn[i], len);
        names += len;
    }
    return RSL_OK;
}

/* --- Rules --- */

static int
config_authmode(const rsl_tls_settings *settings)
{
    switch (settings->verify) {
    case RSL_TLS_VERIFY_NONE:
        break;
    case RSL_TLS_VERIFY_OPTIONAL:
        return settings->server ? MBEDTLS_SSL_VERIFY_OPTIONAL
                                : MBEDTLS_SSL_VERIFY_REQUIRED;
    case RSL_TLS_VERIFY_REQUIRED:
        return MBEDTLS_SSL_VERIFY_REQUIRED;
    }
    return MBEDTLS_SSL_VERIFY_NONE;
}

static void
config_set_tickets(rsl_mbedtls_config *config, mbedtls_ssl_config *conf)
{
    const rsl_tls_settings *settings = &config->settings;

    if (!settings->server) {
        mbedtls_ssl_conf_session_tickets(conf,
                                         MBEDTLS_SSL_SESSION_TICKETS_ENABLED);
        mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(
            conf, MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED);
    } else if (settings->tickets > 0) {
        mbedtls_ssl_conf_session_tickets_cb(conf, mbedtls_ssl_ticket_write,
                                            mbedtls_ssl_ticket_parse,
                                            &config->tickets);
        mbedtls_ssl_conf_new_session_tickets(conf, (uint16_t)settings->tickets);
    }
}

static int
config_fill(rsl_mbedtls_config *config, mbedtls_ssl_config *conf, bool alpn)
{
    const rsl_tls_settings *settings = &config->settings;
    int code = mbedtls_ssl_config_defaults(
        conf, settings->server ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT,
        MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);

    if (code != 0) {
        return code;
    }
    mbedtls_ssl_conf_rng(conf, mbedtls_psa_get_random,
                         MBEDTLS_PSA_RANDOM_STATE);
    mbedtls_ssl_conf_authmode(conf, config_authmode(settings));
    /* As CPython's contexts, which ask for a certificate of anybody's. */
    mbedtls_ssl_conf_cert_req_ca_list(conf,
                                      MBEDTLS_SSL_CERT_REQ_CA_LIST_DISABLED);
    mbedtls_ssl_conf_renegotiation(conf, MBEDTLS_SSL_RENEGOTIATION_DISABLED);
    mbedtls_ssl_conf_ca_chain(conf, &config->ca, &config->crl);
    mbedtls_ssl_conf_ciphersuites(
        conf, config->ciphers == NULL ? default_ciphers : config->ciphers);
    if (settings->version_min == MBEDTLS_SSL_VERSION_TLS1_3) {
        mbedtls_ssl_conf_min_tls_version(conf, MBEDTLS_SSL_VERSION_TLS1_3);
    }
    if (settings->version_max == MBEDTLS_SSL_VERSION_TLS1_2) {
        mbedtls_ssl_conf_max_tls_version(conf, MBEDTLS_SSL_VERSION_TLS1_2);
    }
    config_set_tickets(config, conf);
    if (config->certificate.raw.len > 0) {
        code =
            mbedtls_ssl_conf_own_cert(conf, &config->certificate, &config->key);
    }
    if (code == 0 && alpn && config->alpn != NULL) {
        code = mbedtls_ssl_conf_alpn_protocols(conf, config->alpn);
    }
    return code;
}

/* Only the versions that mbedTLS has, and at least one of them. */
static bool
config_versions_serve(const rsl_tls_settings *settings)
{
    uint16_t min = settings->version_min, max = settings->version_max;

    return (min == 0 || min == MBEDTLS_SSL_VERSION_TLS1_2
            || min == MBEDTLS_SSL_VERSION_TLS1_3)
           && (max == 0
               || (max >= min
                   && (max == MBEDTLS_SSL_VERSION_TLS1_2
                       || max == MBEDTLS_SSL_VERSION_TLS1_3)));
}

static void
config_init(rsl_mbedtls_config *config, const rsl_tls_settings *settings)
{
    rsl_tls_settings *kept = &config->settings;

    mbedtls_ssl_config_init(&config->conf);
    mbedtls_ssl_config_init(&config->conf_no_alpn);
    mbedtls_x509_crt_init(&config->certificate);
    mbedtls_x509_crt_init(&config->ca);
    mbedtls_x509_crl_init(&config->crl);
    mbedtls_pk_init(&config->key);
    mbedtls_ssl_ticket_init(&config->tickets);
    *kept = *settings;
    kept->certificate = kept->key = kept->ca = kept->crl =
        (rsl_tls_blob){NULL, 0};
    kept->password = NULL;
    kept->ciphers = NULL;
    kept->alpn = NULL;
}

static rsl_status
config_build(rsl_mbedtls_config *config, const rsl_tls_settings *settings,
             const char **why)
{
    *why = config_parse_certificates(config, settings);
    if (*why == NULL) {
        *why = config_parse_key(config, settings);
    }
    if (*why == NULL && !config_versions_serve(settings)) {
        *why = "versions that mbedTLS does not have";
    }
    if (*why != NULL) {
        return RSL_UNSUPPORTED;
    }
    if (config_copy_lists(config, settings) != RSL_OK) {
        return RSL_NOMEM;
    }
    if (settings->server && settings->tickets > 0
        && mbedtls_ssl_ticket_setup(&config->tickets, mbedtls_psa_get_random,
                                    MBEDTLS_PSA_RANDOM_STATE,
                                    MBEDTLS_CIPHER_AES_256_GCM,
                                    settings->ticket_lifetime_s)
               != 0) {
        *why = "mbedTLS makes no ticket keys";
        return RSL_UNSUPPORTED;
    }
    return config_fill(config, &config->conf, true) == 0
                   && config_fill(config, &config->conf_no_alpn, false) == 0
               ? RSL_OK
               : RSL_NOMEM;
}

rsl_status
rsl_mbedtls_config_new(const rsl_tls_settings *settings,
                       rsl_mbedtls_config **out, const char **why)
{
    rsl_mbedtls_config *config;
    rsl_status status;

    *why = NULL;
    pthread_once(&psa_once, psa_start);
    if (psa_status != PSA_SUCCESS) {
        *why = "mbedTLS does not start";
        return RSL_UNSUPPORTED;
    }
    config = calloc(1, sizeof *config);
    if (config == NULL) {
        return RSL_NOMEM;
    }
    config_init(config, settings);
    status = config_build(config, settings, why);
    if (status != RSL_OK) {
        rsl_mbedtls_config_free(config);
        return status;
    }
    *out = config;
    return RSL_OK;
}

bool
rsl_mbedtls_knows_cipher(uint16_t number)
{
    return mbedtls_ssl_ciphersuite_from_id(number) != NULL;
}

void
rsl_mbedtls_config_free(rsl_mbedtls_config *config)
{
    if (config == NULL) {
        return;
    }
    mbedtls_ssl_config_free(&config->conf);
    mbedtls_ssl_config_free(&config->conf_no_alpn);
    mbedtls_x509_crt_free(&config->certificate);
    mbedtls_x509_crt_free(&config->ca);
    mbedtls_x509_crl_free(&config->crl);
    mbedtls_pk_free(&config->key);
    mbedtls_ssl_ticket_free(&config->tickets);
    free(config->ciphers);
    free(config->alpn);
    free(config);
}
