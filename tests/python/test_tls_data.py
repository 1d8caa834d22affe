# SPDX-License-Identifier: Apache-2.0
"""TLS: bytes. All of them arrive, in order, once, and nowhere else."""

import asyncio
import hashlib
import os
import socket

import pytest

from support import (
    LOOPBACK,
    PATIENCE,
    Accepting,
    BufferedRecorder,
    Echo,
    Recorder,
    settle,
    turns,
    until,
)
from tls import (
    TLS12,
    each_role,
    each_version,
    engine_of,
    peer_by_hand,
    serving,
    skip_old_sslproto,
    tls_pair,
    trusting,
)

pytestmark = [pytest.mark.stream, pytest.mark.tls]

# Around the limits of a record and of the buffers that hold some.
SIZES = (1, 2, 16383, 16384, 16385, 32768, 65535, 65536, 65537, 3, 262145)


def digest(data):
    return hashlib.sha256(data).hexdigest()


@each_version
async def test_large_transfers_both_ways_at_once(loop, version):
    sent = os.urandom(2_500_000), os.urandom(2_500_000)
    async with tls_pair(serving(version=version), trusting()) as pair:
        for protocol, data in zip(pair, sent, strict=True):
            for start in range(0, len(data), 300_000):
                protocol.transport.write(data[start:start + 300_000])
        for protocol, data in zip(reversed(pair), sent, strict=True):
            assert digest(await protocol.received(len(data))) == digest(data)


@each_version
@each_role
async def test_writes_of_every_size_arrive_in_order(loop, role, version):
    pieces = [bytes([number + 1]) * size for number, size in enumerate(SIZES)]
    async with peer_by_hand(role, server_context=serving(version=version)) as (
            protocol, peer):
        for piece in pieces:
            protocol.transport.write(piece)
        whole = b"".join(pieces)
        assert await peer.read(len(whole)) == whole


@each_role
async def test_writelines_and_kinds_of_buffer(loop, role):
    async with peer_by_hand(role) as (protocol, peer):
        lent = bytearray(b"bytearray")
        protocol.transport.write(lent)
        lent[:] = b"x" * len(lent)           # the transport has its own copy
        protocol.transport.write(memoryview(b"-view-"))
        protocol.transport.write(b"")
        protocol.transport.writelines([b"a", bytearray(b"b"), b"",
                                       memoryview(b"c"), b"d" * 20_000])
        expected = b"bytearray-view-abc" + b"d" * 20_000
        assert await peer.read(len(expected)) == expected


@pytest.mark.parametrize("data", ["text", 1, None, [b"x"]], ids=repr)
async def test_write_refuses_what_is_no_buffer(loop, data):
    async with tls_pair() as (_, client):
        with pytest.raises(TypeError, match="data: expecting a bytes-like"):
            client.transport.write(data)


@each_version
@each_role
async def test_records_in_single_bytes_arrive(loop, role, version):
    async with peer_by_hand(role, server_context=serving(version=version)) as (
            protocol, peer):
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (b"one", b"two"):
            for byte in peer.records(piece):
                await peer.send(bytes([byte]))
                await turns(1)
        assert await protocol.received(6) == b"onetwo"


@each_version
@each_role
async def test_many_records_in_one_segment_arrive(loop, role, version):
    async with peer_by_hand(role, server_context=serving(version=version)) as (
            protocol, peer):
        await peer.send(b"".join(
            peer.records(b"%05d" % number) for number in range(1500)))
        assert await protocol.received(7500) == b"".join(
            b"%05d" % number for number in range(1500))


@each_version
@each_role
async def test_first_data_in_the_segment_of_the_last_flight_arrives(
        loop, role, version):
    """What the far end sends with its Finished comes after connection_made."""
    async with peer_by_hand(role, server_context=serving(version=version),
                            handshake=False) as (opening, peer):
        sock_send, peer.send = peer.send, None
        held = bytearray()

        async def hold(raw):
            held.extend(raw)

        async def pass_on(raw):
            await sock_send(raw)

        # The last flight is that after which the peer's handshake is done.
        peer.send = hold
        while True:
            try:
                peer.ssl.do_handshake()
                break
            except Exception as exc:
                assert type(exc).__name__ == "SSLWantReadError"
            await peer.flush()
            await pass_on(bytes(held))
            held.clear()
            await peer.feed()
        await peer.flush()
        held += peer.records(b"early")
        await pass_on(bytes(held))
        transport, protocol = await asyncio.wait_for(opening, PATIENCE)
        assert await protocol.received(5) == b"early"
        assert protocol.calls[:2] == ["made", "data"]


