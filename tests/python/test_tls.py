# SPDX-License-Identifier: Apache-2.0
"""TLS: servers, clients, start_tls, verification, timeouts, the end."""

import asyncio
import os
import socket
import ssl
import sys

import pytest

from support import (
    LOOPBACK,
    PATIENCE,
    Accepting,
    Echo,
    Recorder,
    recv_exactly,
    reset,
    settle,
    tcp_socket_pair,
    until,
)
from tls import needs_shutdown_timeout, new_context, tls_pair

pytestmark = [pytest.mark.stream, pytest.mark.tls]

async def test_bytes_go_both_ways(loop, server_context, client_context):
    async with tls_pair(server_context, client_context) as (served, client):
        client.transport.write(b"from client")
        assert await served.received(11) == b"from client"
        served.transport.write(b"from server")
        assert await client.received(11) == b"from server"


async def test_what_goes_over_the_wire_is_not_plain(loop, server_context,
                                                    client_context):
    ours, peer = tcp_socket_pair()
    task = loop.create_task(loop.create_connection(
        Recorder, sock=ours, ssl=client_context, server_hostname="localhost"))
    hello = await asyncio.wait_for(loop.sock_recv(peer, 1000), PATIENCE)
    assert hello[0] == 22            # a handshake record
    peer.close()
    with pytest.raises(OSError):
        await asyncio.wait_for(task, PATIENCE)


async def test_megabytes_arrive_whole(loop, server_context, client_context):
    data = os.urandom(2_000_000)
    async with tls_pair(server_context, client_context, Echo) as (_, client):
        client.transport.write(data)
        assert await client.received(len(data)) == data


async def test_many_connections_at_once(loop, server_context, client_context):
    served = Accepting(Echo)
    server = await loop.create_server(served, LOOPBACK, 0, ssl=server_context)
    address = server.sockets[0].getsockname()

    async def client(number):
        transport, protocol = await loop.create_connection(
            Recorder, *address, ssl=client_context,
            server_hostname="localhost")
        transport.write(b"%03d" % number * 1000)
        assert await protocol.received(3000) == b"%03d" % number * 1000
        transport.close()
        await asyncio.wait_for(protocol.lost, PATIENCE)

    await asyncio.gather(*(client(number) for number in range(30)))
    await asyncio.gather(*(protocol.lost for protocol in served.made))
    server.close()
    await server.wait_closed()


async def test_extra_info_tells_about_the_session(loop, server_context,
                                                  client_context):
    async with tls_pair(server_context, client_context) as (served, client):
        info = client.transport.get_extra_info
        assert info("cipher")[1].startswith("TLS")
        assert info("peercert")["subject"] == ((("commonName", "localhost"),),)
        assert info("ssl_object").version().startswith("TLSv1.")
        assert info("sslcontext") is client_context
        assert info("compression") is None
        assert info("peername") == \
            served.transport.get_extra_info("sockname")
        assert info("socket").fileno() >= 0
        assert info("no such thing", 42) == 42


async def test_alpn_is_negotiated(loop, server_context, client_context):
    server_context.set_alpn_protocols(["h2", "http/1.1"])
    client_context.set_alpn_protocols(["http/1.1"])
    async with tls_pair(server_context, client_context) as (served, client):
        for protocol in (served, client):
            ssl_object = protocol.transport.get_extra_info("ssl_object")
            assert ssl_object.selected_alpn_protocol() == "http/1.1"


async def test_sni_callback_sees_the_name(loop, server_context,
                                          client_context):
    seen = []
    server_context.sni_callback = \
        lambda ssl_object, name, context: seen.append(name)
    async with tls_pair(server_context, client_context):
        assert seen == ["localhost"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2,
                                     ssl.TLSVersion.TLSv1_3])
async def test_version_of_the_context_is_honoured(loop, server_context,
                                                  client_context, version):
    client_context.minimum_version = client_context.maximum_version = version
    async with tls_pair(server_context, client_context, Echo) as (_, client):
        seen = client.transport.get_extra_info("ssl_object").version()
        assert seen == version.name.replace("_", ".")
        client.transport.write(b"x")
        await client.received(1)


