# SPDX-License-Identifier: Apache-2.0
"""The write side of a transport: order, limits, pause_writing, closing."""

import array
import asyncio
import os
import time

import pytest

from support import (
    PATIENCE,
    HalfOpenRecorder,
    Recorder,
    recv_exactly,
    recv_until_eof,
    reset,
    settle,
    transport_and_peer,
    turns,
    until,
)

pytestmark = pytest.mark.stream

SMALL = {"sndbuf": 65536}
BIG = b"x" * (2 << 20)


async def test_written_bytes_arrive(loop):
    async with transport_and_peer() as (transport, _, peer):
        assert transport.write(b"hello") is None
        assert await recv_exactly(peer, 5) == b"hello"


async def test_writes_of_one_turn_arrive_in_order(loop):
    async with transport_and_peer() as (transport, _, peer):
        for number in range(1000):
            transport.write(b"%04d" % number)
        expected = b"".join(b"%04d" % number for number in range(1000))
        assert await recv_exactly(peer, len(expected)) == expected


async def test_writes_larger_than_the_socket_arrive_whole(loop):
    data = os.urandom(1_500_000)
    async with transport_and_peer(**SMALL) as (transport, _, peer):
        transport.write(data)
        assert await recv_exactly(peer, len(data)) == data


async def test_small_and_large_writes_mixed_arrive_in_order(loop):
    pieces = [os.urandom(size) for size in
              (1, 70_000, 3, 0, 200_000, 65_536, 5, 1, 300_000, 2) * 3]
    async with transport_and_peer(**SMALL) as (transport, _, peer):
        for piece in pieces:
            transport.write(piece)
            await asyncio.sleep(0)
        expected = b"".join(pieces)
        assert await recv_exactly(peer, len(expected)) == expected


async def test_bytes_reach_the_peer_without_another_turn_of_ours(loop):
    """A callback that writes and then works long must not delay others; a
    write is on its way when the turn ends, with no timer and no event."""
    async with transport_and_peer() as (transport, _, peer):
        transport.write(b"now")
        await turns(2)
        peer.setblocking(True)
        peer.settimeout(PATIENCE)
        assert peer.recv(3) == b"now"


@pytest.mark.parametrize("data", [
    b"bytes", bytearray(b"bytearray"), memoryview(b"memoryview"),
    memoryview(b"a longer one")[2:8],
    memoryview(array.array("i", [1, 2, 3])),
    memoryview(bytearray(b"mutable view")),
], ids=["bytes", "bytearray", "memoryview", "slice", "array", "mutable"])
async def test_any_bytes_like_can_be_written(loop, data):
    expected = bytes(data)
    async with transport_and_peer() as (transport, _, peer):
        transport.write(data)
        assert await recv_exactly(peer, len(expected)) == expected


@pytest.mark.parametrize("data", ["text", None, 5, [b"x"], object()])
async def test_what_is_not_bytes_like_is_a_type_error(loop, data):
    async with transport_and_peer() as (transport, _, _):
        with pytest.raises(TypeError,
                           match="data argument must be a bytes"):
            transport.write(data)


async def test_type_error_leaves_the_transport_usable(loop):
    async with transport_and_peer() as (transport, _, peer):
        with pytest.raises(TypeError):
            transport.write("text")
        transport.write(b"fine")
        assert await recv_exactly(peer, 4) == b"fine"


async def test_empty_write_sends_nothing(loop):
    async with transport_and_peer() as (transport, protocol, peer):
        transport.write(b"")
        transport.write(bytearray())
        await settle()
        with pytest.raises(BlockingIOError):
            peer.recv(1)
        assert protocol.calls == ["made"]


async def test_bytearray_changed_in_the_next_turn_is_sent_as_it_was(loop):
    data = bytearray(b"original")
    async with transport_and_peer() as (transport, _, peer):
        transport.write(data)
        await settle()
        data[:] = b"mutation"
        assert await recv_exactly(peer, 8) == b"original"


@pytest.mark.asyncio_is_worse("it keeps a view of the caller's buffer")
async def test_bytearray_changed_right_after_write_is_sent_as_it_was(loop):
    data = bytearray(b"original" * 200_000)
    expected = bytes(data)
    async with transport_and_peer(**SMALL) as (transport, _, peer):
        transport.write(data)
        data[:] = b"mutation" * 200_000
        assert await recv_exactly(peer, len(expected)) == expected


