# SPDX-License-Identifier: Apache-2.0
"""Child processes by drawn scenarios: what is written, read, signalled, waited
for and cancelled, in any order."""

import asyncio
import signal
import subprocess

import hypothesis
import pytest
from hypothesis import strategies as st

import oracle

pytestmark = pytest.mark.slow(oracle.SLOW_SECONDS)

PROGRAMS = {
    "cat": ("cat",),
    "exits": ("sh", "-c", "exit 3"),
    "speaks": ("sh", "-c", "echo out; echo err >&2; exec cat"),
    "dies": ("sh", "-c", "kill -KILL $$"),
    "none": ("/no/such/program",),
}
STDIO = [None, subprocess.DEVNULL, subprocess.PIPE]     # None: pytest's


class Stage(oracle.Tasks):
    """One child, and the tasks that wait for it."""

    def __init__(self, run):
        super().__init__(run)
        self.process = None

    def do_write(self, count):
        if self.process.stdin is not None:
            self.run.attempt("write", self.process.stdin.write, b"w" * count)

    def do_close(self):
        if self.process.stdin is not None:
            self.run.attempt("close", self.process.stdin.close)

    def do_read(self, name):
        stream = getattr(self.process, name)
        if stream is not None:
            self.start(name, stream.read(1000))

    def do_wait(self):
        self.start("wait", self.process.wait())

    def do_communicate(self, data):
        self.start("communicate", self.process.communicate(data))

    def do_signal(self, number):
        self.run.attempt("signal", self.process.send_signal, number)

    def do_end(self, name):
        self.run.attempt(name, getattr(self.process, name))

    def do_cancel(self, place):
        waiting = [task for task in self.tasks if not task.done()]
        if waiting:
            waiting[place % len(waiting)].cancel()

    def do_state(self):
        self.run.note("returncode", self.process.returncode)


async def play(run, scenario):
    stage = Stage(run)
    try:
        stage.process = await asyncio.create_subprocess_exec(
            *PROGRAMS[scenario["program"]],
            **{name: STDIO[place] for name, place in
               zip(("stdin", "stdout", "stderr"), scenario["stdio"])})
    except OSError as exc:
        run.note("spawn raised", *oracle.describe(exc))
        return
    try:
        if scenario["program"] in ("exits", "dies"):
            # When it does, and its pipes end, is nobody's promise.
            await stage.process.wait()
            await asyncio.sleep(0.005)
        for name, *arguments in scenario["steps"]:
            getattr(stage, "do_" + name)(*arguments)
            if name in ("signal", "end"):
                await stage.process.wait()
                await asyncio.sleep(0.005)
            await run.settle()
            run.note("--")
    finally:
        for task in stage.tasks:
            task.cancel()
        await run.settle()
        if stage.process.returncode is None:
            stage.process.kill()
        stage.do_state()
        await stage.process.wait()
        stage.do_state()
        await run.settle()


STEPS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from([0, 1, 500])),
    st.tuples(st.just("close")),
    st.tuples(st.just("read"), st.sampled_from(["stdout", "stderr"])),
    st.tuples(st.just("wait")),
    st.tuples(st.just("communicate"), st.sampled_from([None, b"", b"input"])),
    st.tuples(st.just("signal"), st.sampled_from(
        [signal.SIGTERM, signal.SIGINT])),
    st.tuples(st.just("end"), st.sampled_from(["terminate", "kill"])),
    st.tuples(st.just("cancel"), st.integers(0, 3)),
    st.tuples(st.just("state")),
)


@oracle.profile(25)
@hypothesis.given(scenario=st.fixed_dictionaries({
    "program": st.sampled_from(sorted(PROGRAMS)),
    "stdio": st.tuples(st.just(2), st.sampled_from([1, 2]),
                       st.sampled_from([1, 2])),    # of STDIO
    "steps": st.lists(STEPS, max_size=7)}))
def test_children_go_as_on_asyncio(flavour, scenario):
    oracle.compare(flavour.new_loop, play, scenario)
