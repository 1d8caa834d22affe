/* SPDX-License-Identifier: Apache-2.0 */
/* tls.h - one side of one TLS connection, memory in and memory out.
 *
 * Role:    turns received ciphertext into plaintext and plaintext into
 *          ciphertext to send; knows no socket, no clock of its own, no
 *          Python. Which library does the work is the engine's business.
 * Thread:  any, one at a time. Different engines need no lock between them.
 * Memory:  whoever made the engine frees it by rsl_tls_free(). An idle open
 *          connection holds no buffer of this room. */
#ifndef RSL_TLS_H
#define RSL_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <rsl/status.h>

typedef struct rsl_tls rsl_tls;

typedef enum rsl_tls_status {
    RSL_TLS_DONE = 0,  /* what was asked for has been done */
    RSL_TLS_WANT_READ, /* all input is used up: feed more */
    RSL_TLS_NEED_SNI,  /* a server has read the ClientHello and waits for its
                        * configuration; only engines that were asked to */
    RSL_TLS_EOF,       /* this direction has ended by a close_notify */
    RSL_TLS_ERROR,     /* rsl_tls_last_error(); what is to be sent may hold an
                        * alert for the peer */
} rsl_tls_status;

/*  HANDSHAKE --> OPEN --> PEER_CLOSED --.
 *      |          `-----> CLOSE_SENT ---+--> CLOSED
 *      `-- closed before it was open ---'
 *  An error leads from every state but CLOSED to FAILED. */
typedef enum rsl_tls_state {
    RSL_TLS_STATE_HANDSHAKE,
    RSL_TLS_STATE_OPEN,
    RSL_TLS_STATE_PEER_CLOSED, /* the peer's close_notify has come */
    RSL_TLS_STATE_CLOSE_SENT,  /* ours has been written */
    RSL_TLS_STATE_CLOSED,      /* both */
    RSL_TLS_STATE_FAILED,
    RSL_TLS_STATE_COUNT,
} rsl_tls_state;

typedef enum rsl_tls_error_kind {
    RSL_TLS_ERR_NONE = 0,
    RSL_TLS_ERR_SSL,    /* ssl.SSLError */
    RSL_TLS_ERR_VERIFY, /* ssl.SSLCertVerificationError */
    RSL_TLS_ERR_EOF,    /* ssl.SSLEOFError: input ended without close_notify */
    RSL_TLS_ERR_NOMEM,  /* MemoryError */
} rsl_tls_error_kind;

/* Why an engine failed. The texts are OpenSSL's, whatever the engine, and live
 * as long as the engine's library. */
typedef struct rsl_tls_error {
    const char *library;        /* "SSL", "X509", ... or NULL */
    const char *text;           /* "certificate verify failed", or NULL */
    const char *verify_message; /* of verify_code, or NULL */
    unsigned long code;         /* as the engine's library packs it */
    int verify_code;            /* X509_V_ERR_*, 0 when nothing was wrong */
    uint8_t kind;               /* rsl_tls_error_kind */
    bool alert_sent;            /* whether sent_alert is one */
    bool alert_received;
    uint8_t sent_alert; /* RFC 8446, 6 */
    uint8_t received_alert;
} rsl_tls_error;

/* What was agreed on; valid from the end of the handshake. Strings are the
 * engine's and live until it is freed. */
typedef struct rsl_tls_info {
    const char *engine;          /* "openssl", "mbedtls" */
    const char *version;         /* "TLSv1.3" */
    const char *cipher;          /* in OpenSSL's words */
    const char *cipher_protocol; /* the version that brought it */
    int cipher_bits;             /* of the secret */
    const uint8_t *alpn;         /* not terminated; NULL: none */
    size_t alpn_len;
    const char *server_name; /* that was asked for, or NULL */
    bool resumed;
    int verify_code; /* X509_V_OK, or why the peer is not to be trusted */
} rsl_tls_info;

typedef enum rsl_tls_binding {
    RSL_TLS_BINDING_UNIQUE, /* tls-unique, RFC 5929; none in TLS 1.3 */
} rsl_tls_binding;

enum {
    /* The most plaintext that a record holds. */
    RSL_TLS_RECORD_MAX = 16384,
    /* rsl_tls_write() takes no more while so much ciphertext waits. */
    RSL_TLS_OUTPUT_HIGH = 65536,
    /* Slices that rsl_tls_output() fills at most are the caller's choice;
     * these hold RSL_TLS_OUTPUT_HIGH and an answer of the engine's own. */
    RSL_TLS_OUTPUT_IOV = 16,
    RSL_TLS_BINDING_MAX = 64,
};

/* --- Input --- */

/* Lend `len` bytes of ciphertext at `data` until rsl_tls_keep(). Nothing that
 * was fed before may be lent still. */
void rsl_tls_feed(rsl_tls *tls, const void *data, size_t len);

/* End the loan: what has not been used is copied. RSL_OK or RSL_NOMEM, which
 * fails the engine. Call it before the memory goes away. */
