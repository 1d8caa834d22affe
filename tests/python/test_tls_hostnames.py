# SPDX-License-Identifier: Apache-2.0
"""TLS: server_hostname and the other arguments that name an end."""

import asyncio
import ssl

import pytest

from support import (
    LOOPBACK,
    PATIENCE,
    Accepting,
    Echo,
    Recorder,
    settle,
    tcp_socket_pair,
)
from tls import (
    engine_of,
    of_any_loop,
    serving,
    tls_pair,
    trusting,
)

pytestmark = of_any_loop


async def refused(loop, kind, words, **options):
    # 3.10 reports it as well.
    loop.set_exception_handler(lambda loop, context: None)
    ours, peer = tcp_socket_pair()
    with pytest.raises(kind) as raised:
        await loop.create_connection(Recorder, sock=ours, **options)
    assert words in str(raised.value)
    ours.close(), peer.close()
    await settle()


async def test_server_hostname_is_required_with_a_socket(loop):
    await refused(loop, ValueError, "You must set server_hostname when using "
                  "ssl without a host", ssl=trusting())


async def test_server_hostname_needs_ssl(loop):
    await refused(loop, ValueError, "server_hostname is only meaningful with "
                  "ssl", server_hostname="localhost")


@pytest.mark.filterwarnings("ignore:check_hostname requires:DeprecationWarning")
async def test_empty_server_hostname_bypasses_the_check(loop):
    context = trusting()
    assert context.check_hostname
    try:
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    except ValueError as exc:        # from 3.14 on
        await refused(loop, ValueError, str(exc), ssl=context,
                      server_hostname="")
        return
    async with tls_pair(serving("nameless"), server_hostname="",
                        server=Echo) as (_, client):
        client.transport.write(b"x")
        assert await client.received(1) == b"x"


@pytest.mark.parametrize(
    "name", [".localhost", "local\0host", "x" * 300, b"localhost", 1], ids=[
        "dot", "nul", "long", "bytes", "int"])
async def test_bad_server_hostnames(loop, name):
    """As wrap_bio() has it: the kind and the words of its exception."""
    try:
        trusting().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(),
                            server_hostname=name)
    except Exception as exc:
        await refused(loop, type(exc), str(exc), ssl=trusting(),
                      server_hostname=name)
    else:
        ours, peer = tcp_socket_pair()
        opening = loop.create_task(loop.create_connection(
            Recorder, sock=ours, ssl=trusting(), server_hostname=name))
        await loop.sock_recv(peer, 1000)
        opening.cancel()
        await asyncio.wait([opening])
        peer.close()


async def test_empty_server_hostname_checks_nothing_when_told_so(loop):
    context = trusting(check_hostname=False)
    async with tls_pair(client_context=context, server_hostname="") as (
            _, client):
        assert client.transport.get_extra_info("peercert")


async def test_host_is_the_default_server_hostname(loop):
    """127.0.0.1 is among the addresses of the certificate."""
    seen = []
    server_context = serving()
    server_context.sni_callback = lambda ssl_object, name, context: (
        seen.append(name))
    async with tls_pair(server_context, server_hostname=None) as (_, client):
        assert client.transport.get_extra_info("ssl_object").server_hostname \
            == LOOPBACK
    assert seen == [None]            # an address is no server name


async def test_ssl_true_makes_the_default_context(loop):
    """Which trusts the system's CAs, not ours."""
    loop.set_exception_handler(lambda loop, context: None)
    server = await loop.create_server(Recorder, LOOPBACK, 0, ssl=serving())
    with pytest.raises(ssl.SSLCertVerificationError):
        await loop.create_connection(
            Recorder, *server.sockets[0].getsockname(), ssl=True,
            server_hostname="localhost")
    await settle()
    server.close()
    await server.wait_closed()


async def test_server_refuses_what_is_no_context(loop):
    with pytest.raises(TypeError, match="ssl argument must be an SSLContext "
                                        "or None"):
        await loop.create_server(Recorder, LOOPBACK, 0, ssl=True)
    with pytest.raises(TypeError, match="ssl argument must be an SSLContext "
                                        "or None"):
        await loop.create_unix_server(Recorder, "/x", ssl=True)


async def test_unix_sockets_speak_tls(loop, tmp_path):
    path = str(tmp_path / "socket")
    accepting = Accepting(Echo)
    server = await loop.create_unix_server(accepting, path, ssl=serving())
    _, client = await loop.create_unix_connection(
        Recorder, path, ssl=trusting(), server_hostname="localhost")
    client.transport.write(b"over unix")
    assert await client.received(9) == b"over unix"
    assert client.transport.get_extra_info("peername") == path
    assert client.transport.get_extra_info("cipher")
    assert engine_of(client)
    client.transport.close()
    await asyncio.wait_for(client.lost, PATIENCE)
    await accepting.all_lost()
    server.close()
    await server.wait_closed()


async def test_unix_client_needs_a_server_hostname(loop):
    with pytest.raises(ValueError, match="you have to pass server_hostname "
                                         "when using ssl"):
        await loop.create_unix_connection(Recorder, "/x", ssl=trusting())


async def test_happy_eyeballs_end_with_a_handshake(loop):
    async with tls_pair(happy_eyeballs_delay=0.25, server=Echo) as (_, client):
        client.transport.write(b"x")
        assert await client.received(1) == b"x"
