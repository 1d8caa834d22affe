# SPDX-License-Identifier: Apache-2.0
"""TLS: what an idle connection holds. The bounds are two to three times what
docs/benchmarks.md says."""

import asyncio
import gc
import os

import pytest

from support import LOOPBACK, PATIENCE, Accepting, Recorder, resident_kib
from tls import serving, talk, trusting

pytestmark = [
    pytest.mark.tls,
    pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""),
                       reason="a sanitizer keeps what is freed"),
]

# KiB of resident memory for one end; asyncio's has a buffer of 256 KiB.
BOUNDS = {"openssl": 64, "mbedtls": 112}
SOME, MANY = 30, 120


class Answering(Recorder):
    def data_received(self, data):
        super().data_received(data)
        self.transport.write(data)


async def connect(server, context):
    _, client = await asyncio.wait_for(asyncio.get_running_loop().create_connection(
        Recorder, *server.sockets[0].getsockname(), ssl=context,
        server_hostname="localhost"), PATIENCE)
    await talk(client)                   # the tickets have come then
    return client


@pytest.mark.slow(60)
@pytest.mark.asyncio_is_worse("256 KiB of buffer for each connection")
async def test_idle_connections_are_small(loop, tls_engine):
    if tls_engine not in BOUNDS:
        pytest.skip("asyncio's sslproto")
    accepting = Accepting(Answering)
    server = await loop.create_server(accepting, LOOPBACK, 0, ssl=serving())
    context = trusting()
    clients = [await connect(server, context) for _ in range(SOME)]
    gc.collect()
    before = resident_kib()
    clients += [await connect(server, context) for _ in range(MANY)]
    gc.collect()
    grown = (resident_kib() - before) / MANY / 2
    for client in clients:
        client.transport.abort()
    for protocol in [*clients, *accepting.made]:
        await asyncio.wait_for(protocol.lost, PATIENCE)
    server.close()
    await server.wait_closed()
    assert grown < BOUNDS[tls_engine], f"{grown:.1f} KiB for each end"
