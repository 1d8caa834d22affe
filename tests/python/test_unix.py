# SPDX-License-Identifier: Apache-2.0
"""Unix sockets: servers, clients, paths."""

import asyncio
import os
import pathlib
import socket
import stat
import sys

import pytest

from support import PATIENCE, Accepting, Echo, Recorder, recv_exactly

pytestmark = pytest.mark.stream


@pytest.fixture
def path(tmp_path):
    # pytest's folder names are longer than a socket's path may be.
    import tempfile
    with tempfile.TemporaryDirectory(prefix="rsl") as folder:
        yield os.path.join(folder, "socket")


async def close(server):
    server.close()
    await asyncio.wait_for(server.wait_closed(), PATIENCE)


async def test_server_and_client_talk(loop, path):
    served = loop.create_future()

    class Serving(Echo):
        def connection_made(self, transport):
            super().connection_made(transport)
            served.set_result(self)

    server = await loop.create_unix_server(Serving, path)
    transport, protocol = await loop.create_unix_connection(Recorder, path)
    transport.write(b"hello")
    assert await protocol.received(5) == b"hello"
    assert transport.get_extra_info("peername") == path
    assert transport.get_extra_info("socket").family == socket.AF_UNIX
    transport.close()
    assert await protocol.lost is None
    assert await (await served).lost is None
    await close(server)


async def exchange(loop, path):
    accepting = Accepting()
    server = await loop.create_unix_server(accepting, path)
    transport, protocol = await loop.create_unix_connection(Recorder, path)
    transport.write(b"x")
    assert await protocol.received(1) == b"x"
    transport.close()
    await protocol.lost
    await accepting.all_lost()
    await close(server)


async def test_path_may_be_a_path_object(loop, path):
    await exchange(loop, pathlib.Path(path))


async def test_path_may_be_bytes(loop, path):
    await exchange(loop, os.fsencode(path))


async def test_path_may_be_abstract(loop, path):
    await exchange(loop, "\0" + path)


async def test_socket_file_exists_while_the_server_serves(loop, path):
    server = await loop.create_unix_server(Echo, path)
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    await close(server)


async def test_socket_file_is_removed_by_close(loop, path):
    if sys.version_info < (3, 13):
        pytest.skip("it is removed since 3.13")
    server = await loop.create_unix_server(Echo, path)
    await close(server)
    assert not os.path.exists(path)


async def test_socket_file_is_kept_on_request(loop, path):
    if sys.version_info < (3, 13):
        pytest.skip("cleanup_socket is new in 3.13")
    server = await loop.create_unix_server(Echo, path, cleanup_socket=False)
    await close(server)
    assert os.path.exists(path)


