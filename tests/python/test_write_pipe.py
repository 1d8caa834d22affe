# SPDX-License-Identifier: Apache-2.0
"""The writing end of a pipe."""

import asyncio
import contextvars
import errno
import logging
import os
import select
import socket

import pytest

from support import PATIENCE, Recorder, settle, turns, until

pytestmark = pytest.mark.stream

PIPE_SIZE = 65536
FULL = bytes(PIPE_SIZE)


def drain(file):
    """What is in the pipe now."""
    data = b""
    while select.select([file], [], [], 0)[0]:
        piece = os.read(file.fileno(), 1 << 20)
        if not piece:
            break
        data += piece
    return data


async def read_until(file, count):
    data = bytearray()

    def more():
        data.extend(drain(file))
        return len(data) >= count

    await until(more, f"{count} bytes in the pipe")
    return bytes(data)


async def finish(transport, protocol):
    transport.abort()
    await asyncio.wait_for(protocol.lost, PATIENCE)


async def test_write_is_there_at_once(loop, pipe):
    transport, protocol = await loop.connect_write_pipe(Recorder, pipe[1])
    transport.write(b"through")
    assert drain(pipe[0]) == b"through"
    transport.writelines([b"in", bytearray(b"two"), memoryview(b"pieces")])
    assert drain(pipe[0]) == b"intwopieces"
    transport.close()
    assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
    assert pipe[0].read() == b""


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview,
                                  lambda data: memoryview(bytearray(data)),
                                  lambda data: memoryview(data)[:]],
                         ids=["bytes", "bytearray", "memoryview",
                              "view-of-bytearray", "view-of-view"])
async def test_more_than_the_pipe_holds(loop, pipe, kind):
    data = os.urandom(500_000)
    transport, protocol = await loop.connect_write_pipe(Recorder, pipe[1])
    given = kind(data)
    transport.write(given)
    assert transport.get_write_buffer_size() == len(data) - PIPE_SIZE
    assert protocol.calls == ["made", "pause"]
    if not isinstance(given, bytes) and not memoryview(given).readonly:
        given[:] = bytes(len(given))     # what was written stays
    transport.write(b"end")
    assert await read_until(pipe[0], len(data) + 3) == data + b"end"
    await until(lambda: "resume" in protocol.calls)
    assert transport.get_write_buffer_size() == 0
    assert protocol.calls == ["made", "pause", "resume"]
    await finish(transport, protocol)


async def test_many_small_pieces_keep_their_order(loop, pipe):
    transport, protocol = await loop.connect_write_pipe(Recorder, pipe[1])
    transport.write(FULL)
    pieces = [b"%d," % number for number in range(5000)]
    for piece in pieces:
        transport.write(piece)
    text = b"".join(pieces)
    assert transport.get_write_buffer_size() == len(text)
    assert await read_until(pipe[0], PIPE_SIZE + len(text)) == FULL + text
    await finish(transport, protocol)


async def test_a_trickle_through_a_full_pipe(loop, pipe):
    """Pieces are appended while others are partly gone."""
    transport, protocol = await loop.connect_write_pipe(Recorder, pipe[1])
    sent, received = bytearray(), bytearray()
    for number in range(300):
        piece = os.urandom(number * 7 % 3000 + 1)
        sent += piece
        transport.write(piece)
        if number % 3:
            received += os.read(pipe[0].fileno(), 1000)
            await asyncio.sleep(0)
    received += await read_until(pipe[0], len(sent) - len(received))
    assert received == sent
    await finish(transport, protocol)


async def test_empty_writes_are_nothing(loop, pipe):
    transport, protocol = await loop.connect_write_pipe(Recorder, pipe[1])
    for nothing in (b"", bytearray(), memoryview(b"")):
        transport.write(nothing)
    transport.writelines([])
    assert drain(pipe[0]) == b"" and protocol.calls == ["made"]
    await finish(transport, protocol)


@pytest.mark.parametrize("data", ["text", 1, None, [b"x"], object()],
                         ids=lambda data: type(data).__name__)
async def test_wrong_types_are_refused(loop, pipe, data):
    transport, protocol = await loop.connect_write_pipe(Recorder, pipe[1])
    with pytest.raises(AssertionError) as caught:
        transport.write(data)
    assert str(caught.value).split("\n")[0] == repr(data)
    with pytest.raises(TypeError):
        transport.write()
    with pytest.raises(TypeError):
        transport.write(b"x", b"y")
    with pytest.raises(TypeError):
        transport.writelines(["text"])
    transport.write(data=b"fine")
    assert drain(pipe[0]) == b"fine"
    await finish(transport, protocol)


async def test_views_that_are_not_bytes_in_a_row(loop, pipe):
    contexts = []
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    transport, protocol = await loop.connect_write_pipe(Recorder, pipe[1])
    released = memoryview(b"abc")
    released.release()
    with pytest.raises(ValueError):
        transport.write(released)
    transport.write(memoryview(b"abcdef")[::2])
    exc = await asyncio.wait_for(protocol.lost, PATIENCE)
    assert isinstance(exc, BufferError)
    assert [c["message"] for c in contexts] == [
        "Fatal write error on pipe transport"]
    assert contexts[0]["exception"] is exc


