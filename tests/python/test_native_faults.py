# SPDX-License-Identifier: Apache-2.0
"""rsloop_c.h when things go wrong: ends that come first (of a loop, a process, an
interpreter, a fork's parent), strangers, NULLs, all threads at once."""

import asyncio
import os
import sys

import pytest

from native import FROM, Recorder
from support import run, run_python, turns, until

pytestmark = pytest.mark.asyncio_is_worse("it has no such interface")

NEEDS_313 = pytest.mark.skipif(
    sys.version_info < (3, 13),
    reason="3.12 crashes at its end with asyncio alone too")


# --- NULL, where the header has it ---

@FROM
def test_null_is_ignored(flavour, probe, alone):
    assert probe.nulls(alone) == 0


@FROM
async def test_handles_that_nobody_wants(flavour, loop, probe, alone):
    locals_ = probe.current_locals()
    probe.runtime_start(locals_)
    recorder = Recorder(make=lambda: asyncio.sleep(0, "slept"))
    assert probe.await_soon_alone(locals_, recorder, alone) == ("OK", 0)
    await until(lambda: recorder.said == ["make", "done slept None"])
    status, handle, tally = probe.begin("timer-", locals_, -1, 0, 0, 0, alone)
    assert (status, handle) == ("OK", 0)
    await until(lambda: probe.tally(tally)[1] == 1)
    assert probe.tally(tally)[0] == 1
    probe.tally_free(tally)
    recorder = Recorder(poll=1, convert="stepped")
    awaitable, handle = probe.make("local-", locals_, recorder)
    assert handle == 0
    assert await awaitable == "stepped"
    await until(lambda: recorder.said == ["poll", "convert", "free"])
    probe.locals_unref(locals_, alone)
    await turns()


# --- what comes too late ---

@FROM
async def test_callbacks_ask_about_their_own_future(flavour, loop, probe, alone):
    said = []
    handle = None

    def ask():
        for name in "complete", "status":
            said.append(probe.future(handle, name, alone))

    recorder = Recorder(convert=ask)
    awaitable, handle = probe.make("future", 0, recorder)
    probe.future(handle, "complete", alone)
    await awaitable
    assert said == ["DONE", "DONE"]
    probe.future(handle, "release", alone)
    said.clear()
    recorder = Recorder(cancel=ask)
    awaitable, handle = probe.make("future", 0, recorder)
    awaitable.cancel()
    assert said == ["CANCELLED", "CANCELLED"]
    probe.future(handle, "release", alone)
    await turns()


@FROM
def test_wakes_that_come_too_late(flavour, loop_factory, probe, alone):
    loop = loop_factory()
    over, left = Recorder(poll=1), Recorder(poll=0)

    async def main():
        awaitable, handle = probe.make("local", 0, over)
        await awaitable
        assert probe.future(handle, "wake", alone) == "DONE"
        probe.future(handle, "release", alone)
        return probe.make("local", 0, left)[1]

    handle = run(loop, main())
    loop.close()
    assert left.said[-1] == "cancel CLOSED"
    for name in "wake", "status":
        assert probe.future(handle, name, alone) == "CLOSED"
    assert probe.future(handle, "complete", alone) == "INVALID"
    probe.future(handle, "release", alone)


# --- all threads at once ---

def is_over(probe, storm):
    kinds, odd = probe.storm_left(storm)
    assert odd == 0
    return all(taken == over for taken, over in kinds)


@pytest.fixture
def readable():
    reader, writer = os.pipe()
    os.write(writer, b"x")
    yield reader
    os.close(reader)
    os.close(writer)


async def test_all_threads_at_once(flavour, loop, probe, readable):
    locals_ = probe.current_locals()
    probe.runtime_start(locals_)
    storm = probe.storm(locals_, readable, 3, 100)
    await asyncio.to_thread(probe.storm_join, storm)
    await until(lambda: is_over(probe, storm))
    kinds, _ = probe.storm_left(storm)
    calls, awaits, posts, timers, watches, jobs = kinds
    assert calls == awaits == posts == jobs == (300, 300)
    assert timers == (600, 600) and watches[0] > 0
    probe.storm_free(storm)
    probe.locals_unref(locals_, True)
    await turns()


def test_loop_closes_under_all_threads(flavour, loop_factory, probe, readable):
    for turns_before in range(5):
        loop = loop_factory()
        locals_ = probe.locals_new(loop)
        probe.runtime_start(locals_)
        storm = probe.storm(locals_, readable, 3, 200)
        run(loop, turns(turns_before))
        loop.close()
        probe.storm_join(storm)
        probe.locals_unref(locals_, True)
        # The pool is no loop's; the rest was over when close() returned.
        while not is_over(probe, storm):
            os.sched_yield()
        probe.storm_free(storm)


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
                probe.future(handle, "fail", False, 5),
                probe.call_soon(locals_, recorder, False),
                probe.await_soon(locals_, recorder, False)[0],
                probe.begin("p", locals_, -1, 0, 0, 0, False)[0],
                probe.begin("t", locals_, -1, 0, 0, 0, False)[0],
                probe.source(timer, 1, False)]
    for call in (lambda: probe.make("future", locals_, recorder),
                 lambda: probe.make("local", locals_, recorder),
                 lambda: probe.make("blocking", locals_, recorder),
                 lambda: probe.runtime_start(locals_)):
        try:
            call()
        except RuntimeError as exc:
            statuses.append("FORKED" if "parent" in str(exc) else str(exc))
    probe.source(timer, 0, False)
    probe.future(handle, "release", False)
    loop.close()
    # A loop of the child's own has all of it, and the pool's threads too.
    again = None if "libtsan" in os.environ.get("LD_PRELOAD", "") else (
        new_event_loop())    # TSan knows no threads of a fork's child
    async def main():
        probe.work("go")
        assert await probe.make("blocking", 0, lambda *what: 7)[0] == 7
        assert await asyncio.gather(*probe.burst(100, 2)) == list(range(100))
    if again is not None:
        again.run_until_complete(main())
        again.close()
    if statuses != ["FORKED"] * 11:
        print(statuses, file=sys.stderr)
        os._exit(1)
    os._exit(0)
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


