# SPDX-License-Identifier: Apache-2.0
"""connect_read_pipe and connect_write_pipe: what both ends have in common."""

import asyncio
import contextvars
import gc
import os
import pty
import re
import socket
import tty
import warnings
import weakref

import pytest

from growth import assert_no_growth
from support import (
    PATIENCE,
    Recorder,
    open_fds,
    settle,
    turns,
    until,
)

ENDS = {"read": 0, "write": 1}


def connect(loop, end, pipe, factory=Recorder):
    make = loop.connect_read_pipe if end == "read" else loop.connect_write_pipe
    return make(factory, pipe)


@pytest.fixture(params=ENDS)
def end(request):
    return request.param


@pytest.fixture
def ours(pipe, end):
    return pipe[ENDS[end]]


@pytest.fixture
def theirs(pipe, end):
    return pipe[1 - ENDS[end]]


# --- What it is ---

async def test_ends_are_asyncios_transports(loop, pipe):
    reading, reader = await loop.connect_read_pipe(Recorder, pipe[0])
    writing, writer = await loop.connect_write_pipe(Recorder, pipe[1])
    assert isinstance(reading, asyncio.ReadTransport)
    assert not isinstance(reading, asyncio.WriteTransport)
    assert isinstance(writing, asyncio.WriteTransport)
    for transport, protocol in (reading, reader), (writing, writer):
        transport.close()
        await asyncio.wait_for(protocol.lost, PATIENCE)


async def test_the_protocol_is_told_before_the_caller(loop, ours, end):
    transport, protocol = await connect(loop, end, ours)
    assert protocol.calls == ["made"]
    assert protocol.transport is transport
    assert transport.get_protocol() is protocol
    assert transport.is_closing() is False
    transport.close()
    assert transport.is_closing() is True
    assert protocol.calls == ["made"]
    await asyncio.wait_for(protocol.lost, PATIENCE)
    assert protocol.calls == ["made", "lost"]
    assert ours.closed
    assert transport.get_protocol() is None


async def test_the_pipe_is_told_as_extra_info(loop, ours, end):
    transport, protocol = await connect(loop, end, ours)
    assert transport.get_extra_info("pipe") is ours
    assert transport.get_extra_info("socket") is None
    assert transport.get_extra_info("socket", "default") == "default"
    transport.close()
    await protocol.lost
    assert transport.get_extra_info("pipe") is ours


async def test_the_pipe_is_made_non_blocking(loop, ours, end):
    os.set_blocking(ours.fileno(), True)
    transport, protocol = await connect(loop, end, ours)
    assert os.get_blocking(ours.fileno()) is False
    transport.close()
    await protocol.lost


async def test_close_is_idempotent(loop, ours, end):
    transport, protocol = await connect(loop, end, ours)
    for _ in range(3):
        transport.close()
    await asyncio.wait_for(protocol.lost, PATIENCE)
    transport.close()
    await turns()
    assert protocol.calls == ["made", "lost"]


async def test_close_in_connection_made(loop, ours, end):
    class Closing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.close()

    _, protocol = await connect(loop, end, ours, Closing)
    assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
    await turns()
    assert protocol.calls == ["made", "lost"]


async def test_another_protocol_can_take_over(loop, ours, end):
    transport, first = await connect(loop, end, ours)
    second = Recorder()
    transport.set_protocol(second)
    assert transport.get_protocol() is second
    transport.close()
    await asyncio.wait_for(second.lost, PATIENCE)
    assert first.calls == ["made"] and second.calls == ["lost"]


async def test_repr_says_how_it_is(loop, ours, end):
    transport, protocol = await connect(loop, end, ours)
    await turns()        # asyncio's read end polls one callback later

    def said():
        return re.sub(r"^<\S+|fd=\d+", "", repr(transport)).strip()

    size = " bufsize=0>" if end == "write" else ">"
    assert f"fd={ours.fileno()} " in repr(transport)
    assert said() == ("polling>" if end == "read" else "idle" + size)
    transport.close()
    assert said() == "closing  idle" + size
    await protocol.lost
    await turns()
    assert said() == "closed  closed>"


async def test_attributes_and_weak_references(loop, ours, end):
    transport, protocol = await connect(loop, end, ours)
    transport.note = "kept"
    assert weakref.ref(transport)() is transport
    assert transport._loop is loop and transport._pipe is ours
    transport.close()
    await protocol.lost
    await turns()
    assert transport.note == "kept"
    assert transport._loop is None and transport._pipe is None


