# SPDX-License-Identifier: Apache-2.0
"""run(), policies, and what runtime_info() says of a loop."""

import asyncio
import platform
import sys
import threading
import warnings

import pytest
import rsloop_c
import support

OURS_ONLY = pytest.mark.asyncio_is_worse("asyncio has no such thing")


@pytest.fixture
def backend(flavour):
    """rsloop_c.run() and new_event_loop() without arguments use this one."""
    with support.environ(RSLOOP_C_BACKEND=flavour.backend):
        yield flavour.backend


@pytest.fixture
def policies_restored(no_deprecation):
    yield
    rsloop_c.uninstall()
    asyncio.set_event_loop_policy(None)


# --- run ---------------------------------------------------------------------


@OURS_ONLY
def test_run_returns_the_result_on_our_loop(backend):
    async def main():
        loop = asyncio.get_running_loop()
        assert type(loop) is rsloop_c.Loop
        assert loop.backend == backend
        return loop

    loop = rsloop_c.run(main())
    assert loop.is_closed()


@OURS_ONLY
@pytest.mark.parametrize("debug", [None, False, True])
def test_run_sets_debug_mode(backend, debug):
    async def main():
        return asyncio.get_running_loop().get_debug()

    assert rsloop_c.run(main(), debug=debug) is bool(debug)


@OURS_ONLY
def test_run_raises_what_main_raises(backend):
    async def main():
        raise LookupError("from main")

    with pytest.raises(LookupError, match="from main"):
        rsloop_c.run(main())


@OURS_ONLY
def test_run_finishes_tasks_generators_and_executor(backend):
    ended = []

    async def sleeper():
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("task")

    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            ended.append("generator")

    async def main():
        nonlocal generator
        task = asyncio.get_running_loop().create_task(sleeper())
        generator = numbers()
        await generator.__anext__()
        await asyncio.get_running_loop().run_in_executor(
            None, lambda: workers.append(threading.current_thread())
        )
        assert not task.done()

    generator = None
    workers = []
    rsloop_c.run(main())
    assert sorted(ended) == ["generator", "task"]
    assert not workers[0].is_alive()


@OURS_ONLY
def test_run_reports_what_tasks_raise_at_the_end(backend):
    reports = []

    async def stubborn():
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise ValueError("instead of ending") from None

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reports.append(context))
        task = loop.create_task(stubborn())
        await asyncio.sleep(0)
        assert not task.done()

    rsloop_c.run(main())
    assert [type(report["exception"]) for report in reports] == [ValueError]
    assert "unhandled exception during" in reports[0]["message"]


def test_run_refuses_what_is_not_a_coroutine():
    wrong = ValueError if sys.version_info < (3, 14) else TypeError
    with pytest.raises(wrong):
        rsloop_c.run(42)


def test_run_refuses_unknown_arguments():
    async def main():
        pass

    coro = main()
    with pytest.raises(TypeError, match="nonsense"):
        rsloop_c.run(coro, nonsense=1)
    coro.close()


def test_run_refuses_to_run_in_a_running_loop():
    async def inner():
        pass

    async def main():
        coro = inner()
        with pytest.raises(RuntimeError, match="running event loop"):
            rsloop_c.run(coro)
        coro.close()

    rsloop_c.run(main())


@pytest.mark.parametrize("factory", [asyncio.SelectorEventLoop, object])
def test_run_refuses_a_foreign_loop(factory):
    async def main():
        pass

    coro = main()
    with pytest.raises(TypeError, match="non-rsloop_c event loop"):
        rsloop_c.run(coro, loop_factory=factory)
    coro.close()


def test_run_takes_the_policys_loop(policies_restored):
    async def main():
        return type(asyncio.get_running_loop())

    coro = main()
    with pytest.raises(TypeError, match="non-rsloop_c event loop"):
        rsloop_c.run(coro, loop_factory=None)
    coro.close()
    rsloop_c.install()
    assert rsloop_c.run(main(), loop_factory=None) is rsloop_c.Loop


def test_run_takes_a_subclass():
    class Mine(rsloop_c.Loop):
        pass

    async def main():
        return type(asyncio.get_running_loop())

    assert rsloop_c.run(main(), loop_factory=Mine) is Mine


@OURS_ONLY
@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.Runner is new")
def test_asyncio_runner_takes_our_factory(backend):
    async def main():
        return asyncio.get_running_loop().backend

    with asyncio.Runner(loop_factory=rsloop_c.new_event_loop) as runner:
        assert runner.run(main()) == backend
        assert runner.run(main()) == backend


@OURS_ONLY
def test_loop_by_hand(backend, policies_restored):
    async def main():
        return asyncio.get_running_loop()

    loop = rsloop_c.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        assert asyncio.get_event_loop() is loop
        assert loop.run_until_complete(main()) is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


# --- policies ----------------------------------------------------------------


@OURS_ONLY
def test_policy_makes_our_loops(backend, policies_restored):
    asyncio.set_event_loop_policy(rsloop_c.EventLoopPolicy())
    loop = asyncio.new_event_loop()
    assert type(loop) is rsloop_c.Loop
    assert loop.backend == backend
    loop.close()

    async def main():
        return type(asyncio.get_running_loop())

    assert asyncio.run(main()) is rsloop_c.Loop


def test_policy_is_asyncios_default_one(no_deprecation):
    assert issubclass(rsloop_c.EventLoopPolicy, asyncio.DefaultEventLoopPolicy)
    assert issubclass(rsloop_c.EventLoopPolicy, asyncio.AbstractEventLoopPolicy)


def test_install_and_uninstall(policies_restored):
    class Other(asyncio.DefaultEventLoopPolicy):
        pass

    mine = Other()
    asyncio.set_event_loop_policy(mine)
    rsloop_c.install()
    rsloop_c.install()
    assert isinstance(asyncio.get_event_loop_policy(), rsloop_c.EventLoopPolicy)
    rsloop_c.uninstall()
    assert asyncio.get_event_loop_policy() is mine
    rsloop_c.uninstall()
    assert asyncio.get_event_loop_policy() is mine


def test_uninstall_leaves_a_later_policy_alone(policies_restored):
    rsloop_c.install()
    later = asyncio.DefaultEventLoopPolicy()
    asyncio.set_event_loop_policy(later)
    rsloop_c.uninstall()
    assert asyncio.get_event_loop_policy() is later


def test_install_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rsloop_c.install()
        loop = asyncio.new_event_loop()
        rsloop_c.uninstall()
    assert type(loop) is rsloop_c.Loop
    loop.close()


# --- runtime_info ---------------------------------------------


@OURS_ONLY
def test_runtime_info_of_a_loop(loop, flavour):
    async def main():
        return rsloop_c.runtime_info()

    before = rsloop_c.runtime_info(loop)
    info = loop.run_until_complete(main())
    for answer in (before, info):
        assert answer["backend"] == flavour.backend
        assert answer["reason"]
        assert answer["kernel"] == platform.release()
        assert (answer["backend"] == "io_uring") == bool(answer["ring_features"])
    assert info["callbacks"] > before["callbacks"]
    assert info["connections"] == 0
    threads = [int(tid) for tid in support.native_threads()]
    assert info["runtime_tid"] in threads


def test_runtime_info_in_a_foreign_loop_is_of_a_new_one():
    async def main():
        return rsloop_c.runtime_info()

    loop = asyncio.SelectorEventLoop()
    try:
        assert "callbacks" not in loop.run_until_complete(main())
        with pytest.raises(TypeError, match=r"rsloop_c\.Loop was expected"):
            rsloop_c.runtime_info(loop)
    finally:
        loop.close()
