# SPDX-License-Identifier: Apache-2.0
"""loop.sock_*: coroutines over sockets that stay the caller's."""

import asyncio
import os
import socket
import sys

import pytest

from support import LOOPBACK, PATIENCE, recv_exactly, settle, tcp_socket_pair


@pytest.fixture
def udp():
    pair = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in "ab"]
    for sock in pair:
        sock.bind((LOOPBACK, 0))
        sock.setblocking(False)
    yield pair
    for sock in pair:
        sock.close()


needs_311 = pytest.mark.skipif(sys.version_info < (3, 11),
                               reason="datagram sock_* are new in 3.11")


@pytest.mark.parametrize("name, args", [
    ("sock_recv", (1,)), ("sock_sendall", (b"x",)),
    ("sock_recv_into", (bytearray(1),)),
])
async def test_sock_methods_are_real_coroutines(loop, pair, name, args):
    pair[1].send(b"x")
    coro = getattr(loop, name)(pair[0], *args)
    assert asyncio.iscoroutine(coro)
    await coro


async def test_sock_recv_returns_what_is_there(loop, pair):
    pair[1].send(b"hello")
    assert await loop.sock_recv(pair[0], 100) == b"hello"


async def test_sock_recv_returns_at_most_what_was_asked(loop, pair):
    pair[1].send(b"hello")
    assert await loop.sock_recv(pair[0], 2) == b"he"
    assert await loop.sock_recv(pair[0], 100) == b"llo"


async def test_sock_recv_waits_for_data(loop, pair):
    task = loop.create_task(loop.sock_recv(pair[0], 100))
    await settle()
    assert not task.done()
    pair[1].send(b"late")
    assert await asyncio.wait_for(task, PATIENCE) == b"late"


async def test_sock_recv_returns_nothing_at_the_end_of_file(loop, pair):
    pair[1].close()
    assert await loop.sock_recv(pair[0], 100) == b""


async def test_sock_recv_into_fills_the_buffer(loop, pair):
    buffer = bytearray(10)
    pair[1].send(b"hello")
    assert await loop.sock_recv_into(pair[0], buffer) == 5
    assert buffer[:5] == b"hello"


async def test_sock_recv_into_waits_for_data(loop, pair):
    buffer = bytearray(10)
    task = loop.create_task(loop.sock_recv_into(pair[0], memoryview(buffer)))
    await settle()
    assert not task.done()
    pair[1].send(b"late")
    assert await asyncio.wait_for(task, PATIENCE) == 4
    assert buffer[:4] == b"late"


async def test_sock_sendall_of_more_than_the_socket_holds(loop, pair):
    data = os.urandom(4 << 20)
    task = loop.create_task(loop.sock_sendall(pair[0], data))
    assert await recv_exactly(pair[1], len(data)) == data
    assert await task is None


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_sock_sendall_accepts_any_bytes_like(loop, pair, kind):
    await loop.sock_sendall(pair[0], kind(b"hello"))
    assert await recv_exactly(pair[1], 5) == b"hello"


async def test_sock_sendall_of_nothing_returns(loop, pair):
    assert await loop.sock_sendall(pair[0], b"") is None


async def test_cancelled_sock_recv_leaves_the_socket_usable(loop, pair):
    task = loop.create_task(loop.sock_recv(pair[0], 100))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert loop.remove_reader(pair[0]) is False
    pair[1].send(b"kept")
    assert await loop.sock_recv(pair[0], 100) == b"kept"


async def test_cancelled_sock_sendall_leaves_the_socket_usable(loop, pair):
    task = loop.create_task(loop.sock_sendall(pair[0], b"x" * (16 << 20)))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert loop.remove_writer(pair[0]) is False
    assert await loop.sock_recv(pair[1], 1) == b"x"


async def test_cancelled_sock_recv_does_not_eat_data_that_comes_later(
        loop, pair):
    task = loop.create_task(loop.sock_recv(pair[0], 100))
    await asyncio.sleep(0)
    pair[1].send(b"data")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await loop.sock_recv(pair[0], 100) == b"data"


async def test_sock_connect_and_sock_accept_meet(loop):
    with socket.create_server((LOOPBACK, 0)) as listener:
        listener.setblocking(False)
        with socket.socket() as client:
            client.setblocking(False)
            accepting = loop.create_task(loop.sock_accept(listener))
            await loop.sock_connect(client, listener.getsockname())
            conn, address = await asyncio.wait_for(accepting, PATIENCE)
            with conn:
                assert address == client.getsockname()
                assert conn.gettimeout() == 0
                await loop.sock_sendall(conn, b"met")
                assert await loop.sock_recv(client, 10) == b"met"


