# SPDX-License-Identifier: Apache-2.0
"""Children that cannot be made or watched, or that others reap; loops that
close; what a thousand children leave behind."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import subprocess
import threading
import warnings

import pytest

from growth import assert_no_growth
from support import (
    PATIENCE,
    SECCOMP,
    native_threads,
    open_fds,
    run_python,
    turns,
    until,
)

PIPE = asyncio.subprocess.PIPE
ALL_PIPES = dict(stdin=PIPE, stdout=PIPE, stderr=PIPE)


class Exits(asyncio.SubprocessProtocol):
    def __init__(self):
        self.calls = []
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.calls.append("made")

    def process_exited(self):
        self.calls.append("exited")

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost.set_result(exc)


async def exits(loop, *command):
    return await loop.subprocess_exec(
        Exits, *command, stdin=None, stdout=None, stderr=None)


class Held:
    """A child that ends with a code as soon as let_go() is called, and so not
    before the loop watches it."""

    def __init__(self, code):
        self.code = code
        self.gate, self.key = os.pipe()

    async def start(self, loop):
        transport, protocol = await loop.subprocess_exec(
            Exits, "sh", "-c", f"read x; exit {self.code}",
            stdin=self.gate, stdout=None, stderr=None)
        os.close(self.gate)
        return transport, protocol

    def let_go(self):
        os.close(self.key)


def no_pidfd(monkeypatch, code):
    def refuse(pid, flags=0):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "pidfd_open", refuse)


# --- Spawning fails ---

@pytest.mark.parametrize("command, error", [
    ("/no/such/program", FileNotFoundError),
    ("/etc/passwd", PermissionError),
    ("/", PermissionError),
    ("/etc/passwd/x", NotADirectoryError)])
async def test_programs_that_cannot_run(loop, command, error):
    before = open_fds().keys()
    for _ in range(3):
        with pytest.raises(error):
            await asyncio.create_subprocess_exec(command, **ALL_PIPES)
    assert open_fds().keys() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


async def test_a_missing_directory(loop):
    with pytest.raises(FileNotFoundError):
        await asyncio.create_subprocess_exec("true", cwd="/no/such/place")


@pytest.mark.untidy
def test_without_descriptors(flavour):
    done = run_python("""
        import resource, subprocess, gc, warnings
        warnings.simplefilter("ignore")
        async def main():
            process = await asyncio.create_subprocess_exec("true")
            await process.wait()
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            before = len(os.listdir("/proc/self/fd"))
            most = max(map(int, os.listdir("/proc/self/fd")))
            raised = ran = 0
            for spare in range(12):
                resource.setrlimit(resource.RLIMIT_NOFILE,
                                   (most + spare, hard))
                try:
                    process = await asyncio.create_subprocess_exec(
                        "/bin/cat", stdin=-1, stdout=-1, stderr=-1)
                except OSError as exc:
                    assert exc.errno == 24, exc
                    raised += 1
                else:
                    out, _ = await process.communicate(b"x")
                    assert (out, process.returncode) == (b"x", 0)
                    ran += 1
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                await asyncio.sleep(0)
            del process
            gc.collect()
            await asyncio.sleep(0.01)
            leaked = len(os.listdir("/proc/self/fd")) - before
            # Before 3.12 subprocess.Popen loses the pipes that it got.
            old = sys.version_info < (3, 12)
            return raised > 0, ran > 0 or old, leaked <= 0 or old
        loop = new_event_loop()
        print(loop.run_until_complete(main()))
        loop.close()
        """, flavour)
    assert done.stdout == "(True, True, True)\n", done.stdout + done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_without_processes(flavour):
    """EAGAIN of fork; as another user, whose processes are counted."""
    done = run_python("""
        import resource
        loop = new_event_loop()
        loop.run_until_complete(asyncio.sleep(0.01))
        async def main():
            before = sorted(os.listdir("/proc/self/fd"))
            try:
                await asyncio.create_subprocess_exec(
                    "true", stdin=-1, stdout=-1, stderr=-1)
            except BlockingIOError as exc:
                print(exc.errno, before == sorted(os.listdir("/proc/self/fd")))
        os.setresuid(54321, 54321, 54321)
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        loop.run_until_complete(main())
        loop.close()
        """, flavour)
    assert done.stdout == "11 True\n", done.stdout + done.stderr


# --- No pidfd ---

@pytest.mark.parametrize("errno", [1, 38, 22], ids=["EPERM", "ENOSYS",
                                                    "EINVAL"])
def test_a_kernel_without_pidfd(flavour, errno):
    """A sandbox's filter, or an old kernel: quietly, a thread waits."""
    code = SECCOMP + f"""
forbid((434,), ERRNO | {errno})
import signal
async def main():
    process = await asyncio.create_subprocess_exec(
        "cat", stdin=-1, stdout=-1)
    out, _ = await process.communicate(b"piped")
    print(out, process.returncode)
    process = await asyncio.create_subprocess_exec("sleep", "3600")
    process.kill()
    print(await process.wait())
    processes = await asyncio.gather(*(
        asyncio.create_subprocess_exec("sh", "-c", "exit %d" % number)
        for number in range(10)))
    print(sum([await process.wait() for process in processes]))
loop = new_event_loop()
loop.set_debug(True)
loop.slow_callback_duration = 60
loop.run_until_complete(main())
loop.close()
"""
    if not flavour.ours:
        code = code.replace("loop = new", "if sys.version_info < (3, 12):"
                            " asyncio.set_child_watcher("
                            "asyncio.ThreadedChildWatcher())\nloop = new")
    done = run_python(code, flavour, "-W", "error")
    assert (done.stdout, done.stderr) == ("b'piped' 0\n-9\n45\n", "")


