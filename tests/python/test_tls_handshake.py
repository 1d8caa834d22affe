# SPDX-License-Identifier: Apache-2.0
"""TLS: handshakes, good, stalled, garbled and cut off; host names."""

import asyncio
import os
import socket
import ssl
import time

import pytest

from support import (
    LOOPBACK,
    PATIENCE,
    Accepting,
    Echo,
    Recorder,
    reset,
    settle,
    tcp_socket_pair,
    turns,
    until,
)
from tls import (
    TLS12,
    TLS13,
    Peer,
    by_loop,
    by_openssl,
    each_role,
    each_version,
    facts,
    needs_shutdown_timeout,
    new_context,
    peer_by_hand,
    serving,
    tls_pair,
    trusting,
)

pytestmark = [pytest.mark.stream, pytest.mark.tls]


@pytest.fixture
def reports(loop):
    """What the exception handler gets, also of accepted connections."""
    found = []
    loop.set_exception_handler(lambda loop, context: found.append(context))
    loop.set_debug(True)
    loop.slow_callback_duration = 60
    return found


@each_version
@each_role
async def test_connection_is_made_after_the_handshake(loop, role, version):
    async with peer_by_hand(role, server_context=serving(version=version),
                            handshake=False) as (opening, peer):
        await settle()
        assert not opening.done()
        await peer.handshake()
        transport, protocol = await asyncio.wait_for(opening, PATIENCE)
        assert protocol.calls == ["made"]
        assert transport is protocol.transport
        assert transport.get_extra_info("ssl_object").version() == (
            version.name.replace("_", "."))


@each_version
@each_role
async def test_handshake_in_single_bytes(loop, role, version):
    async with peer_by_hand(role, server_context=serving(version=version),
                            handshake=False) as (opening, peer):
        send = peer.send

        async def send_bytes(raw):
            for byte in raw:
                await send(bytes([byte]))

        peer.send = send_bytes
        await peer.handshake()
        _, protocol = await asyncio.wait_for(opening, PATIENCE)
        peer.send = send
        await peer.write(b"done")
        assert await protocol.received(4) == b"done"


# --- timeouts ---

@each_role
async def test_handshake_timeout_has_asyncios_words(loop, role):
    async with peer_by_hand(role, handshake=False,
                            ssl_handshake_timeout=0.05) as (opening, peer):
        with pytest.raises(ConnectionAbortedError) as raised:
            await asyncio.wait_for(opening, PATIENCE)
        assert str(raised.value) == (
            "SSL handshake is taking longer than 0.05 seconds: "
            "aborting the connection")
        assert await peer.socket_ends() in ("eof", "reset")


async def test_handshake_timeout_counts_half_a_handshake(loop):
    """A byte now and then keeps nobody."""
    async with peer_by_hand("server", handshake=False,
                            ssl_handshake_timeout=0.05) as (opening, peer):
        with pytest.raises(ssl.SSLWantReadError):
            peer.ssl.do_handshake()
        hello = peer.outgoing.read()
        for byte in hello[:-1]:
            if opening.done():
                break
            try:
                await peer.send(bytes([byte]))
            except ConnectionError:
                break
            await turns(1)
        with pytest.raises(ConnectionAbortedError):
            await asyncio.wait_for(opening, PATIENCE)


async def test_handshake_timeout_does_not_end_an_open_connection(loop):
    async with tls_pair(ssl_handshake_timeout=0.3, server_options={
            "ssl_handshake_timeout": 0.3}, server=Echo) as (_, client):
        await asyncio.sleep(0.5)
        client.transport.write(b"x")
        assert await client.received(1) == b"x"


@pytest.mark.parametrize("option, value", [
    ("ssl_handshake_timeout", 0), ("ssl_handshake_timeout", -1.5),
    pytest.param("ssl_shutdown_timeout", 0, marks=needs_shutdown_timeout),
    pytest.param("ssl_shutdown_timeout", -2, marks=needs_shutdown_timeout)])
async def test_timeouts_must_be_positive(loop, option, value):
    ours, peer = tcp_socket_pair()
    with pytest.raises(ValueError) as raised:
        await loop.create_connection(
            Recorder, sock=ours, ssl=trusting(), server_hostname="localhost",
            **{option: value})
    assert str(raised.value) == (
        f"{option} should be a positive number, got {value}")
    ours.close(), peer.close()


@pytest.mark.parametrize("option", [
    "ssl_handshake_timeout",
    pytest.param("ssl_shutdown_timeout", marks=needs_shutdown_timeout)])
async def test_timeouts_are_refused_without_ssl(loop, option):
    words = f"{option} is only meaningful with ssl"
    with pytest.raises(ValueError, match=words):
        await loop.create_connection(Recorder, LOOPBACK, 1, **{option: 1})
    with pytest.raises(ValueError, match=words):
        await loop.create_server(Recorder, LOOPBACK, 0, **{option: 1})
    with pytest.raises(ValueError, match=words):
        await loop.create_unix_connection(Recorder, "/x", **{option: 1})
    with pytest.raises(ValueError, match=words):
        await loop.create_unix_server(Recorder, "/x", **{option: 1})
    ours, peer = tcp_socket_pair()
    with pytest.raises(ValueError, match=words):
        await loop.connect_accepted_socket(Recorder, sock=ours, **{option: 1})
    ours.close(), peer.close()


