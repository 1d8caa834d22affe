# SPDX-License-Identifier: Apache-2.0
"""StreamReader fed by hand: asyncio's on asyncio, ours on our loops."""

import asyncio
import collections.abc
import sys

import pytest

import fast_streams
from fast_streams import FakeTransport
from support import PATIENCE, turns

needs_tuples = sys.version_info >= (3, 13)


@pytest.fixture
def make(flavour, loop):
    def reader(**options):
        return fast_streams.of(flavour).StreamReader(loop=loop, **options)

    return reader


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, PATIENCE)


# --- Reads ---

async def test_reader_is_asyncios_by_isinstance(loop, make):
    reader = make()
    assert isinstance(reader, asyncio.StreamReader)
    assert reader._limit == 2 ** 16
    assert reader._loop is loop
    assert reader._waiter is None and reader._transport is None
    assert reader._eof is False and reader._paused is False


async def test_read_takes_what_is_there(loop, make):
    reader = make()
    reader.feed_data(b"abcdef")
    assert await soon(reader.read(4)) == b"abcd"
    assert await soon(reader.read(4)) == b"ef"
    reader.feed_eof()
    assert await soon(reader.read(4)) == b""
    assert reader.at_eof()


async def test_read_zero_returns_at_once(loop, make):
    assert await soon(make().read(0)) == b""


@pytest.mark.parametrize("arguments", [(), (-1,), (-5,)])
async def test_read_all_waits_for_the_end(loop, make, arguments):
    reader = make()
    reading = loop.create_task(reader.read(*arguments))
    for piece in (b"one", b"two", b"three"):
        await turns()
        reader.feed_data(piece)
    await turns()
    assert not reading.done()
    reader.feed_eof()
    assert await soon(reading) == b"onetwothree"


async def test_read_takes_its_argument_by_name(loop, make):
    reader = make()
    reader.feed_data(b"abc\n")
    assert await soon(reader.read(n=1)) == b"a"
    assert await soon(reader.readexactly(n=1)) == b"b"
    assert await soon(reader.readuntil(separator=b"\n")) == b"c\n"


async def test_read_exactly_over_pieces(loop, make):
    reader = make()
    reading = loop.create_task(reader.readexactly(7))
    for piece in (b"abc", b"def", b"ghi"):
        await turns()
        reader.feed_data(piece)
    assert await soon(reading) == b"abcdefg"
    assert await soon(reader.read(10)) == b"hi"


async def test_read_exactly_at_the_end_tells_what_there_was(loop, make):
    reader = make()
    reader.feed_data(b"abc")
    reader.feed_eof()
    with pytest.raises(asyncio.IncompleteReadError) as raised:
        await soon(reader.readexactly(4))
    assert (raised.value.partial, raised.value.expected) == (b"abc", 4)
    assert reader.at_eof()


async def test_read_exactly_refuses_a_negative_size(loop, make):
    with pytest.raises(ValueError, match="readexactly size can not be less"):
        await soon(make().readexactly(-1))


async def test_lines(loop, make):
    reader = make()
    reader.feed_data(b"one\ntwo\nthr")
    assert await soon(reader.readline()) == b"one\n"
    assert await soon(reader.readline()) == b"two\n"
    reading = loop.create_task(reader.readline())
    await turns()
    reader.feed_data(b"ee\nfour")
    assert await soon(reading) == b"three\n"
    reader.feed_eof()
    assert await soon(reader.readline()) == b"four"
    assert await soon(reader.readline()) == b""


async def test_async_for_gives_lines(loop, make):
    reader = make()
    reader.feed_data(b"one\ntwo\nthree")
    reader.feed_eof()
    assert [line async for line in reader] == [b"one\n", b"two\n", b"three"]


async def test_separator_over_two_pieces(loop, make):
    reader = make()
    reading = loop.create_task(reader.readuntil(b"SEP"))
    for piece in (b"data", b"S", b"E", b"Pmore"):
        await turns()
        reader.feed_data(piece)
    assert await soon(reading) == b"dataSEP"
    assert await soon(reader.read(9)) == b"more"


