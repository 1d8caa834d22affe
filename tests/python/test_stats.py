# SPDX-License-Identifier: Apache-2.0
"""Loop.stats(), the figures of a connection, and transport_stats()."""

import asyncio
import os
import signal
import threading
import time

import pytest

from support import (
    Echo,
    Recorder,
    run_python,
    tcp_pair,
    tcp_socket_pair,
    transport_and_peer,
    until,
)

pytestmark = [pytest.mark.asyncio_is_worse("asyncio keeps no figures")]

LAG = {"count", "sum", "max", "now", "buckets"}


def grown(before, after):
    """What of the two Loop.stats() differs, by how much."""
    return {name: after[name] - value for name, value in before.items()
            if name != "lag"}


def busy(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@pytest.mark.stream
async def test_bytes_and_connections_are_counted(loop):
    before = loop.stats()
    async with tcp_pair(server_factory=Echo) as (_, protocol):
        transport = protocol.transport
        transport.write(b"x" * 1000)
        await protocol.received(1000)
        assert transport.get_extra_info("bytes_read") == 1000
        assert transport.get_extra_info("bytes_written") == 1000
        more = grown(before, loop.stats())
        assert more["bytes_read"] == more["bytes_written"] == 2000
        assert more["connections_opened"] == more["connections"] == 2
        assert more["accepted"] == 1
        assert more["reads"] >= 2 and more["writes"] >= 2
        assert more["write_backlog"] == 0
        # It is asked each time, and nothing of it is remembered.
        transport.write(b"y")
        await protocol.received(1001)
        assert transport.get_extra_info("bytes_written") == 1001
    await until(lambda: loop.stats()["connections"] == before["connections"])
    assert transport.get_extra_info("bytes_read") is None
    assert transport.get_extra_info("bytes_read", 7) == 7


async def test_backlog_is_what_waits_to_be_sent(loop):
    async with transport_and_peer(sndbuf=65536, rcvbuf=65536) as (
            transport, _, peer):
        transport.write(b"x" * (8 << 20))
        await asyncio.sleep(0)
        backlog = loop.stats()["write_backlog"]
        assert backlog == transport.get_write_buffer_size() > 0
        assert transport.get_extra_info("bytes_written") == (8 << 20) - backlog
        transport.abort()
    await until(lambda: loop.stats()["write_backlog"] == 0)


async def test_sockets_pipes_and_datagrams_are_counted(loop, pipe):
    ours, peer = tcp_socket_pair()
    before = loop.stats()
    with ours, peer:
        await loop.sock_sendall(ours, b"12345")
        assert await loop.sock_recv(peer, 100) == b"12345"
    more = grown(before, loop.stats())
    assert (more["bytes_read"], more["bytes_written"]) == (5, 5)

    before = loop.stats()
    reader, writer = pipe
    protocol = Recorder()
    incoming, _ = await loop.connect_read_pipe(lambda: protocol, reader)
    outgoing, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, writer)
    outgoing.write(b"123")
    await protocol.received(3)
    more = grown(before, loop.stats())
    assert (more["bytes_read"], more["bytes_written"]) == (3, 3)
    outgoing.close()
    incoming.close()

    before = loop.stats()
    heard = loop.create_future()

    class Ear(asyncio.DatagramProtocol):
        def datagram_received(self, data, addr):
            heard.set_result(data)

    ear, _ = await loop.create_datagram_endpoint(
        Ear, local_addr=("127.0.0.1", 0))
    ear.sendto(b"1234567", ear.get_extra_info("sockname"))
    assert await heard == b"1234567"
    more = grown(before, loop.stats())
    assert (more["bytes_read"], more["bytes_written"]) == (7, 7)
    assert more["syscalls_read"] >= 1 and more["syscalls_write"] == 1
    ear.close()
    await asyncio.sleep(0)


async def test_callbacks_turns_timers_and_calls_of_threads(loop):
    before = loop.stats()
    for _ in range(100):
        loop.call_soon(int)
    timer = loop.call_later(1000, int)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    after = loop.stats()
    more = grown(before, after)
    assert 100 <= more["callbacks"] <= 110
    assert 2 <= more["turns"] <= 4
    assert after["ready_peak"] >= 100
    assert after["timers"] >= 1 and after["running"] == 1
    timer.cancel()

    done = asyncio.Event()
    thread = threading.Thread(
        target=lambda: loop.call_soon_threadsafe(done.set))
    thread.start()
    await done.wait()
    thread.join()
    assert loop.stats()["handovers"] > before["handovers"]
    await asyncio.sleep(0.01)
    assert loop.stats()["sleeps"] > before["sleeps"]


async def test_lag_says_how_long_turns_took(loop):
    await asyncio.sleep(0)
    before = loop.stats()
    assert set(before["lag"]) == LAG
    assert sum(before["lag"]["buckets"].values()) == before["lag"]["count"]
    busy(0.02)
    assert loop.stats()["lag"]["now"] >= 0.02
    await asyncio.sleep(0.001)           # it sleeps: the turn has ended
    after = loop.stats()
    assert after["lag"]["max"] >= 0.02
    assert after["lag"]["sum"] - before["lag"]["sum"] >= 0.02
    longer = sum(count for bound, count in after["lag"]["buckets"].items()
                 if bound > 0.02)
    assert longer >= 1


