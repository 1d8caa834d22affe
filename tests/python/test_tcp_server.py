# SPDX-License-Identifier: Apache-2.0
"""create_server and the Server object."""

import asyncio
import errno
import gc
import os
import socket
import sys
import warnings

import pytest

from support import (
    LOOPBACK,
    PATIENCE,
    Accepting,
    Echo,
    Recorder,
    recv_exactly,
    recv_until_eof,
    settle,
    tcp_pair,
    until,
)

pytestmark = pytest.mark.stream


def address_of(server):
    return server.sockets[0].getsockname()


async def connect(loop, address):
    sock = socket.socket(socket.AF_INET6 if len(address) == 4
                         else socket.AF_INET)
    sock.setblocking(False)
    try:
        await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def close(server):
    server.close()
    await asyncio.wait_for(server.wait_closed(), PATIENCE)


async def test_server_accepts_and_serves(loop):
    server = await loop.create_server(Echo, LOOPBACK, 0)
    client = await connect(loop, address_of(server))
    await loop.sock_sendall(client, b"hello")
    assert await recv_exactly(client, 5) == b"hello"
    client.close()
    await close(server)


async def test_server_accepts_many_connections_at_once(loop):
    factory = Accepting()
    server = await loop.create_server(factory, LOOPBACK, 0, backlog=200)
    clients = await asyncio.gather(*(
        connect(loop, address_of(server)) for _ in range(150)))
    await factory.count(150)
    for number, client in enumerate(clients):
        await loop.sock_sendall(client, b"%03d" % number)
    for number, client in enumerate(clients):
        assert await recv_exactly(client, 3) == b"%03d" % number
        client.close()
    await asyncio.gather(*(p.lost for p in factory.made))
    await close(server)


async def test_connection_made_comes_before_data_and_lost_comes_last(loop):
    factory = Accepting(Recorder)
    server = await loop.create_server(factory, LOOPBACK, 0)
    client = await connect(loop, address_of(server))
    await loop.sock_sendall(client, b"at once")
    client.close()
    protocol, = await factory.count(1)
    assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
    assert protocol.calls == ["made", "data", "eof", "lost"]
    await close(server)


async def test_host_none_listens_on_every_family(loop):
    server = await loop.create_server(Echo, None, 0, family=socket.AF_INET)
    assert address_of(server)[0] == "0.0.0.0"
    await close(server)


async def test_empty_host_listens_on_every_interface(loop):
    server = await loop.create_server(Echo, "", 0, family=socket.AF_INET)
    assert address_of(server)[0] == "0.0.0.0"
    await close(server)


async def test_list_of_hosts_listens_on_each(loop):
    server = await loop.create_server(Echo, ["127.0.0.1", "127.0.0.2"], 0)
    hosts = sorted(sock.getsockname()[0] for sock in server.sockets)
    assert hosts == ["127.0.0.1", "127.0.0.2"]
    for sock in server.sockets:
        client = await connect(loop, sock.getsockname())
        await loop.sock_sendall(client, b"x")
        assert await recv_exactly(client, 1) == b"x"
        client.close()
    await close(server)


async def test_ipv6_host_is_served(loop):
    server = await loop.create_server(Echo, "::1", 0)
    client = await connect(loop, address_of(server))
    await loop.sock_sendall(client, b"x")
    assert await recv_exactly(client, 1) == b"x"
    client.close()
    await close(server)


async def test_given_socket_is_listened_on(loop):
    sock = socket.socket()
    sock.bind((LOOPBACK, 0))
    server = await loop.create_server(Echo, sock=sock)
    assert address_of(server) == sock.getsockname()
    client = await connect(loop, sock.getsockname())
    await loop.sock_sendall(client, b"x")
    assert await recv_exactly(client, 1) == b"x"
    client.close()
    await close(server)
    assert sock.fileno() == -1


async def test_host_and_socket_together_are_refused(loop):
    with socket.socket() as sock:
        with pytest.raises(ValueError, match="can not be specified"):
            await loop.create_server(Echo, LOOPBACK, 0, sock=sock)


