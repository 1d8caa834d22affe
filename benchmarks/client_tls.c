// SPDX-License-Identifier: Apache-2.0
/* client_tls.c - TLS 1.3 for the load client, by the system's OpenSSL, so that
 * the library under test is not measured against itself. Without its headers
 * the client is built without, and rows with TLS fail. */

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

/* Any certificate will do. What is negotiated is the same whatever the two
 * libraries like best: or rows would compare ciphers. */
static SSL_CTX *
tls_context(void)
{
    static SSL_CTX *context;

    if (!context) {
        context = SSL_CTX_new(TLS_client_method());
        if (!context
            || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1
            || SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384") != 1
            || SSL_CTX_set1_groups_list(context, "X25519:P-256") != 1) {
            tls_die("SSL_CTX_new");
        }
        SSL_CTX_set_read_ahead(context, 1);
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE
                                      | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    return context;
}

void
tls_begin(conn *c)
{
    SSL *ssl = SSL_new(tls_context());

    if (!ssl || SSL_set_fd(ssl, c->fd) != 1) {
        tls_die("SSL_new");
    }
    if (c->session && SSL_set_session(ssl, c->session) != 1) {
        tls_die("SSL_set_session");
    }
    SSL_set_connect_state(ssl);
    c->tls = ssl;
}

bool
tls_handshake(conn *c)
{
    int result = SSL_do_handshake(c->tls);

    if (result != 1 && SSL_get_error(c->tls, result) != SSL_ERROR_WANT_READ) {
        tls_die("TLS handshake");
    }
    return result == 1;
}

void
tls_connect(conn *c)
{
    tls_begin(c);
    if (!tls_handshake(c)) {
        tls_die("TLS handshake");
    }
}

void
tls_forget(conn *c)
{
    SSL_free(c->tls);
    c->tls = NULL;
}

/* TLS 1.3 tickets have come with the answer, which is read by now. */
bool
tls_end(conn *c)
{
    bool resumed = SSL_session_reused(c->tls) == 1;

    SSL_shutdown(c->tls); /* the peer's own is not waited for */
    if (opt.resume) {
        SSL_SESSION_free(c->session);
        c->session = SSL_get1_session(c->tls);
    }
    tls_forget(c);
    return resumed;
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
tls_begin(conn *c)
{
    (void)c;
    errno = ENOTSUP;
    die("TLS (build it with OpenSSL's headers: Debian's libssl-dev)");
}

void
tls_connect(conn *c)
{
    tls_begin(c);
}

bool
tls_handshake(conn *c)
{
    (void)c;
    return false;
}

void
tls_forget(conn *c)
{
    (void)c;
}

bool
tls_end(conn *c)
{
    (void)c;
    return false;
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
