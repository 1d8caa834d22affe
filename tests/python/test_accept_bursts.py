# SPDX-License-Identifier: Apache-2.0
"""Connections that arrive alone, and together."""

import asyncio
import socket

import pytest

from support import LOOPBACK, PATIENCE, Accepting

pytestmark = pytest.mark.stream


async def test_a_burst_after_lone_connections_is_accepted(loop):
    factory = Accepting()
    server = await loop.create_server(factory, LOOPBACK, 0, backlog=50)
    address = server.sockets[0].getsockname()
    clients = []
    for number in range(1, 13):
        clients.append(socket.create_connection(address))
        await factory.count(number)
    # The loop does not run meanwhile: they all wait.
    clients += [socket.create_connection(address) for _ in range(30)]
    await factory.count(42)
    for client in clients:
        client.close()
    await asyncio.gather(*(p.lost for p in factory.made))
    server.close()
    await asyncio.wait_for(server.wait_closed(), PATIENCE)
