# SPDX-License-Identifier: Apache-2.0
"""TLS: how connections end, from every state and by every kind of end."""

import asyncio
import os
import socket
import ssl
import sys

import pytest

from support import PATIENCE, Recorder, reset, settle, turns
from tls import (
    each_role,
    each_version,
    engine_of,
    facts,
    needs_shutdown_timeout,
    peer_by_hand,
    serving,
    skip_old_sslproto,
    tls_pair,
    trusting,
)

pytestmark = [pytest.mark.stream, pytest.mark.tls]

SAYS_EOF = sys.version_info >= (3, 11)   # 3.10 closes without eof_received()


async def lost(protocol):
    return await asyncio.wait_for(protocol.lost, PATIENCE)


# --- our close ---

@each_version
@each_role
async def test_close_sends_what_is_queued_then_close_notify(
        loop, role, version):
    data = os.urandom(1_500_000)
    async with peer_by_hand(role, server_context=serving(version=version)) as (
            protocol, peer):
        protocol.transport.write(data)
        protocol.transport.close()
        assert protocol.transport.is_closing()
        assert await peer.read_to_end() == data      # raises without the notify
        await peer.send(peer.notify())
        assert await lost(protocol) is None
        assert await peer.socket_ends() == "eof"


@each_role
async def test_writes_after_close_are_dropped(loop, role):
    async with peer_by_hand(role) as (protocol, peer):
        # asyncio's transport breaks by a second close(), until late 3.11.
        breaks = engine_of(protocol) == "python" and sys.version_info < (3, 11, 7)
        protocol.transport.write(b"last")
        protocol.transport.close()
        protocol.transport.write(b"too late")
        assert await peer.read_to_end() == b"last"
        await peer.send(peer.notify())
        assert await lost(protocol) is None
        protocol.transport.write(b"much too late")
        if not breaks:
            protocol.transport.close()
            protocol.transport.close()
            protocol.transport.abort()
        assert protocol.calls.count("lost") == 1


@pytest.mark.asyncio_is_worse("its second close() drops the connection, and a "
                              "write() or an abort() then fails")
async def test_close_is_idempotent(loop):
    async with peer_by_hand("client") as (protocol, peer):
        if engine_of(protocol) == "python":
            protocol.transport.abort()
            pytest.skip("asyncio's sslproto")
        protocol.transport.write(b"last")
        protocol.transport.close()
        protocol.transport.close()
        protocol.transport.write(b"too late")
        assert await peer.read_to_end() == b"last"
        protocol.transport.abort()
        assert await lost(protocol) is None


def is_late_data(exc):
    """What asyncio ends with when data comes after its close_notify."""
    return exc is None or (
        exc.reason == "APPLICATION_DATA_AFTER_CLOSE_NOTIFY")


@each_role
async def test_close_ends_while_the_peer_goes_on_sending(loop, role):
    async with peer_by_hand(role) as (protocol, peer):
        protocol.transport.close()
        try:
            for _ in range(5):
                await peer.write(b"x" * 10_000)
                await turns(2)
            await peer.send(peer.notify())
        except ConnectionError:
            pass
        assert is_late_data(await lost(protocol))


@each_role
async def test_close_ends_when_the_peer_just_leaves(loop, role):
    async with peer_by_hand(role) as (protocol, peer):
        protocol.transport.close()
        assert await peer.read_to_end() == b""
        peer.sock.close()
        assert await lost(protocol) is None


@each_role
async def test_close_meets_a_reset(loop, role):
    async with peer_by_hand(role) as (protocol, peer):
        protocol.transport.close()
        assert await peer.read_to_end() == b""
        reset(peer.sock)
        exc = await lost(protocol)
        assert exc is None or isinstance(exc, ConnectionError)
        assert protocol.calls.count("lost") == 1


@needs_shutdown_timeout
@each_role
async def test_shutdown_timeout_is_told(loop, role):
    async with peer_by_hand(role, ssl_shutdown_timeout=0.05) as (
            protocol, peer):
        protocol.transport.close()
        exc = await lost(protocol)
        assert type(exc) is TimeoutError
        assert str(exc) == "SSL shutdown timed out"
        assert await peer.read_to_end() == b""
        assert await peer.socket_ends() in ("eof", "reset")


@needs_shutdown_timeout
async def test_shutdown_timeout_counts_what_cannot_be_sent(loop):
    async with peer_by_hand("client", ssl_shutdown_timeout=0.05) as (
            protocol, _):
        protocol.transport.write(b"x" * 20_000_000)
        protocol.transport.close()
        assert type(await lost(protocol)) is TimeoutError