async def test_sock_connect_refused_raises(loop):
    with socket.create_server((LOOPBACK, 0)) as listener:
        address = listener.getsockname()
    with socket.socket() as client:
        client.setblocking(False)
        with pytest.raises(ConnectionRefusedError):
            await loop.sock_connect(client, address)


async def test_sock_connect_resolves_names(loop):
    with socket.create_server((LOOPBACK, 0)) as listener:
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, ("localhost",
                                             listener.getsockname()[1]))
            assert client.getpeername() == listener.getsockname()


async def test_sock_connect_to_a_unix_socket(loop, tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener, \
            socket.socket(socket.AF_UNIX) as client:
        listener.bind(path)
        listener.listen()
        client.setblocking(False)
        await loop.sock_connect(client, path)
        assert client.getpeername() == path


async def test_sock_recv_of_a_reset_connection_raises(loop, pair):
    from support import reset
    reset(pair[1])
    with pytest.raises(ConnectionResetError):
        await loop.sock_recv(pair[0], 1)


async def test_sock_sendall_to_a_closed_peer_raises(loop, pair):
    from support import reset
    reset(pair[1])
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        await loop.sock_sendall(pair[0], b"x" * (1 << 20))


@needs_311
async def test_sock_sendto_and_recvfrom_carry_a_datagram(loop, udp):
    left, right = udp
    assert await loop.sock_sendto(left, b"datagram", right.getsockname()) == 8
    assert await asyncio.wait_for(loop.sock_recvfrom(right, 100), PATIENCE) \
        == (b"datagram", left.getsockname())


@needs_311
async def test_sock_recvfrom_waits_for_a_datagram(loop, udp):
    left, right = udp
    task = loop.create_task(loop.sock_recvfrom(right, 100))
    await settle()
    assert not task.done()
    left.sendto(b"late", right.getsockname())
    assert await asyncio.wait_for(task, PATIENCE) == (b"late",
                                                      left.getsockname())


@needs_311
async def test_sock_recvfrom_into_fills_the_buffer(loop, udp):
    left, right = udp
    left.sendto(b"datagram", right.getsockname())
    buffer = bytearray(100)
    count, address = await asyncio.wait_for(
        loop.sock_recvfrom_into(right, buffer), PATIENCE)
    assert (count, address) == (8, left.getsockname())
    assert buffer[:8] == b"datagram"


@needs_311
async def test_empty_datagram_is_not_an_end(loop, udp):
    left, right = udp
    assert await loop.sock_sendto(left, b"", right.getsockname()) == 0
    assert await asyncio.wait_for(loop.sock_recvfrom(right, 100), PATIENCE) \
        == (b"", left.getsockname())


@needs_311
@pytest.mark.parametrize("name", ["unnamed", "path", "abstract", "ipv6"])
async def test_senders_address_is_the_socket_modules(loop, tmp_path, name):
    family = socket.AF_INET6 if name == "ipv6" else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_DGRAM) as sender, \
            socket.socket(family, socket.SOCK_DGRAM) as receiver:
        if name == "ipv6":
            receiver.bind(("::1", 0))
            sender.bind(("::1", 0))
        else:
            receiver.bind(str(tmp_path / "receiver"))
        if name == "path":
            sender.bind(str(tmp_path / "sender"))
        elif name == "abstract":
            sender.bind(f"\0rsloop_c-{os.getpid()}")
        receiver.setblocking(False)
        for _ in range(3):
            sender.sendto(b"x", receiver.getsockname())
        expected = receiver.recvfrom(1)
        assert await loop.sock_recvfrom(receiver, 1) == expected
        assert await loop.sock_recvfrom_into(receiver, bytearray(1)) == \
            (1, expected[1])


@needs_311
async def test_sock_recvfrom_of_a_stream_has_no_address(loop, pair):
    pair[1].send(b"data")
    assert await loop.sock_recvfrom(pair[0], 10) == (b"data", None)


async def test_message_longer_than_any_buffer_of_the_loop_is_whole(loop):
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        left.setblocking(False)
        right.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 << 20)
        size = right.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2 - 4096
        message = os.urandom(size)
        task = loop.create_task(loop.sock_recv(left, 4 << 20))
        await settle()
        right.send(message)
        assert await asyncio.wait_for(task, PATIENCE) == message


@pytest.mark.parametrize("size", [1, 1000, 65536, 300_000])
async def test_every_size_of_read_gets_its_bytes(loop, pair, size):
    data = os.urandom(1 << 20)
    sending = loop.create_task(loop.sock_sendall(pair[1], data))
    received = bytearray()
    while len(received) < min(len(data), 500 * size):
        piece = await loop.sock_recv(pair[0], size)
        assert 0 < len(piece) <= size
        received += piece
    assert data.startswith(received)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


