# SPDX-License-Identifier: Apache-2.0
"""rsloop_c.h beside the loop's thread: sources of the runtime thread, the pool;
and the ends of things: interpreters, forks, processes. The example is built."""

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
from support import run, run_python, turns, until

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


# --- ends ---

def child(flavour, folder, code, **options):
    return run_python(f"sys.path.insert(0, {str(folder)!r})\n"
                      "import native_probe as probe\n" + code, flavour,
                      timeout=60, **options)


def test_exit_while_threads_complete_futures(flavour, probe_folder):
    for _ in range(3):
        done = child(flavour, probe_folder, """
loop = new_event_loop()
async def main():
    loop.futures = probe.burst(20000, 3)
    await asyncio.sleep(0)
loop.run_until_complete(main())
import warnings
warnings.simplefilter("ignore")
print("good")
""")
        assert (done.returncode, done.stdout, done.stderr) == (0, "good\n", "")


def test_exit_with_handles_and_an_open_loop(flavour, probe_folder):
    done = child(flavour, probe_folder, """
import atexit
loop = new_event_loop()
def recorder(*what):
    return 0
async def main():
    locals_ = probe.current_locals()
    probe.runtime_start(locals_)
    probe.begin("t", locals_, -1, 0, 0, 10**6, True)
    probe.make("local", locals_, recorder)
    probe.make("blocking", locals_, recorder)
    probe.await_soon(locals_, recorder, True)
    handle = probe.make("future", locals_, recorder)[1]
    atexit.register(lambda: print(probe.future(handle, "complete", True)))
loop.run_until_complete(main())
import warnings
warnings.simplefilter("ignore")
""")
    assert (done.returncode, done.stdout) == (0, "OK\n"), done.stderr


def test_child_of_a_fork_is_told(flavour, probe_folder):
    done = child(flavour, probe_folder, """
import warnings
warnings.simplefilter("ignore")
loop = new_event_loop()
locals_ = probe.locals_new(loop)
probe.runtime_start(locals_)
said = []
def recorder(*what):
    said.append(what)
awaitable, handle = probe.make("future", locals_, recorder)
timer = probe.begin("t", locals_, -1, 0, 3600 * 10**9, 0, True)[1]
pid = os.fork()
if pid == 0:
    statuses = [probe.future(handle, "complete", False),
                probe.call_soon(locals_, recorder, False),
                probe.await_soon(locals_, recorder, False)[0],
                probe.begin("p", locals_, -1, 0, 0, 0, False)[0]]
    probe.source(timer, 0, False)
    loop.close()
    os._exit(0 if statuses == ["FORKED"] * 4 else 1)
assert os.waitpid(pid, 0)[1] == 0
assert probe.future(handle, "complete", False) == "OK"
probe.future(handle, "release", False)
probe.source(timer, 0, False)
loop.run_until_complete(awaitable)
probe.locals_unref(locals_, False)
loop.close()
print(said)
""")
    assert (done.returncode, done.stdout) == (
        0, "[('convert',), ('free',)]\n"), done.stderr


@pytest.mark.skipif(sys.version_info < (3, 13),
                    reason="3.12 crashes at its end with asyncio alone too")
def test_subinterpreter_with_a_gil_of_its_own(flavour, probe_folder):
    code = """
        import asyncio, support
        import native_probe as probe
        loop = support.child_flavour().new_loop()
        async def main():
            locals_ = probe.current_locals()
            assert await asyncio.gather(*probe.burst(300, 3)) == list(range(300))
            probe.locals_unref(locals_, True)
            probe.burst(300, 3)
        loop.run_until_complete(main())
        loop.close()
    """
    done = child(flavour, probe_folder, f"""
import _interpreters, textwrap
for _ in range(3):
    interpreter = _interpreters.create("isolated")
    failed = _interpreters.run_string(
        interpreter, f"import sys; sys.path[:] = {{sys.path!r}}\\n"
        + textwrap.dedent({code!r}))
    assert failed is None, failed
    _interpreters.destroy(interpreter)
print("good")
""")
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stderr


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
    assert (done.returncode, done.stderr) == (0, "")
    rest = done.stdout
    for text in SHOWS:
        assert text in rest, f"no {text!r} in {done.stdout!r}"
        rest = rest.partition(text)[2]


SHELL = """
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>
#include <rsloop_c.h>
#include <stdlib.h>
%s
static PyMethodDef methods[] = {
    {"answer", answer, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)module_exec},
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL}};
static struct PyModuleDef def = {
    PyModuleDef_HEAD_INIT, .m_name = "from_docs", .m_methods = methods,
    .m_slots = slots};
PyMODINIT_FUNC
PyInit_from_docs(void)
{
    return PyModuleDef_Init(&def);
}
"""


def test_first_program_of_the_documentation(flavour, loop, tmp_path):
    text = (EXAMPLE.parents[1] / "docs" / "native-api.md").read_text()
    blocks = re.findall(r"```c\n(.*?)```", text, re.DOTALL)
    code = [block for block in blocks
            if "module_exec" in block or "answer_convert" in block]
    assert len(code) == 2
    source = tmp_path / "from_docs.c"
    source.write_text(SHELL.replace("%s", "\n".join(code)))
    # Its functions take arguments that they do not use.
    native.compile_module(tmp_path, "from_docs", [source], "-Wno-unused-parameter")
    module = native.load(tmp_path, "from_docs")

    async def main():
        return await module.answer()

    assert run(loop, main()) == 42


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
    subprocess.run(
        [cmake, "-S", str(EXAMPLE), "-B", str(tmp_path),
         f"-DPython_EXECUTABLE={sys.executable}",
         f"-Drsloop_c_DIR={rsloop_c.get_cmake_dir()}"],
        check=True, stdout=subprocess.DEVNULL)
    subprocess.run([cmake, "--build", str(tmp_path)], check=True,
                   stdout=subprocess.DEVNULL)
    assert list(tmp_path.glob("_example*.so"))
