# SPDX-License-Identifier: Apache-2.0
"""UDP endpoints: how they are made, what they tell, and how they end."""

import asyncio
import gc
import socket
import sys
import threading
import time
import warnings
import weakref

import pytest

from datagrams import Echo, Recorder, ended, endpoint, name_of, udp_socket
from support import LOOPBACK, PATIENCE, open_fds, resident_kib, run, turns, until

# --- life --------------------------------------------------------------------

async def test_close_tells_later(loop):
    async with endpoint() as (transport, protocol):
        assert not transport.is_closing()
        transport.close()
        transport.close()
        assert transport.is_closing()
        assert protocol.calls == ["made"]
        assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
        transport.close()
        transport.abort()
        await turns()
        assert protocol.calls == ["made", "lost"]
        assert transport.get_protocol() is None


async def test_a_closed_endpoint_frees_its_port(loop):
    for _ in range(20):
        async with endpoint() as (transport, protocol):
            name = name_of(transport)
            transport.close()
            await asyncio.wait_for(protocol.lost, PATIENCE)
            await asyncio.sleep(0)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind(name)


async def test_connection_lost_may_raise(loop):
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    class Raising(Recorder):
        def connection_lost(self, exc):
            super().connection_lost(exc)
            raise ValueError("mine")

    async with endpoint(Raising) as (transport, protocol):
        transport.close()
        await until(lambda: contexts)
        assert isinstance(contexts[0]["exception"], ValueError)


async def test_it_lives_without_references(loop):
    made = []

    class Keeping(Recorder):
        def datagram_received(self, data, addr):
            made.append(data)
            self.transport.close()

        def connection_lost(self, exc):
            made.append("lost")

    transport, _ = await loop.create_datagram_endpoint(Keeping, (LOOPBACK, 0))
    name = name_of(transport)
    del transport, _
    gc.collect()
    with udp_socket() as peer:
        peer.sendto(b"there?", name)
        await until(lambda: made == [b"there?", "lost"])


def test_unclosed_transport_warns_and_closes_its_socket(loop_factory):
    loop = loop_factory()
    fds = len(open_fds())
    transport, _ = run(loop, loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, (LOOPBACK, 0)))
    text = repr(transport)
    loop.close()
    assert "fd=" in text
    with pytest.warns(ResourceWarning, match="unclosed transport <.*Datagram"):
        del transport, _
        gc.collect()
    assert len(open_fds()) < fds


def test_an_open_transport_after_its_loop(loop_factory):
    loop = loop_factory()
    transport, protocol = run(loop, loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, (LOOPBACK, 0)))
    loop.close()
    with udp_socket() as peer:
        transport.sendto(b"still open", peer.getsockname())
        assert peer.recv(100) == b"still open"
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        transport.close()
    with pytest.warns(ResourceWarning):
        del transport, protocol
        gc.collect()


def test_a_loop_that_moves_to_another_thread(loop):
    transport, protocol = run(loop, loop.create_datagram_endpoint(
        Echo, (LOOPBACK, 0)))
    with udp_socket() as peer:
        for i in range(4):
            peer.sendto(b"%d" % i, name_of(transport))
            thread = threading.Thread(
                target=run, args=(loop, protocol.received(i + 1)))
            thread.start()
            thread.join(PATIENCE)
            assert peer.recv(100) == b"%d" % i
    run(loop, ended(transport, protocol))


@pytest.mark.slow(60)
async def test_a_thousand_endpoints_leave_nothing(loop):
    async def cycle():
        async with endpoint(Echo) as (server, protocol):
            async with endpoint(remote_addr=name_of(server)) as (client, other):
                client.sendto(b"x")
                await other.received(1)
                client.close()
                await other.lost

    for _ in range(100):
        await cycle()
    gc.collect()
    fds, resident = len(open_fds()), resident_kib()
    for _ in range(1000):
        await cycle()
    gc.collect()
    assert len(open_fds()) == fds
    assert resident_kib() - resident < 2048


# --- what it tells of itself -------------------------------------------------

async def test_extra_info(loop):
    async with endpoint() as (transport, protocol):
        sock = transport.get_extra_info("socket")
        assert isinstance(sock, asyncio.trsock.TransportSocket)
        assert sock.getsockname() == name_of(transport)
        assert sock.type == socket.SOCK_DGRAM
        assert transport.get_extra_info("peername") is None
        assert transport.get_extra_info("nothing") is None
        assert transport.get_extra_info("nothing", 7) == 7
        transport.close()
        await protocol.lost
        assert name_of(transport) is not None


