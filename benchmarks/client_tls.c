// SPDX-License-Identifier: Apache-2.0
/* client_tls.c - TLS 1.3 for the load client, by the system's OpenSSL, so that
 * the library under test is not measured against itself. Without its headers
 * the client is built without, and rows with TLS fail.
 *
 * A client that does what a server does is as slow as one, and bounds what is
 * to be measured. So the records of a request leave in one send, and only the
 * first connection decrypts all its answers. The others decrypt their first
 * ones, and of those that follow they read the headers of the records, which
 * say how many bytes of plaintext came; but not of a server that pads its
 * records, as mbedTLS does, and as an answer of which they do both shows. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "client.h"

#ifdef CLIENT_TLS

#include <openssl/err.h>
#include <openssl/ssl.h>

/* RFC 8446, 5.2: a byte of type, padding, if any, and the tag of AES-GCM follow
 * the plaintext. */
enum {
    HEADER_BYTES = 5,
    APPLICATION_DATA = 23,
    RECORD_EXTRA = 1 + 16,
    RECORD_MAX = 16384,
};

typedef struct {
    SSL *ssl;
    int fd;
    enum {
        DECRYPTS,
        COMPARES, /* the same, and reads the headers */
        COUNTS,   /* reads the headers, decrypts nothing */
    } mode;
    size_t given_plain, told_plain; /* what an answer brought, and by headers */
    unsigned char header[HEADER_BYTES];
    size_t header_bytes; /* that are there */
    size_t record_bytes; /* that are to come, of the record under way */
    size_t record_plain; /* what it will have brought */
    char *unsent;        /* records that the socket had no room for */
    size_t unsent_bytes;
} tls_link;

/* Records of one request. */
static char gathered[BUFFER_BYTES];
static size_t gathered_bytes;
static bool more_follows;

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

/* False: the socket has no room; what did not leave is kept. */
static bool
link_flush(tls_link *link)
{
    while (link->unsent_bytes > 0) {
        ssize_t n =
            send(link->fd, link->unsent, link->unsent_bytes, MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN) {
            return false;
        }
        if (n < 0) {
            die("send");
        }
        link->unsent_bytes -= (size_t)n;
        memmove(link->unsent, link->unsent + n, link->unsent_bytes);
    }
    free(link->unsent);
    link->unsent = NULL;
    return true;
}

static void
link_keep(tls_link *link, const char *bytes, size_t count)
{
    link->unsent = realloc(link->unsent, link->unsent_bytes + count);
    if (!link->unsent) {
        die("realloc");
    }
    memcpy(link->unsent + link->unsent_bytes, bytes, count);
    link->unsent_bytes += count;
}

static void
link_send(tls_link *link, const char *bytes, size_t count)
{
    ssize_t n =
        link_flush(link) ? send(link->fd, bytes, count, MSG_NOSIGNAL) : 0;

    if (n < 0 && errno != EAGAIN) {
        die("send");
    }
    n = n < 0 ? 0 : n;
    if ((size_t)n < count) {
        link_keep(link, bytes + n, count - (size_t)n);
    }
}

/* Takes all: what is not to be sent yet is gathered. */
static int
link_bio_write(BIO *bio, const char *bytes, int count)
{
    tls_link *link = BIO_get_data(bio);

    if (gathered_bytes + (size_t)count > sizeof(gathered)) {
        link_send(link, gathered, gathered_bytes);
        gathered_bytes = 0;
    }
    if (!more_follows && gathered_bytes == 0) {
        link_send(link, bytes, (size_t)count);
        return count;
    }
    memcpy(gathered + gathered_bytes, bytes, (size_t)count);
    gathered_bytes += (size_t)count;
    if (!more_follows) {
        link_send(link, gathered, gathered_bytes);
        gathered_bytes = 0;
    }
    return count;
}

static size_t
record_begin(tls_link *link)
{
    size_t length = (size_t)link->header[3] << 8 | link->header[4];

    if (link->header[0] != APPLICATION_DATA || length < RECORD_EXTRA) {
        errno = EPROTO;
        die("a record that is no data");
    }
    link->record_bytes = length;
    return length - RECORD_EXTRA;
}

/* Plaintext of the records that end within these bytes. */
static size_t
link_count(tls_link *link, const char *bytes, size_t count)
{
    size_t plain = 0;

    while (count > 0) {
        size_t part;

        if (link->record_bytes == 0) {
            link->header[link->header_bytes++] = (unsigned char)*bytes++;
            count--;
            if (link->header_bytes == HEADER_BYTES) {
                link->header_bytes = 0;
                link->record_plain = record_begin(link);
            }
            continue;
        }
        part = count < link->record_bytes ? count : link->record_bytes;
        link->record_bytes -= part;
        bytes += part;
        count -= part;
        if (link->record_bytes == 0) {
            plain += link->record_plain;
        }
    }
    return plain;
}

