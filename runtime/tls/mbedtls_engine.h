/* SPDX-License-Identifier: Apache-2.0 */
/* mbedtls_engine.h - an engine of mbedTLS.
 *
 * Role:    TLS 1.2 and 1.3 in both roles, where no OpenSSL can be reached.
 * Thread:  as <rsl/tls.h>.
 * Memory:  as <rsl/tls.h>; a server's engine holds only what was fed until the
 *          ClientHello is complete. */
#ifndef RSL_TLS_MBEDTLS_ENGINE_H
#define RSL_TLS_MBEDTLS_ENGINE_H

#include <rsl/tls.h>

#include "tls/mbedtls_config.h"

/* `server_name`, a host or an address in text, is whom a client asks for; NULL:
 * nobody. RSL_OK, RSL_NOMEM, or RSL_UNSUPPORTED for a name that is too long, or
 * for none where the config wants it checked. */
rsl_status rsl_mbedtls_tls_new(const rsl_mbedtls_config *config,
                               const char *server_name, rsl_tls **out);

/* After RSL_TLS_NEED_SNI: go on with this config. */
void rsl_mbedtls_tls_choose(rsl_tls *tls, const rsl_mbedtls_config *config);

#endif
