# SPDX-License-Identifier: Apache-2.0
"""Connections that end because nothing happens on them. A slow machine may only
make them end later."""

import asyncio

import pytest

from support import (
    PATIENCE,
    HalfOpenRecorder,
    Recorder,
    tcp_pair,
    transport_and_peer,
)

pytestmark = [pytest.mark.stream,
              pytest.mark.asyncio_is_worse("it has no deadlines")]

SHORT = 0.2


async def lost(protocol):
    return await asyncio.wait_for(protocol.lost, PATIENCE)


async def a_while(loop):
    """A connection that begins now has been given up."""
    async with transport_and_peer() as (_, protocol, _peer):
        await lost(protocol)


async def test_an_idle_connection_ends(loop):
    loop.limits.idle_timeout = SHORT
    start = loop.time()
    async with transport_and_peer() as (_, protocol, peer):
        exc = await lost(protocol)
        assert loop.time() - start >= SHORT
        assert isinstance(exc, TimeoutError)
        assert str(exc) == "connection was idle for 0.2 s"
        assert await loop.sock_recv(peer, 1) == b""


@pytest.mark.parametrize("inward", [True, False])
async def test_a_byte_in_either_direction_is_life(loop, inward):
    loop.limits.idle_timeout = SHORT
    async with transport_and_peer() as (transport, protocol, peer):
        async with transport_and_peer() as (_, silent, _peer):
            while not silent.lost.done() and not transport.is_closing():
                last = loop.time()
                if inward:
                    await loop.sock_sendall(peer, b"x")
                    await asyncio.sleep(SHORT / 10)
                else:
                    transport.write(b"x")
                    await asyncio.sleep(SHORT / 10)
        await lost(protocol)
        assert loop.time() - last >= SHORT


async def test_a_peer_that_sends_nothing_is_given_up(loop):
    loop.limits.read_timeout = SHORT
    async with transport_and_peer() as (transport, protocol, peer):
        while not protocol.lost.done():      # our own bytes do not count
            transport.write(b"x")
            await asyncio.sleep(SHORT / 10)
        assert isinstance(protocol.lost_with, TimeoutError)
        assert str(protocol.lost_with) == "peer sent nothing for 0.2 s"


async def test_who_does_not_listen_waits_for_nobody(loop):
    loop.limits.read_timeout = SHORT
    async with transport_and_peer() as (transport, protocol, peer):
        transport.pause_reading()
        await a_while(loop)
        await a_while(loop)
        assert not protocol.lost.done()
        resumed = loop.time()
        transport.resume_reading()
        await lost(protocol)
        assert loop.time() - resumed >= SHORT


async def test_after_eof_there_is_nothing_to_wait_for(loop):
    loop.limits.read_timeout = SHORT
    async with transport_and_peer(HalfOpenRecorder) as (transport, protocol, peer):
        peer.shutdown(1)
        await asyncio.wait_for(protocol.eof, PATIENCE)
        await a_while(loop)
        await a_while(loop)
        assert not protocol.lost.done()
        transport.write(b"late")
        assert await loop.sock_recv(peer, 10) == b"late"


async def test_a_peer_that_takes_nothing_is_given_up(loop):
    loop.limits.write_timeout = SHORT
    async with transport_and_peer(sndbuf=50_000, rcvbuf=50_000) as (
            transport, protocol, peer):
        start = loop.time()
        transport.write(bytes(10_000_000))
        exc = await lost(protocol)
        assert loop.time() - start >= SHORT
        assert isinstance(exc, TimeoutError)
        assert str(exc) == "peer took nothing for 0.2 s"


async def test_writing_more_does_not_help(loop):
    loop.limits.write_timeout = SHORT
    async with transport_and_peer(sndbuf=50_000, rcvbuf=50_000) as (
            transport, protocol, peer):
        while not protocol.lost.done():
            transport.write(bytes(100_000))
            await asyncio.sleep(SHORT / 20)
        assert str(protocol.lost_with) == "peer took nothing for 0.2 s"


async def test_a_closing_transport_does_not_wait_for_ever(loop):
    loop.limits.write_timeout = SHORT
    async with transport_and_peer(sndbuf=50_000, rcvbuf=50_000) as (
            transport, protocol, peer):
        transport.write(bytes(10_000_000))
        transport.close()
        assert isinstance(await lost(protocol), TimeoutError)


async def test_nothing_to_send_is_no_peer_that_takes_nothing(loop):
    loop.limits.write_timeout = SHORT
    async with transport_and_peer() as (transport, protocol, peer):
        transport.write(b"x")
        assert await loop.sock_recv(peer, 1) == b"x"
        loop.limits.write_timeout = None
        loop.limits.idle_timeout = SHORT
        await a_while(loop)
        await a_while(loop)
        assert not protocol.lost.done()


async def test_the_first_of_several_deadlines_counts(loop):
    loop.limits.idle_timeout = 1000
    loop.limits.read_timeout = SHORT
    loop.limits.write_timeout = 1000
    async with transport_and_peer() as (transport, protocol, peer):
        assert "sent nothing" in str(await lost(protocol))


async def test_deadlines_longer_than_the_wheel_are_kept(loop):
    loop.limits.idle_timeout = 1e9
    async with transport_and_peer() as (transport, protocol, peer):
        loop.limits.idle_timeout = SHORT
        await a_while(loop)
        assert not protocol.lost.done()


async def test_both_ends_of_a_server_have_them(loop):
    loop.limits.idle_timeout = SHORT
    async with tcp_pair() as (served, client):
        ends = [await lost(served), await lost(client)]
        assert any(isinstance(exc, TimeoutError) for exc in ends)


async def test_a_sendfile_is_no_silence(loop, tmp_path):
    loop.limits.idle_timeout = SHORT
    path = tmp_path / "file"
    path.write_bytes(bytes(3_000_000))
    async with transport_and_peer(sndbuf=50_000, rcvbuf=50_000) as (
            transport, protocol, peer):
        with open(path, "rb") as file:
            sending = loop.create_task(loop.sendfile(transport, file))
            await a_while(loop)
            await a_while(loop)
            assert not protocol.lost.done()
            got = 0
            while got < 3_000_000:
                got += len(await loop.sock_recv(peer, 1_000_000))
            assert await sending == 3_000_000


async def test_a_connection_that_ends_first_leaves_nothing(loop):
    loop.limits.idle_timeout = SHORT
    for _ in range(20):
        async with transport_and_peer(Recorder):
            pass
    await a_while(loop)
