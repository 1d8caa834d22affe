/* SPDX-License-Identifier: Apache-2.0 */
/* loop_queue.c - how Handles get into the ready queue, from any thread.
 *
 * A GIL guards the queue: the loop's thread touches it only with the GIL, and
 * so may any other, unless the mailbox in front of it has something: order is
 * kept. Without a GIL the queue belongs to the thread that runs the loop, and
 * others post to the mailbox. While nobody runs the loop, its critical section
 * guards the queue; loop_attributes.c takes that section too when a run begins
 * or ends. */
#include <stdlib.h>

#include "handle.h"
#include "loop.h"

/* Takes `handle`. */
static int
loop_push(LoopObject *self, PyObject *handle)
{
    rsl_event event = {.tag = rsl_tag(RSL_EV_CALL, 0), .u.ptr = handle};
    if (pyrsl_ready_push(&self->ready, event) < 0) {
        pyrsl_handle_leaves_queue(self, handle);
        PyErr_NoMemory();
        return -1;
    }
    pyrsl_handle_joins(self, handle);
    return 0;
}

/* --- By the mailbox --- */

/* For a Handle that is no message itself. */
typedef struct call_msg {
    rsl_msg msg;
    PyObject *handle;
} call_msg;

/* rsl_msg.discard: the mailbox is drained for good. */
static void
call_discard(rsl_msg *msg)
{
    call_msg *call = (call_msg *)(void *)msg;
    Py_DECREF(call->handle);
    free(call);
}

static PyObject *
call_handle(rsl_msg *msg)
{
#ifdef Py_GIL_DISABLED
    if (msg->discard != call_discard) {
        return pyrsl_threadsafe_handle_of(msg);
    }
#endif
    call_msg *call = (call_msg *)(void *)msg;
    PyObject *handle = call->handle;
    free(call);
    return handle;
}

static rsl_msg *
call_message(LoopObject *self, PyObject *handle)
{
#ifdef Py_GIL_DISABLED
    if (Py_IS_TYPE(handle, self->st->ThreadSafeHandleType)) {
        return pyrsl_threadsafe_handle_message(handle);
    }
#endif
    if (pyrsl_handle_is_ours(self->st, handle)) {
        pyrsl_handle_show(handle); /* the loop does not visit its mailbox */
    }
    call_msg *call = malloc(sizeof(*call));
    if (call == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    call->msg.event.tag = rsl_tag(RSL_EV_MESSAGE, PYRSL_MSG_CALL);
    call->msg.event.u.ptr = &call->msg;
    call->msg.discard = call_discard;
    call->handle = handle;
    return &call->msg;
}

void
pyrsl_loop_take_call(LoopObject *self, rsl_msg *msg)
{
    PyObject *handle = call_handle(msg);
    rsl_event event = {.tag = rsl_tag(RSL_EV_CALL, 0), .u.ptr = handle};
    if (pyrsl_ready_push(&self->ready, event) < 0) {
        Py_DECREF(handle);
        self->lost_event = true;
    }
}

/* Takes `handle`. */
static int
loop_post(LoopObject *self, PyObject *handle)
{
    rsl_msg *msg = call_message(self, handle);
    if (msg == NULL) {
        Py_DECREF(handle);
        return -1;
    }
    rsl_runtime_post(self->rt, msg);
    return 0;
}

/* --- From any thread --- */

#ifndef Py_GIL_DISABLED

/* Who appends first while the loop waits without the GIL wakes it, and nobody
 * else until it has the GIL again: a wake holds until the loop has looked
 * around (rsl_runtime_wake()), also if it is only about to sleep. */
static int
loop_push_and_wake(LoopObject *self, PyObject *handle)
{
    if (loop_push(self, handle) < 0) {
        return -1;
    }
    rsl_stat_add(self->stats, RSL_STAT_HANDOVERS, 1);
    if (self->pauses) {
        self->pauses = false;
        rsl_runtime_wake(self->rt);
    }
    return 0;
}

/* What native threads have posted before runs before. */
int
pyrsl_loop_queue_threadsafe(LoopObject *self, PyObject *handle)
{
    if (!pyrsl_loop_is_foreign(self)) {
        return loop_push(self, handle);
    }
    return self->rt == NULL || rsl_runtime_mailbox_is_empty(self->rt)
               ? loop_push_and_wake(self, handle)
               : loop_post(self, handle);
}

int
pyrsl_loop_queue(LoopObject *self, PyObject *handle)
{
    return loop_push(self, handle);
}

#else

/* May the calling thread, which does not run the loop, append to the queue?
 * Only behind an empty mailbox: another run may just have begun or ended, and
 * a thread's calls stay in order. */
static bool
loop_queue_is_free(LoopObject *self)
{
    if (atomic_load(&self->thread_id) != 0) {
        return false;
    }
    return self->rt == NULL || rsl_runtime_mailbox_is_empty(self->rt);
}

/* Takes `handle`: to the ready queue from the loop's own thread, or while
 * nobody runs the loop, which is asyncio's order; else through the mailbox. No
 * critical section may begin within this one: it would open it for a moment,
 * and a run could begin that never hears of `handle`. */
int
pyrsl_loop_queue_threadsafe(LoopObject *self, PyObject *handle)
{
    if (atomic_load(&self->thread_id) == PyThread_get_thread_ident()) {
        return loop_push(self, handle);
    }
    bool direct;
    int status = 0;
    Py_BEGIN_CRITICAL_SECTION(self);
    direct = loop_queue_is_free(self);
    if (direct) {
        status = loop_push(self, handle);
    }
    Py_END_CRITICAL_SECTION();
    return direct ? status : loop_post(self, handle);
}

/* Without a GIL a stranger's mistake must not break the queue. */
int
pyrsl_loop_queue(LoopObject *self, PyObject *handle)
{
    return pyrsl_loop_queue_threadsafe(self, handle);
}

#endif
