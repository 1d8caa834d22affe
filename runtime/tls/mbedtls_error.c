/* SPDX-License-Identifier: Apache-2.0 */
/* mbedtls_error.c - mbedTLS's codes in OpenSSL's words. */
#include <mbedtls/error.h>
#include <mbedtls/x509.h>

#include "tls/mbedtls_impl.h"

enum { RECORD_HEADER = 5, ALERT_SIZE = 2 };

static const struct {
    int code;
    const char *text;
} reasons[] = {
    {MBEDTLS_ERR_SSL_INVALID_MAC, "decryption failed or bad record mac"},
    {MBEDTLS_ERR_SSL_INVALID_RECORD, "wrong version number"},
    {MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION, "unsupported protocol"},
    {MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE, "no shared cipher"},
    {MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE,
     "peer did not return a certificate"},
    {MBEDTLS_ERR_SSL_UNEXPECTED_MESSAGE, "unexpected message"},
    {MBEDTLS_ERR_SSL_UNEXPECTED_RECORD, "unexpected record"},
    {MBEDTLS_ERR_SSL_DECODE_ERROR, "length mismatch"},
    {MBEDTLS_ERR_SSL_ILLEGAL_PARAMETER, "bad value"},
    {MBEDTLS_ERR_SSL_UNSUPPORTED_EXTENSION, "unsolicited extension"},
    {MBEDTLS_ERR_SSL_UNRECOGNIZED_NAME, "tlsv1 unrecognized name"},
    {MBEDTLS_ERR_SSL_CONN_EOF, "unexpected eof while reading"},
};

/* OpenSSL's texts for the alerts that it receives; 3.0's. */
static const struct {
    uint8_t alert;
    const char *text;
} alerts[] = {
    {10, "sslv3 alert unexpected message"},
    {20, "sslv3 alert bad record mac"},
    {21, "tlsv1 alert decryption failed"},
    {22, "tlsv1 alert record overflow"},
    {30, "sslv3 alert decompression failure"},
    {40, "sslv3 alert handshake failure"},
    {41, "sslv3 alert no certificate"},
    {42, "sslv3 alert bad certificate"},
    {43, "sslv3 alert unsupported certificate"},
    {44, "sslv3 alert certificate revoked"},
    {45, "sslv3 alert certificate expired"},
    {46, "sslv3 alert certificate unknown"},
    {47, "sslv3 alert illegal parameter"},
    {48, "tlsv1 alert unknown ca"},
    {49, "tlsv1 alert access denied"},
    {50, "tlsv1 alert decode error"},
    {51, "tlsv1 alert decrypt error"},
    {60, "tlsv1 alert export restriction"},
    {70, "tlsv1 alert protocol version"},
    {71, "tlsv1 alert insufficient security"},
    {80, "tlsv1 alert internal error"},
    {86, "tlsv1 alert inappropriate fallback"},
    {90, "tlsv1 alert user cancelled"},
    {100, "tlsv1 alert no renegotiation"},
    {109, "tlsv13 alert missing extension"},
    {110, "tlsv1 unsupported extension"},
    {112, "tlsv1 unrecognized name"},
    {113, "tlsv1 bad certificate status response"},
    {115, "tlsv1 alert unknown psk identity"},
    {116, "tlsv13 alert certificate required"},
    {120, "tlsv1 alert no application protocol"},
};

static const char *
reason_text(int code)
{
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        if (reasons[i].code == code) {
            return reasons[i].text;
        }
    }
    return "internal error";
}

static const char *
alert_text(uint8_t alert)
{
    for (size_t i = 0; i < sizeof alerts / sizeof *alerts; i++) {
        if (alerts[i].alert == alert) {
            return alerts[i].text;
        }
    }
    return "unknown alert type";
}

