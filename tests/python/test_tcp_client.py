# SPDX-License-Identifier: Apache-2.0
"""create_connection with every argument."""

import asyncio
import errno
import socket
import sys

import pytest

from support import LOOPBACK, PATIENCE, Echo, Recorder, recv_exactly, tcp_socket_pair

pytestmark = pytest.mark.stream


@pytest.fixture
def listener():
    with socket.create_server((LOOPBACK, 0)) as sock:
        yield sock


@pytest.fixture
def refusing():
    """An address where nobody listens."""
    with socket.create_server((LOOPBACK, 0)) as sock:
        address = sock.getsockname()
    return address


async def end(protocol):
    protocol.transport.abort()
    await protocol.lost


async def test_create_connection_returns_transport_and_protocol(
        loop, listener):
    transport, protocol = await loop.create_connection(
        Recorder, *listener.getsockname())
    assert isinstance(protocol, Recorder)
    assert protocol.transport is transport
    assert protocol.calls == ["made"]
    await end(protocol)


async def test_data_goes_both_ways(loop, listener):
    transport, protocol = await loop.create_connection(
        Recorder, *listener.getsockname())
    peer, _ = listener.accept()
    peer.setblocking(False)
    transport.write(b"from here")
    assert await recv_exactly(peer, 9) == b"from here"
    peer.send(b"from there")
    assert await protocol.received(10) == b"from there"
    peer.close()
    assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
    assert protocol.calls[-2:] == ["eof", "lost"]


async def test_name_is_resolved(loop, listener):
    _, protocol = await loop.create_connection(
        Recorder, "localhost", listener.getsockname()[1])
    await end(protocol)


async def test_port_may_be_a_string(loop, listener):
    _, protocol = await loop.create_connection(
        Recorder, LOOPBACK, str(listener.getsockname()[1]))
    await end(protocol)


async def test_refused_connection_raises(loop, refusing):
    with pytest.raises(ConnectionRefusedError) as raised:
        await loop.create_connection(Recorder, *refusing)
    assert raised.value.errno == errno.ECONNREFUSED
    assert str(refusing[1]) in str(raised.value)


async def test_failure_on_every_address_names_them_all(loop, monkeypatch,
                                                       refusing):
    port = refusing[1]

    async def two(*args, **kwargs):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))
                for host in ("127.0.0.1", "127.0.0.2")]

    monkeypatch.setattr(loop, "getaddrinfo", two, raising=False)
    with pytest.raises(OSError) as raised:
        await loop.create_connection(Recorder, "two.addresses", port)
    assert "127.0.0.1" in str(raised.value)


async def test_all_errors_raises_a_group(loop, refusing):
    if sys.version_info < (3, 12):
        pytest.skip("all_errors is new in 3.12")
    with pytest.raises(ExceptionGroup) as raised:  # noqa: F821
        await loop.create_connection(Recorder, *refusing, all_errors=True)
    assert isinstance(raised.value.exceptions[0], ConnectionRefusedError)


async def test_second_address_is_tried_when_the_first_refuses(
        loop, monkeypatch, listener, refusing):
    async def two(*args, **kwargs):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
                for address in (refusing, listener.getsockname())]

    monkeypatch.setattr(loop, "getaddrinfo", two, raising=False)
    transport, protocol = await loop.create_connection(
        Recorder, "two.addresses", 1)
    assert transport.get_extra_info("peername") == listener.getsockname()
    await end(protocol)


async def test_happy_eyeballs_connects(loop, monkeypatch, listener, refusing):
    async def two(*args, **kwargs):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
                for address in (refusing, listener.getsockname())]

    monkeypatch.setattr(loop, "getaddrinfo", two, raising=False)
    transport, protocol = await loop.create_connection(
        Recorder, "two.addresses", 1, happy_eyeballs_delay=0.01, interleave=1)
    assert transport.get_extra_info("peername") == listener.getsockname()
    await end(protocol)


async def test_local_addr_is_bound(loop, listener):
    transport, protocol = await loop.create_connection(
        Recorder, *listener.getsockname(), local_addr=("127.0.0.5", 0))
    assert transport.get_extra_info("sockname")[0] == "127.0.0.5"
    await end(protocol)


async def test_local_addr_that_cannot_be_bound_raises(loop, listener):
    with pytest.raises(OSError):
        await loop.create_connection(
            Recorder, *listener.getsockname(), local_addr=("192.0.2.1", 0))


async def test_given_socket_is_used(loop):
    ours, peer = tcp_socket_pair()
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    assert transport.get_extra_info("socket").fileno() == ours.fileno()
    transport.write(b"x")
    assert await recv_exactly(peer, 1) == b"x"
    await end(protocol)
    peer.close()


async def test_given_socket_is_closed_with_the_transport(loop):
    ours, peer = tcp_socket_pair()
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    transport.close()
    await protocol.lost
    assert ours.fileno() == -1
    peer.close()


async def test_given_socket_in_blocking_mode_is_made_non_blocking(loop):
    ours, peer = tcp_socket_pair()
    ours.setblocking(True)
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    assert ours.gettimeout() == 0
    await end(protocol)
    peer.close()


