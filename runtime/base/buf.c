/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <stdlib.h>

typedef struct heap_chunk {
    rsl_msg msg;
    rsl_chunk chunk;
    uint8_t bytes[];
} heap_chunk;

static heap_chunk *
heap_chunk_of(rsl_chunk *chunk)
{
    return (heap_chunk *)(void *)((char *)chunk - offsetof(heap_chunk, chunk));
}

static void
heap_chunk_discard(rsl_msg *msg)
{
    free((char *)msg - offsetof(heap_chunk, msg));
}

rsl_chunk *
rsl_chunk_new(size_t size)
{
    heap_chunk *block;

    if (size > SIZE_MAX - sizeof *block) {
        return NULL;
    }
    block = malloc(sizeof *block + size);
    if (block == NULL) {
        return NULL;
    }
    block->msg = (rsl_msg){.discard = heap_chunk_discard};
    block->chunk = (rsl_chunk){.data = block->bytes, .origin = RSL_CHUNK_HEAP};
    return &block->chunk;
}

uint8_t *
rsl_chunk_room(rsl_chunk *chunk)
{
    return heap_chunk_of(chunk)->bytes;
}

void
rsl_chunk_free(rsl_chunk *chunk)
{
    free(heap_chunk_of(chunk));
}

rsl_msg *
rsl_chunk_msg(rsl_chunk *chunk)
{
    return &heap_chunk_of(chunk)->msg;
}