rsl_status rsl_tls_keep(rsl_tls *tls);

/* The transport has ended: what was fed is the last. Without a close_notify in
 * it, reading ends in RSL_TLS_ERR_EOF: a truncation is seen. */
void rsl_tls_feed_eof(rsl_tls *tls);

/* Bytes that were fed and that the engine has not looked at. */
size_t rsl_tls_input_bytes(const rsl_tls *tls);

/* Whether rsl_tls_read() may have something to give without more input. */
bool rsl_tls_has_input(const rsl_tls *tls);

/* Whether its library has taken input that it has not given as plaintext. A
 * part of a record counts with OpenSSL only. */
bool rsl_tls_has_pending(const rsl_tls *tls);

/* --- The connection --- */

/* Go on with the handshake as far as the input reaches: DONE, WANT_READ,
 * NEED_SNI or ERROR. There may be output after each of them. */
rsl_tls_status rsl_tls_handshake(rsl_tls *tls);

/* Fill `buf` with as much plaintext as there is: DONE with *out > 0, WANT_READ,
 * EOF or ERROR; what came before the end or an error is given first. An engine
 * may answer a peer's request here: look at the output. */
rsl_tls_status rsl_tls_read(rsl_tls *tls, void *buf, size_t cap, size_t *out);

/* Encrypt the bytes of `pieces`, small ones together in a record. DONE: *out
 * of them, perhaps none, were taken, all unless the output is at
 * RSL_TLS_OUTPUT_HIGH; call again with the rest when it has been sent.
 * WANT_READ: as DONE, and the rest has to wait for the peer. EOF after
 * rsl_tls_close_notify(). ERROR. */
rsl_tls_status rsl_tls_write(rsl_tls *tls, const struct iovec *pieces,
                             unsigned count, size_t *out);

/* End our direction, once; what was written before goes first. During the
 * handshake nothing is sent. DONE or ERROR. */
rsl_tls_status rsl_tls_close_notify(rsl_tls *tls);

rsl_tls_state rsl_tls_state_now(const rsl_tls *tls);

/* --- Output --- */

/* The ciphertext to send, as at most `max` slices; their number. They stay
 * where they are until consumed, whatever else is called: a send may be in
 * flight meanwhile. */
unsigned rsl_tls_output(const rsl_tls *tls, struct iovec *iov, unsigned max);

size_t rsl_tls_output_bytes(const rsl_tls *tls);

/* The first `sent` bytes of the output have left. */
void rsl_tls_consume(rsl_tls *tls, size_t sent);

/* --- What is known about it --- */

void rsl_tls_get_info(rsl_tls *tls, rsl_tls_info *out);

const rsl_tls_error *rsl_tls_last_error(const rsl_tls *tls);

/* A word of whoever made the engine; NULL at first. */
void rsl_tls_set_owner(rsl_tls *tls, void *owner);
void *rsl_tls_owner(const rsl_tls *tls);

/* ssl.SSLError.reason for error->text: "CERTIFICATE_VERIFY_FAILED". Fills at
 * most `cap` bytes, terminated. */
void rsl_tls_error_reason(const rsl_tls_error *error, char *buf, size_t cap);

/* Show each certificate that the peer sent to `each`, as DER, its own first.
 * RSL_OK or RSL_NOMEM. */
typedef void (*rsl_tls_each_der)(void *arg, const uint8_t *der, size_t len);
rsl_status rsl_tls_peer_chain(rsl_tls *tls, rsl_tls_each_der each, void *arg);

/* At most RSL_TLS_BINDING_MAX bytes into `buf`. RSL_OK, or RSL_UNSUPPORTED
 * when this connection has none. */
rsl_status rsl_tls_channel_binding(rsl_tls *tls, rsl_tls_binding kind,
                                   uint8_t *buf, size_t *out);

/* `len` bytes of keying material for `label`, without a context (RFC 5705). */
rsl_status
rsl_tls_export(rsl_tls *tls, const char *label, uint8_t *buf, size_t len);

/* A client's session as bytes that rsl_tls_set_session() takes back, by
 * malloc(): the caller frees *out. RSL_AGAIN: no ticket has come so far, or the
 * engine has given it before. In TLS 1.3 one comes only after the handshake,
 * with the first reads. */
rsl_status rsl_tls_get_session(rsl_tls *tls, uint8_t **out, size_t *len);

/* Offer that session; before the handshake. RSL_UNSUPPORTED: it is not one of
 * this engine's. */
rsl_status rsl_tls_set_session(rsl_tls *tls, const uint8_t *data, size_t len);

/* Show a client's sessions to `sink` as they come, on the thread that reads; in
 * place of rsl_tls_get_session(). Before the handshake. */
typedef void (*rsl_tls_session_sink)(void *arg, const uint8_t *data,
                                     size_t len);
void rsl_tls_keep_sessions(rsl_tls *tls, rsl_tls_session_sink sink, void *arg);

/* NULL is nothing. No send of its output may be in flight. */
void rsl_tls_free(rsl_tls *tls);

#endif
