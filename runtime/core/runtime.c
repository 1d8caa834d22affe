/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>

#include <rsl/dgram.h>
#include <rsl/listener.h>
#include <rsl/reactor.h>
#include <rsl/resolver.h>

#include "core/fork.h"
#include "core/post.h"
#include "core/reactor.h"
#include "core/runtime_impl.h"
#include "core/thread.h"
#include "net/conn_impl.h"
#include "sight/metrics.h"
#include "sight/registry.h"

static void
runtime_init(rsl_runtime *rt, const rsl_config *config)
{
    rt->hooks = config->hooks;
    rt->takeover = config->takeover;
    rt->spin.looks.limit_ns = config->spin_ns;
    rt->fork_generation = rsl_fork_generation();
    rsl_token_init(&rt->token);
    rsl_id_table_init(&rt->conns);
    rsl_id_table_init(&rt->listeners);
    rsl_id_table_init(&rt->dgrams);
    rsl_list_init(&rt->dirty);
    rsl_list_init(&rt->closing);
    rsl_rwatches_init(&rt->rwatches);
    rsl_list_init(&rt->metrics);
    rt->post_sink.emit = rsl_post_sink_emit;
    rt->flush_sink = &rt->post_sink;
    atomic_init(&rt->busy_since_ns, 0);
    atomic_init(&rt->woken, false);
    atomic_init(&rt->stopping, false);
    atomic_init(&rt->sticky, false);
    atomic_init(&rt->stolen_bytes_queued, 0);
    atomic_init(&rt->pending_max, RSL_CONN_PENDING_MAX);
    atomic_init(&rt->runtime_tid, 0);
    atomic_init(&rt->syscalls_runtime, 0);
    atomic_init(&rt->stats.slow_turn_ns, RSL_SLOW_TURN_NS);
    rt->lag.window = 1;
    atomic_init(&rt->takeovers, 0);
    atomic_init(&rt->stolen_bytes, 0);
}

rsl_status
rsl_runtime_new_on(const rsl_config *config, rsl_backend_open_fn open_backend,
                   rsl_runtime **out, rsl_err *err)
{
    rsl_runtime *rt;
    rsl_status status = rsl_fork_watch(err);

    if (status != RSL_OK) {
        return status;
    }
    rt = calloc(1, sizeof *rt);
    if (rt == NULL) {
        return RSL_NOMEM;
    }
    runtime_init(rt, config);
    status = rsl_mailbox_init(&rt->mailbox, err);
    if (status != RSL_OK) {
        goto fail_free;
    }
    status = open_backend(rt, config->backend, &rt->backend, &rt->reason,
                          &rt->reason_errno, err);
    if (status != RSL_OK) {
        goto fail_mailbox;
    }
    rt->backend_name = rt->backend->ops->name;
    rt->ring_features = rsl_uring_features(rt->backend);
    rsl_registry_add(rt);
    *out = rt;
    return RSL_OK;

fail_mailbox:
    rsl_mailbox_fini(&rt->mailbox);
fail_free:
    free(rt);
    return status;
}

rsl_status
rsl_runtime_new(const rsl_config *config, rsl_runtime **out, rsl_err *err)
{
    return rsl_runtime_new_on(config, rsl_backend_open, out, err);
}

/* The runtime thread is parked or gone, so the token is free; in a forked
 * child it may be held by a thread that does not exist here. */
static void
runtime_take_token(rsl_runtime *rt)
{
    bool taken;

    if (rsl_runtime_is_forked(rt)) {
        rsl_token_init(&rt->token);
    }
    taken = rsl_token_try_take(&rt->token, RSL_TOKEN_LOOP);
    assert(taken);
    (void)taken; /* only assert() reads it */
    rt->has_token = true;
}

static void
runtime_give_token(rsl_runtime *rt)
{
    rt->has_token = false;
    rsl_token_release(&rt->token, RSL_TOKEN_LOOP);
}

static void
runtime_close_all(rsl_runtime *rt)
{
    for (uint32_t i = 0; i < rt->listeners.cap; i++) {
        rsl_listener *listener = rsl_id_table_at(&rt->listeners, i);

        if (listener != NULL) {
            rsl_listener_close(listener);
        }
    }
    for (uint32_t i = 0; i < rt->dgrams.cap; i++) {
        rsl_dgram *dgram = rsl_id_table_at(&rt->dgrams, i);

        if (dgram != NULL) {
            rsl_dgram_close(dgram);
        }
    }
    rsl_conn_close_pending(rt);
    for (uint32_t i = 0; i < rt->conns.cap; i++) {
        rsl_conn *conn = rsl_id_table_at(&rt->conns, i);

        if (conn != NULL) {
            rsl_conn_close(conn);
        }
    }
}

