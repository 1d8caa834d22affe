# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, under asyncio.Runner, asyncio.run and a loop run by hand."""

import asyncio
import os
import signal
import sys
import threading

import pytest

from support import run_python
from traffic import ping_pong

needs_runner = pytest.mark.skipif(sys.version_info < (3, 11),
                                  reason="asyncio.Runner is new in 3.11")


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


@needs_runner
def test_ctrl_c_cancels_the_main_task_and_raises_keyboard_interrupt(flavour):
    seen = []

    async def main():
        asyncio.get_running_loop().call_later(0.005, interrupt)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    with asyncio.Runner(loop_factory=flavour.new_loop) as runner:
        with pytest.raises(KeyboardInterrupt):
            runner.run(main())
    assert seen == ["cancelled"]


@needs_runner
def test_ctrl_c_reaches_a_loop_that_sleeps_without_timers(flavour):
    async def main():
        threading.Timer(0.02, interrupt).start()
        await asyncio.get_running_loop().create_future()

    with asyncio.Runner(loop_factory=flavour.new_loop) as runner:
        with pytest.raises(KeyboardInterrupt):
            runner.run(main())


@needs_runner
def test_main_task_may_suppress_the_first_ctrl_c(flavour):
    async def main():
        asyncio.get_running_loop().call_soon(interrupt)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            asyncio.current_task().uncancel()
            return "went on"

    with asyncio.Runner(loop_factory=flavour.new_loop) as runner:
        assert runner.run(main()) == "went on"


@needs_runner
def test_second_ctrl_c_interrupts_at_once(flavour):
    async def main():
        loop = asyncio.get_running_loop()
        loop.call_soon(interrupt)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            loop.call_soon(interrupt)
            await asyncio.sleep(3600)

    with asyncio.Runner(loop_factory=flavour.new_loop) as runner:
        with pytest.raises(KeyboardInterrupt):
            runner.run(main())


@needs_runner
def test_runner_is_usable_after_ctrl_c(flavour):
    async def interrupted():
        asyncio.get_running_loop().call_soon(interrupt)
        await asyncio.sleep(3600)

    async def answer():
        return 42

    with asyncio.Runner(loop_factory=flavour.new_loop) as runner:
        with pytest.raises(KeyboardInterrupt):
            runner.run(interrupted())
        assert runner.run(answer()) == 42


@needs_runner
def test_runner_restores_the_sigint_handler(flavour):
    before = signal.getsignal(signal.SIGINT)

    async def main():
        assert signal.getsignal(signal.SIGINT) is not before

    with asyncio.Runner(loop_factory=flavour.new_loop) as runner:
        runner.run(main())
        assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_leaves_run_forever_of_a_loop_run_by_hand(loop):
    killer = threading.Timer(0.02, interrupt)
    loop.call_soon(killer.start)  # on a slow machine it comes at once
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    killer.join()
    assert not loop.is_running()
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_ctrl_c_in_a_busy_callback_leaves_run_forever(loop):
    def busy():
        interrupt()
        while True:
            pass

    loop.call_soon(busy)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()


def test_ctrl_c_interrupts_a_busy_stream_of_callbacks(loop):
    def again():
        loop.call_soon(again)

    again()
    killer = threading.Timer(0.01, interrupt)
    loop.call_soon(killer.start)  # on a slow machine it comes at once
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    killer.join()


def test_ctrl_c_during_server_traffic_leaves_run_forever(loop):
    with ping_pong(loop):
        killer = threading.Timer(0.02, interrupt)
        loop.call_soon(killer.start)  # on a slow machine it comes at once
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        killer.join()


def test_ctrl_c_ends_a_program_as_asyncio_run_does(flavour):
    done = run_python("""
        import signal
        async def main():
            asyncio.get_running_loop().call_later(
                0.005, os.kill, os.getpid(), signal.SIGINT)
            try:
                await asyncio.sleep(3600)
            finally:
                print("cleaned up", flush=True)
        if sys.version_info >= (3, 12):
            asyncio.run(main(), loop_factory=new_event_loop)
        else:
            class Policy(asyncio.DefaultEventLoopPolicy):
                def new_event_loop(self):
                    return new_event_loop()
            asyncio.set_event_loop_policy(Policy())
            asyncio.run(main())
        """, flavour)
    assert done.stdout == "cleaned up\n"
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
    assert done.returncode in (-signal.SIGINT, 130)
