# SPDX-License-Identifier: Apache-2.0
"""What becomes of a job of run_in_executor(): its outcome, its cancellation, the
threads it needs."""

import asyncio
import concurrent.futures
import contextvars
import gc
import sys
import threading
import weakref

import pytest

from support import PATIENCE, run, run_python, turns

VARIABLE = contextvars.ContextVar("VARIABLE", default="outside")


def raises(exc):
    def job():
        raise exc

    return job


@pytest.fixture
def full(loop):
    """The default executor, all of whose threads are busy; set() frees them."""
    release = threading.Event()
    started = threading.Semaphore(0)

    def block():
        started.release()
        release.wait(PATIENCE)

    async def fill():
        first = loop.run_in_executor(None, block)
        most = loop._default_executor._max_workers
        jobs = [first] + [loop.run_in_executor(None, block) for _ in range(most - 1)]
        for _ in range(most):
            assert started.acquire(timeout=PATIENCE)
        return jobs

    jobs = loop.run_until_complete(fill())
    release.jobs = jobs
    yield release
    release.set()
    if not loop.is_closed():
        run(loop, asyncio.wait(jobs))


# --- Outcomes ---


@pytest.mark.parametrize("exc", [
    ValueError("no"), SystemExit(3), KeyboardInterrupt("k")])
def test_the_future_has_the_very_exception(loop, exc):
    async def main():
        future = loop.run_in_executor(None, raises(exc))
        await asyncio.wait([future])
        assert future.exception() is exc

    run(loop, main())


@pytest.mark.parametrize("given, expected", [
    (concurrent.futures.CancelledError, asyncio.CancelledError),
    (concurrent.futures.InvalidStateError, asyncio.InvalidStateError)])
def test_exceptions_of_concurrent_futures_become_asyncios(loop, given, expected):
    async def main():
        future = loop.run_in_executor(None, raises(given("why")))
        await asyncio.wait([future])
        assert type(future.exception()) is expected
        assert future.exception().args == ("why",)

    run(loop, main())


def test_stop_iteration_does_what_a_future_does_with_it(loop):
    reported = asyncio.Event()
    seen = []

    def handler(_loop, context):
        seen.append(context["exception"])
        reported.set()

    async def main():
        loop.set_exception_handler(handler)
        future = loop.run_in_executor(None, raises(StopIteration("v")))
        if sys.version_info >= (3, 12, 2):
            with pytest.raises(RuntimeError, match="StopIteration"):
                await future
        else:
            await reported.wait()
            assert isinstance(seen[0], TypeError)

    run(loop, main())


def test_the_traceback_leads_to_the_function(loop):
    def culprit():
        raise LookupError

    async def main():
        with pytest.raises(LookupError) as caught:
            await loop.run_in_executor(None, culprit)
        assert caught.traceback[-1].name == "culprit"

    run(loop, main())


def test_a_future_that_was_set_meanwhile_is_reported(loop):
    seen = []
    release = threading.Event()

    async def main():
        reported = asyncio.Event()

        def handler(_loop, context):
            seen.append(context["exception"])
            reported.set()

        loop.set_exception_handler(handler)
        future = loop.run_in_executor(None, release.wait, PATIENCE)
        future.set_result("mine")
        release.set()
        await reported.wait()
        assert future.result() == "mine"

    run(loop, main())
    assert [type(exc) for exc in seen] == [AssertionError]


def test_results_come_after_the_calls_that_the_job_made(loop):
    seen = []
    awaited = threading.Semaphore(0)

    def job():
        awaited.acquire(timeout=PATIENCE)
        loop.call_soon_threadsafe(seen.append, "call")

    async def main():
        for _ in range(50):
            loop.call_soon(awaited.release)
            await loop.run_in_executor(None, job)
            seen.append("result")

    run(loop, main())
    assert seen == ["call", "result"] * 50


def test_a_job_that_ends_between_two_runs_is_not_lost(loop):
    ended = threading.Event()

    def job():
        loop.call_soon_threadsafe(ended.set)  # behind it comes the result
        return "value"

    async def start():
        return loop.run_in_executor(None, job)

    future = loop.run_until_complete(start())
    gc.collect()
    assert run(loop, asyncio.wait([future]))
    assert future.result() == "value"


# --- Contexts ---


def test_jobs_do_not_see_their_callers_context(loop):
    async def main():
        VARIABLE.set("inside")
        return await loop.run_in_executor(None, VARIABLE.get)

    assert run(loop, main()) == "outside"


def test_to_thread_takes_the_context_along(loop):
    async def main():
        VARIABLE.set("inside")
        return await asyncio.to_thread(VARIABLE.get)

    assert run(loop, main()) == "inside"


# --- Cancellation ---


def test_a_cancelled_job_that_waits_never_runs(loop, full):
    ran = []

    async def main():
        future = loop.run_in_executor(None, ran.append, "cancelled")
        future.cancel()
        await turns()  # asyncio's job hears of it in the next one
        assert future.cancelled()
        other = loop.run_in_executor(None, ran.append, "other")
        full.set()
        await other

    run(loop, main())
    assert ran == ["other"]


