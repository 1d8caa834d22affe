# SPDX-License-Identifier: Apache-2.0
"""Workloads that need no other process: a pass of `number` operations each."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from .machine import thread_times

Loop = asyncio.AbstractEventLoop
Body = Callable[[Loop, int], Awaitable[None]]

TASKS_BATCH = 5_000
GATHERED = 10
PRODUCERS = 4
PAYLOAD = b"x" * 1024


async def callbacks(loop: Loop, number: int) -> None:
    done = loop.create_future()
    left = number

    def callback() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set_result(None)

    for _ in range(number):
        loop.call_soon(callback)
    await done


async def chain(loop: Loop, number: int) -> None:
    done = loop.create_future()
    left = number

    def callback() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(callback)
        else:
            done.set_result(None)

    loop.call_soon(callback)
    await done


async def tasks(_loop: Loop, number: int) -> None:
    async def tiny() -> None:
        await asyncio.sleep(0)

    while number > 0:
        batch = min(number, TASKS_BATCH)
        await asyncio.gather(*(tiny() for _ in range(batch)))
        number -= batch


async def timers(loop: Loop, number: int) -> None:
    """Delays from 0 to 10 ms; all are due long before the last is made."""
    done = loop.create_future()
    left = number - number // 2

    def callback() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set_result(None)

    def never() -> None:
        raise AssertionError("a cancelled timer ran")

    cancelled = [
        loop.call_later(0.05 + (i % 1000) * 1e-5, never) for i in range(number // 2)
    ]
    for i in range(left):
        loop.call_later((i % 1000) * 1e-5, callback)
    for handle in cancelled:
        handle.cancel()
    await done


async def threadsafe(loop: Loop, number: int) -> None:
    done = loop.create_future()
    share = number // PRODUCERS
    left = share * PRODUCERS

    def callback() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set_result(None)

    def produce() -> None:
        for _ in range(share):
            loop.call_soon_threadsafe(callback)

    producers = [threading.Thread(target=produce) for _ in range(PRODUCERS)]
    for producer in producers:
        producer.start()
    await done
    for producer in producers:
        producer.join()


async def futures(loop: Loop, number: int) -> None:
    for _ in range(number):
        future: asyncio.Future[None] = loop.create_future()
        loop.call_soon(future.set_result, None)
        await future


async def gather(loop: Loop, number: int) -> None:
    for _ in range(number):
        waited: list[asyncio.Future[None]] = []
        for _ in range(GATHERED):
            future: asyncio.Future[None] = loop.create_future()
            loop.call_soon(future.set_result, None)
            waited.append(future)
        await asyncio.gather(*waited)


def _nothing() -> None:
    pass


async def executor(loop: Loop, number: int) -> None:
    for _ in range(number):
        await loop.run_in_executor(None, _nothing)


async def tcp_streams(_loop: Loop, number: int) -> None:
    """The workload of this name in rsloop's own comparison."""

    async def handle(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(64 * 1024):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    reader, writer = await asyncio.open_connection(host, port)
    for _ in range(number):
        writer.write(PAYLOAD)
        await writer.drain()
        if await reader.readexactly(len(PAYLOAD)) != PAYLOAD:
            raise RuntimeError("other bytes came back than were sent")
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def subprocess(_loop: Loop, number: int) -> None:
    for _ in range(number):
        process = await asyncio.create_subprocess_exec("true")
        if await process.wait() != 0:
            raise RuntimeError("the child failed")


BODIES: dict[str, Body] = {
    body.__name__: body
    for body in (
        callbacks,
        chain,
        tasks,
        timers,
        threadsafe,
        futures,
        gather,
        executor,
        tcp_streams,
        subprocess,
    )
}


def measure(loop: Loop, name: str, number: int, seconds: float) -> dict[str, Any]:
    """Whole passes until `seconds` are over; a short one first warms up."""
    body = BODIES[name]
    loop.run_until_complete(body(loop, max(10, number // 10)))
    gc.collect()
    passes: list[float] = []
    before, used = thread_times(os.getpid()), resource.getrusage(resource.RUSAGE_SELF)
    cpu = -time.process_time()
    start = time.perf_counter()
    while not passes or sum(passes) < seconds:
        begun = time.perf_counter()
        loop.run_until_complete(body(loop, number))
        passes.append(time.perf_counter() - begun)
    elapsed = time.perf_counter() - start
    cpu += time.process_time()
    waited = thread_times(os.getpid()).since(before).waited
    total = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "operations": number * len(passes),
        "seconds": elapsed,
        "cpu": cpu,
        "kernel": total.ru_stime - used.ru_stime,
        "sleeps": total.ru_nvcsw - used.ru_nvcsw,
        "waited": waited / elapsed,
        "passes": passes,
    }


def measure_threads(
    new_loop: Callable[[], Loop], name: str, share: tuple[int, int], seconds: float
) -> dict[str, Any]:
    """`share` is (threads, operations of a pass): a loop in each thread, whole
    passes in each until `seconds` are over."""
    threads, number = share
    body, passes, seconds_of = BODIES[name], [0] * threads, [0.0] * threads
    failures: list[BaseException] = []
    cpu = [0.0]

    def begin() -> None:  # in the last thread to come; the others still wait
        cpu[0] = time.process_time()

    together = threading.Barrier(threads, action=begin)

    def run(index: int) -> None:
        loop = new_loop()
        try:
            loop.run_until_complete(body(loop, max(10, number // 10)))
            together.wait()
            start = time.perf_counter()
            while seconds_of[index] < seconds:
                loop.run_until_complete(body(loop, number))
                passes[index] += 1
                seconds_of[index] = time.perf_counter() - start
        except BaseException as exc:
            failures.append(exc)
            together.abort()
        finally:
            loop.close()

    workers = [threading.Thread(target=run, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    # Each thread's rate is by its own clock: none waits for another's last pass.
    operations = number * sum(passes)
    rate = sum(number * p / s for p, s in zip(passes, seconds_of, strict=True))
    return {
        "operations": operations,
        "seconds": operations / rate,
        "cpu": time.process_time() - cpu[0],
        "passes": passes,
    }