@NEEDS_313
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


def test_exit_under_all_threads(flavour, probe_folder):
    done = child(flavour, probe_folder, """
import warnings
warnings.simplefilter("ignore")
reader, writer = os.pipe()
os.write(writer, b"x")
loop = new_event_loop()
async def main():
    locals_ = probe.current_locals()
    probe.runtime_start(locals_)
    probe.storm(locals_, reader, 3, 10**9)
    await asyncio.sleep(0.05)
loop.run_until_complete(main())
print("good")
""")
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stderr


# An interpreter of its own has a loop and gives its handles away, as numbers.
THEIRS = """
import os, support, warnings
warnings.simplefilter("ignore")
import native_probe as theirs
said = []
def recorder(*what):
    said.append(what)
    return 0
loop = support.child_flavour().new_loop()
locals_ = theirs.locals_new(loop)
theirs.runtime_start(locals_)
future = theirs.make("future", locals_, recorder)
local = theirs.make("local", locals_, recorder)
awaited = theirs.await_soon(locals_, recorder, True)[1]
timer = theirs.begin("t", locals_, -1, 0, 0, 10**6, True)[1]
numbers = locals_, future[1], local[1], awaited, timer
os.write(writer, repr(numbers).encode())
"""
OTHER_INTERPRETER = f"""
import _interpreters, warnings
warnings.simplefilter("ignore")
interpreter = _interpreters.create("isolated")
reader, writer = os.pipe()
theirs = {THEIRS!r}
failed = _interpreters.run_string(
    interpreter, f"import sys; sys.path[:] = {{sys.path!r}}; writer = {{writer}}"
    + theirs)
assert failed is None, failed
locals_, future, local, awaited, timer = eval(os.read(reader, 1000))
"""


@NEEDS_313
def test_locals_of_another_interpreter(flavour, probe_folder):
    done = child(flavour, probe_folder, OTHER_INTERPRETER + """
def recorder(*what):
    print(*what)
refused = [lambda: probe.make("future", locals_, recorder),
           lambda: probe.make("local", locals_, recorder),
           lambda: probe.make("blocking", locals_, recorder),
           lambda: probe.into_future(locals_, None, recorder, True),
           lambda: probe.runtime_start(locals_),
           lambda: probe.locals_get(locals_, "loop"),
           lambda: probe.locals_get(locals_, "context")]
for call in refused:
    try:
        print(call())
    except RuntimeError as exc:
        print(exc)
# What needs no Python is for all threads, whose ever they are.
print(probe.future(future, "complete", False))
print(_interpreters.run_string(interpreter, '''
loop.run_until_complete(future[0])
theirs.future(future[1], "release", True)
theirs.future(local[1], "release", True)
theirs.await_op(%d, "release", True)
theirs.source(%d, 0, True)
theirs.locals_unref(locals_, True)
loop.close()
assert ("convert",) in said and ("free",) in said, said
''' % (awaited, timer)))
_interpreters.destroy(interpreter)
""")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "the event loop belongs to another interpreter"] * 7 + ["OK", "None"]


@NEEDS_313
@pytest.mark.parametrize("closes", [True, False], ids=["closed", "open"])
def test_interpreter_ends_before_its_handles(flavour, probe_folder, closes):
    done = child(flavour, probe_folder, OTHER_INTERPRETER + f"""
if {closes}:
    failed = _interpreters.run_string(interpreter, "loop.close()")
    assert failed is None, failed
_interpreters.destroy(interpreter)
for native in False, True:
    print(probe.future(future, "complete", native),
          probe.future(future, "fail", native, 5),
          probe.future(local, "wake", native),
          probe.await_op(awaited, "cancel", native),
          probe.source(timer, 1, native),
          probe.begin("p", locals_, -1, 0, 0, 0, native)[0])
try:
    probe.make("future", locals_, print)
except RuntimeError as exc:
    print(exc)
for handle in future, local:
    probe.future(handle, "release", True)
probe.await_op(awaited, "release", True)
probe.source(timer, 0, True)
probe.locals_unref(locals_, True)
# The next loop's are not mixed up with them.
loop = new_event_loop()
async def main():
    assert await asyncio.gather(*probe.burst(10, 2)) == list(range(10))
loop.run_until_complete(main())
loop.close()
""")
    assert (done.returncode, done.stderr) == (0, "")
    *statuses, refused = done.stdout.splitlines()
    assert refused == "the event loop belongs to another interpreter"
    if closes:
        assert statuses == [" ".join(["CLOSED"] * 6)] * 2
    else:            # nobody may have closed it, nor collected it
        said = set(" ".join(statuses).split())
        assert len(statuses) == 2 and said <= {"OK", "DONE", "INVALID", "CLOSED"}
