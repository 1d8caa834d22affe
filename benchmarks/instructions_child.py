# SPDX-License-Identifier: Apache-2.0
"""What instructions.py runs under valgrind: a fixed number of operations."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from .bodies import BODIES
from .loops import LOOPS, make_loop
from .servers import HOST, Echo, http, tls, websocket

LAST_WORDS_SECONDS = 0.5


def echo(loop: asyncio.AbstractEventLoop, job: dict[str, Any]) -> None:
    """Serve one connection to its end, with TLS if the job has a certificate."""

    class LastEcho(Echo):
        def connection_lost(self, exc: Exception | None) -> None:
            loop.stop()

    async def listen() -> int:
        server: Any = await loop.create_server(LastEcho, HOST, 0, ssl=tls(job))
        return int(server.sockets[0].getsockname()[1])

    print(json.dumps({"address": loop.run_until_complete(listen())}), flush=True)
    loop.run_forever()


def echo_datagrams(loop: asyncio.AbstractEventLoop, number: int) -> None:
    """Answer so many, and those that the client sends again meanwhile."""

    class CountedEcho(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.left = number

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(data, addr)
            self.left -= 1
            if self.left == 0:
                loop.call_later(LAST_WORDS_SECONDS, loop.stop)

    async def listen() -> int:
        transport, _ = await loop.create_datagram_endpoint(CountedEcho, (HOST, 0))
        return int(transport.get_extra_info("sockname")[1])

    print(json.dumps({"address": loop.run_until_complete(listen())}), flush=True)
    loop.run_forever()


def echo_and_close(loop: asyncio.AbstractEventLoop, job: dict[str, Any]) -> None:
    """Serve so many connections, one byte each. With TLS the client closes."""
    context = tls(job)

    class LastAnswer(Echo):
        left = job["number"]

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)
            if context is None:
                self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            LastAnswer.left -= 1
            if LastAnswer.left == 0:
                loop.stop()

    async def listen() -> int:
        server: Any = await loop.create_server(LastAnswer, HOST, 0, ssl=context)
        return int(server.sockets[0].getsockname()[1])

    print(json.dumps({"address": loop.run_until_complete(listen())}), flush=True)
    loop.run_forever()


def answer_http(loop: asyncio.AbstractEventLoop, number: int) -> None:
    """uvicorn, as in the row of this name, until it has answered so many: and
    one by which the client learns how long an answer is."""
    address = loop.run_until_complete(
        http(loop, {"requests": number + 1, "ended": loop.stop})
    )
    print(json.dumps({"address": address}), flush=True)
    loop.run_forever()


def echo_websocket(loop: asyncio.AbstractEventLoop) -> None:
    """Serve one connection to its end."""
    address = loop.run_until_complete(websocket(loop, {"ended": loop.stop}))
    print(json.dumps({"address": address}), flush=True)
    loop.run_forever()


def main() -> None:
    job = json.loads(sys.argv[1])
    loop = make_loop(LOOPS[job["loop"]])
    asyncio.set_event_loop(loop)
    if job["target"] in ("protocol", "tls"):
        echo(loop, job)
    elif job["target"] in ("accept", "tls_accept"):
        echo_and_close(loop, job)
    elif job["target"] == "udp":
        echo_datagrams(loop, job["number"])
    elif job["target"] == "http":
        answer_http(loop, job["number"])
    elif job["target"] == "websocket":
        echo_websocket(loop)
    else:
        loop.run_until_complete(BODIES[job["target"]](loop, job["number"]))


if __name__ == "__main__":
    main()
