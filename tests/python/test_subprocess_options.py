# SPDX-License-Identifier: Apache-2.0
"""Every argument that subprocess.Popen has, and every kind of stdio."""

import asyncio
import fcntl
import gc
import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest

from support import PATIENCE, open_fds, plain_environ

PIPE = asyncio.subprocess.PIPE
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do that")
NOBODY = 65534


async def output(*command, **options):
    options.setdefault("stdout", PIPE)
    process = await asyncio.create_subprocess_exec(*command, **options)
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0
    return out


async def python_says(expression, **options):
    """What the expression is in a child interpreter."""
    code = f"import os, signal, sys; print(repr({expression}))"
    return eval(await output(sys.executable, "-S", "-c", code, **options))


# --- Popen's arguments ---

@pytest.mark.parametrize("kind", [str, os.fsencode, pathlib.Path],
                         ids=["str", "bytes", "path"])
async def test_cwd(loop, tmp_path, kind):
    there = await python_says("os.getcwd()", cwd=kind(str(tmp_path)))
    assert there == os.path.realpath(tmp_path)


@pytest.mark.parametrize("kind", [str, os.fsencode, pathlib.Path],
                         ids=["str", "bytes", "path"])
async def test_program(loop, kind):
    assert await output(kind("/bin/sh"), "-c", b"echo ran") == b"ran\n"


async def test_env(loop):
    environment = {"ONLY": "this", b"BYTES": b"\xff"}
    there = await python_says(
        "{k: v for k, v in os.environb.items() if not k.startswith(b'LC_')}",
        env=environment)
    assert there == {b"ONLY": b"this", b"BYTES": b"\xff"}


async def test_executable_is_not_the_first_argument(loop):
    assert await output("my-name", "-c", "echo $0",
                        executable="/bin/sh") == b"my-name\n"


async def test_executable_of_a_shell_command(loop):
    process = await asyncio.create_subprocess_shell(
        "echo $0", executable="/bin/sh", stdout=PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert out == b"/bin/sh\n"


async def test_bytes_as_a_shell_command(loop):
    process = await asyncio.create_subprocess_shell(b"echo bytes",
                                                    stdout=PIPE)
    assert (await process.communicate())[0] == b"bytes\n"


async def test_preexec_fn_runs_in_the_child(loop):
    reader, writer = os.pipe()

    def preexec():
        os.write(writer, b"%d" % os.getpid())

    process = await asyncio.create_subprocess_exec("true", preexec_fn=preexec)
    assert await process.wait() == 0
    assert int(os.read(reader, 100)) == process.pid != os.getpid()
    os.close(reader)
    os.close(writer)


async def test_preexec_fn_that_raises(loop):
    def preexec():
        raise ZeroDivisionError

    fds = open_fds()
    with pytest.raises(subprocess.SubprocessError, match="preexec_fn"):
        await asyncio.create_subprocess_exec(
            "true", preexec_fn=preexec, stdin=PIPE, stdout=PIPE)
    assert open_fds().keys() == fds.keys()


async def test_preexec_fn_that_uses_the_loop_does_not_hurt_ours(loop):
    def preexec():
        try:
            loop.call_soon(print)
            loop.call_soon_threadsafe(print)
        except RuntimeError:
            pass

    process = await asyncio.create_subprocess_exec(
        "cat", preexec_fn=preexec, stdin=PIPE, stdout=PIPE)
    out, _ = await asyncio.wait_for(process.communicate(b"fine"), PATIENCE)
    assert out == b"fine"


async def test_pass_fds(loop):
    reader, writer = os.pipe()
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", f"echo passed >/dev/fd/{writer}", pass_fds=(writer,))
    os.close(writer)
    assert await process.wait() == 0
    assert os.read(reader, 100) == b"passed\n"
    os.close(reader)


@pytest.mark.parametrize("close_fds", [True, False])
async def test_close_fds(loop, close_fds):
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", f"echo inherited >/dev/fd/{writer}",
        close_fds=close_fds, stderr=subprocess.DEVNULL)
    os.close(writer)
    code = await process.wait()
    assert (code == 0) is not close_fds
    assert os.read(reader, 100) == (b"" if close_fds else b"inherited\n")
    os.close(reader)


