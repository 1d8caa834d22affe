# SPDX-License-Identifier: Apache-2.0
"""What is written within connection_lost(). After a close() that had to wait
for the buffer asyncio sends it, as far as the socket takes it at once; after
any other end it is dropped."""

import asyncio
import contextlib
import inspect
import socket

import pytest

import datagrams
import support
from support import (
    PATIENCE,
    Recorder,
    recv_exactly,
    recv_until_eof,
    transport_and_peer,
)

pytestmark = pytest.mark.stream
MUCH = bytes(3_000_000)
# Since gh-156512 asyncio counts the connection as lost before it says so.
drains = pytest.mark.asyncio_is_worse("it drops them after a drain too") if (
    "self._closing and not self._conn_lost"
    in inspect.getsource(asyncio.selector_events)) else pytest.mark.stream


@pytest.fixture(autouse=True)
def sends(flavour):
    """We send them on every version."""
    if not flavour.ours and support.DROPS_LAST_WORDS:
        pytest.skip("asyncio drops them since a bug-fix release of 3.14")


class LastWords(Recorder):
    words = (b"last ", b"words")

    def connection_lost(self, exc):
        super().connection_lost(exc)
        for word in self.words:
            self.transport.write(word)


class LastLines(LastWords):
    def connection_lost(self, exc):
        Recorder.connection_lost(self, exc)
        self.transport.writelines([b"last ", bytearray(b"lines")])


@drains
@pytest.mark.parametrize("protocol", [LastWords, pytest.param(
    LastLines, marks=pytest.mark.asyncio_is_worse(
        "its writelines() tells of the end a second time"))])
async def test_after_a_close_that_drains_they_are_sent(loop, protocol):
    async with transport_and_peer(protocol, sndbuf=65536, rcvbuf=65536) as (
            transport, told, peer):
        transport.write(MUCH)
        transport.close()
        assert transport.get_write_buffer_size() > 0
        data = await recv_until_eof(peer)
        assert data[:len(MUCH)] == MUCH
        assert data[len(MUCH):] in (b"last words", b"last lines")
        assert await asyncio.wait_for(told.lost, PATIENCE) is None
        assert told.calls[-1] == "lost"
        assert told.calls.count("lost") == 1


@drains
async def test_what_the_socket_does_not_take_is_dropped(loop):
    class Much(LastWords):
        words = (MUCH, b"more")

    async with transport_and_peer(Much, sndbuf=65536, rcvbuf=65536) as (
            transport, told, peer):
        transport.write(MUCH)
        transport.close()
        data = await recv_until_eof(peer)
        assert len(MUCH) < len(data) < 2 * len(MUCH)
        assert await asyncio.wait_for(told.lost, PATIENCE) is None


@drains
async def test_after_an_eof_that_drains_they_are_sent(loop):
    async with transport_and_peer(LastWords, sndbuf=65536, rcvbuf=65536) as (
            transport, told, peer):
        transport.write(MUCH)
        peer.shutdown(socket.SHUT_WR)
        await asyncio.wait_for(told.eof, PATIENCE)
        data = await recv_exactly(peer, len(MUCH) + 10)
        assert data == MUCH + b"last words"
        assert await asyncio.wait_for(told.lost, PATIENCE) is None


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_after_any_other_end_they_are_dropped(loop, end):
    async with transport_and_peer(LastWords) as (transport, told, peer):
        transport.write(b"before")
        getattr(transport, end)()
        assert await recv_until_eof(peer) == b"before"
        assert told.calls == ["made", "lost"]


async def test_a_peer_that_has_gone_ends_it_once(loop):
    """The last words meet a reset."""
    async with transport_and_peer(LastWords, sndbuf=65536, rcvbuf=65536) as (
            transport, told, peer):
        transport.write(MUCH)
        transport.close()
        await recv_exactly(peer, 1000)
        peer.close()
        exc = await asyncio.wait_for(told.lost, PATIENCE)
        assert isinstance(exc, (ConnectionResetError, BrokenPipeError))
        assert told.calls.count("lost") == 1


async def test_last_datagrams_are_sent(loop, tmp_path):
    class LastMessage(datagrams.Recorder):
        def connection_lost(self, exc):
            self.transport.sendto(b"last")
            super().connection_lost(exc)

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        peer.bind(str(tmp_path / "peer"))
        ours = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.connect(peer.getsockname())
        ours.setblocking(False)
        peer.setblocking(False)
        transport, told = await loop.create_datagram_endpoint(
            LastMessage, sock=ours)
        while not transport.get_write_buffer_size():
            transport.sendto(b"x")
        transport.close()
        got = []
        while not told.lost.done():
            try:
                got.append(peer.recv(100))
            except BlockingIOError:
                await asyncio.sleep(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                got.append(peer.recv(100))
        assert got[-1] == b"last"
        assert set(got[:-1]) == {b"x"}
