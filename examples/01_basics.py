# SPDX-License-Identifier: Apache-2.0
"""Callbacks, timers, tasks, threads and a TCP echo on rsloop_c."""

import asyncio
import threading
import time

import rsloop_c


def callbacks_and_timers() -> None:
    """The loop by hand, without a coroutine."""
    loop = rsloop_c.new_event_loop()
    order: list[str] = []
    loop.call_later(0.02, order.append, "second timer")
    loop.call_later(0.01, order.append, "first timer")
    loop.call_soon(order.append, "soon")
    loop.call_later(0.03, loop.stop)
    loop.call_later(0.005, order.append, "never").cancel()
    loop.run_forever()
    loop.close()
    print("callbacks:", ", ".join(order))


async def tasks() -> None:
    async def double(number: int) -> int:
        await asyncio.sleep(0.01 * number)
        return 2 * number

    started = time.perf_counter()
    doubled = await asyncio.gather(*(double(number) for number in range(5)))
    print(f"tasks: {doubled} in {time.perf_counter() - started:.2f} s")


async def threads() -> None:
    loop = asyncio.get_running_loop()
    answer = loop.create_future()
    worker = threading.Thread(
        target=loop.call_soon_threadsafe, args=(answer.set_result, "hello")
    )
    worker.start()
    print("from a thread:", await answer)
    worker.join()
    print("in the executor:", await loop.run_in_executor(None, sum, range(1000)))


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def tcp() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"one byte and many more\n")
    print("echoed:", (await reader.readline()).decode().strip())
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def main() -> None:
    info = rsloop_c.runtime_info()
    print(f"backend: {info['backend']} ({info['reason']})")
    await tasks()
    await threads()
    await tcp()


if __name__ == "__main__":
    callbacks_and_timers()
    rsloop_c.run(main())
