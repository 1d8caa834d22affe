/* SPDX-License-Identifier: Apache-2.0 */
#include "tls/buffers.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Small records share a block of so many bytes. */
enum { BLOCK_MIN = 4064 };

struct rsl_tls_block {
    rsl_tls_block *next;
    size_t start, end, cap;
    uint8_t bytes[];
};

/* --- Input --- */

size_t
rsl_tls_input_size(const rsl_tls_input *input)
{
    return input->kept_len + input->lent_len;
}

static void
input_release(rsl_tls_input *input)
{
    free(input->kept);
    input->kept = NULL;
    input->kept_start = input->kept_len = input->kept_cap = 0;
}

size_t
rsl_tls_input_take(rsl_tls_input *input, void *buf, size_t cap)
{
    size_t old = cap < input->kept_len ? cap : input->kept_len;
    size_t fresh = cap - old;

    fresh = fresh < input->lent_len ? fresh : input->lent_len;
    if (old > 0) {
        memcpy(buf, input->kept + input->kept_start, old);
        input->kept_start += old;
        input->kept_len -= old;
        if (input->kept_len == 0) {
            input_release(input);
        }
    }
    if (fresh > 0) {
        memcpy((uint8_t *)buf + old, input->lent, fresh);
        input->lent += fresh;
        input->lent_len -= fresh;
    }
    return old + fresh;
}

/* Room for `more` bytes behind those that are kept. Doubles, so that a peer
 * who sends single bytes costs no square. */
static rsl_status
input_reserve(rsl_tls_input *input, size_t more)
{
    size_t needed = input->kept_len + more;
    size_t cap = input->kept_cap * 2;
    uint8_t *kept;

    if (input->kept_start + needed <= input->kept_cap) {
        return RSL_OK;
    }
    cap = cap < needed ? needed : cap;
    kept = malloc(cap);
    if (kept == NULL) {
        return RSL_NOMEM;
    }
    if (input->kept_len > 0) {
        memcpy(kept, input->kept + input->kept_start, input->kept_len);
    }
    free(input->kept);
    input->kept = kept;
    input->kept_start = 0;
    input->kept_cap = cap;
    return RSL_OK;
}

rsl_status
rsl_tls_input_keep(rsl_tls_input *input)
{
    rsl_status status = RSL_OK;

    if (input->lent_len > 0) {
        status = input_reserve(input, input->lent_len);
        if (status == RSL_OK) {
            memcpy(input->kept + input->kept_start + input->kept_len,
                   input->lent, input->lent_len);
            input->kept_len += input->lent_len;
        }
    }
    input->lent = NULL;
    input->lent_len = 0;
    return status;
}

void
rsl_tls_input_fini(rsl_tls_input *input)
{
    input_release(input);
}

/* --- Output --- */

rsl_status
rsl_tls_output_add(rsl_tls_output_queue *queue, const void *data, size_t len)
{
    rsl_tls_block *tail = queue->tail;
    size_t room = tail == NULL ? 0 : tail->cap - tail->end;
    size_t here = len < room ? len : room;
    size_t rest = len - here;

    if (rest > 0) {
        size_t cap = rest < BLOCK_MIN ? BLOCK_MIN : rest;
        rsl_tls_block *block = malloc(sizeof *block + cap);

        if (block == NULL) {
            return RSL_NOMEM;
        }
        block->next = NULL;
        block->start = 0;
        block->end = rest;
        block->cap = cap;
        memcpy(block->bytes, (const uint8_t *)data + here, rest);
        if (tail == NULL) {
            queue->head = block;
        } else {
            tail->next = block;
        }
        queue->tail = block;
    }
    if (here > 0) {
        memcpy(tail->bytes + tail->end, data, here);
        tail->end += here;
    }
    queue->bytes += len;
    return RSL_OK;
}

unsigned
rsl_tls_output_gather(const rsl_tls_output_queue *queue, struct iovec *iov,
                      unsigned max)
{
    unsigned count = 0;

    for (rsl_tls_block *block = queue->head; block != NULL && count < max;
         block = block->next) {
        iov[count].iov_base = block->bytes + block->start;
        iov[count].iov_len = block->end - block->start;
        count++;
    }
    return count;
}

void
rsl_tls_output_drop(rsl_tls_output_queue *queue, size_t sent)
{
    assert(sent <= queue->bytes);
    queue->bytes -= sent;
    while (sent > 0) {
        rsl_tls_block *block = queue->head;
        size_t len = block->end - block->start;

        if (sent < len) {
            block->start += sent;
            return;
        }
        sent -= len;
        queue->head = block->next;
        if (queue->head == NULL) {
            queue->tail = NULL;
        }
        free(block);
    }
}
