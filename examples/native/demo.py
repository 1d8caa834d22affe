# SPDX-License-Identifier: Apache-2.0
"""Each function of the extension, awaited. docs/native-api.md explains them."""

import asyncio
import contextvars
import sys
import time

import _example

import rsloop_c

request = contextvars.ContextVar("request")


async def greet() -> str:
    await asyncio.sleep(0)
    return f"hello from Python, request {request.get()}"


async def main(paths: list[str]) -> None:
    loop = asyncio.get_running_loop()
    print("loop:", type(loop).__name__, "on", rsloop_c.runtime_info()["backend"])

    print(await _example.sleep_and_tag("hello", 0.05))
    print("steps on the loop's thread:", await _example.count_down(1000))

    request.set(7)  # what native code awaits runs in its caller's context
    print(await _example.ask(greet))

    began = time.perf_counter()
    hashes = await asyncio.gather(*map(_example.hash_file, paths))
    took = time.perf_counter() - began
    for path, value in zip(paths, hashes, strict=True):
        print(f"{value:016x}  {path}")
    print(f"{len(paths)} files, several at once, in {took * 1000:.1f} ms")

    try:
        await _example.hash_file("/nonexistent")
    except FileNotFoundError as exc:
        print("an error of the pool's thread:", exc)

    try:
        await asyncio.wait_for(_example.sleep_and_tag("too late", 3600), 0.05)
    except asyncio.TimeoutError:
        print("cancelled: the timer of an hour is gone")

    task = asyncio.ensure_future(_example.ask(asyncio.Event().wait))
    await asyncio.sleep(0.01)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        print("cancelled: so was the coroutine that native code awaited")


if __name__ == "__main__":
    rsloop_c.run(main(sys.argv[1:] or [__file__, rsloop_c.__file__]))