@pytest.mark.parametrize("family, address", [
    (socket.AF_INET, (LOOPBACK, 0)), (socket.AF_INET6, ("::1", 0)),
    (socket.AF_UNIX, "")], ids=["ipv4", "ipv6", "unix"])
async def test_accepted_socket_is_the_socket_modules(loop, family, address):
    with socket.socket(family) as listener:
        listener.bind(address)     # "": the kernel chooses an abstract name
        listener.listen()
        listener.setblocking(False)
        for _ in range(2):
            task = loop.create_task(loop.sock_accept(listener))
            await settle()
            with socket.socket(family) as client:
                client.connect(listener.getsockname())
                conn, peer = await asyncio.wait_for(task, PATIENCE)
                with conn:
                    assert type(conn) is socket.socket
                    assert (conn.family, conn.type, conn.proto) == \
                        (family, socket.SOCK_STREAM, listener.proto)
                    assert peer == client.getsockname()
                    assert not conn.get_inheritable()
                    assert conn.gettimeout() == 0


async def test_sock_accept_out_of_descriptors_raises_and_recovers(loop):
    import resource
    with socket.create_server((LOOPBACK, 0)) as listener, \
            socket.create_connection(listener.getsockname()) as client:
        listener.setblocking(False)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = [os.dup(0)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (used[0] + 50, limits[1]))
        try:
            with pytest.raises(OSError):
                while True:
                    used.append(os.dup(0))
            with pytest.raises(OSError, match="Too many open files"):
                await loop.sock_accept(listener)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for fd in used:
                os.close(fd)
        conn, address = await loop.sock_accept(listener)
        conn.close()
        assert address == client.getsockname()


async def test_sock_methods_in_debug_mode(loop, pair):
    loop.set_debug(True)
    receiving = loop.create_task(recv_exactly(pair[1], 1 << 20))
    await loop.sock_sendall(pair[0], bytes(1 << 20))
    assert await receiving == bytes(1 << 20)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(loop.sock_recv(pair[0], 1), 0.001)
    assert loop.remove_reader(pair[0]) is False


@pytest.mark.skipif(sys.version_info < (3, 12), reason="new in 3.12")
async def test_eager_task_receives_what_is_there_at_once(loop, pair):
    pair[1].send(b"data")
    await settle()
    loop.set_task_factory(asyncio.eager_task_factory)
    task = loop.create_task(loop.sock_recv(pair[0], 10))
    assert task.done() and task.result() == b"data"
    task = loop.create_task(loop.sock_recv(pair[0], 10))
    assert not task.done()
    pair[1].send(b"late")
    assert await asyncio.wait_for(task, PATIENCE) == b"late"


async def test_sock_sendfile_sends_a_file(loop, pair, tmp_path):
    data = os.urandom(300_000)
    path = tmp_path / "file"
    path.write_bytes(data)
    with open(path, "rb") as file:
        task = loop.create_task(loop.sock_sendfile(pair[0], file))
        assert await recv_exactly(pair[1], len(data)) == data
        assert await task == len(data)
        assert file.tell() == len(data)


async def test_sock_sendfile_sends_a_part(loop, pair, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with open(path, "rb") as file:
        assert await loop.sock_sendfile(pair[0], file, 3, 4) == 4
        assert await recv_exactly(pair[1], 4) == b"3456"


async def test_sock_sendfile_falls_back_for_what_is_no_file(loop, pair):
    import io
    assert await loop.sock_sendfile(pair[0], io.BytesIO(b"in memory")) == 9
    assert await recv_exactly(pair[1], 9) == b"in memory"


async def test_sock_sendfile_without_fallback_raises(loop, pair):
    import io
    with pytest.raises(asyncio.SendfileNotAvailableError):
        await loop.sock_sendfile(pair[0], io.BytesIO(b"x"), fallback=False)


@pytest.mark.stream
async def test_sock_methods_refuse_the_socket_of_a_transport(loop):
    from support import transport_and_peer
    async with transport_and_peer() as (transport, _, _):
        sock = transport.get_extra_info("socket")
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop.add_reader(sock, print)


async def test_sockets_passed_by_one_task_each_work_in_parallel(loop):
    pairs = [tcp_socket_pair() for _ in range(50)]

    async def serve(sock):
        await loop.sock_sendall(sock, await loop.sock_recv(sock, 10))

    async def ask(sock, number):
        await loop.sock_sendall(sock, b"%d" % number)
        return int(await loop.sock_recv(sock, 10))

    servers = [loop.create_task(serve(left)) for left, _ in pairs]
    answers = await asyncio.gather(*(
        ask(right, number) for number, (_, right) in enumerate(pairs)))
    await asyncio.gather(*servers)
    assert answers == list(range(50))
    for left, right in pairs:
        left.close(), right.close()