@pytest.mark.asyncio_is_worse("its pidfd watcher fails")
async def test_pidfd_open_that_fails_later(loop, monkeypatch):
    before = native_threads().keys()
    no_pidfd(monkeypatch, 24)
    process = await asyncio.create_subprocess_exec("sh", "-c", "exit 7")
    assert await asyncio.wait_for(process.wait(), PATIENCE) == 7
    # Not "==": /proc lists a thread for a moment after it was joined, so
    # `before` may hold one of the loop that the previous test closed.
    await until(lambda: native_threads().keys() <= before, "the thread's end")


@pytest.mark.asyncio_is_worse("its pidfd watcher fails")
async def test_a_waiting_thread_leaves_the_pid_to_the_loop(loop, monkeypatch):
    """CPython's gh-127049: a pid that is free could be another process's."""
    no_pidfd(monkeypatch, 38)
    process = await asyncio.create_subprocess_exec("sleep", "3600")
    thread, = (thread for thread in threading.enumerate()
               if thread.name.startswith("rsloop_c-waitpid"))
    process.kill()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert process.returncode is None
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    process.kill()
    assert await process.wait() == -signal.SIGKILL


@pytest.mark.asyncio_is_worse("its pidfd watcher fails")
def test_a_waiting_thread_outlives_its_loop_quietly(
        loop_factory, monkeypatch, caplog):
    no_pidfd(monkeypatch, 38)
    loop = loop_factory()
    transport, _ = loop.run_until_complete(exits(loop, "sleep", "3600"))
    loop.close()
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        os.kill(transport.get_pid(), signal.SIGKILL)
        for thread in threading.enumerate():
            if thread.name.startswith("rsloop_c-waitpid"):
                thread.join(PATIENCE)
    assert [r.getMessage() for r in caplog.records] == [
        f"Loop {loop!r} that handles pid {transport.get_pid()!r} is closed"]
    transport._returncode = transport._proc.returncode = -signal.SIGKILL
    transport.close()


@pytest.mark.asyncio_is_worse("the child is left running")
async def test_a_child_that_cannot_be_watched_is_ended(loop, monkeypatch):
    class NoThread:
        def __init__(self, **options):
            pass

        def start(self):
            raise RuntimeError("can't start new thread")

    no_pidfd(monkeypatch, 24)
    monkeypatch.setattr(threading, "Thread", NoThread)
    with pytest.raises(RuntimeError, match="start new thread"):
        await asyncio.create_subprocess_exec("sleep", "3600", **ALL_PIPES)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    await turns(10)


# --- Others reap ---

async def test_a_child_that_someone_else_reaped(loop, caplog):
    child = Held(3)
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        transport, protocol = await child.start(loop)
        pid = transport.get_pid()
        child.let_go()
        try:
            os.waitpid(pid, 0)       # blocks the loop until it has ended
            expected = 255
        except ChildProcessError:
            expected = 3             # before 3.12 asyncio's thread is faster
        await asyncio.wait_for(protocol.lost, PATIENCE)
    transport.close()
    assert transport.get_returncode() == expected
    assert protocol.calls == ["made", "exited", "lost"]
    said = [record.getMessage() for record in caplog.records
            if "255" in record.getMessage()]
    assert len(said) == (expected == 255)
    assert all(f"child process pid {pid}" in text for text in said)


@pytest.mark.asyncio_is_worse("it reports 255")
async def test_a_child_that_popen_reaped_keeps_its_code(loop, caplog):
    child = Held(3)
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        transport, protocol = await child.start(loop)
        child.let_go()
        assert transport.get_extra_info("subprocess").wait() == 3
        await asyncio.wait_for(protocol.lost, PATIENCE)
    assert transport.get_returncode() == 3
    assert not caplog.records
    transport.close()


@pytest.mark.asyncio_is_worse("it says 0")
async def test_popen_knows_the_code_as_soon_as_the_child_is_reaped(
        loop, monkeypatch):
    """And so never signals a process that has inherited the number."""
    seen = []
    transport_type = asyncio.unix_events._UnixSubprocessTransport

    def exited(self, returncode):
        seen.append(self._proc.returncode)
        original(self, returncode)

    original = transport_type._process_exited
    monkeypatch.setattr(transport_type, "_process_exited", exited)
    transport, protocol = await exits(loop, "sh", "-c", "exit 3")
    await asyncio.wait_for(protocol.lost, PATIENCE)
    transport.close()
    assert seen == [3]


