/* SPDX-License-Identifier: Apache-2.0 */
#include "tls/mbedtls_engine.h"

#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <mbedtls/error.h>

#include "tls/client_hello.h"
#include "tls/mbedtls_impl.h"

enum {
    RECORD_ALERT = 21,
    ALERT_RECORD_PLAIN = 7, /* header, level, description */
    ALERT_LEVEL_FATAL = 2,
};

/* --- mbedTLS's input and output --- */

static int
engine_recv(void *arg, unsigned char *buf, size_t len)
{
    mbedtls_tls *tls = arg;
    size_t taken = rsl_tls_input_take(&tls->base.input, buf, len);

    if (taken > 0 || tls->base.input.ended) {
        return (int)taken;
    }
    tls->starved = true;
    return MBEDTLS_ERR_SSL_WANT_READ;
}

/* mbedTLS tells nobody which alerts it sends. */
static void
engine_note_alert(mbedtls_tls *tls, const unsigned char *record, size_t len)
{
    rsl_tls_error *error = &tls->base.error;

    if (record[0] == RECORD_ALERT && len == ALERT_RECORD_PLAIN) {
        error->alert_sent = record[5] == ALERT_LEVEL_FATAL;
        error->sent_alert = record[6];
    } else if (tls->ssl.MBEDTLS_PRIVATE(send_alert)) {
        error->alert_sent = true;
        error->sent_alert = tls->ssl.MBEDTLS_PRIVATE(alert_type);
    }
}

static int
engine_send(void *arg, const unsigned char *data, size_t len)
{
    mbedtls_tls *tls = arg;

    engine_note_alert(tls, data, len);
    if (rsl_tls_output_add(&tls->base.output, data, len) != RSL_OK) {
        tls->no_memory = true;
        return MBEDTLS_ERR_SSL_ALLOC_FAILED;
    }
    return (int)len;
}

/* --- Set-up --- */

/* From here on the engine has mbedTLS's buffers. */
static int
engine_setup(mbedtls_tls *tls, const mbedtls_ssl_config *conf)
{
    int code = mbedtls_ssl_setup(&tls->ssl, conf);

    if (code != 0) {
        return code;
    }
    mbedtls_ssl_set_bio(&tls->ssl, tls, engine_send, engine_recv, NULL);
    mbedtls_ssl_set_verify(&tls->ssl, rsl_mbedtls_verify, tls);
    if (tls->config->settings.keylog != NULL) {
        mbedtls_ssl_set_export_keys_cb(&tls->ssl, rsl_mbedtls_keylog, tls);
    }
    if (!tls->config->settings.server) {
        code = mbedtls_ssl_set_hostname(&tls->ssl, tls->server_name);
    }
    tls->ready = code == 0;
    return code;
}

/* What a server needs to know of the ClientHello before mbedTLS sees it: it
 * then chooses the config. Until it is complete there is nothing but the bytes
 * of it. DONE, WANT_READ, NEED_SNI or ERROR. */
static rsl_tls_status
engine_greet(mbedtls_tls *tls)
{
    rsl_tls_input *input = &tls->base.input;
    const mbedtls_ssl_config *conf = &tls->config->conf;
    const uint8_t *data;
    rsl_client_hello hello = {0};
    uint8_t *room;

    if (rsl_tls_input_keep(input) != RSL_OK) {
        return rsl_tls_fail(&tls->base, RSL_TLS_ERR_NOMEM, NULL);
    }
    data = input->kept_len == 0 ? NULL : input->kept + input->kept_start;
    if (rsl_client_hello_look(data, input->kept_len) == RSL_HELLO_MORE
        && !input->ended) {
        return RSL_TLS_WANT_READ;
    }
    room = malloc(input->kept_len + 1);
    if (room == NULL) {
        return rsl_tls_fail(&tls->base, RSL_TLS_ERR_NOMEM, NULL);
    }
    if (rsl_client_hello_look(data, input->kept_len) == RSL_HELLO_DONE) {
        (void)rsl_client_hello_read(data, input->kept_len, room, &hello);
    }
    if (hello.server_name != NULL && tls->server_name == NULL) {
        tls->server_name =
            strndup((const char *)hello.server_name, hello.server_name_len);
    }
    if (tls->config->alpn != NULL
        && !rsl_client_hello_offers(&hello, tls->config->alpn)) {
        conf = &tls->config->conf_no_alpn;
    }
    free(room);
    if (tls->config->settings.ask_sni && !tls->asked) {
        tls->asked = true;
        return RSL_TLS_NEED_SNI;
    }
    return engine_setup(tls, conf) == 0
               ? RSL_TLS_DONE
               : rsl_tls_fail(&tls->base, RSL_TLS_ERR_NOMEM, NULL);
}

