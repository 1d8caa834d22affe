// SPDX-License-Identifier: Apache-2.0
/* client_tls.c - TLS for the load client, by the system's OpenSSL, so that the
 * library under test is not measured against itself. Without its headers the
 * client is built without, and rows with TLS fail. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "client.h"

#ifdef CLIENT_TLS

#include <openssl/err.h>
#include <openssl/ssl.h>

static void
tls_die(const char *what)
{
    char text[256];

    ERR_error_string_n(ERR_get_error(), text, sizeof(text));
    fprintf(stderr, "client: %s: %s\n", what, text);
    exit(1);
}

/* Any certificate will do. */
static SSL_CTX *
tls_context(void)
{
    static SSL_CTX *context;

    if (!context) {
        context = SSL_CTX_new(TLS_client_method());
        if (!context) {
            tls_die("SSL_CTX_new");
        }
        SSL_CTX_set_read_ahead(context, 1);
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE
                                      | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    return context;
}

void
tls_connect(conn *c)
{
    SSL *ssl = SSL_new(tls_context());

    if (!ssl || SSL_set_fd(ssl, c->fd) != 1 || SSL_connect(ssl) != 1) {
        tls_die("TLS handshake");
    }
    c->tls = ssl;
}

/* `result` of a call that gave no bytes, as send() and recv() tell it. */
static ssize_t
tls_result(const conn *c, int result, const char *what)
{
    switch (SSL_get_error(c->tls, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        tls_die(what);
        return -1;
    }
}

ssize_t
tls_send(conn *c, const void *bytes, size_t count)
{
    int result = SSL_write(c->tls, bytes, (int)count);

    return result > 0 ? result : tls_result(c, result, "SSL_write");
}

ssize_t
tls_recv(conn *c, void *bytes, size_t count)
{
    int result = SSL_read(c->tls, bytes, (int)count);

    return result > 0 ? result : tls_result(c, result, "SSL_read");
}

bool
tls_has_pending(const conn *c)
{
    return SSL_has_pending(c->tls) == 1;
}

#else

void
tls_connect(conn *c)
{
    (void)c;
    errno = ENOTSUP;
    die("TLS (build it with OpenSSL's headers: Debian's libssl-dev)");
}

ssize_t
tls_send(conn *c, const void *bytes, size_t count)
{
    (void)c, (void)bytes, (void)count;
    errno = ENOTSUP;
    return -1;
}

ssize_t
tls_recv(conn *c, void *bytes, size_t count)
{
    return tls_send(c, bytes, count);
}

bool
tls_has_pending(const conn *c)
{
    (void)c;
    return false;
}

#endif
