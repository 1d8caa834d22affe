# SPDX-License-Identifier: Apache-2.0
"""rsloop_c.h: futures that native code completes, from a thread with the GIL and
from one without; each thing that may go wrong has a status for its answer."""

import asyncio
import gc

import pytest

from native import FROM, Recorder
from support import run, turns, until

pytestmark = pytest.mark.asyncio_is_worse("it has no such interface")


# --- futures ---

@FROM
async def test_future_is_completed(flavour, loop, probe, alone):
    recorder = Recorder(convert=["a result"])
    awaitable, handle = probe.make("future", 0, recorder)
    assert isinstance(awaitable, asyncio.Future)
    assert awaitable.get_loop() is loop
    assert probe.future(handle, "status", alone) == "OK"
    assert probe.future(handle, "complete", alone) == "OK"
    assert not awaitable.done()      # the loop has to come by
    assert await awaitable == ["a result"]
    assert probe.future(handle, "status", alone) == "DONE"
    assert recorder.said == ["convert"]
    probe.future(handle, "release", alone)
    await until(lambda: recorder.said == ["convert", "free"])


@FROM
async def test_future_is_completed_twice(flavour, loop, probe, alone):
    recorder = Recorder(convert=1)
    awaitable, handle = probe.make("future", 0, recorder)
    assert probe.future(handle, "complete", alone) == "OK"
    assert probe.future(handle, "complete", alone) == "DONE"
    assert probe.future(handle, "fail", alone, 0, "too late") == "DONE"
    assert await awaitable == 1
    assert probe.future(handle, "complete", alone) == "DONE"
    probe.future(handle, "release", alone)
    await until(lambda: recorder.said == ["convert", "free"])


async def test_future_is_released_at_once(flavour, loop, probe):
    recorder = Recorder(convert=1)
    awaitable, handle = probe.make("future", 0, recorder)
    probe.future(handle, "complete", True)
    probe.future(handle, "release", True)
    assert await awaitable == 1
    assert recorder.said == ["convert", "free"]


async def test_future_without_convert_is_none(flavour, loop, probe):
    recorder = Recorder()
    awaitable, handle = probe.make("bare", 0, recorder)
    probe.future(handle, "complete", True)
    probe.future(handle, "release", True)
    assert await awaitable is None
    assert recorder.said == ["free"]


@pytest.mark.parametrize("raised, expected", [
    (LookupError("no"), LookupError),
    (StopIteration(), TypeError),    # which no future takes; on 3.12+ as below
    (asyncio.CancelledError(), asyncio.CancelledError)])
async def test_convert_raises(flavour, loop, probe, raised, expected):
    recorder = Recorder(convert=raised)
    awaitable, handle = probe.make("future", 0, recorder)
    probe.future(handle, "complete", True)
    probe.future(handle, "release", True)
    with pytest.raises((expected, RuntimeError)):
        await awaitable
    assert recorder.said == ["convert", "free"]


@FROM
@pytest.mark.parametrize("code, text, expected", [
    (0, "broken", (RuntimeError, "broken")),
    (0, None, (RuntimeError, "native code failed")),
    (2, None, (FileNotFoundError, "No such file or directory")),
    (110, "slow", (TimeoutError, "slow")),
    (0, "x" * 1000, (RuntimeError, "^" + "x" * 255 + "$"))])
async def test_future_fails(flavour, loop, probe, alone, code, text, expected):
    recorder = Recorder()
    awaitable, handle = probe.make("future", 0, recorder)
    assert probe.future(handle, "fail", alone, code, text) == "OK"
    assert probe.future(handle, "complete", alone) == "DONE"
    probe.future(handle, "release", alone)
    with pytest.raises(expected[0], match=expected[1]):
        await awaitable
    assert recorder.said == ["free"]


@FROM
async def test_future_that_is_given_up_fails(flavour, loop, probe, alone):
    recorder = Recorder()
    awaitable, handle = probe.make("future", 0, recorder)
    probe.future(handle, "release", alone)
    with pytest.raises(RuntimeError, match="gave up"):
        await awaitable
    assert recorder.said == ["free"]


