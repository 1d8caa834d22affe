# SPDX-License-Identifier: Apache-2.0
"""get_extra_info, the transport's socket, repr and isinstance."""

import asyncio
import socket
from asyncio.trsock import TransportSocket
from unittest import mock

import pytest

from datagrams import has_ipv6
from support import LOOPBACK, Accepting, reset, tcp_pair, transport_and_peer

pytestmark = pytest.mark.stream


async def test_names_are_those_of_the_sockets(loop):
    async with tcp_pair() as (served, client):
        info = client.transport.get_extra_info
        other = served.transport.get_extra_info
        assert info("sockname") == other("peername")
        assert info("peername") == other("sockname")
        assert info("peername")[0] == "127.0.0.1"


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
async def test_ipv6_names_have_four_parts_also_when_closed(loop):
    accepting = Accepting()
    server = await loop.create_server(accepting, "::1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    transport, _ = await loop.create_connection(asyncio.Protocol, host, port)
    served = (await accepting.count(1))[0].transport
    names = [end.get_extra_info(name) for end in (transport, served)
             for name in ("sockname", "peername")]
    assert names[1] == names[2] == ("::1", port, 0, 0)
    assert names[0] == names[3] == ("::1", names[0][1], 0, 0)
    transport.close()
    await accepting.all_lost()
    assert names == [end.get_extra_info(name) for end in (transport, served)
                     for name in ("sockname", "peername")]
    server.close()
    await server.wait_closed()


async def test_unknown_name_gives_the_default(loop):
    async with transport_and_peer() as (transport, _, _):
        assert transport.get_extra_info("no such thing") is None
        assert transport.get_extra_info("no such thing", 42) == 42
        assert transport.get_extra_info("sslcontext") is None
        assert transport.get_extra_info("ssl_object") is None


async def test_a_method_patched_into_the_base_class_is_asked(loop):
    """As websockets' tests do it."""
    async with transport_and_peer() as (transport, _, _):
        with mock.patch("asyncio.BaseTransport.get_extra_info",
                        return_value="patched") as method:
            assert transport.get_extra_info("peername", "no name") == "patched"
        method.assert_called_once_with("peername", "no name")

        def shout(self, name, default=None):
            assert self is transport
            return name.upper()

        with mock.patch("asyncio.BaseTransport.get_extra_info", shout):
            assert transport.get_extra_info(name="peername") == "PEERNAME"
        assert transport.get_extra_info("peername")[0] == "127.0.0.1"


async def test_socket_is_a_transport_socket(loop):
    async with transport_and_peer() as (transport, _, _):
        sock = transport.get_extra_info("socket")
        assert isinstance(sock, TransportSocket)
        assert sock.fileno() >= 0
        assert sock.family == socket.AF_INET
        assert sock.type == socket.SOCK_STREAM
        assert sock.gettimeout() == 0
        assert sock.getsockname() == transport.get_extra_info("sockname")
        assert sock.getpeername() == transport.get_extra_info("peername")


async def test_socket_options_can_be_set_and_read(loop):
    async with transport_and_peer() as (transport, _, _):
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


async def test_socket_can_be_shut_down_by_the_user(loop):
    async with transport_and_peer() as (transport, protocol, peer):
        transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
        from support import recv_until_eof
        assert await recv_until_eof(peer) == b""
        peer.send(b"still heard")
        await protocol.received(11)


async def test_socket_can_be_duplicated(loop):
    async with transport_and_peer() as (transport, _, _):
        duplicate = transport.get_extra_info("socket").dup()
        assert duplicate.getsockname() == transport.get_extra_info("sockname")
        duplicate.close()


async def test_socket_refuses_to_be_made_blocking(loop):
    async with transport_and_peer() as (transport, _, _):
        sock = transport.get_extra_info("socket")
        sock.setblocking(False)
        sock.settimeout(0)
        with pytest.raises(ValueError):
            sock.setblocking(True)


async def test_names_are_kept_after_the_connection_is_lost(loop):
    async with transport_and_peer() as (transport, protocol, _):
        name = transport.get_extra_info("peername")
        transport.close()
        await protocol.lost
        assert transport.get_extra_info("peername") == name


async def test_peername_of_a_connection_that_was_reset_before_it_was_accepted(loop):
    accepting = Accepting()
    listener = socket.create_server((LOOPBACK, 0))
    peer = socket.create_connection(listener.getsockname())
    name = peer.getsockname()
    reset(peer)
    server = await loop.create_server(accepting, sock=listener)
    await accepting.count(1)
    assert accepting.made[0].transport.get_extra_info("peername") == name
    server.close()
    await accepting.all_lost()


async def test_transport_is_an_asyncio_transport(loop):
    async with transport_and_peer() as (transport, _, _):
        assert isinstance(transport, asyncio.Transport)
        assert isinstance(transport, asyncio.ReadTransport)
        assert isinstance(transport, asyncio.WriteTransport)
        assert isinstance(transport, asyncio.BaseTransport)


async def test_repr_tells_the_state(loop):
    async with transport_and_peer() as (transport, protocol, _):
        assert f"fd={transport.get_extra_info('socket').fileno()}" in \
            repr(transport)
        assert "closed" not in repr(transport)
        assert "read=" in repr(transport)
        assert "write=<" in repr(transport)
        transport.close()
        assert "clos" in repr(transport)
        await protocol.lost
        assert "closed" in repr(transport)


async def test_transport_can_be_weakly_referenced_and_hashed(loop):
    import weakref
    async with transport_and_peer() as (transport, _, _):
        assert weakref.ref(transport)() is transport
        assert {transport: 1}[transport] == 1


async def test_private_attributes_the_standard_library_reads_are_there(loop):
    """loop.start_tls and streams look at them."""
    async with transport_and_peer() as (transport, _, _):
        assert transport._start_tls_compatible is True
        assert transport._loop is loop
