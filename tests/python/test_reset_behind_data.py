# SPDX-License-Identifier: Apache-2.0
"""A peer that sends and ends before anybody has looked: the bytes arrive, and
then the end."""

import socket

import pytest

import support

SIZES = [7, 50_000]


@pytest.mark.stream
@pytest.mark.parametrize("size", SIZES)
async def test_reset_before_accept_is_noticed(loop, size):
    protocols = []

    def make():
        protocols.append(support.Recorder())
        return protocols[-1]

    server = await loop.create_server(make, support.LOOPBACK, 0, backlog=100)
    address = server.sockets[0].getsockname()
    count = 60
    for _ in range(count):
        # Blocking, so that the loop sees data and reset together.
        client = socket.create_connection(address)
        client.sendall(b"x" * size)
        support.reset(client)
    await support.until(lambda: len(protocols) == count, "all connections")
    for protocol in protocols:
        await support.until(protocol.lost.done, f"the end after {protocol.calls}")
        assert protocol.calls[0] == "made"
        assert protocol.calls[-1] == "lost"
        assert isinstance(protocol.lost_with, ConnectionResetError)
    server.close()
    await server.wait_closed()


@pytest.mark.stream
@pytest.mark.parametrize("size", SIZES)
async def test_unix_eof_before_accept_is_noticed(loop, tmp_path, size):
    protocols = []

    def make():
        protocols.append(support.Recorder())
        return protocols[-1]

    path = str(tmp_path / "socket")
    server = await loop.create_unix_server(make, path)
    count = 60
    for _ in range(count):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b"x" * size)
    await support.until(lambda: len(protocols) == count, "all connections")
    for protocol in protocols:
        await support.until(protocol.lost.done, f"the end after {protocol.calls}")
        assert len(protocol.data) == size
        assert protocol.calls[-2:] == ["eof", "lost"]
        assert protocol.lost_with is None
    server.close()
    await server.wait_closed()


@pytest.mark.stream
async def test_reset_while_paused_is_noticed_after_resuming(loop):
    async with support.transport_and_peer() as (transport, protocol, peer):
        peer.sendall(b"first")
        await protocol.received(5)
        transport.pause_reading()
        peer.sendall(b"second")
        support.reset(peer)
        await support.settle()
        transport.resume_reading()
        await support.until(protocol.lost.done, "connection_lost()")
        assert isinstance(protocol.lost_with, ConnectionError)
