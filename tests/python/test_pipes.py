# SPDX-License-Identifier: Apache-2.0
"""connect_read_pipe and connect_write_pipe."""

import asyncio
import os
import socket

import pytest

from support import PATIENCE, Recorder, settle, until


class Writer(asyncio.BaseProtocol):
    def __init__(self):
        self.lost = asyncio.get_running_loop().create_future()
        self.calls = []

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, exc):
        if not self.lost.done():
            self.lost.set_result(exc)

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    files = open(reader, "rb", 0), open(writer, "wb", 0)
    yield files
    for file in files:
        file.close()


async def test_read_pipe_delivers_data_and_end(loop, pipe):
    reader, writer = pipe
    transport, protocol = await loop.connect_read_pipe(Recorder, reader)
    assert isinstance(transport, asyncio.ReadTransport)
    writer.write(b"through")
    assert await protocol.received(7) == b"through"
    writer.close()
    assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
    assert protocol.calls == ["made", "data", "eof", "lost"]


async def test_read_pipe_can_be_paused(loop, pipe):
    reader, writer = pipe
    transport, protocol = await loop.connect_read_pipe(Recorder, reader)
    transport.pause_reading()
    writer.write(b"held")
    await settle()
    assert protocol.data == b""
    transport.resume_reading()
    await protocol.received(4)
    transport.close()
    await protocol.lost


async def test_read_pipe_closed_by_us_is_lost(loop, pipe):
    transport, protocol = await loop.connect_read_pipe(Recorder, pipe[0])
    transport.close()
    assert await protocol.lost is None
    assert pipe[0].closed


async def test_write_pipe_sends(loop, pipe):
    reader, writer = pipe
    transport, protocol = await loop.connect_write_pipe(Writer, writer)
    assert isinstance(transport, asyncio.WriteTransport)
    transport.write(b"through")
    assert reader.read(10) == b"through"
    transport.close()
    assert await protocol.lost is None


async def test_write_pipe_sends_more_than_a_pipe_holds(loop, pipe):
    reader, writer = pipe
    data = os.urandom(500_000)
    transport, protocol = await loop.connect_write_pipe(Writer, writer)
    transport.write(data)
    assert "pause" in protocol.calls
    received = bytearray()

    def readable():
        received.extend(os.read(reader.fileno(), 65536))

    loop.add_reader(reader, readable)
    await until(lambda: len(received) == len(data))
    loop.remove_reader(reader)
    assert received == data
    assert protocol.calls[-1] == "resume"
    transport.close()
    await protocol.lost


async def test_write_pipe_write_eof_closes_after_the_data(loop, pipe):
    reader, writer = pipe
    transport, protocol = await loop.connect_write_pipe(Writer, writer)
    assert transport.can_write_eof() is True
    transport.write(b"last")
    transport.write_eof()
    await asyncio.wait_for(protocol.lost, PATIENCE)
    assert reader.read() == b"last"


async def test_write_pipe_without_a_reader_breaks(loop, pipe):
    reader, writer = pipe
    transport, protocol = await loop.connect_write_pipe(Writer, writer)
    reader.close()
    exc = await asyncio.wait_for(protocol.lost, PATIENCE)
    assert exc is None or isinstance(exc, BrokenPipeError)


async def test_pipes_of_sockets_and_terminals_work(loop):
    import pty
    master, slave = pty.openpty()
    with open(master, "rb", 0) as file:
        transport, protocol = await loop.connect_read_pipe(Recorder, file)
        os.write(slave, b"typed")
        assert await protocol.received(5) == b"typed"
        os.close(slave)
        transport.close()
        await protocol.lost
    left, right = socket.socketpair()
    transport, protocol = await loop.connect_read_pipe(Recorder, left)
    right.send(b"by socket")
    await protocol.received(9)
    transport.close()
    await protocol.lost
    right.close()


async def test_regular_file_is_refused(loop, tmp_path):
    with open(tmp_path / "file", "w+b", 0) as file:
        with pytest.raises(ValueError, match="Pipe transport is"):
            await loop.connect_read_pipe(Recorder, file)
    with open(tmp_path / "file", "w+b", 0) as file:
        with pytest.raises(ValueError, match="Pipe transport is"):
            await loop.connect_write_pipe(Writer, file)


async def test_stream_reader_over_a_pipe_reads_lines(loop, pipe):
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe[0])
    pipe[1].write(b"one\ntwo\n")
    assert await reader.readline() == b"one\n"
    assert await reader.readline() == b"two\n"
    pipe[1].close()
    assert await reader.read() == b""
    await settle()