def test_a_job_that_runs_outlives_its_cancellation(loop):
    started, release, seen = threading.Event(), threading.Event(), []

    def job():
        started.set()
        release.wait(PATIENCE)
        seen.append("ended")
        raise ValueError("nobody hears this")

    async def main():
        loop.set_exception_handler(lambda _loop, context: seen.append(context))
        future = loop.run_in_executor(None, job)
        await loop.run_in_executor(None, started.wait, PATIENCE)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        release.set()
        await loop.shutdown_default_executor()
        await asyncio.sleep(0)

    run(loop, main())
    assert seen == ["ended"]


def test_shutdown_can_cancel_what_waits(loop, full):
    async def main():
        waiting = [loop.run_in_executor(None, int) for _ in range(5)]
        loop._default_executor.shutdown(wait=False, cancel_futures=True)
        await asyncio.wait(waiting)
        assert all(future.cancelled() for future in waiting)
        full.set()
        await asyncio.wait(full.jobs)

    run(loop, main())


def test_another_thread_can_cancel_what_waits(loop, full):
    async def main():
        waiting = [loop.run_in_executor(None, int) for _ in range(5)]
        thread = threading.Thread(
            target=loop._default_executor.shutdown,
            kwargs={"wait": False, "cancel_futures": True})
        thread.start()
        await asyncio.wait(waiting)
        assert all(future.cancelled() for future in waiting)
        thread.join()

    run(loop, main())


# --- Ends ---


@pytest.mark.parametrize("outcome", ["result", "exception"])
def test_a_job_may_end_after_its_loop_was_closed(loop, full, outcome):
    class Noticed:
        pass

    def job(value):
        if outcome == "exception":
            raise ValueError
        return value

    async def start():
        noticed = Noticed()
        loop.run_in_executor(None, job, noticed)
        return weakref.ref(noticed)

    reference = loop.run_until_complete(start())
    threads = list(loop._default_executor._threads)
    loop.close()
    full.set()
    for thread in threads:
        thread.join(PATIENCE)
    gc.collect()
    assert reference() is None


def test_a_closed_loop_with_jobs_is_freed(flavour):
    release = threading.Event()
    threads = []

    def job():
        threads.append(threading.current_thread())
        release.wait(PATIENCE)

    async def start():
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, job)
        await loop.run_in_executor(None, int)

    own = flavour.new_loop()
    own.run_until_complete(start())
    own.close()
    reference = weakref.ref(own)
    del own
    release.set()
    for thread in threads:
        thread.join(PATIENCE)
    gc.collect()
    assert reference() is None


def test_a_job_refuses_a_closed_loop(loop):
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_in_executor(None, int)


def test_nothing_is_taken_after_the_executor_was_shut_down(loop):
    async def main():
        await loop.run_in_executor(None, int)
        loop._default_executor.shutdown()
        with pytest.raises(RuntimeError, match="after shutdown"):
            loop.run_in_executor(None, int)

    run(loop, main())


def test_the_interpreter_waits_for_jobs_at_its_end(flavour):
    result = run_python("""
        import threading
        loop = new_event_loop()
        started, release = threading.Event(), threading.Event()
        def job():
            started.set()
            release.wait()
            print("ended", flush=True)
        async def main():
            loop.run_in_executor(None, job)
            await loop.run_in_executor(None, started.wait)
        loop.run_until_complete(main())
        threading.Timer(0.05, release.set).start()
    """, flavour)
    assert result.stdout == "ended\n", result.stderr


# --- Threads ---


def test_jobs_run_on_threads_named_after_asyncio(loop):
    async def main():
        return await loop.run_in_executor(
            None, lambda: threading.current_thread().name)

    assert run(loop, main()).startswith("asyncio_")


def test_jobs_that_wait_for_each_other_get_a_thread_each(loop):
    async def main():
        for parties in (2, 4, 3, 5):
            barrier = threading.Barrier(parties, timeout=PATIENCE)
            await asyncio.gather(*(
                loop.run_in_executor(None, barrier.wait) for _ in range(parties)))

    run(loop, main())


def test_threads_are_as_many_as_the_executor_may_have(loop):
    async def main():
        await asyncio.gather(*(
            loop.run_in_executor(None, abs, -n) for n in range(500)))
        executor = loop._default_executor
        assert 1 <= len(executor._threads) <= executor._max_workers

    run(loop, main())


def test_other_callbacks_run_while_jobs_come_without_end(loop):
    """Jobs in C, one after the other: the loop's thread gets the GIL too."""
    async def main():
        jobs = [loop.run_in_executor(None, abs, -n) for n in range(3000)]
        turns = 0
        while not all(job.done() for job in jobs):
            await asyncio.sleep(0)
            turns += 1
        assert turns > 0
        assert [job.result() for job in jobs] == list(range(3000))

    run(loop, main())


def test_jobs_of_several_threads_all_return(loop):
    async def main():
        async def chain(start):
            for n in range(start, start + 100):
                assert await loop.run_in_executor(None, abs, -n) == n

        await asyncio.gather(*(chain(n * 1000) for n in range(8)))

    run(loop, main())
