/* SPDX-License-Identifier: Apache-2.0 */
/* tls_openssl_side.c - contexts of the system's libssl, found as the engine
 * finds its functions: by name. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "tls/openssl_engine.h"
#include "tls/openssl_impl.h"
#include "tls_side.h"

enum {
    SSL_FILETYPE_PEM = 1,
    SSL_VERIFY_PEER = 1,
    SSL_VERIFY_FAIL = 2,
    SSL_CTRL_MIN_PROTO = 123,
    SSL_CTRL_MAX_PROTO = 124,
    SSL_CTRL_SET_HOSTNAME = 55,
    SSL_OP_NO_TICKET = 1 << 14,
    X509_V_FLAG_CRL_CHECK = 4,
    SSL_KEY_UPDATE_REQUESTED = 1,
    TLSEXT_ERR_OK = 0,
    TLSEXT_ERR_NOACK = 3,
};

typedef int alpn_fn(SSL *ssl, const unsigned char **out, unsigned char *outlen,
                    const unsigned char *in, unsigned inlen, void *arg);
typedef int password_fn(char *buf, int size, int rwflag, void *arg);

#define FUNCTIONS(X)                                                       \
    X(void *, TLS_method, (void))                                          \
    X(SSL_CTX *, SSL_CTX_new, (void *))                                    \
    X(void, SSL_CTX_free, (SSL_CTX *))                                     \
    X(long, SSL_CTX_ctrl, (SSL_CTX *, int, long, void *))                  \
    X(uint64_t, SSL_CTX_set_options, (SSL_CTX *, uint64_t))                \
    X(int, SSL_CTX_set_num_tickets, (SSL_CTX *, size_t))                   \
    X(int, SSL_CTX_set_session_id_context,                                 \
      (SSL_CTX *, const unsigned char *, unsigned))                        \
    X(void, SSL_CTX_set_default_passwd_cb, (SSL_CTX *, password_fn *))     \
    X(void, SSL_CTX_set_default_passwd_cb_userdata, (SSL_CTX *, void *))   \
    X(int, SSL_CTX_use_certificate_chain_file, (SSL_CTX *, const char *))  \
    X(int, SSL_CTX_use_PrivateKey_file, (SSL_CTX *, const char *, int))    \
    X(int, SSL_CTX_load_verify_locations,                                  \
      (SSL_CTX *, const char *, const char *))                             \
    X(void *, SSL_CTX_get0_param, (SSL_CTX *))                             \
    X(int, X509_VERIFY_PARAM_set_flags, (void *, unsigned long))           \
    X(void, SSL_CTX_set_verify, (SSL_CTX *, int, void *))                  \
    X(int, SSL_CTX_set_alpn_protos,                                        \
      (SSL_CTX *, const unsigned char *, unsigned))                        \
    X(void, SSL_CTX_set_alpn_select_cb, (SSL_CTX *, alpn_fn *, void *))    \
    X(int, SSL_select_next_proto,                                          \
      (unsigned char **, unsigned char *, const unsigned char *, unsigned, \
       const unsigned char *, unsigned))                                   \
    X(int, SSL_CTX_set_cipher_list, (SSL_CTX *, const char *))             \
    X(int, SSL_CTX_set_ciphersuites, (SSL_CTX *, const char *))            \
    X(SSL *, SSL_new, (SSL_CTX *))                                         \
    X(void *, SSL_get0_param, (SSL *))                                     \
    X(int, X509_VERIFY_PARAM_set1_host, (void *, const char *, size_t))    \
    X(int, X509_VERIFY_PARAM_set1_ip_asc, (void *, const char *))          \
    X(int, SSL_renegotiate, (SSL *))                                       \
    X(int, SSL_key_update, (SSL *, int))                                   \
    X(void, SSL_set_connect_state, (SSL *))                                \
    X(void, SSL_set_accept_state, (SSL *))

static struct {
#define MEMBER(result, name, parameters) result(*name) parameters;
    FUNCTIONS(MEMBER)
#undef MEMBER
} ssl;

static rsl_openssl_api api;

typedef struct openssl_context {
    tls_context base;
    SSL_CTX *ctx;
    tls_settings settings;
    unsigned char alpn[64];
    unsigned alpn_len;
} openssl_context;

static const char *
side_load(void)
{
    void *handle = dlopen("libssl.so.3", RTLD_NOW | RTLD_LOCAL);
    const char *missing;
    void *found;

    if (handle == NULL) {
        return "there is no libssl.so.3";
    }
#define FIND(result, name, parameters)      \
    found = dlsym(handle, #name);           \
    if (found == NULL) {                    \
        return "libssl.so.3 has no " #name; \
    }                                       \
    memcpy(&ssl.name, &found, sizeof found);
    FUNCTIONS(FIND)
#undef FIND
    return rsl_openssl_api_open(&api, handle, &missing) == RSL_OK ? NULL
                                                                  : missing;
}

static const char *
side_fault(void)
{
    static bool loaded;
    static const char *fault;

    if (!loaded) {
        fault = side_load();
        loaded = true;
    }
    return fault;
}

static int
side_password(char *buf, int size, int rwflag, void *arg)
{
    (void)rwflag;
    return snprintf(buf, (size_t)size, "%s", (const char *)arg);
}

/* "h2,http/1.1" as the extension has it. */
static unsigned
side_alpn(const char *list, unsigned char *out)
{
    unsigned len = 0;

    while (list != NULL && *list != '\0') {
        size_t part = strcspn(list, ",");

        out[len] = (unsigned char)part;
        memcpy(out + len + 1, list, part);
        len += 1 + (unsigned)part;
        list += part + (list[part] == ',');
    }
    return len;
}

