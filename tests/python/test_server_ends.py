# SPDX-License-Identifier: Apache-2.0
"""How servers end: serve_forever() and its cancellation, their clients, who
waits for them; the same for TCP and unix servers, with TLS and without."""

import asyncio
import gc
import inspect
import socket
import sys
import weakref

import pytest

from support import LOOPBACK, PATIENCE, Accepting, Echo, Recorder, recv_until_eof, until

# Before 3.12.1 wait_closed() of a closed server returned at once.
WAITS = sys.version_info >= (3, 12, 1)
needs_close_clients = pytest.mark.skipif(
    sys.version_info < (3, 13), reason="close_clients() is new in 3.13")


class Tcp:
    def __init__(self, loop, tmp_path):
        self.loop = loop

    async def serve(self, factory, **options):
        self.server = await self.loop.create_server(
            factory, LOOPBACK, 0, **options)
        return self.server

    async def connect(self):
        sock = socket.create_connection(self.server.sockets[0].getsockname())
        sock.setblocking(False)
        return sock


class Unix(Tcp):
    def __init__(self, loop, tmp_path):
        self.loop, self.path = loop, str(tmp_path / "socket")

    async def serve(self, factory, **options):
        self.server = await self.loop.create_unix_server(
            factory, self.path, **options)
        return self.server

    async def connect(self):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.path)
        sock.setblocking(False)
        return sock


@pytest.fixture(params=[Tcp, Unix], ids=["TCP", "unix"])
def kind(request, loop, tmp_path):
    return request.param(loop, tmp_path)


async def within(awaitable):
    return await asyncio.wait_for(awaitable, PATIENCE)


@pytest.mark.skipif(
    "close_clients" not in inspect.getsource(asyncio.Server.serve_forever),
    reason="serve_forever() closes its clients in late 3.13 and in 3.14")
async def test_cancelled_serve_forever_closes_the_clients(loop, kind):
    accepting = Accepting()
    server = await kind.serve(accepting, start_serving=False)
    serving = loop.create_task(server.serve_forever())
    await until(server.is_serving)
    clients = [await kind.connect() for _ in range(3)]
    await accepting.count(3)
    for protocol in accepting.made:
        protocol.transport.write(b"goodbye")
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within(serving)
    for client in clients:
        assert await within(recv_until_eof(client)) == b"goodbye"
        client.close()
    await accepting.all_lost()
    assert server.sockets == ()
    assert not server.is_serving()


async def test_serve_forever_cancelled_before_it_began(loop, kind):
    server = await kind.serve(Echo, start_serving=False)
    serving = loop.create_task(server.serve_forever())
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within(serving)
    server.close()
    await within(server.wait_closed())


async def test_close_ends_serve_forever(loop, kind):
    server = await kind.serve(Echo)
    serving = loop.create_task(server.serve_forever())
    await asyncio.sleep(0)
    server.close()
    with pytest.raises(asyncio.CancelledError):
        await within(serving)
    assert not server.is_serving()


async def test_async_with_around_serve_forever(loop, kind):
    async def serve():
        async with await kind.serve(Echo, start_serving=False) as server:
            await server.serve_forever()

    serving = loop.create_task(serve())
    await until(lambda: getattr(kind, "server", None)
                and kind.server.is_serving())
    with await kind.connect() as client:
        await loop.sock_sendall(client, b"x")
        assert await within(loop.sock_recv(client, 1)) == b"x"
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within(serving)
    assert kind.server.sockets == ()


async def test_close_twice_and_sockets_afterwards(loop, kind):
    server = await kind.serve(Echo)
    assert len(server.sockets) == 1 and isinstance(server.sockets, tuple)
    server.close()
    server.close()
    assert server.sockets == ()
    assert not server.is_serving()
    await within(server.wait_closed())
    await within(server.wait_closed())


@pytest.mark.skipif(not WAITS, reason="wait_closed() waits from 3.12.1 on")
async def test_all_who_wait_are_woken_by_the_last_connection(loop, kind):
    accepting = Accepting()
    server = await kind.serve(accepting)
    clients = [await kind.connect() for _ in range(3)]
    await accepting.count(3)
    waiting = [loop.create_task(server.wait_closed()) for _ in range(3)]
    server.close()
    clients.pop().close()
    clients.pop().close()
    await until(lambda: sum(p.lost.done() for p in accepting.made) == 2)
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    clients.pop().close()
    await within(asyncio.gather(*waiting))
    await accepting.all_lost()


@pytest.mark.skipif(not WAITS, reason="wait_closed() waits from 3.12.1 on")
async def test_wait_closed_waits_for_close_too(loop, kind):
    server = await kind.serve(Echo)
    waiting = loop.create_task(server.wait_closed())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    server.close()
    await within(waiting)


@needs_close_clients
@pytest.mark.parametrize("method", ["close_clients", "abort_clients"])
async def test_tls_clients_are_ended_too(loop, kind, method, server_context,
                                         client_context):
    accepting = Accepting()
    server = await kind.serve(accepting, ssl=server_context)
    transport, client = await loop.create_connection(
        Recorder, sock=await kind.connect(), ssl=client_context,
        server_hostname="localhost")
    await accepting.count(1)
    accepting.made[0].transport.write(b"last words")
    await within(client.received(10))
    server.close()
    getattr(server, method)()
    await within(server.wait_closed())
    await within(client.lost)
    await accepting.all_lost()


@needs_close_clients
async def test_clients_that_were_detached_or_lost_are_not_counted(loop, kind):
    accepting = Accepting()
    server = await kind.serve(accepting)
    first, second = await kind.connect(), await kind.connect()
    await accepting.count(2)
    first.close()
    await until(lambda: any(p.lost.done() for p in accepting.made))
    server.close_clients()      # also while it serves
    assert await within(recv_until_eof(second)) == b""
    second.close()
    await accepting.all_lost()
    third = await kind.connect()
    await accepting.count(3)
    server.close()
    server.abort_clients()
    await within(server.wait_closed())
    await accepting.all_lost()
    third.close()


@needs_close_clients
async def test_a_client_that_is_garbage_is_not_waited_for(loop, kind):
    """A transport that does not read belongs to its protocol alone."""
    made = []

    class Forgotten(Recorder):
        def connection_made(self, transport):
            transport.pause_reading()
            made.append(weakref.ref(transport))
            super().connection_made(transport)

    server = await kind.serve(Forgotten)
    client = await kind.connect()
    await until(lambda: made)
    with pytest.warns(ResourceWarning):
        await until(lambda: gc.collect() is None or made[0]() is None)
    server.close()
    await within(server.wait_closed())
    client.close()