async def test_neither_host_nor_socket_is_refused(loop):
    with pytest.raises(ValueError,
                       match="Neither host/port nor sock were specified"):
        await loop.create_server(Echo)


async def test_datagram_socket_is_refused(loop):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        with pytest.raises(ValueError, match="A Stream Socket was expected"):
            await loop.create_server(Echo, sock=sock)


async def test_address_in_use_names_the_address(loop):
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError) as raised:
            await loop.create_server(Echo, LOOPBACK, port)
    assert raised.value.errno == errno.EADDRINUSE
    assert str(port) in str(raised.value)


async def test_address_of_another_machine_is_refused(loop):
    with pytest.raises(OSError) as raised:
        await loop.create_server(Echo, "192.0.2.1", 0)
    # 3.13 tries the other addresses and then raises without a number.
    assert raised.value.errno in (errno.EADDRNOTAVAIL, None)


async def test_ssl_of_the_wrong_type_is_a_type_error(loop):
    with pytest.raises(TypeError, match="ssl argument must be an SSLContext"):
        await loop.create_server(Echo, LOOPBACK, 0, ssl=True)


async def test_handshake_timeout_without_ssl_is_a_value_error(loop):
    with pytest.raises(ValueError, match="ssl_handshake_timeout is only"):
        await loop.create_server(Echo, LOOPBACK, 0, ssl_handshake_timeout=1)


async def test_reuse_port_lets_two_servers_share_one_port(loop):
    one = await loop.create_server(Echo, LOOPBACK, 0, reuse_port=True)
    port = address_of(one)[1]
    two = await loop.create_server(Echo, LOOPBACK, port, reuse_port=True)
    for _ in range(10):
        client = await connect(loop, (LOOPBACK, port))
        await loop.sock_sendall(client, b"x")
        assert await recv_exactly(client, 1) == b"x"
        client.close()
    await close(one)
    await close(two)


@pytest.mark.parametrize("reuse", [True, False])
async def test_reuse_address_sets_the_option(loop, reuse):
    server = await loop.create_server(Echo, LOOPBACK, 0, reuse_address=reuse)
    option = server.sockets[0].getsockopt(socket.SOL_SOCKET,
                                          socket.SO_REUSEADDR)
    assert bool(option) is reuse
    await close(server)


async def test_keep_alive_sets_the_option(loop):
    if sys.version_info < (3, 13):
        pytest.skip("keep_alive is new in 3.13")
    try:
        server = await loop.create_server(Echo, LOOPBACK, 0, keep_alive=True)
    except TypeError:
        assert sys.version_info < (3, 13, 1)
        pytest.skip("keep_alive is new in 3.13.1")
    assert server.sockets[0].getsockopt(socket.SOL_SOCKET,
                                        socket.SO_KEEPALIVE)
    await close(server)


async def test_start_serving_false_accepts_only_after_start_serving(loop):
    factory = Accepting()
    server = await loop.create_server(factory, LOOPBACK, 0,
                                      start_serving=False)
    assert server.is_serving() is False
    await server.start_serving()
    await server.start_serving()
    assert server.is_serving() is True
    client = await connect(loop, address_of(server))
    await factory.count(1)
    client.close()
    await factory.end()
    await close(server)


async def test_is_serving_is_false_after_close(loop):
    server = await loop.create_server(Echo, LOOPBACK, 0)
    assert server.is_serving() is True
    server.close()
    assert server.is_serving() is False
    server.close()
    await server.wait_closed()


async def test_sockets_is_a_tuple_of_transport_sockets(loop):
    server = await loop.create_server(Echo, LOOPBACK, 0)
    assert isinstance(server.sockets, tuple)
    sock, = server.sockets
    assert isinstance(sock, asyncio.trsock.TransportSocket)
    assert sock.family == socket.AF_INET
    assert sock.type == socket.SOCK_STREAM
    await close(server)
    assert server.sockets == ()


async def test_get_loop_returns_the_loop(loop):
    server = await loop.create_server(Echo, LOOPBACK, 0)
    assert server.get_loop() is loop
    await close(server)


async def test_server_is_an_abstract_server(loop):
    server = await loop.create_server(Echo, LOOPBACK, 0)
    assert isinstance(server, asyncio.AbstractServer)
    await close(server)


