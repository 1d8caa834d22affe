# SPDX-License-Identifier: Apache-2.0
"""What test_growth.py repeats: a context manager for each kind of thing, which
yields a coroutine function that makes and ends one."""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import sys
import threading

import pytest

from support import LOOPBACK, PATIENCE, BufferedRecorder, reset, tcp_socket_pair, turns


class Lost(asyncio.Protocol):
    """Awaits its end; answers what it reads if it is asked to."""

    def __init__(self, answer=False):
        self.answer = answer
        self.lost = asyncio.get_running_loop().create_future()
        self.read = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        if self.answer:
            self.transport.write(data)
        if not self.read.done():
            self.read.set_result(data)

    def connection_lost(self, exc):
        self.lost.set_result(exc)


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self):
        self.lost = asyncio.get_running_loop().create_future()
        self.read = asyncio.get_running_loop().create_future()

    def datagram_received(self, data, address):
        if not self.read.done():
            self.read.set_result(data)

    def connection_lost(self, exc):
        self.lost.set_result(exc)


async def within(awaitable):
    return await asyncio.wait_for(awaitable, PATIENCE)


@contextlib.asynccontextmanager
async def serving(loop, factory, **options):
    made = []

    def make():
        protocol = factory()
        made.append(protocol)
        return protocol

    server = await loop.create_server(make, LOOPBACK, 0, **options)
    try:
        yield server.sockets[0].getsockname(), made
    finally:
        server.close()
        await server.wait_closed()


# --- cycles ------------------------------------------------------------------

@contextlib.asynccontextmanager
async def tcp_connection(loop, certificate):
    """A client and a server's connection; ended by either side, by a reset,
    with data on its way, while paused."""
    number = 0
    async with serving(loop, lambda: Lost(answer=True)) as (address, made):
        async def cycle():
            nonlocal number
            number += 1
            transport, client = await loop.create_connection(Lost, *address)
            transport.write(b"x" * 100)
            await within(client.read)
            served = made.pop()
            if number % 5 == 0:
                served.transport.close()
            elif number % 5 == 1:
                transport.abort()
            elif number % 5 == 2:
                served.transport.pause_reading()
                transport.writelines([b"y" * 3000, bytearray(2000)])
                served.transport.abort()
            elif number % 5 == 3:
                transport.write_eof()
            else:
                transport.pause_reading()
                served.transport.write(b"z" * 5000)
                transport.close()
            await within(client.lost)
            await within(served.lost)
        yield cycle


@contextlib.asynccontextmanager
async def refused_connection(loop, certificate):
    with socket.socket() as unheard:
        unheard.bind((LOOPBACK, 0))

        async def cycle():
            with pytest.raises(ConnectionRefusedError):
                await loop.create_connection(Lost, *unheard.getsockname())
        yield cycle


@contextlib.asynccontextmanager
async def given_socket(loop, certificate):
    async def cycle():
        ours, peer = socket.socketpair()
        with peer:
            transport, protocol = await loop.create_connection(Lost, sock=ours)
            peer.send(b"data")
            await within(protocol.read)
            transport.write(b"answer")
        await within(protocol.lost)
    yield cycle


@contextlib.asynccontextmanager
async def reset_connection(loop, certificate):
    async def cycle():
        ours, peer = tcp_socket_pair()
        _, protocol = await loop.create_connection(Lost, sock=ours)
        reset(peer)
        assert isinstance(await within(protocol.lost), ConnectionResetError)
    yield cycle


@contextlib.asynccontextmanager
async def accepted_socket(loop, certificate):
    async def cycle():
        ours, peer = socket.socketpair()
        transport, protocol = await loop.connect_accepted_socket(Lost, ours)
        transport.close()
        await within(protocol.lost)
        peer.close()
    yield cycle


@contextlib.asynccontextmanager
async def buffered_protocol(loop, certificate):
    async def cycle():
        ours, peer = socket.socketpair()
        with peer:
            transport, protocol = await loop.create_connection(
                lambda: BufferedRecorder(64), sock=ours)
            peer.send(b"x" * 200)
            await within(protocol.received(200))
            transport.close()
            await within(protocol.lost)
    yield cycle


@contextlib.asynccontextmanager
async def unsent_writes(loop, certificate):
    async def cycle():
        ours, peer = socket.socketpair()
        with peer:
            transport, protocol = await loop.create_connection(Lost, sock=ours)
            for _ in range(4):
                transport.write(bytes(200_000))
                transport.write(bytearray(200_000))
            await turns(2)
            transport.abort()
            await within(protocol.lost)
    yield cycle


