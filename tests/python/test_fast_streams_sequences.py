# SPDX-License-Identifier: Apache-2.0
"""Drawn sequences of what can be done to a StreamReader, on asyncio's and ours."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

import oracle
from fast_streams import FakeTransport
from support import turns

PIECES = st.binary(max_size=6).map(
    lambda data: bytes(b"ab;\n"[byte % 4] for byte in data))
STEPS = st.one_of(
    st.tuples(st.just("feed"), PIECES),
    st.tuples(st.just("read"), st.integers(0, 7)),
    st.tuples(st.just("readexactly"), st.integers(-1, 7)),
    st.tuples(st.just("readuntil"), st.sampled_from([b";", b"ab", b"\n;", b""])),
    st.tuples(st.just("readline")), st.tuples(st.just("cancel")),
    st.tuples(st.just("look")), st.tuples(st.just("eof")))


async def play(reader, steps):
    """What each step came to, with the state after it."""
    transport, reading, seen = FakeTransport(), None, []
    reader.set_transport(transport)
    for name, *arguments in steps:
        if name == "feed" and not reader._eof:
            reader.feed_data(*arguments)
        elif name == "eof":
            reader.feed_eof()
        elif name == "cancel" and reading is not None:
            reading.cancel()
        elif name == "look":
            seen.append(bytes(reader._buffer))
        elif name.startswith("read") and reading is None:
            reading = asyncio.ensure_future(getattr(reader, name)(*arguments))
        await turns()
        if reading is not None and reading.done():
            seen.append("cancelled" if reading.cancelled() else
                        repr(reading.exception() or reading.result()))
            reading = None
        seen.append((reader.at_eof(), reader._paused, reader._waiter is None,
                     list(transport.calls)))
    if reading is not None:
        reading.cancel()
        await asyncio.wait([reading])
    seen.append(bytes(reader._buffer))
    return seen


@oracle.profile(150)
@given(steps=st.lists(STEPS, max_size=25), limit=st.integers(1, 6))
def test_any_sequence_does_what_asyncios_reader_does(steps, limit):
    import rsloop_c

    async def compare():
        loop = asyncio.get_running_loop()
        theirs = await play(asyncio.StreamReader(limit, loop), steps)
        assert await play(rsloop_c.StreamReader(limit, loop), steps) == theirs

    loop = rsloop_c.new_event_loop()
    try:
        loop.run_until_complete(compare())
    finally:
        loop.close()