async def test_the_loops_own_descriptors_are_not_inherited(loop):
    # Nothing else opens anonymous inodes: epoll, eventfd, io_uring, pidfd.
    other = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
    out = await output("ls", "-l", "/proc/self/fd",
                       close_fds=False, stdin=subprocess.DEVNULL)
    assert b"pipe:" in out and b"anon_inode" not in out
    other.stdin.close()
    await other.wait()


async def test_start_new_session(loop):
    assert await python_says("os.getsid(0) == os.getpid()",
                             start_new_session=True)
    assert not await python_says("os.getsid(0) == os.getpid()")


async def test_umask(loop):
    assert await python_says("os.umask(0)", umask=0o027) == 0o027


async def test_restore_signals(loop):
    for restore in (True, False):
        line = await output("grep", "SigIgn", "/proc/self/status",
                            restore_signals=restore)
        ignored = int(line.split()[1], 16) & (1 << (signal.SIGPIPE - 1))
        assert bool(ignored) is not restore


@pytest.mark.skipif(sys.version_info < (3, 11), reason="new in 3.11")
async def test_process_group(loop):
    assert await python_says("os.getpgid(0) == os.getpid()", process_group=0)


# ASan ends a program of a user who may not write its reports.
PLAIN = plain_environ()


@ROOT
async def test_user_and_groups(loop):
    said = await output("sh", "-c", "id -u; id -g; id -G", user=NOBODY,
                        group=NOBODY, extra_groups=[1, 2], env=PLAIN)
    uid, gid, groups = said.splitlines()
    assert (int(uid), int(gid)) == (NOBODY, NOBODY)
    assert {int(group) for group in groups.split()} == {NOBODY, 1, 2}


@ROOT
async def test_user_by_name(loop):
    assert await output("id", "-un", user="nobody", env=PLAIN) == b"nobody\n"


async def test_user_that_does_not_exist(loop):
    with pytest.raises(KeyError):
        await asyncio.create_subprocess_exec("true", user="no such user")


async def test_pipesize(loop):
    process = await asyncio.create_subprocess_exec(
        "cat", stdin=PIPE, stdout=PIPE, pipesize=4096)
    for fd in (0, 1):
        file = process._transport.get_pipe_transport(fd) \
            .get_extra_info("pipe")
        assert fcntl.fcntl(file, fcntl.F_GETPIPE_SZ) == 4096
    data = os.urandom(100_000)
    out, _ = await asyncio.wait_for(process.communicate(data), PATIENCE)
    assert out == data


async def test_limit_of_the_stream_readers(loop):
    process = await asyncio.create_subprocess_exec(
        "printf", "%s\n", "x" * 100, stdout=PIPE, limit=10)
    with pytest.raises(ValueError, match="limit"):
        await process.stdout.readline()
    await asyncio.wait_for(process.communicate(), PATIENCE)


@pytest.mark.parametrize("options", [
    dict(universal_newlines=True), dict(bufsize=1), dict(shell=True),
    dict(text=True), dict(encoding="utf-8"), dict(errors="strict")],
    ids=lambda options: next(iter(options)))
async def test_what_asyncio_refuses(loop, options):
    with pytest.raises(ValueError, match="must be"):
        await loop.subprocess_exec(asyncio.SubprocessProtocol, "true",
                                   **options)
    options = dict(options, shell=False) if "shell" in options else options
    with pytest.raises(ValueError, match="must be"):
        await loop.subprocess_shell(asyncio.SubprocessProtocol, "true",
                                    **options)