static int
side_select_alpn(SSL *conn, const unsigned char **out, unsigned char *outlen,
                 const unsigned char *in, unsigned inlen, void *arg)
{
    openssl_context *context = arg;
    unsigned char *chosen;

    (void)conn;
    if (ssl.SSL_select_next_proto(&chosen, outlen, context->alpn,
                                  context->alpn_len, in, inlen)
        != 1) {
        return TLSEXT_ERR_NOACK;
    }
    *out = chosen;
    return TLSEXT_ERR_OK;
}

static void
side_path(char *path, size_t size, const char *name)
{
    snprintf(path, size, "%s/%s", TLS_CERTS, name);
}

static void
side_material(openssl_context *context, const tls_settings *settings)
{
    SSL_CTX *ctx = context->ctx;
    char path[512];

    if (settings->password != NULL) {
        ssl.SSL_CTX_set_default_passwd_cb(ctx, side_password);
        ssl.SSL_CTX_set_default_passwd_cb_userdata(
            ctx, (void *)(uintptr_t)settings->password);
    }
    if (settings->cert != NULL) {
        side_path(path, sizeof path, settings->cert);
        assert_int_equal(ssl.SSL_CTX_use_certificate_chain_file(ctx, path), 1);
        side_path(path, sizeof path, settings->key);
        assert_int_equal(
            ssl.SSL_CTX_use_PrivateKey_file(ctx, path, SSL_FILETYPE_PEM), 1);
    }
    side_path(path, sizeof path, settings->ca);
    assert_int_equal(ssl.SSL_CTX_load_verify_locations(ctx, path, NULL), 1);
    if (settings->crl != NULL) {
        side_path(path, sizeof path, settings->crl);
        assert_int_equal(ssl.SSL_CTX_load_verify_locations(ctx, path, NULL), 1);
        ssl.X509_VERIFY_PARAM_set_flags(ssl.SSL_CTX_get0_param(ctx),
                                        X509_V_FLAG_CRL_CHECK);
    }
}

/* The names by which OpenSSL knows the suites of TLS 1.2 that tests use. */
static const char *
side_cipher(const char *iana)
{
    static const char *const names[][2] = {
        {"TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256",
         "ECDHE-ECDSA-AES128-GCM-SHA256"},
        {"TLS-ECDHE-ECDSA-WITH-CHACHA20-POLY1305-SHA256",
         "ECDHE-ECDSA-CHACHA20-POLY1305"},
        {"TLS-RSA-WITH-AES-128-CBC-SHA", "AES128-SHA"},
    };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i][0], iana) == 0) {
            return names[i][1];
        }
    }
    return NULL;
}

static void
side_choose_cipher(SSL_CTX *ctx, const char *iana)
{
    const char *old = side_cipher(iana);
    char name[64];

    if (old != NULL) {
        assert_int_equal(ssl.SSL_CTX_set_cipher_list(ctx, old), 1);
        return;
    }
    /* TLS1-3-AES-128-GCM-SHA256 is TLS_AES_128_GCM_SHA256 here. */
    snprintf(name, sizeof name, "TLS_%s", iana + strlen("TLS1-3-"));
    for (char *c = name; *c != '\0'; c++) {
        *c = *c == '-' ? '_' : *c;
    }
    assert_int_equal(ssl.SSL_CTX_set_ciphersuites(ctx, name), 1);
}