async def test_repr(loop):
    async with endpoint() as (transport, protocol):
        fd = transport.get_extra_info("socket").fileno()
        await until(lambda: "read=polling" in repr(transport))
        assert f"fd={fd} read=polling write=<idle, bufsize=0>>" in repr(transport)
        transport.close()
        assert f" closing fd={fd} read=idle" in repr(transport)
        await protocol.lost
        await turns()
        assert repr(transport).endswith(f" closed fd={fd}>")


async def test_what_it_is_an_instance_of(loop, flavour):
    async with endpoint() as (transport, _):
        assert isinstance(transport, asyncio.Transport)
        if flavour.ours or sys.version_info >= (3, 13):
            assert isinstance(transport, asyncio.DatagramTransport)
        with pytest.raises(NotImplementedError):
            transport.write(b"x")
        with pytest.raises(TypeError):
            type(transport)()


async def test_its_fd_is_taken(loop):
    async with endpoint() as (transport, protocol):
        sock = transport.get_extra_info("socket")
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop.add_reader(sock, print)
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop.remove_writer(sock.fileno())


async def test_it_has_room_for_attributes_and_weak_references(loop):
    async with endpoint() as (transport, _):
        transport.mine = 1
        assert weakref.ref(transport)() is transport


async def test_slow_datagrams_are_logged_in_debug_mode(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01

    class Slow(Recorder):
        def datagram_received(self, data, addr):
            time.sleep(0.02)
            super().datagram_received(data, addr)

    async with endpoint(Slow) as (transport, protocol):
        with udp_socket() as peer:
            peer.sendto(b"x", name_of(transport))
            await protocol.received(1)
        await turns()
    assert any("took" in record.getMessage() and "Datagram" in
               record.getMessage() for record in caplog.records)


# --- create_datagram_endpoint() ----------------------------------------------

async def test_local_and_remote(loop):
    with udp_socket() as peer:
        async with endpoint(local_addr=(LOOPBACK, 0),
                            remote_addr=peer.getsockname()) as (
                                transport, protocol):
            transport.sendto(b"there")
            data, addr = peer.recvfrom(100)
            assert (data, addr) == (b"there", name_of(transport))
            with udp_socket() as stranger:     # connected: not for us
                stranger.sendto(b"strange", name_of(transport))
            peer.sendto(b"and back", addr)
            assert await protocol.received(1) == [b"and back"]


async def test_sock_is_used_and_made_non_blocking(loop):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((LOOPBACK, 0))
    async with endpoint(Echo, sock=sock) as (transport, protocol):
        assert sock.getblocking() is False
        assert name_of(transport) == sock.getsockname()
        with udp_socket() as peer:
            peer.sendto(b"x", sock.getsockname())
            await protocol.received(1)
    assert sock.fileno() == -1


async def test_connected_sock(loop):
    with udp_socket() as peer:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect(peer.getsockname())
        async with endpoint(sock=sock) as (transport, _):
            assert transport.get_extra_info("peername") == peer.getsockname()
            transport.sendto(b"no address")
            transport.sendto(b"it is not looked at", ("192.0.2.1", 9))
            assert peer.recv(100) == b"no address"
            assert peer.recv(100) == b"it is not looked at"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="3.12's check")
async def test_sock_that_is_taken(loop):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((LOOPBACK, 0))
    async with endpoint(sock=sock):
        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.create_datagram_endpoint(Recorder, sock=sock)


async def test_reuse_port(loop):
    async with endpoint(local_addr=(LOOPBACK, 0), reuse_port=True) as (
            first, one):
        async with endpoint(local_addr=name_of(first), reuse_port=True) as (
                second, two):
            assert name_of(first) == name_of(second)
            assert first.get_extra_info("socket").getsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEPORT)
            with udp_socket() as peer:
                peer.sendto(b"x", name_of(first))
                await until(lambda: one.got or two.got)


async def test_address_in_use(loop):
    async with endpoint() as (transport, _):
        with pytest.raises(OSError):
            await loop.create_datagram_endpoint(Recorder, name_of(transport))


async def test_allow_broadcast(loop):
    async with endpoint(local_addr=(LOOPBACK, 0), allow_broadcast=True) as (
            transport, _):
        assert transport.get_extra_info("socket").getsockopt(
            socket.SOL_SOCKET, socket.SO_BROADCAST)


