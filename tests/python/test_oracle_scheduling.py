# SPDX-License-Identifier: Apache-2.0
"""Callbacks, timers, stop() and the run methods by drawn scenarios: what runs,
in which order, in which context, and what is raised where."""

import asyncio
import contextvars
import math
import sys
import threading
import time

import hypothesis
import pytest
from hypothesis import strategies as st

import oracle

pytestmark = pytest.mark.slow(oracle.SLOW_SECONDS)

# Timers are due at once, or all together at a moment of each run: whether a
# callback comes before a timer is a race otherwise. How long everything else
# takes is not known: replays set the moment later.
MOMENTS = (0.003, 0.03, 0.2)
# No two deadlines are equal: asyncio's heap then has an order of its own, ours
# is that of the calls.
TICK = 1e-7
LEAST = 1e-9
# A run within a run makes asyncio of 3.13.0 forget that it runs, and its stop().
NESTED_RUN_IS_BROKEN = sys.version_info[:3] == (3, 13, 0)
VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


class Raised(Exception):
    pass


NESTED_RUNS = {"run_forever", "run_until_complete", "other_loop"}


class Script:
    """Callbacks by number; each does what the scenario says, once."""

    def __init__(self, run, scenario, moment):
        self.run = run
        self.loop = run.loop
        self.moment = moment
        self.callbacks = scenario["callbacks"]
        self.start = None
        self.handles = []
        self.coroutines = []
        self.from_threads = []
        self.deadlines = 0
        self.played = set()

    def callback(self, number, *args):
        self.run.note("callback", number, args, VARIABLE.get())
        VARIABLE.set(f"set by {number}")
        if number in self.played:
            return
        self.played.add(number)
        operations, raises = self.callbacks[number % len(self.callbacks)]
        for operation in operations:
            self.operate(operation)
        if raises is not None:
            raise raises(f"of {number}")

    def operate(self, operation):
        name, *arguments = operation
        if NESTED_RUN_IS_BROKEN and name in NESTED_RUNS:
            return
        getattr(self, "do_" + name)(*arguments)

    def _keep(self, handle):
        if handle is not None:
            self.handles.append(handle)

    def do_soon(self, number, context):
        options = {}
        if context:
            options["context"] = contextvars.Context()
        self._keep(self.run.attempt(
            "call_soon", self.loop.call_soon, self.callback, number,
            *range(number % 3), **options))

    def do_threadsafe(self, number):
        self._keep(self.run.attempt(
            "call_soon_threadsafe", self.loop.call_soon_threadsafe,
            self.callback, number))

    def do_thread(self, number):
        """From a thread that has ended when this returns. Such calls keep
        their own order; they join the loop's with its next turn, where
        asyncio's take their place at once."""
        def call():
            try:
                self.loop.call_soon_threadsafe(
                    self.from_threads.append, number)
            except RuntimeError as exc:
                self.from_threads.append(oracle.describe(exc))

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    def do_later(self, delay, number):
        self._keep(self.run.attempt(
            "call_later", self.loop.call_later, delay, self.callback, number))

    def do_at(self, ticks, number):
        self.deadlines += 1
        when = self.start + ticks * TICK + self.deadlines % 100 * LEAST
        if ticks > 0:
            when += self.moment
        self._keep(self.run.attempt("call_at", self.loop.call_at, when,
                                    self.callback, number))

    def do_cancel(self, place):
        if self.handles:
            handle = self.handles[place % len(self.handles)]
            self.run.attempt("cancel", handle.cancel)
            self.run.note("cancelled", handle.cancelled(),
                          oracle.plain(repr(handle).partition(" when=")[0]))

    def do_state(self):
        self.run.note("state", self.loop.is_running(), self.loop.is_closed(),
                      [handle.cancelled() for handle in self.handles])

    def do_stop(self):
        self.run.attempt("stop", self.loop.stop)

    def do_close(self):
        self.run.attempt("close", self.loop.close)

    def do_run_forever(self):
        self.run.attempt("run_forever", self.loop.run_forever)

    def do_run_until_complete(self):
        coroutine = asyncio.sleep(0)
        self.run.attempt("run_until_complete",
                         self.loop.run_until_complete, coroutine)
        coroutine.close()

    def do_other_loop(self):
        """A loop within the other one's callback is refused."""
        other = asyncio.SelectorEventLoop()
        coroutine = asyncio.sleep(0)
        self.run.attempt("another loop", other.run_until_complete, coroutine)
        coroutine.close()
        other.close()

    def do_task(self, number):
        async def main():
            self.callback(number)
            await asyncio.sleep(0)
            self.run.note("task", number, VARIABLE.get())

        self.coroutines.append(main())
        task = self.run.attempt("create_task", self.loop.create_task,
                                self.coroutines[-1])
        if task is not None:
            task._log_destroy_pending = False
            task.add_done_callback(self._task_done)

    def drop(self):
        """A loop that was closed leaves coroutines that never ran."""
        for coroutine in self.coroutines:
            coroutine.close()

    def _task_done(self, task):
        if not task.cancelled():
            task.exception()      # retrieved
        self.run.note("task done", task.cancelled())


