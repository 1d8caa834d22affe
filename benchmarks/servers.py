# SPDX-License-Identifier: Apache-2.0
"""Servers on the loop under test. Each starts and returns the address that the
client is told: a port, the path of a unix socket, or the port of plain
connections and that of TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from . import tools

Loop = asyncio.AbstractEventLoop
Params = Mapping[str, Any]
Address = int | str | tuple[int, int]
Server = Callable[[Loop, Params], Awaitable[Address]]

HOST = "127.0.0.1"
BACKLOG = 4096
ENGINE_SECONDS = 10.0
READ_BYTES = 256 * 1024
BULK_CHUNK = b"x" * (256 * 1024)

# What only this module would hold is collected otherwise.
_kept: list[object] = []


def _port(server: asyncio.AbstractServer) -> int:
    _kept.append(server)
    sockets: Any = server.sockets  # type: ignore[attr-defined]
    return int(sockets[0].getsockname()[1])


class Echo(asyncio.Protocol):
    transport: asyncio.Transport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def working_echo(work_us: int) -> type[Echo]:
    """An Echo whose every message costs that much Python time."""

    class WorkingEcho(Echo):
        def data_received(self, data: bytes) -> None:
            end = time.perf_counter_ns() + work_us * 1000
            while time.perf_counter_ns() < end:
                pass
            self.transport.write(data)

    return WorkingEcho


class BufferedEcho(asyncio.BufferedProtocol):
    transport: asyncio.Transport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.view = memoryview(bytearray(READ_BYTES))

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self.view

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(self.view[:nbytes])


def tls(params: Params) -> ssl.SSLContext | None:
    if "tls" not in params:
        return None
    kind = params.get("context_class", ssl.SSLContext)
    context: ssl.SSLContext = kind(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*params["tls"])
    return context


async def protocol(loop: Loop, params: Params) -> int:
    work_us = int(params.get("work_us", 0))
    factory = working_echo(work_us) if work_us else Echo
    return _port(
        await loop.create_server(factory, HOST, 0, backlog=BACKLOG, ssl=tls(params))
    )


async def beside(loop: Loop, params: Params) -> tuple[int, int]:
    """An echo, and another with TLS that is to get handshakes alone."""
    return (
        _port(await loop.create_server(Echo, HOST, 0, backlog=BACKLOG)),
        await protocol(loop, params),
    )


async def tls_engine(loop: Loop, params: Params) -> str | None:
    """Which engine serves TLS here, as a connection's transport tells."""
    engine: asyncio.Future[str | None] = loop.create_future()

    class Asked(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            engine.set_result(transport.get_extra_info("tls_engine"))
            transport.close()

    server: Any = await loop.create_server(Asked, HOST, 0, ssl=tls(params))
    port = int(server.sockets[0].getsockname()[1])
    client = threading.Thread(target=tools.shake_hands, args=(port,), daemon=True)
    client.start()
    try:
        return await asyncio.wait_for(engine, ENGINE_SECONDS)
    finally:
        server.close()


async def buffered(loop: Loop, _params: Params) -> int:
    return _port(await loop.create_server(BufferedEcho, HOST, 0, backlog=BACKLOG))


async def streams(_loop: Loop, params: Params) -> int:
    async def handle(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(READ_BYTES):
            writer.write(data)
            await writer.drain()
        writer.close()

    return _port(
        await asyncio.start_server(
            handle,
            HOST,
            0,
            limit=1024 * 1024,
            backlog=BACKLOG,
            ssl=tls(params),
        )
    )


async def sock(loop: Loop, _params: Params) -> int:
    listener = socket.create_server((HOST, 0), backlog=BACKLOG)
    listener.setblocking(False)

    async def handle(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            while data := await loop.sock_recv(connection, READ_BYTES):
                await loop.sock_sendall(connection, data)

    async def accept() -> None:
        while True:
            connection, _ = await loop.sock_accept(listener)
            connection.setblocking(False)
            _kept.append(loop.create_task(handle(connection)))

    _kept.append(loop.create_task(accept()))
    return int(listener.getsockname()[1])


async def accept(loop: Loop, _params: Params) -> int:
    class OneAnswer(Echo):
        def data_received(self, data: bytes) -> None:
            self.transport.write(data)
            self.transport.close()

    return _port(await loop.create_server(OneAnswer, HOST, 0, backlog=BACKLOG))


async def udp(loop: Loop, _params: Params) -> int:
    class EchoDatagrams(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(data, addr)

    transport, _ = await loop.create_datagram_endpoint(EchoDatagrams, (HOST, 0))
    _kept.append(transport)
    return int(transport.get_extra_info("sockname")[1])


async def unix(loop: Loop, params: Params) -> str:
    path = str(params["path"])
    _kept.append(await loop.create_unix_server(Echo, path, backlog=BACKLOG))
    return path


async def bulk_in(loop: Loop, _params: Params) -> int:
    return _port(await loop.create_server(asyncio.Protocol, HOST, 0))


async def bulk_out(loop: Loop, _params: Params) -> int:
    class Source(asyncio.Protocol):
        transport: asyncio.Transport
        paused = False

        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            loop.call_soon(self.pump)

        def pump(self) -> None:
            if not self.paused and not self.transport.is_closing():
                self.transport.write(BULK_CHUNK)
                loop.call_soon(self.pump)

        def pause_writing(self) -> None:
            self.paused = True

        def resume_writing(self) -> None:
            self.paused = False
            loop.call_soon(self.pump)

    return _port(await loop.create_server(Source, HOST, 0))


async def idle(loop: Loop, params: Params) -> int:
    class Idle(asyncio.Protocol):
        __slots__ = ("transport",)

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

    return _port(
        await loop.create_server(Idle, HOST, 0, backlog=BACKLOG, ssl=tls(params))
    )


async def http(loop: Loop, params: Params) -> int:
    """`requests`: uvicorn ends after so many, and then calls `ended`."""
    import uvicorn

    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"text/plain"), (b"content-length", b"13")],
    }
    body = {"type": "http.response.body", "body": b"Hello, world!"}

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send(start)
        await send(body)

    config = uvicorn.Config(
        app,
        host=HOST,
        port=0,
        http="httptools",
        loop="none",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="critical",
        limit_max_requests=params.get("requests"),
    )
    config.load()
    config.ssl = tls(params)
    listener = config.bind_socket()
    port = int(listener.getsockname()[1])  # a loop may detach the socket
    server = uvicorn.Server(config)
    task = loop.create_task(server.serve(sockets=[listener]))
    _kept.append(task)
    if ended := params.get("ended"):
        task.add_done_callback(lambda _: ended())
    while not server.started:
        if task.done():
            await task
            raise RuntimeError("uvicorn ended at once")
        await asyncio.sleep(0.01)
    return port


async def websocket(_loop: Loop, params: Params) -> int:
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.exceptions import ConnectionClosedError

    async def handle(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosedError):  # the client just ends
            async for message in connection:
                await connection.send(message)
        if ended := params.get("ended"):
            ended()

    server = await serve(handle, HOST, 0, compression=None, ping_interval=None)
    _kept.append(server)
    return int(next(iter(server.sockets)).getsockname()[1])


SERVERS: dict[str, Server] = {
    server.__name__: server
    for server in (
        protocol,
        beside,
        buffered,
        streams,
        sock,
        accept,
        udp,
        unix,
        bulk_in,
        bulk_out,
        idle,
        http,
        websocket,
    )
}
