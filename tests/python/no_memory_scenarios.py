# SPDX-License-Identifier: Apache-2.0
"""What is played with failing allocations: coroutines that prepare, call
arm(), and then do what may fail. They clean up whatever happens."""

import asyncio
import contextlib
import os
import socket

import support
from support import Echo, Recorder


@contextlib.contextmanager
def pair():
    left, right = support.tcp_socket_pair()
    with left, right:
        yield left, right


async def reply(sock, count):
    """count bytes, read without the loop's help: that may be what fails."""
    data = b""
    while len(data) < count:
        try:
            piece = sock.recv(1 << 20)
        except BlockingIOError:
            await asyncio.sleep(0.001)
            continue
        if not piece:
            break
        data += piece
    return data


def drop(transport):
    if transport is not None and transport.get_protocol() is not None:
        transport.abort()


async def connection_opens_and_closes(loop, arm):
    transport = None
    with pair() as (ours, peer):
        arm()
        try:
            transport, protocol = await loop.create_connection(
                Recorder, sock=ours)
            transport.close()
            await protocol.lost
        finally:
            drop(transport)


async def connection_reads(loop, arm):
    with pair() as (ours, peer):
        transport, protocol = await loop.create_connection(
            Recorder, sock=ours)
        try:
            await asyncio.sleep(0)
            arm()
            peer.send(b"x" * 1000)
            await protocol.received(1000)
            peer.send(b"y" * 100_000)
            await protocol.received(101_000)
            transport.pause_reading()
            peer.send(b"late")
            await asyncio.sleep(0)
            transport.resume_reading()
            await protocol.received(101_004)
            peer.shutdown(socket.SHUT_WR)
            await protocol.lost
        finally:
            drop(transport)


async def connection_writes(loop, arm):
    with pair() as (ours, peer):
        transport, protocol = await loop.create_connection(
            Recorder, sock=ours)
        try:
            await asyncio.sleep(0)
            arm()
            for _ in range(10):
                transport.write(b"x")
            transport.write(bytearray(b"y" * 1000))
            transport.writelines([b"a", bytearray(b"b"), memoryview(b"c")])
            await reply(peer, 1013)
            transport.write(memoryview(bytearray(3_000_000)))
            transport.write(b"end")
            await reply(peer, 3_000_003)
            transport.write_eof()
            transport.close()
            await protocol.lost
        finally:
            drop(transport)


async def server_accepts(loop, arm):
    made = support.Accepting(Echo)
    client = socket.socket()
    server = None
    with client:
        client.setblocking(False)
        arm()
        try:
            server = await loop.create_server(made, support.LOOPBACK, 0)
            client.connect_ex(server.sockets[0].getsockname())
            await asyncio.sleep(0.002)
            client.send(b"hello")
            await reply(client, 5)
        finally:
            for protocol in made.made:
                drop(protocol.transport)
            if server is not None:
                server.close()


async def datagrams_go_both_ways(loop, arm):
    left = right = None
    arm()
    try:
        left, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, (support.LOOPBACK, 0))
        right, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, (support.LOOPBACK, 0))
        left.sendto(b"one", right.get_extra_info("sockname"))
        left.sendto(bytearray(b"two"), right.get_extra_info("sockname"))
        right.sendto(b"three", left.get_extra_info("sockname"))
        await asyncio.sleep(0.001)
    finally:
        for transport in (left, right):
            if transport is not None:
                transport.abort()
        await asyncio.sleep(0)


async def datagrams_wait_for_room(loop, arm):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        peer.bind("")            # an abstract name of the kernel's choice
        ours = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        ours.connect(peer.getsockname())
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, sock=ours)
        try:
            arm()
            for _ in range(60):
                transport.sendto(bytes(1000))
            peer.setblocking(False)
            while transport.get_write_buffer_size() > 0:
                with contextlib.suppress(BlockingIOError):
                    peer.recv(1000)
                await asyncio.sleep(0)
        finally:
            transport.abort()
            await asyncio.sleep(0)


