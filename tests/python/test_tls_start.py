# SPDX-License-Identifier: Apache-2.0
"""TLS on connections that were plain: start_tls, and TLS in TLS."""

import asyncio
import gc
import os
import socket
import ssl
import sys
import weakref

import pytest

from support import (
    LOOPBACK,
    PATIENCE,
    Accepting,
    BufferedRecorder,
    Echo,
    Recorder,
    recv_exactly,
    settle,
    tcp_socket_pair,
    transport_and_peer,
)
from tls import (
    Peer,
    each_role,
    each_version,
    engine_of,
    needs_shutdown_timeout,
    serving,
    tls_pair,
    trusting,
)

pytestmark = [pytest.mark.stream, pytest.mark.tls]

needs_writer = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="StreamWriter.start_tls is new in 3.11")
needs_inner = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="TLS in TLS is new in 3.11")


def upgrade(loop, transport, protocol, role, version=None, **options):
    if role == "server":
        return loop.start_tls(transport, protocol, serving(version=version),
                              server_side=True, **options)
    return loop.start_tls(transport, protocol, trusting(version=version),
                          server_hostname="localhost", **options)


def other_end(role, sock):
    return Peer(sock, serving(), True) if role == "client" else Peer(
        sock, trusting(), False, "localhost")


@each_version
@each_role
async def test_upgrade_against_a_peer_by_hand(loop, role, version):
    async with transport_and_peer() as (transport, protocol, sock):
        transport.write(b"plain")
        assert await recv_exactly(sock, 5) == b"plain"
        peer = other_end(role, sock)
        upgraded, _ = await asyncio.wait_for(asyncio.gather(
            upgrade(loop, transport, protocol, role, version),
            peer.handshake()), PATIENCE)
        assert upgraded is not transport
        assert upgraded.get_protocol() is protocol
        assert upgraded.get_extra_info("ssl_object").version() == (
            version.name.replace("_", "."))
        # connection_made is for the first transport alone.
        assert protocol.calls == ["made"]
        upgraded.write(b"secret" * 10_000)
        assert await peer.read(60_000) == b"secret" * 10_000
        await peer.write(b"answer")
        assert await protocol.received(6) == b"answer"
        protocol.transport = upgraded
        upgraded.close()
        assert await peer.read_to_end() == b""
        await peer.send(peer.notify())
        assert await asyncio.wait_for(protocol.lost, PATIENCE) is None


@each_role
async def test_protocol_may_be_another_one(loop, role):
    async with transport_and_peer() as (transport, protocol, sock):
        peer = other_end(role, sock)
        second = BufferedRecorder()
        upgraded, _ = await asyncio.wait_for(asyncio.gather(
            upgrade(loop, transport, second, role), peer.handshake()),
            PATIENCE)
        await peer.write(b"for the second")
        assert await second.received(14) == b"for the second"
        assert protocol.data == b""
        upgraded.abort()
        await asyncio.wait_for(second.lost, PATIENCE)
        protocol.lost.set_result(None)


@each_role
async def test_end_of_a_peer_during_the_upgrade(loop, role):
    async with transport_and_peer() as (transport, protocol, sock):
        task = loop.create_task(upgrade(loop, transport, protocol, role))
        await settle()
        sock.close()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(task, PATIENCE)
        await settle()
        protocol.lost.done() or protocol.lost.set_result(None)


@each_role
async def test_cancelled_upgrade_ends_the_connection(loop, role):
    async with transport_and_peer() as (transport, protocol, sock):
        task = loop.create_task(upgrade(loop, transport, protocol, role))
        await settle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        try:
            while await asyncio.wait_for(loop.sock_recv(sock, 4096), PATIENCE):
                pass
        except ConnectionResetError:
            pass
        protocol.lost.done() or protocol.lost.set_result(None)


@each_role
async def test_bad_certificate_in_an_upgrade(loop, role):
    async with transport_and_peer() as (transport, protocol, sock):
        context = trusting("other-ca.pem")
        peer = Peer(sock, serving(), True)
        with pytest.raises(ssl.SSLCertVerificationError) as raised:
            await asyncio.wait_for(asyncio.gather(
                loop.start_tls(transport, protocol, context,
                               server_hostname="localhost"),
                quietly(peer.handshake())), PATIENCE)
        assert raised.value.verify_code == 20
        await settle()
        protocol.lost.done() or protocol.lost.set_result(None)


