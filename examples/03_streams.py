# SPDX-License-Identifier: Apache-2.0
"""asyncio's streams: a line server, 50 clients at once, flow control."""

import asyncio

import rsloop_c


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each line in capitals, until the client has no more."""
    async for line in reader:
        writer.write(line.upper())
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def ask(port: int, number: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"client {number}\n".encode())
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.decode().strip()


async def send_much(port: int) -> int:
    """drain() waits while the reader on the other side is slower."""
    line = b"x" * 1023 + b"\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        for _ in range(4096):
            writer.write(line)
            await writer.drain()
        writer.write_eof()

    sending = asyncio.create_task(send())
    received = 0
    while chunk := await reader.read(65536):
        received += len(chunk)
    await sending
    writer.close()
    await writer.wait_closed()
    return received


async def main() -> None:
    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        answers = await asyncio.gather(*(ask(port, n) for n in range(50)))
        print(f"{len(answers)} answers, the last: {answers[-1]}")
        print(f"{await send_much(port) >> 20} MiB there and back")


if __name__ == "__main__":
    rsloop_c.run(main())
