# SPDX-License-Identifier: Apache-2.0
"""The reading end of a pipe."""

import asyncio
import fcntl
import os
import re

import pytest

from support import ALL_TELL_READING, PATIENCE, Recorder, settle, turns, until

pytestmark = pytest.mark.stream


def reads(transport):
    """is_reading(), which older asyncios' pipes do not have."""
    if ALL_TELL_READING:
        return transport.is_reading()
    return not (transport._paused or transport._closing)


class Sizes(Recorder):
    """Notes how much came at once."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def data_received(self, data):
        super().data_received(data)
        self.sizes.append(len(data))


async def finish(transport, protocol):
    transport.close()
    await asyncio.wait_for(protocol.lost, PATIENCE)


async def test_data_and_the_end_arrive(loop, pipe):
    reader, writer = pipe
    _, protocol = await loop.connect_read_pipe(Recorder, reader)
    writer.write(b"through")
    assert await protocol.received(7) == b"through"
    writer.close()
    assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
    assert protocol.calls == ["made", "data", "eof", "lost"]


async def test_data_in_front_of_the_end_comes_first(loop, pipe):
    pipe[1].write(b"last words")
    pipe[1].close()
    _, protocol = await loop.connect_read_pipe(Recorder, pipe[0])
    assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
    assert protocol.data == b"last words"
    assert protocol.calls == ["made", "data", "eof", "lost"]


async def test_eof_closes_whatever_the_protocol_says(loop, pipe):
    class Open(Recorder):
        keep_open_after_eof = True

    transport, protocol = await loop.connect_read_pipe(Open, pipe[0])
    pipe[1].close()
    await asyncio.wait_for(protocol.eof, PATIENCE)
    assert transport.is_closing() and not reads(transport)
    await asyncio.wait_for(protocol.lost, PATIENCE)


async def test_at_most_256_kib_come_at_once(loop, pipe):
    assert fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, 1 << 20) == 1 << 20
    data = os.urandom((1 << 20) - 5000)
    assert pipe[1].write(data) == len(data)
    transport, protocol = await loop.connect_read_pipe(Sizes, pipe[0])
    assert await protocol.received(len(data)) == data
    assert protocol.sizes == [256 * 1024] * 3 + [256 * 1024 - 5000]
    assert transport.max_size == 256 * 1024
    await finish(transport, protocol)


@pytest.mark.parametrize("sizes", [
    [1, 65536, 1, 65536, 65536, 3], [4096, 4097, 4095, 8192, 4096],
    [65536, 5000, 65536, 60000], [10000] * 5, list(range(4000, 4200, 7)),
], ids=lambda sizes: f"{sizes[0]}-{sizes[1]}")
async def test_pieces_of_every_size_arrive_whole(loop, pipe, sizes):
    transport, protocol = await loop.connect_read_pipe(Sizes, pipe[0])
    sent = b""
    for size in sizes:
        piece = os.urandom(size)
        sent += piece
        pipe[1].write(piece)
        assert await protocol.received(len(sent)) == sent
    assert protocol.sizes == sizes
    await finish(transport, protocol)


async def test_more_than_the_last_read_brought(loop, pipe):
    """A read that expects 5,000 bytes takes all 65,536."""
    transport, protocol = await loop.connect_read_pipe(Sizes, pipe[0])
    data = os.urandom(65536)
    pipe[1].write(data[:5000])
    await protocol.received(5000)
    pipe[1].write(data)
    assert await protocol.received(5000 + 65536) == data[:5000] + data
    assert protocol.sizes == [5000, 65536]
    await finish(transport, protocol)


async def test_pause_and_resume(loop, pipe):
    transport, protocol = await loop.connect_read_pipe(Recorder, pipe[0])
    assert reads(transport)
    for _ in range(2):
        transport.pause_reading()
        assert not reads(transport)
    pipe[1].write(b"held")
    await settle()
    assert protocol.data == b""
    for _ in range(2):
        transport.resume_reading()
        assert reads(transport)
    assert protocol.data == b""
    assert await protocol.received(4) == b"held"
    await finish(transport, protocol)
    for call in (transport.pause_reading, transport.resume_reading):
        assert call() is None
    assert not reads(transport)


async def test_pause_in_data_received_stops_at_once(loop, pipe):
    class Pausing(Sizes):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()

    fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, 1 << 20)
    transport, protocol = await loop.connect_read_pipe(Pausing, pipe[0])
    pipe[1].write(bytes(600_000))
    for count in range(1, 4):
        await protocol.received(min(count * 256 * 1024, 600_000))
        await turns()
        assert len(protocol.sizes) == count
        transport.resume_reading()
    await finish(transport, protocol)


async def test_pause_in_the_same_turn_beats_data(loop, pipe):
    """The callback that pauses runs after the pipe was found readable."""
    transport, protocol = await loop.connect_read_pipe(Recorder, pipe[0])
    await turns()
    pipe[1].write(b"late")
    transport.pause_reading()
    await settle()
    assert protocol.data == b""
    transport.resume_reading()
    await protocol.received(4)
    await finish(transport, protocol)


async def test_the_end_is_held_while_paused(loop, pipe):
    transport, protocol = await loop.connect_read_pipe(Recorder, pipe[0])
    transport.pause_reading()
    pipe[1].close()
    await settle()
    assert protocol.calls == ["made"]
    transport.resume_reading()
    await asyncio.wait_for(protocol.lost, PATIENCE)
    assert protocol.calls == ["made", "eof", "lost"]


async def test_close_in_data_received(loop, pipe):
    class Closing(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.close()

    fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, 1 << 20)
    pipe[1].write(bytes(600_000))
    _, protocol = await loop.connect_read_pipe(Closing, pipe[0])
    assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
    assert protocol.calls == ["made", "data", "lost"]


async def test_data_received_that_raises_is_reported(
        loop, pipe, asyncio_errors):
    class Raising(Recorder):
        def data_received(self, data):
            super().data_received(data)
            raise ZeroDivisionError("by the protocol")

    contexts = []
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    transport, protocol = await loop.connect_read_pipe(Raising, pipe[0])
    pipe[1].write(b"1")
    await protocol.received(1)
    pipe[1].write(b"2")              # the transport goes on
    await protocol.received(2)
    assert [type(c["exception"]) for c in contexts] == [ZeroDivisionError] * 2
    assert re.match(r"Exception in callback \w*ReadPipeTransport._read_ready",
                    contexts[0]["message"])
    await finish(transport, protocol)


@pytest.mark.parametrize("name", ["eof_received", "connection_lost"])
async def test_callbacks_of_the_end_that_raise(loop, pipe, name):
    contexts = []
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    called = []

    class Raising(Recorder):
        def connection_lost(self, exc):
            called.append("lost")

    def fail(*args):
        called.append(name)
        raise ZeroDivisionError

    transport, protocol = await loop.connect_read_pipe(Raising, pipe[0])
    setattr(protocol, name, fail)
    pipe[1].close()
    await until(lambda: called and pipe[0].closed)
    assert len(contexts) == 1
    assert called[-1] == ("connection_lost" if name == "connection_lost"
                          else "lost")
    assert transport.get_protocol() is None


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_loop_ends_it(loop, pipe, exception):
    class Raising(Recorder):
        def data_received(self, data):
            raise exception

    async def connect():
        return await loop.connect_read_pipe(Raising, pipe[0])

    transport, protocol = loop.run_until_complete(connect())
    pipe[1].write(b"x")
    with pytest.raises(exception):
        loop.run_forever()
    loop.run_until_complete(finish(transport, protocol))


async def test_a_read_error_is_reported(loop, pipe):
    contexts = []
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    # Readable by poll, and not by read(): opened for writing only.
    pipe[0].close()
    transport, protocol = await loop.connect_read_pipe(Recorder, pipe[1])
    exc = await asyncio.wait_for(protocol.lost, PATIENCE)
    assert isinstance(exc, OSError)
    assert [c["message"] for c in contexts] == [
        "Fatal read error on pipe transport"]
    assert contexts[0]["exception"] is exc
    assert contexts[0]["transport"] is transport
    assert contexts[0]["protocol"] is protocol


async def test_a_pipe_whose_file_the_user_closed(loop, pipe):
    """Another file takes its number: closing the transport spares it."""
    transport, protocol = await loop.connect_read_pipe(Recorder, pipe[0])
    fd = pipe[0].fileno()
    transport.pause_reading()
    pipe[0].close()
    other = os.open("/dev/null", os.O_RDONLY)
    assert other == fd
    transport.close()
    await asyncio.wait_for(protocol.lost, PATIENCE)
    os.close(other)


async def test_any_protocol_object_will_do(loop, pipe):
    """data_received() is looked up at each piece, on whatever it is."""
    seen = []

    class Bare:
        def connection_made(self, transport):
            self.data_received = seen.append

        def eof_received(self):
            seen.append("eof")

        def connection_lost(self, exc):
            seen.append("lost")

    await loop.connect_read_pipe(Bare, pipe[0])
    pipe[1].write(b"x")
    await until(lambda: seen)
    pipe[1].close()
    await until(lambda: "lost" in seen)
    assert seen == [b"x", "eof", "lost"]


async def test_paused_in_connection_made(loop, pipe, flavour):
    class Pausing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    pipe[1].write(b"x")
    transport, protocol = await loop.connect_read_pipe(Pausing, pipe[0])
    await settle()
    if flavour.ours or hasattr(type(transport), "_add_reader"):
        assert protocol.data == b""      # asyncio 3.10 reads all the same
    transport.resume_reading()
    await protocol.received(1)
    await finish(transport, protocol)