@each_role
async def test_abort_drops_what_is_queued_and_says_no_goodbye(loop, role):
    async with peer_by_hand(role) as (protocol, peer):
        protocol.transport.write(b"x" * 20_000_000)
        protocol.transport.abort()
        assert await lost(protocol) is None
        with pytest.raises((ssl.SSLEOFError, ssl.SSLError,
                            ConnectionResetError)):
            await peer.read_to_end()


@each_role
async def test_abort_after_close_ends_at_once(loop, role):
    async with peer_by_hand(role) as (protocol, _):
        protocol.transport.write(b"x" * 20_000_000)
        protocol.transport.close()
        protocol.transport.abort()
        assert await lost(protocol) is None


@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize("where", ["connection_made", "data_received",
                                   "eof_received"])
@each_role
async def test_end_in_a_callback(loop, role, where, how):
    class Ending(Recorder):
        pass

    def end(self, *arguments):
        getattr(Recorder, where)(self, *arguments)
        getattr(self.transport, how)()

    setattr(Ending, where, end)
    async with peer_by_hand(role, Ending, handshake=False) as (opening, peer):
        try:
            await peer.handshake()
        except (ssl.SSLError, OSError):
            assert (where, how) == ("connection_made", "abort")
        _, protocol = await asyncio.wait_for(opening, PATIENCE)
        if where == "eof_received":
            skip_old_sslproto(protocol, "does not close after its own close()")
        if where == "data_received":
            await peer.write(b"data")
        if where == "eof_received":
            await peer.send(peer.notify())
        try:
            await peer.read_to_end()
            await peer.send(peer.notify())
        except (ssl.SSLError, OSError):
            assert how == "abort"
        assert await lost(protocol) is None
        assert protocol.calls.count("lost") == 1


@each_role
async def test_close_while_reading_is_paused(loop, role):
    async with peer_by_hand(role) as (protocol, peer):
        protocol.transport.pause_reading()
        protocol.transport.write(b"last")
        protocol.transport.close()
        assert await peer.read_to_end() == b"last"


async def test_both_sides_close_at_once(loop):
    async with tls_pair() as (served, client):
        served.transport.write(b"from server")
        client.transport.write(b"from client")
        served.transport.close()
        client.transport.close()
        assert is_late_data(await lost(client))
        assert is_late_data(await lost(served))


# --- the peer's close ---

@each_version
@each_role
async def test_close_notify_of_the_peer_ends_the_connection(
        loop, role, version):
    async with peer_by_hand(role, server_context=serving(version=version)) as (
            protocol, peer):
        # In one segment: data, then the end.
        await peer.send(peer.records(b"last") + peer.notify())
        assert await lost(protocol) is None
        assert protocol.data == b"last"
        if SAYS_EOF:
            assert protocol.calls[-2:] == ["eof", "lost"]
            assert await peer.read_to_end() == b""   # ours came as well
        assert await peer.socket_ends() == "eof"


@each_role
async def test_true_from_eof_received_keeps_nothing_open(
        loop, role, caplog):
    class Open(Recorder):
        keep_open_after_eof = True

    async with peer_by_hand(role, Open) as (protocol, peer):
        await peer.send(peer.notify())
        assert await lost(protocol) is None
    if SAYS_EOF:
        assert ("returning true from eof_received() has no effect when using "
                "ssl") in caplog.text


@each_role
async def test_peer_closes_while_output_is_queued(loop, role):
    """TLS knows no half-open connections; nothing breaks, it ends."""
    async with peer_by_hand(role) as (protocol, peer):
        protocol.transport.write(b"x" * 20_000_000)
        await peer.send(peer.notify())
        await turns(3)
        peer.sock.close()
        exc = await lost(protocol)
        assert exc is None or isinstance(exc, (ConnectionError, ssl.SSLError))
        assert protocol.calls.count("lost") == 1


# --- input that is cut off or broken ---

@each_version
@each_role
async def test_end_without_close_notify_is_an_eof(loop, role, version):
    """asyncio does not tell a truncation from an end."""
    async with peer_by_hand(role, server_context=serving(version=version)) as (
            protocol, peer):
        await peer.write(b"whole")
        await protocol.received(5)
        peer.sock.shutdown(socket.SHUT_WR)
        assert await lost(protocol) is None
        assert protocol.data == b"whole"
        assert protocol.calls[-2:] == ["eof", "lost"]


@each_version
@each_role
async def test_end_inside_a_record_gives_nothing_of_it(loop, role, version):
    async with peer_by_hand(role, server_context=serving(version=version)) as (
            protocol, peer):
        await peer.send(peer.records(b"whole") + peer.records(b"part")[:-1])
        await protocol.received(5)
        peer.sock.shutdown(socket.SHUT_WR)
        assert await lost(protocol) is None
        assert protocol.data == b"whole"


