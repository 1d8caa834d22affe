/* SPDX-License-Identifier: Apache-2.0 */
/* conn_tls.h - the TLS engine of a stream, between its socket and its owner.
 *
 * Role:    what a conn with an engine does otherwise: input is ciphertext that
 *          waits to be decrypted, output is encrypted when it is about to be
 *          sent. What the backend sees is ciphertext both ways.
 * Thread:  loop thread; the runtime thread may decrypt what it has read.
 * Memory:  made by rsl_conn_set_tls(), freed by rsl_conn_close(); the engine is
 *          lent for as long. */
#ifndef RSL_NET_CONN_TLS_H
#define RSL_NET_CONN_TLS_H

#include <pthread.h>
#include <stdatomic.h>

#include <rsl/tls.h>

#include "net/conn_impl.h"

/* What rsl_chunk.tls says of a chunk. */
enum {
    RSL_CHUNK_UNCOUNTED = 0, /* as it came: from before there was an engine */
    RSL_CHUNK_CIPHER,        /* as it came, and counted in cipher_ahead */
    RSL_CHUNK_PLAIN,         /* decrypted by the runtime thread */
};

/* The runtime thread decrypts what it has read if it may, and if nothing that
 * comes before waits to be decrypted: no chunk here (under the lock), none on
 * its way (cipher_ahead). It never waits for the lock; the loop thread does,
 * for as long as it takes to decrypt one read. */
typedef struct rsl_conn_tls {
    rsl_tls *engine; /* [K]; its use is under the lock once `shared` was true */
    pthread_mutex_t lock;
    atomic_bool shared;       /* [A] the runtime thread may use the engine */
    atomic_uint cipher_ahead; /* [A] counted chunks not yet fed */
    bool gone;                /* under the lock: the conn is closed */
    bool left;                /* under the lock: the engine has plaintext that
                               * follows chunks of the runtime thread's */
    /* Input that came as DATA, oldest first. The engine has been lent the head
     * when `fed`. [L], under the lock. */
    rsl_chunk *in_head, *in_tail;
    bool fed;
    bool may_read;     /* [L] input since the engine last asked for more */
    bool asked;        /* [L] in a recv: the socket has been asked */
    bool expected;     /* [L] the next recv goes on where expect has been */
    bool ended;        /* [L] nothing follows what is in the queue */
    bool away;         /* [L] another thread makes a step of the handshake */
    bool close_wanted; /* [L] close_notify goes behind what is queued */
    bool close_sent;   /* [L] */
    bool failed;       /* [L] the owner has been told that writing failed */
} rsl_conn_tls;

/* Have the engine; true. False in a forked child, where the thread that has the
 * lock may not exist, and where nothing is used any more. */
bool rsl_conn_tls_lock(const rsl_conn *conn);
void rsl_conn_tls_unlock(const rsl_conn *conn, bool locked);

/* Under the lock: whatever there is to be sent, answers and alerts of the
 * engine's own included, leaves with the next flush. */
void rsl_conn_tls_note_output(rsl_conn *conn);

/* Count `chunk`, which the backend is about to emit for a conn with `tls`. */
void rsl_conn_tls_count(rsl_conn_tls *tls, rsl_chunk *chunk);

/* [T] Runtime thread: decrypt `len` bytes at `data` and emit the plaintext.
 * False when that may not be, and nothing has happened. */
bool rsl_conn_tls_steal(rsl_conn *conn, rsl_conn_tls *tls, const void *data,
                        size_t len, rsl_sink *sink);

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

/* The conn closes: the engine is its owner's again. */
void rsl_conn_tls_close(rsl_conn *conn);

/* [T] The end of the conn. */
void rsl_conn_tls_free(rsl_conn *conn);

#endif