async def test_untrusted_certificate_raises(loop, server_context):
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(context))
    server = await loop.create_server(Recorder, LOOPBACK, 0,
                                      ssl=server_context)
    with pytest.raises(ssl.SSLCertVerificationError) as raised:
        await loop.create_connection(
            Recorder, *server.sockets[0].getsockname(),
            ssl=ssl.create_default_context(), server_hostname="localhost")
    assert raised.value.verify_code != 0
    await settle()
    server.close()
    await server.wait_closed()


async def test_wrong_host_name_raises(loop, server_context, client_context):
    loop.set_exception_handler(lambda loop, context: None)
    server = await loop.create_server(Recorder, LOOPBACK, 0,
                                      ssl=server_context)
    with pytest.raises(ssl.SSLCertVerificationError, match="[Hh]ostname"):
        await loop.create_connection(
            Recorder, *server.sockets[0].getsockname(),
            ssl=client_context, server_hostname="another.name")
    await settle()
    server.close()
    await server.wait_closed()


async def test_client_certificate_is_required_and_seen(
        loop, server_context, client_context, certificate):
    server_context.verify_mode = ssl.CERT_REQUIRED
    server_context.load_verify_locations(certificate[0])
    client_context.load_cert_chain(*certificate)
    async with tls_pair(server_context, client_context) as (served, _):
        assert served.transport.get_extra_info("peercert")["subject"] == (
            (("commonName", "localhost"),),)


async def test_plain_text_client_of_a_tls_server_is_dropped(loop,
                                                            server_context):
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(context))
    server = await loop.create_server(Recorder, LOOPBACK, 0,
                                      ssl=server_context)
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, server.sockets[0].getsockname())
        await loop.sock_sendall(sock, b"GET / HTTP/1.0\r\n\r\n")
        try:
            while await asyncio.wait_for(loop.sock_recv(sock, 100), PATIENCE):
                pass
        except ConnectionResetError:
            pass
    await settle()
    server.close()
    await server.wait_closed()


async def test_handshake_timeout_aborts_the_connection(loop, client_context):
    ours, peer = tcp_socket_pair()
    with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking"):
        await loop.create_connection(
            Recorder, sock=ours, ssl=client_context,
            server_hostname="localhost", ssl_handshake_timeout=0.02)
    peer.close()


async def test_handshake_timeout_of_a_server_drops_a_silent_client(
        loop, server_context):
    loop.set_exception_handler(lambda loop, context: None)
    server = await loop.create_server(Recorder, LOOPBACK, 0,
                                      ssl=server_context,
                                      ssl_handshake_timeout=0.02)
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, server.sockets[0].getsockname())
        try:
            data = await asyncio.wait_for(loop.sock_recv(sock, 1), PATIENCE)
        except ConnectionResetError:
            data = b""
        assert data == b""
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("timeout, kind", [
    (0, ValueError), (-1, ValueError)])
async def test_handshake_timeout_must_be_positive(
        loop, client_context, timeout, kind):
    ours, peer = tcp_socket_pair()
    with pytest.raises(kind, match="should be a positive number"):
        await loop.create_connection(
            Recorder, sock=ours, ssl=client_context,
            server_hostname="localhost", ssl_handshake_timeout=timeout)
    ours.close(), peer.close()


async def test_peer_gone_during_the_handshake_raises(loop, client_context):
    ours, peer = tcp_socket_pair()
    task = loop.create_task(loop.create_connection(
        Recorder, sock=ours, ssl=client_context, server_hostname="localhost"))
    await loop.sock_recv(peer, 1000)
    peer.close()
    with pytest.raises((ConnectionResetError, ConnectionAbortedError,
                        ssl.SSLError)):
        await asyncio.wait_for(task, PATIENCE)


async def test_reset_during_the_handshake_raises(loop, client_context):
    ours, peer = tcp_socket_pair()
    task = loop.create_task(loop.create_connection(
        Recorder, sock=ours, ssl=client_context, server_hostname="localhost"))
    await loop.sock_recv(peer, 1000)
    reset(peer)
    with pytest.raises((ConnectionResetError, ConnectionAbortedError)):
        await asyncio.wait_for(task, PATIENCE)