static int
link_bio_read(BIO *bio, char *bytes, int count)
{
    tls_link *link = BIO_get_data(bio);
    ssize_t n = recv(link->fd, bytes, (size_t)count, 0);

    if (n > 0 && link->mode == COMPARES) {
        link->told_plain += link_count(link, bytes, (size_t)n);
    }
    BIO_clear_retry_flags(bio);
    if (n < 0 && errno == EAGAIN) {
        BIO_set_retry_read(bio);
    }
    return (int)n;
}

static long
link_bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static BIO *
link_bio(tls_link *link)
{
    static BIO_METHOD *method;
    BIO *bio;

    if (!method) {
        method =
            BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "link");
        BIO_meth_set_write(method, link_bio_write);
        BIO_meth_set_read(method, link_bio_read);
        BIO_meth_set_ctrl(method, link_bio_control);
    }
    bio = BIO_new(method);
    if (!bio) {
        tls_die("BIO_new");
    }
    BIO_set_data(bio, link);
    BIO_set_init(bio, 1);
    return bio;
}

void
tls_begin(conn *c)
{
    tls_link *link = calloc(1, sizeof(*link));
    BIO *bio;

    if (!link || !(link->ssl = SSL_new(tls_context()))) {
        tls_die("SSL_new");
    }
    link->fd = c->fd;
    bio = link_bio(link);
    SSL_set_bio(link->ssl, bio, bio);
    if (c->session && SSL_set_session(link->ssl, c->session) != 1) {
        tls_die("SSL_set_session");
    }
    SSL_set_connect_state(link->ssl);
    c->tls = link;
}

bool
tls_handshake(conn *c)
{
    SSL *ssl = ((tls_link *)c->tls)->ssl;
    int result = SSL_do_handshake(ssl);

    if (result != 1 && SSL_get_error(ssl, result) != SSL_ERROR_WANT_READ) {
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
    tls_link *link = c->tls;

    SSL_free(link->ssl);
    free(link->unsent);
    free(link);
    c->tls = NULL;
}

/* TLS 1.3 tickets have come with the answer, which is read by now. */
bool
tls_end(conn *c)
{
    SSL *ssl = ((tls_link *)c->tls)->ssl;
    bool resumed = SSL_session_reused(ssl) == 1;

    SSL_shutdown(ssl); /* the peer's own is not waited for */
    if (opt.resume) {
        SSL_SESSION_free(c->session);
        c->session = SSL_get1_session(ssl);
    }
    tls_forget(c);
    return resumed;
}

/* `result` of a call that gave no bytes, as send() and recv() tell it. */
static ssize_t
tls_result(const tls_link *link, int result, const char *what)
{
    switch (SSL_get_error(link->ssl, result)) {
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

/* One record. */
ssize_t
tls_send(conn *c, const void *bytes, size_t count)
{
    tls_link *link = c->tls;
    int result;

    more_follows = count > RECORD_MAX;
    result = SSL_write(link->ssl, bytes, (int)count);
    more_follows = false;
    return result > 0 ? result : tls_result(link, result, "SSL_write");
}

bool
tls_flush(conn *c)
{
    return link_flush(c->tls);
}

static ssize_t
link_recv(tls_link *link, void *bytes, size_t count)
{
    ssize_t n = recv(link->fd, bytes, count, 0);

    if (n > 0) {
        n = (ssize_t)link_count(link, bytes, (size_t)n);
        if (n == 0) {
            errno = EAGAIN;
            n = -1;
        }
    }
    return n;
}

ssize_t
tls_recv(conn *c, void *bytes, size_t count)
{
    tls_link *link = c->tls;
    int result;

    if (link->mode == COUNTS) {
        return link_recv(link, bytes, count);
    }
    result = SSL_read(link->ssl, bytes, (int)count);
    link->given_plain += result > 0 ? (size_t)result : 0;
    return result > 0 ? result : tls_result(link, result, "SSL_read");
}

/* From here on: nothing that was read waits in OpenSSL. */
void
tls_count(conn *c)
{
    tls_link *link = c->tls;

    if (c == conns || link->mode == COUNTS || SSL_has_pending(link->ssl)) {
        return;
    }
    if (link->mode == DECRYPTS) { /* tickets have come with the first */
        link->mode = COMPARES;
    } else if (link->told_plain == link->given_plain) {
        link->mode = COUNTS;
    }
    link->told_plain = link->given_plain = 0;
}

bool
tls_has_pending(const conn *c)
{
    const tls_link *link = c->tls;

    return link->mode != COUNTS && SSL_has_pending(link->ssl) == 1;
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
tls_flush(conn *c)
{
    (void)c;
    return true;
}

void
tls_count(conn *c)
{
    (void)c;
}

bool
tls_has_pending(const conn *c)
{
    (void)c;
    return false;
}

#endif
