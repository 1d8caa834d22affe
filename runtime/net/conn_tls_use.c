/* SPDX-License-Identifier: Apache-2.0 */
/* conn_tls_use.c - how long a stream has an engine, and who uses it. */
#include <assert.h>
#include <stdlib.h>

#include "core/runtime_impl.h"
#include "net/conn_tls.h"

rsl_status
rsl_conn_set_tls(rsl_conn *conn, rsl_tls *engine)
{
    rsl_conn_tls *tls;

    assert(conn->tls == NULL && conn->write_count == 0 && !conn->in_batch);
    tls = calloc(1, sizeof *tls);
    if (tls == NULL) {
        return RSL_NOMEM;
    }
    tls->engine = engine;
    pthread_mutex_init(&tls->lock, NULL);
    atomic_init(&tls->shared, false);
    atomic_init(&tls->cipher_ahead, 0);
    conn->tls = tls;
    return RSL_OK;
}

/* --- Who uses the engine --- */

bool
rsl_conn_tls_lock(const rsl_conn *conn)
{
    if (rsl_runtime_is_forked(conn->rt)) {
        return false;
    }
    pthread_mutex_lock(&conn->tls->lock);
    return true;
}

void
rsl_conn_tls_unlock(const rsl_conn *conn, bool locked)
{
    if (locked) {
        pthread_mutex_unlock(&conn->tls->lock);
    }
}

void
rsl_conn_share_tls(rsl_conn *conn, bool shared)
{
    bool locked;

    if (conn->tls == NULL) {
        return;
    }
    locked = rsl_conn_tls_lock(conn);
    atomic_store(&conn->tls->shared, shared);
    rsl_conn_tls_unlock(conn, locked);
}

void
rsl_conn_tls_free(rsl_conn *conn)
{
    rsl_conn_tls *tls = conn->tls;

    if (tls != NULL) {
        conn->tls = NULL;
        pthread_mutex_destroy(&tls->lock);
        free(tls);
    }
}
