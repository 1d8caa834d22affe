# SPDX-License-Identifier: Apache-2.0
"""rsloop_c.h: the header itself, locals, calls on the loop's thread, awaits; each
function from a thread with the GIL and from one without."""

import asyncio
import contextvars
import subprocess
import threading
from pathlib import Path

import pytest

import native
import rsloop_c
from native import FROM, Recorder
from support import turns, until

pytestmark = pytest.mark.asyncio_is_worse("it has no such interface")



# --- the header ---

@pytest.mark.parametrize("tool, standard, suffix", [
    ("cc", "c11", "c"), ("c++", "c++17", "cpp")])
def test_header_compiles_without_a_warning(tmp_path, tool, standard, suffix):
    source = tmp_path / f"uses.{suffix}"
    source.write_text("#include <rsloop_c.h>\n"
                      "const rsloop_api *table(void);\n"
                      "const rsloop_api *table(void) { return rsloop_import(); }\n")
    subprocess.run(
        [native.compiler(tool), f"-std={standard}", "-Wall", "-Wextra",
         "-Wpedantic", "-Wshadow", "-Werror", *native.includes(), "-c",
         str(source), "-o", str(tmp_path / "uses.o")], check=True)


def test_table_is_the_same_for_all(flavour, probe):
    assert probe.import_again()


@pytest.mark.parametrize("version, size", [(2, 4096), (0, 4096), (1, 8)])
def test_table_that_does_not_fit_is_refused(flavour, probe, monkeypatch, version, size):
    monkeypatch.setattr(rsloop_c._core, "_C_API", probe.other_table(version, size))
    with pytest.raises(ImportError, match=f"has ABI {version} of {size} bytes"):
        probe.import_again()


# --- locals ---

def test_no_running_loop(flavour, probe):
    for call in (probe.current_locals,
                 lambda: probe.make("future", 0, Recorder()),
                 lambda: probe.make("local", 0, Recorder()),
                 lambda: probe.make("blocking", 0, Recorder())):
        with pytest.raises(RuntimeError, match="no running event loop"):
            call()


def test_loop_of_another_kind(flavour, probe):
    async def main():
        probe.current_locals()

    loop = asyncio.SelectorEventLoop()
    with pytest.raises(TypeError, match="not an rsloop_c.Loop"):
        loop.run_until_complete(main())
    loop.close()
    with pytest.raises(TypeError, match="not an rsloop_c.Loop"):
        probe.locals_new(42)


def test_locals_before_the_loop_runs(flavour, loop_factory, probe):
    loop = loop_factory()
    number = contextvars.ContextVar("number")
    context = contextvars.copy_context()
    context.run(number.set, 7)
    with pytest.raises(TypeError, match="not a contextvars.Context"):
        probe.locals_new(loop, {})
    locals_ = probe.locals_new(loop, context)
    assert probe.locals_get(locals_, "loop") is loop
    assert probe.locals_get(locals_, "context") is context
    recorder = Recorder(convert=number.get)
    awaitable, handle = probe.make("future", locals_, recorder)
    probe.future(handle, "complete", True)
    probe.future(handle, "release", True)
    assert loop.run_until_complete(awaitable) == 7
    with pytest.raises(LookupError):
        number.get()
    loop.close()
    for name in "loop", "context":
        with pytest.raises(RuntimeError, match="closed"):
            probe.locals_get(locals_, name)
    with pytest.raises(RuntimeError, match="closed"):
        probe.make("future", locals_, recorder)
    with pytest.raises(RuntimeError, match="closed"):
        probe.locals_new(loop)
    probe.locals_unref(locals_, True)


async def test_locals_of_another_threads_loop(flavour, loop, probe):
    locals_ = probe.current_locals()
    raised = []

    def elsewhere():
        for call in (lambda: probe.locals_new(loop),
                     lambda: probe.make("future", locals_, Recorder())):
            try:
                call()
            except RuntimeError as exc:
                raised.append(str(exc))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(raised) == 2
    assert all("other than the current one" in text for text in raised)
    probe.locals_unref(locals_, True)
    await turns()


# --- the loop's thread ---

@FROM
async def test_call_soon(flavour, loop, probe, alone):
    order = []
    locals_ = probe.current_locals()
    recorder = Recorder(run=lambda: order.append("native"))

    def elsewhere():
        loop.call_soon_threadsafe(order.append, "before")
        assert probe.call_soon(locals_, recorder, alone) == "OK"
        loop.call_soon_threadsafe(order.append, "after")

    await asyncio.to_thread(elsewhere)
    probe.locals_unref(locals_, alone)           # the call has its own
    await until(lambda: len(order) == 3)
    assert order == ["before", "native", "after"]