/* --- Operations --- */

/* A certificate that was shown has to be good even where none is required;
 * mbedTLS would go on. */
static int
engine_check_optional(mbedtls_tls *tls)
{
    uint32_t flags;
    int code;

    if (tls->config->settings.verify != RSL_TLS_VERIFY_OPTIONAL
        || !tls->config->settings.server || !tls->verified) {
        return 0;
    }
    flags = mbedtls_ssl_get_verify_result(&tls->ssl);
    if (flags != UINT32_MAX) {
        tls->verify_flags |= flags;
    }
    code = rsl_mbedtls_verify_code(tls);
    if (code == 0) {
        return 0;
    }
    if (mbedtls_ssl_send_alert_message(&tls->ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL,
                                       rsl_mbedtls_verify_alert(code))
        == 0) {
        tls->base.error.alert_sent = true;
        tls->base.error.sent_alert = rsl_mbedtls_verify_alert(code);
    }
    return MBEDTLS_ERR_X509_CERT_VERIFY_FAILED;
}

static int
engine_step(mbedtls_tls *tls)
{
    int code;

    if (tls->ssl.MBEDTLS_PRIVATE(state) == MBEDTLS_SSL_SERVER_CERTIFICATE) {
        tls->full = true;
    }
    tls->starved = false;
    code = mbedtls_ssl_handshake_step(&tls->ssl);
    if (code == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) {
        tls->has_ticket = true;
        code = 0;
    }
    /* It may want to read while there is input: ask again. */
    if (code == MBEDTLS_ERR_SSL_WANT_READ && !tls->starved) {
        code = 0;
    }
    return code == 0 ? engine_check_optional(tls) : code;
}

static rsl_tls_status
mbedtls_engine_handshake(rsl_tls *base)
{
    mbedtls_tls *tls = rsl_mbedtls_of(base);

    if (!tls->ready) {
        rsl_tls_status status = engine_greet(tls);

        if (status != RSL_TLS_DONE) {
            return status;
        }
    }
    while (!mbedtls_ssl_is_handshake_over(&tls->ssl)) {
        int code = engine_step(tls);

        if (code == MBEDTLS_ERR_SSL_WANT_READ) {
            return RSL_TLS_WANT_READ;
        }
        if (code != 0) {
            return rsl_mbedtls_fail(tls, code);
        }
    }
    /* A server of TLS 1.3 has its tickets still to write; a client that waits
     * for them would not make anybody read or write. */
    int code = mbedtls_ssl_handshake(&tls->ssl);
    if (code != 0) {
        return rsl_mbedtls_fail(tls, code);
    }
    return RSL_TLS_DONE;
}

static rsl_tls_status
mbedtls_engine_read(rsl_tls *base, void *buf, size_t cap, size_t *out)
{
    mbedtls_tls *tls = rsl_mbedtls_of(base);
    int code;

    do {
        tls->starved = false;
        code = mbedtls_ssl_read(&tls->ssl, buf, cap);
        if (code == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) {
            tls->has_ticket = true;
            continue;
        }
    } while (code == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET
             || (code == MBEDTLS_ERR_SSL_WANT_READ && !tls->starved));
    if (code > 0) {
        *out = (size_t)code;
        return RSL_TLS_DONE;
    }
    if (code == MBEDTLS_ERR_SSL_WANT_READ) {
        return RSL_TLS_WANT_READ;
    }
    if (code == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) {
        return RSL_TLS_EOF;
    }
    /* 0: the input has ended. */
    return rsl_mbedtls_fail(tls, code == 0 ? MBEDTLS_ERR_SSL_CONN_EOF : code);
}