async def test_bytearray_can_be_resized_after_write(loop):
    """A buffer still exported would raise BufferError."""
    data = bytearray(b"original")
    async with transport_and_peer() as (transport, _, peer):
        transport.write(data)
        await settle()
        data.clear()
        assert await recv_exactly(peer, 8) == b"original"


async def test_writelines_sends_all_pieces_in_order(loop):
    async with transport_and_peer() as (transport, _, peer):
        transport.writelines([b"one", bytearray(b"two"), memoryview(b"three")])
        assert await recv_exactly(peer, 11) == b"onetwothree"


async def test_writelines_of_thousands_of_pieces_arrives_in_order(loop):
    """More pieces than one writev takes."""
    pieces = [b"%05d" % number for number in range(5000)]
    async with transport_and_peer(**SMALL) as (transport, _, peer):
        transport.writelines(pieces)
        expected = b"".join(pieces)
        assert await recv_exactly(peer, len(expected)) == expected


async def test_writelines_accepts_any_iterable(loop):
    async with transport_and_peer() as (transport, _, peer):
        transport.writelines(piece for piece in (b"a", b"b", b"c"))
        assert await recv_exactly(peer, 3) == b"abc"


async def test_writelines_of_nothing_sends_nothing(loop):
    async with transport_and_peer() as (transport, _, peer):
        transport.writelines([])
        transport.write(b"x")
        assert await recv_exactly(peer, 1) == b"x"


@pytest.mark.parametrize("wrong", [[b"fine", "text"], [5], 5])
async def test_writelines_of_what_is_not_bytes_is_a_type_error(loop, wrong):
    async with transport_and_peer() as (transport, _, _):
        with pytest.raises(TypeError):
            transport.writelines(wrong)


async def test_write_and_writelines_keep_their_order(loop):
    async with transport_and_peer(**SMALL) as (transport, _, peer):
        expected = b""
        for number in range(300):
            one, two, three = (b"%d" % number * 50 for _ in range(3))
            transport.write(one)
            transport.writelines([two, three])
            expected += one + two + three
        assert await recv_exactly(peer, len(expected)) == expected


async def test_write_buffer_is_empty_when_all_is_sent(loop):
    async with transport_and_peer() as (transport, _, peer):
        assert transport.get_write_buffer_size() == 0
        transport.write(b"x" * 1000)
        await recv_exactly(peer, 1000)
        await until(lambda: transport.get_write_buffer_size() == 0)


async def test_write_buffer_size_counts_what_the_peer_has_no_room_for(loop):
    async with transport_and_peer(**SMALL) as (transport, _, peer):
        transport.write(BIG)
        await settle()
        size = transport.get_write_buffer_size()
        assert len(BIG) // 2 < size <= len(BIG)
        received = len(await recv_exactly(peer, 1 << 20))
        await settle()
        assert transport.get_write_buffer_size() < size
        assert received >= 1 << 20


async def test_default_limits_are_16_and_64_kib(loop):
    async with transport_and_peer() as (transport, _, _):
        assert transport.get_write_buffer_limits() == (16384, 65536)


@pytest.mark.parametrize("arguments, limits", [
    (dict(high=1000), (250, 1000)),
    (dict(low=1000), (1000, 4000)),
    (dict(high=1000, low=10), (10, 1000)),
    (dict(high=0), (0, 0)),
    (dict(), (16384, 65536)),
])
async def test_limits_can_be_set(loop, arguments, limits):
    async with transport_and_peer() as (transport, _, _):
        transport.set_write_buffer_limits(**arguments)
        assert transport.get_write_buffer_limits() == limits


@pytest.mark.parametrize("arguments", [
    dict(high=-1), dict(low=-1), dict(high=10, low=11)])
async def test_limits_that_do_not_fit_are_a_value_error(loop, arguments):
    async with transport_and_peer() as (transport, _, _):
        with pytest.raises(ValueError, match="must be >= low"):
            transport.set_write_buffer_limits(**arguments)
        assert transport.get_write_buffer_limits() == (16384, 65536)


async def test_pause_writing_comes_above_the_high_mark_once(loop):
    async with transport_and_peer(**SMALL) as (transport, protocol, _):
        transport.write(BIG)
        await turns()
        assert protocol.calls == ["made", "pause"]
        transport.write(BIG)
        await turns()
        assert protocol.calls == ["made", "pause"]