async def test_socket_file_of_another_is_not_removed(loop, path):
    if sys.version_info < (3, 13):
        pytest.skip("it is removed since 3.13")
    server = await loop.create_unix_server(Echo, path)
    os.unlink(path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        await close(server)
        assert os.path.exists(path)


async def test_stale_socket_file_is_replaced(loop, path):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    await exchange(loop, path)


async def test_path_of_a_regular_file_is_refused(loop, path):
    with open(path, "w"):
        pass
    with pytest.raises(OSError) as raised:
        await loop.create_unix_server(Echo, path)
    assert path in str(raised.value)


async def test_given_socket_is_listened_on(loop, path):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    accepting = Accepting()
    server = await loop.create_unix_server(accepting, sock=sock)
    transport, protocol = await loop.create_unix_connection(Recorder, path)
    transport.write(b"x")
    assert await protocol.received(1) == b"x"
    transport.close()
    await protocol.lost
    await accepting.all_lost()
    await close(server)


async def test_connection_over_a_given_socket(loop):
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    transport, protocol = await loop.create_unix_connection(
        Recorder, sock=ours)
    transport.write(b"x")
    assert await recv_exactly(peer, 1) == b"x"
    peer.close()
    assert await protocol.lost is None


async def test_missing_path_raises_file_not_found(loop, path):
    with pytest.raises(FileNotFoundError):
        await loop.create_unix_connection(Recorder, path)


async def test_path_without_listener_raises_connection_refused(loop, path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        with pytest.raises(ConnectionRefusedError):
            await loop.create_unix_connection(Recorder, path)


async def test_tcp_socket_is_refused(loop):
    with socket.socket() as sock:
        with pytest.raises(ValueError, match="A UNIX Domain Stream Socket"):
            await loop.create_unix_server(Echo, sock=sock)
        with pytest.raises(ValueError, match="A UNIX Domain Stream Socket"):
            await loop.create_unix_connection(Recorder, sock=sock)


async def test_neither_path_nor_socket_is_refused(loop):
    with pytest.raises(ValueError, match="path was not specified"):
        await loop.create_unix_server(Echo)
    with pytest.raises(ValueError, match="no path and sock were specified"):
        await loop.create_unix_connection(Recorder)


async def test_path_too_long_raises(loop):
    with pytest.raises(OSError):
        await loop.create_unix_server(Echo, "/tmp/" + "x" * 200)


async def test_megabytes_arrive_whole(loop):
    data = os.urandom(2_000_000)
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    transport, protocol = await loop.create_unix_connection(Echo, sock=ours)
    sending = loop.create_task(loop.sock_sendall(peer, data))
    assert await recv_exactly(peer, len(data)) == data
    await sending
    peer.close()
    await protocol.lost


async def test_write_eof_works(loop):
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    transport, protocol = await loop.create_unix_connection(
        Recorder, sock=ours)
    transport.write(b"request")
    transport.write_eof()
    assert await recv_exactly(peer, 7) == b"request"
    assert await loop.sock_recv(peer, 1) == b""
    peer.send(b"response")
    await protocol.received(8)
    peer.close()
    await protocol.lost


async def test_tls_over_a_unix_socket(loop, path, server_context,
                                      client_context):
    accepting = Accepting()
    server = await loop.create_unix_server(accepting, path,
                                           ssl=server_context)
    transport, protocol = await loop.create_unix_connection(
        Recorder, path, ssl=client_context, server_hostname="localhost")
    transport.write(b"secret")
    assert await protocol.received(6) == b"secret"
    transport.close()
    await asyncio.wait_for(protocol.lost, PATIENCE)
    await accepting.all_lost()
    await close(server)


async def test_unix_streams_work(loop, path):
    async def serve(reader, writer):
        writer.write((await reader.readline()).upper())
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_unix_server(serve, path)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"hello\n")
    assert await reader.read() == b"HELLO\n"
    writer.close()
    await writer.wait_closed()
    await close(server)


async def test_unix_datagrams_work(loop, path):
    received = loop.create_future()

    class Datagrams(asyncio.DatagramProtocol):
        def datagram_received(self, data, address):
            received.set_result(data)

    server, _ = await loop.create_datagram_endpoint(
        Datagrams, local_addr=path, family=socket.AF_UNIX)
    client, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=path, family=socket.AF_UNIX)
    client.sendto(b"datagram")
    assert await asyncio.wait_for(received, PATIENCE) == b"datagram"
    client.close(), server.close()
    await asyncio.sleep(0)


async def test_udp_datagrams_work(loop):
    class Datagrams(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport
            self.received = loop.create_future()

        def datagram_received(self, data, address):
            if data == b"ask":
                self.transport.sendto(b"answer", address)
            else:
                self.received.set_result(data)

    server, _ = await loop.create_datagram_endpoint(
        Datagrams, local_addr=("127.0.0.1", 0))
    client, protocol = await loop.create_datagram_endpoint(
        Datagrams, remote_addr=server.get_extra_info("sockname"))
    if sys.version_info >= (3, 12):
        assert isinstance(client, asyncio.DatagramTransport)
    client.sendto(b"ask")
    assert await asyncio.wait_for(protocol.received, PATIENCE) == b"answer"
    client.close(), server.close()
    await asyncio.sleep(0)