static rsl_tls_status
mbedtls_engine_write(rsl_tls *base, const uint8_t *data, size_t len)
{
    mbedtls_tls *tls = rsl_mbedtls_of(base);
    int code = mbedtls_ssl_write(&tls->ssl, data, len);

    /* Output always finds room, so that nothing is taken in part. */
    return code == (int)len ? RSL_TLS_DONE : rsl_mbedtls_fail(tls, code);
}

static size_t
mbedtls_engine_record_max(rsl_tls *base)
{
    int max =
        mbedtls_ssl_get_max_out_record_payload(&rsl_mbedtls_of(base)->ssl);

    return max > 0 ? (size_t)max : 1;
}

static rsl_tls_status
mbedtls_engine_close_notify(rsl_tls *base)
{
    mbedtls_tls *tls = rsl_mbedtls_of(base);
    int code = mbedtls_ssl_close_notify(&tls->ssl);

    return code == 0 ? RSL_TLS_DONE : rsl_mbedtls_fail(tls, code);
}

static bool
mbedtls_engine_has_pending(const rsl_tls *base)
{
    const mbedtls_tls *tls = (const mbedtls_tls *)(const void *)base;

    return tls->ready && mbedtls_ssl_check_pending(&tls->ssl) != 0;
}

static void
mbedtls_engine_free(rsl_tls *base)
{
    mbedtls_tls *tls = rsl_mbedtls_of(base);

    mbedtls_ssl_free(&tls->ssl);
    free(tls->server_name);
    free(tls);
}

static const rsl_tls_ops mbedtls_ops = {
    .name = "mbedtls",
    .handshake = mbedtls_engine_handshake,
    .read = mbedtls_engine_read,
    .write = mbedtls_engine_write,
    .record_max = mbedtls_engine_record_max,
    .close_notify = mbedtls_engine_close_notify,
    .has_pending = mbedtls_engine_has_pending,
    .get_info = rsl_mbedtls_get_info,
    .peer_chain = rsl_mbedtls_peer_chain,
    .tls_unique = rsl_mbedtls_tls_unique,
    .export = rsl_mbedtls_export,
    .get_session = rsl_mbedtls_get_session,
    .set_session = rsl_mbedtls_set_session,
    .free = mbedtls_engine_free,
};

/* --- Making one --- */

/* An address is checked, but never asked for by SNI (RFC 6066, 3). */
static rsl_status
engine_name(mbedtls_tls *tls, const char *name)
{
    if (inet_pton(AF_INET, name, tls->address) == 1) {
        tls->address_len = 4;
        return RSL_OK;
    }
    if (inet_pton(AF_INET6, name, tls->address) == 1) {
        tls->address_len = 16;
        return RSL_OK;
    }
    if (strlen(name) > MBEDTLS_SSL_MAX_HOST_NAME_LEN) {
        return RSL_UNSUPPORTED;
    }
    tls->server_name = strdup(name);
    return tls->server_name == NULL ? RSL_NOMEM : RSL_OK;
}

rsl_status
rsl_mbedtls_tls_new(const rsl_mbedtls_config *config, const char *server_name,
                    rsl_tls **out)
{
    const rsl_tls_settings *settings = &config->settings;
    mbedtls_tls *tls;
    rsl_status status = RSL_OK;

    if (!settings->server && settings->check_hostname && server_name == NULL) {
        return RSL_UNSUPPORTED;
    }
    tls = calloc(1, sizeof *tls);
    if (tls == NULL) {
        return RSL_NOMEM;
    }
    rsl_tls_init(&tls->base, &mbedtls_ops);
    tls->config = config;
    mbedtls_ssl_init(&tls->ssl);
    if (!settings->server) {
        if (server_name != NULL) {
            status = engine_name(tls, server_name);
        }
        if (status == RSL_OK && engine_setup(tls, &config->conf) != 0) {
            status = RSL_NOMEM;
        }
    }
    if (status != RSL_OK) {
        rsl_tls_free(&tls->base);
        return status;
    }
    *out = &tls->base;
    return RSL_OK;
}

void
rsl_mbedtls_tls_choose(rsl_tls *tls, const rsl_mbedtls_config *config)
{
    rsl_mbedtls_of(tls)->config = config;
}
