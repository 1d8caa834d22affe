# SPDX-License-Identifier: Apache-2.0
"""TLS: records in the wrong place, in the wrong order, or too late."""

import asyncio
import os
import ssl
import threading

import pytest

from support import PATIENCE, BufferedRecorder, Recorder, reset, turns
from tls import (
    TLS12,
    TLS13,
    each_role,
    each_version,
    engine_of,
    facts,
    peer_by_hand,
    serving,
    skip_old_sslproto,
    ssl_object_of,
    trusting,
)

pytestmark = [pytest.mark.stream, pytest.mark.tls]


async def lost(protocol):
    return await asyncio.wait_for(protocol.lost, PATIENCE)


# --- order ---

DISORDERS = {
    "swapped": lambda one, two: two + one,
    "replayed": lambda one, two: one + one + two,
    "one is missing": lambda one, two: two,
}


@pytest.mark.parametrize("kind", DISORDERS)
@each_version
@each_role
async def test_records_out_of_order_are_refused(loop, role, version, kind):
    async with peer_by_hand(role, server_context=serving(version=version)) as (
            protocol, peer):
        await peer.write(b"whole")
        await protocol.received(5)
        one, two = peer.records(b"first"), peer.records(b"second")
        await peer.send(DISORDERS[kind](one, two))
        exc = await lost(protocol)
        assert isinstance(exc, ssl.SSLError)
        assert exc.library == "SSL" and exc.reason
        expected = b"wholefirst" if kind == "replayed" else b"whole"
        # asyncio drops what came in the same read as a bad record.
        assert expected.startswith(bytes(protocol.data))
        if engine_of(protocol) != "python":
            assert protocol.data == expected


@each_version
@each_role
async def test_records_of_another_connection_are_refused(loop, role, version):
    context = serving(version=version)
    async with peer_by_hand(role, server_context=context) as (
            protocol, peer), peer_by_hand(role, server_context=context) as (
            other, their_peer):
        record = their_peer.records(b"not yours")
        await peer.send(record)
        assert isinstance(await lost(protocol), ssl.SSLError)
        assert protocol.data == b""
        await their_peer.send(record)
        assert await other.received(9) == b"not yours"


@each_version
@each_role
async def test_nothing_counts_behind_a_close_notify(loop, role, version):
    async with peer_by_hand(role, server_context=serving(version=version)) as (
            protocol, peer):
        await peer.send(peer.records(b"before") + peer.notify() + os.urandom(99))
        assert await lost(protocol) is None
        assert protocol.data == b"before"
        assert protocol.calls.count("lost") == 1


# --- alerts ---

FATAL = b"\x15\x03\x03\x00\x02\x02\x28"          # handshake_failure
CLOSE_NOTIFY = b"\x15\x03\x03\x00\x02\x01\x00"


def alert_by_openssl(server_side, flights, version, alert):
    """What the ssl module raises when so many flights of a peer are followed by
    an alert."""
    wires = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = serving(version=version).wrap_bio(*wires, server_side=True)
    client = trusting().wrap_bio(*reversed(wires), server_hostname="localhost")
    ours, theirs = (server, client) if server_side else (client, server)
    incoming = wires[0] if server_side else wires[1]
    if not server_side:
        with pytest.raises(ssl.SSLWantReadError):
            ours.do_handshake()
    for _ in range(flights):
        for end in (theirs, ours):
            with pytest.raises(ssl.SSLWantReadError):
                end.do_handshake()
    incoming.write(alert)
    with pytest.raises(ssl.SSLError) as raised:
        ours.do_handshake()
    return raised.value


@pytest.mark.parametrize("flights", [0, 1])
@each_role
async def test_fatal_alert_at_each_step_of_a_handshake(loop, role, flights):
    """In TLS 1.2, whose alerts are in the clear until the end."""
    expected = alert_by_openssl(role == "server", flights, TLS12, FATAL)
    async with peer_by_hand(role, server_context=serving(version=TLS12),
                            handshake=False) as (opening, peer):
        if role == "client":
            await peer.feed()
        for number in range(flights):
            with pytest.raises(ssl.SSLWantReadError):
                peer.ssl.do_handshake()
            await peer.flush()
            if role == "server" or number + 1 < flights:
                await peer.feed()
        if role == "client" and flights:
            await peer.receive()                 # its answer
        await peer.send(FATAL)
        with pytest.raises(ssl.SSLError) as raised:
            await asyncio.wait_for(opening, PATIENCE)
        if os.environ.get("RSLOOP_C_TLS") == "mbedtls":
            # Its server takes an alert that comes first for what it says.
            assert raised.value.library == "SSL" and raised.value.reason
        else:
            assert facts(raised.value) == facts(expected)
        assert await peer.socket_ends() in ("eof", "reset")


