# SPDX-License-Identifier: Apache-2.0
"""Debug mode: what it checks, logs and remembers."""

import asyncio
import gc
import logging
import socket
import sys
import threading
import time

import pytest

from support import run_python


def test_debug_is_off_by_default_and_can_be_set(loop):
    assert loop.get_debug() is False
    loop.set_debug(True)
    assert loop.get_debug() is True
    loop.set_debug(False)
    assert loop.get_debug() is False


@pytest.mark.parametrize("options, env", [
    ((), {"PYTHONASYNCIODEBUG": "1"}),
    (("-X", "dev"), {}),
], ids=["PYTHONASYNCIODEBUG", "-X dev"])
def test_debug_mode_is_switched_on_from_outside(flavour, options, env):
    done = run_python("""
        loop = new_event_loop()
        print(loop.get_debug())
        loop.close()
        """, flavour, *options, env=env)
    assert done.stdout == "True\n", done.stderr


def test_debug_mode_stays_off_with_an_empty_variable(flavour):
    done = run_python("""
        loop = new_event_loop()
        print(loop.get_debug())
        loop.close()
        """, flavour, env={"PYTHONASYNCIODEBUG": ""})
    assert done.stdout == "False\n", done.stderr


def test_slow_callback_is_logged(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0.001
    loop.call_soon(time.sleep, 0.002)
    loop.call_soon(loop.stop)
    with caplog.at_level(logging.WARNING, "asyncio"):
        loop.run_forever()
    assert any("Executing <Handle" in message and "took" in message
               for message in caplog.messages)


def test_slow_task_step_is_logged(loop, caplog):
    async def slow():
        time.sleep(0.002)

    loop.set_debug(True)
    loop.slow_callback_duration = 0.001
    with caplog.at_level(logging.WARNING, "asyncio"):
        loop.run_until_complete(slow())
    assert any("Executing <Task" in message for message in caplog.messages)


def test_fast_callbacks_are_not_logged(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 60
    loop.call_soon(loop.stop)
    with caplog.at_level(logging.WARNING, "asyncio"):
        loop.run_forever()
    assert caplog.messages == []


def test_slow_callback_duration_is_a_tenth_of_a_second(loop):
    assert loop.slow_callback_duration == 0.1


def in_thread(function, *args):
    """What function raised in another thread, or None."""
    raised = []

    def target():
        try:
            function(*args)
        except BaseException as exc:
            raised.append(exc)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    return raised[0] if raised else None


@pytest.mark.parametrize("method", ["call_soon", "call_later", "call_at"])
def test_scheduling_from_a_foreign_thread_raises_in_debug_mode(loop, method):
    loop.set_debug(True)
    delay = () if method == "call_soon" else (3600,)

    async def main():
        return in_thread(getattr(loop, method), *delay, print)

    raised = loop.run_until_complete(main())
    assert isinstance(raised, RuntimeError)
    assert "Non-thread-safe operation" in str(raised)


def test_scheduling_from_a_foreign_thread_is_unchecked_without_debug(loop):
    async def main():
        return in_thread(loop.call_soon, lambda: None)

    assert loop.run_until_complete(main()) is None


def test_call_soon_threadsafe_is_allowed_in_debug_mode(loop):
    loop.set_debug(True)

    async def main():
        return in_thread(loop.call_soon_threadsafe, lambda: None)

    assert loop.run_until_complete(main()) is None


@pytest.mark.parametrize("method, args", [
    ("call_soon", ()), ("call_soon_threadsafe", ()),
    ("call_later", (1,)), ("call_at", (1,)),
])
def test_coroutine_as_a_callback_is_a_type_error_in_debug_mode(
        loop, method, args):
    async def coroutine():
        pass

    loop.set_debug(True)
    coro = coroutine()
    for wrong in (coro, coroutine):
        with pytest.raises(TypeError, match="coroutines cannot be used"):
            getattr(loop, method)(*args, wrong)
    coro.close()


@pytest.mark.parametrize("method, args", [
    ("call_soon", ()), ("call_soon_threadsafe", ()),
    ("call_later", (1,)), ("call_at", (1,)),
])
def test_what_cannot_be_called_is_a_type_error_in_debug_mode(
        loop, method, args):
    loop.set_debug(True)
    with pytest.raises(TypeError, match="a callable object was expected"):
        getattr(loop, method)(*args, object())


def test_coroutine_origin_is_tracked_while_a_debug_loop_runs(loop):
    before = sys.get_coroutine_origin_tracking_depth()
    loop.set_debug(True)

    async def main():
        return sys.get_coroutine_origin_tracking_depth()

    assert loop.run_until_complete(main()) > before
    assert sys.get_coroutine_origin_tracking_depth() == before


def test_set_debug_inside_the_running_loop_takes_effect(loop):
    async def main():
        before = sys.get_coroutine_origin_tracking_depth()
        loop.set_debug(True)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        during = sys.get_coroutine_origin_tracking_depth()
        loop.set_debug(False)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return before, during, sys.get_coroutine_origin_tracking_depth()

    before, during, after = loop.run_until_complete(main())
    assert during > before == after


def test_tasks_and_futures_have_source_tracebacks_in_debug_mode(loop):
    loop.set_debug(True)
    future = loop.create_future()
    assert "test_tasks_and_futures_have_source_tracebacks_in_debug_mode" in [
        frame.name for frame in future._source_traceback]

    async def main():
        pass

    task = loop.create_task(main())
    assert task._source_traceback
    loop.run_until_complete(task)


def test_sock_methods_refuse_blocking_sockets_in_debug_mode(loop):
    loop.set_debug(True)

    async def main():
        with socket.socket() as sock:
            with pytest.raises(ValueError, match="the socket must be non-blocking"):
                await loop.sock_recv(sock, 1)
            with pytest.raises(ValueError, match="the socket must be non-blocking"):
                await loop.sock_sendall(sock, b"x")
            with pytest.raises(ValueError, match="the socket must be non-blocking"):
                await loop.sock_connect(sock, ("127.0.0.1", 1))
            with pytest.raises(ValueError, match="the socket must be non-blocking"):
                await loop.sock_accept(sock)

    loop.run_until_complete(main())


def test_debug_mode_survives_gc_of_handles_with_tracebacks(loop):
    """uvloop crashed walking frames in finalizers."""
    loop.set_debug(True)

    def fail():
        raise ValueError

    loop.set_exception_handler(lambda loop, context: None)
    for _ in range(200):
        loop.call_soon(fail)
        loop.call_later(0, fail)
        loop.call_soon(fail).cancel()
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    gc.collect()


def test_repr_tells_the_state_of_the_loop(loop):
    text = repr(loop)
    assert "running=False" in text
    assert "closed=False" in text
    assert "debug=False" in text
    loop.set_debug(True)
    assert "debug=True" in repr(loop)
    loop.close()
    assert "closed=True" in repr(loop)