@each_role
async def test_data_written_in_connection_made_arrives(loop, role):
    class Talker(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(b"hello" * 10_000)

    async with peer_by_hand(role, Talker) as (_, peer):
        assert await peer.read(50_000) == b"hello" * 10_000


class LendingView(BufferedRecorder):
    """asyncio fills slices of what get_buffer() gives: of a bytearray these
    are copies."""

    def __init__(self, buffer_size):
        super().__init__(buffer_size)
        self.buffer = memoryview(self.buffer)


@pytest.mark.parametrize("buffer_size", [1, 1000, 16384, 100_000])
async def test_buffered_protocol_gets_all_in_buffers_of_any_size(
        loop, buffer_size):
    data = os.urandom(3_000 if buffer_size == 1 else 400_000)
    async with tls_pair(client=lambda: LendingView(buffer_size)) as (
            served, client):
        served.transport.write(data)
        assert digest(await client.received(len(data))) == digest(data)


@pytest.mark.asyncio_is_worse("it fills a copy of the bytearray")
async def test_buffered_protocol_gets_all_in_a_bytearray(loop):
    data = os.urandom(400_000)
    async with tls_pair(client=lambda: BufferedRecorder(100_000)) as (
            served, client):
        if engine_of(client) == "python":
            pytest.skip("asyncio's sslproto")
        served.transport.write(data)
        assert digest(await client.received(len(data))) == digest(data)


async def test_buffered_protocol_on_both_sides_echoes(loop):
    class BufferedEcho(BufferedRecorder):
        def buffer_updated(self, nbytes):
            super().buffer_updated(nbytes)
            self.transport.write(bytes(self.buffer[:nbytes]))

    data = os.urandom(500_000)
    async with tls_pair(server=BufferedEcho, client=BufferedRecorder) as (
            _, client):
        client.transport.write(data)
        assert digest(await client.received(len(data))) == digest(data)


async def test_set_protocol_moves_what_comes_next(loop):
    async with tls_pair() as (served, client):
        served.transport.write(b"first")
        await client.received(5)
        second = Recorder()
        client.transport.set_protocol(second)
        assert client.transport.get_protocol() is second
        served.transport.write(b"second")
        assert await second.received(6) == b"second"
        third = BufferedRecorder()
        client.transport.set_protocol(third)
        served.transport.write(b"third")
        assert await third.received(5) == b"third"
        client.transport.set_protocol(client)
        assert client.data == b"first"


# --- flow ---

@each_version
@each_role
async def test_nothing_comes_while_reading_is_paused(loop, role, version):
    async with peer_by_hand(role, server_context=serving(version=version)) as (
            protocol, peer):
        await peer.write(b"before")
        await protocol.received(6)
        protocol.transport.pause_reading()
        await peer.write(b"paused" * 3000)
        await settle()
        assert protocol.data == b"before"
        protocol.transport.resume_reading()
        assert await protocol.received(18006) == b"before" + b"paused" * 3000


async def test_pause_in_data_received_holds_the_rest(loop):
    class Sipper(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()

    data = os.urandom(1_000_000)
    async with tls_pair(client=Sipper) as (served, client):
        skip_old_sslproto(client, "delivers what it has while paused")
        served.transport.write(data)
        while len(client.data) < len(data):
            await until(lambda: "data" in client.calls, "a piece")
            count = len(client.data)
            await turns()
            assert len(client.data) == count, "data came while paused"
            client.calls.remove("data")
            client.transport.resume_reading()
        assert digest(client.data) == digest(data)


async def test_pause_and_resume_can_be_repeated(loop):
    async with tls_pair() as (served, client):
        for _ in range(3):
            client.transport.pause_reading()
            client.transport.pause_reading()
        for _ in range(3):
            client.transport.resume_reading()
            client.transport.resume_reading()
        served.transport.write(b"x")
        assert await client.received(1) == b"x"


async def test_default_write_buffer_limits(loop):
    async with tls_pair() as (_, client):
        skip_old_sslproto(client, "has the limits of the plain transport")
        assert client.transport.get_write_buffer_size() == 0
        assert client.transport.get_write_buffer_limits() == (
            128 * 1024, 512 * 1024)


async def test_write_buffer_limits_decide_when_writing_pauses(loop):
    async with tls_pair() as (served, client):
        served.transport.pause_reading()
        client.transport.set_write_buffer_limits(high=10_000, low=1_000)
        while "pause" not in client.calls:
            client.transport.write(b"x" * 100_000)
            await turns(1)
        assert client.transport.get_write_buffer_size() >= 10_000
        served.transport.resume_reading()
        await until(lambda: "resume" in client.calls, "resume_writing")
        assert client.transport.get_write_buffer_size() <= 1_000


@pytest.mark.parametrize("limits", [(1, 2), (-1, None), (0, 1)], ids=repr)
async def test_bad_write_buffer_limits_raise(loop, limits):
    async with tls_pair() as (_, client):
        high, low = limits
        with pytest.raises(ValueError, match="must be >= low"):
            client.transport.set_write_buffer_limits(high=high, low=low)


async def test_drain_waits_and_all_arrives(loop):
    total = 3_000_000

    async def serve(reader, writer):
        received.set_result(digest(await reader.readexactly(total)))
        writer.close()

    received = loop.create_future()
    server = await asyncio.start_server(serve, LOOPBACK, 0, ssl=serving())
    reader, writer = await asyncio.open_connection(
        *server.sockets[0].getsockname(), ssl=trusting(),
        server_hostname="localhost")
    data = os.urandom(total)
    for start in range(0, total, 50_000):
        writer.write(data[start:start + 50_000])
        await writer.drain()
    assert await asyncio.wait_for(received, PATIENCE) == digest(data)
    assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


# --- nobody else's ---

class Patterned(Recorder):
    """Answers each byte n with n's pattern; a foreign byte is a leak."""

    def data_received(self, data):
        super().data_received(data)
        assert len(set(self.data)) == 1, "bytes of another connection"
        self.transport.write(data)


@each_version
@pytest.mark.slow(40)
async def test_no_plaintext_reaches_another_connection(loop, version):
    """60 connections that come and go, each with a byte of its own."""
    accepting = Accepting(Patterned)
    server = await loop.create_server(
        accepting, LOOPBACK, 0, ssl=serving(version=version))
    address = server.sockets[0].getsockname()
    context = trusting()

    async def client(number):
        pattern = bytes([number])
        for size in (1, 3000, 40_000):
            _, protocol = await loop.create_connection(
                Recorder, *address, ssl=context, server_hostname="localhost")
            for _ in range(3):
                protocol.transport.write(pattern * size)
            data = await protocol.received(3 * size)
            assert data == pattern * (3 * size)
            if number % 3:
                protocol.transport.close()
            else:
                protocol.transport.abort()
            await asyncio.wait_for(protocol.lost, PATIENCE)
            assert set(protocol.data) == {number}

    await asyncio.gather(*(client(number) for number in range(1, 21)))
    await accepting.all_lost()
    assert all(len(set(protocol.data)) == 1 for protocol in accepting.made)
    assert len(accepting.made) == 60
    server.close()
    await server.wait_closed()


async def test_wire_never_carries_what_was_written(loop):
    """The ciphertext of a marker does not have the marker in it."""
    marker = b"a marker that nobody else writes " * 40
    async with peer_by_hand("client") as (protocol, peer):
        protocol.transport.write(marker)
        raw = bytearray()
        while len(raw) < len(marker):
            raw += await peer.receive()
        assert marker[:33] not in raw
        peer.incoming.write(bytes(raw))
        assert await peer.read(len(marker)) == marker


# --- files ---

async def test_sendfile_under_tls_sends_by_the_fallback(loop, tmp_path):
    data = os.urandom(700_000)
    (tmp_path / "file").write_bytes(data)
    async with tls_pair() as (served, client):
        with open(tmp_path / "file", "rb") as file:
            assert await loop.sendfile(client.transport, file, 1000) == (
                len(data) - 1000)
            assert file.tell() == len(data)
            assert await loop.sendfile(client.transport, file, 5, 10) == 10
        received = await served.received(len(data) - 990)
        assert digest(received) == digest(data[1000:] + data[5:15])


async def test_sendfile_under_tls_without_fallback_raises(loop, tmp_path):
    (tmp_path / "file").write_bytes(b"data")
    async with tls_pair() as (_, client):
        with open(tmp_path / "file", "rb") as file, pytest.raises(
                RuntimeError, match="fallback is disabled"):
            await loop.sendfile(client.transport, file, fallback=False)


async def test_sendfile_ends_when_the_peer_goes(loop, tmp_path):
    with open(tmp_path / "file", "wb") as file:
        file.truncate(50_000_000)
    async with tls_pair() as (served, client):
        skip_old_sslproto(client, "trips over its own end")
        with open(tmp_path / "file", "rb") as file:
            sending = loop.create_task(loop.sendfile(client.transport, file))
            await served.received(1)
            engine = engine_of(client)
            served.transport.abort()
            try:
                await asyncio.wait_for(sending, PATIENCE)
            except ConnectionError:
                pass
            else:        # asyncio may drop the rest and say nothing
                assert engine == "python"


async def test_echo_of_a_slow_reader_keeps_all(loop):
    data = os.urandom(1_500_000)
    async with tls_pair(serving(version=TLS12), server=Echo) as (_, client):
        client.transport.pause_reading()
        client.transport.write(data)
        await settle()
        client.transport.resume_reading()
        assert digest(await client.received(len(data))) == digest(data)
