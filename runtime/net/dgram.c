/* SPDX-License-Identifier: Apache-2.0 */
#include "net/dgram_impl.h"

#include <assert.h>
#include <stdlib.h>

#include "core/runtime_impl.h"
#include "io/dgram_ops.h"

rsl_status
rsl_dgram_open(rsl_runtime *rt, int fd, void *owner, rsl_dgram **out)
{
    rsl_dgram *dgram;
    rsl_status status;

    if (rsl_runtime_is_forked(rt)) {
        return RSL_FORKED;
    }
    if (rt->closed) {
        return RSL_CLOSED;
    }
    dgram = calloc(1, sizeof *dgram);
    if (dgram == NULL) {
        return RSL_NOMEM;
    }
    dgram->rt = rt;
    dgram->owner = owner;
    dgram->fd = fd;
    rsl_list_init(&dgram->io_link);
    status = rsl_id_table_add(&rt->dgrams, dgram, &dgram->id);
    if (status != RSL_OK) {
        free(dgram);
        return status;
    }
    *out = dgram;
    return RSL_OK;
}

uint64_t
rsl_dgram_id(const rsl_dgram *dgram)
{
    return dgram->id;
}

void *
rsl_dgram_owner(const rsl_dgram *dgram)
{
    return dgram->owner;
}

rsl_dgram *
rsl_dgram_find(rsl_runtime *rt, uint64_t id)
{
    return rsl_id_table_find(&rt->dgrams, id);
}

rsl_status
rsl_dgram_want(rsl_dgram *dgram, unsigned mask, rsl_err *err)
{
    rsl_backend *backend = dgram->rt->backend;
    unsigned before = dgram->wants;
    rsl_status status;

    if (rsl_runtime_is_forked(dgram->rt)) {
        return RSL_FORKED;
    }
    dgram->wants = mask;
    status = backend->ops->dgram_update(backend, dgram, err);
    if (status != RSL_OK) {
        dgram->wants = before;
    }
    return status;
}

rsl_status
rsl_dgram_recv(rsl_dgram *dgram, rsl_datagram *message, rsl_err *err)
{
    rsl_stats *stats = &dgram->rt->stats;
    rsl_status status = rsl_sock_recvfrom(dgram->fd, message, err);

    if (status == RSL_OK) {
        rsl_stats_read(stats, message->len);
    } else {
        rsl_stats_read_nothing(stats);
    }
    return status;
}

rsl_status
rsl_dgram_send(rsl_dgram *dgram, const void *data, size_t len,
               const rsl_addr *to, rsl_err *err)
{
    rsl_stats *stats = &dgram->rt->stats;
    rsl_status status;

    rsl_spin_speak(&dgram->rt->spin);
    status = rsl_sock_sendto(dgram->fd, data, len, to, err);
    if (status == RSL_OK) {
        rsl_stats_wrote(stats, len);
    } else {
        rsl_stats_wrote_nothing(stats);
    }
    return status;
}

void
rsl_dgram_close(rsl_dgram *dgram)
{
    rsl_runtime *rt = dgram->rt;

    dgram->wants = 0;
    if (!rsl_runtime_is_forked(rt)) {
        rt->backend->ops->dgram_remove(rt->backend, dgram);
        assert(!rsl_list_is_linked(&dgram->io_link));
    }
    rsl_id_table_remove(&rt->dgrams, dgram->id);
    free(dgram);
}