@pytest.mark.asyncio_is_worse("its pidfd watcher fails")
async def test_children_that_the_kernel_reaps(loop, caplog):
    """With SIGCHLD ignored there is no status for anybody."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with caplog.at_level(logging.CRITICAL, logger="asyncio"):
            process = await asyncio.create_subprocess_exec("true")
            assert await asyncio.wait_for(process.wait(), PATIENCE) == 255
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_child_watcher_of_the_users(loop, monkeypatch):
    """Before 3.14 a watcher that is not asyncio's own is asked."""
    if not hasattr(asyncio, "AbstractChildWatcher"):
        pytest.skip("there are no child watchers any more")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")

        class Watcher(asyncio.AbstractChildWatcher):
            asked = []

            def is_active(self):
                return True

            def add_child_handler(self, pid, callback, *args):
                self.asked.append(pid)
                threading.Thread(target=lambda: callback(
                    pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]),
                    *args)).start()

            def __enter__(self):
                return self

            def __exit__(self, *args):
                pass

            def close(self):
                pass

            attach_loop = remove_child_handler = is_active

        asyncio.set_child_watcher(Watcher())
        try:
            async def main():
                process = await asyncio.create_subprocess_exec(
                    "sh", "-c", "exit 4")
                assert await process.wait() == 4
                assert Watcher.asked == [process.pid]

            loop.run_until_complete(main())
        finally:
            asyncio.set_child_watcher(None)
            asyncio.set_event_loop_policy(None)


# --- After the exit, and after the loop ---

async def test_calls_after_the_exit(loop):
    transport, protocol = await exits(loop, "true")
    await asyncio.wait_for(protocol.lost, PATIENCE)
    for call in (transport.kill, transport.terminate,
                 lambda: transport.send_signal(signal.SIGUSR1)):
        with pytest.raises(ProcessLookupError):
            call()
    assert transport.get_returncode() == 0
    transport.close()
    transport.close()


async def test_close_kills_and_reaps(loop):
    transport, protocol = await exits(loop, "sleep", "3600")
    transport.close()
    assert transport.is_closing()
    await asyncio.wait_for(protocol.lost, PATIENCE)
    assert transport.get_returncode() == -signal.SIGKILL
    with pytest.raises(ChildProcessError):
        os.waitpid(transport.get_pid(), os.WNOHANG)


async def test_close_of_a_child_that_has_just_ended(loop, caplog, flavour):
    child = Held(5)
    transport, protocol = await child.start(loop)
    child.let_go()
    try:
        os.waitid(os.P_PID, transport.get_pid(), os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        pass             # before 3.12 asyncio's thread is faster
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        transport.close()
        await asyncio.wait_for(protocol.lost, PATIENCE)
    if flavour.ours:     # asyncio says 255, and warns
        assert transport.get_returncode() == 5 and not caplog.records


async def test_cancelled_while_it_starts(loop):
    task = loop.create_task(exits(loop, "sleep", "3600"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, PATIENCE)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.untidy
@pytest.mark.asyncio_is_worse("it loses the pidfd")
def test_a_loop_that_closes_with_running_children(loop_factory):
    before = open_fds().keys()
    loop = loop_factory()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        made = [loop.run_until_complete(exits(loop, "sleep", "3600"))[0]
                for _ in range(3)]
        pids = [transport.get_pid() for transport in made]
        loop.close()
        assert open_fds().keys() == before
        del made
        gc.collect()
        for pid in pids:         # killed with their transports
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)       # unless Popen's finalizer has
            assert not os.path.exists(f"/proc/{pid}")
        subprocess._cleanup()


# --- Many ---

def test_many_loops_in_many_threads(loop_factory):
    failures = []

    async def talk(number):
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", f"cat; exit {number}", stdin=PIPE, stdout=PIPE)
        out, _ = await process.communicate(b"%d" % number)
        assert (out, process.returncode) == (b"%d" % number, number)

    async def main():
        for _ in range(2):
            await asyncio.wait_for(
                asyncio.gather(*(talk(number) for number in range(8))),
                PATIENCE)

    def target():
        loop = loop_factory()
        try:
            loop.run_until_complete(main())
        except BaseException as exc:
            failures.append(exc)
        finally:
            loop.close()

    threads = [threading.Thread(target=target) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.slow(120)
@pytest.mark.asyncio_is_worse("its pidfd watcher fails")
def test_a_thousand_failures_leave_nothing(loop, monkeypatch):
    no_pidfd(monkeypatch, 38)

    async def cycle():
        with pytest.raises(FileNotFoundError):
            await asyncio.create_subprocess_exec("/no/such", **ALL_PIPES)
        process = await asyncio.create_subprocess_exec("/bin/true")
        assert await process.wait() == 0

    async def cycles(count):
        for _ in range(count):
            await cycle()
        await turns()

    assert_no_growth(lambda count: loop.run_until_complete(cycles(count)),
                     500)