@FROM
async def test_cancel_reaches_the_native_side(flavour, loop, probe, alone):
    recorder = Recorder()
    awaitable, handle = probe.make("future", 0, recorder)
    task = asyncio.ensure_future(asyncio.wait_for(awaitable, None))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert recorder.said == ["cancel CANCELLED"]
    assert probe.future(handle, "status", alone) == "CANCELLED"
    assert probe.future(handle, "complete", alone) == "CANCELLED"
    assert probe.future(handle, "fail", alone, 5) == "CANCELLED"
    probe.future(handle, "release", alone)
    await until(lambda: recorder.said == ["cancel CANCELLED", "free"])


async def test_cancel_comes_after_the_completion(flavour, loop, probe):
    recorder = Recorder(convert=1)
    awaitable, handle = probe.make("future", 0, recorder)
    assert probe.future(handle, "complete", True) == "OK"
    assert awaitable.cancel("why not")
    assert not awaitable.cancel()
    probe.future(handle, "release", True)
    with pytest.raises(asyncio.CancelledError):
        await awaitable
    await until(lambda: recorder.said == ["free"])


async def test_somebody_else_completes_the_future(flavour, loop, probe):
    recorder = Recorder(convert=1)
    awaitable, handle = probe.make("future", 0, recorder)
    awaitable.set_result("theirs")
    assert probe.future(handle, "complete", True) == "OK"
    probe.future(handle, "release", True)
    assert await awaitable == "theirs"
    await until(lambda: recorder.said == ["free"])


async def test_cancel_takes_what_asyncios_takes(flavour, loop, probe):
    awaitable, handle = probe.make("future", 0, Recorder())
    with pytest.raises(TypeError):
        awaitable.cancel(1, 2)
    with pytest.raises(TypeError):
        awaitable.cancel(nonsense=1)
    assert awaitable.cancel(msg="why")
    with pytest.raises(asyncio.CancelledError, match="why"):
        await awaitable
    probe.future(handle, "release", True)
    await turns()


@FROM
def test_loop_closes_first(flavour, loop_factory, probe, alone):
    recorder, sent = Recorder(convert=1), Recorder(convert=1)
    loop = loop_factory()

    async def main():
        return probe.make("future", 0, recorder), probe.make("future", 0, sent)

    (_, handle), (_, other) = run(loop, main())
    assert probe.future(other, "complete", alone) == "OK"
    loop.close()
    assert recorder.said == ["cancel CLOSED"]
    assert sent.said == []
    for each in handle, other:
        assert probe.future(each, "complete", alone) == "CLOSED"
        assert probe.future(each, "fail", alone, 5) == "CLOSED"
        assert probe.future(each, "status", alone) in ("CLOSED", "DONE")
        probe.future(each, "release", alone)
    # They come home with the next one who uses the interface.
    again = loop_factory()
    run(again, make_current(probe))
    assert recorder.said == ["cancel CLOSED", "free"]
    assert sent.said == ["free"]


async def make_current(probe):
    locals_ = probe.current_locals()
    probe.locals_unref(locals_, False)
    await turns()


def test_loop_that_is_dropped_is_collected(flavour, probe):
    recorder = Recorder()
    loop = flavour.new_loop()

    async def main():
        return probe.make("future", 0, recorder)[1]

    handle = run(loop, main())
    locals_ = probe.locals_new(loop)
    with pytest.warns(ResourceWarning):
        del loop
        gc.collect()
    assert recorder.said == ["cancel CLOSED"]
    assert probe.future(handle, "complete", True) == "CLOSED"
    assert probe.call_soon(locals_, recorder, True) == "CLOSED"
    probe.future(handle, "release", True)
    probe.locals_unref(locals_, True)


async def test_many_threads_wake_the_loop_seldom(flavour, loop, probe):
    count = 2000
    results = await asyncio.gather(*probe.burst(count, 4))
    assert results == list(range(count))


async def test_many_are_cancelled_meanwhile(flavour, loop, probe):
    for _ in range(20):
        futures = probe.burst(200, 3)
        for future in futures[::2]:
            future.cancel()
        results = await asyncio.gather(*futures, return_exceptions=True)
        for index, result in enumerate(results):
            assert result == index or isinstance(result, asyncio.CancelledError)


