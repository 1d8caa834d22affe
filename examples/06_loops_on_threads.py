# SPDX-License-Identifier: Apache-2.0
"""A loop in each of four threads. Without the GIL they run in parallel."""

import asyncio
import sys
import threading
import time

import rsloop_c

THREADS = 4
MESSAGES = 500


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async for line in reader:
        writer.write(line)
    writer.close()


async def exchange() -> None:
    """A server and a client that sends it one line after the other."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(MESSAGES):
            line = b"message %d\n" % number
            writer.write(line)
            assert await reader.readline() == line
        writer.close()
        await writer.wait_closed()


def seconds(threads: int) -> float:
    workers = [
        threading.Thread(target=rsloop_c.run, args=(exchange(),))
        for _ in range(threads)
    ]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - started


if __name__ == "__main__":
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    print("with the GIL" if gil else "without the GIL")
    for threads in (1, THREADS):
        rate = threads * MESSAGES / seconds(threads)
        print(f"{threads} loops: {rate:,.0f} messages a second")