async def test_close_ends_both_sides_cleanly(loop, server_context,
                                             client_context):
    async with tls_pair(server_context, client_context) as (served, client):
        client.transport.write(b"last words")
        client.transport.close()
        assert await asyncio.wait_for(client.lost, PATIENCE) is None
        assert await asyncio.wait_for(served.lost, PATIENCE) is None
        assert served.data == b"last words"
        if sys.version_info >= (3, 11):
            assert served.calls[-2:] == ["eof", "lost"]


async def test_abort_ends_at_once(loop, server_context, client_context):
    async with tls_pair(server_context, client_context) as (served, client):
        client.transport.abort()
        assert await asyncio.wait_for(client.lost, PATIENCE) is None
        await asyncio.wait_for(served.lost, PATIENCE)


async def test_reset_of_an_open_session_is_reported_once(
        loop, server_context, client_context):
    async with tls_pair(server_context, client_context) as (served, client):
        reset_socket = socket.socket(
            fileno=client.transport.get_extra_info("socket").dup().detach())
        import struct
        reset_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                struct.pack("ii", 1, 0))
        client.transport.abort()
        reset_socket.close()
        await asyncio.wait_for(client.lost, PATIENCE)
        exc = await asyncio.wait_for(served.lost, PATIENCE)
        assert exc is None or isinstance(exc, ConnectionResetError)
        assert served.calls.count("lost") == 1