async def test_unix_stream_socket_is_accepted_as_sock(loop):
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    transport.write(b"x")
    assert await recv_exactly(peer, 1) == b"x"
    await end(protocol)
    peer.close()


@pytest.mark.parametrize("arguments, message", [
    (dict(), "host and port was not specified and no sock specified"),
    (dict(host=LOOPBACK, port=1, server_hostname="x"),
     "server_hostname is only meaningful with ssl"),
    (dict(host=LOOPBACK, port=1, ssl_handshake_timeout=1),
     "ssl_handshake_timeout is only meaningful with ssl"),
    (dict(ssl=True, host="", port=1),
     "You must set server_hostname when using ssl without a host"),
])
async def test_arguments_that_do_not_fit_are_a_value_error(
        loop, arguments, message):
    with pytest.raises(ValueError, match=message):
        await loop.create_connection(Recorder, **arguments)


async def test_host_and_socket_together_are_refused(loop):
    with socket.socket() as sock:
        with pytest.raises(ValueError, match="can not be specified"):
            await loop.create_connection(Recorder, LOOPBACK, 1, sock=sock)


async def test_datagram_socket_is_refused(loop):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        with pytest.raises(ValueError, match="A Stream Socket was expected"):
            await loop.create_connection(Recorder, sock=sock)


async def test_family_without_address_raises(loop, listener):
    with pytest.raises(OSError):
        await loop.create_connection(
            Recorder, *listener.getsockname(), family=socket.AF_INET6)


async def test_empty_lookup_raises(loop, monkeypatch):
    async def none(*args, **kwargs):
        return []

    monkeypatch.setattr(loop, "getaddrinfo", none, raising=False)
    with pytest.raises(OSError, match=r"getaddrinfo\(\) returned empty list"):
        await loop.create_connection(Recorder, "nothing", 1)


async def test_exception_in_the_factory_reaches_the_caller(loop, listener):
    def factory():
        raise ZeroDivisionError

    ours = socket.create_connection(listener.getsockname())
    with pytest.raises(ZeroDivisionError):
        await loop.create_connection(factory, sock=ours)
    ours.close()


async def test_cancelled_while_connecting_leaks_nothing(loop, monkeypatch):
    never = loop.create_future()

    async def pending(sock, address):
        await never

    monkeypatch.setattr(loop, "sock_connect", pending, raising=False)
    task = loop.create_task(loop.create_connection(Recorder, LOOPBACK, 1))
    for _ in range(10):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_nodelay_is_set(loop, listener):
    transport, protocol = await loop.create_connection(
        Recorder, *listener.getsockname())
    sock = transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    await end(protocol)


async def test_nodelay_is_set_on_a_given_socket(loop):
    """Also on those made with proto=0, as uvicorn's are."""
    ours, peer = tcp_socket_pair()
    ours = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0,
                         fileno=ours.detach())
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    sock = transport.get_extra_info("socket")
    nodelay = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    # asyncio looks at the proto of the object, which detection leaves 0 or 6.
    assert nodelay != 0 or type(loop).__module__.startswith("asyncio")
    await end(protocol)
    peer.close()


async def test_many_connections_at_once(loop):
    server = await loop.create_server(Echo, LOOPBACK, 0, backlog=200)
    address = server.sockets[0].getsockname()
    made = await asyncio.gather(*(
        loop.create_connection(Recorder, *address) for _ in range(100)))
    for number, (transport, _) in enumerate(made):
        transport.write(b"%03d" % number)
    for number, (transport, protocol) in enumerate(made):
        assert await protocol.received(3) == b"%03d" % number
        await end(protocol)
    server.close()
    await server.wait_closed()


async def test_server_that_speaks_first_is_heard(loop):
    class Greeter(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(b"220 hello")

    server = await loop.create_server(Greeter, LOOPBACK, 0)
    _, protocol = await loop.create_connection(
        Recorder, *server.sockets[0].getsockname())
    assert await protocol.received(9) == b"220 hello"
    await end(protocol)
    server.close()
    await server.wait_closed()


async def test_peer_gone_before_the_first_turn_is_reported_once(loop):
    ours, peer = tcp_socket_pair()
    peer.send(b"bye")
    peer.close()
    _, protocol = await loop.create_connection(Recorder, sock=ours)
    assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
    assert bytes(protocol.data) == b"bye"
    assert protocol.calls == ["made", "data", "eof", "lost"]


async def test_methods_of_the_given_socket_are_its_own(loop):
    """A class of socket that does something to the bytes is asked."""
    class Upper(socket.socket):
        def send(self, data, *flags):
            return super().send(bytes(data).upper(), *flags)

        def recv(self, size, *flags):
            return super().recv(size, *flags).lower()

    plain, peer = tcp_socket_pair()
    ours = Upper(fileno=plain.detach())
    ours.setblocking(False)
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    transport.write(b"Ping")
    assert await loop.sock_recv(peer, 100) == b"PING"
    await loop.sock_sendall(peer, b"Pong")
    assert await protocol.received(4) == b"pong"
    transport.close()
    await protocol.lost
    peer.close()
