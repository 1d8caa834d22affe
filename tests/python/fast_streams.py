# SPDX-License-Identifier: Apache-2.0
"""What the tests of streams share: asyncio's streams for its own loop, which is
the oracle, and ours for our loops."""

import asyncio
import contextlib
import socket

from support import LOOPBACK, PATIENCE


def of(flavour):
    """The module that has the flavour's stream classes and functions."""
    if not flavour.ours:
        return asyncio
    import rsloop_c
    return rsloop_c


@contextlib.asynccontextmanager
async def connected(flavour, **options):
    """A StreamReader and StreamWriter, and the socket at the other end."""
    ours, peer = socket.socketpair()
    reader, writer = await of(flavour).open_connection(sock=ours, **options)
    peer.setblocking(False)
    try:
        yield reader, writer, peer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await asyncio.wait_for(writer.wait_closed(), PATIENCE)
        peer.close()


@contextlib.asynccontextmanager
async def serving(flavour, callback, **options):
    """A server's address; all of its connections are over afterwards."""
    server = await of(flavour).start_server(callback, LOOPBACK, 0, **options)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        await asyncio.wait_for(server.wait_closed(), PATIENCE)


class FakeTransport(asyncio.Transport):
    """Counts what a reader asks of it."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def pause_reading(self):
        self.calls.append("pause")

    def resume_reading(self):
        self.calls.append("resume")

    def is_closing(self):
        return False