static rsl_tls_status
fail_verify(mbedtls_tls *tls)
{
    rsl_tls_error *error = &tls->base.error;
    uint32_t flags = mbedtls_ssl_get_verify_result(&tls->ssl);

    if (flags != UINT32_MAX) {
        tls->verify_flags |= flags;
    }
    error->verify_code = rsl_mbedtls_verify_code(tls);
    error->verify_message = rsl_mbedtls_verify_text(error->verify_code);
    if (!error->alert_sent) { /* it was encrypted */
        error->alert_sent = true;
        error->sent_alert = rsl_mbedtls_sent_alert(tls);
    }
    return rsl_tls_fail(&tls->base, RSL_TLS_ERR_VERIFY,
                        "certificate verify failed");
}

static rsl_tls_status
fail_alert(mbedtls_tls *tls, uint8_t alert)
{
    tls->base.error.alert_received = true;
    tls->base.error.received_alert = alert;
    return rsl_tls_fail(&tls->base, RSL_TLS_ERR_SSL, alert_text(alert));
}

/* A client of TLS 1.3 that refuses the server's flight may say so in plain
 * text, having no keys yet; mbedTLS tries to decrypt that. */
static bool
is_plain_alert(const mbedtls_tls *tls, int code)
{
    const unsigned char *record = tls->ssl.MBEDTLS_PRIVATE(in_hdr);

    return code == MBEDTLS_ERR_SSL_INVALID_MAC && record != NULL
           && !mbedtls_ssl_is_handshake_over(
               (mbedtls_ssl_context *)(uintptr_t)&tls->ssl)
           && record[0] == MBEDTLS_SSL_MSG_ALERT && record[3] == 0
           && record[4] == ALERT_SIZE
           && record[RECORD_HEADER] == MBEDTLS_SSL_ALERT_LEVEL_FATAL;
}

/* What mbedTLS has sent without letting us see it, or has not sent. */
static void
complete_alert(mbedtls_tls *tls, int code)
{
    rsl_tls_error *error = &tls->base.error;

    if (error->alert_sent) {
        return;
    }
    if (code == MBEDTLS_ERR_SSL_INVALID_MAC) { /* it was encrypted */
        error->alert_sent = true;
        error->sent_alert = MBEDTLS_SSL_ALERT_MSG_BAD_RECORD_MAC;
    }
    if (code == MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE) {
        error->sent_alert = MBEDTLS_SSL_ALERT_MSG_HANDSHAKE_FAILURE;
        error->alert_sent =
            mbedtls_ssl_send_alert_message(
                &tls->ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL, error->sent_alert)
            == 0;
    }
}

static bool
is_no_memory(const mbedtls_tls *tls, int code)
{
    /* Codes are sums of a module's and of what it met below. */
    return tls->no_memory || code == MBEDTLS_ERR_SSL_ALLOC_FAILED
           || code == MBEDTLS_ERR_X509_ALLOC_FAILED
           || code == MBEDTLS_ERR_PK_ALLOC_FAILED;
}

rsl_tls_status
rsl_mbedtls_fail(mbedtls_tls *tls, int code)
{
    rsl_tls_error *error = &tls->base.error;

    error->code = (unsigned long)-code;
    if (is_no_memory(tls, code)) {
        return rsl_tls_fail(&tls->base, RSL_TLS_ERR_NOMEM, NULL);
    }
    if (code == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED
        || (code == MBEDTLS_ERR_SSL_BAD_CERTIFICATE && tls->verified)) {
        return fail_verify(tls);
    }
    if (code == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE) {
        /* The message is still there: level and description. */
        return fail_alert(tls, tls->ssl.MBEDTLS_PRIVATE(in_msg)[1]);
    }
    if (code == MBEDTLS_ERR_SSL_CONN_EOF
        || code == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) {
        return rsl_tls_fail(&tls->base, RSL_TLS_ERR_EOF,
                            reason_text(MBEDTLS_ERR_SSL_CONN_EOF));
    }
    if (is_plain_alert(tls, code)) {
        return fail_alert(tls,
                          tls->ssl.MBEDTLS_PRIVATE(in_hdr)[RECORD_HEADER + 1]);
    }
    complete_alert(tls, code);
    return rsl_tls_fail(&tls->base, RSL_TLS_ERR_SSL, reason_text(code));
}