async def test_failed_upgrade_leaves_no_cycle(loop, flavour):
    """CPython's gh-159049."""
    asyncios = not flavour.ours or os.environ.get("RSLOOP_C_TLS") == "python"
    if asyncios and sys.version_info < (3, 14, 10):
        pytest.skip("asyncio's own leaves one")
    ours, theirs = tcp_socket_pair()
    peer = Peer(theirs, serving(), True)

    async def upgrade_and_fail():
        transport, protocol = await loop.create_connection(
            asyncio.Protocol, sock=ours)
        try:
            await loop.start_tls(transport, protocol, trusting("other-ca.pem"),
                                 server_hostname="localhost")
        except ssl.SSLCertVerificationError:
            return weakref.ref(transport)

    shaking = loop.create_task(quietly(peer.handshake()))
    gc.disable()
    try:
        kept = await asyncio.wait_for(upgrade_and_fail(), PATIENCE)
        await settle()
        assert kept() is None
    finally:
        gc.enable()
    await asyncio.wait_for(shaking, PATIENCE)
    theirs.close()


async def quietly(coro):
    try:
        await coro
    except OSError:
        pass


@pytest.mark.parametrize("options, words", [
    ({"ssl_handshake_timeout": 0}, "ssl_handshake_timeout should be a positive"),
    pytest.param({"ssl_shutdown_timeout": -1},
                 "ssl_shutdown_timeout should be a positive",
                 marks=needs_shutdown_timeout)])
async def test_bad_timeouts_of_an_upgrade(loop, options, words):
    async with transport_and_peer() as (transport, protocol, _):
        with pytest.raises(ValueError, match=words):
            await loop.start_tls(transport, protocol, trusting(),
                                 server_hostname="localhost", **options)


async def test_transports_that_cannot_be_upgraded(loop):
    class Foreign(asyncio.Transport):
        pass

    for transport in (Foreign(), None, object()):
        with pytest.raises(TypeError, match="is not supported by start_tls"):
            await loop.start_tls(transport, None, trusting())


@needs_writer
async def test_writer_upgrades_again_and_again(loop):
    """A line in plain, then the other lines in TLS, on 20 connections."""
    async def serve(reader, writer):
        while line := await reader.readline():
            if line == b"STARTTLS\n":
                writer.write(b"go\n")
                await writer.drain()
                await writer.start_tls(serving())
                continue
            writer.write(line.upper())
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, LOOPBACK, 0)

    async def client(number):
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname())
        for round in ("plain", "secret"):
            line = f"{round} {number}\n".encode()
            writer.write(line)
            assert await reader.readline() == line.upper()
            if round == "plain":
                writer.write(b"STARTTLS\n")
                assert await reader.readline() == b"go\n"
                await writer.start_tls(trusting(),
                                       server_hostname="localhost")
                assert writer.get_extra_info("cipher")
                assert writer.transport.get_extra_info("ssl_object")
        writer.close()
        await writer.wait_closed()

    await asyncio.wait_for(
        asyncio.gather(*(client(number) for number in range(20))), PATIENCE)
    server.close()
    await server.wait_closed()


@needs_writer
@pytest.mark.asyncio_is_worse("it loses them or hands them on as plain text: "
                              "cpython 142352")