@needs_shutdown_timeout
async def test_shutdown_timeout_ends_a_close_without_answer(
        loop, server_context, client_context):
    class Silent(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            # Never reads the close_notify, so never answers it.
            transport.pause_reading()

    async with tls_pair(server_context, client_context, Silent,
                        ssl_shutdown_timeout=0.02) as (_, client):
        client.transport.close()
        await asyncio.wait_for(client.lost, PATIENCE)


async def test_write_eof_is_not_supported(loop, server_context,
                                          client_context):
    async with tls_pair(server_context, client_context) as (_, client):
        assert client.transport.can_write_eof() is False
        with pytest.raises(NotImplementedError):
            client.transport.write_eof()


async def test_pause_and_resume_reading_lose_nothing(loop, server_context,
                                                     client_context):
    data = os.urandom(500_000)
    async with tls_pair(server_context, client_context) as (served, client):
        served.transport.pause_reading()
        client.transport.write(data)
        await settle()
        before = len(served.data)
        await settle()
        assert len(served.data) == before
        served.transport.resume_reading()
        assert await served.received(len(data)) == data


async def test_write_flow_control_pauses_and_resumes(loop, server_context,
                                                     client_context):
    async with tls_pair(server_context, client_context) as (served, client):
        served.transport.pause_reading()
        await settle()
        total = 0
        while "pause" not in client.calls:
            client.transport.write(b"x" * 500_000)
            total += 500_000
            await asyncio.sleep(0)
            assert total < 100_000_000
        served.transport.resume_reading()
        await until(lambda: "resume" in client.calls)
        await served.received(total)


async def test_transport_is_an_asyncio_transport(loop, server_context,
                                                 client_context):
    async with tls_pair(server_context, client_context) as (served, client):
        assert isinstance(client.transport, asyncio.Transport)
        assert isinstance(served.transport, asyncio.Transport)


async def test_buffered_protocol_reads_tls(loop, server_context,
                                           client_context):
    from support import BufferedRecorder
    data = os.urandom(100_000)
    async with tls_pair(server_context, client_context,
                        client=BufferedRecorder) as (served, client):
        served.transport.write(data)
        assert await client.received(len(data)) == data


async def test_start_tls_upgrades_both_sides(loop, server_context,
                                             client_context):
    ours, theirs = tcp_socket_pair()
    client_side, client = await loop.create_connection(Recorder, sock=ours)
    server_side, served = await loop.create_connection(Recorder, sock=theirs)
    client_side.write(b"plain")
    assert await served.received(5) == b"plain"
    new_server, new_client = await asyncio.wait_for(asyncio.gather(
        loop.start_tls(server_side, served, server_context, server_side=True),
        loop.start_tls(client_side, client, client_context,
                       server_hostname="localhost")), PATIENCE)
    assert new_client.get_extra_info("cipher")
    new_client.write(b"secret")
    assert await served.received(11) == b"plainsecret"
    new_server.write(b"answer")
    assert await client.received(6) == b"answer"
    new_client.close()
    assert await asyncio.wait_for(client.lost, PATIENCE) is None
    assert await asyncio.wait_for(served.lost, PATIENCE) is None


async def test_start_tls_after_unsent_writes_sends_them_plain_first(
        loop, client_context):
    plain = b"plain" * 200_000
    ours, peer = tcp_socket_pair()
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    transport.write(plain)
    upgrading = loop.create_task(loop.start_tls(
        transport, protocol, client_context, server_hostname="localhost"))
    received = await recv_exactly(peer, len(plain) + 1)
    assert received[:len(plain)] == plain
    assert received[len(plain)] == 22          # a handshake record
    peer.close()
    with pytest.raises(OSError):
        await asyncio.wait_for(upgrading, PATIENCE)


async def test_start_tls_handshake_timeout_aborts(loop, client_context):
    ours, peer = tcp_socket_pair()
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    with pytest.raises(ConnectionAbortedError):
        await loop.start_tls(transport, protocol, client_context,
                             server_hostname="localhost",
                             ssl_handshake_timeout=0.02)
    peer.close()
    await settle()


async def test_start_tls_refuses_what_is_no_context(loop):
    ours, peer = tcp_socket_pair()
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    with pytest.raises(TypeError, match="sslcontext is expected"):
        await loop.start_tls(transport, protocol, None)
    transport.abort()
    await protocol.lost
    peer.close()


async def test_start_tls_over_tls_works(loop, server_context, client_context):
    """TLS in TLS, as through an HTTPS proxy."""
    if sys.version_info < (3, 11):
        pytest.skip("new in 3.11")
    async with tls_pair(server_context, client_context) as (served, client):
        inner_server, inner_client = await asyncio.wait_for(asyncio.gather(
            loop.start_tls(served.transport, served, server_context,
                           server_side=True),
            loop.start_tls(client.transport, client, client_context,
                           server_hostname="localhost")), PATIENCE)
        inner_client.write(b"twice secret")
        assert await served.received(12) == b"twice secret"
        inner_client.abort(), inner_server.abort()
        await asyncio.gather(client.lost, served.lost)


async def test_stream_writer_start_tls_works(loop, server_context,
                                             client_context):
    if sys.version_info < (3, 11):
        pytest.skip("StreamWriter.start_tls is new in 3.11")

    async def serve(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"OK\n")
        await writer.drain()
        await writer.start_tls(server_context)
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    reader, writer = await asyncio.open_connection(
        *server.sockets[0].getsockname())
    writer.write(b"STARTTLS\n")
    assert await reader.readline() == b"OK\n"
    await writer.start_tls(client_context, server_hostname="localhost")
    writer.write(b"secret\n")
    assert await asyncio.wait_for(reader.readline(), PATIENCE) == b"SECRET\n"
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def test_open_connection_speaks_tls(loop, server_context,
                                          client_context):
    async def serve(reader, writer):
        writer.write(await reader.readline())
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, LOOPBACK, 0,
                                        ssl=server_context)
    reader, writer = await asyncio.open_connection(
        *server.sockets[0].getsockname(), ssl=client_context,
        server_hostname="localhost")
    writer.write(b"line\n")
    assert await asyncio.wait_for(reader.read(), PATIENCE) == b"line\n"
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def test_encrypted_key_is_usable(loop, client_context, certificate,
                                       tmp_path):
    import subprocess
    encrypted = str(tmp_path / "encrypted.pem")
    subprocess.run(["openssl", "ec", "-aes256", "-in", certificate[1],
                    "-passout", "pass:secret", "-out", encrypted],
                   check=True, stderr=subprocess.DEVNULL)
    context = new_context(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[0], encrypted, "secret")
    async with tls_pair(context, client_context, Echo) as (_, client):
        client.transport.write(b"x")
        await client.received(1)


def test_contexts_and_protocols_are_released(loop, server_context,
                                             client_context):
    import gc
    import weakref
    refs = []

    async def main():
        async with tls_pair(server_context, client_context) as pair:
            for protocol in pair:
                refs.append(weakref.ref(protocol))
                refs.append(weakref.ref(protocol.transport))
            pair[1].transport.close()
            await pair[1].lost

    loop.run_until_complete(main())
    loop.run_until_complete(asyncio.sleep(0.01))
    gc.collect()
    assert [ref() for ref in refs if ref() is not None] == []