@pytest.mark.slow(40)
async def test_stalled_clients_do_not_stop_service(loop):
    accepting = Accepting(Echo)
    server = await loop.create_server(accepting, LOOPBACK, 0, ssl=serving(),
                                      backlog=300)
    address = server.sockets[0].getsockname()
    stalled = [socket.create_connection(address) for _ in range(120)]
    for number, sock in enumerate(stalled):
        if number % 2:
            sock.send(b"\x16\x03\x01\x02")     # the beginning of a hello
    for _ in range(3):
        _, client = await asyncio.wait_for(loop.create_connection(
            Recorder, *address, ssl=trusting(), server_hostname="localhost"),
            PATIENCE)
        client.transport.write(b"served")
        assert await client.received(6) == b"served"
        client.transport.close()
        await asyncio.wait_for(client.lost, PATIENCE)
    for sock in stalled:
        sock.close()
    made = [protocol for protocol in accepting.made if protocol.transport]
    assert len(made) == 3
    await asyncio.gather(*(protocol.lost for protocol in made))
    server.close()
    await server.wait_closed()
    await settle()


async def test_handshakes_end_while_the_loop_is_never_idle(loop):
    """Also on one core, which other threads get only as the kernel likes."""
    cores = os.sched_getaffinity(0)
    busy = True

    def burn():
        end = time.perf_counter() + 0.002
        while time.perf_counter() < end:
            pass
        if busy:
            loop.call_soon(burn)

    os.sched_setaffinity(0, {min(cores)})
    try:
        loop.call_soon(burn)
        for _ in range(3):
            async with tls_pair() as (served, client):
                client.transport.write(b"x")
                assert await served.received(1) == b"x"
    finally:
        os.sched_setaffinity(0, cores)
        busy = False


# --- what is no handshake ---

GARBAGE = {
    "HTTP": b"GET / HTTP/1.0\r\n\r\n",
    "zeros": bytes(100),
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "text": b"hello, this is no TLS at all\r\n" * 4,
    "alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "oversized record": b"\x16\x03\x01\xff\xff" + bytes(70_000),
    "application data": b"\x17\x03\x03\x00\x20" + bytes(32),
    "bad hello": b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    "empty records": b"\x16\x03\x01\x00\x00" * 40,
}


def refusal(context, garbage, server_side):
    """What the ssl module raises for garbage in a handshake, or None."""
    incoming = ssl.MemoryBIO()
    end = context.wrap_bio(
        incoming, ssl.MemoryBIO(), server_side=server_side,
        server_hostname=None if server_side else "localhost")
    with pytest.raises(ssl.SSLError):
        if not server_side:
            end.do_handshake()       # sends the hello
        else:
            raise ssl.SSLWantReadError
    incoming.write(garbage)
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return None
    except ssl.SSLError as exc:
        return exc


@pytest.mark.parametrize("kind", GARBAGE)
@each_role
async def test_garbage_instead_of_a_handshake(loop, role, kind):
    """Is refused, with the exception that the ssl module raises for it."""
    context = trusting() if role == "client" else serving()
    expected = refusal(context, GARBAGE[kind], role == "server")
    async with peer_by_hand(role, handshake=False) as (opening, peer):
        if role == "client":
            await peer.receive()     # the hello
        try:
            await peer.send(GARBAGE[kind])
            if expected is None:
                peer.sock.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass                     # refused before all was sent
        with pytest.raises(OSError) as raised:
            await asyncio.wait_for(opening, PATIENCE)
        if expected is None:
            assert isinstance(raised.value, ConnectionResetError)
        else:
            check_like_openssl(raised.value, expected)
        assert await peer.socket_ends() in ("eof", "reset")


def check_like_openssl(exc, expected):
    """mbedTLS need not find the same fault first in what is all wrong."""
    assert type(exc) is type(expected)
    if os.environ.get("RSLOOP_C_TLS") == "mbedtls":
        assert exc.library == "SSL" and exc.reason
        assert exc.errno == expected.errno
    else:
        assert facts(exc) == facts(expected)


