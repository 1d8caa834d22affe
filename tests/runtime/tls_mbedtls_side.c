/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <mbedtls/ssl.h>

#include "tls/mbedtls_engine.h"
#include "tls_side.h"

enum { ALPN_MAX = 8 };

typedef struct mbedtls_context {
    tls_context base;
    rsl_mbedtls_config *config;
} mbedtls_context;

static const char *
side_fault(void)
{
    return NULL;
}

/* PEM, with its zero. */
static rsl_tls_blob
side_blob(const char *name)
{
    rsl_tls_blob blob = {NULL, 0};

    if (name != NULL) {
        blob.data = (uint8_t *)tls_file(name, &blob.len);
        blob.len++;
    }
    return blob;
}

static void
side_release(rsl_tls_blob *blob)
{
    free((void *)(uintptr_t)blob->data);
}

/* The names of "h2,http/1.1", in `copy`. */
static void
side_alpn(char *copy, const char **names)
{
    size_t count = 0;

    for (char *name = strtok(copy, ","); name != NULL && count < ALPN_MAX - 1;
         name = strtok(NULL, ",")) {
        names[count++] = name;
    }
    names[count] = NULL;
}

static tls_context *
side_context_new(const tls_settings *given)
{
    static const rsl_tls_verify modes[] = {
        [TLS_VERIFY_NONE] = RSL_TLS_VERIFY_NONE,
        [TLS_VERIFY_OPTIONAL] = RSL_TLS_VERIFY_OPTIONAL,
        [TLS_VERIFY_REQUIRED] = RSL_TLS_VERIFY_REQUIRED,
    };
    uint16_t version = (uint16_t)given->version, ciphers[2] = {0, 0};
    rsl_tls_settings settings = {
        .server = given->server,
        .check_hostname =
            !given->server && given->verify == TLS_VERIFY_REQUIRED,
        .check_crl = given->crl != NULL,
        .ask_sni = given->ask_sni,
        .verify = modes[given->verify],
        .version_min = version,
        .version_max = version,
        .certificate = side_blob(given->cert),
        .key = side_blob(given->key),
        .ca = side_blob(given->ca),
        .crl = side_blob(given->crl),
        .password = given->password,
        .tickets = given->no_tickets ? 0 : 2,
        .ticket_lifetime_s = 3600,
        .keylog = given->keylog,
        .keylog_arg = given->keylog_arg,
    };
    mbedtls_context *context = calloc(1, sizeof *context);
    const char *names[ALPN_MAX], *why;
    char alpn[64];

    assert_non_null(context);
    if (given->alpn != NULL) {
        assert_true(strlen(given->alpn) < sizeof alpn);
        strcpy(alpn, given->alpn);
        side_alpn(alpn, names);
        settings.alpn = names;
    }
    if (given->cipher != NULL) {
        ciphers[0] = (uint16_t)mbedtls_ssl_get_ciphersuite_id(given->cipher);
        assert_int_not_equal(ciphers[0], 0);
        settings.ciphers = ciphers;
    }
    if (rsl_mbedtls_config_new(&settings, &context->config, &why) != RSL_OK) {
        fail_msg("no config: %s", why == NULL ? "no memory" : why);
    }
    side_release(&settings.certificate);
    side_release(&settings.key);
    side_release(&settings.ca);
    side_release(&settings.crl);
    return &context->base;
}

static rsl_tls *
side_open(tls_context *base, const char *server_name)
{
    mbedtls_context *context = (mbedtls_context *)(void *)base;
    rsl_tls *tls;

    return rsl_mbedtls_tls_new(context->config, server_name, &tls) == RSL_OK
               ? tls
               : NULL;
}

static void
side_context_free(tls_context *base)
{
    mbedtls_context *context = (mbedtls_context *)(void *)base;

    rsl_mbedtls_config_free(context->config);
    free(context);
}

const tls_library_ops tls_mbedtls_side = {
    .fault = side_fault,
    .context_new = side_context_new,
    .open = side_open,
    .context_free = side_context_free,
};
