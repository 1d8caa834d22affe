# SPDX-License-Identifier: Apache-2.0
"""asyncio is the oracle: a scenario is played on asyncio and on the loop under
test, and the two logs of what happened have to be equal.

A scenario is plain data, drawn by hypothesis. play(run, scenario) performs it
on run.loop and writes to the run's log. Where the network leaves an order
free, the log is normalised: data that arrives in several pieces is one entry.
How long a packet takes is free too: logs that differ are believed only when
they still do after a replay that waits much longer between the steps.
"""

import asyncio
import contextlib
import logging
import os
import re

import hypothesis

from support import PATIENCE

# The profile for each commit is the same every time; a long one, with new
# examples in each run, is RSLOOP_C_EXAMPLES=10000.
EXAMPLES = int(os.environ.get("RSLOOP_C_EXAMPLES", "0"))
SLOW_SECONDS = 60 + EXAMPLES

QUICK_TURNS = 4          # without news, between the steps of a scenario
REPLAY_SECONDS = 0.01    # without news, in the replays

# What run_forever() and run_until_complete() raise for callbacks, and when
# stop() came first.
LEAVING = (SystemExit, KeyboardInterrupt, RuntimeError)

_ADDRESS = re.compile(r"0x[0-9a-f]+")
_FD = re.compile(r"\bfd=\d+|fileno=\d+")
_PORT = re.compile(r"(?<='127\.0\.0\.1', )\d+")
_CALLBACK = re.compile(r"^(Exception in callback).*", re.DOTALL)


