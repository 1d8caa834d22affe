# SPDX-License-Identifier: Apache-2.0
"""What instructions.py runs under valgrind: a fixed number of operations."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from .bodies import BODIES
from .loops import LOOPS, make_loop
from .servers import HOST, Echo


def echo(loop: asyncio.AbstractEventLoop) -> None:
    """Serve one connection to its end."""

    class LastEcho(Echo):
        def connection_lost(self, exc: Exception | None) -> None:
            loop.stop()

    async def listen() -> int:
        server: Any = await loop.create_server(LastEcho, HOST, 0)
        return int(server.sockets[0].getsockname()[1])

    print(json.dumps({"address": loop.run_until_complete(listen())}), flush=True)
    loop.run_forever()


def main() -> None:
    job = json.loads(sys.argv[1])
    loop = make_loop(LOOPS[job["loop"]])
    asyncio.set_event_loop(loop)
    if job["target"] == "protocol":
        echo(loop)
    else:
        loop.run_until_complete(BODIES[job["target"]](loop, job["number"]))


if __name__ == "__main__":
    main()
