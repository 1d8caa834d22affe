# SPDX-License-Identifier: Apache-2.0
"""Streams whose pieces change from small to large and back: a transport reads
both in different ways, and no byte may notice the change."""

import asyncio
import os
import random

import pytest

from support import (
    BufferedRecorder,
    Recorder,
    reset,
    settle,
    transport_and_peer,
)

pytestmark = pytest.mark.stream

LARGE = 200_000


def phases(seed, count=6):
    """Bytes in bursts: large at once, then many small ones."""
    draw = random.Random(seed)
    for _ in range(count):
        yield draw.randbytes(LARGE)
        for _ in range(40):
            yield draw.randbytes(draw.randrange(1, 300))


async def send_in_step(loop, protocol, peer, pieces):
    """Each piece is delivered before the next is sent."""
    sent = bytearray()
    for piece in pieces:
        sent += piece
        await loop.sock_sendall(peer, piece)
        await protocol.received(len(sent))
    return bytes(sent)


@pytest.mark.parametrize("recorder", [Recorder, BufferedRecorder])
async def test_order_holds_while_sizes_change(loop, recorder):
    async with transport_and_peer(recorder) as (_, protocol, peer):
        sent = await send_in_step(loop, protocol, peer, phases(1))
        assert bytes(protocol.data) == sent


@pytest.mark.parametrize("recorder", [Recorder, BufferedRecorder])
async def test_order_holds_when_nobody_waits(loop, recorder):
    pieces = list(phases(2))
    expected = b"".join(pieces)

    async def send(peer):
        for piece in pieces:
            await loop.sock_sendall(peer, piece)
            if len(piece) == LARGE:
                await asyncio.sleep(0)

    async with transport_and_peer(recorder) as (_, protocol, peer):
        sending = loop.create_task(send(peer))
        assert await protocol.received(len(expected)) == expected
        await sending


async def test_pauses_between_sizes_lose_nothing(loop):
    async with transport_and_peer() as (transport, protocol, peer):
        sent = b""
        for piece in phases(3, 3):
            transport.pause_reading()
            sending = loop.create_task(loop.sock_sendall(peer, piece))
            await asyncio.sleep(0)
            before = len(protocol.data)
            assert before == len(sent)
            transport.resume_reading()
            await sending
            sent += piece
            await protocol.received(len(sent))
        assert bytes(protocol.data) == sent


async def test_pause_inside_a_large_delivery_holds_the_rest(loop):
    class Pausing(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()

    data = os.urandom(4 * LARGE)
    async with transport_and_peer(Pausing) as (transport, protocol, peer):
        sending = loop.create_task(loop.sock_sendall(peer, data))
        while len(protocol.data) < len(data):
            seen = len(protocol.data)
            transport.resume_reading()
            await protocol.received(seen + 1)
            seen = len(protocol.data)
            await settle()
            assert len(protocol.data) == seen
        await sending
        assert bytes(protocol.data) == data


@pytest.mark.parametrize("small", [0, 5, 60])
async def test_eof_comes_after_the_last_byte(loop, small):
    async with transport_and_peer() as (_, protocol, peer):
        pieces = [os.urandom(LARGE)] * 3 + [b"x" * 20] * small
        sent = await send_in_step(loop, protocol, peer, pieces)
        await loop.sock_sendall(peer, b"the end")
        peer.close()
        await protocol.lost
        assert bytes(protocol.data) == sent + b"the end"


async def test_reset_ends_a_stream_of_large_pieces(loop):
    async with transport_and_peer() as (_, protocol, peer):
        await send_in_step(loop, protocol, peer, [os.urandom(LARGE)] * 3)
        reset(peer)
        assert isinstance(await protocol.lost, ConnectionResetError)


async def test_closing_a_stream_of_large_pieces_ends_it_at_both_sides(loop):
    async with transport_and_peer() as (transport, protocol, peer):
        await send_in_step(loop, protocol, peer, [os.urandom(LARGE)] * 3)
        transport.close()
        await protocol.lost
        assert await loop.sock_recv(peer, 1) == b""


async def test_many_streams_change_sizes_at_once(loop):
    async def one(seed):
        async with transport_and_peer() as (_, protocol, peer):
            sent = await send_in_step(loop, protocol, peer, phases(seed, 3))
            assert bytes(protocol.data) == sent

    await asyncio.gather(*(one(seed) for seed in range(8)))
