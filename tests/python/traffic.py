# SPDX-License-Identifier: Apache-2.0
"""Traffic that keeps a loop busy while a test does something else."""

import contextlib

from support import LOOPBACK, Accepting, Echo


class PingPong(Echo):
    def connection_made(self, transport):
        super().connection_made(transport)
        transport.write(b"x")


@contextlib.contextmanager
def ping_pong(loop):
    """One byte goes to and fro between two transports whenever `loop` runs."""
    accepting = Accepting(PingPong)

    async def start():
        server = await loop.create_server(accepting, LOOPBACK, 0)
        transport, protocol = await loop.create_connection(
            Echo, *server.sockets[0].getsockname())
        return server, transport, protocol

    async def stop():
        transport.abort()
        server.close()
        await server.wait_closed()
        await accepting.all_lost()
        await protocol.lost

    server, transport, protocol = loop.run_until_complete(start())
    yield
    loop.run_until_complete(stop())
