/* SPDX-License-Identifier: Apache-2.0 */
#include "tls_side.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const tls_library_ops *const libraries[] = {
    [TLS_OPENSSL] = &tls_openssl_side,
    [TLS_MBEDTLS] = &tls_mbedtls_side,
};

const char *
tls_library_fault(tls_library library)
{
    return libraries[library]->fault();
}

tls_context *
tls_context_new(const tls_settings *given)
{
    tls_settings settings = *given;
    tls_context *context;

    if (settings.server && settings.cert == NULL) {
        settings.cert = "ec.pem";
    }
    if (settings.cert != NULL && settings.key == NULL) {
        settings.key = settings.cert[0] == 'r' && settings.cert[1] == 's'
                           ? "rsa.key"
                           : "ec.key";
    }
    if (settings.ca == NULL) {
        settings.ca = "ca.pem";
    }
    if (settings.verify == TLS_VERIFY_DEFAULT) {
        settings.verify =
            settings.server ? TLS_VERIFY_NONE : TLS_VERIFY_REQUIRED;
    }
    context = libraries[settings.library]->context_new(&settings);
    assert_non_null(context);
    context->ops = libraries[settings.library];
    return context;
}

rsl_tls *
tls_context_open(tls_context *context, const char *server_name)
{
    return context->ops->open(context, server_name);
}

void
tls_context_free(tls_context *context)
{
    if (context != NULL) {
        context->ops->context_free(context);
    }
}

char *
tls_file(const char *name, size_t *len)
{
    char path[512];
    char *data = calloc(1, 1 << 16);
    FILE *file;

    assert_non_null(data);
    snprintf(path, sizeof path, "%s/%s", TLS_CERTS, name);
    file = fopen(path, "rb");
    if (file == NULL) {
        fail_msg("no %s: run tests/runtime/tls_certs/make", path);
    }
    *len = fread(data, 1, (1 << 16) - 1, file);
    fclose(file);
    return data;
}
