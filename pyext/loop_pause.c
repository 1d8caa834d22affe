/* SPDX-License-Identifier: Apache-2.0 */
/* loop_pause.c - the wait that gives up the GIL, and who is told of it. */
#include "loop.h"
#include "watchdog.h"

rsl_status
pyrsl_loop_pause(LoopObject *self, pyrsl_wait_fn wait, int64_t timeout_ns,
                 rsl_err *err)
{
    WatchdogObject *watchdog = self->watchdog;
    rsl_status status;
    Py_BEGIN_ALLOW_THREADS pyrsl_watchdog_beat(watchdog, LOOP_WAITS);
    status = wait(self->rt, timeout_ns, err);
    pyrsl_watchdog_beat(watchdog, LOOP_WANTS_GIL);
    Py_END_ALLOW_THREADS pyrsl_watchdog_beat(watchdog, LOOP_RUNS);
    return status;
}