async def readiness_is_watched(loop, arm):
    with pair() as (ours, peer):
        high = os.dup2(ours.fileno(), 300, False)
        seen = asyncio.Event()
        arm()
        try:
            loop.add_reader(high, seen.set)
            loop.add_writer(ours, lambda: loop.remove_writer(ours))
            peer.send(b"x")
            await seen.wait()
            loop.remove_reader(high)
            await loop.sock_recv(ours, 10)
            receiving = asyncio.ensure_future(loop.sock_recv(ours, 10))
            await asyncio.sleep(0)
            peer.send(b"y")
            await receiving
            await loop.sock_sendall(ours, b"z" * 100)
        finally:
            loop.remove_reader(high)
            loop.remove_writer(ours)
            loop.remove_reader(ours)
            os.close(high)


async def timers_and_callbacks(loop, arm):
    ran = []
    arm()
    timers = [loop.call_later(0.0001 * (n % 9), ran.append, n)
              for n in range(100)]
    for timer in timers[::3]:
        timer.cancel()
    for n in range(400):
        loop.call_soon(ran.append, n)
    await asyncio.sleep(0.001)
    for n in range(20):
        loop.call_soon_threadsafe(ran.append, n)
    await asyncio.get_running_loop().run_in_executor(
        None, loop.call_soon_threadsafe, ran.append, 1)
    await asyncio.sleep(0)


async def many_connections_at_once(loop, arm):
    """More events in a turn than the ready queue has room for."""
    pairs = [support.tcp_socket_pair() for _ in range(40)]
    transports = []
    try:
        protocols = []
        for ours, _ in pairs:
            transport, protocol = await loop.create_connection(
                Recorder, sock=ours)
            transports.append(transport)
            protocols.append(protocol)
        await asyncio.sleep(0)
        for _, peer in pairs:
            peer.send(b"x")
        for _ in range(250):     # the queue begins with room for 256
            loop.call_soon(bool)
        arm()
        await asyncio.gather(*(protocol.received(1)
                               for protocol in protocols))
    finally:
        for transport in transports:
            drop(transport)
        for ours, peer in pairs:
            peer.close()
        await asyncio.sleep(0)


async def pipes_carry_bytes(loop, arm):
    to_read, to_write = os.pipe()
    ends = [open(to_read, "rb", 0), open(to_write, "wb", 0)]
    reading = writing = None
    arm()
    try:
        reading, reader = await loop.connect_read_pipe(Recorder, ends[0])
        writing, writer = await loop.connect_write_pipe(Recorder, ends[1])
        for _ in range(20):
            writing.write(b"x" * 10_000)
            writing.write(bytearray(b"y" * 10_000))
        await reader.received(400_000)
        writing.close()
        await writer.lost
        await reader.lost
    finally:
        for transport, end in ((reading, ends[0]), (writing, ends[1])):
            if transport is None:
                end.close()
            elif transport.get_protocol() is not None:
                getattr(transport, "abort", transport.close)()
        await asyncio.sleep(0)


async def names_are_looked_up(loop, arm):
    arm()
    await loop.getaddrinfo("127.0.0.1", "80", type=socket.SOCK_STREAM)
    await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
    await loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST)


async def another_loop_lives(loop, arm):
    other = None
    arm()
    try:
        other = support.child_flavour().new_loop()
        asyncio._set_running_loop(None)
        try:
            # No task: 3.14 lets no thread enter one inside another.
            done = other.create_future()
            other.call_soon(done.set_result, None)
            other.run_until_complete(done)
        finally:
            asyncio._set_running_loop(loop)
    finally:
        if other is not None:
            other.close()


ALL = [connection_opens_and_closes, connection_reads, connection_writes,
       server_accepts, datagrams_go_both_ways, datagrams_wait_for_room,
       readiness_is_watched, timers_and_callbacks, many_connections_at_once,
       pipes_carry_bytes, names_are_looked_up, another_loop_lives]