async def test_resume_writing_comes_when_the_buffer_drained(loop):
    async with transport_and_peer(**SMALL) as (transport, protocol, peer):
        transport.write(BIG)
        await turns()
        assert protocol.calls == ["made", "pause"]
        await recv_exactly(peer, len(BIG))
        await until(lambda: "resume" in protocol.calls)
        assert protocol.calls == ["made", "pause", "resume"]
        assert transport.get_write_buffer_size() <= 16384


async def test_small_writes_that_fit_never_pause(loop):
    async with transport_and_peer() as (transport, protocol, peer):
        for _ in range(50):
            transport.write(b"x" * 1000)
            await recv_exactly(peer, 1000)
        assert protocol.calls == ["made"]


async def test_high_mark_zero_does_not_pause_what_the_socket_takes(loop):
    """asyncio sends at once; a loop that gathers writes must flush first."""
    async with transport_and_peer() as (transport, protocol, peer):
        transport.set_write_buffer_limits(high=0)
        for _ in range(10):
            transport.write(b"x" * 100)
            await recv_exactly(peer, 100)
        assert protocol.calls == ["made"]


async def test_high_mark_zero_pauses_on_the_first_byte_left(loop):
    async with transport_and_peer(**SMALL) as (transport, protocol, peer):
        transport.set_write_buffer_limits(high=0)
        transport.write(BIG)
        await turns()
        assert protocol.calls == ["made", "pause"]
        await recv_exactly(peer, len(BIG))
        await until(lambda: "resume" in protocol.calls)
        assert transport.get_write_buffer_size() == 0


async def test_stream_writer_drain_waits_for_room(loop):
    async with transport_and_peer(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()),
            **SMALL) as (transport, protocol, peer):
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        writer.write(BIG)
        draining = loop.create_task(writer.drain())
        await settle()
        assert not draining.done()
        await recv_exactly(peer, len(BIG))
        await asyncio.wait_for(draining, PATIENCE)


async def test_exception_in_pause_writing_is_reported(loop):
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(context))

    class Failing(Recorder):
        def pause_writing(self):
            raise ZeroDivisionError

    async with transport_and_peer(Failing, **SMALL) as (transport, _, peer):
        transport.write(BIG)
        await turns()
        assert seen[0]["message"] == "protocol.pause_writing() failed"
        assert isinstance(seen[0]["exception"], ZeroDivisionError)
        await recv_exactly(peer, len(BIG))


async def test_close_sends_what_was_written_first(loop):
    data = os.urandom(1_500_000)
    async with transport_and_peer(**SMALL) as (transport, protocol, peer):
        transport.write(data)
        transport.close()
        assert await recv_until_eof(peer) == data
        assert await asyncio.wait_for(protocol.lost, PATIENCE) is None


async def test_close_right_after_a_small_write_sends_it(loop):
    async with transport_and_peer() as (transport, protocol, peer):
        transport.write(b"last words")
        transport.close()
        assert await recv_until_eof(peer) == b"last words"
        assert await asyncio.wait_for(protocol.lost, PATIENCE) is None


async def test_connection_lost_waits_for_the_buffer_to_drain(loop):
    async with transport_and_peer(**SMALL) as (transport, protocol, peer):
        transport.write(BIG)
        transport.close()
        await settle()
        assert not protocol.lost.done()
        await recv_until_eof(peer)
        assert await asyncio.wait_for(protocol.lost, PATIENCE) is None


async def test_abort_drops_what_was_not_sent(loop):
    async with transport_and_peer(**SMALL) as (transport, protocol, peer):
        transport.write(BIG)
        transport.abort()
        assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
        try:
            received = await recv_until_eof(peer)
        except ConnectionResetError:
            received = b""
        assert len(received) < len(BIG)


async def test_abort_after_close_ends_a_close_that_cannot_drain(loop):
    async with transport_and_peer(**SMALL) as (transport, protocol, _):
        transport.write(BIG)
        transport.close()
        await settle()
        assert not protocol.lost.done()
        transport.abort()
        assert await asyncio.wait_for(protocol.lost, PATIENCE) is None


async def test_write_after_close_is_dropped(loop):
    async with transport_and_peer() as (transport, protocol, peer):
        transport.write(b"before")
        transport.close()
        try:
            transport.write(b"after")
        except RuntimeError:
            pass
        await protocol.lost
        data = await recv_until_eof(peer)
        assert data in (b"before", b"beforeafter")


