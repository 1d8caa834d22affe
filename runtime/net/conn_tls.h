/* SPDX-License-Identifier: Apache-2.0 */
/* conn_tls.h - the TLS engine of a stream, between its socket and its owner.
 *
 * Role:    what a conn with an engine does otherwise: input is ciphertext that
 *          waits to be decrypted, output is encrypted when it is about to be
 *          sent. What the backend sees is ciphertext both ways.
 * Thread:  loop thread.
 * Memory:  made by rsl_conn_set_tls(), freed by rsl_conn_close(); the engine is
 *          lent for as long. */
#ifndef RSL_NET_CONN_TLS_H
#define RSL_NET_CONN_TLS_H

#include <rsl/tls.h>

#include "net/conn_impl.h"

typedef struct rsl_conn_tls {
    rsl_tls *engine;
    /* Ciphertext that came as DATA, oldest first. The engine has been lent the
     * head when `fed`. */
    rsl_chunk *in_head, *in_tail;
    bool fed;
    bool may_read;     /* input since the engine last asked for more */
    bool ended;        /* nothing follows what is in the queue */
    bool away;         /* another thread makes a step of the handshake */
    bool close_wanted; /* close_notify goes behind what is queued */
    bool close_sent;
    bool failed; /* the owner has been told that writing has failed */
} rsl_conn_tls;

/* rsl_conn_recv() of such a conn: plaintext. Additionally RSL_TLS. */
rsl_status rsl_conn_tls_recv(rsl_conn *conn, void *buf, size_t cap, size_t *out,
                             rsl_err *err);

/* Reading stops: chunks that are not used up move into the engine. */
void rsl_conn_tls_keep(rsl_conn *conn);

/* Whether there is anything to be sent, encrypted or not. */
bool rsl_conn_tls_has_output(const rsl_conn *conn);

/* Ciphertext that the kernel has not taken. */
size_t rsl_conn_tls_output_bytes(const rsl_conn *conn);

/* Encrypt what is queued, as far as the engine takes it; then rsl_conn_gather()
 * for its output. */
unsigned rsl_conn_tls_gather(rsl_conn *conn, struct iovec *iov, unsigned max);

/* `sent` bytes of that have left. */
void rsl_conn_tls_consume(rsl_conn *conn, size_t sent);

/* Nothing more will be sent. */
void rsl_conn_tls_discard(rsl_conn *conn);

/* The end of the conn: the engine is its owner's again. */
void rsl_conn_tls_free(rsl_conn *conn);

#endif
