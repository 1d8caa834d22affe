/* SPDX-License-Identifier: Apache-2.0 */
/* loop_observe.c - the ready queue of a loop that somebody watches: the
 * watchdog. The loop that nobody watches pays one look a turn. */
#include "handle.h"
#include "loop.h"
#include "watchdog.h"

/* What an entry of the queue will call, or NULL: a new reference. */
static PyObject *
observed_callback(LoopObject *self, rsl_event event)
{
    if (rsl_tag_kind(event.tag) != RSL_EV_CALL
        || !pyrsl_handle_is_ours(self->st, event.u.ptr)) {
        return NULL;
    }
    PyObject *callback;
    Py_BEGIN_CRITICAL_SECTION(event.u.ptr);
    callback = Py_XNewRef(((HandleObject *)event.u.ptr)->callback);
    Py_END_CRITICAL_SECTION();
    return callback;
}

int
pyrsl_loop_run_observed(LoopObject *self, rsl_event event)
{
    PyObject *callback = observed_callback(self, event);
    int status = pyrsl_loop_run_event(self, event);
    if (callback != NULL) {
        if (self->watchdog != NULL) {
            pyrsl_watchdog_answer(self->watchdog, callback);
        }
        Py_DECREF(callback);
    }
    return status;
}
