/* SPDX-License-Identifier: Apache-2.0 */
#include "core/post.h"

#include <stdlib.h>

#include "base/buf.h"
#include "core/runtime_impl.h"
#include "net/conn_impl.h"

void
rsl_runtime_post(rsl_runtime *rt, rsl_msg *msg)
{
    rsl_mailbox_push(&rt->mailbox, msg);
}

bool
rsl_runtime_mailbox_is_empty(const rsl_runtime *rt)
{
    return rsl_mailbox_is_empty(&rt->mailbox);
}

void
rsl_runtime_wake(rsl_runtime *rt)
{
    atomic_store(&rt->woken, true);
    rsl_mailbox_wake(&rt->mailbox);
}

static void
small_node_discard(rsl_msg *msg)
{
    free(msg);
}

static rsl_msg *
small_node_new(void)
{
    rsl_msg *msg = malloc(sizeof *msg);

    if (msg != NULL) {
        msg->discard = small_node_discard;
    }
    return msg;
}

rsl_status
rsl_event_post(rsl_runtime *rt, rsl_event event)
{
    bool is_data = rsl_tag_kind(event.tag) == RSL_EV_DATA;
    rsl_chunk *chunk = is_data ? event.u.ptr : NULL;
    rsl_msg *msg;

    if (is_data && chunk->origin == RSL_CHUNK_HEAP) {
        msg = rsl_chunk_msg(chunk);
    } else {
        msg = small_node_new();
        if (msg == NULL) {
            return RSL_NOMEM;
        }
    }
    if (is_data) {
        /* Counted before the push: the loop thread, seeing no bytes here while
         * it holds the token, may read the socket itself. */
        rsl_conn *conn = rsl_id_table_find(&rt->conns, rsl_tag_id(event.tag));

        if (conn != NULL) {
            atomic_fetch_add(&conn->stolen_bytes, chunk->len);
        }
        atomic_fetch_add(&rt->stolen_bytes_queued, chunk->len);
    }
    msg->event = event;
    rsl_mailbox_push(&rt->mailbox, msg);
    return RSL_OK;
}

rsl_event
rsl_event_open(rsl_msg *msg)
{
    rsl_event event = msg->event;

    if (msg->discard == small_node_discard) {
        free(msg);
    }
    return event;
}

void
rsl_post_sink_emit(rsl_sink *sink, rsl_event event)
{
    rsl_runtime *rt = RSL_LIST_ENTRY(sink, rsl_runtime, post_sink);

    /* Without memory for the node the owner misses one report of progress of a
     * stream that is not running now; its next write or close finds out. */
    (void)rsl_event_post(rt, event);
}
