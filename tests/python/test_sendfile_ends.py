# SPDX-License-Identifier: Apache-2.0
"""How loop.sendfile and loop.sock_sendfile end: cancelled, refused, cut off,
with arguments and files of every kind. asyncio's own loop says what is right."""

import asyncio
import contextlib
import io
import os
import socket

import pytest

from support import (
    LOOPBACK,
    PATIENCE,
    Recorder,
    recv_exactly,
    recv_until_eof,
    reset,
    run,
    settle,
    tcp_socket_pair,
    transport_and_peer,
)

pytestmark = pytest.mark.stream

DATA = os.urandom(200_000)
LARGE = 50 << 20     # more than any socket buffer


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(DATA)
    with open(path, "rb") as opened:
        yield opened


@pytest.fixture
def large(tmp_path):
    path = tmp_path / "large"
    with open(path, "wb") as opened:
        opened.truncate(LARGE)
    with open(path, "rb") as opened:
        yield opened


@contextlib.asynccontextmanager
async def sending(loop, file):
    """A sendfile that has sent something and waits for room."""
    async with transport_and_peer() as (transport, protocol, peer):
        task = loop.create_task(loop.sendfile(transport, file))
        assert len(await loop.sock_recv(peer, 1000)) == 1000
        await settle()
        assert not task.done()
        yield task, transport, protocol, peer
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# --- cut off -----------------------------------------------------------------

@pytest.mark.asyncio_is_worse("it never ends")
@pytest.mark.parametrize("end", ["abort", "close"])
async def test_transport_that_is_closed_ends_it(loop, large, end):
    async with sending(loop, large) as (task, transport, protocol, peer):
        getattr(transport, end)()
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(task, PATIENCE)
        assert await protocol.lost is None
        assert len(await recv_until_eof(peer)) < LARGE
        assert 0 < large.tell() < LARGE


@pytest.mark.asyncio_is_worse("it never ends")
async def test_transport_that_is_closed_before_the_first_byte_ends_it(loop,
                                                                      large):
    async with transport_and_peer() as (transport, protocol, peer):
        sock = transport.get_extra_info("socket")._sock
        with contextlib.suppress(BlockingIOError):
            while True:     # behind the transport's back: nothing fits
                sock.send(bytes(1 << 20))
        task = loop.create_task(loop.sendfile(transport, large))
        await settle()
        transport.abort()
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(task, PATIENCE)
        await protocol.lost


async def test_eof_that_is_written_meanwhile_ends_it(loop, large):
    async with sending(loop, large) as (task, transport, _, peer):
        transport.write_eof()
        await recv_until_eof(peer)
        with pytest.raises(BrokenPipeError):
            await asyncio.wait_for(task, PATIENCE)


@pytest.mark.parametrize("end", [socket.socket.close, reset],
                         ids=["close", "reset"])
async def test_peer_that_goes_ends_it(loop, large, end):
    async with sending(loop, large) as (task, _, protocol, peer):
        end(peer)
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(task, PATIENCE)
        await protocol.lost
        assert 0 < large.tell() < LARGE


# --- refused -----------------------------------------------------------------

async def test_writes_are_refused_meanwhile(loop, large):
    async with sending(loop, large) as (task, transport, _, _):
        with pytest.raises(RuntimeError,
                           match="unable to write; sendfile is in progress"):
            transport.write(b"x")
        with pytest.raises(     # by name from 3.12 on
                RuntimeError,
                match="unable to write(lines)?; sendfile is in progress"):
            transport.writelines([b"x"])


@pytest.mark.asyncio_is_worse("a KeyError, and the first one is disturbed")
async def test_second_sendfile_is_refused(loop, large, file):
    async with sending(loop, large) as (task, transport, _, peer):
        with pytest.raises(RuntimeError, match="already"):
            await loop.sendfile(transport, file)
        assert len(await recv_exactly(peer, LARGE - 1000)) == LARGE - 1000
        assert await asyncio.wait_for(task, PATIENCE) == LARGE
        assert transport.is_reading()


async def test_tls_without_fallback_is_refused(loop, file, server_context,
                                               client_context):
    server = await loop.create_server(Recorder, LOOPBACK, 0,
                                      ssl=server_context)
    transport, protocol = await loop.create_connection(
        Recorder, *server.sockets[0].getsockname(), ssl=client_context,
        server_hostname="localhost")
    with pytest.raises(RuntimeError, match="fallback is disabled and native "
                                           "sendfile is not supported for"):
        await loop.sendfile(transport, file, fallback=False)
    transport.close()
    await protocol.lost
    server.close()
    await server.wait_closed()


async def test_transports_without_a_stream_are_refused(loop, file):
    transport, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=(LOOPBACK, 0))
    with pytest.raises(RuntimeError,
                       match="sendfile is not supported for transport"):
        await loop.sendfile(transport, file)
    transport.close()
    await settle()


# --- cancelled ---------------------------------------------------------------

async def test_cancelled_sendfile_leaves_the_transport_usable(loop, large):
    async with sending(loop, large) as (task, transport, protocol, peer):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert transport.is_reading()
        transport.write(b"the end")
        transport.write_eof()
        assert (await recv_until_eof(peer)).endswith(b"\0the end")
        peer.send(b"heard")
        assert await protocol.received(5) == b"heard"


@pytest.mark.asyncio_is_worse("it refuses writes, and does not read, for good")
async def test_sendfile_cancelled_while_the_buffer_drains(loop, file):
    async with transport_and_peer() as (transport, protocol, peer):
        transport.write(bytes(16 << 20))
        task = loop.create_task(loop.sendfile(transport, file))
        await settle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert transport.is_reading()
        transport.write(b"the end")
        transport.write_eof()
        assert (await recv_until_eof(peer)).endswith(b"\0the end")


