# SPDX-License-Identifier: Apache-2.0
"""add_signal_handler, and signals that reach the process while it sleeps."""

import asyncio
import ctypes
import os
import signal
import socket
import threading

import pytest

from support import PATIENCE, run_python


def kill_self(signum=signal.SIGUSR1):
    os.kill(os.getpid(), signum)


@pytest.fixture
def handled(loop):
    """Installs handlers that are removed at the end."""
    numbers = []

    def add(signum, callback, *args):
        numbers.append(signum)
        loop.add_signal_handler(signum, callback, *args)

    yield add
    for signum in numbers:
        if not loop.is_closed():
            loop.remove_signal_handler(signum)
        assert signal.getsignal(signum) in (signal.SIG_DFL,
                                            signal.default_int_handler)


def test_handler_runs_with_its_arguments(loop, handled):
    seen = []
    handled(signal.SIGUSR1, lambda *args: (seen.append(args), loop.stop()),
            1, "two")
    loop.call_soon(kill_self)
    loop.run_forever()
    assert seen == [(1, "two")]


def test_handler_is_installed_when_the_call_returns(loop, handled):
    handled(signal.SIGUSR1, loop.stop)
    kill_self()          # with the default disposition this ends the process
    loop.run_forever()


def test_signal_wakes_a_sleeping_loop(loop, handled):
    """Sent by another process's clock, while nothing else can wake us."""
    handled(signal.SIGUSR1, loop.stop)
    killer = threading.Timer(0.02, kill_self)
    killer.start()
    loop.run_forever()
    killer.join()


def test_signal_to_another_native_thread_wakes_the_loop(loop, handled):
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    handled(signal.SIGUSR1, loop.stop)
    killer = threading.Timer(
        0.01, lambda: signal.pthread_kill(thread.ident, signal.SIGUSR1))
    killer.start()
    loop.run_forever()
    killer.join()
    release.set()
    thread.join()


def test_several_signals_all_arrive(loop, handled):
    seen = []

    def note(name):
        seen.append(name)
        if len(seen) == 2:
            loop.stop()

    handled(signal.SIGUSR1, note, "usr1")
    handled(signal.SIGUSR2, note, "usr2")
    loop.call_soon(kill_self, signal.SIGUSR1)
    loop.call_soon(kill_self, signal.SIGUSR2)
    loop.run_forever()
    assert sorted(seen) == ["usr1", "usr2"]


def test_signals_in_a_burst_run_the_handler(loop, handled):
    seen = []

    def ran():
        if not seen:
            loop.call_later(0.01, loop.stop)
        seen.append("ran")

    handled(signal.SIGUSR1, ran)
    for _ in range(20):
        loop.call_soon(kill_self)
    loop.run_forever()
    assert 1 <= len(seen) <= 20


def test_last_handler_of_a_signal_wins(loop, handled):
    seen = []
    handled(signal.SIGUSR1, seen.append, "first")
    handled(signal.SIGUSR1, lambda: (seen.append("second"), loop.stop()))
    loop.call_soon(kill_self)
    loop.run_forever()
    assert seen == ["second"]


def test_remove_signal_handler_restores_the_default(loop):
    loop.add_signal_handler(signal.SIGUSR1, print)
    assert loop.remove_signal_handler(signal.SIGUSR1) is True
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert loop.remove_signal_handler(signal.SIGUSR1) is False


def test_system_calls_go_on_after_a_handled_signal(loop, handled):
    """siginterrupt(False), as asyncio sets it: C code sees no EINTR."""
    handled(signal.SIGUSR1, loop.stop)
    read_end, write_end = os.pipe()
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(4)

    def interrupt_then_write():
        os.kill(os.getpid(), signal.SIGUSR1)
        os.write(write_end, b"data")

    timer = threading.Timer(0.05, interrupt_then_write)
    timer.start()
    assert libc.read(read_end, buffer, 4) == 4, os.strerror(ctypes.get_errno())
    timer.join()
    loop.run_forever()
    os.close(read_end), os.close(write_end)


def test_signals_between_two_runs_are_handled_in_the_second(loop, handled):
    seen = []
    handled(signal.SIGUSR1, seen.append, "handled")
    loop.run_until_complete(asyncio.sleep(0))
    kill_self()
    loop.run_until_complete(asyncio.sleep(0.005))
    assert seen == ["handled"]


