# SPDX-License-Identifier: Apache-2.0
"""A loop that is stuck, and who is told where: Loop.watchdog."""

import asyncio
import ctypes
import gc
import inspect
import logging
import os
import signal
import subprocess
import sys
import threading

import pytest

from support import LOOPBACK, PATIENCE, environ, run, run_python, turns, until

pytestmark = pytest.mark.asyncio_is_worse("it has no watchdog")

BOUND = 1.0
# It has to be found within twice the bound (1 1/8 where nothing else runs); the
# rest is for machines that do not let the watchdog's thread run.
LATEST = 2 * BOUND + 5
HOLDS_GIL, RELEASES_GIL = ctypes.PyDLL(None), ctypes.CDLL(None)

# Reads reports until one says what its argument is, then ends the stall. Without
# the GIL of the process that is stuck there is nobody in it who could.
RESCUER = """
import os, sys
report = b""
while sys.argv[1].encode() not in report or b"  File " not in report:
    report += os.read(0, 65536)
os.write(1, b"x")
os.write(2, report)
"""


class Rescue:
    """`read_end` becomes readable when a report has been written to `report`."""

    def __init__(self, expected):
        self.expected = expected

    def __enter__(self):
        reports, self.report = os.pipe()
        self.read_end, released = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", RESCUER, self.expected],
            stdin=reports, stdout=released, stderr=subprocess.PIPE)
        os.close(reports)
        os.close(released)
        return self

    def said(self):
        return self.process.communicate(timeout=PATIENCE)[1].decode()

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
        os.close(self.read_end)
        os.close(self.report)


def stuck_in_c_with_gil(fd):
    HOLDS_GIL.read(fd, ctypes.create_string_buffer(1), 1)  # the line


def stuck_in_c_without_gil(fd):
    RELEASES_GIL.read(fd, ctypes.create_string_buffer(1), 1)  # the line


def stuck_in_python(fd):
    os.set_blocking(fd, False)
    while True:
        for _ in range(100_000):
            pass  # the line, or one of its neighbours
        try:
            return os.read(fd, 1)
        except BlockingIOError:
            continue


def lines_of(function):
    lines, first = inspect.getsourcelines(function)
    marked = [n for n, line in enumerate(lines, first) if "# the line" in line]
    if function is stuck_in_python:
        return range(first, first + len(lines))
    return marked


def innermost(stack):
    """Line number and name of a report's first frame."""
    line = next(line for line in stack.splitlines() if line.startswith("  File "))
    assert __file__ in line
    _, _, place = line.partition(", line ")
    number, _, name = place.partition(" in ")
    return int(number), name


@pytest.mark.parametrize(
    "block", [stuck_in_c_with_gil, stuck_in_c_without_gil, stuck_in_python])
def test_the_line_is_named_while_the_loop_is_stuck(loop, block):
    stalls = []

    async def main():
        asyncio.current_task().set_name("the culprit")
        block(rescue.read_end)
        await until(lambda: stalls)

    def note(stall):
        if block.__name__ in stall.stack:  # not where a slow machine paused
            stalls.append(stall)

    with Rescue(f" in {block.__name__}") as rescue:
        loop.watchdog_file = rescue.report
        loop.watchdog_callback = note
        loop.watchdog = BOUND
        assert loop.watchdog == BOUND
        run(loop, main())
        said = rescue.said()
        loop.watchdog = None
    assert "has been stuck for" in said
    stall = stalls[0]
    number, name = innermost(stall.stack)
    assert number in lines_of(block)
    assert name == block.__name__
    assert stall.stack in said
    assert stall.task.get_name() == "the culprit"
    assert stall.loop is loop
    assert not stall.waits_for_gil
    assert BOUND <= stall.seconds < LATEST
    assert block.__name__ in str(stall)


def test_another_thread_that_keeps_the_gil_is_told_apart(loop):
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("there is no GIL")
    stalls = []
    go = threading.Event()

    def keep_gil():
        go.wait()
        stuck_in_c_with_gil(rescue.read_end)

    async def main():
        go.set()
        await until(lambda: stalls)  # awake every half millisecond
        thread.join()

    with Rescue("waits for the GIL") as rescue:
        thread = threading.Thread(target=keep_gil)
        thread.start()
        loop.watchdog_file = rescue.report
        loop.watchdog_callback = (
            lambda stall: stall.waits_for_gil and stalls.append(stall))
        loop.watchdog = 0.2
        run(loop, main())
        assert "waits for the GIL" in rescue.said()
        loop.watchdog = None
    assert stalls


