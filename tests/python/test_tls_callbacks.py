# SPDX-License-Identifier: Apache-2.0
"""TLS: a context's callbacks, sessions, and contexts of other kinds."""

import asyncio
import gc
import os
import ssl
import sys
import weakref

import pytest

from support import LOOPBACK, PATIENCE, Accepting, Echo, Recorder, settle
from tls import (
    TLS12,
    TLS13,
    by_openssl,
    each_version,
    engine_of,
    new_context,
    of_any_loop,
    path_of,
    peer_by_hand,
    serving,
    ssl_object_of,
    talk,
    tls_pair,
    trusting,
)

pytestmark = of_any_loop

HERE = os.path.dirname(os.path.abspath(__file__))


# --- callbacks ---

@each_version
async def test_sni_callback_may_change_the_context(loop, version):
    """By the name, as servers of many names do."""
    seen = []
    other = serving(version=version)
    other.set_alpn_protocols(["other"])

    def choose(ssl_object, name, context):
        seen.append((name, context is first))
        ssl_object.context = other

    first = serving("expired", version=version)
    first.sni_callback = choose
    async with tls_pair(first, server=Echo) as (served, client):
        assert seen == [("localhost", True)]
        assert ssl_object_of(served).context is other
        await talk(client)


@pytest.mark.parametrize("alert, reason", [
    (ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME, "TLSV1_UNRECOGNIZED_NAME"),
    (ssl.ALERT_DESCRIPTION_ACCESS_DENIED, "TLSV1_ALERT_ACCESS_DENIED")])
async def test_sni_callback_may_refuse(loop, alert, reason):
    context = serving(version=TLS12)
    context.sni_callback = lambda ssl_object, name, context: alert
    client, server = by_openssl(context, trusting())
    assert isinstance(client, ssl.SSLError)
    async with peer_by_hand("server", server_context=context,
                            handshake=False) as (opening, peer):
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await peer.handshake()
        with pytest.raises(ssl.SSLError) as raised:
            await asyncio.wait_for(opening, PATIENCE)
        assert raised.value.reason == server.reason


async def test_sni_callback_that_raises_ends_the_handshake(loop):
    context = serving()

    def fail(ssl_object, name, context):
        raise ZeroDivisionError

    context.sni_callback = fail
    hook, unraisable = sys.unraisablehook, []
    sys.unraisablehook = unraisable.append
    try:
        async with peer_by_hand("server", server_context=context,
                                handshake=False) as (opening, peer):
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                await peer.handshake()
            with pytest.raises(ssl.SSLError):
                await asyncio.wait_for(opening, PATIENCE)
        assert [type(args.exc_value) for args in unraisable] == [
            ZeroDivisionError]
    finally:
        sys.unraisablehook = hook
        del unraisable


async def test_client_without_a_name_calls_the_sni_callback_with_none(loop):
    seen = []
    context = serving()
    context.sni_callback = lambda ssl_object, name, context: seen.append(name)
    client = trusting(check_hostname=False)
    async with tls_pair(context, client, server_hostname=""):
        assert seen == [None]


@each_version
@pytest.mark.parametrize("side", [0, 1], ids=["server", "client"])
async def test_keylog_is_written(loop, side, version, tmp_path):
    contexts = serving(version=version), trusting()
    contexts[side].keylog_filename = tmp_path / "keys"
    async with tls_pair(*contexts, server=Echo) as (_, client):
        await talk(client)
    lines = (tmp_path / "keys").read_text()
    assert ("CLIENT_RANDOM" if version == TLS12
            else "CLIENT_TRAFFIC_SECRET_0") in lines


@pytest.mark.skipif(not hasattr(ssl.SSLContext, "set_psk_client_callback"),
                    reason="new in 3.13")
