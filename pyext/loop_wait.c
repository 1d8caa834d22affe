/* SPDX-License-Identifier: Apache-2.0 */
/* loop_wait.c - the first half of a turn: wait for something to do. */
#include <math.h>

#include <rsl/prof.h>

#include "errors.h"
#include "handle.h"
#include "loop.h"
#include "watchdog.h"

/* asyncio's MAXIMUM_SELECT_TIMEOUT: a sleep is never longer than a day. */
#define LOOP_SLEEP_SECONDS_MAX (24.0 * 3600.0)

/* What there is to do, the timers' part aside. */
static size_t
loop_found(const LoopObject *self)
{
    return self->ready.count + self->waits.count + (self->waits.late != NULL);
}

/* How long this turn may sleep: 0 not at all, -1 until something happens. */
static int64_t
loop_timeout_ns(LoopObject *self)
{
    if (loop_found(self) > 0 || atomic_load(&self->stopping)) {
        return 0;
    }
    int64_t wheel_ns = pyrsl_wheel_timeout_ns(&self->wheel);
    double when;
    Py_BEGIN_CRITICAL_SECTION(self);
    when = pyrsl_timers_when(&self->timers);
    Py_END_CRITICAL_SECTION();
    if (when == INFINITY) {
        return wheel_ns;
    }
    double now =
        self->foreign_clock ? self->foreign_now : pyrsl_clock_seconds();
    double delay = when - now;
    if (!(delay > 0)) {
        /* NaN never fires, and must not make the loop spin. */
        return isnan(delay) ? wheel_ns : 0;
    }
    if (delay > LOOP_SLEEP_SECONDS_MAX) {
        delay = LOOP_SLEEP_SECONDS_MAX;
    }
    int64_t delay_ns = (int64_t)ceil(delay * 1e9);
    return wheel_ns >= 0 && wheel_ns < delay_ns ? wheel_ns : delay_ns;
}

static int
loop_wait_failed(rsl_status status, const rsl_err *err)
{
    if (status == RSL_OK) {
        return 0;
    }
    pyrsl_raise(status, err);
    return -1;
}

typedef rsl_status (*loop_wait_fn)(rsl_runtime *rt, int64_t timeout_ns,
                                   rsl_err *err);

static rsl_status
loop_pause_observed(LoopObject *self, loop_wait_fn wait, int64_t timeout_ns,
                    rsl_err *err)
{
    WatchdogObject *watchdog = self->watchdog;
    int64_t start_ns;
    rsl_status status;
    Py_BEGIN_ALLOW_THREADS
    pyrsl_watchdog_beat(watchdog, LOOP_WAITS);
    start_ns = rsl_prof_begin();
    status = wait(self->rt, timeout_ns, err);
    rsl_prof_end(RSL_PROF_WAIT, start_ns, 0);
    start_ns = rsl_prof_begin();
    pyrsl_watchdog_beat(watchdog, LOOP_WANTS_GIL);
    Py_END_ALLOW_THREADS
    rsl_prof_end(RSL_PROF_GIL, start_ns, 0);
    pyrsl_watchdog_beat(watchdog, LOOP_RUNS);
    return status;
}

/* rsl_runtime_wait() or rsl_runtime_sleep() without the GIL. */
static rsl_status
loop_pause(LoopObject *self, loop_wait_fn wait, int64_t timeout_ns,
           rsl_err *err)
{
    rsl_status status;
    self->pauses = true;
    if (self->watchdog != NULL || rsl_prof_is_on()) {
        status = loop_pause_observed(self, wait, timeout_ns, err);
    } else {
        Py_BEGIN_ALLOW_THREADS
        status = wait(self->rt, timeout_ns, err);
        Py_END_ALLOW_THREADS
    }
    self->pauses = false;
    return status;
}

/* Sleep without the token: the runtime thread is driving and will wake us. */
static int
loop_sleep(LoopObject *self)
{
    int64_t timeout_ns = loop_timeout_ns(self);
    if (timeout_ns == 0) {
        return 0;
    }
    rsl_err err = {0, NULL};
    rsl_status status = loop_pause(self, rsl_runtime_sleep, timeout_ns, &err);
    rsl_runtime_drain(self->rt, &self->sink);
    return loop_wait_failed(status, &err);
}