async def test_a_strided_view_behind_others_is_refused(loop, pipe):
    transport, protocol = await loop.connect_write_pipe(Recorder, pipe[1])
    transport.write(FULL + b"x")
    with pytest.raises(TypeError, match="concat memoryview to bytearray"):
        transport.write(memoryview(b"abcdef")[::2])
    assert transport.get_write_buffer_size() == 1
    await finish(transport, protocol)


# --- How it ends ---

async def test_write_eof_closes_after_the_data(loop, pipe):
    transport, protocol = await loop.connect_write_pipe(Recorder, pipe[1])
    assert transport.can_write_eof() is True
    data = os.urandom(200_000)
    transport.write(data)
    transport.write_eof()
    transport.write_eof()
    assert transport.is_closing()
    transport.write(b"too late")
    await turns()
    assert "lost" not in protocol.calls
    assert await read_until(pipe[0], len(data)) == data
    assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
    assert pipe[0].read() == b""
    # The protocol hears that the buffer is empty, then of the end.
    assert protocol.calls == ["made", "pause", "resume", "lost"]


async def test_abort_drops_what_waits(loop, pipe):
    transport, protocol = await loop.connect_write_pipe(Recorder, pipe[1])
    transport.write(FULL + b"dropped")
    transport.abort()
    assert transport.get_write_buffer_size() == 0
    assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
    assert pipe[0].read() == FULL


async def test_abort_after_close_with_data(loop, pipe):
    transport, protocol = await loop.connect_write_pipe(Recorder, pipe[1])
    transport.write(FULL + b"dropped")
    transport.close()
    await turns()
    assert protocol.calls == ["made"]
    transport.abort()
    await asyncio.wait_for(protocol.lost, PATIENCE)


@pytest.mark.asyncio_is_worse("connection_lost comes twice, or fails")
async def test_endings_on_top_of_each_other(loop, pipe):
    transport, protocol = await loop.connect_write_pipe(Recorder, pipe[1])
    transport.abort()
    transport.abort()
    transport.close()
    await asyncio.wait_for(protocol.lost, PATIENCE)
    await turns()
    transport.abort()
    transport.write_eof()
    transport.set_write_buffer_limits(0)
    assert transport.get_write_buffer_size() == 0
    assert protocol.calls == ["made", "lost"]


@pytest.mark.asyncio_is_worse("connection_lost comes twice")
async def test_close_in_resume_writing(loop, pipe):
    class Closing(Recorder):
        def resume_writing(self):
            super().resume_writing()
            self.transport.close()

    transport, protocol = await loop.connect_write_pipe(Closing, pipe[1])
    transport.write(bytes(200_000))
    await read_until(pipe[0], 200_000)
    assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
    await turns()
    assert protocol.calls == ["made", "pause", "resume", "lost"]


async def test_write_in_resume_writing(loop, pipe):
    class Again(Recorder):
        left = 3

        def resume_writing(self):
            super().resume_writing()
            self.left -= 1
            if self.left:
                self.transport.write(bytes(200_000))

    transport, protocol = await loop.connect_write_pipe(Again, pipe[1])
    transport.write(bytes(200_000))
    await read_until(pipe[0], 600_000)
    await until(lambda: protocol.left == 0)
    assert protocol.calls == ["made"] + ["pause", "resume"] * 3
    await finish(transport, protocol)


async def test_a_reader_that_goes_is_noticed(loop, pipe):
    transport, protocol = await loop.connect_write_pipe(Recorder, pipe[1])
    pipe[0].close()
    assert await asyncio.wait_for(protocol.lost, PATIENCE) is None


async def test_a_reader_that_goes_with_data_waiting(loop, pipe):
    transport, protocol = await loop.connect_write_pipe(Recorder, pipe[1])
    await turns()
    transport.write(FULL + b"waiting")
    pipe[0].close()
    exc = await asyncio.wait_for(protocol.lost, PATIENCE)
    assert isinstance(exc, BrokenPipeError)
    assert protocol.calls == ["made", "lost"]


async def test_a_reader_that_goes_while_closing(loop, pipe):
    transport, protocol = await loop.connect_write_pipe(Recorder, pipe[1])
    await turns()
    transport.write(FULL + b"waiting")
    transport.close()
    pipe[0].close()
    exc = await asyncio.wait_for(protocol.lost, PATIENCE)
    assert isinstance(exc, BrokenPipeError)


async def test_write_to_a_broken_pipe(loop, pipe):
    transport, protocol = await loop.connect_write_pipe(Recorder, pipe[1])
    pipe[0].close()
    transport.write(b"into the void")
    assert transport.is_closing()
    exc = await asyncio.wait_for(protocol.lost, PATIENCE)
    assert isinstance(exc, BrokenPipeError) and exc.errno == errno.EPIPE