@each_role
async def test_reset_inside_a_record(loop, role):
    async with peer_by_hand(role) as (protocol, peer):
        await peer.send(peer.records(b"whole") + peer.records(b"part")[:-1])
        await protocol.received(5)
        reset(peer.sock)
        assert isinstance(await lost(protocol), ConnectionResetError)
        assert protocol.data == b"whole"
        assert protocol.calls.count("lost") == 1


@each_role
async def test_reset_while_output_is_queued(loop, role):
    async with peer_by_hand(role) as (protocol, peer):
        protocol.transport.write(b"x" * 20_000_000)
        await settle()
        reset(peer.sock)
        assert isinstance(await lost(protocol), ConnectionError)


def flipped(record):
    return record[:-1] + bytes([record[-1] ^ 1])


BROKEN = {
    "flipped": flipped,
    "plain text": lambda record: b"GET / HTTP/1.0\r\n\r\n",
    "empty header": lambda record: bytes(64),
    "oversized": lambda record: b"\x17\x03\x03\xff\xff" + bytes(70_000),
    "unknown type": lambda record: b"\x63" + record[1:],
    "alert in the clear": lambda record: b"\x15\x03\x03\x00\x02\x02\x28",
}
# mbedTLS has words of its own for some.
SAME_WORDS = ("python", "openssl")


@pytest.mark.parametrize("kind", BROKEN)
@each_version
@each_role
async def test_broken_record_is_an_ssl_error(loop, role, version, kind):
    """The same error as the ssl module raises for these bytes."""
    async with peer_by_hand(role, server_context=serving(version=version)) as (
            protocol, peer):
        await peer.write(b"whole")
        await protocol.received(5)
        await peer.send(BROKEN[kind](peer.records(b"broken")))
        exc = await lost(protocol)
        assert isinstance(exc, ssl.SSLError)
        assert protocol.data == b"whole"
        if engine_of(protocol) in SAME_WORDS:
            assert facts(exc) == facts(by_hand(version, kind))
        else:
            assert exc.library == "SSL" and exc.reason


def by_hand(version, kind):
    """What the ssl module raises."""
    wires = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = serving(version=version).wrap_bio(*wires, server_side=True)
    client = trusting().wrap_bio(*reversed(wires), server_hostname="localhost")
    for step in (client, server) * 3:
        try:
            step.do_handshake()
        except ssl.SSLWantReadError:
            pass
    with pytest.raises(ssl.SSLWantReadError):
        client.read(100)             # takes the session tickets
    server.write(b"broken")
    wires[1].write(BROKEN[kind](wires[1].read()))
    with pytest.raises(ssl.SSLError) as raised:
        client.read(100)
    return raised.value


@each_role
async def test_peer_sees_the_end_after_a_broken_record(loop, role):
    """By an alert, or by the end of the socket, which is what asyncio does."""
    async with peer_by_hand(role) as (protocol, peer):
        await peer.send(flipped(peer.records(b"broken")))
        await lost(protocol)
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await peer.read_to_end()


# --- protocols that raise ---

@pytest.mark.parametrize("where", ["data_received", "eof_received",
                                   "connection_made"])
@each_role
async def test_exception_of_the_protocol_is_reported(loop, role, where):
    class Faulty(Recorder):
        pass

    def fail(self, *arguments):
        getattr(Recorder, where)(self, *arguments)
        raise ZeroDivisionError(where)

    setattr(Faulty, where, fail)
    reported = []
    loop.set_exception_handler(
        lambda loop, context: reported.append(context))
    async with peer_by_hand(role, Faulty, handshake=False) as (opening, peer):
        try:
            await peer.handshake()
        except (ssl.SSLError, OSError):
            assert where == "connection_made"
        if where != "connection_made":
            transport, protocol = await asyncio.wait_for(opening, PATIENCE)
            skip_old_sslproto(protocol, "reports it and goes on")
            await peer.send(peer.records(b"data") if where == "data_received"
                            else peer.notify())
            exc = await lost(protocol)
            assert exc is reported[0]["exception"]
            assert protocol.calls.count("lost") == 1
        else:
            await peer.socket_ends()
            with pytest.raises(ZeroDivisionError):
                await asyncio.wait_for(opening, PATIENCE)
    assert [type(context["exception"]) for context in reported] == [
        ZeroDivisionError]
    if where == "data_received":
        assert reported[0]["message"] in (
            "Fatal error on SSL protocol",
            "Fatal error: protocol.data_received() call failed.",
            "SSL error in data received")