/* Wait under the token. A poll that does not sleep keeps the GIL: giving it up
 * would cost more than the poll, and other threads get it by the switch
 * interval. One that may sleep asks first, GIL held, while traffic is dense. */
static int
loop_wait(LoopObject *self)
{
    rsl_err err = {0, NULL};
    size_t before = loop_found(self);
    int64_t timeout_ns = loop_timeout_ns(self);
    rsl_status status = RSL_OK;
    if (timeout_ns == 0 || self->io_batch) {
        int64_t start_ns = rsl_prof_begin();
        (void)rsl_runtime_look(self->rt, 0); /* collect tells */
        status = rsl_runtime_wait(self->rt, 0, &err);
        rsl_runtime_collect(self->rt, &self->sink);
        rsl_prof_end(RSL_PROF_LOOK, start_ns, loop_found(self) - before);
        if (timeout_ns == 0 || loop_found(self) > before || status != RSL_OK) {
            self->io_batch = loop_found(self) > before + 1;
            return loop_wait_failed(status, &err);
        }
    }
    /* With the GIL: a thread that breaks the rules may add a reader. */
    timeout_ns = rsl_runtime_look(self->rt, timeout_ns);
    status = timeout_ns == 0
                 ? rsl_runtime_wait(self->rt, 0, &err)
                 : loop_pause(self, rsl_runtime_wait, timeout_ns, &err);
    int64_t start_ns = rsl_prof_begin();
    rsl_runtime_collect(self->rt, &self->sink);
    rsl_prof_end(RSL_PROF_COLLECT, start_ns, loop_found(self) - before);
    self->io_batch = loop_found(self) > before + 1;
    return loop_wait_failed(status, &err);
}

/* A foreign time() is Python code: it is asked before the token is taken. */
static int
loop_note_foreign_time(LoopObject *self)
{
    if (!self->foreign_clock || pyrsl_timers_count(&self->timers) == 0
        || loop_found(self) > 0) {
        return 0;
    }
    return pyrsl_loop_ask_clock(self, &self->foreign_now);
}

/* Before a sleep, so that a cancelled timer does not end it. Finalizers may
 * run: the token is not taken yet. */
static void
loop_settle_timers(LoopObject *self)
{
    if (loop_found(self) > 0) {
        return;
    }
    Py_BEGIN_CRITICAL_SECTION(self);
    if (pyrsl_timers_count(&self->timers) > 0) {
        double now =
            self->foreign_clock ? self->foreign_now : pyrsl_clock_seconds();
        pyrsl_timers_settle(&self->timers, now + LOOP_CLOCK_RESOLUTION);
    }
    Py_END_CRITICAL_SECTION();
}

int
pyrsl_loop_poll(LoopObject *self)
{
    if (self->ready.count == 0) {
        /* A loop that sleeps keeps nobody's values alive. */
        pyrsl_contexts_clear(&self->contexts);
        pyrsl_handle_lists_trim(self);
    }
    rsl_runtime_drain(self->rt, &self->sink);
    if (self->ready.count > 0 && self->ready.io_count == 0
        && rsl_runtime_is_quiet(self->rt)) {
        rsl_runtime_go_on(self->rt);
        return PyErr_CheckSignals();
    }
    if (loop_note_foreign_time(self) < 0) {
        return -1;
    }
    loop_settle_timers(self);
    int status;
    if (rsl_runtime_acquire(self->rt, &self->sink) == RSL_OK) {
        status = loop_wait(self);
        /* A wake-up is a message more often than not. */
        rsl_runtime_drain(self->rt, &self->sink);
        rsl_runtime_release(self->rt, (unsigned)self->ready.io_count);
    } else {
        status = loop_sleep(self);
    }
    if (status == 0 && PyErr_CheckSignals() < 0) {
        status = -1;
    }
    return status;
}