async def test_async_with_closes_the_server(loop):
    async with await loop.create_server(Echo, LOOPBACK, 0) as server:
        assert server.is_serving()
    assert not server.is_serving()


async def test_closed_server_refuses_connections(loop):
    server = await loop.create_server(Echo, LOOPBACK, 0)
    address = address_of(server)
    await close(server)
    with pytest.raises(ConnectionRefusedError):
        await connect(loop, address)


async def test_port_is_free_again_after_close(loop):
    server = await loop.create_server(Echo, LOOPBACK, 0)
    host, port = address_of(server)
    await close(server)
    server = await loop.create_server(Echo, host, port)
    await close(server)


async def test_connections_live_on_after_the_server_is_closed(loop):
    factory = Accepting()
    server = await loop.create_server(factory, LOOPBACK, 0)
    client = await connect(loop, address_of(server))
    await factory.count(1)
    server.close()
    await loop.sock_sendall(client, b"still here")
    assert await recv_exactly(client, 10) == b"still here"
    client.close()
    await factory.made[0].lost
    await server.wait_closed()


async def test_wait_closed_waits_for_the_connections(loop):
    if sys.version_info < (3, 12):
        pytest.skip("it waits since 3.12")
    factory = Accepting()
    server = await loop.create_server(factory, LOOPBACK, 0)
    client = await connect(loop, address_of(server))
    await factory.count(1)
    server.close()
    waiting = loop.create_task(server.wait_closed())
    await settle()
    assert not waiting.done()
    client.close()
    await asyncio.wait_for(waiting, PATIENCE)
    await factory.made[0].lost


async def test_wait_closed_returns_without_connections(loop):
    server = await loop.create_server(Echo, LOOPBACK, 0)
    server.close()
    assert await asyncio.wait_for(server.wait_closed(), PATIENCE) is None


async def test_close_clients_closes_them_after_their_data(loop):
    if sys.version_info < (3, 13):
        pytest.skip("close_clients is new in 3.13")
    factory = Accepting()
    server = await loop.create_server(factory, LOOPBACK, 0)
    client = await connect(loop, address_of(server))
    await factory.count(1)
    factory.made[0].transport.write(b"last words")
    server.close()
    server.close_clients()
    assert await recv_until_eof(client) == b"last words"
    await asyncio.wait_for(server.wait_closed(), PATIENCE)
    client.close()
    assert await factory.made[0].lost is None


async def test_abort_clients_ends_them_at_once(loop):
    if sys.version_info < (3, 13):
        pytest.skip("abort_clients is new in 3.13")
    factory = Accepting()
    server = await loop.create_server(factory, LOOPBACK, 0)
    client = await connect(loop, address_of(server))
    await factory.count(1)
    factory.made[0].transport.write(b"x" * (8 << 20))
    server.close()
    server.abort_clients()
    await asyncio.wait_for(server.wait_closed(), PATIENCE)
    await factory.made[0].lost
    client.close()


async def test_serve_forever_runs_until_cancelled_and_closes(loop):
    server = await loop.create_server(Echo, LOOPBACK, 0, start_serving=False)
    task = loop.create_task(server.serve_forever())
    await until(server.is_serving)
    client = await connect(loop, address_of(server))
    await loop.sock_sendall(client, b"x")
    assert await recv_exactly(client, 1) == b"x"
    client.close()
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not server.is_serving()


async def test_serve_forever_twice_is_refused(loop):
    server = await loop.create_server(Echo, LOOPBACK, 0)
    task = loop.create_task(server.serve_forever())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="already being awaited on"):
        await server.serve_forever()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_serve_forever_of_a_closed_server_is_refused(loop):
    server = await loop.create_server(Echo, LOOPBACK, 0)
    await close(server)
    with pytest.raises(RuntimeError, match="is closed"):
        await server.serve_forever()


async def test_repr_names_the_class_and_the_sockets(loop):
    server = await loop.create_server(Echo, LOOPBACK, 0)
    assert "Server sockets=" in repr(server)
    await close(server)


