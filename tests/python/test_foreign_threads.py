# SPDX-License-Identifier: Apache-2.0
"""Transports called by threads that do not run their loop. asyncio forbids it
and mostly survives it; here the calls move to the loop's thread. Without a GIL
they are refused."""

import asyncio
import os
import random
import socket
import sysconfig
import threading
import time

import pytest

import datagrams
from support import (
    PATIENCE,
    Recorder,
    recv_exactly,
    recv_until_eof,
    settle,
    tcp_socket_pair,
    transport_and_peer,
    turns,
    until,
)

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

pytestmark = pytest.mark.stream
needs_gil = pytest.mark.skipif(
    FREE_THREADED, reason="without a GIL the calls are refused")


def by_stranger(function, *args, **kwargs):
    """Call function on a thread of its own; what it returned or raised."""
    outcome = []

    def target():
        try:
            outcome.append(function(*args, **kwargs))
        except Exception as exc:
            outcome.append(exc)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    return outcome[0]


# --- streams -----------------------------------------------------------------

@needs_gil
async def test_writes_arrive_in_order(loop):
    async with transport_and_peer() as (transport, _, peer):
        given = bytearray(b"changed later ")
        assert by_stranger(transport.write, b"one ") is None
        assert by_stranger(transport.write, given) is None
        given[:] = bytes(len(given))
        assert by_stranger(transport.write, data=memoryview(b"two ")) is None
        assert by_stranger(transport.writelines,
                           [b"three", bytearray(b" "), b"four"]) is None
        assert by_stranger(transport.writelines, []) is None
        assert await recv_exactly(peer, 32) == (
            b"one changed later two three four")


@needs_gil
async def test_wrong_arguments_are_refused_where_they_are_passed(loop):
    async with transport_and_peer() as (transport, _, _):
        for call in (lambda: transport.write("text"),
                     lambda: transport.writelines([b"good", "text"])):
            assert isinstance(by_stranger(call), TypeError)
        raised = by_stranger(transport.set_write_buffer_limits, 1, 2)
        assert isinstance(raised, ValueError)
        assert transport.get_write_buffer_limits() == (16384, 65536)


@needs_gil
async def test_a_large_write_pauses_and_resumes(loop):
    data = os.urandom(3_000_000)
    async with transport_and_peer(sndbuf=65536, rcvbuf=65536) as (
            transport, protocol, peer):
        by_stranger(transport.write, data)
        await until(lambda: "pause" in protocol.calls)
        assert await recv_exactly(peer, len(data)) == data
        await until(lambda: "resume" in protocol.calls)


@needs_gil
async def test_limits_take_effect(loop):
    async with transport_and_peer(sndbuf=65536, rcvbuf=65536) as (
            transport, protocol, _):
        transport.set_write_buffer_limits(high=1 << 30)
        transport.write(bytes(3_000_000))
        await turns()
        assert protocol.calls == ["made"]
        assert by_stranger(transport.set_write_buffer_limits,
                           low=10, high=1000) is None
        assert transport.get_write_buffer_limits() == (10, 1000)
        await until(lambda: protocol.calls == ["made", "pause"])


@needs_gil
async def test_write_eof_and_close(loop):
    async with transport_and_peer() as (transport, protocol, peer):
        by_stranger(transport.write, b"the end")
        assert by_stranger(transport.write_eof) is None
        assert await recv_until_eof(peer) == b"the end"
        assert by_stranger(transport.close) is None
        assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
        assert by_stranger(transport.close) is None
        assert protocol.calls == ["made", "lost"]


@needs_gil
async def test_abort(loop):
    async with transport_and_peer() as (transport, protocol, _):
        assert by_stranger(transport.abort) is None
        assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
        by_stranger(transport.write, b"dropped")
        assert protocol.calls == ["made", "lost"]


@needs_gil
async def test_pause_and_resume_reading(loop):
    async with transport_and_peer() as (transport, protocol, peer):
        assert by_stranger(transport.pause_reading) is None
        await until(lambda: not transport.is_reading())
        peer.send(b"waits")
        await settle()
        assert protocol.data == b""
        assert by_stranger(transport.resume_reading) is None
        assert await protocol.received(5) == b"waits"


