/* SPDX-License-Identifier: Apache-2.0 */
/* mbedtls_keylog.c - secrets as lines that Wireshark reads. */
#include <mbedtls/platform_util.h>
#include <stdio.h>

#include "tls/mbedtls_impl.h"

enum { SECRET_MAX = 64, RANDOM = 32, LABEL_MAX = 40 };

static const char *
keylog_label(mbedtls_ssl_key_export_type type)
{
    switch (type) {
    case MBEDTLS_SSL_KEY_EXPORT_TLS12_MASTER_SECRET:
        return "CLIENT_RANDOM";
    case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_CLIENT_EARLY_SECRET:
        return "CLIENT_EARLY_TRAFFIC_SECRET";
    case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_EARLY_EXPORTER_SECRET:
        return "EARLY_EXPORTER_SECRET";
    case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_CLIENT_HANDSHAKE_TRAFFIC_SECRET:
        return "CLIENT_HANDSHAKE_TRAFFIC_SECRET";
    case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_SERVER_HANDSHAKE_TRAFFIC_SECRET:
        return "SERVER_HANDSHAKE_TRAFFIC_SECRET";
    case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_CLIENT_APPLICATION_TRAFFIC_SECRET:
        return "CLIENT_TRAFFIC_SECRET_0";
    case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_SERVER_APPLICATION_TRAFFIC_SECRET:
        return "SERVER_TRAFFIC_SECRET_0";
    }
    return NULL;
}

static char *
keylog_hex(char *end, const unsigned char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        end += sprintf(end, "%02x", data[i]);
    }
    return end;
}

void
rsl_mbedtls_keylog(void *arg, mbedtls_ssl_key_export_type type,
                   const unsigned char *secret, size_t secret_len,
                   const unsigned char client_random[32],
                   const unsigned char server_random[32],
                   mbedtls_tls_prf_types prf)
{
    const mbedtls_tls *tls = arg;
    const rsl_tls_settings *settings = &tls->config->settings;
    char line[LABEL_MAX + 2 * RANDOM + 2 * SECRET_MAX + 3], *end = line;
    const char *label = keylog_label(type);

    (void)server_random;
    (void)prf;
    if (label == NULL || secret_len > SECRET_MAX) {
        return;
    }
    end += sprintf(end, "%s ", label);
    end = keylog_hex(end, client_random, RANDOM);
    *end++ = ' ';
    keylog_hex(end, secret, secret_len);
    settings->keylog(settings->keylog_arg, line);
    mbedtls_platform_zeroize(line, sizeof line);
}
