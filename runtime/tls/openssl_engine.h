/* SPDX-License-Identifier: Apache-2.0 */
/* openssl_engine.h - an engine over an SSL of the user's.
 *
 * Role:    drives what ssl.SSLContext.wrap_bio() has made, and so honours all
 *          that its context says.
 * Thread:  as <rsl/tls.h>; nobody else may use the SSL meanwhile. Contexts
 *          whose callbacks run Python need the thread to be able to.
 * Memory:  as <rsl/tls.h>. */
#ifndef RSL_TLS_OPENSSL_ENGINE_H
#define RSL_TLS_OPENSSL_ENGINE_H

#include <rsl/tls.h>

#include "tls/openssl_api.h"

/* An engine over `ssl`, whose role and server name are set and whose handshake
 * has not begun. It takes a reference of its own and replaces the SSL's BIOs;
 * after rsl_tls_free() the SSL has none. RSL_OK or RSL_NOMEM. */
rsl_status
rsl_openssl_tls_new(const rsl_openssl_api *api, SSL *ssl, rsl_tls **out);

#endif