@contextlib.asynccontextmanager
async def unix_connection(loop, certificate):
    path = f"\0growth-{os.getpid()}-{id(loop)}"
    made = []

    def make():
        made.append(Lost(answer=True))
        return made[-1]

    async with await loop.create_unix_server(make, path):
        async def cycle():
            transport, client = await loop.create_unix_connection(Lost, path)
            transport.write(b"data")
            await within(client.read)
            transport.close()
            await within(client.lost)
            await within(made.pop().lost)
        yield cycle


@contextlib.asynccontextmanager
async def tls_connection(loop, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.num_tickets = 0
    client_context = ssl.create_default_context(cafile=certificate[0])
    async with serving(loop, lambda: Lost(answer=True),
                       ssl=context) as (address, made):
        async def cycle():
            transport, client = await loop.create_connection(
                Lost, *address, ssl=client_context, server_hostname="localhost")
            transport.write(b"data")
            await within(client.read)
            transport.close()
            await within(client.lost)
            await within(made.pop().lost)
        yield cycle


@contextlib.asynccontextmanager
async def tls_failure(loop, certificate):
    """A handshake that the other side ends."""
    client_context = ssl.create_default_context()

    async def cycle():
        ours, peer = socket.socketpair()
        peer.close()
        with pytest.raises(OSError):
            await loop.create_connection(
                Lost, sock=ours, ssl=client_context, server_hostname="localhost")
    yield cycle


@contextlib.asynccontextmanager
async def server(loop, certificate):
    async def cycle():
        server = await loop.create_server(Lost, LOOPBACK, 0)
        server.close()
        await server.wait_closed()
    yield cycle


@contextlib.asynccontextmanager
async def unix_server(loop, certificate):
    path = f"\0growth-{os.getpid()}-{id(loop)}"

    async def cycle():
        async with await loop.create_unix_server(Lost, path):
            pass
    yield cycle


@contextlib.asynccontextmanager
async def streams(loop, certificate):
    async def shout(reader, writer):
        writer.write((await reader.readline()).upper())
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(shout, LOOPBACK, 0) as server:
        address = server.sockets[0].getsockname()

        async def cycle():
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"line\n")
            assert await within(reader.read()) == b"LINE\n"
            writer.close()
            await writer.wait_closed()
        yield cycle


@contextlib.asynccontextmanager
async def datagram_endpoint(loop, certificate):
    async def cycle():
        receiver, received = await loop.create_datagram_endpoint(
            Datagrams, local_addr=(LOOPBACK, 0))
        sender, sent = await loop.create_datagram_endpoint(
            Datagrams, remote_addr=receiver.get_extra_info("sockname"))
        sender.sendto(b"datagram")
        await within(received.read)
        receiver.sendto(b"answer", sender.get_extra_info("sockname"))
        await within(sent.read)
        sender.close()
        receiver.abort()
        await within(sent.lost)
        await within(received.lost)
    yield cycle


@contextlib.asynccontextmanager
async def unix_datagrams(loop, certificate):
    path = f"\0growth-{os.getpid()}-{id(loop)}"

    async def cycle():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
            peer.bind(path)
            transport, protocol = await loop.create_datagram_endpoint(
                Datagrams, local_addr=path + "-ours", remote_addr=path,
                family=socket.AF_UNIX)
            peer.sendto(b"datagram", path + "-ours")
            await within(protocol.read)
            transport.sendto(b"answer")
            transport.close()
            await within(protocol.lost)
            assert peer.recv(9) == b"answer"
    yield cycle


@contextlib.asynccontextmanager
async def read_pipe(loop, certificate):
    async def cycle():
        read_end, write_end = os.pipe()
        _, protocol = await loop.connect_read_pipe(Lost, open(read_end, "rb", 0))
        os.write(write_end, b"data")
        await within(protocol.read)
        os.close(write_end)
        await within(protocol.lost)
    yield cycle


@contextlib.asynccontextmanager
async def write_pipe(loop, certificate):
    async def cycle():
        read_end, write_end = os.pipe()
        transport, protocol = await loop.connect_write_pipe(
            Lost, open(write_end, "wb", 0))
        transport.write(b"data")
        await turns(2)
        transport.write(bytes(100_000))      # more than it holds
        await turns(2)
        transport.abort()
        await within(protocol.lost)
        os.close(read_end)
    yield cycle


@contextlib.asynccontextmanager
async def sock_operations(loop, certificate):
    async def cycle():
        left, right = tcp_socket_pair()
        with left, right:
            await loop.sock_sendall(left, b"data" * 10)
            assert await loop.sock_recv(right, 4) == b"data"
            assert await loop.sock_recv_into(right, bytearray(36)) == 36
            waiting = loop.create_task(loop.sock_recv(right, 10))
            await asyncio.sleep(0)
            await loop.sock_sendall(left, b"late")
            assert await within(waiting) == b"late"
            cancelled = loop.create_task(loop.sock_recv_into(right, bytearray(9)))
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.gather(cancelled, return_exceptions=True)
    yield cycle


