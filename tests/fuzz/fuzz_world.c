/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz_world.h"

static tls_context *contexts[2][FUZZ_CHOICES];

static tls_context *
world_context(unsigned choice, bool server)
{
    bool mbedtls =
        choice & (server ? FUZZ_SERVER_MBEDTLS : FUZZ_CLIENT_MBEDTLS);
    tls_settings settings = {
        .library = mbedtls ? TLS_MBEDTLS : TLS_OPENSSL,
        .server = server,
        .version = choice & FUZZ_TLS_1_2 ? TLS_1_2 : TLS_1_3,
        .alpn = "h2,http/1.1",
        .verify = server && choice & FUZZ_VERIFY_CLIENT ? TLS_VERIFY_OPTIONAL
                                                        : TLS_VERIFY_DEFAULT,
        .cert = !server && choice & FUZZ_VERIFY_CLIENT ? "client.pem" : NULL,
    };

    if (tls_library_fault(settings.library) != NULL) {
        return NULL;
    }
    return tls_context_new(&settings);
}

rsl_tls *
fuzz_open(unsigned choice, bool server)
{
    tls_context **context = &contexts[server][choice % FUZZ_CHOICES];

    if (*context == NULL) {
        *context = world_context(choice, server);
    }
    return *context == NULL
               ? NULL
               : tls_context_open(*context, server ? NULL : "localhost");
}