async def test_callbacks_run_in_the_context_of_the_caller(loop, pipe):
    variable = contextvars.ContextVar("variable", default="none")
    seen = []

    class Noting(Recorder):
        def note(self, *args):
            seen.append(variable.get())
        connection_made = data_received = eof_received = note

        def connection_lost(self, exc):
            self.note()
            super().connection_lost(exc)

    variable.set("mine")
    _, protocol = await loop.connect_read_pipe(Noting, pipe[0])
    variable.set("changed")
    await turns()
    pipe[1].write(b"x")
    await until(lambda: len(seen) == 2)
    pipe[1].close()
    await asyncio.wait_for(protocol.lost, PATIENCE)
    assert seen == ["mine"] * 4


# --- What it is made of ---

async def test_sockets_are_pipes_too(loop):
    left, right = socket.socketpair()
    with left, right:
        reading, reader = await loop.connect_read_pipe(Recorder, left)
        writing, writer = await loop.connect_write_pipe(Recorder, right)
        writing.write(b"by socket")
        assert await reader.received(9) == b"by socket"
        writing.close()
        assert await asyncio.wait_for(reader.lost, PATIENCE) is None
        await writer.lost
        assert reader.calls == ["made", "data", "eof", "lost"]


async def test_named_fifos(loop, tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    read_fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write_fd = os.open(path, os.O_WRONLY)
    reading, reader = await loop.connect_read_pipe(
        Recorder, open(read_fd, "rb", 0))
    writing, writer = await loop.connect_write_pipe(
        Recorder, open(write_fd, "wb", 0))
    writing.write(b"named")
    assert await reader.received(5) == b"named"
    reading.close()
    assert await asyncio.wait_for(writer.lost, PATIENCE) is None


async def test_terminals(loop):
    master, slave = pty.openpty()
    tty.setraw(slave)
    reading, reader = await loop.connect_read_pipe(
        Recorder, open(master, "rb", 0))
    writing, writer = await loop.connect_write_pipe(
        Recorder, open(slave, "wb", 0))
    writing.write(b"typed\n")
    assert await reader.received(6) == b"typed\n"
    writing.close()
    await writer.lost
    # A terminal without another side fails with EIO: no report.
    exc = await asyncio.wait_for(reader.lost, PATIENCE)
    assert isinstance(exc, OSError)
    assert reader.calls == ["made", "data", "lost"]


async def test_regular_files_are_refused(loop, tmp_path, end):
    fds = open_fds()
    with open(tmp_path / "file", "w+b", 0) as file:
        expected = {
            "read": r"^Pipe transport is for pipes/sockets only\.$",
            "write": "^Pipe transport is only for pipes, sockets and "
                     "character devices$"}[end]
        with pytest.raises(ValueError, match=expected):
            await connect(loop, end, file)
        assert not file.closed
    assert open_fds().keys() == fds.keys()


@pytest.mark.untidy
async def test_what_is_no_file_is_refused(loop, end):
    class Fileno:
        def __init__(self, value):
            self.value = value

        def fileno(self):
            return self.value

        def close(self):
            pass

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        with pytest.raises(AttributeError):
            await connect(loop, end, 0)
        with pytest.raises(OSError):
            await connect(loop, end, Fileno(-1))
        with pytest.raises(OverflowError):
            await connect(loop, end, Fileno(1 << 80))
        with pytest.raises(TypeError):
            await connect(loop, end, Fileno(None))
        gc.collect()


@pytest.mark.untidy
async def test_a_closed_file_is_refused(loop, ours, end):
    ours.close()
    with pytest.raises(ValueError):
        await connect(loop, end, ours)


async def test_a_factory_that_raises_leaves_the_pipe(loop, ours, end):
    def factory():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await connect(loop, end, ours, factory)
    assert not ours.closed


async def test_a_protocol_without_connection_made_is_refused(
        loop, ours, end):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        with pytest.raises(AttributeError):
            await connect(loop, end, ours, object)
        gc.collect()


async def test_cancelling_the_connect_closes_the_pipe(loop, ours, end):
    made = []

    def factory():
        made.append(Recorder())
        return made[0]

    task = loop.create_task(connect(loop, end, ours, factory))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(made[0].lost, PATIENCE)
    assert ours.closed


def test_wrong_arguments_of_the_maker(loop, ours, end):
    make = getattr(loop, f"_make_{end}_pipe_transport")
    with pytest.raises(TypeError):
        make()
    with pytest.raises(TypeError):
        make(ours)
    with pytest.raises(TypeError):
        make(ours, Recorder, None, None, None)
    with pytest.raises(TypeError):
        make(pipe=ours, nonsense=1)


def test_a_given_extra_is_kept(loop, ours, end):
    async def main():
        extra = {"mine": 1}
        transport = getattr(loop, f"_make_{end}_pipe_transport")(
            ours, Recorder(), extra=extra)
        assert transport.get_extra_info("mine") == 1
        assert extra["pipe"] is ours
        await turns()
        transport.close()
        await turns()

    loop.run_until_complete(main())


# --- Left open ---

@pytest.mark.untidy
def test_a_transport_left_open_warns(loop_factory, pipe, end):
    loop = loop_factory()

    async def main():
        transport, _ = await connect(loop, end, pipe[ENDS[end]])
        await turns()
        return transport

    transport = loop.run_until_complete(main())
    loop.close()
    assert re.search(r" fd=\d+ open>$", repr(transport))
    with pytest.warns(ResourceWarning, match="unclosed transport <.* open>"):
        del transport
        gc.collect()
    assert pipe[ENDS[end]].closed


def test_close_on_a_closed_loop_raises(loop_factory, pipe, end):
    loop = loop_factory()

    async def main():
        return (await connect(loop, end, pipe[ENDS[end]]))[0]

    transport = loop.run_until_complete(main())
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        transport.close()
    transport.close()
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        del transport
        gc.collect()


async def test_a_polled_transport_lives_without_references(loop, pipe):
    class Answer(Recorder):
        pass

    _, protocol = await loop.connect_read_pipe(Answer, pipe[0])
    protocol.transport = None
    await turns()
    gc.collect()
    pipe[1].write(b"still there")
    assert await protocol.received(11) == b"still there"
    pipe[1].close()
    await asyncio.wait_for(protocol.lost, PATIENCE)


@pytest.mark.slow(120)
def test_a_thousand_full_pipes_leave_nothing(loop):
    async def cycle():
        reader, writer = os.pipe()
        _, sink = await loop.connect_read_pipe(Recorder, open(reader, "rb", 0))
        writing, source = await loop.connect_write_pipe(
            Recorder, open(writer, "wb", 0))
        for kind in (bytes, bytearray):
            writing.write(kind(60_000))
        writing.close()
        await asyncio.wait_for(sink.lost, PATIENCE)
        await source.lost
        assert len(sink.data) == 120_000

    async def cycles(count):
        for _ in range(count):
            await cycle()

    assert_no_growth(lambda count: loop.run_until_complete(cycles(count)),
                     1000)


async def test_debug_mode_logs_what_happens(loop, pipe, caplog):
    loop.set_debug(True)
    with caplog.at_level("DEBUG", logger="asyncio"):
        transport, protocol = await loop.connect_read_pipe(Recorder, pipe[0])
        transport.pause_reading()
        transport.resume_reading()
        pipe[1].close()
        await asyncio.wait_for(protocol.lost, PATIENCE)
    loop.set_debug(False)
    said = [record.getMessage().split("> ")[-1] for record in caplog.records
            if record.getMessage().startswith(f"<{type(transport).__name__}")]
    assert said == ["pauses reading", "resumes reading", "was closed by peer"]


async def test_stream_reader_and_writer_over_pipes(loop, pipe):
    reader = asyncio.StreamReader(limit=1000)
    reading, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe[0])
    writing, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, pipe[1])
    writer = asyncio.StreamWriter(writing, protocol, None, loop)
    writer.write(b"one\n")
    writer.writelines([b"two", b"\n"])
    await asyncio.wait_for(writer.drain(), PATIENCE)
    assert await reader.readline() == b"one\n"
    assert await reader.readline() == b"two\n"
    data = os.urandom(300_000)       # pauses and resumes on both sides
    writer.write(data)
    drained = loop.create_task(writer.drain())
    assert await asyncio.wait_for(reader.readexactly(len(data)),
                                  PATIENCE) == data
    await asyncio.wait_for(drained, PATIENCE)
    assert writer.can_write_eof()
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
    await settle()
