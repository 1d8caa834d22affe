# SPDX-License-Identifier: Apache-2.0
"""The runtime thread reads while the loop's thread is busy."""

import asyncio
import time

import pytest

import rsloop_c
from support import (
    PATIENCE,
    Recorder,
    native_threads,
    run,
    slowness,
    tcp_socket_pair,
    until,
)

pytestmark = [pytest.mark.stream,
              pytest.mark.asyncio_is_worse("it has one thread")]


class Busy(Recorder):
    """Works for 200 µs per piece of data."""

    def data_received(self, data):
        super().data_received(data)
        end = time.perf_counter() + 0.0002
        while time.perf_counter() < end:
            pass


async def test_busy_connections_arrive_whole_and_in_order(loop):
    ends = []
    for _ in range(8):
        ours, peer = tcp_socket_pair()
        _, protocol = await loop.create_connection(Busy, sock=ours)
        ends.append((protocol, peer))
    expected = [b"".join(b"%d:%06d;" % (index, number)
                         for number in range(20_000))
                for index in range(len(ends))]
    sending = [loop.create_task(loop.sock_sendall(peer, data))
               for (_, peer), data in zip(ends, expected)]
    for (protocol, _), data in zip(ends, expected):
        assert await protocol.received(len(data)) == data
    await asyncio.gather(*sending)
    for protocol, peer in ends:
        peer.close()
        await protocol.lost


async def stolen_from_a_new_connection(loop):
    def stolen():
        return rsloop_c.runtime_info(loop)["stolen_bytes"]

    ours, peer = tcp_socket_pair()
    _, protocol = await loop.create_connection(Busy, sock=ours)
    before, total = stolen(), 0
    for _ in range(2000):
        if stolen() > before:
            break
        total += peer.send(b"x" * 1000)
        await asyncio.sleep(0)
    assert stolen() > before
    await protocol.received(total)
    peer.close()
    await protocol.lost


async def test_takeover_always_really_reads_on_the_runtime_thread(
        flavour, loop):
    """Otherwise the +takeover flavours would test nothing."""
    if not flavour.takeover:
        pytest.skip("of the +takeover flavours")
    for _ in range(2):      # the second comes when the thread is at work already
        await stolen_from_a_new_connection(loop)


async def fill(loop, peer, until_stolen):
    """Send until so much has been read for the loop, which is stuck meanwhile.
    Now and then it turns: only so does an io_uring let others have a new
    connection."""
    deadline = time.monotonic() + PATIENCE * slowness()
    while loop.stats()["stolen_queued"] < until_stolen:
        assert time.monotonic() < deadline
        await asyncio.sleep(0)
        stuck = time.monotonic() + 0.2
        while (loop.stats()["stolen_queued"] < until_stolen
               and time.monotonic() < stuck):
            try:
                peer.send(bytes(65536))
            except BlockingIOError:
                time.sleep(0.0005)


async def stolen_beyond(loop, cap, until_stolen):
    """The most that is pending when a busy loop's peer goes on sending."""
    loop.limits.max_pending_read_bytes = cap
    ours, peer = tcp_socket_pair()
    _, protocol = await loop.create_connection(Recorder, sock=ours)
    await fill(loop, peer, until_stolen)
    most = 0
    for _ in range(50):
        try:
            peer.send(bytes(65536))
        except BlockingIOError:
            pass
        time.sleep(0.0005)
        most = max(most, loop.stats()["stolen_queued"])
    peer.close()
    await protocol.lost
    return most


def test_what_is_read_for_a_busy_loop_has_a_cap(flavour, monkeypatch):
    monkeypatch.setenv("RSLOOP_C_TAKEOVER", "always")
    loop = rsloop_c.new_event_loop(flavour.backend)
    one_read = 65536
    try:
        for cap in (1, 300_000):
            most = run(loop, stolen_beyond(loop, cap, cap))
            assert cap <= most <= cap + one_read
        # None is no cap: more than the default gets in.
        assert run(loop, stolen_beyond(loop, None, 2 << 20)) >= 2 << 20
    finally:
        loop.close()


async def test_idle_loop_costs_no_cpu(loop):
    """The runtime thread is parked and ticks not at all."""
    ours, peer = tcp_socket_pair()
    _, protocol = await loop.create_connection(Recorder, sock=ours)
    peer.send(b"x")
    await protocol.received(1)
    await asyncio.sleep(0.05)        # the runtime thread lets go
    before = time.process_time()
    await asyncio.sleep(0.3)
    spent = time.process_time() - before
    peer.close()
    await protocol.lost
    assert spent < 0.1


async def test_a_loop_has_one_native_thread_at_most(flavour, loop):
    loop_threads = native_threads()
    other = flavour.new_loop()
    assert len(native_threads()) <= len(loop_threads) + 1
    other.close()
    await until(lambda: len(native_threads()) <= len(loop_threads))
