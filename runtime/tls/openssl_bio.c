/* SPDX-License-Identifier: Apache-2.0 */
/* openssl_bio.c - a BIO whose ends are an engine's buffers: it reads from the
 * input that was fed and writes to the output queue, so that no memory BIO
 * copies a second time. */
#include "tls/openssl_impl.h"

/* Of <openssl/bio.h> and <openssl/ssl.h>. */
enum {
    BIO_TYPE_SOURCE_SINK = 0x0400,
    BIO_CTRL_EOF = 2,
    BIO_CTRL_FLUSH = 11,
    BIO_FLAGS_READ = 0x01,
    BIO_FLAGS_RWS = 0x07,
    BIO_FLAGS_SHOULD_RETRY = 0x08,
    SSL_CB_READ = 0x04,
    SSL_CB_ALERT = 0x4000,
    ALERT_LEVEL_FATAL = 2,
};

static _Thread_local openssl_tls *entered;

void
rsl_openssl_enter(openssl_tls *tls)
{
    entered = tls;
    /* What others have left in this thread's queue is not ours. To clear an
     * empty one costs as much as a small record. */
    if (tls->api->ERR_peek_last_error() != 0) {
        tls->api->ERR_clear_error();
    }
}

void
rsl_openssl_leave(void)
{
    entered = NULL;
}

static int
bio_read(BIO *bio, char *buf, int len)
{
    openssl_tls *tls = entered;
    size_t taken;

    if (tls == NULL || len <= 0) {
        return -1;
    }
    tls->api->BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
    taken = rsl_tls_input_take(&tls->base.input, buf, (size_t)len);
    if (taken > 0) {
        return (int)taken;
    }
    if (tls->base.input.ended) {
        return 0;
    }
    tls->api->BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY);
    return -1;
}

static int
bio_write(BIO *bio, const char *data, int len)
{
    openssl_tls *tls = entered;

    if (tls == NULL || len <= 0) {
        return -1;
    }
    tls->api->BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
    if (rsl_tls_output_add(&tls->base.output, data, (size_t)len) != RSL_OK) {
        tls->no_memory = true;
        return -1;
    }
    return len;
}

static long
bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    switch (command) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_EOF:
        return entered != NULL && entered->base.input.ended
               && rsl_tls_input_size(&entered->base.input) == 0;
    default: /* open-ended: OpenSSL asks for what only some BIOs have */
        return 0;
    }
}

BIO_METHOD *
rsl_openssl_bio_method(const rsl_openssl_api *api)
{
    int index = api->BIO_get_new_index();
    BIO_METHOD *method;

    if (index < 0) {
        return NULL;
    }
    method = api->BIO_meth_new(index | BIO_TYPE_SOURCE_SINK, "rsloop_c");
    if (method == NULL) {
        return NULL;
    }
    if (!api->BIO_meth_set_read(method, bio_read)
        || !api->BIO_meth_set_write(method, bio_write)
        || !api->BIO_meth_set_ctrl(method, bio_ctrl)) {
        api->BIO_meth_free(method);
        return NULL;
    }
    return method;
}

void
rsl_openssl_note_alert(const SSL *ssl, int where, int ret)
{
    rsl_tls_error *error;

    if (entered == NULL || entered->ssl != ssl || !(where & SSL_CB_ALERT)
        || ret >> 8 != ALERT_LEVEL_FATAL) {
        return;
    }
    error = &entered->base.error;
    if (where & SSL_CB_READ) {
        error->alert_received = true;
        error->received_alert = (uint8_t)ret;
    } else {
        error->alert_sent = true;
        error->sent_alert = (uint8_t)ret;
    }
}
