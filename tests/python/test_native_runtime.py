# SPDX-License-Identifier: Apache-2.0
"""rsloop_c.h beside the loop's thread: sources of the runtime thread, the pool.
The example is built."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import native
import rsloop_c
from native import FROM
from support import run, turns, until

pytestmark = pytest.mark.asyncio_is_worse("it has no such interface")

EPOLLIN = 1
ONESHOT = 1 << 30
HOUR_NS = 3600 * 10**9
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "native"


class Source:
    """What begin() started, and how often its callbacks were called."""

    def __init__(self, probe, what, locals_, fd=-1, events=0, delay_ns=0,
                 period_ns=0, alone=True):
        self.probe = probe
        self.status, self.handle, self.tally = probe.begin(
            what, locals_, fd, events, delay_ns, period_ns, alone)

    def __getattr__(self, name):
        names = "events", "overs", "last", "tid"
        return self.probe.tally(self.tally)[names.index(name)]

    def close(self, alone=True):
        self.probe.source(self.handle, 0, alone)

    async def end(self, alone=True):
        """Close it, and wait until nothing comes any more."""
        self.close(alone)
        await until(lambda: self.overs == 1)
        self.forget()

    def forget(self):
        self.probe.tally_free(self.tally)


@pytest.fixture
def locals_(loop, probe):
    made = probe.locals_new(loop)
    yield made
    probe.locals_unref(made, True)


@pytest.fixture
def started(probe, locals_):
    probe.runtime_start(locals_)
    probe.runtime_start(locals_)     # again is no harm
    return locals_


# --- the runtime thread ---

@FROM
async def test_nothing_before_the_start(flavour, loop, probe, locals_, alone):
    for what in "watch", "timer", "post":
        source = Source(probe, what, locals_, 0, EPOLLIN, alone=alone)
        assert (source.status, source.handle, source.overs) == ("INVALID", 0, 0)
        source.forget()


@FROM
async def test_task_runs_on_the_runtime_thread(flavour, loop, probe, started, alone):
    task = Source(probe, "post", started, alone=alone)
    assert task.status == "OK"
    await until(lambda: task.overs == 1)
    assert (task.events, task.last) == (1, 0)
    assert task.tid == rsloop_c.runtime_info(loop)["runtime_tid"]
    task.forget()


def test_sources_are_served_while_the_loop_does_not_run(flavour, loop, probe, started):
    task = Source(probe, "post", started)
    while task.overs == 0:
        pass                         # no loop, and the GIL is held throughout
    task.forget()


@FROM
async def test_watch(flavour, loop, probe, started, alone):
    reader, writer = os.pipe()
    watch = Source(probe, "watch", started, reader, EPOLLIN, alone=alone)
    assert watch.status == "OK"
    for count in range(1, 4):
        os.write(writer, b"x")
        await until(lambda: watch.events == count)
    assert watch.last == EPOLLIN
    await watch.end(alone)
    os.close(reader)
    os.close(writer)


@FROM
async def test_watch_that_is_armed_again(flavour, loop, probe, started, alone):
    reader, writer = os.pipe()
    watch = Source(probe, "watch", started, reader, EPOLLIN | ONESHOT, alone=alone)
    os.write(writer, b"xx")
    await until(lambda: watch.events == 1)
    assert probe.source(watch.handle, EPOLLIN | ONESHOT, alone) == "OK"
    await until(lambda: watch.events == 2)
    await watch.end(alone)
    os.close(reader)
    os.close(writer)


@FROM
async def test_watch_of_what_cannot_be_watched(flavour, loop, probe, started, alone):
    with open(__file__) as file:
        for fd in file.fileno(), 1 << 20:        # EPERM and EBADF
            watch = Source(probe, "watch", started, fd, EPOLLIN, alone=alone)
            assert (watch.status, watch.handle) == ("OS", 0)
            assert watch.overs == 0
            watch.forget()


@FROM
async def test_timers(flavour, loop, probe, started, alone):
    once = Source(probe, "timer", started, delay_ns=0, alone=alone)
    often = Source(probe, "timer", started, period_ns=10**6, alone=alone)
    never = Source(probe, "timer", started, delay_ns=HOUR_NS, alone=alone)
    wrong = Source(probe, "timer", started, delay_ns=-1, alone=alone)
    assert (wrong.status, wrong.handle) == ("INVALID", 0)
    await until(lambda: once.overs == 1)
    assert once.events == 1
    assert probe.source(once.handle, EPOLLIN, alone) == "INVALID"
    await until(lambda: often.events >= 3)
    await never.end(alone)
    await often.end(alone)
    once.close(alone)
    once.forget()
    wrong.forget()


@FROM
def test_loop_closes_with_its_sources(flavour, loop_factory, probe, alone):
    loop = loop_factory()
    locals_ = probe.locals_new(loop)
    probe.runtime_start(locals_)
    reader, writer = os.pipe()
    sources = [Source(probe, "watch", locals_, reader, EPOLLIN, alone=alone),
               Source(probe, "timer", locals_, delay_ns=HOUR_NS, alone=alone)]
    run(loop, turns())
    loop.close()
    for source in sources:
        assert (source.events, source.overs) == (0, 1)
        assert probe.source(source.handle, EPOLLIN, alone) == "CLOSED"
        source.close(alone)
        source.forget()
    for what in "watch", "timer", "post":
        late = Source(probe, what, locals_, reader, EPOLLIN, alone=alone)
        assert (late.status, late.handle, late.overs) == ("CLOSED", 0, 0)
        late.forget()
    with pytest.raises(RuntimeError, match="closed"):
        probe.runtime_start(locals_)
    probe.locals_unref(locals_, alone)
    os.close(reader)
    os.close(writer)


# --- the pool ---

@FROM
async def test_pool_needs_no_loop(flavour, loop, probe, alone):
    job = Source(probe, "blocking", 0, alone=alone)
    assert job.status == "OK"
    await until(lambda: job.overs == 1)
    job.forget()


# --- the example ---

SHOWS = ["loop: Loop on ", "native finished: hello",
         "steps on the loop's thread: 1000", "hello from Python, request 7",
         "2 files, several at once, in ", "an error of the pool's thread: ",
         "cancelled: the timer", "cancelled: so was the coroutine"]


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    native.compile_module(folder, "_example", EXAMPLE.glob("src/*.c"))
    return folder


def test_demo_of_the_example(flavour, example, tmp_path):
    environment = {**os.environ, **flavour.environment(),
                   "PYTHONPATH": str(example)}
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(EXAMPLE / "demo.py")],
        env=environment, text=True, capture_output=True)
    # -X dev is debug mode, which may find a callback slow.
    errors = re.sub(r"^Executing .* took [\d.]+ seconds\n", "", done.stderr,
                    flags=re.MULTILINE)
    assert (done.returncode, errors) == (0, "")
    rest = done.stdout
    for text in SHOWS:
        assert text in rest, f"no {text!r} in {done.stdout!r}"
        rest = rest.partition(text)[2]


def test_hashes_are_right(flavour, loop, example, tmp_path):
    module = native.load(example, "_example")
    data = bytes(range(256)) * 1000
    (tmp_path / "data").write_bytes(data)
    expected = 14695981039346656037
    for byte in data:
        expected = ((expected ^ byte) * 1099511628211) % 2**64

    async def main():
        return await asyncio.gather(
            *(module.hash_file(tmp_path / "data") for _ in range(20)))

    assert run(loop, main()) == [expected] * 20


def test_cmake_builds_the_example(tmp_path):
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("no cmake")
    native.compiler()
    native.includes()
    # A sanitizer's runtime may crash a shell, and cmake may be a script.
    environment = {**os.environ, "LD_PRELOAD": ""}
    subprocess.run(
        [cmake, "-S", str(EXAMPLE), "-B", str(tmp_path),
         f"-DPython_EXECUTABLE={sys.executable}",
         f"-Drsloop_c_DIR={rsloop_c.get_cmake_dir()}"],
        check=True, stdout=subprocess.DEVNULL, env=environment)
    subprocess.run([cmake, "--build", str(tmp_path)], check=True,
                   stdout=subprocess.DEVNULL, env=environment)
    assert list(tmp_path.glob("_example*.so"))