@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_separator_of_another_kind(loop, make, kind):
    reader = make()
    reader.feed_data(b"one;two")
    assert await soon(reader.readuntil(kind(b";"))) == b"one;"


async def test_end_before_the_separator(loop, make):
    reader = make()
    reader.feed_data(b"some")
    reader.feed_eof()
    with pytest.raises(asyncio.IncompleteReadError) as raised:
        await soon(reader.readuntil(b";"))
    assert (raised.value.partial, raised.value.expected) == (b"some", None)


async def test_empty_separator_is_refused(loop, make):
    with pytest.raises(ValueError, match="at least one-byte"):
        await soon(make().readuntil(b""))


async def test_wrong_separator_is_refused(loop, make):
    reader = make()
    reader.feed_data(b"some text")
    with pytest.raises(TypeError):
        await soon(reader.readuntil("text"))
    with pytest.raises(TypeError):
        await soon(reader.readuntil(7))
    assert await soon(reader.read(9)) == b"some text"


async def test_tuple_of_separators(loop, flavour, make):
    if not flavour.ours and not needs_tuples:
        pytest.skip("asyncio takes a tuple from 3.13 on; ours always does")
    reader = make()
    reader.feed_data(b"one;two\nthree;\nfour")
    assert await soon(reader.readuntil((b"\n", b";"))) == b"one;"
    assert await soon(reader.readuntil((b";", b"\n"))) == b"two\n"
    assert await soon(reader.readuntil((b"e;\n", b";\n"))) == b"three;\n"
    with pytest.raises(ValueError, match="at least one element"):
        await soon(reader.readuntil(()))
    with pytest.raises(ValueError, match="at least one-byte"):
        await soon(reader.readuntil((b";", b"")))


# --- Limits ---

@pytest.mark.parametrize("limit", [0, -1])
async def test_limit_must_be_positive(loop, make, limit):
    with pytest.raises(ValueError, match="Limit cannot be <= 0"):
        make(limit=limit)


async def test_limit_must_be_a_number(loop, make):
    with pytest.raises(TypeError):
        make(limit="many")


async def test_limit_can_be_raised_later(loop, make):
    reader = make(limit=2)
    reader._limit = 100
    reader.feed_data(b"a long line\n")
    assert await soon(reader.readline()) == b"a long line\n"


async def test_limit_may_be_infinite(loop, make):
    reader = make(limit=float("inf"))
    reader.feed_data(b"x" * 200_000 + b"\n")
    assert len(await soon(reader.readline())) == 200_001


async def test_separator_beyond_the_limit_leaves_all(loop, make):
    reader = make(limit=3)
    reader.feed_data(b"abcdef;")
    with pytest.raises(asyncio.LimitOverrunError, match="is found") as raised:
        await soon(reader.readuntil(b";"))
    assert raised.value.consumed == 6
    assert await soon(reader.read(10)) == b"abcdef;"


async def test_no_separator_within_the_limit_leaves_all(loop, make):
    reader = make(limit=3)
    reader.feed_data(b"abcdef")
    with pytest.raises(asyncio.LimitOverrunError, match="not found") as raised:
        await soon(reader.readuntil(b";;"))
    assert raised.value.consumed == 5
    assert await soon(reader.read(10)) == b"abcdef"


async def test_long_line_is_dropped_with_its_end(loop, make):
    reader = make(limit=3)
    reader.feed_data(b"abcdef\nok\n")
    with pytest.raises(ValueError, match="is found"):
        await soon(reader.readline())
    assert await soon(reader.readline()) == b"ok\n"


async def test_long_line_without_end_is_dropped(loop, make):
    reader = make(limit=3)
    reader.feed_data(b"abcdef")
    with pytest.raises(ValueError, match="not found"):
        await soon(reader.readline())
    reader.feed_data(b"ok\n")
    assert await soon(reader.readline()) == b"ok\n"


# --- Flow control ---

