# SPDX-License-Identifier: Apache-2.0
"""Subprocesses that carry str. subprocess.Popen's text mode is the oracle; the
functions work on asyncio's loop too."""

import asyncio
import subprocess
import sys

import pytest

from rsloop_c import (
    TextProcess,
    create_subprocess_exec,
    create_subprocess_shell,
)
from support import PATIENCE, turns

PIPE = subprocess.PIPE
COPY = (sys.executable, "-S", "-c",
        "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())")


def echo(data):
    """A command that writes the bytes given."""
    return (sys.executable, "-S", "-c",
            f"import sys; sys.stdout.buffer.write({data!r})")


async def outcome(coro):
    """A result or the exception's type, for comparison."""
    try:
        return await asyncio.wait_for(coro, PATIENCE)
    except Exception as exc:
        return type(exc)


async def communicate(command, given, options):
    process = await create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, **options)
    try:
        out, err = await process.communicate(given)
    finally:
        process.stdin.close()
        await process.wait()
    return out, err, process.returncode


def popen(command, given, options):
    try:
        done = subprocess.run(command, input=given, stdout=PIPE, **options)
    except Exception as exc:
        return type(exc)
    return done.stdout, done.stderr, done.returncode


MODES = [
    {},
    {"text": True},
    {"text": False},
    {"universal_newlines": True},
    {"text": True, "universal_newlines": True},
    {"encoding": "utf-8"},
    {"encoding": "latin-1", "text": False},
    {"encoding": "utf-16"},
    {"encoding": "ascii"},
    {"errors": "replace", "encoding": "ascii"},
    {"errors": "surrogateescape"},
]


@pytest.mark.parametrize("options", MODES, ids=str)
@pytest.mark.parametrize("text", [
    "", "plain\n", "d\r\no\rs\n\r", "\u00fcml\u00e4ut \u20ac", "\U0001f600" * 3],
    ids=ascii)
async def test_communicate_as_popens(loop, options, text):
    given = text if any(options.values()) else text.encode()
    assert (await outcome(communicate(COPY, given, options))
            == popen(COPY, given, options))


@pytest.mark.parametrize("options", MODES, ids=str)
async def test_bytes_that_are_no_text(loop, options):
    command = echo(b"\xff\xfe\x80a\r\n\xc3")
    assert (await outcome(communicate(command, None, options))
            == popen(command, None, options))


@pytest.mark.parametrize("options", [
    {"encoding": "no-such-encoding"},
    {"text": True, "universal_newlines": False},
    {"text": False, "universal_newlines": True},
    {"encoding": "utf-8", "stdout": "no such thing"},
], ids=str)
async def test_refused_as_by_popen(loop, options):
    options = {"stdout": PIPE, **options}
    with pytest.raises(Exception) as theirs:
        subprocess.run(["true"], **options)
    for make, command in [(create_subprocess_exec, "true"),
                          (create_subprocess_shell, "true")]:
        with pytest.raises(type(theirs.value)):
            await make(command, **options)


async def test_unknown_error_handler(loop):
    """Popen finds out at the first error; here no child is started."""
    with pytest.raises(LookupError):
        await create_subprocess_exec("true", errors="no-such-handler")


async def test_without_a_mode_it_is_asyncios(loop):
    process = await create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    assert type(process) is asyncio.subprocess.Process
    assert await process.communicate(b"x") == (b"x", None)


async def test_shell(loop):
    process = await create_subprocess_shell(
        "cat; echo problem >&2; exit 3", stdin=PIPE, stdout=PIPE, stderr=PIPE,
        text=True)
    assert isinstance(process, TextProcess)
    assert await process.communicate("\u00e9") == ("\u00e9", "problem\n")
    assert process.returncode == 3


