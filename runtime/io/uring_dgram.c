/* SPDX-License-Identifier: Apache-2.0 */
/* uring_dgram.c - readiness of datagram sockets by the ring.
 *
 * Polls are of one shot and armed again by the next wait: what the owner leaves
 * in the socket is reported again, and what arrives while the owner empties it
 * completes nothing. */
#include <poll.h>

#include "io/uring.h"

void
uring_want_dgram(uring_backend *backend, rsl_dgram *dgram)
{
    if (!rsl_list_is_linked(&dgram->io_link)) {
        rsl_list_push(&backend->arm_dgrams, &dgram->io_link);
    }
}

static bool
arm_side(uring_backend *backend, rsl_dgram *dgram, unsigned mask)
{
    bool reads = mask == RSL_WATCH_READ;
    uint32_t flag = reads ? URING_ARMED : URING_POLLOUT_ARMED;
    uring_op op = reads ? URING_OP_DGRAM_IN : URING_OP_DGRAM_OUT;

    if ((dgram->wants & mask) == 0 || (dgram->io_flags & flag) != 0) {
        return true;
    }
    if (!uring_arm_poll(backend, dgram->fd, reads ? POLLIN : POLLOUT,
                        uring_data(op, dgram->id))) {
        return false;
    }
    dgram->io_flags |= flag;
    return true;
}

bool
uring_arm_dgrams(uring_backend *backend)
{
    bool all = true;
    rsl_list todo;

    rsl_list_init(&todo);
    rsl_list_splice(&todo, &backend->arm_dgrams);
    while (!rsl_list_is_empty(&todo)) {
        rsl_dgram *dgram = RSL_LIST_ENTRY(todo.next, rsl_dgram, io_link);

        rsl_list_remove(&dgram->io_link);
        if (!arm_side(backend, dgram, RSL_WATCH_READ)
            || !arm_side(backend, dgram, RSL_WATCH_WRITE)) {
            uring_want_dgram(backend, dgram);
            all = false;
        }
    }
    return all;
}

void
uring_dgram_polled(uring_backend *backend, uint64_t id, unsigned mask,
                   rsl_sink *sink)
{
    rsl_dgram *dgram = rsl_dgram_find(backend->base.rt, id);

    if (dgram == NULL) {
        return;
    }
    dgram->io_flags &=
        ~(uint32_t)(mask == RSL_WATCH_READ ? URING_ARMED : URING_POLLOUT_ARMED);
    if ((dgram->wants & mask) != 0) {
        uring_want_dgram(backend, dgram);
        rsl_spin_hear(&backend->base.rt->spin, id);
        sink->emit(sink, (rsl_event){.tag = rsl_tag(RSL_EV_DGRAM, id),
                                     .u.arg = (intptr_t)mask});
    }
}

/* What is wanted no more stays armed: its completion is dropped. */
rsl_status
uring_dgram_update(rsl_backend *base, rsl_dgram *dgram, rsl_err *err)
{
    (void)err; /* an fd that cannot be polled completes at once */
    uring_want_dgram(uring_of(base), dgram);
    return RSL_OK;
}

void
uring_dgram_remove(rsl_backend *base, rsl_dgram *dgram)
{
    uint64_t armed[2];
    unsigned count = 0;

    rsl_list_remove(&dgram->io_link);
    if ((dgram->io_flags & URING_ARMED) != 0) {
        armed[count++] = uring_data(URING_OP_DGRAM_IN, dgram->id);
    }
    if ((dgram->io_flags & URING_POLLOUT_ARMED) != 0) {
        armed[count++] = uring_data(URING_OP_DGRAM_OUT, dgram->id);
    }
    dgram->io_flags = 0;
    if (count > 0) {
        uring_cancel_for_close(uring_of(base), armed, count);
    }
}