async def test_exception_in_the_factory_is_reported_and_serving_goes_on(loop):
    seen = []
    loop.set_debug(True)     # asyncio reports it in debug mode only
    loop.set_exception_handler(
        lambda loop, context: seen.append(str(context["exception"])))
    factory = Accepting()
    makers = [factory]

    def failing():
        if makers:
            makers.pop()
            raise ValueError("of the factory")
        return factory()

    server = await loop.create_server(failing, LOOPBACK, 0)
    with warnings.catch_warnings():
        # asyncio leaves the accepted socket to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        first = await connect(loop, address_of(server))
        await until(lambda: seen)
        gc.collect()
    assert seen == ["of the factory"]
    assert await recv_until_eof(first) == b""
    first.close()
    second = await connect(loop, address_of(server))
    await factory.count(1)
    second.close()
    await factory.end()
    await close(server)


async def test_exception_in_connection_made_is_reported(loop):
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(context))

    class Failing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise ValueError("of connection_made")

    factory = Accepting(Failing)
    server = await loop.create_server(factory, LOOPBACK, 0)
    client = await connect(loop, address_of(server))
    await until(lambda: seen)
    assert str(seen[0]["exception"]) == "of connection_made"
    client.close()
    await factory.end()
    await close(server)


async def test_connection_closed_inside_connection_made(loop):
    class Closing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(b"no room")
            transport.close()

    factory = Accepting(Closing)
    server = await loop.create_server(factory, LOOPBACK, 0)
    client = await connect(loop, address_of(server))
    assert await recv_until_eof(client) == b"no room"
    client.close()
    assert await factory.made[0].lost is None
    await close(server)


async def test_server_closed_inside_connection_made(loop):
    class Closing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            server.close()

    factory = Accepting(Closing)
    server = await loop.create_server(factory, LOOPBACK, 0)
    client = await connect(loop, address_of(server))
    await factory.count(1)
    assert not server.is_serving()
    client.close()
    await factory.made[0].lost
    await server.wait_closed()


async def test_connections_waiting_in_the_backlog_are_closed_with_it(loop):
    """Connected in the kernel, not yet accepted when the server closes."""
    server = await loop.create_server(Echo, LOOPBACK, 0)
    sock = socket.create_connection(address_of(server))
    server.close()
    sock.settimeout(PATIENCE)
    try:
        data = await loop.run_in_executor(None, sock.recv, 1)
    except ConnectionResetError:
        data = b""
    assert data == b""
    sock.close()
    await server.wait_closed()


async def test_nodelay_is_set_on_accepted_sockets(loop):
    async with tcp_pair() as (served, _):
        sock = served.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


async def test_start_server_streams_serve(loop):
    async def serve(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    reader, writer = await asyncio.open_connection(*address_of(server))
    writer.write(b"hello\n")
    assert await reader.read() == b"HELLO\n"
    writer.close()
    await writer.wait_closed()
    await close(server)


async def test_many_streams_carry_much_data_correctly(loop):
    async def serve(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)

    async def client(seed):
        data = bytes([seed]) * 200_000 + os.urandom(100_000)
        reader, writer = await asyncio.open_connection(*address_of(server))

        async def send():
            for start in range(0, len(data), 10_000):
                writer.write(data[start:start + 10_000])
                await writer.drain()
            writer.write_eof()

        sending = loop.create_task(send())
        assert await reader.read() == data
        await sending
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(client(seed) for seed in range(20)))
    await close(server)


def test_server_survives_from_one_run_to_the_next(loop):
    factory = Accepting()

    async def start():
        return await loop.create_server(factory, LOOPBACK, 0)

    server = loop.run_until_complete(start())
    # The kernel accepts while the loop does not run.
    sock = socket.create_connection(address_of(server))
    sock.sendall(b"hello")

    async def serve():
        await factory.count(1)
        await factory.made[0].received(5)

    loop.run_until_complete(asyncio.wait_for(serve(), PATIENCE))
    sock.settimeout(PATIENCE)
    assert sock.recv(5) == b"hello"
    sock.close()

    async def stop():
        await factory.made[0].lost
        await close(server)

    loop.run_until_complete(stop())