async def test_conversation_by_lines(loop):
    process = await create_subprocess_exec(
        "cat", stdin=PIPE, stdout=PIPE, encoding="utf-8")
    for line in ("\u00e4\n", "\n", "three\n"):
        process.stdin.write(line)
        await process.stdin.drain()
        assert await process.stdout.readline() == line
    assert not process.stdout.at_eof()
    process.stdin.writelines(["a", "\nb"])
    assert process.stdin.can_write_eof()
    process.stdin.write_eof()
    assert [line async for line in process.stdout] == ["a\n", "b"]
    assert process.stdout.at_eof()
    assert await process.stdout.readline() == ""
    assert await process.stdout.read() == ""
    assert await process.wait() == 0
    process.stdin.close()
    assert process.stdin.is_closing()
    await process.stdin.wait_closed()


async def test_communicate_after_a_line(loop):
    process = await create_subprocess_exec(
        *COPY, stdin=PIPE, stdout=PIPE, encoding="utf-8")
    process.stdin.write("a\nb")
    process.stdin.write_eof()
    assert await process.stdout.readline() == "a\n"
    assert await process.communicate() == ("b", None)
    assert process.stdout.at_eof()
    assert await process.stdout.read() == ""


async def test_utf16_has_one_byte_order_mark(loop):
    process = await create_subprocess_exec(
        *COPY, stdin=PIPE, stdout=PIPE, encoding="utf-16")
    process.stdin.write("a")
    process.stdin.write("b")
    process.stdin.close()
    assert await process.stdout.read() == "ab"
    await process.wait()


async def test_characters_that_arrive_in_pieces(loop):
    code = ("import sys, time\n"
            "for byte in '\\u20ac\\r\\n\\u20ac\\r'.encode():\n"
            "    sys.stdout.buffer.write(bytes([byte]))\n"
            "    sys.stdout.buffer.flush()\n"
            "    sys.stdin.buffer.read(1)\n")
    process = await create_subprocess_exec(
        sys.executable, "-S", "-c", code, stdin=PIPE, stdout=PIPE,
        encoding="utf-8")

    async def feed():
        for _ in range(9):
            await turns(3)
            process.stdin.write("x")
            await process.stdin.drain()

    feeding = asyncio.ensure_future(feed())
    assert await process.stdout.readline() == "\u20ac\n"
    assert await process.stdout.read(1) == "\u20ac"
    await feeding
    assert await process.stdout.read() == "\n"
    process.stdin.close()
    await process.wait()


async def test_read_of_a_number(loop):
    process = await create_subprocess_exec(
        *echo(b"\xc3\xa4bcdef"), stdout=PIPE, encoding="utf-8")
    assert await process.stdout.read(0) == ""
    got = await process.stdout.read(2)
    while len(got) < 2:
        got += await process.stdout.read(1)
    assert got == "\u00e4b"
    assert await process.stdout.read(-1) == "cdef"
    assert await process.stdout.read(5) == ""
    await process.wait()


async def test_write_refuses_what_is_no_text(loop):
    process = await create_subprocess_exec(
        "cat", stdin=PIPE, stdout=PIPE, encoding="ascii")
    with pytest.raises(TypeError, match="must be str, not bytes"):
        process.stdin.write(b"x")
    with pytest.raises(UnicodeEncodeError):
        process.stdin.write("\u20ac")
    assert await process.communicate("rest") == ("rest", None)


@pytest.mark.parametrize("data", [b"x" * 101 + b"\nrest", b"x" * 300])
async def test_line_over_the_limit(loop, data):
    process = await create_subprocess_exec(
        *echo(data), stdout=PIPE, encoding="utf-8", limit=100)
    with pytest.raises(ValueError, match="limit"):
        await process.stdout.readline()
    assert await process.stdout.read() in ("rest", "")
    await process.wait()


async def test_cancelled_reads_lose_nothing(loop):
    process = await create_subprocess_exec(
        "cat", stdin=PIPE, stdout=PIPE, encoding="utf-8")
    got = ""
    for number, read in enumerate([process.stdout.readline,
                                   process.stdout.read] * 3):
        process.stdin.write(f"{number}|")
        reading = asyncio.ensure_future(read())
        await turns(number * 3)
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()
    process.stdin.close()
    got = await process.stdout.read()
    assert got == "0|1|2|3|4|5|"
    await process.wait()
