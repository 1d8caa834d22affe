# SPDX-License-Identifier: Apache-2.0
"""Stream sockets that are neither TCP nor unix, where the kernel has them."""

import asyncio
import socket

import pytest

from support import LOOPBACK, PATIENCE, Accepting, Recorder

MPTCP = getattr(socket, "IPPROTO_MPTCP", 262)
SCTP = getattr(socket, "IPPROTO_SCTP", 132)
VSOCK_LOCAL = 1          # VMADDR_CID_LOCAL


def internet(family, proto, host):
    def make():
        return socket.socket(family, socket.SOCK_STREAM, proto), (host, 0)
    return make


def vsock():
    address = (VSOCK_LOCAL, socket.VMADDR_PORT_ANY)
    return socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM), address


@pytest.fixture(params=[
    internet(socket.AF_INET, MPTCP, LOOPBACK),
    internet(socket.AF_INET6, MPTCP, "::1"),
    internet(socket.AF_INET, SCTP, LOOPBACK),
    internet(socket.AF_INET6, SCTP, "::1"),
    vsock,
], ids=["MPTCP", "MPTCP over IPv6", "SCTP", "SCTP over IPv6", "vsock"])
def pair(request):
    """A listening socket and one that can connect to it."""
    try:
        listener, address = request.param()
        client, _ = request.param()
    except OSError as exc:
        pytest.skip(f"the kernel has none: {exc}")
    try:
        listener.bind(address)
        listener.listen()
    except OSError as exc:
        listener.close(), client.close()
        pytest.skip(f"it cannot listen: {exc}")
    yield listener, client
    listener.close(), client.close()


async def test_server_and_client_talk(loop, pair):
    listener, client = pair
    accepting = Accepting()
    server = await loop.create_server(accepting, sock=listener)
    client.settimeout(PATIENCE)
    client.connect(listener.getsockname())   # the kernel answers by itself
    transport, protocol = await loop.create_connection(Recorder, sock=client)
    data = bytes(range(256)) * 2000
    transport.write(data)
    assert await asyncio.wait_for(protocol.received(len(data)), PATIENCE) == data
    assert transport.get_extra_info("peername") is not None
    transport.close()
    await asyncio.wait_for(protocol.lost, PATIENCE)
    await accepting.all_lost()
    server.close()
    await server.wait_closed()
