# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.observed`: what the profiler and the watchdog cost.

Each workload runs in turns without and with them, in one process; the figures
are medians of operations a second, and of the ratios of neighbours."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager

import rsloop_c

Workload = Callable[[int], Awaitable[None]]


async def chain(count: int) -> None:
    """Callbacks that each make the next one ready."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def step(left: int) -> None:
        if left:
            loop.call_soon(step, left - 1)
        else:
            done.set_result(None)

    step(count)
    await done


async def tasks(count: int) -> None:
    """Steps of ten tasks."""

    async def worker() -> None:
        for _ in range(count // 10):
            await asyncio.sleep(0)

    await asyncio.gather(*(worker() for _ in range(10)))


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class _Client(_Echo):
    def __init__(self, count: int) -> None:
        self.left = count
        self.done = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.left -= 1
        if self.left:
            self.transport.write(data)
        else:
            self.done.set_result(None)


async def echo(count: int) -> None:
    """1 KiB to and fro over TCP, both ends on the loop."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Echo, "127.0.0.1", 0)
    _, client = await loop.create_connection(
        lambda: _Client(count // 4), *server.sockets[0].getsockname()
    )
    client.transport.write(bytes(1024))
    await client.done
    client.transport.close()
    server.close()
    await server.wait_closed()


@contextlib.contextmanager
def _watchdog(loop: rsloop_c.Loop) -> Iterator[None]:
    loop.watchdog = 5
    try:
        yield
    finally:
        loop.watchdog = None


def _rate(loop: rsloop_c.Loop, workload: Workload, count: int) -> float:
    began = time.perf_counter()
    loop.run_until_complete(workload(count))
    return count / (time.perf_counter() - began)


def measure(
    workload: Workload,
    observer: Callable[[rsloop_c.Loop], AbstractContextManager[object]],
    count: int,
    rounds: int,
) -> tuple[float, float]:
    """Operations a second without the observer, and what part is left with."""
    loop = rsloop_c.new_event_loop()
    try:
        _rate(loop, workload, count)
        pairs = []
        for _ in range(rounds):
            off = _rate(loop, workload, count)
            with observer(loop):
                pairs.append((off, _rate(loop, workload, count)))
    finally:
        loop.close()
    return (
        statistics.median(off for off, _ in pairs),
        statistics.median(on / off for off, on in pairs),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    observers: dict[str, Callable[[rsloop_c.Loop], AbstractContextManager[object]]] = {
        "profiler": lambda loop: rsloop_c.profile(),
        "watchdog": _watchdog,
    }
    print("| | off | " + " | ".join(f"{name} on" for name in observers) + " |")
    print("|---|---|" + "---|" * len(observers))
    for workload in (chain, tasks, echo):
        cells = []
        rate = 0.0
        for observer in observers.values():
            rate, ratio = measure(workload, observer, options.count, options.rounds)
            cells.append(f"{ratio:.2f}")
        print(f"| {workload.__name__} | {rate:,.0f} ops/s | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
