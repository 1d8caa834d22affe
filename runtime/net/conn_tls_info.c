/* SPDX-License-Identifier: Apache-2.0 */
/* conn_tls_info.c - what is to be known of a stream's engine. */
#include "net/conn_tls.h"

bool
rsl_conn_tls_has_failed(const rsl_conn *conn)
{
    bool locked = rsl_conn_tls_lock(conn);
    bool failed = rsl_tls_state_now(conn->tls->engine) == RSL_TLS_STATE_FAILED;

    rsl_conn_tls_unlock(conn, locked);
    return failed;
}

size_t
rsl_conn_tls_input_bytes(const rsl_conn *conn)
{
    const rsl_conn_tls *tls = conn->tls;
    bool locked = rsl_conn_tls_lock(conn);
    size_t bytes = tls->away ? 0 : rsl_tls_input_bytes(tls->engine);

    for (const rsl_chunk *chunk = tls->in_head; chunk != NULL;
         chunk = chunk->next) {
        bool lent = tls->fed && chunk == tls->in_head; /* counted already */

        bytes += lent ? 0 : chunk->len;
    }
    rsl_conn_tls_unlock(conn, locked);
    return bytes;
}
