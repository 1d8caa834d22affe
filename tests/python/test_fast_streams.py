# SPDX-License-Identifier: Apache-2.0
"""Streams over connections: asyncio's on asyncio, ours on our loops."""

import asyncio
import contextlib
import gc
import socket
import sys

import pytest

import fast_streams
from fast_streams import connected, serving
from support import (
    LOOPBACK,
    PATIENCE,
    recv_exactly,
    recv_until_eof,
    reset,
    turns,
    until,
)

pytestmark = pytest.mark.stream


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, PATIENCE)


async def echo(reader, writer):
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def end(writer):
    writer.close()
    await soon(writer.wait_closed())


# --- Both ends ---

@pytest.mark.parametrize("size", [1, 1000, 70_000, 1_000_000])
async def test_echo(loop, flavour, size):
    data = bytes(range(256)) * (size // 256 + 1)
    async with serving(flavour, echo) as address:
        reader, writer = await fast_streams.of(flavour).open_connection(*address)
        for _ in range(3):
            sending = loop.create_task(send(writer, data))
            assert await soon(reader.readexactly(len(data))) == data
            await sending
        writer.write_eof()
        assert await soon(reader.read()) == b""
        await end(writer)


async def send(writer, data):
    writer.write(data)
    await writer.drain()


async def test_many_connections_at_once(loop, flavour):
    async def talk(number, address):
        reader, writer = await fast_streams.of(flavour).open_connection(*address)
        for turn in range(20):
            line = b"%d %d\n" % (number, turn)
            writer.write(line)
            assert await soon(reader.readline()) == line
        await end(writer)

    async with serving(flavour, echo) as address:
        await asyncio.gather(*(talk(number, address) for number in range(20)))


async def test_classes_are_asyncios_by_isinstance(loop, flavour):
    kinds = loop.create_future()

    async def callback(reader, writer):
        kinds.set_result((type(reader), type(writer)))
        await end(writer)

    module = fast_streams.of(flavour)
    async with serving(flavour, callback) as address:
        reader, writer = await module.open_connection(*address)
        assert isinstance(reader, asyncio.StreamReader)
        assert isinstance(writer, asyncio.StreamWriter)
        assert isinstance(writer._protocol, asyncio.StreamReaderProtocol)
        assert (type(reader), type(writer)) == await soon(kinds)
        assert type(reader) is module.StreamReader
        await end(writer)


async def test_unix_server_and_connection(loop, flavour, tmp_path):
    module, path = fast_streams.of(flavour), str(tmp_path / "socket")
    server = await module.start_unix_server(echo, path)
    reader, writer = await module.open_unix_connection(path)
    writer.writelines([b"one ", b"line\n"])
    assert await soon(reader.readline()) == b"one line\n"
    await end(writer)
    server.close()
    await soon(server.wait_closed())


async def test_limit_is_the_readers(loop, flavour):
    limits = loop.create_future()

    async def callback(reader, writer):
        limits.set_result(reader._limit)
        await end(writer)

    async with serving(flavour, callback, limit=123) as address:
        reader, writer = await fast_streams.of(flavour).open_connection(
            *address, limit=45)
        assert reader._limit == 45
        assert await soon(limits) == 123
        await end(writer)


# --- TLS ---

async def test_tls(loop, flavour, server_context, client_context):
    async with serving(flavour, echo, ssl=server_context) as address:
        reader, writer = await fast_streams.of(flavour).open_connection(
            *address, ssl=client_context, server_hostname="localhost")
        assert writer.get_extra_info("cipher")
        data = bytes(100_000)
        sending = loop.create_task(send(writer, data))
        assert await soon(reader.readexactly(len(data))) == data
        await sending
        assert not writer.can_write_eof()
        await end(writer)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="start_tls() is of 3.11")
