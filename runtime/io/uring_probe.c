/* SPDX-License-Identifier: Apache-2.0 */
/* uring_probe.c - whether this kernel, in this sandbox, has the ring we need.
 *
 * Features are tried, not derived from a version: a sandbox may refuse any of
 * the calls. The version only rules out kernels whose multishot receive is
 * known to be broken. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "io/uring.h"

enum { PROBE_BUFS = 2, PROBE_BUF_SIZE = 2048, PROBE_BYTES = 8192 };

static struct {
    pthread_once_t once;
    rsl_status status;
    rsl_err err;
    uint32_t features;
} probe_result = {.once = PTHREAD_ONCE_INIT};

static const uint8_t probe_ops[] = {
    IORING_OP_RECV,   IORING_OP_SEND,         IORING_OP_SENDMSG,
    IORING_OP_ACCEPT, IORING_OP_ASYNC_CANCEL, IORING_OP_POLL_ADD,
    IORING_OP_NOP,
};

/* 6.1 is the first with DEFER_TASKRUN. 6.1.7 and 6.1.8, and 6.2 before its
 * release, answer ENOBUFS to multishot receives in storms (liburing issue
 * 778). */
static bool
probe_kernel_is_good(void)
{
    struct utsname name;
    unsigned major = 0, minor = 0, patch = 0;

    if (uname(&name) < 0
        || sscanf(name.release, "%u.%u.%u", &major, &minor, &patch) < 2) {
        return true; /* an odd name proves nothing: the trial decides */
    }
    if (major < 6 || (major == 6 && minor < 1)) {
        return false;
    }
    if (major == 6 && minor == 1) {
        return patch != 7 && patch != 8;
    }
    return true;
}

static bool
probe_has_ops(struct io_uring *ring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool all = probe != NULL;

    for (size_t i = 0; all && i < sizeof probe_ops; i++) {
        all = io_uring_opcode_supported(probe, probe_ops[i]) != 0;
    }
    io_uring_free_probe(probe);
    return all;
}

/* Receive "ping" by multishot from `fd` into the first of two buffers. */
static bool
probe_receive(struct io_uring *ring, int fd, const uint8_t *buffers)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    struct __kernel_timespec second = {.tv_sec = 1};
    struct io_uring_cqe *cqe;

    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = URING_BUF_GROUP;
    if (io_uring_submit_and_wait_timeout(ring, &cqe, 1, &second, NULL) < 0
        || io_uring_peek_cqe(ring, &cqe) < 0) {
        return false;
    }
    return cqe->res == 4 && (cqe->flags & IORING_CQE_F_MORE) != 0
           && (cqe->flags & IORING_CQE_F_BUFFER) != 0
           && (cqe->flags >> IORING_CQE_BUFFER_SHIFT) < PROBE_BUFS
           && memcmp(buffers
                         + (cqe->flags >> IORING_CQE_BUFFER_SHIFT)
                               * PROBE_BUF_SIZE,
                     "ping", 4)
                  == 0;
}

static bool
probe_multishot(struct io_uring *ring)
{
    struct io_uring_buf_reg reg = {.ring_entries = PROBE_BUFS,
                                   .bgid = URING_BUF_GROUP};
    struct io_uring_buf_ring *bufs;
    bool works = false;
    int pair[2];
    uint8_t *memory = mmap(NULL, PROBE_BYTES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        return false;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        goto done;
    }
    bufs = (void *)(memory + PROBE_BUFS * PROBE_BUF_SIZE);
    io_uring_buf_ring_init(bufs);
    for (unsigned short i = 0; i < PROBE_BUFS; i++) {
        io_uring_buf_ring_add(bufs, memory + i * PROBE_BUF_SIZE, PROBE_BUF_SIZE,
                              i, io_uring_buf_ring_mask(PROBE_BUFS), i);
    }
    io_uring_buf_ring_advance(bufs, PROBE_BUFS);
    reg.ring_addr = (uint64_t)(uintptr_t)bufs;
    works = io_uring_register_buf_ring(ring, &reg, 0) == 0
            && send(pair[1], "ping", 4, MSG_NOSIGNAL) == 4
            && probe_receive(ring, pair[0], memory);
    close(pair[0]);
    close(pair[1]);
done:
    /* The kernel has pinned what it needs of it. */
    munmap(memory, PROBE_BYTES);
    return works;
}

static void
probe_run(void)
{
    const uint32_t needed = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG
                            | IORING_FEAT_FAST_POLL | IORING_FEAT_CQE_SKIP;
    struct io_uring_params params = uring_params;
    struct io_uring ring;
    int result;

    probe_result.status = RSL_UNSUPPORTED;
    probe_result.err.call = "io_uring_setup";
    params.cq_entries = 16;
    result = io_uring_queue_init_params(8, &ring, &params);
    if (result < 0) {
        /* EINVAL: a kernel that does not know the flags. */
        probe_result.err.code = result == -EINVAL ? 0 : -result;
        return;
    }
    probe_result.features = params.features;
    if ((params.features & needed) == needed && probe_kernel_is_good()
        && probe_has_ops(&ring) && probe_multishot(&ring)) {
        probe_result.status = RSL_OK;
    }
    io_uring_queue_exit(&ring);
}

rsl_status
uring_probe(uint32_t *features, rsl_err *err)
{
    int result = pthread_once(&probe_result.once, probe_run);

    (void)result; /* only an invalid control fails */
    *features = probe_result.features;
    *err = probe_result.err;
    return probe_result.status;
}