class Ender:
    """Stops the loop once nothing has happened for a while."""

    def __init__(self, run, when, idle):
        self.run = run
        self.idle = idle
        self.handle = None
        self._check_at(when)

    def _check_at(self, when):
        if not self.run.loop.is_closed():
            self.handle = self.run.loop.call_at(when, self._check,
                                                len(self.run.log))

    def _check(self, length):
        if len(self.run.log) == length:
            self.handle = None
            self.run.loop.stop()
        else:
            self._check_at(self.run.loop.time() + self.idle)

    def again(self):
        """An exception ended the turn in which the loop was to stop."""
        if self.handle is None:
            self._check_at(self.run.loop.time() + self.idle)

    def cancel(self):
        if self.handle is not None:
            self.handle.cancel()


def play(run, scenario, moment):
    """Run the loop as often as the scenario says, from outside."""
    script = Script(run, scenario, moment)
    loop = run.loop
    loop.set_debug(scenario["debug"])
    for operations in scenario["runs"]:
        script.start = loop.time()
        for operation in operations:
            script.operate(operation)
        idle = moment / 3
        end = script.start + moment + idle
        ender = Ender(run, end, idle)
        for _ in range(100):
            try:
                loop.run_forever()
                break
            except oracle.LEAVING as exc:
                oracle.let_watchdog_through(exc)
                run.note("run_forever", *oracle.describe(exc))
                ender.again()
        ender.cancel()
        script.do_state()
        run.note("--")
        # Timers that stop() has left behind are due when the next run begins.
        time.sleep(max(0, end - time.monotonic()))
    oracle.finish(run)
    script.drop()
    run.note("from threads", script.from_threads)


def compare(make_loop, scenario):
    for moment in MOMENTS:
        logs = []
        for make in (make_loop, asyncio.SelectorEventLoop):
            run = oracle.Run(make(), True)
            with oracle.recorded(run):
                contextvars.copy_context().run(play, run, scenario, moment)
            logs.append(run.log)
        if logs[0] == logs[1]:
            return
    raise AssertionError(oracle.difference(*logs))


NUMBERS = st.integers(0, 30)
DELAYS = st.sampled_from([
    0, 0, -1, -1e6, 0.0, 1e-300, math.inf, 1e300, 1e9, 10 ** 9])
OPERATIONS = st.one_of(
    st.tuples(st.just("soon"), NUMBERS, st.booleans()),
    st.tuples(st.just("soon"), NUMBERS, st.booleans()),
    st.tuples(st.just("threadsafe"), NUMBERS),
    st.tuples(st.just("thread"), NUMBERS),
    st.tuples(st.just("later"), DELAYS, NUMBERS),
    st.tuples(st.just("at"), st.integers(-10, 10), NUMBERS),
    st.tuples(st.just("at"), st.integers(-10, 10), NUMBERS),
    st.tuples(st.just("cancel"), st.integers(0, 7)),
    st.tuples(st.just("cancel"), st.integers(0, 7)),
    st.tuples(st.just("task"), NUMBERS),
    st.sampled_from([("state",), ("stop",), ("close",), ("run_forever",),
                     ("run_until_complete",), ("other_loop",)]),
)
RAISES = st.sampled_from([None] * 8 + [
    Raised, Raised, asyncio.CancelledError, GeneratorExit, StopIteration,
    SystemExit, KeyboardInterrupt])
SCENARIOS = st.fixed_dictionaries({
    "debug": st.sampled_from([False, False, True]),
    "callbacks": st.lists(st.tuples(st.lists(OPERATIONS, max_size=3), RAISES),
                          min_size=1, max_size=6),
    "runs": st.lists(st.lists(OPERATIONS.filter(
        lambda operation: operation[0] not in NESTED_RUNS),
        min_size=1, max_size=6), min_size=1, max_size=3),
})


@oracle.profile(100)
@hypothesis.given(scenario=SCENARIOS)
def test_scheduling_goes_as_on_asyncio(flavour, scenario):
    compare(flavour.new_loop, scenario)
