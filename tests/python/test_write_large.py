# SPDX-License-Identifier: Apache-2.0
"""Large writes from memory that its owner may change as soon as write()
returns: what the socket takes is sent from there, the rest is kept."""

import array
import os
import socket

import pytest

from support import (
    Recorder,
    recv_exactly,
    reset,
    settle,
    transport_and_peer,
    until,
)

pytestmark = pytest.mark.stream

LARGE = 1_500_000
SMALL = {"sndbuf": 65536}
keeps_a_view = pytest.mark.asyncio_is_worse(
    "it keeps a view of the caller's buffer")


@keeps_a_view
@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview],
                         ids=["bytes", "bytearray", "view"])
async def test_what_the_socket_did_not_take_is_kept(loop, wrap):
    expected = os.urandom(LARGE)
    memory = bytearray(expected)
    async with transport_and_peer(**SMALL) as (transport, _, peer):
        transport.write(wrap(memory))
        assert transport.get_write_buffer_size() > 0
        memory[:] = bytes(LARGE)
        memory.clear()  # BufferError where it is still exported
        assert await recv_exactly(peer, LARGE) == expected
        assert transport.get_write_buffer_size() == 0


async def test_what_the_socket_took_is_not_exported(loop):
    data = os.urandom(100_000)
    memory = bytearray(data)
    async with transport_and_peer() as (transport, _, peer):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        transport.write(memory)
        if transport.get_write_buffer_size() == 0:
            memory.clear()
        assert await recv_exactly(peer, len(data)) == data


async def test_large_view_of_other_items_is_sent_as_bytes(loop):
    numbers = array.array("I", range(200_000))
    async with transport_and_peer() as (transport, _, peer):
        transport.write(memoryview(numbers))
        expected = numbers.tobytes()
        assert await recv_exactly(peer, len(expected)) == expected


@pytest.mark.parametrize("first", [0, 10, LARGE])
async def test_order_holds_among_large_and_small(loop, first):
    head, body, tail = os.urandom(first), os.urandom(LARGE), os.urandom(10)
    async with transport_and_peer(**SMALL) as (transport, _, peer):
        transport.write(head)
        transport.write(bytearray(body))
        transport.write(tail)
        transport.write(bytearray(body))
        expected = head + body + tail + body
        assert await recv_exactly(peer, len(expected)) == expected


async def test_pause_and_resume_come_as_for_bytes(loop):
    async with transport_and_peer(**SMALL) as (transport, protocol, peer):
        transport.write(bytearray(LARGE))
        assert protocol.calls == ["made", "pause"]
        await recv_exactly(peer, LARGE)
        await until(lambda: protocol.calls == ["made", "pause", "resume"])


@keeps_a_view
async def test_pause_writing_may_change_the_memory(loop):
    class Scribbler(Recorder):
        def pause_writing(self):
            super().pause_writing()
            memory[:] = bytes(LARGE)
            memory.clear()

    expected = os.urandom(LARGE)
    memory = bytearray(expected)
    async with transport_and_peer(
            Scribbler, **SMALL) as (transport, protocol, peer):
        transport.write(memory)
        assert "pause" in protocol.calls
        assert await recv_exactly(peer, LARGE) == expected


async def test_broken_stream_ends_once(loop):
    async with transport_and_peer() as (transport, protocol, peer):
        transport.pause_reading()
        reset(peer)
        while not protocol.lost.done():
            transport.write(bytearray(LARGE))
            await settle()
        assert isinstance(await protocol.lost, ConnectionError)