@contextlib.asynccontextmanager
async def sock_connects(loop, certificate):
    with socket.create_server((LOOPBACK, 0)) as listener:
        listener.setblocking(False)

        async def cycle():
            with socket.socket() as client:
                client.setblocking(False)
                accepting = loop.create_task(loop.sock_accept(listener))
                await loop.sock_connect(client, listener.getsockname())
                accepted, _ = await within(accepting)
                accepted.close()
        yield cycle


@contextlib.asynccontextmanager
async def sock_datagrams(loop, certificate):
    if sys.version_info < (3, 11):
        pytest.skip("sock_recvfrom and sock_sendto are new in 3.11")
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind((LOOPBACK, 0))
        sock.setblocking(False)

        async def cycle():
            await loop.sock_sendto(sock, b"one", sock.getsockname())
            assert (await loop.sock_recvfrom(sock, 9))[0] == b"one"
            waiting = loop.create_task(
                loop.sock_recvfrom_into(sock, bytearray(9)))
            await asyncio.sleep(0)
            await loop.sock_sendto(sock, b"two", sock.getsockname())
            assert (await within(waiting))[0] == 3
        yield cycle


@contextlib.asynccontextmanager
async def sendfile(loop, certificate):
    with open(__file__, "rb") as file:
        async def cycle():
            ours, peer = socket.socketpair()
            with peer:
                transport, protocol = await loop.create_connection(
                    Lost, sock=ours)
                assert await loop.sendfile(transport, file, 0, 5000) == 5000
                transport.close()
                await within(protocol.lost)
        yield cycle


@contextlib.asynccontextmanager
async def handles(loop, certificate):
    async def cycle():
        loop.call_soon(bytes, 100)
        loop.call_soon(bytes, 100).cancel()
        loop.call_later(0, bytes, 100)
        loop.call_later(3600, bytes, 100).cancel()
        loop.call_at(loop.time() + 3600, bytes, 100).cancel()
        loop.call_soon_threadsafe(bytes, 100)
        loop.call_soon_threadsafe(bytes, 100).cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(1e-6)
        await asyncio.wait_for(asyncio.sleep(0), 3600)
    yield cycle


@contextlib.asynccontextmanager
async def failing_callbacks(loop, certificate):
    loop.set_exception_handler(lambda loop, context: None)

    async def cycle():
        loop.call_soon(int, "x")
        loop.call_later(0, int, "x")
        loop.call_soon_threadsafe(int, "x")
        await asyncio.sleep(1e-6)
    yield cycle


@contextlib.asynccontextmanager
async def debug_handles(loop, certificate):
    loop.set_debug(True)

    async def cycle():
        loop.call_soon(bytes, 100)
        loop.call_later(0, bytes, 100).cancel()
        await asyncio.sleep(1e-6)
    yield cycle


@contextlib.asynccontextmanager
async def other_threads(loop, certificate):
    async def cycle():
        done = loop.create_future()
        thread = threading.Thread(target=loop.call_soon_threadsafe,
                                  args=(done.set_result, None))
        thread.start()
        await within(done)
        thread.join()
        await loop.run_in_executor(None, bytes, 100)
    yield cycle


@contextlib.asynccontextmanager
async def watches(loop, certificate):
    async def cycle():
        left, right = socket.socketpair()
        with left, right:
            readable, writable = loop.create_future(), loop.create_future()
            loop.add_reader(left, lambda: readable.done()
                            or readable.set_result(None))
            loop.add_writer(right, lambda: writable.done()
                            or writable.set_result(None))
            right.send(b"x")
            await within(asyncio.gather(readable, writable))
            loop.remove_reader(left)
            loop.remove_writer(right)
    yield cycle


@contextlib.asynccontextmanager
async def look_ups(loop, certificate):
    async def cycle():
        await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        await loop.getaddrinfo("localhost", 80)
        await loop.getnameinfo((LOOPBACK, 80), socket.NI_NUMERICHOST)
    yield cycle


@contextlib.asynccontextmanager
async def signal_handlers(loop, certificate):
    async def cycle():
        seen = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR1, seen.set_result, None)
        os.kill(os.getpid(), signal.SIGUSR1)
        await within(seen)
        loop.remove_signal_handler(signal.SIGUSR1)
    yield cycle


KINDS = [tcp_connection, refused_connection, given_socket, reset_connection,
         accepted_socket, buffered_protocol, unsent_writes, unix_connection,
         tls_connection, tls_failure, server, unix_server, streams,
         datagram_endpoint, unix_datagrams, read_pipe, write_pipe,
         sock_operations, sock_connects, sock_datagrams, sendfile, handles,
         failing_callbacks, debug_handles, other_threads, watches, look_ups,
         signal_handlers]