def test_loops_close_under_their_threads(flavour, loop_factory, probe):
    async def main():
        probe.burst(300, 3)
        await asyncio.sleep(0)

    for _ in range(10):
        loop = loop_factory()
        run(loop, main())
        loop.close()
    run(loop_factory(), make_current(probe))


# --- local futures ---

async def test_local_future_steps_on_the_loops_thread(flavour, loop, probe):
    answers = [2, 2, 2, 1]
    recorder = Recorder(poll=lambda: answers.pop(0), convert="done")
    awaitable, handle = probe.make("local-", 0, recorder)
    assert handle == 0
    assert await awaitable == "done"
    assert recorder.said == ["poll"] * 4 + ["convert", "free"]


@FROM
async def test_local_future_waits_for_a_wake(flavour, loop, probe, alone):
    answers = [0, 0, 1]
    recorder = Recorder(poll=lambda: answers.pop(0), convert="done")
    awaitable, handle = probe.make("local", 0, recorder)
    await turns()
    assert recorder.said == ["poll"]
    assert probe.future(handle, "complete", alone) == "INVALID"
    assert probe.future(handle, "fail", alone, 5) == "INVALID"
    for _ in range(5):
        assert probe.future(handle, "wake", alone) == "OK"
    await turns()
    assert recorder.said == ["poll"] * 2        # five wakes, one step
    assert probe.future(handle, "wake", alone) == "OK"
    assert await awaitable == "done"
    assert probe.future(handle, "wake", alone) == "DONE"
    probe.future(handle, "release", alone)
    await until(lambda: recorder.said[-1] == "free")


async def test_local_future_raises(flavour, loop, probe):
    recorder = Recorder(poll=ZeroDivisionError("step"))
    awaitable, _ = probe.make("local-", 0, recorder)
    with pytest.raises(ZeroDivisionError, match="step"):
        await awaitable
    assert recorder.said == ["poll", "free"]


async def test_local_future_is_cancelled(flavour, loop, probe):
    recorder = Recorder(poll=0)
    awaitable, handle = probe.make("local", 0, recorder)
    await turns()
    awaitable.cancel()
    assert recorder.said == ["poll", "cancel CANCELLED"]
    assert probe.future(handle, "wake", True) == "CANCELLED"
    probe.future(handle, "release", True)
    await until(lambda: recorder.said[-1] == "free")


async def test_wake_is_for_local_futures_and_needs_poll(flavour, loop, probe):
    recorder = Recorder()
    awaitable, handle = probe.make("future", 0, recorder)
    assert probe.future(handle, "wake", True) == "INVALID"
    awaitable.cancel()
    probe.future(handle, "release", True)
    with pytest.raises(ValueError, match="poll"):
        probe.make("bare-local", 0, recorder)
    with pytest.raises(ValueError, match="work"):
        probe.make("bare-blocking", 0, recorder)
    await turns()


# --- blocking work ---

async def test_blocking_work(flavour, loop, probe):
    recorder = Recorder(convert="worked")
    awaitable, _ = probe.make("blocking", 0, recorder)
    await turns()                    # the loop is free meanwhile
    assert not awaitable.done()
    probe.work("go")
    assert await awaitable == "worked"
    await until(lambda: recorder.said == ["convert", "free"])
    probe.work("begun")


async def test_blocking_work_fails(flavour, loop, probe):
    recorder = Recorder()
    awaitable, _ = probe.make("blocking", 0, recorder)
    await until(lambda: probe.work("begun") == 1)
    probe.work("fail")
    with pytest.raises(FileNotFoundError):
        await awaitable
    await until(lambda: recorder.said == ["free"])


async def test_blocking_work_learns_that_it_is_cancelled(flavour, loop, probe):
    recorder = Recorder()
    awaitable, _ = probe.make("blocking", 0, recorder)
    await until(lambda: probe.work("begun") == 1)
    awaitable.cancel()
    probe.work("go")
    await until(lambda: recorder.said == ["cancel CANCELLED", "free"])
    assert probe.work("status") == 2             # RSLOOP_CANCELLED