async def test_wrong_types(loop):
    protocol = asyncio.SubprocessProtocol
    with pytest.raises(ValueError, match="cmd must be a string"):
        await loop.subprocess_shell(protocol, ["true"])
    for wrong in (["/bin/true", 1], [None], ["a\0b"]):
        with pytest.raises((TypeError, ValueError)):
            await loop.subprocess_exec(protocol, *wrong)
    with pytest.raises(TypeError):
        await loop.subprocess_exec(protocol, "true", nonsense=1)
    with pytest.raises(TypeError):
        await loop.subprocess_exec(protocol)
    with pytest.raises((TypeError, AttributeError)):
        await loop.subprocess_exec(protocol, "true", stdin="text")


# --- stdio ---

async def test_stdio_are_pipes_that_can_be_opened_again(loop):
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", "cat /dev/stdin > /dev/stdout; echo err > /dev/stderr",
        stdin=PIPE, stdout=PIPE, stderr=PIPE)
    out, err = await asyncio.wait_for(process.communicate(b"reopened"),
                                      PATIENCE)
    assert (out, err) == (b"reopened", b"err\n")


async def test_stdio_is_a_fifo_not_a_socket(loop):
    kinds = "[os.readlink(f'/proc/self/fd/{fd}').split(':')[0] " \
            "for fd in range(3)]"
    code = f"import os; print({kinds})"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-S", "-c", code, stdin=PIPE, stdout=PIPE,
        stderr=PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert eval(out) == ["pipe"] * 3


async def test_devnull(loop):
    process = await asyncio.create_subprocess_exec(
        "cat", stdin=subprocess.DEVNULL, stdout=PIPE,
        stderr=subprocess.DEVNULL)
    assert process.stdin is None and process.stderr is None
    assert await asyncio.wait_for(process.communicate(), PATIENCE) == (
        b"", None)


async def test_stdout_and_stderr_in_one(loop):
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", "echo out; echo err >&2", stdout=PIPE,
        stderr=subprocess.STDOUT)
    assert await asyncio.wait_for(process.communicate(), PATIENCE) == (
        b"out\nerr\n", None)


@pytest.mark.parametrize("kind", ["file", "number"])
async def test_files(loop, tmp_path, kind):
    (tmp_path / "in").write_bytes(b"from a file")
    with open(tmp_path / "in") as source, \
            open(tmp_path / "out", "w") as target:
        if kind == "number":
            source, target = source.fileno(), target.fileno()
        process = await asyncio.create_subprocess_exec(
            "cat", stdin=source, stdout=target)
        assert await process.wait() == 0
    assert (tmp_path / "out").read_bytes() == b"from a file"


async def test_sockets(loop):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = await asyncio.create_subprocess_exec(
            "head", "-c5", stdin=theirs, stdout=theirs)
        ours.sendall(b"hello")
        assert await process.wait() == 0
        assert ours.recv(100) == b"hello"


async def test_input_larger_than_pipes_while_output_flows(loop):
    data = os.urandom(2_000_000)
    process = await asyncio.create_subprocess_exec(
        "cat", stdin=PIPE, stdout=PIPE)
    out, _ = await asyncio.wait_for(process.communicate(data), PATIENCE)
    assert out == data


async def test_a_child_that_does_not_read_its_input(loop, asyncio_errors):
    process = await asyncio.create_subprocess_exec(
        "true", stdin=PIPE, stdout=PIPE)
    out, _ = await asyncio.wait_for(process.communicate(bytes(500_000)),
                                    PATIENCE)
    assert out == b"" and process.returncode == 0
    del process
    gc.collect()
    if sys.version_info < (3, 11, 7):
        # "exception was never retrieved", of the future behind wait_closed()
        asyncio_errors.clear()


async def test_lines_back_and_forth(loop):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-S", "-u", "-c",
        "import sys\nfor line in sys.stdin: print(line.strip()[::-1])",
        stdin=PIPE, stdout=PIPE)
    for number in range(50):
        process.stdin.write(b"line %d\n" % number)
        await process.stdin.drain()
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
        assert line.strip()[::-1] == b"line %d" % number
    process.stdin.close()
    await process.stdin.wait_closed()
    assert await process.wait() == 0
    await process.stdout.read()
