# SPDX-License-Identifier: Apache-2.0
"""New keys in the middle of a connection, as programs of others ask for them:
KeyUpdate of TLS 1.3, renegotiation of TLS 1.2, both roles."""

import asyncio
import contextlib

import pytest

from tls import (
    TLS12,
    TLS13,
    engine_of,
    of_any_loop,
    path_of,
    serving,
    skip_old_sslproto,
    trusting,
)
from tls_programs import (
    SECONDS,
    connect,
    gnutls_cli,
    leave,
    needs,
    s_client,
    s_server,
    serve,
)

pytestmark = of_any_loop


@contextlib.asynccontextmanager
async def s_client_that_said_before(version):
    """The program and its server's protocol, which has "before\\n" from it."""
    async with serve(serving(version=version)) as server:
        async with s_client(server.port) as program:
            program.say(b"before\n")
            await program.says(b"Verify return code: 0 (ok)")
            protocol, = await server.accepting.count(1)
            await protocol.received(7)
            yield program, protocol


@needs("openssl")
@pytest.mark.parametrize("letter", [b"k", b"K"], ids=["one", "both"])
async def test_s_client_updates_its_keys(loop, letter):
    """mbedTLS cannot (its issue 10881): it ends such a connection."""
    async with s_client_that_said_before(TLS13) as (program, protocol):
        engine = engine_of(protocol)
        program.say(letter + b"\n")
        await program.says(b"KEYUPDATE")
        if engine == "mbedtls":
            await asyncio.wait_for(protocol.lost, SECONDS)
            return
        program.say(b"after\n")
        assert await protocol.received(13) == b"before\nafter\n"
        await program.says(b"after\n")


@needs("openssl")
async def test_s_client_may_not_renegotiate(loop):
    """OpenSSL 3 refuses that to clients, and so does mbedTLS; nobody is
    harmed by the attempt."""
    async with s_client_that_said_before(TLS12) as (program, protocol):
        program.say(b"R\n")
        await program.says(b"RENEGOTIATING")
        await program.ends()
        await asyncio.wait_for(protocol.lost, SECONDS)
        assert protocol.data == b"before\n"


@needs("openssl")
@pytest.mark.parametrize("letter", [b"k", b"K"], ids=["one", "both"])
async def test_s_server_updates_its_keys(loop, letter):
    """mbedTLS cannot (its issue 10881): it ends such a connection."""
    async with s_server("-tls1_3") as program:
        client = await connect(await program.port(), trusting())
        expected = b"before\n"
        program.say(expected)
        assert await client.received(7) == expected
        engine = engine_of(client)
        for word in (b"once", b"again"):
            program.output = b""
            program.say(letter + b"\n")
            if engine == "mbedtls":
                await asyncio.wait_for(client.lost, SECONDS)
                return
            client.transport.write(b"we say " + word + b"\n")
            await program.says(b"SSL_do_handshake -> 1", b"we say " + word)
            program.say(b"it says " + word + b"\n")
            expected += b"it says " + word + b"\n"
            assert await client.received(len(expected)) == expected
        await leave(client)


@needs("openssl")
@pytest.mark.parametrize("letter", [b"r", b"R"], ids=["plain", "certificate"])
async def test_s_server_renegotiates(loop, letter):
    """TLS 1.2: OpenSSL's clients agree to that, and write meanwhile; mbedTLS
    refuses, which s_server takes for the end."""
    context = trusting()
    context.load_cert_chain(path_of("client.pem"), path_of("ec.key"))
    async with s_server("-tls1_2", "-CAfile", path_of("ca.pem")) as program:
        client = await connect(await program.port(), context)
        program.say(b"before\n")
        assert await client.received(7) == b"before\n"
        skip_old_sslproto(client, "forgets what is written meanwhile")
        engine = engine_of(client)
        program.output = b""
        program.say(letter + b"\n")
        if engine == "mbedtls":
            await asyncio.wait_for(client.lost, SECONDS)
            return
        client.transport.write(b"\1" * 200_000)  # nothing else prints it
        await program.says(b"SSL_do_handshake -> 1")
        client.transport.write(b"and its end\n")
        await program.says(b"and its end\n")
        assert program.output.count(b"\1") == 200_000
        program.say(b"after\n")
        assert await client.received(13) == b"before\nafter\n"
        await leave(client)


@needs("gnutls-cli")
async def test_gnutls_cli_rekeys(loop):
    async with serve(serving(version=TLS13)) as server:
        async with gnutls_cli(server.port, "--inline-commands") as program:
            await program.says(b"Handshake was completed")
            protocol, = await server.accepting.count(1)
            if engine_of(protocol) == "mbedtls":
                pytest.skip("mbedTLS 10881: see docs/tls.md")
            program.say(b"^rekey^\n")
            program.say(b"after\n")
            assert await protocol.received(6) == b"after\n"
            await program.says(b"after\n")
