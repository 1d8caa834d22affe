# SPDX-License-Identifier: Apache-2.0
"""Pipes as transports, signal handlers, subprocesses."""

import asyncio
import os
import signal
import sys

import rsloop_c


async def pipes() -> None:
    loop = asyncio.get_running_loop()
    read_end, write_end = os.pipe()
    reader = asyncio.StreamReader()
    reading, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", 0)
    )
    writing, _ = await loop.connect_write_pipe(
        asyncio.BaseProtocol, os.fdopen(write_end, "wb", 0)
    )
    writing.write(b"through a pipe\n")
    print("pipe:", (await reader.readline()).decode().strip())
    writing.close()
    reading.close()


async def signals() -> None:
    loop = asyncio.get_running_loop()
    received = loop.create_future()
    loop.add_signal_handler(signal.SIGUSR1, received.set_result, "SIGUSR1")
    os.kill(os.getpid(), signal.SIGUSR1)
    print("signal:", await received)
    loop.remove_signal_handler(signal.SIGUSR1)


async def subprocesses() -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import sys; print(sys.stdin.read().title()); sys.exit(3)",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await child.communicate(b"a child process")
    print(f"child said {output.decode().strip()!r} and exited {child.returncode}")

    sleeper = await asyncio.create_subprocess_shell("exec sleep 60")
    sleeper.terminate()
    print("terminated child:", signal.Signals(-await sleeper.wait()).name)


async def main() -> None:
    await pipes()
    await signals()
    await subprocesses()


if __name__ == "__main__":
    rsloop_c.run(main())
