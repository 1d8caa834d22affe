# SPDX-License-Identifier: Apache-2.0
"""connect_accepted_socket: a socket accepted outside of asyncio."""

import asyncio
import socket

import pytest

from support import LOOPBACK, PATIENCE, Echo, Recorder, recv_exactly, tcp_socket_pair

pytestmark = pytest.mark.stream


async def test_accepted_socket_is_served(loop):
    ours, peer = tcp_socket_pair()
    transport, protocol = await loop.connect_accepted_socket(Echo, ours)
    await loop.sock_sendall(peer, b"hello")
    assert await recv_exactly(peer, 5) == b"hello"
    peer.close()
    assert await asyncio.wait_for(protocol.lost, PATIENCE) is None


async def test_it_is_a_real_coroutine(loop):
    ours, peer = tcp_socket_pair()
    coro = loop.connect_accepted_socket(Recorder, ours)
    assert asyncio.iscoroutine(coro)
    transport, protocol = await coro
    transport.abort()
    await protocol.lost
    peer.close()


async def test_socket_accepted_by_sock_accept_is_served(loop):
    with socket.create_server((LOOPBACK, 0)) as listener:
        listener.setblocking(False)
        peer = socket.create_connection(listener.getsockname())
        peer.setblocking(False)
        conn, _ = await loop.sock_accept(listener)
    _, protocol = await loop.connect_accepted_socket(Echo, conn)
    await loop.sock_sendall(peer, b"x")
    assert await recv_exactly(peer, 1) == b"x"
    peer.close()
    await protocol.lost


async def test_unix_socket_is_served(loop):
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    _, protocol = await loop.connect_accepted_socket(Echo, ours)
    await loop.sock_sendall(peer, b"x")
    assert await recv_exactly(peer, 1) == b"x"
    peer.close()
    await protocol.lost


async def test_datagram_socket_is_refused(loop):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        with pytest.raises(ValueError, match="A Stream Socket was expected"):
            await loop.connect_accepted_socket(Recorder, sock)


async def test_handshake_timeout_without_ssl_is_refused(loop):
    ours, peer = tcp_socket_pair()
    with pytest.raises(ValueError, match="ssl_handshake_timeout is only"):
        await loop.connect_accepted_socket(Recorder, ours,
                                           ssl_handshake_timeout=1)
    ours.close(), peer.close()


async def test_tls_is_spoken_on_the_accepted_socket(
        loop, server_context, client_context):
    ours, peer = tcp_socket_pair()
    serving = loop.create_task(loop.connect_accepted_socket(
        Echo, ours, ssl=server_context))
    transport, client = await loop.create_connection(
        Recorder, sock=peer, ssl=client_context, server_hostname="localhost")
    _, served = await asyncio.wait_for(serving, PATIENCE)
    transport.write(b"secret")
    assert await client.received(6) == b"secret"
    transport.close()
    await asyncio.wait_for(client.lost, PATIENCE)
    await asyncio.wait_for(served.lost, PATIENCE)