async def test_hello_that_came_with_the_last_plain_bytes(loop):
    """A client that pipelines STARTTLS and its ClientHello: what the reader
    has buffered goes into the handshake."""
    async def serve(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        await writer.start_tls(serving())
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    with socket.create_connection(server.sockets[0].getsockname()) as sock:
        sock.setblocking(False)
        peer = Peer(sock, trusting(), False, "localhost")
        with pytest.raises(ssl.SSLWantReadError):
            peer.ssl.do_handshake()
        await peer.send(b"STARTTLS\n" + peer.outgoing.read())
        await peer.handshake()
        await peer.write(b"secret\n")
        assert await peer.read(7) == b"SECRET\n"
    server.close()
    await server.wait_closed()
    await settle()


# --- TLS in TLS ---

class inside:
    """The protocols of a TLS connection inside another one."""

    def __init__(self, outer=None, server=Recorder, client=Recorder):
        self.outer = outer or tls_pair()
        self.factories = server, client

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        served, client = await self.outer.__aenter__()
        self.made = self.factories[0](), self.factories[1]()
        transports = await asyncio.wait_for(asyncio.gather(
            upgrade(loop, served.transport, self.made[0], "server"),
            upgrade(loop, client.transport, self.made[1], "client")), PATIENCE)
        for protocol, transport in zip(self.made, transports, strict=True):
            protocol.connection_made(transport)
        return self.made

    async def __aexit__(self, *exc):
        for protocol in self.made:
            if not protocol.lost.done():
                protocol.transport.abort()
            await asyncio.wait_for(protocol.lost, PATIENCE)
        for protocol in (self.outer.served, self.outer.client):
            protocol.lost.done() or protocol.lost.set_result(None)
        await self.outer.end_server()


@needs_inner
async def test_tls_in_tls_carries_much_both_ways(loop):
    data = os.urandom(1_000_000)
    async with inside(server=Echo) as (_, client):
        client.transport.write(data)
        assert await client.received(len(data)) == data


@needs_inner
async def test_tls_in_tls_tells_of_the_inner_session(loop):
    async with inside() as (_, client):
        info = client.transport.get_extra_info
        assert info("ssl_object").server_hostname == "localhost"
        assert info("cipher") == info("ssl_object").cipher()
        assert info("peername")
        assert engine_of(client)


@needs_inner
async def test_tls_in_tls_closes_both(loop):
    async with inside() as (served, client):
        client.transport.write(b"last")
        client.transport.close()
        assert await asyncio.wait_for(client.lost, PATIENCE) is None
        assert await asyncio.wait_for(served.lost, PATIENCE) is None
        assert served.data == b"last"


@needs_inner
async def test_tls_in_tls_flow_control(loop):
    async with inside() as (served, client):
        served.transport.pause_reading()
        total = 0
        while "pause" not in client.calls:
            client.transport.write(b"x" * 500_000)
            total += 500_000
            await asyncio.sleep(0)
            assert total < 100_000_000
        served.transport.resume_reading()
        assert len(await served.received(total)) == total
        assert "resume" in client.calls


@needs_inner
@pytest.mark.parametrize("where", ["outer", pytest.param(
    "inner", marks=pytest.mark.skipif(
        sys.version_info < (3, 13), reason="asyncio fails by itself"))])
async def test_tls_in_tls_with_a_bad_certificate(loop, where):
    loop.set_exception_handler(lambda loop, context: None)
    accepting = Accepting(Recorder)
    server = await loop.create_server(accepting, LOOPBACK, 0, ssl=serving())
    options = dict(ssl=trusting(), server_hostname="localhost")
    if where == "outer":
        options["ssl"] = trusting("other-ca.pem")
    with pytest.raises(ssl.SSLCertVerificationError):
        transport, protocol = await loop.create_connection(
            Recorder, *server.sockets[0].getsockname(), **options)
        await accepting.count(1)
        served = accepting.made[0]
        serve = loop.create_task(quietly(upgrade(
            loop, served.transport, served, "server")))
        try:
            await loop.start_tls(transport, protocol,
                                 trusting("other-ca.pem"),
                                 server_hostname="localhost")
        finally:
            await asyncio.wait_for(serve, PATIENCE)
    await settle()
    server.close()
    await server.wait_closed()


async def test_plain_socket_pair_stays_plain(loop):
    """Nothing of TLS touches a connection that does not ask for it."""
    ours, theirs = tcp_socket_pair()
    _, one = await loop.create_connection(Recorder, sock=ours)
    _, two = await loop.create_connection(Recorder, sock=theirs)
    one.transport.write(b"plain")
    assert await two.received(5) == b"plain"
    for name in ("ssl_object", "cipher", "sslcontext", "tls_engine"):
        assert one.transport.get_extra_info(name) is None
    for protocol in (one, two):
        protocol.transport.abort()
        await protocol.lost