async def test_slow_turns_are_those_of_slow_callback_duration(loop):
    loop.slow_callback_duration = 1000
    busy(0.01)
    await asyncio.sleep(0.001)
    before = loop.stats()["slow_turns"]
    assert before == 0
    loop.slow_callback_duration = 0.005
    busy(0.01)
    await asyncio.sleep(0.001)
    assert loop.stats()["slow_turns"] >= 1


async def test_a_chain_of_callbacks_is_measured_without_a_sleep(loop):
    before = loop.stats()["lag"]["count"]
    for _ in range(1000):
        await asyncio.sleep(0)
    assert loop.stats()["lag"]["count"] > before


def test_another_thread_reads_while_the_loop_is_stuck(loop):
    stuck, seen = threading.Event(), threading.Event()
    answers = []

    def look():
        stuck.wait()
        answers.append(loop.stats())
        seen.set()

    def block():
        stuck.set()
        assert seen.wait(10)

    thread = threading.Thread(target=look)
    thread.start()
    loop.call_soon(block)
    loop.call_later(0, loop.stop)
    loop.run_forever()
    thread.join()
    assert answers[0]["running"] == 1
    assert answers[0]["lag"]["now"] > 0
    loop.run_until_complete(asyncio.sleep(0))
    assert loop.stats()["running"] == 0 and loop.stats()["lag"]["now"] == 0


def test_a_signal_handler_reads(loop):
    answers = []
    before = signal.signal(
        signal.SIGUSR1, lambda *_: answers.append(loop.stats()))
    try:
        loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
        loop.run_until_complete(asyncio.sleep(0.001))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert answers and answers[0]["callbacks"] >= 1


def test_threads_read_while_it_runs(loop):
    """Values only grow, whoever looks."""
    stop = threading.Event()
    wrong = []

    def look():
        last = 0
        while not stop.is_set():
            now = loop.stats()["callbacks"]
            if now < last:
                wrong.append((last, now))
            last = now

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()

    async def work():
        for _ in range(2000):
            await asyncio.sleep(0)

    loop.run_until_complete(work())
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_stats_of_a_closed_loop_stay(loop):
    loop.run_until_complete(asyncio.sleep(0))
    before = loop.stats()
    loop.close()
    after = loop.stats()
    assert after["turns"] == before["turns"] > 0
    assert after["running"] == after["connections"] == 0


def test_a_loop_that_was_not_made_has_none(loop):
    import rsloop_c

    with pytest.raises(RuntimeError):
        rsloop_c.Loop.__new__(rsloop_c.Loop).stats()


# --- transport_stats() -------------------------------------------------------

NAMES = {"enabled", "read_events", "read_bytes", "read_wakeups",
         "python_read_drains", "staged_writes", "direct_write_attempts",
         "poll_rebinds"}


@pytest.mark.stream
async def test_transport_stats_have_rsloops_names_and_begin_anew(loop):
    import rsloop_c

    rsloop_c.reset_transport_stats()
    stats = rsloop_c.transport_stats()
    assert set(stats) == NAMES
    assert stats.pop("enabled") is True
    assert not any(stats.values())
    async with tcp_pair(server_factory=Echo) as (_, protocol):
        transport = protocol.transport
        transport.write(b"x" * 10)
        await protocol.received(10)
    stats = rsloop_c.transport_stats()
    assert stats["read_bytes"] == 20
    assert stats["read_events"] >= 2 and stats["staged_writes"] >= 2
    assert (stats["read_wakeups"] + stats["python_read_drains"]
            == stats["read_events"])


def test_loops_that_are_gone_still_count(flavour):
    import rsloop_c

    async def talk():
        async with transport_and_peer() as (_, protocol, peer):
            peer.send(b"x" * 7)
            await protocol.received(7)

    rsloop_c.reset_transport_stats()
    for count in (1, 2):
        loop = flavour.new_loop()
        loop.run_until_complete(talk())
        loop.close()
        del loop
        assert rsloop_c.transport_stats()["read_bytes"] == 7 * count


@pytest.mark.parametrize("name", ["RSLOOP_C_TRANSPORT_STATS",
                                  "RSLOOP_TRANSPORT_STATS"])
def test_transport_stats_can_be_off(flavour, name):
    done = run_python("""
        import asyncio
        import rsloop_c
        loop = rsloop_c.new_event_loop()
        a, b = __import__("socket").socketpair()
        a.setblocking(False), b.setblocking(False)
        async def talk():
            await loop.sock_sendall(a, b"x")
            await loop.sock_recv(b, 1)
        loop.run_until_complete(talk())
        loop.close()
        print(sum(rsloop_c.transport_stats().values()))
        """, flavour, env={name: "off"})
    assert done.stdout == "0\n", done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_counts_its_own(flavour):
    done = run_python("""
        import asyncio, os, warnings
        import rsloop_c
        warnings.simplefilter("ignore")
        loop = rsloop_c.new_event_loop()
        loop.run_until_complete(asyncio.sleep(0))
        if os.fork() == 0:
            assert not sum(rsloop_c._core.stats_total().values())
            mine = rsloop_c.new_event_loop()
            mine.run_until_complete(asyncio.sleep(0))
            assert rsloop_c._core.stats_total()["turns"] > 0
            mine.close()
            loop.stats()
            print("child", flush=True)
            os._exit(0)
        os.wait()
        loop.close()
        print("parent")
        """, flavour)
    assert done.stdout == "child\nparent\n", done.stderr
