/* SPDX-License-Identifier: Apache-2.0 */
#include "net/listener_impl.h"

#include <assert.h>
#include <stdlib.h>

#include "core/runtime_impl.h"

rsl_status
rsl_listener_open(rsl_runtime *rt, int fd, void *owner, rsl_listener **out,
                  rsl_err *err)
{
    rsl_listener *listener;
    rsl_status status;

    if (rsl_runtime_is_forked(rt)) {
        return RSL_FORKED;
    }
    if (rt->closed) {
        return RSL_CLOSED;
    }
    listener = calloc(1, sizeof *listener);
    if (listener == NULL) {
        return RSL_NOMEM;
    }
    listener->rt = rt;
    listener->owner = owner;
    listener->fd = fd;
    rsl_list_init(&listener->io_link);
    status = rsl_id_table_add(&rt->listeners, listener, &listener->id);
    if (status != RSL_OK) {
        goto fail_free;
    }
    status = rsl_listener_resume(listener, err);
    if (status != RSL_OK) {
        goto fail_id;
    }
    *out = listener;
    return RSL_OK;

fail_id:
    rsl_id_table_remove(&rt->listeners, listener->id);
fail_free:
    free(listener);
    return status;
}

uint64_t
rsl_listener_id(const rsl_listener *listener)
{
    return listener->id;
}

void *
rsl_listener_owner(const rsl_listener *listener)
{
    return listener->owner;
}

rsl_listener *
rsl_listener_find(rsl_runtime *rt, uint64_t id)
{
    return rsl_id_table_find(&rt->listeners, id);
}

rsl_status
rsl_listener_accept(rsl_listener *listener, int *out, rsl_addr *peer,
                    rsl_err *err)
{
    rsl_backend *backend = listener->rt->backend;
    rsl_status status;

    if (rsl_runtime_is_forked(listener->rt)) {
        return RSL_FORKED;
    }
    rsl_stat_add(&listener->rt->stats, RSL_STAT_SYSCALLS_ACCEPT, 1);
    status = backend->ops->accept(backend, listener, out, peer, err);
    if (status == RSL_OK) {
        rsl_stat_add(&listener->rt->stats, RSL_STAT_ACCEPTED, 1);
    }
    return status;
}

void
rsl_listener_pause(rsl_listener *listener)
{
    rsl_backend *backend = listener->rt->backend;

    if (listener->state == RSL_LISTENER_PAUSED) {
        return;
    }
    listener->state = RSL_LISTENER_PAUSED;
    if (!rsl_runtime_is_forked(listener->rt)) {
        backend->ops->listener_remove(backend, listener);
    }
}

rsl_status
rsl_listener_resume(rsl_listener *listener, rsl_err *err)
{
    rsl_backend *backend = listener->rt->backend;
    rsl_status status;

    if (rsl_runtime_is_forked(listener->rt)) {
        return RSL_FORKED;
    }
    if (listener->state == RSL_LISTENER_ACCEPTING) {
        return RSL_OK;
    }
    listener->state = RSL_LISTENER_ACCEPTING;
    status = backend->ops->listener_add(backend, listener, err);
    if (status != RSL_OK) {
        listener->state = RSL_LISTENER_PAUSED;
    }
    return status;
}

void
rsl_listener_close(rsl_listener *listener)
{
    rsl_runtime *rt = listener->rt;

    listener->state = RSL_LISTENER_PAUSED;
    if (!rsl_runtime_is_forked(rt)) {
        rt->backend->ops->listener_remove(rt->backend, listener);
        assert(!rsl_list_is_linked(&listener->io_link));
    }
    rsl_id_table_remove(&rt->listeners, listener->id);
    free(listener);
}
