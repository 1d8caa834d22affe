/* SPDX-License-Identifier: Apache-2.0 */
/* buf.h - heap chunks: received bytes that own their memory.
 *
 * Role:    one allocation carries the bytes, their rsl_chunk and the mailbox
 *          node that takes them to the loop thread.
 * Thread:  made on either thread, freed on the loop thread.
 * Memory:  the caller of rsl_chunk_new() owns the chunk. */
#ifndef RSL_BASE_BUF_H
#define RSL_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include <rsl/event.h>
#include <rsl/mailbox.h>

/* An RSL_CHUNK_HEAP chunk whose `data` is `size` writable bytes and whose `len`
 * is 0, or NULL. The memory behind `data` is not initialized. */
rsl_chunk *rsl_chunk_new(size_t size);

/* Where to receive into: chunk->data of a heap chunk, writable. */
uint8_t *rsl_chunk_room(rsl_chunk *chunk);

/* Free one heap chunk, not its chain. */
void rsl_chunk_free(rsl_chunk *chunk);

/* The node that lives in the heap chunk's block. It needs no freeing: whoever
 * takes it from the mailbox owns the chunk again. msg->discard frees it. */
rsl_msg *rsl_chunk_msg(rsl_chunk *chunk);

#endif
