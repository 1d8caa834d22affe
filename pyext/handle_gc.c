/* SPDX-License-Identifier: Apache-2.0 */
/* handle_gc.c - pending Handles and the garbage collector.
 *
 * While run_forever() runs, the collector does not know the Handles that pend
 * in the loop's queue and among its timers, whoever else has them. It could
 * free none of them: run_forever() has a reference to the loop, the loop one to
 * each Handle, and so all that they refer to is alive as well. A hundred
 * thousand pending timers would be as many objects to look at, again and again.
 *
 * What a collection does is right with and without them:
 * - Nobody visits the Handle's own references but the loop, on its behalf; a
 *   collection that does not look at the loop finds its callback held from
 *   outside, and keeps it. One that does finds the loop held from outside, and
 *   from there the callback. That others have the Handle too makes no
 *   difference, for nothing is taken for garbage that the loop reaches.
 * - A Handle that leaves the loop while somebody else has it may be in a cycle
 *   from then on, also when it was cancelled (it refers to its loop and its
 *   context): it is tracked. Who can still get hold of it later, by a weak
 *   reference, has to do so before the loop's reference ends.
 * - A loop that does not run may itself be garbage, in a cycle through a Handle
 *   and whoever has it. So the end of a run tracks what still pends, and what
 *   is made before the next is tracked when it joins the queue or the timers.
 * - A Handle is visited once for each time that the loop has it; an untracked
 *   one has only one place there, as _add_callback() tracks what it is given.
 * The GIL is held from the look at `in_session` until the Handle has its place.
 *
 * Free-threaded builds track all Handles: their collector stops the world,
 * walks the heap instead of lists, and counts references that are split between
 * threads, so an untracked object saves little; and a stranger could make a
 * Handle just while the run ends. */
#include "handle.h"

void
pyrsl_handle_show(PyObject *handle)
{
    if (!pyrsl_handle_tail((HandleObject *)handle)->tracked) {
        pyrsl_handle_track(handle);
    }
}

#ifdef Py_GIL_DISABLED

void
pyrsl_handle_joins(LoopObject *Py_UNUSED(loop), PyObject *Py_UNUSED(handle))
{
}

void
pyrsl_handle_leaves(PyObject *handle)
{
    Py_DECREF(handle);
}

int
pyrsl_handle_traverse_pending(PyObject *handle, visitproc visit, void *arg)
{
    Py_VISIT(handle);
    return 0;
}

#else

void
pyrsl_handle_joins(LoopObject *loop, PyObject *handle)
{
    if (!loop->in_session && pyrsl_handle_is_ours(loop->st, handle)) {
        pyrsl_handle_show(handle);
    }
}

void
pyrsl_handle_leaves(PyObject *handle)
{
    if (Py_REFCNT(handle) > 1) {
        pyrsl_handle_show(handle);
    }
    Py_DECREF(handle);
}

int
pyrsl_handle_traverse_pending(PyObject *handle, visitproc visit, void *arg)
{
    if (!pyrsl_handle_tail((HandleObject *)handle)->tracked) {
        return Py_TYPE(handle)->tp_traverse(handle, visit, arg);
    }
    Py_VISIT(handle);
    return 0;
}

#endif

/* --- The ready queue, which has Handles of others too --- */

void
pyrsl_handle_leaves_queue(LoopObject *loop, PyObject *handle)
{
    if (pyrsl_handle_is_ours(loop->st, handle)) {
        pyrsl_handle_leaves(handle);
    } else {
        Py_DECREF(handle);
    }
}

int
pyrsl_handles_traverse_queue(LoopObject *loop, visitproc visit, void *arg)
{
    int status = 0;
    for (size_t i = 0; status == 0 && i < loop->ready.count; i++) {
        const rsl_event *event = pyrsl_ready_at(&loop->ready, i);
        if (rsl_tag_kind(event->tag) != RSL_EV_CALL) {
            continue;
        }
        PyObject *handle = event->u.ptr;
        status = pyrsl_handle_is_ours(loop->st, handle)
                     ? pyrsl_handle_traverse_pending(handle, visit, arg)
                     : visit(handle, arg);
    }
    return status;
}

void
pyrsl_handles_end_session(LoopObject *loop)
{
    loop->in_session = false;
#ifndef Py_GIL_DISABLED /* else strangers may be appending */
    for (size_t i = 0; i < loop->ready.count; i++) {
        const rsl_event *event = pyrsl_ready_at(&loop->ready, i);
        if (rsl_tag_kind(event->tag) == RSL_EV_CALL) {
            pyrsl_handle_joins(loop, event->u.ptr);
        }
    }
    pyrsl_timers_end_session(&loop->timers, loop);
#endif
}