async def test_write_after_connection_lost_is_dropped(loop, asyncio_errors):
    async with transport_and_peer() as (transport, protocol, _):
        transport.abort()
        await protocol.lost
        for _ in range(3):
            transport.write(b"nobody hears this")
        await settle()
        assert protocol.calls == ["made", "lost"]


async def test_repeated_writes_to_a_lost_connection_warn(loop, caplog):
    async with transport_and_peer() as (transport, protocol, _):
        transport.abort()
        await protocol.lost
        for _ in range(10):
            transport.write(b"x")
        assert "socket.send() raised exception." in caplog.messages


async def test_write_to_a_reset_connection_ends_it_once(loop):
    async with transport_and_peer(HalfOpenRecorder) as (
            transport, protocol, peer):
        transport.pause_reading()
        await turns()
        reset(peer)
        transport.write(BIG)
        exc = await asyncio.wait_for(protocol.lost, PATIENCE)
        assert isinstance(exc, (ConnectionResetError, BrokenPipeError))
        await settle()
        assert protocol.calls.count("lost") == 1


async def test_write_blocked_by_a_full_peer_that_resets_ends(loop):
    async with transport_and_peer(**SMALL) as (transport, protocol, peer):
        transport.write(BIG)
        await settle()
        reset(peer)
        exc = await asyncio.wait_for(protocol.lost, PATIENCE)
        assert isinstance(exc, (ConnectionResetError, BrokenPipeError))


async def test_write_from_connection_lost_is_harmless(loop):
    class Late(Recorder):
        def connection_lost(self, exc):
            super().connection_lost(exc)
            self.transport.write(b"too late")
            self.transport.close()
            self.transport.abort()

    async with transport_and_peer(Late) as (transport, protocol, _):
        transport.close()
        await protocol.lost
        assert protocol.calls == ["made", "lost"]


def test_write_while_the_loop_does_not_run_is_sent_when_it_does(loop):
    from support import tcp_socket_pair
    ours, peer = tcp_socket_pair()

    async def connect():
        return await loop.create_connection(Recorder, sock=ours)

    transport, protocol = loop.run_until_complete(connect())
    transport.write(b"outside")

    async def receive():
        return await recv_exactly(peer, 7)

    assert loop.run_until_complete(receive()) == b"outside"
    transport.close()

    async def lost():
        await protocol.lost

    loop.run_until_complete(lost())
    peer.close()


async def test_written_objects_are_released_after_sending(loop):
    import weakref

    class Data(bytearray):
        pass

    data = Data(b"x" * 100_000)
    gone = weakref.ref(data)
    async with transport_and_peer() as (transport, _, peer):
        transport.write(data)
        del data
        await recv_exactly(peer, 100_000)
        await turns()
        assert gone() is None


async def test_unsent_objects_are_released_on_abort(loop):
    import weakref

    class Data(bytearray):
        pass

    async with transport_and_peer(**SMALL) as (transport, protocol, _):
        refs = []
        for _ in range(20):
            data = Data(1 << 20)
            refs.append(weakref.ref(data))
            transport.write(data)
            del data
        transport.abort()
        await protocol.lost
        await turns()
        assert [ref for ref in refs if ref() is not None] == []


async def test_full_duplex_streams_do_not_block_each_other(loop):
    from support import tcp_pair
    data = os.urandom(1_500_000)
    async with tcp_pair() as (served, client):
        served.transport.write(data)
        client.transport.write(data[::-1])
        await client.received(len(data))
        await served.received(len(data))
        assert client.data == data
        assert served.data == data[::-1]


async def test_can_write_eof_is_true(loop):
    async with transport_and_peer() as (transport, _, _):
        assert transport.can_write_eof() is True


async def test_output_leaves_before_a_long_turn_has_ended(loop):
    """What one callback wrote does not wait for the slow ones after it."""
    async with transport_and_peer() as (transport, _, peer):
        peer.setblocking(False)
        seen = loop.create_future()

        def look():
            try:
                seen.set_result(peer.recv(100))
            except BlockingIOError as exc:
                seen.set_exception(exc)

        loop.call_soon(transport.write, b"early")
        loop.call_soon(time.sleep, 0.002)
        loop.call_soon(look)
        assert await seen == b"early"