@each_role
async def test_close_notify_instead_of_a_handshake(loop, role):
    async with peer_by_hand(role, handshake=False) as (opening, peer):
        if role == "client":
            await peer.receive()
        await peer.send(CLOSE_NOTIFY)
        peer.sock.shutdown(1)
        with pytest.raises(OSError):
            await asyncio.wait_for(opening, PATIENCE)
        assert await peer.socket_ends() in ("eof", "reset")


@each_version
@each_role
async def test_reset_inside_a_large_record(loop, role, version):
    """Its beginning is not delivered, whatever its size."""
    async with peer_by_hand(role, server_context=serving(version=version)) as (
            protocol, peer):
        await peer.write(b"whole")
        await protocol.received(5)
        await peer.send(peer.records(b"x" * 16384)[:-1])
        await turns()
        reset(peer.sock)
        assert isinstance(await lost(protocol), ConnectionResetError)
        assert protocol.data == b"whole"


# --- buffers of protocols ---

class Odd(BufferedRecorder):
    """Lends another size each time, of which some hold no record."""

    sizes = (1, 3, 17, 255, 16383, 16384, 16385, 70_001, 2, 5000)

    def get_buffer(self, sizehint):
        assert sizehint >= -1
        self.turn = getattr(self, "turn", -1) + 1
        return memoryview(self.buffer)[:self.sizes[self.turn % len(self.sizes)]]


@each_version
@each_role
async def test_buffers_of_odd_sizes(loop, role, version):
    data = os.urandom(200_000)
    async with peer_by_hand(role, lambda: Odd(70_001),
                            server_context=serving(version=version)) as (
            protocol, peer):
        await asyncio.gather(peer.write(data), protocol.received(len(data)))
        assert protocol.data == data


@pytest.mark.parametrize("fault", ["raises", "no buffer", "read-only"])
@each_role
async def test_get_buffer_that_fails_ends_the_connection(loop, role, fault):
    class Faulty(BufferedRecorder):
        def get_buffer(self, sizehint):
            if not armed:            # asyncio looks for input at once
                return super().get_buffer(sizehint)
            if fault == "raises":
                raise ZeroDivisionError("get_buffer")
            return None if fault == "no buffer" else b"constant"

    armed, reported = [], []
    loop.set_exception_handler(lambda loop, context: reported.append(context))
    async with peer_by_hand(role, lambda: Faulty(100)) as (protocol, peer):
        armed.append(True)
        skip_old_sslproto(protocol, "reports it and goes on")
        await peer.write(b"data")
        exc = await lost(protocol)
        assert isinstance(exc, (ZeroDivisionError, TypeError, BufferError))
        assert [context["exception"] for context in reported] == [exc]
        assert protocol.calls.count("lost") == 1


# --- the object that users get ---

GETTERS = ("cipher", "version", "compression", "getpeercert", "pending",
           "selected_alpn_protocol", "shared_ciphers", "get_channel_binding")


def ask(ssl_object):
    """All of its getters; what they said."""
    return [getattr(ssl_object, name)() for name in GETTERS
            if name != "pending"] + [ssl_object.session_reused,
                                     ssl_object.server_side]


class Asking(Recorder):
    """Asks while more comes."""

    def data_received(self, data):
        super().data_received(data)
        self.answers = [*getattr(self, "answers", []),
                        ask(ssl_object_of(self))]


@each_version
@each_role
async def test_ssl_object_can_be_asked_amid_the_data(loop, role, version):
    data = os.urandom(400_000)
    async with peer_by_hand(role, Asking,
                            server_context=serving(version=version)) as (
            protocol, peer):
        first = ask(ssl_object_of(protocol))
        await asyncio.gather(peer.write(data), protocol.received(len(data)))
        assert protocol.data == data
        assert all(answer == first for answer in protocol.answers)


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
@each_role
async def test_ssl_object_can_be_asked_by_other_threads(loop, role, version):
    """While the loop reads and writes."""
    data = os.urandom(200_000)
    wrong, stop = [], threading.Event()

    def other_thread():
        try:
            while not stop.wait(1e-4):
                if ask(ssl_object) != first:
                    wrong.append("another answer")
        except Exception as exc:
            wrong.append(exc)

    async with peer_by_hand(role, server_context=serving(version=version)) as (
            protocol, peer):
        ssl_object = ssl_object_of(protocol)
        first = ask(ssl_object)
        thread = threading.Thread(target=other_thread)
        thread.start()
        try:
            protocol.transport.write(data)
            await asyncio.gather(peer.write(data), protocol.received(len(data)),
                                 peer.read(len(data)))
        finally:
            stop.set()
            await loop.run_in_executor(None, thread.join)
        assert protocol.data == data
        assert not wrong