async def test_start_tls(loop, flavour, server_context, client_context):
    async def callback(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go\n")
        await writer.drain()
        await writer.start_tls(server_context)
        await echo(reader, writer)

    async with serving(flavour, callback) as address:
        reader, writer = await fast_streams.of(flavour).open_connection(*address)
        writer.write(b"STARTTLS\n")
        assert await soon(reader.readline()) == b"go\n"
        await soon(writer.start_tls(client_context, server_hostname="localhost"))
        writer.write(b"secret\n")
        assert await soon(reader.readline()) == b"secret\n"
        assert writer.transport is writer._transport
        await end(writer)


# --- Reading ---

async def test_limit_pauses_the_transport_and_nothing_is_lost(loop, flavour):
    data = bytes(range(256)) * 4096
    async with connected(flavour, limit=1000) as (reader, writer, peer):
        sending = loop.create_task(loop.sock_sendall(peer, data))
        await until(lambda: reader._paused, "the pause")
        received = bytearray()
        while len(received) < len(data):
            received += await soon(reader.read(700))
        await sending
        assert received == data and not reader._paused


async def test_more_than_the_limit_can_be_waited_for(loop, flavour):
    data = bytes(range(256)) * 1000
    async with connected(flavour, limit=100) as (reader, writer, peer):
        sending = loop.create_task(loop.sock_sendall(peer, data))
        assert await soon(reader.readexactly(len(data))) == data
        await sending


async def test_cancelled_reads_lose_nothing(loop, flavour):
    lines = [b"%d\n" % number for number in range(200)]
    async with connected(flavour) as (reader, writer, peer):
        received = []
        for line in lines:
            reading = loop.create_task(reader.readline())
            await turns(1)
            peer.send(line)
            await turns(len(received) % 5)
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                received.append(await reading)
        peer.shutdown(socket.SHUT_WR)
        while line := await soon(reader.readline()):
            received.append(line)
        assert received == lines


async def test_end_of_the_peer_ends_reading_only(loop, flavour):
    async with connected(flavour) as (reader, writer, peer):
        peer.send(b"last")
        peer.shutdown(socket.SHUT_WR)
        assert await soon(reader.read()) == b"last"
        assert reader.at_eof() and not writer.is_closing()
        writer.write(b"answer")
        assert await recv_exactly(peer, 6) == b"answer"


async def test_reset_raises_in_the_read_that_waits(loop, flavour):
    lost = loop.create_future()

    async def callback(reader, writer):
        try:
            await reader.read(1)
        except ConnectionError as exc:
            lost.set_result((exc, reader.exception()))
        writer.close()

    async with serving(flavour, callback) as address:
        peer = socket.create_connection(address)
        await turns()
        reset(peer)
        raised, kept = await soon(lost)
        assert raised is kept


async def test_data_before_a_wait_is_read_without_a_turn(loop, flavour):
    async with connected(flavour) as (reader, writer, peer):
        peer.send(b"one\ntwo\n")
        assert await soon(reader.readline()) == b"one\n"
        ran = []
        loop.call_soon(ran.append, True)
        assert await reader.readline() == b"two\n"
        assert not ran


async def test_task_that_waits_runs_in_its_own_context(loop, flavour):
    import contextvars
    variable = contextvars.ContextVar("variable", default="none")
    seen = []

    async def read(reader, name):
        variable.set(name)
        while await reader.read(10):
            seen.append((variable.get(), asyncio.current_task() is not None))

    async with connected(flavour) as (reader, writer, peer):
        reading = loop.create_task(read(reader, "task"))
        for number in range(1, 4):
            peer.send(b"x")
            await until(lambda number=number: len(seen) == number)
        assert asyncio.current_task() is not None
        peer.shutdown(socket.SHUT_WR)
        await soon(reading)
        assert set(seen) == {("task", True)} and variable.get() == "none"


# --- Writing ---

async def test_drain_waits_for_room(loop, flavour):
    async with connected(flavour) as (reader, writer, peer):
        writer.transport.set_write_buffer_limits(high=1000)
        data = bytes(5_000_000)
        draining = loop.create_task(send(writer, data))
        await turns(20)
        assert not draining.done()
        assert await recv_exactly(peer, len(data)) == data
        await soon(draining)


async def test_cancelled_drain_can_be_repeated(loop, flavour):
    async with connected(flavour) as (reader, writer, peer):
        writer.transport.set_write_buffer_limits(high=1000)
        data = bytes(5_000_000)
        draining = loop.create_task(send(writer, data))
        await turns(5)
        draining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await draining
        draining = loop.create_task(writer.drain())
        assert await recv_exactly(peer, len(data)) == data
        await soon(draining)


async def test_drain_without_pause_takes_no_turn(loop, flavour):
    async with connected(flavour) as (reader, writer, peer):
        ran = []
        writer.write(b"x")
        loop.call_soon(ran.append, True)
        assert await writer.drain() is None
        assert not ran


async def test_drain_of_a_closing_writer_takes_a_turn(loop, flavour):
    async with connected(flavour) as (reader, writer, peer):
        ran = []
        writer.close()
        assert writer.is_closing()
        loop.call_soon(ran.append, True)
        with contextlib.suppress(ConnectionResetError):
            await writer.drain()
        assert ran


async def test_drain_after_the_end_raises(loop, flavour):
    async with connected(flavour) as (reader, writer, peer):
        await end(writer)
        with pytest.raises(ConnectionResetError, match="Connection lost"):
            await soon(writer.drain())


async def test_drain_raises_what_reading_met(loop, flavour):
    async with connected(flavour) as (reader, writer, peer):
        reader.set_exception(ZeroDivisionError("boom"))
        with pytest.raises(ZeroDivisionError, match="boom"):
            await writer.drain()


async def test_drain_is_a_coroutine(loop, flavour):
    async with connected(flavour) as (reader, writer, peer):
        coro = writer.drain()
        assert asyncio.iscoroutine(coro) and coro.__name__ == "drain"
        assert await loop.create_task(coro) is None
        with pytest.warns(RuntimeWarning, match="drain' was never awaited"):
            writer.drain()


async def test_wrong_data_is_refused(loop, flavour):
    async with connected(flavour) as (reader, writer, peer):
        for wrong in ("text", 7, None):
            with pytest.raises(TypeError):
                writer.write(wrong)
        with pytest.raises(TypeError):
            writer.writelines([b"x", "text"])
        assert writer.write(data=b"right") is None
        assert writer.writelines(data=[b" and ", bytearray(b"more")]) is None
        assert await recv_exactly(peer, 14) == b"right and more"


async def test_write_after_write_eof_is_refused(loop, flavour):
    async with connected(flavour) as (reader, writer, peer):
        assert writer.can_write_eof()
        writer.write(b"all")
        writer.write_eof()
        with pytest.raises(RuntimeError, match="after write_eof"):
            writer.write(b"more")
        assert await recv_until_eof(peer) == b"all"


async def test_transports_own_write_may_be_replaced(loop, flavour):
    if not flavour.ours and sys.version_info < (3, 11):
        pytest.skip("asyncio's transports have slots")
    async with connected(flavour) as (reader, writer, peer):
        written = []
        try:
            writer.transport.write = written.append
        except AttributeError:
            pytest.skip("no attribute can be set")
        writer.write(b"x")
        assert written == [b"x"]
        del writer.transport.write


async def test_extra_info_and_repr(loop, flavour):
    async with connected(flavour) as (reader, writer, peer):
        assert writer.get_extra_info("socket").fileno() >= 0
        assert writer.get_extra_info("nothing", "default") == "default"
        text = repr(writer)
        assert text.startswith("<StreamWriter transport=<")
        assert "reader=<StreamReader transport=<" in text


# --- The callback of a server ---

async def test_callback_may_be_a_plain_function(loop, flavour):
    made = []

    def callback(reader, writer):
        made.append(reader)
        writer.write(b"hello")
        writer.close()

    async with serving(flavour, callback) as address:
        reader, writer = await fast_streams.of(flavour).open_connection(*address)
        assert await soon(reader.read()) == b"hello"
        await end(writer)
    assert len(made) == 1


@pytest.mark.skipif(sys.version_info < (3, 12),
                    reason="asyncio reports it from 3.12 on")
async def test_error_in_the_callback_is_reported(loop, flavour):
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))

    async def callback(reader, writer):
        raise ValueError("of the callback")

    async with serving(flavour, callback) as address:
        reader, writer = await fast_streams.of(flavour).open_connection(*address)
        assert await soon(reader.read()) == b""
        await end(writer)
    assert reports[0]["message"] == "Unhandled exception in client_connected_cb"
    assert str(reports[0]["exception"]) == "of the callback"
    assert isinstance(reports[0]["transport"], asyncio.Transport)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interrupt_of_a_waiting_task_leaves_the_loop(loop, flavour, error):
    async def read(reader):
        await reader.read(1)
        raise error

    async def main():
        async with connected(flavour) as (reader, writer, peer):
            reading = loop.create_task(read(reader))
            await turns()
            peer.send(b"x")
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(PATIENCE)
            return reading

    task = loop.create_task(main())
    with pytest.raises(error):
        loop.run_until_complete(task)
    task.cancel()
    reading = loop.run_until_complete(task)
    assert isinstance(reading.exception(), error)


