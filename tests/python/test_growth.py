# SPDX-License-Identifier: Apache-2.0
"""Nothing grows: descriptors, threads, memory and Python objects are as many
after a thousand cycles of each kind of thing as before."""

import asyncio
import contextlib
import ctypes
import os

import pytest

from growth import Held, assert_no_growth
from growth_cycles import KINDS, within
from support import LOOPBACK, Recorder

pytestmark = [pytest.mark.slow(120)]

# A sanitizer finds leaks of memory by itself, and is slow.
CYCLES = 100 if "libasan" in os.environ.get("LD_PRELOAD", "") else 1000


# --- the measurement itself ---------------------------------------------------

def leak_memory():
    ctypes.pythonapi.PyMem_RawMalloc(ctypes.c_size_t(100))


def leak_object(kept=[]):
    kept.append(bytes(100))


@pytest.mark.parametrize("leak", [leak_memory, leak_object],
                         ids=lambda leak: leak.__name__)
def test_leak_of_100_bytes_a_cycle_is_found(leak):
    if not Held().blocks or not Held().bytes:
        pytest.skip("this allocator does not tell what it has given away")

    def run(count):
        for _ in range(count):
            leak()

    with pytest.raises(AssertionError, match="grew in each of"):
        assert_no_growth(run, 1000)


def test_leaked_descriptor_is_found():
    leaked = []

    def run(count):
        leaked.append(os.dup(0))

    with pytest.raises(AssertionError, match="1 fds"):
        assert_no_growth(run, 1000)
    for fd in leaked:
        os.close(fd)


# --- the cycles ---------------------------------------------------------------

@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_nothing_grows_with(loop, flavour, kind, certificate):
    stack = contextlib.AsyncExitStack()
    cycle = loop.run_until_complete(
        stack.enter_async_context(kind(loop, certificate)))

    async def cycles(count):
        for _ in range(count):
            await cycle()

    try:
        assert_no_growth(lambda count: loop.run_until_complete(cycles(count)),
                         CYCLES if flavour.ours else CYCLES // 2,
                         of_pools=kind.__name__.startswith("tls_"))
    finally:
        loop.run_until_complete(stack.aclose())


def test_nothing_grows_with_loops(loop_factory, flavour):
    def run(count):
        for _ in range(count):
            loop = flavour.new_loop()
            loop.call_later(3600, print)
            loop.run_until_complete(asyncio.sleep(0))
            loop.call_soon(print)
            loop.close()

    assert_no_growth(run, CYCLES)


def test_nothing_grows_with_loops_that_serve(flavour):
    async def serve():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, LOOPBACK, 0)
        _, client = await loop.create_connection(
            Recorder, *server.sockets[0].getsockname())
        client.transport.close()
        await client.lost
        server.close()

    def run(count):
        for _ in range(count):
            loop = flavour.new_loop()
            loop.run_until_complete(serve())
            loop.close()

    assert_no_growth(run, CYCLES)


@pytest.mark.slow(120)
def test_nothing_grows_with_subprocesses(loop, flavour):
    async def one():
        child = await asyncio.create_subprocess_exec(
            "/bin/cat", stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
        assert await within(child.communicate(b"x")) == (b"x", b"")
        assert child.returncode == 0

    async def many(count):
        for _ in range(count // 5):
            await asyncio.gather(*(one() for _ in range(5)))

    assert_no_growth(lambda count: loop.run_until_complete(many(count)),
                     CYCLES if flavour.ours else CYCLES // 2)