async def test_more_than_twice_the_limit_pauses(loop, make):
    reader, transport = make(limit=4), FakeTransport()
    reader.set_transport(transport)
    reader.feed_data(b"12345678")
    assert transport.calls == []
    reader.feed_data(b"9")
    assert transport.calls == ["pause"] and reader._paused
    assert await soon(reader.read(4)) == b"1234"
    assert transport.calls == ["pause"]
    assert await soon(reader.read(1)) == b"5"
    assert transport.calls == ["pause", "resume"] and not reader._paused


async def test_feeding_nothing_changes_nothing(loop, make):
    reader, transport = make(limit=1), FakeTransport()
    reader.set_transport(transport)
    reader.feed_data(b"123")
    reading = loop.create_task(reader.readexactly(4))
    await turns()
    reader.feed_data(b"")
    await turns()
    assert transport.calls == ["pause", "resume"] and not reading.done()
    reader.feed_data(b"4")
    assert await soon(reading) == b"1234"


async def test_wait_for_more_than_the_limit_resumes(loop, make):
    reader, transport = make(limit=2), FakeTransport()
    reader.set_transport(transport)
    reader.feed_data(b"12345")
    reading = loop.create_task(reader.readexactly(8))
    await turns()
    assert transport.calls == ["pause", "resume"]
    reader.feed_data(b"678")
    assert await soon(reading) == b"12345678"


@pytest.mark.parametrize("size", [1, -1])
async def test_read_at_the_end_resumes(loop, make, size):
    """After a read that took all and failed, which resumes nothing."""
    reader, transport = make(limit=1), FakeTransport()
    reader.set_transport(transport)
    reader.feed_data(b"abc")
    reader.feed_eof()
    with pytest.raises(asyncio.IncompleteReadError):
        await reader.readexactly(4)
    assert transport.calls == ["pause"]
    assert await reader.read(size) == b""
    assert transport.calls == ["pause", "resume"]


async def test_transport_that_cannot_pause_is_forgotten(loop, make):
    class Unstoppable(FakeTransport):
        def pause_reading(self):
            raise NotImplementedError

    reader = make(limit=2)
    reader.set_transport(Unstoppable())
    reader.feed_data(b"12345")
    assert reader._transport is None and not reader._paused


# --- Ends and errors ---

async def test_feed_after_the_end_is_a_fault(loop, make):
    reader = make()
    reader.feed_eof()
    with pytest.raises(AssertionError, match="feed_data after feed_eof"):
        reader.feed_data(b"x")


@pytest.mark.parametrize("read", [
    lambda reader: reader.read(1), lambda reader: reader.read(),
    lambda reader: reader.readexactly(3), lambda reader: reader.readline(),
    lambda reader: reader.readuntil(b";")])
async def test_exception_ends_reads(loop, make, read):
    reader = make()
    reading = loop.create_task(read(reader))
    await turns()
    reader.set_exception(ZeroDivisionError("boom"))
    with pytest.raises(ZeroDivisionError, match="boom"):
        await soon(reading)
    assert isinstance(reader.exception(), ZeroDivisionError)
    with pytest.raises(ZeroDivisionError, match="boom"):
        await soon(read(reader))


async def test_second_reader_is_refused(loop, make):
    reader = make()
    reading = loop.create_task(reader.readline())
    await turns()
    for second, name in ((reader.read(1), "read"), (reader.readline(), "readuntil"),
                         (reader.readexactly(1), "readexactly")):
        with pytest.raises(RuntimeError, match=rf"^{name}\(\) called while another"):
            await soon(second)
    reader.feed_data(b"line\n")
    assert await soon(reading) == b"line\n"


@pytest.mark.parametrize("read", [
    lambda reader: reader.read(5), lambda reader: reader.readexactly(5),
    lambda reader: reader.readline(), lambda reader: reader.readuntil(b"\n")])
async def test_cancelled_read_has_taken_nothing(loop, make, read):
    reader = make()
    reader.feed_data(b"")
    reading = loop.create_task(read(reader))
    await turns()
    reader.feed_data(b"line\n")      # and before the task runs again
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert reader._waiter is None
    assert await soon(read(reader)) == b"line\n"


