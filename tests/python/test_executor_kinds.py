# SPDX-License-Identifier: Apache-2.0
"""run_in_executor() on executors of all kinds, and what ours is to others."""

import asyncio
import concurrent.futures
import threading
from unittest import mock

import pytest

import rsloop_c
from support import PATIENCE, environ, run, run_python


def test_the_default_executor_is_a_thread_pool_to_everybody(loop):
    async def main():
        await loop.run_in_executor(None, int)
        executor = loop._default_executor
        assert isinstance(executor, concurrent.futures.ThreadPoolExecutor)
        assert executor.submit(divmod, 7, 2).result(PATIENCE) == (3, 1)
        assert list(executor.map(abs, range(-50, 0))) == list(range(50, 0, -1))
        with pytest.raises(ZeroDivisionError):
            executor.submit(divmod, 1, 0).result(PATIENCE)
        assert executor._work_queue.qsize() == 0
        return await loop.run_in_executor(executor, abs, -1)

    assert run(loop, main()) == 1


def test_arguments_may_be_keywords(loop):
    async def main():
        return [await loop.run_in_executor(executor=None, func=int) for _ in "ab"]

    assert run(loop, main()) == [0, 0]


def test_a_replaced_submit_is_called(loop):
    original = concurrent.futures.ThreadPoolExecutor.submit
    seen = []

    def submit(self, fn, /, *args, **kwargs):
        seen.append(fn)
        return original(self, fn, *args, **kwargs)

    async def main():
        await loop.run_in_executor(None, int)
        with mock.patch.object(
                concurrent.futures.ThreadPoolExecutor, "submit", submit):
            await loop.run_in_executor(None, float)
        await loop.run_in_executor(None, int)
        with mock.patch.object(loop._default_executor, "submit",
                               submit.__get__(loop._default_executor)):
            await loop.run_in_executor(None, str)

    run(loop, main())
    assert seen == [float, str]


def test_a_replaced_executor_class_is_used(loop):
    class Mine(concurrent.futures.ThreadPoolExecutor):
        pass

    async def main():
        with mock.patch("concurrent.futures.ThreadPoolExecutor", Mine):
            await loop.run_in_executor(None, int)

    run(loop, main())
    assert type(loop._default_executor) is Mine


def test_an_executor_may_return_a_done_future(loop):
    class AtOnce(concurrent.futures.Executor):
        def submit(self, fn, /, *args, **kwargs):
            future = concurrent.futures.Future()
            future.set_result(fn(*args, **kwargs))
            return future

    async def main():
        return await loop.run_in_executor(AtOnce(), pow, 2, 5)

    assert run(loop, main()) == 32


def test_an_executor_may_return_a_future_of_the_loop(loop):
    future = loop.create_future()
    executor = mock.Mock()
    executor.submit.return_value = future
    assert loop.run_in_executor(executor, abs, -1) is future
    executor.submit.assert_called_once_with(abs, -1)


def test_processes_run_jobs(flavour):
    """In a child: multiprocessing keeps a process of its own for good, which
    tests of subprocesses would find."""
    done = run_python("""
        import concurrent.futures, multiprocessing

        async def main(pool):
            return await asyncio.get_running_loop().run_in_executor(
                pool, os.getpid)

        context = multiprocessing.get_context("spawn")
        loop = new_event_loop()
        with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
            assert loop.run_until_complete(main(pool)) != os.getpid()
        loop.close()
        print("good")
        """, flavour)
    assert done.stdout == "good\n", done.stderr


@pytest.mark.parametrize("microseconds", [0, 30, 10_000])
def test_jobs_return_however_long_workers_look_for_them(flavour, microseconds):
    """One after the other, so that looks pay; then several at once, and a pause."""
    with environ(RSLOOP_C_SPIN_US=str(microseconds)):
        loop = flavour.new_loop()

    async def main():
        for n in range(1000):
            assert await loop.run_in_executor(None, abs, -n) == n
        for _ in range(20):
            barrier = threading.Barrier(3, timeout=PATIENCE)
            await asyncio.gather(*(
                loop.run_in_executor(None, barrier.wait) for _ in range(3)))
            await asyncio.sleep(0.001)
        await loop.shutdown_default_executor()

    run(loop, main())
    loop.close()


def test_debug_mode_may_come_and_go(loop):
    async def main():
        for debug in (False, True, False):
            loop.set_debug(debug)
            assert await loop.run_in_executor(None, abs, -2) == 2

    run(loop, main())


def test_the_queue_refuses_what_it_cannot_take():
    queue = rsloop_c._core.WorkQueue(None, 0)
    for wrong in [(42, 0), (), (None,), (None, None), (None, 0, 0)]:
        with pytest.raises(TypeError):
            rsloop_c._core.WorkQueue(*wrong)
    for wrong in (-1, 10**9):
        with pytest.raises(ValueError, match="out of range"):
            rsloop_c._core.WorkQueue(None, wrong)
    queue.worker_came()
    queue.put("item")
    assert queue.qsize() == 1 and not queue.empty()
    assert queue.expect_worker() and not queue.expect_worker()
    queue.put(None)
    with pytest.raises(RuntimeError, match="after shutdown"):
        queue.put("late")
    assert queue.serve() == "item"
    assert queue.serve() is None
    assert queue.empty()
