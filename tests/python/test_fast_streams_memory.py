# SPDX-License-Identifier: Apache-2.0
"""Our streams without memory, and what they leave behind with it."""

import asyncio
import os

import pytest

import fast_streams
import no_memory_streams
from growth import assert_no_growth
from support import PATIENCE, tcp_socket_pair
from test_no_memory import fail_alloc, sweep  # noqa: F401

pytestmark = [pytest.mark.slow(120),
              pytest.mark.asyncio_is_worse("it is Python")]

CYCLES = 100 if "libasan" in os.environ.get("LD_PRELOAD", "") else 500


def test_allocation_of_the_extension_fails(flavour, fail_alloc):  # noqa: F811
    preload = f"{fail_alloc}:{os.environ.get('LD_PRELOAD', '')}"
    sanitizer = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    counts = sweep(
        flavour,
        "import no_memory_streams\n"
        "no_memory.sweep_scenario(no_memory_streams.streams_carry_bytes)",
        {"LD_PRELOAD": preload, "ASAN_OPTIONS": sanitizer})
    assert counts[0] >= 1


def test_allocation_of_the_interpreter_fails(flavour):
    pytest.importorskip("_testcapi", reason="this CPython has no test modules")
    counts = sweep(
        flavour,
        "import no_memory_streams\n"
        "for step in no_memory_streams.STEPS:\n"
        "    no_memory.sweep_step(step)\n")
    assert len(counts) == len(no_memory_streams.STEPS)
    assert sum(counts) >= len(counts)


def test_nothing_grows(loop, flavour):
    async def cycle():
        ours, theirs = tcp_socket_pair()
        module = fast_streams.of(flavour)
        (left, into), (right, back) = await asyncio.gather(
            module.open_connection(sock=ours), module.open_connection(sock=theirs))
        into.write(b"line\nrest;and")
        await into.drain()
        assert await right.readline() == b"line\n"
        assert await right.readuntil((b";", b"\n")) == b"rest;"
        reading = loop.create_task(right.read(100))
        await asyncio.sleep(0)
        reading.cancel()
        assert right._buffer == b"and" or not reading.cancelled()
        into.close()
        await right.read()
        back.close()
        await into.wait_closed()
        await back.wait_closed()

    def run(count):
        async def cycles():
            for _ in range(count):
                await asyncio.wait_for(cycle(), PATIENCE)
        loop.run_until_complete(cycles())

    assert_no_growth(run, CYCLES)
