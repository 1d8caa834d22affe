# SPDX-License-Identifier: Apache-2.0
"""Output in large pieces, one after the other and with no input between them:
it may wait for more of its kind, and nobody may see that it did."""

import asyncio
import contextlib
import os
import socket
import threading

import pytest

from support import PATIENCE, transport_and_peer, until

pytestmark = pytest.mark.stream

PIECE = 128 * 1024
WARM_UP = 24  # pieces, after which a transport is taken for a bulk writer


class Reader(threading.Thread):
    """Reads all that comes to a socket, as fast as it can."""

    def __init__(self, sock):
        super().__init__(daemon=True)
        self.sock = sock
        self.pieces = []  # a bytearray is not for two threads on 3.13t

    @property
    def data(self):
        return b"".join(list(self.pieces))

    def run(self):
        self.sock.setblocking(True)
        self.sock.settimeout(PATIENCE)
        with contextlib.suppress(OSError):
            while piece := self.sock.recv(1 << 20):
                self.pieces.append(piece)


@contextlib.asynccontextmanager
async def bulk_writer():
    """A transport that has written much, all of which has left."""
    async with transport_and_peer() as (transport, protocol, peer):
        reader = Reader(peer)
        reader.start()
        try:
            for _ in range(WARM_UP):
                transport.write(bytes(PIECE))
                await until(lambda: transport.get_write_buffer_size() == 0)
            await until(lambda: len(reader.data) == WARM_UP * PIECE)
            reader.pieces.clear()
            protocol.calls.clear()
            yield transport, protocol, reader
        finally:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
            reader.join(PATIENCE)


async def written(transport, reader, data):
    await until(lambda: len(reader.data) >= len(data))
    assert reader.data == data
    assert transport.get_write_buffer_size() == 0


@pytest.mark.parametrize("size", [1, PIECE, 3 * PIECE, 40 * PIECE])
async def test_pieces_of_many_turns_arrive_in_order(loop, size):
    pieces = [os.urandom(size) for _ in range(9)]
    async with bulk_writer() as (transport, _, reader):
        for piece in pieces:
            transport.write(piece)
            await asyncio.sleep(0)
        await written(transport, reader, b"".join(pieces))


async def test_kinds_of_memory_keep_their_order(loop):
    expected = bytearray()
    async with bulk_writer() as (transport, _, reader):
        for number in range(24):
            data = os.urandom(PIECE + number)
            memory = bytearray(data)
            transport.write([data, memory, memoryview(data),
                             memoryview(memory)][number % 4])
            memory[:] = bytes(len(memory))
            expected += data
        transport.writelines([b"a", bytes(PIECE), bytearray(b"z")])
        expected += b"a" + bytes(PIECE) + b"z"
        await written(transport, reader, expected)


async def test_buffer_size_is_what_the_socket_has_not_taken(loop):
    async with bulk_writer() as (transport, _, reader):
        for count in range(1, 4):
            transport.write(bytes(PIECE))
            assert transport.get_write_buffer_size() == 0
            await until(lambda: len(reader.data) == count * PIECE)


async def test_output_leaves_while_others_keep_the_loop_busy(loop):
    async with bulk_writer() as (transport, _, reader):
        transport.write(bytes(PIECE))
        deadline = loop.time() + PATIENCE
        while len(reader.data) < PIECE:
            assert loop.time() < deadline
            await asyncio.sleep(0)


@pytest.mark.parametrize("last",
                         ["close", "write_eof", "pause_reading", "lower"])
async def test_what_comes_next_finds_all_sent(loop, last):
    async with bulk_writer() as (transport, _, reader):
        for _ in range(3):
            transport.write(bytes(PIECE))
        if last == "lower":
            transport.set_write_buffer_limits(high=0)
        else:
            getattr(transport, last)()
        await until(lambda: len(reader.data) == 3 * PIECE)


async def test_a_peer_that_stops_reading_pauses_the_protocol(loop):
    async with transport_and_peer() as (transport, protocol, peer):
        peer.settimeout(PATIENCE)
        loop_reads = loop.run_in_executor(
            None, lambda: [peer.recv(1 << 20) for _ in range(40)])
        written_bytes = 0
        deadline = loop.time() + PATIENCE
        while "pause" not in protocol.calls or not loop_reads.done():
            assert loop.time() < deadline
            if "pause" in protocol.calls[-1:]:
                await asyncio.sleep(0.001)
                continue
            transport.write(bytes(PIECE))
            written_bytes += PIECE
            await asyncio.sleep(0)
        got = sum(map(len, await loop_reads))
        reader = Reader(peer)
        reader.start()
        await until(lambda: got + len(reader.data) == written_bytes)
        await until(lambda: protocol.calls[-1] == "resume")
        peer.shutdown(socket.SHUT_RDWR)
        reader.join(PATIENCE)


def test_a_loop_that_stops_leaves_nothing_behind(loop):
    async def warm(stack):
        return await stack.enter_async_context(bulk_writer())

    stack = contextlib.AsyncExitStack()
    transport, _, reader = loop.run_until_complete(warm(stack))
    loop.call_soon(lambda: [transport.write(bytes(PIECE)), loop.stop(),
                            loop.call_soon(lambda: None)])
    loop.run_forever()
    arrived = threading.Event()
    for _ in range(2000):
        if len(reader.data) == PIECE:
            break
        arrived.wait(0.005)
    assert len(reader.data) == PIECE
    loop.run_until_complete(stack.aclose())