@needs_gil
@pytest.mark.parametrize("end", ["close", "abort"])
async def test_debug_mode_refuses_to_end(loop, end):
    async with transport_and_peer() as (transport, protocol, _):
        loop.set_debug(True)
        raised = by_stranger(getattr(transport, end))
        loop.set_debug(False)
        assert str(raised).startswith("Non-thread-safe operation invoked")
        assert type(raised) is RuntimeError
        # asyncio's is half closed now: its end was not scheduled.
        transport._force_close(None)
        if not transport._conn_lost or not protocol.lost.done():
            transport._loop.call_soon(
                transport._call_connection_lost, None)
        await protocol.lost


@pytest.mark.skipif(not FREE_THREADED, reason="has a GIL")
@pytest.mark.asyncio_is_worse("it has no check")
async def test_without_a_gil_every_call_is_refused(loop):
    async with transport_and_peer() as (transport, protocol, peer):
        for name, *args in [
                ("write", b"x"), ("writelines", [b"x"]), ("write_eof",),
                ("close",), ("abort",), ("pause_reading",),
                ("set_write_buffer_limits",), ("set_protocol", protocol)]:
            raised = by_stranger(getattr(transport, name), *args)
            assert type(raised) is RuntimeError, name
        transport.write(b"still open")
        assert await recv_exactly(peer, 10) == b"still open"


# --- datagrams ---------------------------------------------------------------

@needs_gil
async def test_datagrams(loop):
    async with datagrams.endpoint() as (left, sender), \
            datagrams.endpoint() as (right, receiver):
        address = right.get_extra_info("sockname")
        given = bytearray(b"two")
        by_stranger(left.sendto, b"one", address)
        by_stranger(left.sendto, given, addr=address)
        given[:] = b"xxx"
        assert await receiver.received(2) == [b"one", b"two"]
        assert isinstance(by_stranger(left.sendto, "text", address), TypeError)
        by_stranger(right.set_write_buffer_limits, high=10, low=1)
        assert right.get_write_buffer_limits() == (1, 10)
        assert by_stranger(left.close) is None
        assert await asyncio.wait_for(sender.lost, PATIENCE) is None
        assert by_stranger(right.abort) is None
        assert await asyncio.wait_for(receiver.lost, PATIENCE) is None


# --- pipes -------------------------------------------------------------------

@needs_gil
async def test_pipes(loop):
    to_read, to_write = os.pipe()
    reading, reader = await loop.connect_read_pipe(
        Recorder, open(to_read, "rb", 0))
    writing, writer = await loop.connect_write_pipe(
        Recorder, open(to_write, "wb", 0))
    given = bytearray(b"changed ")
    by_stranger(writing.write, b"through ")
    by_stranger(writing.write, given)
    given[:] = bytes(len(given))
    assert await reader.received(16) == b"through changed "
    by_stranger(reading.pause_reading)
    await turns()
    by_stranger(writing.write, b"late")
    await settle()
    assert len(reader.data) == 16
    by_stranger(reading.resume_reading)
    assert await reader.received(20) == b"through changed late"
    assert by_stranger(writing.close) is None
    assert await asyncio.wait_for(writer.lost, PATIENCE) is None
    assert await asyncio.wait_for(reader.lost, PATIENCE) is None


# --- readiness ---------------------------------------------------------------

@needs_gil
def test_a_reader_that_a_stranger_adds_wakes_a_loop_that_sleeps(loop):
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    got = []

    def readable():
        got.append(ours.recv(10))
        loop.remove_reader(ours)
        loop.stop()

    def stranger():
        started.wait(PATIENCE)
        loop.add_reader(ours, readable)
        peer.send(b"news")

    started = threading.Event()
    thread = threading.Thread(target=stranger)
    thread.start()
    loop.call_soon(started.set)
    loop.call_later(PATIENCE, loop.stop)
    loop.run_forever()
    thread.join()
    ours.close()
    peer.close()
    assert got == [b"news"]


# --- all at once -------------------------------------------------------------

SECONDS = 0.6
PAUSE = 0.0001           # or the loop would only run what they have posted

# What strangers may do at any moment. None of it raises on an open loop.
STREAM_CALLS = [
    lambda transport, dice: transport.write(b"x" * dice.choice([1, 2000])),
    lambda transport, dice: transport.write(bytearray(b"y" * 70_000)),
    lambda transport, dice: transport.writelines([b"a", bytearray(b"b")]),
    lambda transport, dice: transport.pause_reading(),
    lambda transport, dice: transport.resume_reading(),
    lambda transport, dice: transport.set_write_buffer_limits(
        dice.choice([0, 1, 1000, 1 << 20])),
    lambda transport, dice: transport.get_write_buffer_size(),
    lambda transport, dice: transport.is_closing(),
    lambda transport, dice: transport.get_extra_info("socket"),
    lambda transport, dice: repr(transport),
]
ENDINGS = [
    lambda transport, dice: transport.close(),
    lambda transport, dice: transport.abort(),
]


