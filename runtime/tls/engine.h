/* SPDX-License-Identifier: Apache-2.0 */
/* engine.h - what an engine is made of, for this room.
 *
 * Role:    the functions that differ from library to library, and the struct
 *          that every engine begins with. engine.c answers <rsl/tls.h> by them
 *          and alone moves the state.
 * Thread:  as <rsl/tls.h>.
 * Memory:  as <rsl/tls.h>. */
#ifndef RSL_TLS_ENGINE_H
#define RSL_TLS_ENGINE_H

#include <rsl/tls.h>

#include "tls/buffers.h"

/* An operation that answers RSL_TLS_ERROR has filled tls->error. None of them
 * looks at tls->state: they are called only where they make sense. */
typedef struct rsl_tls_ops {
    const char *name;

    /* DONE, WANT_READ, NEED_SNI, ERROR. */
    rsl_tls_status (*handshake)(rsl_tls *tls);

    /* Plaintext of one record or less: DONE with *out > 0, WANT_READ, EOF,
     * ERROR. */
    rsl_tls_status (*read)(rsl_tls *tls, void *buf, size_t cap, size_t *out);

    /* One record with `len` bytes, at most record_max(): DONE when all are
     * taken; else WANT_READ or ERROR, and none is. */
    rsl_tls_status (*write)(rsl_tls *tls, const uint8_t *data, size_t len);
    size_t (*record_max)(rsl_tls *tls);

    rsl_tls_status (*close_notify)(rsl_tls *tls);

    /* Decrypted bytes, or a record that has been read in, wait inside. */
    bool (*has_pending)(const rsl_tls *tls);

    void (*get_info)(rsl_tls *tls, rsl_tls_info *out);
    rsl_status (*peer_chain)(rsl_tls *tls, rsl_tls_each_der each, void *arg);
    rsl_status (*tls_unique)(rsl_tls *tls, uint8_t *buf, size_t *out);
    rsl_status (*export)(rsl_tls *tls, const char *label, uint8_t *buf,
                         size_t len);
    rsl_status (*get_session)(rsl_tls *tls, uint8_t **out, size_t *len);
    rsl_status (*set_session)(rsl_tls *tls, const uint8_t *data, size_t len);

    void (*free)(rsl_tls *tls); /* with the struct itself */
} rsl_tls_ops;

struct rsl_tls {
    const rsl_tls_ops *ops; /* [K] */
    rsl_tls_input input;
    rsl_tls_output_queue output;
    rsl_tls_error error;
    void *owner; /* rsl_tls_set_owner() */
    rsl_tls_session_sink sink;
    void *sink_arg;
    uint8_t state; /* rsl_tls_state */
};

/* Make the zeroed `tls` an engine of these operations. */
void rsl_tls_init(rsl_tls *tls, const rsl_tls_ops *ops);

/* Note an error whose texts are literals: RSL_TLS_ERROR. What the engine knows
 * of alerts is kept. */
rsl_tls_status
rsl_tls_fail(rsl_tls *tls, rsl_tls_error_kind kind, const char *text);

#endif
