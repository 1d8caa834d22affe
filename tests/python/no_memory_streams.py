# SPDX-License-Identifier: Apache-2.0
"""Steps and a scenario over streams for failing allocations, as those of
no_memory_steps.py and no_memory_scenarios.py."""

import asyncio
import gc
import socket

import rsloop_c
import support
from no_memory_steps import turns


def read(name, *args, data=b"", more=None):
    """A step of reader.name(*args) with `data` there: it starts, or with `more`
    that is fed while it waits."""
    def step(loop):
        reader = rsloop_c.StreamReader(loop=loop)
        if data:
            reader.feed_data(data[:3])
            reader.feed_data(data[3:])
        call = getattr(reader, name)(*args)
        if more is None:
            yield lambda: next(call, None)
        else:
            next(call)
            yield lambda: reader.feed_data(more)
        call.close()
        assert reader._waiter is None
    step.__name__ = name
    return step


def reader_made(loop):
    yield lambda: rsloop_c.StreamReader(loop=loop)


def buffer_shown(loop):
    reader = rsloop_c.StreamReader(loop=loop)
    reader.feed_data(b"x" * 1000)
    yield lambda: reader._buffer
    assert reader._buffer == b"x" * 1000


def opened(loop):
    ours, peer = support.tcp_socket_pair()
    reader = rsloop_c.StreamReader(loop=loop)
    protocol = rsloop_c.StreamReaderProtocol(reader, loop=loop)
    transport = loop._make_socket_transport(ours, protocol)
    turns(loop)
    writer = rsloop_c.StreamWriter(transport, protocol, reader, loop)
    return reader, writer, peer


def ended(loop, writer, peer):
    writer.transport.abort()
    turns(loop)
    peer.close()


def received(loop):
    reader, writer, peer = opened(loop)
    call = reader.readexactly(2000)
    next(call).add_done_callback(bool)
    peer.send(b"x" * 1000)
    yield loop._run_once
    call.close()
    ended(loop, writer, peer)


def on_writer(name, *args):
    def step(loop):
        reader, writer, peer = opened(loop)
        method = getattr(writer, name)
        yield lambda: method(*args)
        ended(loop, writer, peer)
    step.__name__ = name
    return step


def drained(loop):
    reader, writer, peer = opened(loop)
    yield lambda: next(writer.drain(), None)
    ended(loop, writer, peer)
    gc.collect()


STEPS = [
    reader_made, buffer_shown, received, drained,
    read("read", 10, data=b"some bytes"), read("read", data=b"some bytes"),
    read("read", 10), read("read", 10, more=b"x"),
    read("readexactly", 20, data=b"some bytes"),
    read("readexactly", 20, data=b"some bytes", more=b"x" * 5000),
    read("readline", data=b"a line\nand more"), read("readline"),
    read("readuntil", (b";", b"ab"), data=b"a;line"),
    read("readuntil", b";", data=b"a line"),
    on_writer("write", b"x"), on_writer("write", bytearray(3_000_000)),
    on_writer("writelines", [b"x", bytearray(b"y")]),
]


async def streams_carry_bytes(loop, arm):
    ours, peer = socket.socketpair()
    reader, writer = await rsloop_c.open_connection(sock=ours)
    try:
        arm()
        for size in (1, 1000, 6000):
            peer.send(b"x" * size)
            await asyncio.sleep(0)
            peer.send(b"y" * size)
            assert len(await reader.readexactly(size * 2)) == size * 2
        writer.write(b"z" * 1000)
        await writer.drain()
    finally:
        writer.transport.abort()
        peer.close()
        await asyncio.sleep(0)
