# SPDX-License-Identifier: Apache-2.0
"""TLS in Loop.stats(), in the metrics page and in rsloop_c.top."""

import asyncio
import os
import re
import socket
import ssl
import sys

import pytest

import rsloop_c
from support import PATIENCE, Echo, until
from test_metrics import ask
from tls import (
    engine_of,
    needs_shutdown_timeout,
    path_of,
    serving,
    talk,
    tls_pair,
    trusting,
)

pytestmark = [pytest.mark.tls,
              pytest.mark.asyncio_is_worse("asyncio keeps no figures")]

NAMES = ("started", "finished", "failed", "pending")


def handshakes(loop, engine):
    stats = loop.stats()
    return tuple(stats[f"tls_handshakes_{name}_{engine}"] for name in NAMES)


def asked_engine():
    return os.environ.get("RSLOOP_C_TLS") or "openssl"


async def test_handshakes_and_bytes_are_counted(loop):
    async with tls_pair(server=Echo) as (_, client):
        engine = engine_of(client)
        client.transport.write(b"x" * 1000)
        await client.received(1000)
        assert handshakes(loop, engine) == (2, 2, 0, 0)
        stats = loop.stats()
        native = engine != "python"
        assert stats["tls_bytes_encrypted"] == 2000 * native
        assert stats["tls_bytes_decrypted"] == 2000 * native
        assert (stats["tls_jobs"] > 0) == native
        assert stats[f"tls_resumed_{engine}"] == 0
    assert handshakes(loop, engine) == (2, 2, 0, 0)


async def test_a_session_that_is_used_again_counts(loop):
    server, client = serving(), rsloop_c.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(path_of("ca.pem"))
    client.session_cache = True
    for _ in range(2):
        async with tls_pair(server, client, server=Echo) as (_, protocol):
            engine = engine_of(protocol)
            await talk(protocol)        # the ticket comes before the echo
    # Of both sides; asyncio's sslproto does not know the cache.
    expected = 0 if engine == "python" else 2
    assert loop.stats()[f"tls_resumed_{engine}"] == expected
    assert handshakes(loop, engine) == (4, 4, 0, 0)


async def test_a_client_that_does_not_trust_has_failed(loop):
    with pytest.raises(ssl.SSLCertVerificationError):
        async with tls_pair(client_context=trusting(ca=None)):
            pytest.fail("it has trusted")
    engine = asked_engine()
    await until(lambda: handshakes(loop, engine)[1:] == (0, 2, 0)
                # TLS 1.3: who serves has finished when it hears of it
                or handshakes(loop, engine)[1:] == (1, 1, 0))


async def test_who_says_nothing_is_pending_until_it_leaves(loop):
    engine = asked_engine()
    server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=serving())
    sock = socket.create_connection(server.sockets[0].getsockname())
    await until(lambda: handshakes(loop, engine) == (1, 0, 0, 1))
    sock.close()
    await until(lambda: handshakes(loop, engine) == (1, 0, 1, 0))
    await server.drain(0)


@needs_shutdown_timeout
async def test_a_handshake_that_takes_too_long_has_failed(loop):
    engine = asked_engine()
    server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=serving(),
                                      ssl_handshake_timeout=0.01)
    with socket.create_connection(server.sockets[0].getsockname()):
        await until(lambda: handshakes(loop, engine) == (1, 0, 1, 0))
    await server.drain(0)


async def test_start_tls_counts(loop):
    done = loop.create_future()

    async def serve(reader, writer):
        await writer.start_tls(serving())
        writer.write(b"hello")
        await writer.drain()
        await done
        writer.close()

    if sys.version_info < (3, 11):
        pytest.skip("StreamWriter.start_tls() is new in 3.11")
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(
        *server.sockets[0].getsockname())
    await writer.start_tls(trusting(), server_hostname="localhost")
    assert await asyncio.wait_for(reader.readexactly(5), PATIENCE) == b"hello"
    assert handshakes(loop, asked_engine()) == (2, 2, 0, 0)
    done.set_result(None)
    writer.close()
    await server.drain(0)


async def test_the_page_says_it_by_engine(loop):
    with loop.serve_metrics() as endpoint:
        async with tls_pair() as (_, client):
            engine = engine_of(client)
            _, body = await loop.run_in_executor(None, ask, endpoint.address)
    for other in ("openssl", "mbedtls", "python"):
        found = re.findall(
            r"^rsloop_c_tls_handshakes_finished_total"
            rf'\{{loop="\d+",engine="{other}"\}} (\d+)$', body, re.M)
        assert max(map(int, found)) == (2 if other == engine else 0)
    assert body.count("# TYPE rsloop_c_tls_handshakes_finished counter\n") == 1

    from rsloop_c import top

    rows = top.render(None, top.parse_page(body)).splitlines()
    assert rows[1].split()[-2:] == ["tls/s", "tlswait"]


def test_the_private_counter_refuses_other_words(loop):
    for wrong in ("begun", 7, None):
        with pytest.raises(ValueError):
            loop._count_python_tls(wrong)
