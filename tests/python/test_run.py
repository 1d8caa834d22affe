# SPDX-License-Identifier: Apache-2.0
"""rsloop_c.run, and the other ways to run a program on the loop."""

import asyncio
import sys

import pytest

from support import environ, run_python


@pytest.fixture
def run(flavour):
    """asyncio.run, or ours."""
    if not flavour.ours:
        yield asyncio.run
        return
    import rsloop_c
    with environ(RSLOOP_C_BACKEND=flavour.backend):
        yield rsloop_c.run


def test_run_returns_the_result(run):
    async def main():
        await asyncio.sleep(0)
        return 42

    assert run(main()) == 42


def test_run_raises_what_main_raised(run):
    async def main():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main())


@pytest.mark.parametrize("debug", [True, False])
def test_run_sets_debug_mode(run, debug):
    async def main():
        return asyncio.get_running_loop().get_debug()

    assert run(main(), debug=debug) is debug


def test_run_cancels_the_tasks_that_are_left(run):
    cancelled = []

    async def forever():
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def main():
        asyncio.create_task(forever())
        await asyncio.sleep(0)

    run(main())
    assert cancelled == [True]


def test_run_closes_asyncgens_and_executor(run):
    closed = []

    async def generator():
        try:
            yield 1
        finally:
            closed.append(True)

    kept = []

    async def main():
        kept.append(generator())
        await kept[0].__anext__()
        await asyncio.to_thread(int)

    run(main())
    assert closed == [True]


def test_run_leaves_no_current_loop(run):
    async def main():
        pass

    run(main())
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_run_inside_a_running_loop_raises(run):
    async def main():
        inner = asyncio.sleep(0)
        with pytest.raises(
                RuntimeError,
                match="cannot be called from a running event loop"):
            run(inner)
        inner.close()

    run(main())


def test_run_of_what_is_no_coroutine_raises(run):
    with pytest.raises((ValueError, TypeError)):
        run(lambda: None)


def test_run_can_be_used_many_times(run):
    async def main(number):
        return number

    assert [run(main(n)) for n in range(20)] == list(range(20))


def test_run_uses_our_loop_and_backend(run, flavour):
    async def main():
        return asyncio.get_running_loop()

    loop = run(main())
    assert loop.is_closed()
    if flavour.ours:
        import rsloop_c
        assert type(loop) is rsloop_c.Loop
        assert loop.backend == flavour.backend


def test_run_takes_a_loop_factory(run, flavour):
    if sys.version_info < (3, 12) and not flavour.ours:
        pytest.skip("loop_factory is new in 3.12")
    made = []

    def factory():
        made.append(flavour.new_loop())
        return made[0]

    async def main():
        return asyncio.get_running_loop()

    assert run(main(), loop_factory=factory) is made[0]
    assert made[0].is_closed()


@pytest.mark.asyncio_is_worse("it takes any loop")
def test_run_refuses_a_loop_of_another_kind(run):
    async def main():
        pass

    coro = main()
    with pytest.raises(TypeError, match="non-rsloop_c event loop"):
        run(coro, loop_factory=asyncio.SelectorEventLoop)
    coro.close()


def test_run_refuses_unknown_arguments(run):
    async def main():
        pass

    coro = main()
    with pytest.raises(TypeError):
        run(coro, no_such_argument=1)
    coro.close()


def test_runner_with_our_factory_works(flavour):
    if sys.version_info < (3, 11):
        pytest.skip("asyncio.Runner is new in 3.11")

    async def main():
        return asyncio.get_running_loop()

    with asyncio.Runner(loop_factory=flavour.new_loop) as runner:
        loop = runner.run(main())
        assert runner.get_loop() is loop
        assert type(loop) is flavour.loop_class


@pytest.mark.asyncio_is_worse("of the package only")
def test_python_m_rsloop_c_runs_a_script_on_our_loop(flavour, tmp_path):
    import os
    import subprocess
    script = tmp_path / "script.py"
    script.write_text(
        "import asyncio, sys\n"
        "async def main():\n"
        "    loop = asyncio.get_running_loop()\n"
        "    print(loop.backend, sys.argv[1:], __name__)\n"
        "asyncio.run(main())\n")
    done = subprocess.run(
        [sys.executable, "-m", "rsloop_c", str(script), "one", "--two"],
        env={**os.environ, **flavour.environment()}, text=True, timeout=30,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.stdout == \
        f"{flavour.backend} ['one', '--two'] __main__\n", done.stderr


def test_unhandled_error_ends_the_program_with_a_traceback(flavour):
    done = run_python("""
        async def main():
            raise ValueError("of main")
        loop = new_event_loop()
        try:
            loop.run_until_complete(main())
        finally:
            loop.close()
        """, flavour)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("ValueError: of main")
