# SPDX-License-Identifier: Apache-2.0
"""asyncio's streams over our transports: what needs both to be right."""

import asyncio
import socket
import sys

import pytest

from support import LOOPBACK, PATIENCE


class connected:
    """A StreamReader and StreamWriter, and the socket at the other end."""

    def __init__(self, **options):
        self.options = options

    async def __aenter__(self):
        ours, self.peer = socket.socketpair()
        self.reader, self.writer = await asyncio.open_connection(
            sock=ours, **self.options)
        return self

    async def __aexit__(self, *_):
        self.writer.close()
        await self.writer.wait_closed()
        self.peer.close()


@pytest.mark.skipif(sys.version_info < (3, 13),
                    reason="a tuple of separators is new in 3.13")
async def test_readuntil_takes_a_tuple_of_separators(loop):
    async with connected() as both:
        both.peer.send(b"one;two\nthree;\n")
        reader = both.reader
        assert await reader.readuntil((b"\n", b";")) == b"one;"
        assert await reader.readuntil((b";", b"\n")) == b"two\n"
        assert await reader.readuntil((b"\n", b";\n")) == b"three;\n"


async def test_limit_pauses_the_transport_and_reading_resumes_it(loop):
    data = bytes(range(256)) * 4096
    async with connected(limit=1000) as both:
        both.peer.setblocking(False)
        sending = loop.create_task(loop.sock_sendall(both.peer, data))
        received = bytearray()
        while len(received) < len(data):
            received += await asyncio.wait_for(both.reader.read(700), PATIENCE)
        await sending
        assert received == data


async def test_line_beyond_the_limit_raises_and_the_stream_goes_on(loop):
    async with connected(limit=16) as both:
        both.peer.send(b"x" * 40 + b"\nshort\n")
        with pytest.raises(ValueError, match="limit"):
            await asyncio.wait_for(both.reader.readline(), PATIENCE)
        assert await asyncio.wait_for(both.reader.readline(), PATIENCE) == b"short\n"


async def test_end_in_the_middle_raises_with_what_was_there(loop):
    async with connected() as both:
        both.peer.send(b"half")
        both.peer.shutdown(socket.SHUT_WR)
        with pytest.raises(asyncio.IncompleteReadError) as raised:
            await both.reader.readexactly(10)
        assert raised.value.partial == b"half"


async def test_drain_of_a_reset_connection_raises(loop):
    async with await asyncio.start_server(
            lambda reader, writer: writer.transport.abort(),
            LOOPBACK, 0) as server:
        _, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname())
        with pytest.raises(ConnectionError):
            while True:
                writer.write(bytes(100_000))
                await asyncio.wait_for(writer.drain(), PATIENCE)
        writer.close()
        with pytest.raises(ConnectionError):
            await writer.wait_closed()


@pytest.mark.skipif(sys.version_info < (3, 12),
                    reason="asyncio reports it from 3.12 on")
async def test_error_in_the_client_callback_is_reported(loop):
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))

    async def serve(reader, writer):
        raise ValueError("of the callback")

    async with await asyncio.start_server(serve, LOOPBACK, 0) as server:
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname())
        # The failed callback's transport is closed.
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        writer.close()
        await writer.wait_closed()
    assert "of the callback" in str(reports[0]["exception"])