def test_remove_sigint_handler_restores_pythons_own(loop):
    loop.add_signal_handler(signal.SIGINT, print)
    assert loop.remove_signal_handler(signal.SIGINT) is True
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_close_removes_the_handlers(loop):
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


@pytest.mark.parametrize("signum", [0, -1, signal.NSIG, signal.NSIG + 1])
def test_number_that_is_no_signal_is_a_value_error(loop, signum):
    with pytest.raises(ValueError):
        loop.add_signal_handler(signum, print)
    with pytest.raises(ValueError):
        loop.remove_signal_handler(signum)


@pytest.mark.parametrize("signum", ["SIGUSR1", None, 1.5])
def test_signal_of_the_wrong_type_is_a_type_error(loop, signum):
    with pytest.raises(TypeError):
        loop.add_signal_handler(signum, print)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
def test_signal_that_cannot_be_caught_is_refused(loop, signum):
    with pytest.raises((RuntimeError, OSError)):
        loop.add_signal_handler(signum, print)


def test_coroutine_as_a_handler_is_a_type_error(loop):
    async def coroutine():
        pass

    coro = coroutine()
    for wrong in (coro, coroutine):
        with pytest.raises(TypeError, match="coroutines cannot be used"):
            loop.add_signal_handler(signal.SIGUSR1, wrong)
    coro.close()


def test_adding_a_handler_off_the_main_thread_is_refused(loop_factory):
    raised = []

    def target():
        loop = loop_factory()
        try:
            loop.add_signal_handler(signal.SIGUSR1, print)
        except Exception as exc:
            raised.append(exc)
        loop.close()

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    assert isinstance(raised[0], RuntimeError)


def test_plain_python_handler_runs_while_the_loop_sleeps(loop):
    """signal.signal, as uvicorn uses it, without add_signal_handler."""
    seen = []

    def handler(signum, frame):
        seen.append(signum)
        loop.call_soon_threadsafe(loop.stop)

    before = signal.signal(signal.SIGUSR1, handler)
    killer = threading.Timer(0.01, kill_self)
    killer.start()
    loop.run_forever()
    killer.join()
    signal.signal(signal.SIGUSR1, before)
    assert seen == [signal.SIGUSR1]


def test_exception_of_a_python_handler_leaves_run_forever(loop):
    class Out(KeyboardInterrupt):
        pass

    def handler(signum, frame):
        raise Out

    before = signal.signal(signal.SIGUSR1, handler)
    killer = threading.Timer(0.01, kill_self)
    loop.call_soon(killer.start)  # on a slow machine it comes at once
    with pytest.raises(Out):
        loop.run_forever()
    killer.join()
    signal.signal(signal.SIGUSR1, before)
    assert not loop.is_running()


def test_wakeup_fd_of_the_user_is_restored(loop):
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    before = signal.set_wakeup_fd(right.fileno())
    try:
        loop.run_until_complete(asyncio.sleep(0))
        assert signal.set_wakeup_fd(before) == right.fileno()
    finally:
        signal.set_wakeup_fd(before)
        left.close(), right.close()


def test_no_wakeup_fd_is_left_after_the_last_handler_is_removed(loop):
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.run_until_complete(asyncio.sleep(0))
    loop.remove_signal_handler(signal.SIGUSR1)
    assert signal.set_wakeup_fd(-1) == -1


def test_signal_arrives_while_timers_keep_the_loop_busy(loop, handled):
    handled(signal.SIGUSR1, loop.stop)

    def again():
        loop.call_later(0, again)

    again()
    killer = threading.Timer(0.01, kill_self)
    killer.start()
    loop.run_forever()
    killer.join()


def test_sigterm_handler_stops_a_child_cleanly(flavour):
    done = run_python("""
        import signal
        loop = new_event_loop()
        loop.add_signal_handler(signal.SIGTERM, loop.stop)
        loop.call_soon(os.kill, os.getpid(), signal.SIGTERM)
        loop.run_forever()
        loop.close()
        print("clean")
        """, flavour, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "clean\n", "")
