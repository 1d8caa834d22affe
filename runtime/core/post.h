/* SPDX-License-Identifier: Apache-2.0 */
/* post.h - events that travel to the loop thread by mailbox.
 *
 * Role:    wraps an event in a node, and unwraps it in the drain.
 * Thread:  rsl_event_post() holder of the token, or the loop thread;
 *          rsl_event_open() the loop thread.
 * Memory:  a heap chunk travels in its own block, everything else in a small
 *          node that rsl_event_open() frees. */
#ifndef RSL_CORE_POST_H
#define RSL_CORE_POST_H

#include <rsl/runtime.h>

/* RSL_NOMEM: nothing was posted. Never said of a heap chunk's RSL_EV_DATA. */
rsl_status rsl_event_post(rsl_runtime *rt, rsl_event event);

/* The event of a node that was taken from the mailbox, and with it what the
 * node carried. */
rsl_event rsl_event_open(rsl_msg *msg);

/* emit() of rt->post_sink. */
void rsl_post_sink_emit(rsl_sink *sink, rsl_event event);

#endif
