# SPDX-License-Identifier: Apache-2.0
"""Subprocesses: streams, exit, signals, Popen's arguments."""

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest

from support import PATIENCE

PIPE = asyncio.subprocess.PIPE


async def python(code, **options):
    return await asyncio.create_subprocess_exec(
        sys.executable, "-S", "-c", code, **options)


async def test_output_and_exit_code_arrive(loop):
    process = await python("print('out'); raise SystemExit(3)", stdout=PIPE)
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert (out, err, process.returncode) == (b"out\n", None, 3)


async def test_communicate_feeds_input(loop):
    process = await asyncio.create_subprocess_exec(
        "cat", stdin=PIPE, stdout=PIPE)
    data = os.urandom(300_000)
    out, _ = await asyncio.wait_for(process.communicate(data), PATIENCE)
    assert out == data
    assert process.returncode == 0


async def test_stderr_is_separate_or_merged(loop):
    code = "import sys; print('out', flush=True); sys.stderr.write('err')"
    process = await python(code, stdout=PIPE, stderr=PIPE)
    assert await process.communicate() == (b"out\n", b"err")
    process = await python(code, stdout=PIPE, stderr=subprocess.STDOUT)
    assert await process.communicate() == (b"out\nerr", None)


async def test_shell_runs_a_command_line(loop):
    process = await asyncio.create_subprocess_shell(
        "echo $((6 * 7)) | cat", stdout=PIPE)
    assert (await process.communicate())[0] == b"42\n"


async def test_wait_returns_the_code_of_a_killed_child(loop):
    process = await asyncio.create_subprocess_exec("sleep", "3600")
    process.kill()
    assert await asyncio.wait_for(process.wait(), PATIENCE) == -signal.SIGKILL
    process = await asyncio.create_subprocess_exec("sleep", "3600")
    process.terminate()
    assert await asyncio.wait_for(process.wait(), PATIENCE) == -signal.SIGTERM


async def test_send_signal_reaches_the_child(loop):
    process = await python(
        "import os, signal, time\n"
        "signal.signal(signal.SIGUSR1, lambda *a: os._exit(7))\n"
        "print('ready', flush=True)\n"
        # pause() could begin after the signal has come, and never end.
        "while True: time.sleep(0.01)", stdout=PIPE)
    await process.stdout.readline()
    process.send_signal(signal.SIGUSR1)
    assert await asyncio.wait_for(process.wait(), PATIENCE) == 7
    await process.stdout.read()


async def test_many_children_at_once_all_end(loop):
    async def child(number):
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", f"echo {number}; exit {number}", stdout=PIPE)
        out, _ = await process.communicate()
        return int(out), process.returncode

    results = await asyncio.wait_for(
        asyncio.gather(*(child(n) for n in range(20))), PATIENCE)
    assert results == [(n, n) for n in range(20)]


async def test_child_that_ended_before_wait_is_still_waited_for(loop):
    process = await asyncio.create_subprocess_exec("true")
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        pass             # a watching thread was faster
    assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
    assert await process.wait() == 0


async def test_no_zombie_is_left(loop):
    process = await asyncio.create_subprocess_exec("true")
    await process.wait()
    with pytest.raises(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)


async def test_protocol_callbacks_come_in_order(loop):
    calls = []
    ended = loop.create_future()

    class Protocol(asyncio.SubprocessProtocol):
        def connection_made(self, transport):
            calls.append("made")

        def pipe_data_received(self, fd, data):
            calls.append((fd, data))

        def pipe_connection_lost(self, fd, exc):
            calls.append(("pipe lost", fd))

        def process_exited(self):
            calls.append("exited")

        def connection_lost(self, exc):
            ended.set_result(exc)

    transport, _ = await loop.subprocess_exec(
        Protocol, "echo", "hello", stdin=None, stderr=None)
    assert isinstance(transport, asyncio.SubprocessTransport)
    assert transport.get_pid() > 0
    assert await asyncio.wait_for(ended, PATIENCE) is None
    assert transport.get_returncode() == 0
    assert calls[0] == "made"
    assert (1, b"hello\n") in calls
    assert ("pipe lost", 1) in calls and "exited" in calls
    transport.close()


async def test_close_kills_the_child(loop):
    transport, _ = await loop.subprocess_exec(
        asyncio.SubprocessProtocol, "sleep", "3600",
        stdin=None, stdout=None, stderr=None)
    pid = transport.get_pid()
    transport.close()
    await asyncio.sleep(0)
    for _ in range(1000):
        if not os.path.exists(f"/proc/{pid}"):
            break
        await asyncio.sleep(0.005)
    assert not os.path.exists(f"/proc/{pid}")


async def test_cancelled_communicate_leaves_the_child_to_us(loop):
    process = await asyncio.create_subprocess_exec("sleep", "3600",
                                                   stdout=PIPE)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(process.communicate(), 0.02)
    process.kill()
    assert await asyncio.wait_for(process.wait(), PATIENCE) == -signal.SIGKILL


def test_children_of_loops_in_several_threads(loop_factory):
    """Spawned from threads other than the main one, at the same time."""
    results = []

    async def spawn():
        for number in range(5):
            process = await asyncio.create_subprocess_exec(
                "sh", "-c", f"exit {number}")
            results.append(await asyncio.wait_for(process.wait(), PATIENCE)
                           == number)

    def target():
        loop = loop_factory()
        loop.run_until_complete(spawn())
        loop.close()

    threads = [threading.Thread(target=target) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 15


def test_sigchld_handler_of_the_user_is_left_alone(loop):
    seen = []
    before = signal.signal(signal.SIGCHLD, lambda *args: seen.append("chld"))

    async def main():
        process = await asyncio.create_subprocess_exec("true")
        assert await process.wait() == 0

    try:
        loop.run_until_complete(main())
        assert signal.getsignal(signal.SIGCHLD) not in (signal.SIG_DFL, before)
        assert seen
    finally:
        signal.signal(signal.SIGCHLD, before)