async def test_server_goes_on_after_garbage(loop, reports):
    accepting = Accepting(Echo)
    server = await loop.create_server(accepting, LOOPBACK, 0, ssl=serving())
    address = server.sockets[0].getsockname()
    for garbage in GARBAGE.values():
        with socket.create_connection(address) as sock:
            sock.setblocking(False)
            await loop.sock_sendall(sock, garbage[:1000])
            sock.shutdown(socket.SHUT_WR)
            try:
                while await asyncio.wait_for(loop.sock_recv(sock, 100),
                                             PATIENCE):
                    pass
            except ConnectionError:
                pass
    await until(lambda: len(reports) == len(GARBAGE), "all are refused")
    for context in reports:
        assert context["message"] == (
            "Error on transport creation for incoming connection")
        assert isinstance(context["exception"], OSError)
    _, client = await loop.create_connection(
        Recorder, *address, ssl=trusting(), server_hostname="localhost")
    client.transport.write(b"x")
    assert await client.received(1) == b"x"
    client.transport.abort()
    await asyncio.wait_for(client.lost, PATIENCE)
    for protocol in accepting.made:
        if protocol.transport is not None:
            await asyncio.wait_for(protocol.lost, PATIENCE)
    server.close()
    await server.wait_closed()


# --- cut off ---

async def flight(peer):
    """Send what the peer has for the socket now; False at the end."""
    try:
        peer.ssl.do_handshake()
        done = True
    except ssl.SSLWantReadError:
        done = False
    await peer.flush()
    return not done


@pytest.mark.parametrize("end", ["eof", "reset"])
@pytest.mark.parametrize("flights", [0, 1])
@each_version
@each_role
async def test_end_in_the_middle_of_the_handshake(
        loop, role, version, flights, end):
    async with peer_by_hand(role, server_context=serving(version=version),
                            handshake=False) as (opening, peer):
        if role == "client":
            await peer.feed()
        for _ in range(flights):
            held = []

            async def hold(raw, held=held):
                held.append(raw)

            send, peer.send = peer.send, hold
            await flight(peer)
            raw = b"".join(held)
            # All but the last byte: the handshake cannot go on.
            await send(raw[:-1])
        await settle()
        if end == "eof":
            peer.sock.shutdown(socket.SHUT_WR)
        else:
            reset(peer.sock)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(opening, PATIENCE)


@pytest.mark.parametrize("end", ["eof", "reset"])
@each_version
async def test_end_behind_the_first_flight(loop, version, end):
    """It may come while another thread makes the answer."""
    async with peer_by_hand("server", server_context=serving(version=version),
                            handshake=False) as (opening, peer):
        await flight(peer)
        if end == "eof":
            peer.sock.shutdown(socket.SHUT_WR)
        else:
            reset(peer.sock)
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(opening, PATIENCE)


@each_role
async def test_cancelling_a_handshake_closes_the_socket(loop, role):
    async with peer_by_hand(role, handshake=False) as (opening, peer):
        if role == "client":
            await peer.receive()
        else:
            await settle()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert await peer.socket_ends() in ("eof", "reset")


async def test_server_closed_during_handshakes(loop):
    """Its connections that are under way end or go on; nothing is left."""
    loop.set_exception_handler(lambda loop, context: None)
    accepting = Accepting(Recorder)
    server = await loop.create_server(accepting, LOOPBACK, 0, ssl=serving())
    sock = socket.create_connection(server.sockets[0].getsockname())
    sock.setblocking(False)
    peer = Peer(sock, trusting(), False, "localhost")
    await flight(peer)
    server.close()
    try:
        await peer.handshake()
        protocol, = await accepting.count(1)
        protocol.transport.abort()
        await asyncio.wait_for(protocol.lost, PATIENCE)
    except (ssl.SSLError, ConnectionError):
        pass
    sock.close()
    await asyncio.wait_for(server.wait_closed(), PATIENCE)
    await settle()


# --- two contexts that cannot agree ---

def only_ciphers(context, ciphers):
    context.maximum_version = TLS12
    context.set_ciphers(ciphers)
    return context


DISAGREEMENTS = {
    "client is too new": lambda: (serving(version=TLS12),
                                  trusting(version=TLS13)),
    "client is too old": lambda: (serving(version=TLS13),
                                  trusting(version=TLS12)),
    "no cipher in common": lambda: (
        only_ciphers(serving(), "ECDHE-ECDSA-AES128-GCM-SHA256"),
        only_ciphers(trusting(), "ECDHE-ECDSA-AES256-GCM-SHA384")),
    "no certificate": lambda: (new_context(ssl.PROTOCOL_TLS_SERVER),
                               trusting()),
    "cipher for another key": lambda: (
        only_ciphers(serving("rsa"), "DEFAULT"),
        only_ciphers(trusting(), "ECDHE-ECDSA-AES256-GCM-SHA384")),
}


@pytest.mark.parametrize("kind", DISAGREEMENTS)
@each_role
async def test_disagreements_end_as_openssl_says(loop, role, kind, tls_engine):
    expected = by_openssl(*DISAGREEMENTS[kind]())
    found = await by_loop(role, *DISAGREEMENTS[kind]())
    ours = 0 if role == "client" else 1
    assert isinstance(expected[ours], ssl.SSLError)
    check_like_openssl(found[ours], expected[ours])
    assert isinstance(found[1 - ours], (ssl.SSLError, ConnectionResetError))
    if tls_engine == "openssl":      # asyncio sends no alert
        assert facts(found[1 - ours]) == facts(expected[1 - ours])
