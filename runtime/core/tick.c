/* SPDX-License-Identifier: Apache-2.0 */
#include "core/tick.h"

#include <rsl/prof.h>

#include "core/post.h"
#include "core/runtime_impl.h"
#include "net/conn_impl.h"

typedef struct steal_sink {
    rsl_sink base;
    rsl_runtime *rt;
} steal_sink;

bool
rsl_steal_allowed(const rsl_conn *conn)
{
    const rsl_runtime *rt = conn->rt;
    size_t max = atomic_load(&rt->pending_max);

    return !atomic_load(&rt->stopping) && atomic_load(&conn->stolen_bytes) < max
           && atomic_load(&rt->stolen_bytes_queued) / RSL_LOOP_PENDING_FACTOR
                  < max;
}

void
rsl_runtime_set_pending_max(rsl_runtime *rt, size_t bytes)
{
    atomic_store(&rt->pending_max, bytes);
}

static void
steal_sink_emit(rsl_sink *sink, rsl_event event)
{
    rsl_runtime *rt = ((steal_sink *)sink)->rt;

    if (rsl_event_post(rt, event) != RSL_OK) {
        /* The end of a stream, and no memory to tell: whoever reads the socket
         * next meets it again. The loop thread may have closed meanwhile. */
        rsl_conn *conn = rsl_id_table_find(&rt->conns, rsl_tag_id(event.tag));
        unsigned char done = RSL_CONN_READ_DONE;

        if (conn != NULL) {
            (void)atomic_compare_exchange_strong(&conn->state, &done,
                                                 RSL_CONN_READING);
        }
    }
}

static bool
loop_is_saturated(const rsl_runtime *rt)
{
    int64_t busy_since_ns = atomic_load(&rt->busy_since_ns);

    return busy_since_ns != 0
           && rsl_clock_now_ns() - busy_since_ns >= RSL_BUSY_STEAL_NS;
}

size_t
rsl_tick(rsl_runtime *rt, bool always)
{
    steal_sink sink = {.base.emit = steal_sink_emit, .rt = rt};
    int64_t start_ns;
    size_t taken;

    if (!always && !loop_is_saturated(rt)) {
        return 0;
    }
    if (!rsl_token_try_take(&rt->token, RSL_TOKEN_RUNTIME)) {
        return 0;
    }
    atomic_fetch_add(&rt->syscalls_runtime, 1); /* its look for what to read */
    start_ns = rsl_prof_begin();
    taken = rt->backend->ops->steal(rt->backend, RSL_STEAL_BUDGET, &sink.base);
    rsl_prof_end(RSL_PROF_STEAL, start_ns, taken);
    rsl_token_release(&rt->token, RSL_TOKEN_RUNTIME);
    /* If the loop thread fell asleep while it could not have the token, then
     * nobody polls from here on: it has to. */
    rsl_mailbox_wake(&rt->mailbox);
    if (taken > 0) {
        atomic_fetch_add(&rt->takeovers, 1);
        atomic_fetch_add(&rt->stolen_bytes, taken);
    }
    return taken;
}
