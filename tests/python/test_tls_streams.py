# SPDX-License-Identifier: Apache-2.0
"""TLS under streams: asyncio's, and rsloop_c's own."""

import asyncio
import os

import pytest

from support import LOOPBACK, PATIENCE
from tls import each_version, serving, trusting

pytestmark = [pytest.mark.stream, pytest.mark.tls]


class connected:
    """The stream pairs of one connection, by the functions of `module`."""

    def __init__(self, module, server_context=None, **options):
        self.module, self.options = module, options
        self.server_context = server_context or serving()

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        accepted = loop.create_future()

        async def serve(reader, writer):
            accepted.set_result((reader, writer))
            await self.ended.wait()

        self.ended = asyncio.Event()
        self.server = await self.module.start_server(
            serve, LOOPBACK, 0, ssl=self.server_context, **self.options)
        ours = await self.module.open_connection(
            *self.server.sockets[0].getsockname(), ssl=trusting(),
            server_hostname="localhost", **self.options)
        theirs = await asyncio.wait_for(accepted, PATIENCE)
        self.writers = ours[1], theirs[1]
        return *ours, *theirs

    async def __aexit__(self, *exc):
        for writer in self.writers:
            writer.close()
        for writer in self.writers:
            try:
                await asyncio.wait_for(writer.wait_closed(), PATIENCE)
            except (OSError, asyncio.CancelledError):
                pass
        self.ended.set()
        self.server.close()
        await self.server.wait_closed()


async def converse(module, server_context):
    """Lines, blocks, ends: what streams are used for."""
    data = os.urandom(1_200_000)
    async with connected(module, server_context) as (
            reader, writer, far_reader, far_writer):
        writer.writelines([b"one\n", b"two\n"])
        await writer.drain()
        assert await far_reader.readline() == b"one\n"
        assert await far_reader.readuntil(b"o\n") == b"two\n"

        async def send():
            for start in range(0, len(data), 100_000):
                far_writer.write(data[start:start + 100_000])
                await far_writer.drain()

        sending = asyncio.ensure_future(send())
        assert await asyncio.wait_for(
            reader.readexactly(len(data)), PATIENCE) == data
        await sending
        assert writer.get_extra_info("ssl_object").version()
        assert writer.get_extra_info("peercert")
        assert not writer.can_write_eof()
        far_writer.write(b"the rest")
        far_writer.close()
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b"the rest"
        assert reader.at_eof()


@each_version
async def test_asyncios_streams_over_tls(loop, version):
    await converse(asyncio, serving(version=version))


@pytest.mark.asyncio_is_worse("the streams are rsloop_c's")
@each_version
async def test_own_streams_over_tls(loop, version):
    import rsloop_c
    await converse(rsloop_c, serving(version=version))


@pytest.mark.parametrize("whose", ["asyncio", pytest.param(
    "rsloop_c", marks=pytest.mark.asyncio_is_worse("see above"))])
async def test_a_line_beyond_the_limit_stops_nobody(loop, whose):
    module = __import__(whose)
    async with connected(module, limit=1000) as (reader, _, _, far_writer):
        far_writer.write(b"x" * 5000 + b"\nnext\n")
        with pytest.raises(ValueError):
            await reader.readline()


@pytest.mark.parametrize("whose", ["asyncio", pytest.param(
    "rsloop_c", marks=pytest.mark.asyncio_is_worse("see above"))])
async def test_reader_learns_of_a_peer_that_is_gone(loop, whose):
    module = __import__(whose)
    async with connected(module) as (reader, writer, _, far_writer):
        far_writer.transport.abort()
        try:
            assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        except ConnectionResetError:
            pass
        with pytest.raises((OSError, RuntimeError)):
            while True:      # until the loss is known to the writer too
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.001)
