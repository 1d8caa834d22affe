# SPDX-License-Identifier: Apache-2.0
"""loop.sendfile over a transport: native, and by its fallback."""

import asyncio
import io
import os

import pytest

from support import (
    LOOPBACK,
    PATIENCE,
    Recorder,
    recv_exactly,
    recv_until_eof,
    settle,
    transport_and_peer,
)

pytestmark = pytest.mark.stream

DATA = os.urandom(700_000)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(DATA)
    with open(path, "rb") as opened:
        yield opened


@pytest.mark.parametrize("fallback", [False, True])
async def test_file_arrives_whole(loop, file, fallback):
    async with transport_and_peer() as (transport, _, peer):
        sending = loop.create_task(
            loop.sendfile(transport, file, fallback=fallback))
        assert await recv_exactly(peer, len(DATA)) == DATA
        assert await asyncio.wait_for(sending, PATIENCE) == len(DATA)
        assert file.tell() == len(DATA)


async def test_part_of_a_file_arrives(loop, file):
    async with transport_and_peer() as (transport, _, peer):
        sending = loop.create_task(loop.sendfile(transport, file, 1000, 5000))
        assert await recv_exactly(peer, 5000) == DATA[1000:6000]
        assert await sending == 5000
        assert file.tell() == 6000


async def test_file_comes_between_the_writes_around_it(loop, file):
    async with transport_and_peer() as (transport, _, peer):
        transport.write(b"before" * 50_000)

        async def send():
            await loop.sendfile(transport, file)
            transport.write(b"after")
            transport.close()

        sending = loop.create_task(send())
        assert await recv_until_eof(peer) == \
            b"before" * 50_000 + DATA + b"after"
        await sending


async def test_object_without_descriptor_is_sent_by_the_fallback(loop):
    async with transport_and_peer() as (transport, _, peer):
        sending = loop.create_task(
            loop.sendfile(transport, io.BytesIO(DATA)))
        assert await recv_exactly(peer, len(DATA)) == DATA
        assert await asyncio.wait_for(sending, PATIENCE) == len(DATA)


async def test_object_without_descriptor_raises_without_fallback(loop):
    async with transport_and_peer() as (transport, _, _):
        with pytest.raises(asyncio.SendfileNotAvailableError):
            await loop.sendfile(transport, io.BytesIO(b"x"), fallback=False)


async def test_tls_is_sent_by_the_fallback(loop, file, server_context,
                                           client_context):
    made = []

    def factory():
        made.append(Recorder())
        return made[-1]

    server = await loop.create_server(factory, LOOPBACK, 0,
                                      ssl=server_context)
    transport, protocol = await loop.create_connection(
        Recorder, *server.sockets[0].getsockname(), ssl=client_context,
        server_hostname="localhost")
    assert await asyncio.wait_for(
        loop.sendfile(transport, file), PATIENCE) == len(DATA)
    assert await made[0].received(len(DATA)) == DATA
    transport.close()
    await asyncio.wait_for(protocol.lost, PATIENCE)
    await asyncio.wait_for(made[0].lost, PATIENCE)
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("fallback", [False, True])
async def test_reading_goes_on_afterwards(loop, file, fallback):
    async with transport_and_peer() as (transport, protocol, peer):
        source = io.BytesIO(DATA) if fallback else file
        sending = loop.create_task(loop.sendfile(transport, source))
        await recv_exactly(peer, len(DATA))
        await asyncio.wait_for(sending, PATIENCE)
        assert transport.is_reading()
        peer.send(b"still heard")
        assert await protocol.received(11) == b"still heard"
        transport.write(b"still spoken")
        assert await recv_exactly(peer, 12) == b"still spoken"


@pytest.mark.parametrize("fallback", [False, True])
async def test_peer_that_goes_ends_it_with_a_connection_error(loop, fallback,
                                                              tmp_path):
    path = tmp_path / "large"
    with open(path, "wb") as large:
        large.truncate(50 << 20)
    with open(path, "rb") as opened:
        async with transport_and_peer() as (transport, _, peer):
            source = io.BytesIO(bytes(20 << 20)) if fallback else opened
            sending = loop.create_task(loop.sendfile(transport, source))
            await recv_exactly(peer, 100_000)
            peer.close()
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(sending, PATIENCE)
            await settle()


async def test_closing_transport_is_refused(loop, file):
    async with transport_and_peer() as (transport, protocol, _):
        transport.close()
        with pytest.raises(RuntimeError, match="Transport is closing"):
            await loop.sendfile(transport, file)
        await protocol.lost


@pytest.mark.parametrize("arguments, kind", [
    (dict(offset=-1), ValueError), (dict(count=-1), ValueError),
    (dict(count=0), ValueError), (dict(count="x"), TypeError),
    (dict(offset="x"), TypeError)])
async def test_wrong_arguments_raise(loop, file, arguments, kind):
    async with transport_and_peer() as (transport, _, _):
        with pytest.raises(kind):
            await loop.sendfile(transport, file, **arguments)


async def test_text_file_is_refused(loop, tmp_path):
    path = tmp_path / "text"
    path.write_text("text")
    with open(path) as opened:
        async with transport_and_peer() as (transport, _, _):
            with pytest.raises(ValueError, match="binary mode"):
                await loop.sendfile(transport, opened)