def profile(examples):
    """Settings of a test that plays so many scenarios in its short form."""
    return hypothesis.settings(
        max_examples=EXAMPLES or examples,
        derandomize=not EXAMPLES,
        # Shrinking replays at length; a commit's run is to say what differs.
        phases=list(hypothesis.Phase) if EXAMPLES else [
            hypothesis.Phase.explicit, hypothesis.Phase.generate],
        print_blob=True,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def plain(text):
    """text without what differs from run to run or from class to class."""
    text = _ADDRESS.sub("0x", str(text))
    text = _PORT.sub("port", _FD.sub("fd", text))
    text = text.replace("StreamTransport", "_SelectorSocketTransport")
    text = text.replace("_ThreadSafeHandle", "ThreadSafeHandle")
    return _CALLBACK.sub(r"\1", text)


def describe(exc):
    return None if exc is None else (type(exc).__name__, plain(exc))


def let_watchdog_through(exc):
    if isinstance(exc, KeyboardInterrupt) and type(exc) is not KeyboardInterrupt:
        raise exc


class _Warnings(logging.Handler):
    """What asyncio logs; errors are what the exception handler reports."""

    def __init__(self, run):
        super().__init__(logging.WARNING)
        self.run = run

    def emit(self, record):
        if "Executing" in str(record.msg):
            return       # how long something took is no behaviour
        self.run.note("logged", plain(record.getMessage()))


class Run:
    """One play of a scenario on one loop."""

    def __init__(self, loop, patient):
        self.loop = loop
        self.patient = patient
        self.log = []
        self.news = 0
        loop.set_exception_handler(self._on_report)

    def note(self, *entry):
        self.news += 1
        self.log.append(entry)

    def note_data(self, who, data):
        """Pieces of a stream that follow one another are one piece."""
        self.news += 1
        if self.log and self.log[-1][:2] == (who, "data"):
            data = self.log.pop()[2] + data
        self.log.append((who, "data", data))

    def _on_report(self, loop, context):
        keys = set(context) - {"source_traceback"}
        if "transport" in keys:
            # An event of the runtime calls the protocol without a Handle.
            keys = keys - {"transport", "protocol"} | {"handle"}
        self.note("reported", plain(context["message"]),
                  describe(context.get("exception")), sorted(keys))

    def attempt(self, what, function, *args, **kwargs):
        """Call function and note what came of it; its value, or None."""
        try:
            value = function(*args, **kwargs)
        except Exception as exc:
            self.note(what, "raised", *describe(exc))
            return None
        if isinstance(value, (bool, int, str, type(None))):
            self.note(what, "returned", value)
        return value

    async def settle(self):
        """Wait until nothing new happens."""
        quiet, seen = 0, -1
        deadline = self.loop.time() + PATIENCE
        since = self.loop.time()
        while True:
            await asyncio.sleep(0.0005 if self.patient else 0)
            if self.news != seen:
                quiet, seen, since = 0, self.news, self.loop.time()
            quiet += 1
            if self.loop.time() > deadline:
                raise AssertionError(f"this does not end: {self.log[-40:]}")
            if quiet >= QUICK_TURNS and (
                    not self.patient
                    or self.loop.time() - since >= REPLAY_SECONDS):
                return


class Tasks:
    """What a scenario has started and not waited for; how each ended is noted."""

    def __init__(self, run):
        self.run = run
        self.tasks = []
        self.count = 0

    def start(self, what, coro):
        self.count += 1
        name = f"{what} {self.count}"
        task = self.run.loop.create_task(coro)
        task.add_done_callback(lambda task: self.ended(name, task))
        self.tasks.append(task)

    def ended(self, name, task):
        if task.cancelled():
            self.run.note(name, "cancelled")
        elif task.exception() is not None:
            exc = task.exception()
            self.run.note(name, "raised", *describe(exc), *self.details_of(exc))
        else:
            self.run.note(name, "returned", self.shown(task.result()))

    def details_of(self, exc):
        """What else there is to compare of an exception."""
        return ()

    def shown(self, result):
        return result


@contextlib.contextmanager
def recorded(run):
    """What asyncio logs goes to the run's log, and nowhere else."""
    logger = logging.getLogger("asyncio")
    handlers, logger.handlers = logger.handlers, [_Warnings(run)]
    propagate, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.handlers = handlers
        logger.propagate = propagate


def finish(run):
    """Cancel what is left and close the loop; none of it is noted."""
    loop, log = run.loop, run.log
    run.log = []
    if not loop.is_closed():
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        for _ in range(100):     # what callbacks raise may leave the loop
            try:
                loop.run_until_complete(
                    asyncio.gather(*tasks, return_exceptions=True)
                    if tasks else asyncio.sleep(0))
                loop.run_until_complete(loop.shutdown_asyncgens())
                loop.run_until_complete(loop.shutdown_default_executor())
                break
            except LEAVING as exc:
                let_watchdog_through(exc)
        loop.close()
    run.log = log


def _play(make_loop, play, scenario, patient):
    run = Run(make_loop(), patient)
    with recorded(run):
        try:
            task = run.loop.create_task(play(run, scenario))
            _run_to_end(run, task)
        finally:
            finish(run)
    return run.log


def _run_to_end(run, task):
    """SystemExit and KeyboardInterrupt of callbacks leave the loop."""
    deadline = run.loop.time() + PATIENCE
    while not task.done():
        if run.loop.time() > deadline:
            raise AssertionError(f"this does not end: {run.log[:40]}")
        try:
            run.loop.run_until_complete(task)
        except LEAVING as exc:
            let_watchdog_through(exc)
            if task.done():
                raise
            run.note("left the loop", *describe(exc))
    task.result()


def _fault_of_asyncio(entry):
    """asyncio ends a transport twice when connection_lost() after a drained
    close() aborts it; the second time meets what the first has dropped."""
    return entry[0] == "reported" and entry[2] == (
        "AttributeError", "'NoneType' object has no attribute 'close'")


def compare(make_loop, play, scenario):
    """Fail unless the scenario goes on make_loop's loop as on asyncio's."""
    for patient in (False, True, True):
        theirs, ours = (
            [entry for entry in _play(make, play, scenario, patient)
             if not _fault_of_asyncio(entry)]
            for make in (asyncio.SelectorEventLoop, make_loop))
        if ours == theirs:
            return
    raise AssertionError(difference(ours, theirs))


def difference(ours, theirs):
    lines = []
    for place in range(max(len(ours), len(theirs))):
        left = ours[place] if place < len(ours) else None
        right = theirs[place] if place < len(theirs) else None
        lines.append(f"  {left}" if left == right else
                     f"- {right}  (asyncio)\n+ {left}")
    return "\n" + "\n".join(lines)
