/* SPDX-License-Identifier: Apache-2.0 */
/* buffers.h - ciphertext on its way into an engine and out of it.
 *
 * Role:    input is what was kept of earlier feeds and then a slice that is
 *          lent; output is a list of blocks that do not move.
 * Thread:  the engine's.
 * Memory:  neither holds any while it is empty. */
#ifndef RSL_TLS_BUFFERS_H
#define RSL_TLS_BUFFERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <rsl/status.h>

typedef struct rsl_tls_input {
    uint8_t *kept; /* owned; bytes from kept_start on, kept_len of them */
    size_t kept_start, kept_len, kept_cap;
    const uint8_t *lent;
    size_t lent_len;
    bool ended; /* nothing follows */
} rsl_tls_input;

typedef struct rsl_tls_block rsl_tls_block;

typedef struct rsl_tls_output_queue {
    rsl_tls_block *head, *tail;
    size_t bytes;
} rsl_tls_output_queue;

size_t rsl_tls_input_size(const rsl_tls_input *input);

/* Move at most `cap` bytes to `buf`; how many. */
size_t rsl_tls_input_take(rsl_tls_input *input, void *buf, size_t cap);

/* Copy what is lent behind what is kept. */
rsl_status rsl_tls_input_keep(rsl_tls_input *input);

void rsl_tls_input_fini(rsl_tls_input *input);

/* Append all of `data`; on RSL_NOMEM nothing. */
rsl_status
rsl_tls_output_add(rsl_tls_output_queue *queue, const void *data, size_t len);

unsigned rsl_tls_output_gather(const rsl_tls_output_queue *queue,
                               struct iovec *iov, unsigned max);

void rsl_tls_output_drop(rsl_tls_output_queue *queue, size_t sent);

#endif