static tls_context *
side_context_new(const tls_settings *settings)
{
    static const int modes[] = {
        [TLS_VERIFY_NONE] = 0,
        [TLS_VERIFY_OPTIONAL] = SSL_VERIFY_PEER,
        [TLS_VERIFY_REQUIRED] = SSL_VERIFY_PEER | SSL_VERIFY_FAIL,
    };
    openssl_context *context = calloc(1, sizeof *context);
    SSL_CTX *ctx = ssl.SSL_CTX_new(ssl.TLS_method());

    assert_non_null(context);
    assert_non_null(ctx);
    context->ctx = ctx;
    context->settings = *settings;
    side_material(context, settings);
    ssl.SSL_CTX_set_verify(ctx, modes[settings->verify], NULL);
    if (settings->version != 0) {
        ssl.SSL_CTX_ctrl(ctx, SSL_CTRL_MIN_PROTO, settings->version, NULL);
        ssl.SSL_CTX_ctrl(ctx, SSL_CTRL_MAX_PROTO, settings->version, NULL);
    }
    if (settings->no_tickets) {
        ssl.SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
        ssl.SSL_CTX_set_num_tickets(ctx, 0);
    }
    if (settings->cipher != NULL) {
        side_choose_cipher(ctx, settings->cipher);
    }
    context->alpn_len = side_alpn(settings->alpn, context->alpn);
    if (context->alpn_len > 0) {
        ssl.SSL_CTX_set_alpn_protos(ctx, context->alpn, context->alpn_len);
        ssl.SSL_CTX_set_alpn_select_cb(ctx, side_select_alpn, context);
    }
    ssl.SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"t", 1);
    return &context->base;
}

static bool
side_is_address(const char *name)
{
    struct in6_addr address;

    return inet_pton(AF_INET, name, &address) == 1
           || inet_pton(AF_INET6, name, &address) == 1;
}

/* As ssl.SSLContext.wrap_bio() does it. */
static void
side_name(openssl_context *context, SSL *conn, const char *name)
{
    bool address = side_is_address(name);
    void *param = ssl.SSL_get0_param(conn);

    if (!address) {
        api.SSL_ctrl(conn, SSL_CTRL_SET_HOSTNAME, 0, (void *)(uintptr_t)name);
    }
    if (context->settings.verify == TLS_VERIFY_NONE) {
        return;
    }
    if (address) {
        ssl.X509_VERIFY_PARAM_set1_ip_asc(param, name);
    } else {
        ssl.X509_VERIFY_PARAM_set1_host(param, name, 0);
    }
}

static rsl_tls *
side_open(tls_context *base, const char *server_name)
{
    openssl_context *context = (openssl_context *)(void *)base;
    SSL *conn = ssl.SSL_new(context->ctx);
    rsl_tls *tls = NULL;

    if (conn == NULL) {
        return NULL;
    }
    if (context->settings.server) {
        ssl.SSL_set_accept_state(conn);
    } else {
        ssl.SSL_set_connect_state(conn);
        if (server_name != NULL) {
            side_name(context, conn, server_name);
        }
    }
    if (rsl_openssl_tls_new(&api, conn, &tls) != RSL_OK) {
        tls = NULL;
    }
    api.SSL_free(conn); /* the engine has its own reference */
    return tls;
}

static SSL *
side_ssl(rsl_tls *tls)
{
    return ((openssl_tls *)(void *)tls)->ssl;
}

bool
tls_openssl_renegotiate(rsl_tls *tls)
{
    return ssl.SSL_renegotiate(side_ssl(tls)) == 1;
}

bool
tls_openssl_update_keys(rsl_tls *tls)
{
    return ssl.SSL_key_update(side_ssl(tls), SSL_KEY_UPDATE_REQUESTED) == 1;
}

static void
side_context_free(tls_context *base)
{
    openssl_context *context = (openssl_context *)(void *)base;

    ssl.SSL_CTX_free(context->ctx);
    free(context);
}

const tls_library_ops tls_openssl_side = {
    .fault = side_fault,
    .context_new = side_context_new,
    .open = side_open,
    .context_free = side_context_free,
};
