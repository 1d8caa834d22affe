# SPDX-License-Identifier: Apache-2.0
"""run_in_executor and the life of the default executor."""

import asyncio
import concurrent.futures
import sys
import threading

import pytest


def test_run_in_executor_runs_on_another_thread(loop):
    async def main():
        return await loop.run_in_executor(None, threading.get_ident)

    assert loop.run_until_complete(main()) != threading.get_ident()


def test_run_in_executor_passes_arguments_and_result(loop):
    async def main():
        return await loop.run_in_executor(None, divmod, 17, 5)

    assert loop.run_until_complete(main()) == (3, 2)


def test_run_in_executor_raises_what_the_function_raised(loop):
    async def main():
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, divmod, 1, 0)

    loop.run_until_complete(main())


def test_executor_results_wake_a_sleeping_loop(loop):
    """Many short jobs, one after the other: each result must wake the loop."""
    async def main():
        for number in range(300):
            assert await loop.run_in_executor(None, abs, -number) == number

    loop.run_until_complete(main())


def test_many_executor_jobs_at_once_all_return(loop):
    async def main():
        return await asyncio.gather(*(
            loop.run_in_executor(None, abs, -n) for n in range(500)))

    assert loop.run_until_complete(main()) == list(range(500))


def test_run_in_executor_accepts_an_executor(loop):
    with concurrent.futures.ThreadPoolExecutor(
            1, thread_name_prefix="of-ours") as pool:
        async def main():
            return await loop.run_in_executor(
                pool, lambda: threading.current_thread().name)

        assert loop.run_until_complete(main()).startswith("of-ours")


def test_set_default_executor_is_used(loop):
    pool = concurrent.futures.ThreadPoolExecutor(
        1, thread_name_prefix="default-of-ours")
    loop.set_default_executor(pool)

    async def main():
        return await loop.run_in_executor(
            None, lambda: threading.current_thread().name)

    assert loop.run_until_complete(main()).startswith("default-of-ours")


def test_set_default_executor_refuses_other_things(loop):
    if sys.version_info < (3, 11):
        pytest.skip("3.10 only warns")
    with pytest.raises(TypeError, match="ThreadPoolExecutor"):
        loop.set_default_executor(object())


def test_to_thread_works(loop):
    assert loop.run_until_complete(asyncio.to_thread(pow, 2, 10)) == 1024


def test_run_in_executor_after_shutdown_raises(loop):
    async def main():
        await loop.run_in_executor(None, int)
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError, match="shutdown"):
            await loop.run_in_executor(None, int)

    loop.run_until_complete(main())


def test_shutdown_default_executor_waits_for_running_jobs(loop):
    started, release = threading.Event(), threading.Event()
    finished = []

    def job():
        started.set()
        release.wait(10)
        finished.append(True)

    async def main():
        future = loop.run_in_executor(None, job)
        await loop.run_in_executor(None, started.wait, 10)
        loop.call_later(0.005, release.set)
        await loop.shutdown_default_executor()
        assert finished == [True]
        await future

    loop.run_until_complete(main())


def test_shutdown_default_executor_timeout_warns(loop):
    if sys.version_info < (3, 13):
        pytest.skip("timeout is new in 3.12, and was ignored at first")
    release = threading.Event()

    async def main():
        future = loop.run_in_executor(None, release.wait, 10)
        with pytest.warns(RuntimeWarning, match="did not finish"):
            await loop.shutdown_default_executor(timeout=0.01)
        release.set()
        await future

    loop.run_until_complete(main())


def test_shutdown_default_executor_without_one_returns(loop):
    assert loop.run_until_complete(loop.shutdown_default_executor()) is None


def test_cancelled_wait_leaves_the_loop_usable(loop):
    release = threading.Event()

    async def main():
        future = loop.run_in_executor(None, release.wait, 10)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(future), 0.005)
        release.set()
        assert await future is True

    loop.run_until_complete(main())


def test_run_in_executor_checks_the_callback_in_debug_mode(loop):
    async def coroutine():
        pass

    loop.set_debug(True)
    with pytest.raises(TypeError):
        loop.run_in_executor(None, coroutine)
    with pytest.raises(TypeError):
        loop.run_in_executor(None, 42)


def test_run_coroutine_threadsafe_returns_the_result(loop):
    async def answer():
        await asyncio.sleep(0)
        return 42

    def from_thread():
        return asyncio.run_coroutine_threadsafe(answer(), loop).result(10)

    async def main():
        return await loop.run_in_executor(None, from_thread)

    assert loop.run_until_complete(main()) == 42
