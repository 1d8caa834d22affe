# SPDX-License-Identifier: Apache-2.0
"""BufferedProtocol: the protocol lends the buffer that is filled."""

import asyncio
import os

import pytest

from support import (
    PATIENCE,
    BufferedRecorder,
    Recorder,
    settle,
    transport_and_peer,
    until,
)

pytestmark = pytest.mark.stream


async def test_data_lands_in_the_lent_buffer(loop):
    async with transport_and_peer(BufferedRecorder) as (_, protocol, peer):
        peer.send(b"hello")
        assert await protocol.received(5) == b"hello"
        assert protocol.buffer[:5] == b"hello"


async def test_get_buffer_is_asked_with_a_size_hint(loop):
    async with transport_and_peer(BufferedRecorder) as (_, protocol, peer):
        peer.send(b"x")
        await protocol.received(1)
        assert all(isinstance(hint, int) for hint in protocol.hints)
        assert all(hint == -1 or hint > 0 for hint in protocol.hints)


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
async def test_stream_arrives_whole_in_buffers_of(loop, size):
    data = os.urandom(200 if size == 1 else 300_000)
    async with transport_and_peer(lambda: BufferedRecorder(size)) as (
            _, protocol, peer):
        sending = loop.create_task(loop.sock_sendall(peer, data))
        assert await protocol.received(len(data)) == data
        await sending


async def test_memoryview_may_be_lent(loop):
    class Slicing(BufferedRecorder):
        def get_buffer(self, sizehint):
            return memoryview(self.buffer)[10:20]

        def buffer_updated(self, nbytes):
            self.data += self.buffer[10:10 + nbytes]

    async with transport_and_peer(Slicing) as (_, protocol, peer):
        peer.send(b"0123456789abcdef")
        assert await protocol.received(16) == b"0123456789abcdef"
        assert protocol.buffer[:10] == bytes(10)
        assert protocol.buffer[20:30] == bytes(10)


async def test_end_of_file_is_delivered(loop):
    async with transport_and_peer(BufferedRecorder) as (_, protocol, peer):
        peer.send(b"last")
        peer.close()
        assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
        assert protocol.data == b"last"
        assert protocol.calls[-2:] == ["eof", "lost"]


async def test_pause_holds_back_and_resume_delivers(loop):
    async with transport_and_peer(BufferedRecorder) as (
            transport, protocol, peer):
        transport.pause_reading()
        await settle()
        peer.send(b"held back")
        await settle()
        assert protocol.data == b""
        transport.resume_reading()
        assert await protocol.received(9) == b"held back"


async def test_lent_buffer_is_free_while_the_protocol_waits(loop):
    """The transport must not keep a lent buffer exported between reads."""
    async with transport_and_peer(BufferedRecorder) as (_, protocol, peer):
        peer.send(b"x")
        await protocol.received(1)
        protocol.buffer.extend(b"resized")
        peer.send(b"y")
        assert await protocol.received(2) == b"xy"


@pytest.mark.parametrize("buffer, message", [
    (bytearray(0), "get_buffer() returned an empty buffer"),
    (None, None),
    ("text", None),
    (b"read only", None),
], ids=["empty", "None", "text", "read-only"])
async def test_buffer_that_cannot_be_filled_ends_the_connection(
        loop, buffer, message):
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(context))

    class Failing(BufferedRecorder):
        def get_buffer(self, sizehint):
            return buffer

    async with transport_and_peer(Failing) as (_, protocol, peer):
        peer.send(b"x")
        exc = await asyncio.wait_for(protocol.lost, PATIENCE)
        assert isinstance(exc, (RuntimeError, TypeError, BufferError))
        assert seen[0]["exception"] is exc
        if message:
            assert str(exc) == message


@pytest.mark.parametrize("method", ["get_buffer", "buffer_updated"])
async def test_exception_of_the_protocol_ends_the_connection(loop, method):
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(context))

    def fail(self, size):
        raise ZeroDivisionError

    failing = type("Failing", (BufferedRecorder,), {method: fail})
    async with transport_and_peer(failing) as (_, protocol, peer):
        peer.send(b"x")
        exc = await asyncio.wait_for(protocol.lost, PATIENCE)
        assert isinstance(exc, ZeroDivisionError)
        assert seen[0]["message"] == \
            f"Fatal error: protocol.{method}() call failed."


async def test_switch_from_streaming_to_buffered_and_back(loop):
    async with transport_and_peer() as (transport, first, peer):
        peer.send(b"one")
        await first.received(3)
        second = BufferedRecorder()
        transport.set_protocol(second)
        peer.send(b"two")
        assert await second.received(3) == b"two"
        transport.set_protocol(first)
        peer.send(b"three")
        assert await first.received(8) == b"onethree"


async def test_switch_inside_buffer_updated_delivers_the_rest_to_the_new(loop):
    second = Recorder()

    class Switching(BufferedRecorder):
        def buffer_updated(self, nbytes):
            super().buffer_updated(nbytes)
            self.transport.set_protocol(second)

    async with transport_and_peer(lambda: Switching(2)) as (
            transport, first, peer):
        peer.send(b"abcdef")
        await second.received(4)
        assert bytes(first.data + second.data) == b"abcdef"
        transport.set_protocol(first)


async def test_close_inside_buffer_updated_stops_delivery(loop):
    class Closing(BufferedRecorder):
        def buffer_updated(self, nbytes):
            super().buffer_updated(nbytes)
            self.transport.close()

    async with transport_and_peer(lambda: Closing(2)) as (_, protocol, peer):
        peer.send(b"abcdef")
        await asyncio.wait_for(protocol.lost, PATIENCE)
        assert protocol.data == b"ab"
        assert protocol.calls == ["made", "data", "lost"]


async def test_writing_works_beside_buffered_reading(loop):
    from support import recv_exactly

    class Echo(BufferedRecorder):
        def buffer_updated(self, nbytes):
            super().buffer_updated(nbytes)
            self.transport.write(bytes(self.buffer[:nbytes]))

    data = os.urandom(200_000)
    async with transport_and_peer(Echo) as (_, _p, peer):
        sending = loop.create_task(loop.sock_sendall(peer, data))
        assert await recv_exactly(peer, len(data)) == data
        await sending


async def test_protocol_that_lends_its_own_buffer_again_sees_all(loop):
    """The written view of one buffer, changed by the next read."""
    async with transport_and_peer(lambda: BufferedRecorder(16)) as (
            _, protocol, peer):
        for number in range(100):
            peer.send(b"%08d" % number)
            await until(lambda: len(protocol.data) == 8 * (number + 1))
        assert protocol.data == b"".join(b"%08d" % n for n in range(100))
