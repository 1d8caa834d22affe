/* SPDX-License-Identifier: Apache-2.0 */
/* uring_bufs.c - the provided buffers that multishot recv fills.
 *
 * The ring's tail has one producer, the loop thread. Buffers outlive a ring:
 * those that are lent join the next one when they come back. */
#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#include "io/uring.h"

/* The buffers, then the entries of the ring that names them. */
enum {
    BUFS_BYTES = URING_BUFS * URING_BUF_SIZE,
    BUFS_RING_BYTES = URING_BUFS * (int)sizeof(struct io_uring_buf),
};

static void
bufs_add(uring_bufs *bufs, unsigned number)
{
    io_uring_buf_ring_add(bufs->ring, bufs->memory + number * URING_BUF_SIZE,
                          URING_BUF_SIZE, (unsigned short)number,
                          io_uring_buf_ring_mask(URING_BUFS), 0);
    io_uring_buf_ring_advance(bufs->ring, 1);
    bufs->in_kernel++;
}

rsl_status
uring_bufs_open(uring_backend *backend, rsl_err *err)
{
    uring_bufs *bufs = &backend->bufs;
    struct io_uring_buf_reg reg = {.ring_entries = URING_BUFS,
                                   .bgid = URING_BUF_GROUP};
    struct io_uring_buf_ring *ring;
    int result;

    if (bufs->memory == NULL) {
        void *memory =
            mmap(NULL, BUFS_BYTES + BUFS_RING_BYTES, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) {
            return RSL_NOMEM;
        }
        bufs->memory = memory;
    }
    ring = (void *)(bufs->memory + BUFS_BYTES);
    io_uring_buf_ring_init(ring);
    reg.ring_addr = (uint64_t)(uintptr_t)ring;
    result = io_uring_register_buf_ring(&backend->ring, &reg, 0);
    if (result < 0) {
        *err = (rsl_err){.code = -result, .call = "io_uring_register"};
        return RSL_OS;
    }
    bufs->ring = ring;
    bufs->in_kernel = 0;
    for (unsigned i = 0; i < URING_BUFS; i++) {
        if (!bufs->lent[i]) {
            bufs_add(bufs, i);
        }
    }
    return RSL_OK;
}

void
uring_bufs_detach(uring_backend *backend)
{
    backend->bufs.ring = NULL;
    backend->bufs.in_kernel = 0;
}

void
uring_bufs_free(uring_backend *backend)
{
    if (backend->bufs.memory != NULL) {
        munmap(backend->bufs.memory, BUFS_BYTES + BUFS_RING_BYTES);
        backend->bufs.memory = NULL;
    }
}

void
uring_bufs_take(uring_backend *backend, unsigned number)
{
    uring_bufs *bufs = &backend->bufs;

    assert(number < URING_BUFS && !bufs->lent[number]);
    bufs->lent[number] = true;
    rsl_stat_add(&backend->base.rt->stats, RSL_STAT_BUFFERS_LENT, 1);
    bufs->in_kernel--;
}

rsl_chunk *
uring_bufs_lend(uring_backend *backend, unsigned number, size_t len)
{
    uring_bufs *bufs = &backend->bufs;
    rsl_chunk *chunk = &bufs->chunks[number];

    assert(bufs->lent[number] && len <= URING_BUF_SIZE);
    *chunk = (rsl_chunk){
        .data = bufs->memory + number * URING_BUF_SIZE,
        .len = len,
        .origin = number,
    };
    return chunk;
}

void
uring_buffer_return(rsl_backend *base, uint32_t number)
{
    uring_bufs *bufs = &uring_of(base)->bufs;

    assert(number < URING_BUFS && bufs->lent[number]);
    bufs->lent[number] = false;
    rsl_stat_add(&base->rt->stats, RSL_STAT_BUFFERS_LENT, (uint64_t)-1);
    if (bufs->ring != NULL) {
        bufs_add(bufs, number);
    }
}
