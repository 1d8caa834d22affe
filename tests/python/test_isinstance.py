# SPDX-License-Identifier: Apache-2.0
"""What libraries check with isinstance."""

import asyncio

import pytest

from support import LOOPBACK, Recorder, tcp_pair


def test_loop_is_an_abstract_event_loop(loop):
    assert isinstance(loop, asyncio.AbstractEventLoop)


def test_loop_is_a_base_event_loop(loop):
    assert isinstance(loop, asyncio.BaseEventLoop)


def test_loop_is_a_selector_event_loop(loop):
    """Tornado, anyio and others look for it before they use add_reader."""
    assert isinstance(loop, asyncio.SelectorEventLoop)


def test_handles_are_asyncios(loop):
    assert isinstance(loop.call_soon(int), asyncio.Handle)
    timer = loop.call_later(1, int)
    assert isinstance(timer, asyncio.TimerHandle)
    timer.cancel()


@pytest.mark.stream
async def test_transports_are_asyncios(loop):
    async with tcp_pair() as (served, client):
        for protocol in (served, client):
            assert isinstance(protocol.transport, asyncio.Transport)


async def test_server_is_asyncios(loop):
    async with await loop.create_server(Recorder, LOOPBACK, 0) as server:
        assert isinstance(server, asyncio.AbstractServer)
        assert isinstance(server, asyncio.Server)


def test_tasks_and_futures_are_asyncios(loop):
    assert isinstance(loop.create_future(), asyncio.Future)
    task = loop.create_task(asyncio.sleep(0))
    assert isinstance(task, asyncio.Task)
    loop.run_until_complete(task)


async def test_stream_reader_and_writer_are_asyncios(loop):
    server = await asyncio.start_server(lambda r, w: w.close(), LOOPBACK, 0)
    reader, writer = await asyncio.open_connection(
        *server.sockets[0].getsockname())
    assert isinstance(reader, asyncio.StreamReader)
    assert isinstance(writer, asyncio.StreamWriter)
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


def test_class_of_the_loop_can_be_subclassed(flavour):
    class Mine(flavour.loop_class):
        pass

    loop = Mine()
    assert isinstance(loop, flavour.loop_class)
    assert loop.run_until_complete(asyncio.sleep(0, 1)) == 1
    loop.close()