# --- What is left behind ---

@pytest.mark.skipif(sys.version_info < (3, 13), reason="warns from 3.13 on")
@pytest.mark.untidy
async def test_unclosed_writer_warns(loop, flavour):
    ours, peer = socket.socketpair()
    reader, writer = await fast_streams.of(flavour).open_connection(sock=ours)
    with pytest.warns(ResourceWarning, match="unclosed <StreamWriter"):
        del reader, writer
        gc.collect()
    await turns()
    peer.close()


async def test_collected_reader_closes_nothing(loop, flavour):
    async with connected(flavour) as (reader, writer, peer):
        writer._reader = None
        del reader
        gc.collect()
        peer.send(b"for nobody")
        writer.write(b"still")
        assert await recv_exactly(peer, 5) == b"still"


async def test_cycle_of_reader_writer_and_task_is_collected(loop, flavour):
    import weakref

    async def callback(reader, writer):
        reader.cycle = writer
        writer.cycle = reader
        await echo(reader, writer)

    gone = []
    async with serving(flavour, callback) as address:
        reader, writer = await fast_streams.of(flavour).open_connection(*address)
        reader.cycle = writer
        gone.append(weakref.ref(reader))
        await end(writer)
    del reader, writer
    await turns()
    gc.collect()
    assert gone[0]() is None


async def test_open_connection_that_fails(loop, flavour):
    with socket.create_server((LOOPBACK, 0)) as listener:
        address = listener.getsockname()
    with pytest.raises(ConnectionRefusedError):
        await fast_streams.of(flavour).open_connection(*address)