@pytest.mark.asyncio_is_worse
async def test_cancelled_read_of_all_has_taken_nothing(loop, make):
    reader = make()
    reader.feed_data(b"one ")
    reading = loop.create_task(reader.read())
    await turns()
    reader.feed_data(b"two ")
    await turns()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    reader.feed_data(b"three")
    reader.feed_eof()
    assert await soon(reader.read()) == b"one two three"


async def test_read_with_a_timeout_can_be_repeated(loop, make):
    reader = make()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(reader.readexactly(2), 0.01)
    reader.feed_data(b"ab")
    assert await soon(reader.readexactly(2)) == b"ab"


# --- As coroutines ---

async def test_reads_are_coroutines(loop, make):
    reader = make()
    coro = reader.read(1)
    assert asyncio.iscoroutine(coro)
    assert isinstance(coro, collections.abc.Coroutine)
    assert coro.__name__ == "read" and coro.__qualname__ == "StreamReader.read"
    reader.feed_data(b"x")
    assert await loop.create_task(coro) == b"x"
    with pytest.raises(RuntimeError, match="cannot reuse already awaited"):
        await coro


async def test_nothing_happens_before_the_await(loop, make):
    reader = make()
    reader.feed_data(b"abc")
    coro = reader.read(2)
    assert await soon(reader.read(1)) == b"a"
    assert await soon(coro) == b"bc"


async def test_read_that_was_never_awaited_warns(loop, make):
    reader = make()
    with pytest.warns(RuntimeWarning, match="'StreamReader.read' was never awaited"):
        reader.read(2)
    reader.readline().close()        # which was closed does not


async def test_closed_read_waits_no_more(loop, make):
    reader = make()
    coro = reader.read(2)
    assert coro.send(None) is not None
    assert reader._waiter is not None
    coro.close()
    assert reader._waiter is None
    reader.feed_data(b"ok")
    assert await soon(reader.read(2)) == b"ok"


async def test_thrown_exception_leaves_a_read(loop, make):
    reader = make()
    coro = reader.read(2)
    coro.send(None)
    with pytest.raises(KeyError):
        coro.throw(KeyError("thrown"))
    assert reader._waiter is None


# --- What others look at ---

async def test_buffer_can_be_looked_at_and_changed(loop, make):
    reader = make()
    reader.feed_data(b"abcdef")
    buffer = reader._buffer
    assert isinstance(buffer, bytearray) and buffer == b"abcdef"
    assert await soon(reader.read(2)) == b"ab"
    assert buffer == b"cdef"
    del buffer[:2]
    reader.feed_data(b"gh")
    assert buffer == b"efgh" and reader._buffer is buffer
    reader._buffer = bytearray(b"new\n")
    assert await soon(reader.readline()) == b"new\n"
    assert not reader._buffer


async def test_repr_shows_the_state(loop, make):
    reader = make(limit=100)
    assert repr(reader) == "<StreamReader limit=100>"
    reader.feed_data(b"abc")
    assert repr(reader) == "<StreamReader 3 bytes limit=100>"
    reader.feed_eof()
    reader.set_exception(ValueError("no"))
    assert repr(reader) == ("<StreamReader 3 bytes eof limit=100 "
                            "exception=ValueError('no')>")
    assert repr(make()) == "<StreamReader>"


async def test_debug_mode_notes_who_made_it(loop, make):
    assert make()._source_traceback is None
    loop.set_debug(True)
    frames = make()._source_traceback
    assert frames[-1].filename == __file__


async def test_subclass_keeps_its_methods(loop, flavour):
    class Loud(fast_streams.of(flavour).StreamReader):
        def feed_data(self, data):
            super().feed_data(data.upper())

        async def readuntil(self, separator=b"\n"):
            return b"<" + await super().readuntil(separator) + b">"

    reader = Loud(loop=loop)
    reader.feed_data(b"line\nrest")
    assert await soon(reader.readline()) == b"<LINE\n>"
    assert await soon(reader.read(4)) == b"REST"


async def test_replaced_method_of_an_instance_is_called(loop, make):
    reader = make()

    async def readuntil(separator=b"\n"):
        return b"mine"

    reader.readuntil = readuntil
    assert await soon(reader.readline()) == b"mine"