def test_a_stall_is_reported_once_and_the_next_again(loop, caplog):
    stalls = []
    loop.watchdog_file = None
    loop.watchdog_callback = stalls.append
    loop.watchdog = 0.05

    async def main():
        for _ in range(2):
            # Without a turn of the loop: one stall, however many bounds; and
            # one of before may be told of late.
            before = len(stalls)
            waiting = threading.Event()
            while len(stalls) == before:
                waiting.wait(0.01)
            waiting.wait(0.5)
            assert len(stalls) <= before + 2
            await turns()

    with caplog.at_level(logging.WARNING, "rsloop_c"):
        run(loop, main())
        loop.watchdog = None
    told = [record for record in caplog.records if "stuck for" in record.getMessage()]
    assert len(told) == len(stalls) >= 2


def test_a_loop_that_waits_or_is_quick_is_not_stuck(loop):
    stalls = []
    loop.watchdog_file = None
    loop.watchdog_callback = stalls.append
    loop.watchdog = 10.0  # a slow machine is not stuck either

    async def main():
        await asyncio.sleep(0.05)
        server = await loop.create_server(asyncio.Protocol, LOOPBACK, 0)
        server.close()
        await server.wait_closed()

    run(loop, main())
    run(loop, main())
    loop.watchdog = None
    assert stalls == []


def test_a_callback_that_raises_is_logged(loop, caplog):
    failed = threading.Event()

    def fail(stall):
        failed.set()
        raise RuntimeError("in the callback")

    loop.watchdog_file = None
    loop.watchdog_callback = fail
    loop.watchdog = 0.05

    async def main():
        failed.wait(PATIENCE)

    run(loop, main())
    loop.watchdog = None  # its thread has ended
    assert "watchdog_callback failed" in caplog.text


def test_a_thread_that_blocks_the_signal_is_reported_without_a_stack(loop):
    stalls = []
    loop.watchdog_file = None
    loop.watchdog_callback = stalls.append

    async def main():
        while not stalls:
            threading.Event().wait(0.01)

    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        loop.watchdog = 0.05
        run(loop, main())
        loop.watchdog = None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert stalls[0].stack is None
    assert "stuck for" in str(stalls[0])


def test_it_is_off_until_it_is_set_and_ends_with_the_loop(loop_factory):
    loop = loop_factory()
    assert loop.watchdog is None
    before = threading.active_count()
    loop.watchdog = 5
    assert threading.active_count() == before + 1
    loop.watchdog = 6
    assert threading.active_count() == before + 1
    loop.close()
    assert loop.watchdog is None
    assert threading.active_count() == before
    with pytest.raises(RuntimeError, match="closed"):
        loop.watchdog = 5
    loop.watchdog = 0


@pytest.mark.untidy
@pytest.mark.filterwarnings("ignore:unclosed event loop")
def test_a_forgotten_loop_takes_its_watchdog_along(flavour):
    loop = flavour.new_loop()
    loop.watchdog = 5
    thread = loop._watch._thread
    del loop
    gc.collect()
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.parametrize("value", [-1, 0.0001, 1e6, float("nan"), float("inf")])
def test_what_is_no_bound_is_a_value_error(loop, value):
    with pytest.raises(ValueError, match="watchdog must be"):
        loop.watchdog = value
    assert loop.watchdog is None


@pytest.mark.parametrize("value", ["soon", "-1"])
def test_the_variable_must_be_a_number(loop_factory, value):
    with environ(RSLOOP_C_WATCHDOG=value), \
            pytest.raises(ValueError, match="RSLOOP_C_WATCHDOG"):
        loop_factory()


def test_the_variable_sets_it(loop_factory):
    with environ(RSLOOP_C_WATCHDOG="2.5"):
        loop = loop_factory()
    assert loop.watchdog == 2.5
    loop.close()


def test_another_thread_may_not_set_it_while_the_loop_runs(loop):
    async def main():
        def set_it():
            with pytest.raises(RuntimeError, match="Non-thread-safe"):
                loop.watchdog = 5
        await loop.run_in_executor(None, set_it)

    run(loop, main())
    assert loop.watchdog is None


def test_it_is_silent_while_the_interpreter_ends(flavour):
    done = run_python("""
        import atexit, time
        loop = new_event_loop()
        loop.watchdog = 0.05

        async def stuck():
            time.sleep(0.5)

        # Later than the end of threads, in a loop that is still open.
        atexit.register(lambda: loop.run_until_complete(stuck()))
        loop.run_until_complete(asyncio.sleep(0))
    """, flavour, "-W", "ignore")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_two_loops_are_watched_at_once(loop_factory):
    loops = [loop_factory() for _ in range(2)]
    stalls = [[], []]

    def work(number):
        loop = loops[number]
        loop.watchdog_file = None
        loop.watchdog_callback = stalls[number].append
        loop.watchdog = 0.05

        async def main():
            while not stalls[number]:
                threading.Event().wait(0.01)

        loop.run_until_complete(main())

    threads = [threading.Thread(target=work, args=[n]) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for loop, (stall, *_) in zip(loops, stalls):
        assert stall.loop is loop
        assert "in main" in stall.stack
        loop.close()
