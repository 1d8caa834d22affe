# SPDX-License-Identifier: Apache-2.0
"""Random sequences of calls on pipe transports: what happens on asyncio's
loop happens on ours, in the same order."""

import asyncio
import os
import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support import ALL_TELL_READING, Recorder

FEW = settings(max_examples=40, deadline=None,
               suppress_health_check=list(HealthCheck))
SIZES = st.sampled_from([0, 1, 100, 4096, 30_000, 65_536, 70_000, 150_000])
ORDINARY = st.one_of(
    st.tuples(st.just("write"), SIZES),
    st.tuples(st.just("writelines"), st.lists(SIZES, max_size=3)),
    st.tuples(st.just("take"), SIZES),
    st.tuples(st.just("limits"), SIZES),
    st.tuples(st.just("turn")))
# asyncio ends some transports twice when they are told to twice.
ENDING = st.sampled_from([("close",), ("write_eof",), ("abort",),
                          ("reader gone",)])
WRITES = st.tuples(st.lists(ORDINARY, max_size=12), ENDING,
                   st.lists(ORDINARY, max_size=4))
READS = st.lists(st.sampled_from([
    ("feed", 1), ("feed", 5000), ("feed", 60_000), ("pause",), ("resume",),
    ("turn",), ("close",), ("writer gone",)]), max_size=14)


class Trace(Recorder):
    def connection_lost(self, exc):
        super().connection_lost(exc)
        self.calls[-1] = f"lost {exc!r}"


async def some_turns():
    # asyncio polls between two; each step of a transport takes one or two.
    for _ in range(6):
        await asyncio.sleep(0)


def shown(transport):
    return re.sub(r"^<\w+Transport|fd=\d+", "", repr(transport))


def outcome(call, *args):
    try:
        return call(*args)
    except Exception as exc:
        return type(exc)


def both(loop_of, scenario, steps):
    """What the scenario records on asyncio's loop and on that of a flavour."""
    records = []
    for loop in asyncio.SelectorEventLoop(), loop_of():
        try:
            records.append(loop.run_until_complete(scenario(loop, steps)))
        finally:
            loop.close()
    return records


async def write_scenario(loop, steps):
    before, ending, after = steps
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    record = []
    transport, protocol = await loop.connect_write_pipe(
        Trace, open(write_fd, "wb", 0))
    await some_turns()
    for step in (*before, ending, ("turn",), *after, ("turn",)):
        name, *args = step
        if name == "write":
            data = (b"%06d" % len(record)) * (args[0] // 6 + 1)
            record.append(outcome(transport.write, data[:args[0]]))
        elif name == "writelines":
            record.append(outcome(transport.writelines,
                                  [bytes(size) for size in args[0]]))
        elif name == "limits":
            record.append(outcome(transport.set_write_buffer_limits, *args))
        elif name == "take":
            if read_fd >= 0:
                record.append(outcome(os.read, read_fd, args[0]))
        elif name == "turn":
            await some_turns()
        elif name == "reader gone":
            os.close(read_fd)
            read_fd = -1
        else:
            record.append(outcome(getattr(transport, name)))
        record.append((step, shown(transport), list(protocol.calls),
                       transport.get_write_buffer_size(),
                       transport.is_closing()))
    if read_fd >= 0:
        while not protocol.lost.done():      # until what waited has left
            outcome(os.read, read_fd, 65536)
            await some_turns()
        record.append(outcome(os.read, read_fd, 1 << 20))
        os.close(read_fd)
    record.append(protocol.calls)
    return record


async def read_scenario(loop, steps):
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    record = []
    transport, protocol = await loop.connect_read_pipe(
        Trace, open(read_fd, "rb", 0))
    await some_turns()
    for step in (*steps, ("turn",)):
        name, *args = step
        if name == "feed":
            if write_fd >= 0:
                record.append(outcome(os.write, write_fd, bytes(args[0])))
        elif name == "writer gone":
            if write_fd >= 0:
                os.close(write_fd)
                write_fd = -1
        elif name == "turn":
            await some_turns()
        else:
            name += "" if name == "close" else "_reading"
            record.append(outcome(getattr(transport, name)))
        record.append((step, shown(transport), list(protocol.calls),
                       len(protocol.data), transport.is_closing(),
                       # asyncio's pipes have it from 3.11 on.
                       not ALL_TELL_READING or transport.is_reading()))
    if write_fd >= 0:
        os.close(write_fd)
    transport.close()
    await some_turns()
    record.append(protocol.calls)
    return record


@FEW
@given(steps=WRITES)
def test_writing_ends_behave_alike(flavour, steps):
    theirs, ours = both(flavour.new_loop, write_scenario, steps)
    assert ours == theirs


@FEW
@given(steps=READS)
def test_reading_ends_behave_alike(flavour, steps):
    theirs, ours = both(flavour.new_loop, read_scenario, steps)
    assert ours == theirs