async def test_call_that_raises(flavour, loop, probe):
    told = []
    loop.set_exception_handler(lambda loop, context: told.append(context))
    locals_ = probe.current_locals()
    error = LookupError("in a call")
    assert probe.call_soon(locals_, Recorder(run=error), True) == "OK"
    await until(lambda: told)
    assert told[0]["exception"] is error
    probe.locals_unref(locals_, True)
    await turns()


def test_call_that_exits(flavour, loop_factory, probe):
    loop = loop_factory()

    async def main():
        locals_ = probe.current_locals()
        probe.call_soon(locals_, Recorder(run=SystemExit(3)), True)
        probe.locals_unref(locals_, True)
        await asyncio.sleep(3600)

    with pytest.raises(SystemExit):
        loop.run_until_complete(main())


@FROM
def test_call_that_the_loop_does_not_live_to_see(flavour, loop_factory, probe, alone):
    loop, recorder = loop_factory(), Recorder()
    locals_ = probe.locals_new(loop)
    assert probe.call_soon(locals_, recorder, alone) == "OK"
    loop.close()
    assert recorder.said == ["drop"]
    assert probe.call_soon(locals_, recorder, alone) == "CLOSED"
    probe.locals_unref(locals_, alone)


# --- awaits ---

@FROM
async def test_native_code_awaits_a_coroutine(flavour, loop, probe, alone):
    number = contextvars.ContextVar("number")

    async def answer():
        await asyncio.sleep(0)
        return number.get()

    number.set(42)
    locals_ = probe.current_locals()
    number.set(0)
    recorder = Recorder(make=answer)
    status, handle = probe.await_soon(locals_, recorder, alone)
    assert status == "OK"
    await until(lambda: recorder.said == ["make", "done 42 None"])
    assert probe.await_op(handle, "cancel", alone) == "DONE"
    probe.await_op(handle, "release", alone)
    probe.locals_unref(locals_, alone)
    await turns()


@pytest.mark.parametrize("made, said", [
    (ZeroDivisionError("made"), "done None made"),
    (17, "done None An asyncio.Future, a coroutine or an awaitable is required"),
    (lambda: asyncio.sleep(0, "slept"), "done slept None")])
async def test_what_is_made_is_awaited_or_told(flavour, loop, probe, made, said):
    locals_ = probe.current_locals()
    recorder = Recorder(make=made)
    status, handle = probe.await_soon(locals_, recorder, True)
    assert status == "OK"
    await until(lambda: len(recorder.said) == 2)
    assert recorder.said[1].startswith(said.split(" or an")[0])
    probe.await_op(handle, "release", True)
    probe.locals_unref(locals_, True)
    await turns()


@FROM
async def test_an_await_is_cancelled(flavour, loop, probe, alone):
    locals_ = probe.current_locals()
    recorder = Recorder(make=asyncio.Event().wait)
    _, handle = probe.await_soon(locals_, recorder, alone)
    await turns()
    assert probe.await_op(handle, "cancel", alone) == "OK"
    probe.await_op(handle, "release", alone)
    await until(lambda: recorder.said == ["make", "done None "])
    probe.locals_unref(locals_, alone)
    await turns()


@pytest.mark.parametrize("keep", [False, True])
async def test_into_future(flavour, loop, probe, keep):
    locals_ = probe.current_locals()
    recorder, other = Recorder(), Recorder()
    future = loop.create_future()
    handle = probe.into_future(locals_, future, recorder, keep)
    assert bool(handle) == keep
    future.set_result("told")
    await until(lambda: recorder.said == ["done told None"])
    with pytest.raises(TypeError):
        probe.into_future(locals_, object(), other, keep)
    assert other.said == []
    if keep:
        probe.await_op(handle, "release", True)
    probe.locals_unref(locals_, True)
    await turns()


@FROM
def test_loop_closes_before_the_await_is_over(flavour, loop_factory, probe, alone):
    loop = loop_factory()
    begun, queued = Recorder(make=loop.create_future), Recorder()

    async def main():
        locals_ = probe.current_locals()
        _, first = probe.await_soon(locals_, begun, alone)
        await until(lambda: begun.said)
        return locals_, first

    locals_, first = loop.run_until_complete(main())
    _, second = probe.await_soon(locals_, queued, alone)
    loop.close()
    assert begun.said == ["make", "done None None"]
    assert queued.said == ["done None None"]
    for handle in first, second:
        assert probe.await_op(handle, "cancel", alone) == "CLOSED"
        probe.await_op(handle, "release", alone)
    assert probe.await_soon(locals_, queued, alone) == ("CLOSED", 0)
    probe.locals_unref(locals_, alone)


# --- the package ---

def test_package_tells_where_its_parts_are():
    include = Path(rsloop_c.get_include())
    cmake = Path(rsloop_c.get_cmake_dir())
    assert (include / "rsloop_c.h").is_file()
    assert (cmake / "rsloop_c-config.cmake").is_file()