@each_version
async def test_pre_shared_keys(loop, version):
    server = new_context(ssl.PROTOCOL_TLS_SERVER)
    client = new_context(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    for context in (server, client):
        context.minimum_version = context.maximum_version = version
        context.set_ciphers("PSK")
    server.set_psk_server_callback(lambda identity: b"the key", "hint")
    client.set_psk_client_callback(lambda hint: ("identity", b"the key"))
    async with tls_pair(server, client, server=Echo) as (_, client):
        await talk(client)


# --- sessions ---

@each_version
async def test_session_of_a_client_can_be_used_again(loop, version):
    """asyncio has no argument for it; the server must take what comes."""
    server_context, client_context = serving(version=version), trusting()
    async with peer_by_hand(
            "server", Echo, server_context=server_context,
            client_context=client_context) as (_, peer):
        await peer.write(b"x")
        assert await peer.read(1) == b"x"        # with it the tickets
        session = peer.ssl.session
        assert not peer.ssl.session_reused
        assert session.has_ticket
    async with peer_by_hand(
            "server", Echo, server_context=server_context,
            client_context=client_context, handshake=False) as (opening, peer):
        peer.ssl.session = session
        await peer.handshake()
        await asyncio.wait_for(opening, PATIENCE)
        await peer.write(b"x")
        assert await peer.read(1) == b"x"
        assert peer.ssl.session_reused


@each_version
async def test_session_of_our_client_is_to_be_had(loop, version):
    async with tls_pair(serving(version=version), server=Echo) as (_, client):
        await talk(client)
        session = ssl_object_of(client).session
        if engine_of(client) == "mbedtls":
            assert session is None       # its own are no ssl.SSLSession
            return
        assert session is not None and session.has_ticket
        assert ssl_object_of(client).session_reused is False


@pytest.mark.asyncio_is_worse("it has no such thing")
@each_version
async def test_session_cache_resumes(loop, version):
    import rsloop_c
    context = rsloop_c.SSLContext(ssl.PROTOCOL_TLS_CLIENT, session_cache=True)
    context.load_verify_locations(path_of("ca.pem"))
    server_context = serving(version=version)
    reused = []
    for _ in range(3):
        async with tls_pair(server_context, context, server=Echo) as (
                _, client):
            await talk(client)
            reused.append(ssl_object_of(client).session_reused)
            engine = engine_of(client)
    assert reused == ([False] * 3 if engine == "python"
                      else [False, True, True])


async def test_number_of_tickets_of_the_context(loop):
    context = serving(version=TLS13)
    context.num_tickets = 0
    async with peer_by_hand("server", Echo, server_context=context) as (
            _, peer):
        await peer.write(b"x")
        assert await peer.read(1) == b"x"
        assert not peer.ssl.session.has_ticket


async def test_tickets_can_be_switched_off(loop):
    context = serving(version=TLS12)
    context.options |= ssl.OP_NO_TICKET
    async with peer_by_hand("server", Echo, server_context=context) as (
            _, peer):
        await peer.write(b"x")
        assert await peer.read(1) == b"x"
        assert not peer.ssl.session.has_ticket


async def test_post_handshake_auth(loop):
    """The server asks for a certificate when the talk has begun."""
    server_context = serving(version=TLS13, post_handshake_auth=True,
                             verify_mode=ssl.CERT_REQUIRED)
    server_context.load_verify_locations(path_of("ca.pem"))
    client_context = trusting(post_handshake_auth=True)
    client_context.load_cert_chain(path_of("client.pem"), path_of("ec.key"))
    async with peer_by_hand("client", Echo, server_context=server_context,
                            client_context=client_context) as (_, peer):
        assert peer.ssl.getpeercert() is None
        # Python's SSLObject has it one layer below.
        peer.ssl._sslobj.verify_client_post_handshake()
        await peer.write(b"x")
        assert await peer.read(1) == b"x"
        assert peer.ssl.getpeercert()["subject"] == (
            (("commonName", "client"),),)


# --- contexts of other kinds ---

class OwnContext(ssl.SSLContext):
    """As pip's truststore does it."""

    def wrap_bio(self, *arguments, **options):
        wrapped = super().wrap_bio(*arguments, **options)
        wrapped_by_own.append(wrapped)
        return wrapped


class OwnObject(ssl.SSLObject):
    pass


wrapped_by_own = []


async def test_subclass_of_ssl_context_is_asked(loop):
    context = OwnContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path_of("ec.pem"), path_of("ec.key"))
    wrapped_by_own.clear()
    async with tls_pair(context, server=Echo) as (served, client):
        await talk(client)
        assert len(wrapped_by_own) == 1
        assert ssl_object_of(served) is wrapped_by_own.pop()


async def test_class_of_the_ssl_object_is_honoured(loop):
    context = trusting()
    context.sslobject_class = OwnObject
    async with tls_pair(client_context=context, server=Echo) as (_, client):
        await talk(client)
        assert type(ssl_object_of(client)) is OwnObject


@pytest.mark.asyncio_is_worse("it has no engines")
async def test_engine_and_reason_are_told(loop, tls_engine):
    from rsloop_c import _tls_openssl
    unreachable = _tls_openssl.unreachable()
    async with tls_pair() as (served, client):
        for protocol in (served, client):
            engine, reason = map(protocol.transport.get_extra_info, (
                "tls_engine", "tls_engine_reason"))
            if unreachable and tls_engine == "openssl":
                assert engine == "python" and unreachable in reason
            else:
                assert engine == tls_engine
                assert f"RSLOOP_C_TLS is {tls_engine!r}" in reason


async def test_connections_let_go_of_their_contexts(loop):
    refs = []

    async def connect():
        contexts = serving(), trusting()
        refs.extend(map(weakref.ref, contexts))
        async with tls_pair(*contexts, server=Echo) as (_, client):
            await talk(client)

    await connect()
    await settle()
    gc.collect()
    assert [ref() for ref in refs] == [None, None]


async def test_two_servers_with_one_context(loop):
    context = serving()
    accepting = Accepting(Echo)
    servers = [await loop.create_server(accepting, LOOPBACK, 0, ssl=context)
               for _ in range(2)]
    for server in servers:
        transport, client = await loop.create_connection(
            Recorder, *server.sockets[0].getsockname(), ssl=trusting(),
            server_hostname="localhost")
        await talk(client)
        transport.close()
        await asyncio.wait_for(client.lost, PATIENCE)
    await accepting.all_lost()
    for server in servers:
        server.close()
        await server.wait_closed()