@pytest.mark.parametrize("broken", [True, False])
async def test_writes_after_the_end_are_dropped_and_said(
        loop, pipe, caplog, broken):
    transport, protocol = await loop.connect_write_pipe(Recorder, pipe[1])
    if broken:
        pipe[0].close()
        transport.write(b"breaks")
    else:
        transport.close()
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        for _ in range(8):
            transport.write(b"x")
        await asyncio.wait_for(protocol.lost, PATIENCE)
        await turns()
        transport.write(b"x")
    said = [record.getMessage() for record in caplog.records]
    assert said == ["pipe closed by peer or os.write(pipe, data) raised "
                    "exception."] * (5 if broken else 4)


async def test_a_socket_whose_peer_sends_counts_as_closed(loop):
    left, right = socket.socketpair()
    with left, right:
        transport, protocol = await loop.connect_write_pipe(Recorder, left)
        await settle()
        assert protocol.calls == ["made"]
        right.send(b"x")
        assert await asyncio.wait_for(protocol.lost, PATIENCE) is None


async def test_a_device_takes_everything(loop):
    transport, protocol = await loop.connect_write_pipe(
        Recorder, open("/dev/null", "wb", 0))
    transport.write(bytes(1 << 20))
    assert transport.get_write_buffer_size() == 0
    transport.close()
    await asyncio.wait_for(protocol.lost, PATIENCE)


async def test_a_full_device_reports_its_error(loop):
    transport, protocol = await loop.connect_write_pipe(
        Recorder, open("/dev/full", "wb", 0))
    transport.write(b"x")
    exc = await asyncio.wait_for(protocol.lost, PATIENCE)
    assert exc.errno == errno.ENOSPC


# --- Flow control ---

async def test_the_marks(loop, pipe):
    transport, protocol = await loop.connect_write_pipe(Recorder, pipe[1])
    assert transport.get_write_buffer_limits() == (16384, 65536)
    transport.set_write_buffer_limits(high=100)
    assert transport.get_write_buffer_limits() == (25, 100)
    transport.set_write_buffer_limits(low=10)
    assert transport.get_write_buffer_limits() == (10, 40)
    for wrong in ((-1, None), (1, 2)):
        with pytest.raises(ValueError, match="must be >= low"):
            transport.set_write_buffer_limits(*wrong)
    with pytest.raises(TypeError):
        transport.set_write_buffer_limits("x")
    transport.set_write_buffer_limits(high=100, low=50)
    transport.write(FULL + bytes(100))
    assert protocol.calls == ["made"]
    transport.write(b"x")
    assert protocol.calls == ["made", "pause"]
    # asyncio tells when all is gone, wherever the low mark is.
    assert len(await read_until(pipe[0], PIPE_SIZE + 101)) == PIPE_SIZE + 101
    await until(lambda: "resume" in protocol.calls)
    await finish(transport, protocol)


async def test_a_lower_mark_pauses_now(loop, pipe):
    transport, protocol = await loop.connect_write_pipe(Recorder, pipe[1])
    transport.write(FULL + bytes(1000))
    assert protocol.calls == ["made"]
    transport.set_write_buffer_limits(high=500)
    assert protocol.calls == ["made", "pause"]
    await finish(transport, protocol)


async def test_callbacks_run_in_the_context_of_the_write(loop, pipe):
    variable = contextvars.ContextVar("variable", default="none")
    seen = []

    class Noting(Recorder):
        def pause_writing(self):
            seen.append(variable.get())
        resume_writing = pause_writing

    variable.set("of the connect")
    transport, protocol = await loop.connect_write_pipe(Noting, pipe[1])
    variable.set("of the write")
    transport.write(bytes(200_000))
    variable.set("later")
    transport.write(b"x")            # the first one has said who waits
    await read_until(pipe[0], 200_001)
    await until(lambda: len(seen) == 2)
    assert seen == ["of the write"] * 2
    await finish(transport, protocol)


@pytest.mark.parametrize("name", ["pause_writing", "resume_writing"])
async def test_flow_callbacks_that_raise_are_reported(loop, pipe, name):
    contexts = []
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    transport, protocol = await loop.connect_write_pipe(Recorder, pipe[1])

    def fail():
        raise ZeroDivisionError

    setattr(protocol, name, fail)
    transport.write(bytes(200_000))
    await read_until(pipe[0], 200_000)
    await until(lambda: contexts)
    assert contexts[0]["message"] == f"protocol.{name}() failed"
    assert contexts[0]["transport"] is transport
    await finish(transport, protocol)


@pytest.mark.asyncio_is_worse("3.13t: it is not checked there")
def test_without_a_gil_strangers_are_refused(loop, pipe):
    import sys
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("there is a GIL")

    async def main():
        transport, protocol = await loop.connect_write_pipe(Recorder, pipe[1])
        for call in (lambda: transport.write(b"x"), transport.close,
                     transport.abort, transport.write_eof):
            with pytest.raises(RuntimeError, match="Non-thread-safe"):
                await asyncio.to_thread(call)
        await finish(transport, protocol)

    loop.run_until_complete(main())