@pytest.mark.parametrize("kind", [socket.AF_INET, socket.AF_UNIX])
async def test_cancelled_sock_sendfile_leaves_no_writer(loop, large, kind):
    left, right = (tcp_socket_pair() if kind == socket.AF_INET
                   else socket.socketpair())
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        task = loop.create_task(loop.sock_sendfile(left, large))
        await recv_exactly(right, 1000)
        await settle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert loop.remove_writer(left) is False


# --- arguments and files -----------------------------------------------------

def outcome(loop, step, file):
    """Result or exception of a step, what arrived, where the file stands."""
    left, right = tcp_socket_pair()

    async def go():
        reading = loop.create_task(recv_until_eof(right))
        try:
            result = await step(loop, left, file)
            return type(result), result
        except Exception as exc:
            text = str(exc)
            return type(exc), text.split(" object at ")[0].split(" fd=")[0]
        finally:
            left.close()
            received.append(await reading)

    received = []
    with left, right:
        end = run(loop, go())
    with contextlib.suppress(AttributeError, OSError, ValueError):
        received.append(file.tell())
        file.seek(0)
    return end, received


async def by_socket(loop, sock, file, **options):
    return await loop.sock_sendfile(sock, file, **options)


async def by_transport(loop, sock, file, **options):
    transport, protocol = await loop.create_connection(Recorder, sock=sock)
    try:
        return await loop.sendfile(transport, file, **options)
    finally:
        transport.close()
        await protocol.lost


@pytest.mark.parametrize("by", [by_socket, by_transport])
@pytest.mark.parametrize("fallback", [True, False])
@pytest.mark.parametrize("options", [
    {}, {"offset": 5}, {"offset": len(DATA)}, {"offset": len(DATA) + 1},
    {"offset": 2 ** 70}, {"offset": -1}, {"offset": "x"}, {"offset": None},
    {"offset": 1.0}, {"count": 7}, {"count": len(DATA) + 1}, {"count": 0},
    {"count": -1}, {"count": "x"}, {"count": 1.0}, {"count": True},
    {"offset": 5, "count": 7}, {"offset": 199_999, "count": 7}], ids=repr)
def test_arguments(loop, file, by, options, fallback):
    def step(loop, sock, file):
        return by(loop, sock, file, fallback=fallback, **options)

    oracle = asyncio.SelectorEventLoop()
    expected = outcome(oracle, step, file)
    oracle.close()
    assert outcome(loop, step, file) == expected


class Unseekable(io.RawIOBase):
    def __init__(self):
        self.left = DATA

    def seek(self, *args):
        raise io.UnsupportedOperation("seek")

    def readinto(self, buffer):
        piece, self.left = self.left[:len(buffer)], self.left[len(buffer):]
        buffer[:len(piece)] = piece
        return len(piece)


class Failing(io.BytesIO):
    def readinto(self, buffer):
        raise ZeroDivisionError("read")


def from_pipe():
    reader, writer = os.pipe()
    os.write(writer, b"from a pipe")
    os.close(writer)
    return open(reader, "rb", 0)


def closed_file():
    file = open("/proc/self/cgroup", "rb")
    file.close()
    return file


FILES = {
    "memory": lambda: io.BytesIO(DATA),
    "empty": io.BytesIO,
    "failing": lambda: Failing(DATA),
    "proc": lambda: open("/proc/self/cgroup", "rb"),
    "pipe": from_pipe,
    "unseekable": Unseekable,
    "text": lambda: open("/proc/self/cgroup"),
    "string": lambda: io.StringIO("text"),
    "closed": closed_file,
    "object": object,
    "None": lambda: None,
}


@pytest.mark.parametrize("by", [by_socket, by_transport])
@pytest.mark.parametrize("fallback", [True, False])
@pytest.mark.parametrize("kind", FILES)
def test_files(loop, by, fallback, kind):
    def step(loop, sock, file):
        return by(loop, sock, file, fallback=fallback)

    def outcome_of_new(loop):
        with contextlib.ExitStack() as stack:
            file = FILES[kind]()
            if hasattr(file, "close"):
                stack.callback(file.close)
            return outcome(loop, step, file)

    oracle = asyncio.SelectorEventLoop()
    expected = outcome_of_new(oracle)
    oracle.close()
    assert outcome_of_new(loop) == expected


def test_sockets_of_datagrams_are_refused(loop, file):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        with pytest.raises(ValueError, match="only SOCK_STREAM type sockets"):
            run(loop, loop.sock_sendfile(sock, file))


def test_blocking_sockets_are_refused_in_debug_mode(loop, file):
    loop.set_debug(True)
    left, right = tcp_socket_pair()
    with left, right:
        left.setblocking(True)
        with pytest.raises(ValueError, match="must be non-blocking"):
            run(loop, loop.sock_sendfile(left, file))


async def test_file_that_shrinks_is_sent_as_far_as_it_goes(loop, tmp_path):
    path = tmp_path / "shrinks"
    with open(path, "wb") as opened:
        opened.truncate(LARGE)
    with open(path, "rb") as opened:
        async with sending(loop, opened) as (task, transport, _, peer):
            os.truncate(path, 1 << 20)
            reading = loop.create_task(recv_until_eof(peer))
            sent = await asyncio.wait_for(task, PATIENCE)
            transport.close()
            assert sent == 1000 + len(await reading) < LARGE
            assert opened.tell() == sent
