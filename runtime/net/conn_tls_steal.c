/* SPDX-License-Identifier: Apache-2.0 */
/* conn_tls_steal.c - the runtime thread decrypts what it has read. */
#include "base/buf.h"
#include "net/conn_tls.h"

void
rsl_conn_tls_count(rsl_conn_tls *tls, rsl_chunk *chunk)
{
    chunk->tls = RSL_CHUNK_CIPHER;
    atomic_fetch_add(&tls->cipher_ahead, 1);
}

/* Under the lock. What is lent for a recv that is about to follow comes
 * before. */
static bool
steal_may_decrypt(rsl_conn_tls *tls)
{
    return !tls->gone && !tls->expected && atomic_load(&tls->shared)
           && atomic_load(&tls->cipher_ahead) == 0 && tls->in_head == NULL
           && rsl_tls_state_now(tls->engine) == RSL_TLS_STATE_OPEN;
}

/* Plaintext is never longer than its ciphertext; but the engine may have kept
 * some from before, which goes out first. */
static rsl_tls_status
steal_read(rsl_conn_tls *tls, size_t room, rsl_chunk **head)
{
    rsl_chunk **link = head;
    rsl_tls_status status = RSL_TLS_DONE;

    while (status == RSL_TLS_DONE) {
        if (*link == NULL) {
            *link = rsl_chunk_new(room);
            if (*link == NULL) {
                tls->left = true;
                return RSL_TLS_DONE;
            }
        }
        status = rsl_tls_read(tls->engine, rsl_chunk_room(*link), room,
                              &(*link)->len);
        if ((*link)->len == 0) {
            rsl_chunk_free(*link);
            *link = NULL;
            continue;
        }
        (*link)->tls = RSL_CHUNK_PLAIN;
        link = &(*link)->next;
    }
    return status;
}

/* Under the lock: whoever sees the engine without these bytes, or at its end,
 * sees them counted as on their way. */
static void
steal_emit(rsl_conn *conn, rsl_chunk *chunk, rsl_sink *sink)
{
    while (chunk != NULL) {
        rsl_chunk *next = chunk->next;

        chunk->next = NULL;
        sink->emit(sink, (rsl_event){.tag = rsl_tag(RSL_EV_DATA, conn->id),
                                     .u.ptr = chunk});
        chunk = next;
    }
}

bool
rsl_conn_tls_steal(rsl_conn *conn, rsl_conn_tls *tls, const void *data,
                   size_t len, rsl_sink *sink)
{
    rsl_chunk *chunk;
    rsl_tls_status status;

    if (!atomic_load(&tls->shared) || atomic_load(&tls->cipher_ahead) > 0
        || pthread_mutex_trylock(&tls->lock) != 0) {
        return false;
    }
    chunk = steal_may_decrypt(tls) ? rsl_chunk_new(len) : NULL;
    if (chunk == NULL) {
        pthread_mutex_unlock(&tls->lock);
        return false;
    }
    rsl_tls_feed(tls->engine, data, len);
    status = steal_read(tls, len, &chunk);
    if (rsl_tls_keep(tls->engine) != RSL_OK) {
        status = RSL_TLS_ERROR;
    }
    steal_emit(conn, chunk, sink);
    /* An end, an answer to be sent, or what had no room: the loop thread looks
     * at the engine. */
    if (status != RSL_TLS_WANT_READ || rsl_tls_output_bytes(tls->engine) > 0) {
        sink->emit(sink,
                   (rsl_event){.tag = rsl_tag(RSL_EV_READABLE, conn->id)});
    }
    pthread_mutex_unlock(&tls->lock);
    return true;
}