@pytest.fixture
def silent(monkeypatch):
    """What is written to lost connections is not logged."""
    monkeypatch.setattr(asyncio.log.logger, "warning", lambda *args: None)


class Busy:
    """Transports that strangers pull at while the loop's thread makes, uses
    and ends them."""

    def __init__(self, loop):
        self.loop = loop
        self.transports = []
        self.raised = []
        self.stop = threading.Event()

    def pull(self, number):
        dice = random.Random(number)
        while not self.stop.is_set():
            time.sleep(PAUSE)
            try:
                transport = dice.choice(self.transports)
                calls = STREAM_CALLS if dice.random() < 0.98 else ENDINGS
                dice.choice(calls)(transport, dice)
            except BaseException as exc:
                self.raised.append(exc)

    async def replace(self, place):
        """A new stream and its peer; the one before it is ended."""
        old = self.transports[place:place + 1]
        ours, peer = tcp_socket_pair()
        transport, _ = await self.loop.create_connection(
            Recorder, sock=ours)
        self.transports[place:place + 1] = [transport]
        return old, peer


@pytest.mark.asyncio_is_worse("its selector is changed by two threads")
@needs_gil
@pytest.mark.slow(60)
def test_threads_pull_at_streams(loop, silent):
    busy = Busy(loop)
    dice = random.Random(7)

    async def main():
        peers = [(await busy.replace(place))[1] for place in range(6)]
        threads = [threading.Thread(target=busy.pull, args=(number,))
                   for number in range(4)]
        for thread in threads:
            thread.start()
        deadline = loop.time() + SECONDS
        try:
            while loop.time() < deadline:
                for peer in peers:
                    try:
                        peer.send(b"z" * 500)
                        peer.recv(1 << 20)
                    except OSError:
                        pass
                place = dice.randrange(len(peers))
                if busy.transports[place].is_closing():
                    _, peer = await busy.replace(place)
                    peers[place].close()
                    peers[place] = peer
                await asyncio.sleep(0.0005)
        finally:
            busy.stop.set()
            for thread in threads:
                thread.join()
        for transport, peer in zip(busy.transports, peers):
            transport.abort()
            peer.close()
        await settle()

    loop.run_until_complete(main())
    assert busy.raised == []


@pytest.mark.asyncio_is_worse("its selector is changed by two threads")
@needs_gil
@pytest.mark.slow(60)
def test_threads_pull_at_datagrams_and_pipes(loop, silent):
    raised, stop = [], threading.Event()

    def pull(number, left, address, writing, reading):
        dice = random.Random(number)
        calls = [
            lambda: left.sendto(b"x" * dice.randrange(1, 2000), address),
            lambda: left.sendto(bytearray(b"y" * 5000), address),
            lambda: left.set_write_buffer_limits(dice.randrange(10_000)),
            lambda: writing.write(b"z" * dice.choice([1, 5000, 70_000])),
            lambda: writing.set_write_buffer_limits(dice.randrange(10_000)),
            lambda: writing.get_write_buffer_size(),
            reading.pause_reading, reading.resume_reading,
            left.is_closing, lambda: repr(writing), lambda: repr(left),
        ]
        while not stop.is_set():
            time.sleep(PAUSE)
            try:
                dice.choice(calls)()
            except BaseException as exc:
                raised.append(exc)

    async def main():
        to_read, to_write = os.pipe()
        reading, reader = await loop.connect_read_pipe(
            Recorder, open(to_read, "rb", 0))
        writing, writer = await loop.connect_write_pipe(
            Recorder, open(to_write, "wb", 0))
        async with datagrams.endpoint() as (left, _), \
                datagrams.endpoint() as (right, receiver):
            address = right.get_extra_info("sockname")
            threads = [
                threading.Thread(target=pull, args=(
                    number, left, address, writing, reading))
                for number in range(4)]
            for thread in threads:
                thread.start()
            await asyncio.sleep(SECONDS)
            by_stranger(writing.abort)
            await asyncio.sleep(SECONDS / 10)
            stop.set()
            for thread in threads:
                thread.join()
            await asyncio.wait_for(writer.lost, PATIENCE)
            reading.resume_reading()
            await asyncio.wait_for(reader.lost, PATIENCE)
            assert receiver.got

    loop.run_until_complete(main())
    assert raised == []