void
rsl_runtime_close(rsl_runtime *rt)
{
    bool forked = rsl_runtime_is_forked(rt);

    if (rt->closed) {
        return;
    }
    assert(forked || !rt->in_run);
    rt->closed = true;
    if (rt->thread != NULL) {
        rsl_thread_free(rt->thread, forked);
        rt->thread = NULL;
    }
    rsl_rwatches_fini(&rt->rwatches, forked);
    rsl_registry_hide(rt);
    rsl_metrics_fini(rt);
    if (rt->reactor != NULL) {
        rsl_reactor_free(rt->reactor, forked);
        rt->reactor = NULL;
    }
    runtime_take_token(rt);
    runtime_close_all(rt);
    rsl_resolver_fini(rt);
    rsl_jobs_fini(rt, &rt->handshakes);
    rt->backend->ops->close(rt->backend);
    rt->backend = NULL;
    if (forked) { /* those who were writing are not in this process */
        atomic_store(&rt->mailbox.wakers, 0);
    }
    rsl_mailbox_shut(&rt->mailbox);
}

void
rsl_runtime_free(rsl_runtime *rt)
{
    rsl_runtime_close(rt);
    rsl_registry_remove(rt);
    rsl_mailbox_fini(&rt->mailbox);
    rsl_id_table_fini(&rt->listeners);
    rsl_id_table_fini(&rt->dgrams);
    rsl_id_table_fini(&rt->conns);
    free(rt->tls_scratch);
    while (rt->spare_count > 0) {
        free(rt->spare_writes[--rt->spare_count]);
    }
    free(rt);
}

rsl_status
rsl_runtime_reactor(rsl_runtime *rt, rsl_reactor **out, rsl_err *err)
{
    rsl_status status = RSL_OK;

    if (rsl_runtime_is_forked(rt) || rt->closed) {
        return rt->closed ? RSL_CLOSED : RSL_FORKED;
    }
    if (rt->reactor == NULL) {
        status = rsl_reactor_new(rt, &rt->reactor, err);
    }
    *out = rt->reactor;
    return status;
}

rsl_status
rsl_runtime_enter(rsl_runtime *rt, rsl_err *err)
{
    rsl_status status;

    if (rsl_runtime_is_forked(rt)) {
        return RSL_FORKED;
    }
    assert(!rt->in_run);
    if (rt->thread == NULL && rt->takeover != RSL_TAKEOVER_NEVER) {
        status = rsl_thread_new(rt, &rt->thread, err);
        if (status != RSL_OK) {
            return status;
        }
    }
    /* Attaching arms reads, which only the holder of the token may. */
    runtime_take_token(rt);
    rsl_conn_close_pending(rt);
    status = rt->backend->ops->attach(rt->backend, err);
    runtime_give_token(rt);
    if (status != RSL_OK) {
        return status;
    }
    rt->in_run = true;
    rsl_stat_set(&rt->stats, RSL_STAT_RUNNING, 1);
    rsl_lag_wake(rt, rsl_clock_now_ns());
    if (rt->thread != NULL) {
        rsl_thread_allow(rt->thread);
        if (rt->takeover == RSL_TAKEOVER_ALWAYS) {
            rsl_thread_kick(rt->thread);
        }
    }
    return RSL_OK;
}

void
rsl_runtime_leave(rsl_runtime *rt)
{
    assert(rt->in_run);
    if (rsl_runtime_is_forked(rt)) {
        rt->in_run = false;
        return;
    }
    if (rt->has_token) { /* the caller failed between acquire and release */
        runtime_give_token(rt);
    }
    rsl_runtime_flush(rt, &rt->post_sink);
    if (rt->thread != NULL) {
        rsl_thread_park(rt->thread);
    }
    runtime_take_token(rt);
    rsl_conn_close_pending(rt);
    rt->backend->ops->detach(rt->backend);
    runtime_give_token(rt);
    atomic_store(&rt->busy_since_ns, 0);
    rsl_lag_rest(rt, rsl_clock_now_ns());
    rsl_stat_set(&rt->stats, RSL_STAT_RUNNING, 0);
    rt->in_run = false;
}

void
rsl_runtime_info(const rsl_runtime *rt, rsl_info *out)
{
    *out = (rsl_info){
        .backend = rt->backend_name,
        .reason = rt->reason,
        .reason_errno = rt->reason_errno,
        .ring_features = rt->ring_features,
        .runtime_tid = atomic_load(&rt->runtime_tid),
        .polls = rsl_stat_get(&rt->stats, RSL_STAT_POLLS),
        .takeovers = atomic_load(&rt->takeovers),
        .stolen_bytes = atomic_load(&rt->stolen_bytes),
        .conns = atomic_load(&rt->conns.count),
    };
}

void
rsl_backend_probe(rsl_backend_kind wanted, rsl_info *out)
{
    rsl_config config = {.backend = wanted};
    rsl_runtime *rt;
    rsl_err err = {0};
    rsl_status status = rsl_runtime_new(&config, &rt, &err);

    if (status != RSL_OK) {
        *out = (rsl_info){.backend = "none",
                          .reason = rsl_status_name(status),
                          .reason_errno = err.code};
        return;
    }
    rsl_runtime_info(rt, out);
    rsl_runtime_free(rt);
}
