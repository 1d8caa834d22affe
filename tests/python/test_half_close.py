# SPDX-License-Identifier: Apache-2.0
"""write_eof and eof_received: each direction ends on its own."""

import asyncio
import os

import pytest

from support import (
    PATIENCE,
    HalfOpenRecorder,
    Recorder,
    recv_until_eof,
    reset,
    settle,
    tcp_pair,
    transport_and_peer,
)

pytestmark = pytest.mark.stream


async def test_write_eof_ends_our_direction_only(loop):
    async with transport_and_peer() as (transport, protocol, peer):
        transport.write(b"request")
        transport.write_eof()
        assert await recv_until_eof(peer) == b"request"
        peer.send(b"response")
        assert await protocol.received(8) == b"response"
        peer.close()
        assert await asyncio.wait_for(protocol.lost, PATIENCE) is None


async def test_write_eof_comes_after_a_large_buffer(loop):
    data = os.urandom(1_500_000)
    async with transport_and_peer(sndbuf=65536) as (
            transport, _, peer):
        transport.write(data)
        transport.write_eof()
        assert await recv_until_eof(peer) == data


async def test_write_after_write_eof_raises(loop):
    async with transport_and_peer() as (transport, _, _):
        transport.write_eof()
        with pytest.raises(RuntimeError,
                           match=r"Cannot call write\(\) after write_eof\(\)"):
            transport.write(b"x")


async def test_writelines_after_write_eof_raises(loop):
    async with transport_and_peer() as (transport, _, _):
        transport.write_eof()
        with pytest.raises(RuntimeError, match=r"after write_eof\(\)"):
            transport.writelines([b"x"])


async def test_write_eof_twice_is_once(loop):
    async with transport_and_peer() as (transport, protocol, peer):
        transport.write_eof()
        transport.write_eof()
        assert await recv_until_eof(peer) == b""
        peer.send(b"still open")
        await protocol.received(10)


async def test_write_eof_after_close_is_harmless(loop):
    async with transport_and_peer() as (transport, protocol, _):
        transport.close()
        transport.write_eof()
        await protocol.lost
        assert protocol.lost_with is None


async def test_eof_received_true_keeps_the_transport_open(loop):
    async with transport_and_peer(HalfOpenRecorder) as (
            transport, protocol, peer):
        peer.shutdown(1)
        await asyncio.wait_for(protocol.eof, PATIENCE)
        await settle()
        assert not transport.is_closing()
        transport.write(b"still writing")
        transport.close()
        assert await recv_until_eof(peer) == b"still writing"
        assert await protocol.lost is None


async def test_eof_received_false_closes_after_the_buffer_is_sent(loop):
    class Answering(Recorder):
        def eof_received(self):
            self.transport.write(b"answer to the end")
            return super().eof_received()

    async with transport_and_peer(Answering) as (transport, protocol, peer):
        peer.shutdown(1)
        assert await recv_until_eof(peer) == b"answer to the end"
        assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
        assert transport.is_closing()


async def test_eof_received_comes_exactly_once(loop):
    async with transport_and_peer(HalfOpenRecorder) as (_, protocol, peer):
        peer.shutdown(1)
        await asyncio.wait_for(protocol.eof, PATIENCE)
        await settle()
        assert protocol.calls == ["made", "eof"]


@pytest.mark.asyncio_is_worse("it reads the end of file again")
async def test_eof_received_does_not_come_again_after_pause_and_resume(loop):
    async with transport_and_peer(HalfOpenRecorder) as (
            transport, protocol, peer):
        peer.shutdown(1)
        await asyncio.wait_for(protocol.eof, PATIENCE)
        transport.pause_reading()
        transport.resume_reading()
        await settle()
        assert protocol.calls == ["made", "eof"]


async def test_half_open_connection_costs_no_busy_loop(loop):
    """A level-triggered poller that keeps watching an ended stream spins."""
    async with transport_and_peer(HalfOpenRecorder) as (_, protocol, peer):
        peer.shutdown(1)
        await asyncio.wait_for(protocol.eof, PATIENCE)
        await settle()
        before = os.times()
        await asyncio.sleep(0.2)
        after = os.times()
        spent = (after.user + after.system) - (before.user + before.system)
        assert spent <= 0.1


async def test_paused_connection_with_data_costs_no_busy_loop(loop):
    async with transport_and_peer() as (transport, _, peer):
        transport.pause_reading()
        peer.send(b"x" * 1000)
        await settle()
        before = os.times()
        await asyncio.sleep(0.2)
        after = os.times()
        spent = (after.user + after.system) - (before.user + before.system)
        assert spent <= 0.1


async def test_both_sides_write_eof_and_the_connection_ends(loop):
    async with tcp_pair(HalfOpenRecorder, HalfOpenRecorder) as (
            served, client):
        client.transport.write(b"from client")
        client.transport.write_eof()
        await asyncio.wait_for(served.eof, PATIENCE)
        served.transport.write(b"from server")
        served.transport.write_eof()
        await asyncio.wait_for(client.eof, PATIENCE)
        assert served.data == b"from client"
        assert client.data == b"from server"
        client.transport.close()
        served.transport.close()
        assert await served.lost is None
        assert await client.lost is None


async def test_reset_after_write_eof_is_reported_once(loop):
    async with transport_and_peer() as (transport, protocol, peer):
        transport.write_eof()
        await recv_until_eof(peer)
        reset(peer)
        exc = await asyncio.wait_for(protocol.lost, PATIENCE)
        assert isinstance(exc, ConnectionResetError)
        await settle()
        assert protocol.calls.count("lost") == 1


async def test_reset_after_eof_received_is_reported_once(loop):
    async with transport_and_peer(HalfOpenRecorder) as (
            transport, protocol, peer):
        peer.shutdown(1)
        await asyncio.wait_for(protocol.eof, PATIENCE)
        reset(peer)
        transport.write(b"x")
        await settle()
        transport.write(b"x")
        await asyncio.wait_for(protocol.lost, PATIENCE)
        assert protocol.calls.count("lost") == 1


async def test_large_response_after_the_peers_eof_arrives_whole(loop):
    data = os.urandom(1_500_000)

    class Responder(HalfOpenRecorder):
        def eof_received(self):
            super().eof_received()
            self.transport.write(data)
            self.transport.close()
            return True

    async with transport_and_peer(Responder, sndbuf=65536) as (_, _p, peer):
        peer.shutdown(1)
        assert await recv_until_eof(peer) == data