async def test_allow_broadcast_does_not_connect(loop):
    with udp_socket() as peer:
        async with endpoint(remote_addr=peer.getsockname(),
                            allow_broadcast=True) as (transport, _):
            assert transport.get_extra_info("peername") is None
            transport.sendto(b"by address")
            assert peer.recv(100) == b"by address"
            with pytest.raises(ValueError, match="Invalid address: must be"):
                transport.sendto(b"x", (LOOPBACK, 1))


async def test_family_alone(loop):
    async with endpoint(family=socket.AF_INET) as (transport, _):
        assert name_of(transport) == ("0.0.0.0", 0)
        with udp_socket() as peer:
            transport.sendto(b"from any port", peer.getsockname())
            assert peer.recv(100) == b"from any port"


async def test_proto_and_flags(loop):
    async with endpoint(local_addr=("127.0.0.1", 0),
                        family=socket.AF_INET, proto=socket.IPPROTO_UDP,
                        flags=socket.AI_NUMERICHOST) as (transport, _):
        assert transport.get_extra_info("socket").proto == socket.IPPROTO_UDP


async def test_host_names(loop):
    async with endpoint(local_addr=("localhost", 0),
                        family=socket.AF_INET) as (transport, protocol):
        async with endpoint() as (client, _):
            client.sendto(b"by name", ("localhost", name_of(transport)[1]))
            assert await protocol.received(1) == [b"by name"]


NOT_A_PAIR = AssertionError if sys.version_info < (3, 11) else TypeError
ARGUMENT_ERRORS = [
    ((), {}, ValueError),
    ((), {"local_addr": "127.0.0.1"}, NOT_A_PAIR),
    ((), {"local_addr": ("127.0.0.1",)}, NOT_A_PAIR),
    ((), {"local_addr": ["127.0.0.1", 0]}, NOT_A_PAIR),
    ((), {"remote_addr": 7}, NOT_A_PAIR),
    ((), {"local_addr": ("127.0.0.1", 0), "remote_addr": ("::1", 9)},
     ValueError),
    ((), {"local_addr": ("127.0.0.1", 0), "family": socket.AF_INET6}, OSError),
    ((), {"local_addr": ("192.0.2.1", 0)}, OSError),
    ((), {"local_addr": ("127.0.0.1", 70000)}, (OSError, OverflowError)),
    ((), {"nothing": 1}, TypeError),
]


@pytest.mark.parametrize("args,options,error", ARGUMENT_ERRORS)
async def test_argument_errors(loop, args, options, error):
    with pytest.raises(error):
        await loop.create_datagram_endpoint(Recorder, *args, **options)


async def test_reuse_address(loop):
    error = ValueError if sys.version_info < (3, 11) else TypeError
    with pytest.raises(error):
        await loop.create_datagram_endpoint(
            Recorder, (LOOPBACK, 0), reuse_address=True)


@pytest.mark.parametrize("option", [
    {"local_addr": (LOOPBACK, 0)}, {"remote_addr": (LOOPBACK, 9)},
    {"family": socket.AF_INET}, {"proto": 17}, {"flags": 1},
    {"reuse_port": True}, {"allow_broadcast": True}])
async def test_sock_excludes_the_rest(loop, option):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        with pytest.raises(ValueError, match="can not be used"):
            await loop.create_datagram_endpoint(Recorder, sock=sock, **option)


async def test_stream_socket_is_refused(loop):
    with socket.socket() as sock:
        with pytest.raises(ValueError, match="(datagram|UDP) [Ss]ocket was expected"):
            await loop.create_datagram_endpoint(Recorder, sock=sock)


async def test_a_factory_that_raises(loop):
    def factory():
        raise ValueError("mine")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        with pytest.raises(ValueError, match="mine"):
            await loop.create_datagram_endpoint(factory, (LOOPBACK, 0))
        gc.collect()


async def test_a_socket_class_of_the_users_own(loop):
    """Its methods are what sends and receives."""
    calls = []

    class Wrapping(socket.socket):
        def recvfrom(self, size):
            data, addr = super().recvfrom(size)
            calls.append("recvfrom")
            return data.upper(), addr

        def sendto(self, data, addr):
            calls.append("sendto")
            return super().sendto(b"<" + data + b">", addr)

    sock = Wrapping(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((LOOPBACK, 0))
    async with endpoint(Echo, sock=sock) as (transport, protocol):
        with udp_socket() as peer:
            peer.sendto(b"low", name_of(transport))
            assert await protocol.received(1) == [b"LOW"]
            assert peer.recv(100) == b"<LOW>"
    assert calls[:2] == ["recvfrom", "sendto"]
