# SPDX-License-Identifier: Apache-2.0
"""loop.sock_* with wrong arguments, and with sockets of other kinds than a
plain non-blocking socket.socket: asyncio's own loop says what has to happen."""

import array
import asyncio
import contextlib
import socket
import ssl
import sys
import threading

import pytest

from support import LOOPBACK, PATIENCE, run, settle, tcp_socket_pair

needs_311 = pytest.mark.skipif(sys.version_info < (3, 11),
                               reason="datagram sock_* are new in 3.11")


def outcome(loop, step):
    """What `await step(loop)` returns or raises, its texts included."""
    try:
        result = run(loop, step(loop))
    except Exception as exc:
        return type(exc), str(exc)
    return type(result), result


def same_as_asyncio(loop, step):
    """Run step on `loop` and on asyncio's; its outcome, which is the same."""
    oracle = asyncio.SelectorEventLoop()
    oracle.set_debug(loop.get_debug())
    try:
        expected = outcome(oracle, step)
    finally:
        oracle.close()
    assert outcome(loop, step) == expected
    return expected


# --- arguments ---------------------------------------------------------------

SIZES = [0, 1, True, -1, -2 ** 70, 2 ** 70, 2 ** 63 - 1, 1.0, "1", b"1", None,
         [], object]
BUFFERS = [bytearray(), bytearray(3), b"", b"abc", "abc", None, 3, [],
           memoryview(b"abc"), memoryview(bytearray(4))[::2],
           memoryview(bytearray(6)).cast("B", (2, 3)), array.array("i", [1, 2])]
DATA = [b"", b"abc", bytearray(b"abc"), memoryview(b"abc"), "abc", "", None,
        3, [], object, memoryview(b"abcd")[::2]]


def ids(value):
    return repr(value)[:40].split(" at 0x")[0]


@contextlib.asynccontextmanager
async def loaded_pair():
    """The first one has four bytes to read."""
    left, right = tcp_socket_pair()
    with left, right:
        right.send(b"data")
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(BlockingIOError):
                left.recv(1, socket.MSG_PEEK)
                break
            await asyncio.sleep(0)
        yield left, right, loop


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.parametrize("size", SIZES, ids=ids)
def test_sizes(loop, size, debug):
    async def sock_recv(loop):
        async with loaded_pair() as (left, _, loop):
            return await loop.sock_recv(left, size)

    async def sock_recvfrom(loop):
        async with loaded_pair() as (left, _, loop):
            return await loop.sock_recvfrom(left, size)

    async def sock_recvfrom_into(loop):
        buffer = bytearray(4)
        async with loaded_pair() as (left, _, loop):
            return await loop.sock_recvfrom_into(left, buffer, size), buffer

    loop.set_debug(debug)
    same_as_asyncio(loop, sock_recv)
    if sys.version_info >= (3, 11):
        same_as_asyncio(loop, sock_recvfrom)
        same_as_asyncio(loop, sock_recvfrom_into)


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.parametrize("buffer", BUFFERS, ids=ids)
def test_buffers(loop, buffer, debug):
    async def sock_recv_into(loop):
        async with loaded_pair() as (left, _, loop):
            return await loop.sock_recv_into(left, buffer)

    async def sock_recvfrom_into(loop):
        async with loaded_pair() as (left, _, loop):
            return await loop.sock_recvfrom_into(left, buffer)

    loop.set_debug(debug)
    same_as_asyncio(loop, sock_recv_into)
    if sys.version_info >= (3, 11):
        same_as_asyncio(loop, sock_recvfrom_into)


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.parametrize("data", DATA, ids=ids)
def test_data(loop, data, debug):
    async def sock_sendall(loop):
        async with loaded_pair() as (left, right, loop):
            await loop.sock_sendall(left, data)
            left.close()
            return await loop.sock_recv(right, 100)

    async def sock_sendto(loop):
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.bind((LOOPBACK, 0))
            return await loop.sock_sendto(sock, data, sock.getsockname())

    loop.set_debug(debug)
    same_as_asyncio(loop, sock_sendall)
    if sys.version_info >= (3, 11):
        same_as_asyncio(loop, sock_sendto)


@pytest.mark.asyncio_is_worse("it compares bytes with items, and hangs")
async def test_items_of_more_than_a_byte_are_sent(loop, pair):
    items = array.array("i", range(1000))
    await asyncio.wait_for(loop.sock_sendall(pair[0], items), PATIENCE)
    pair[0].close()
    received = array.array("i")
    while piece := await loop.sock_recv(pair[1], 4000):
        received.frombytes(piece)
    assert received == items


@needs_311
@pytest.mark.parametrize("address", [
    None, (), ("",), ("127.0.0.1", -1), ("127.0.0.1", 70000), ("127.0.0.1", "x"),
    "127.0.0.1", b"x", ("127.0.0.1", 9, 0, 0), ("\0", 9), (None, 9)], ids=ids)
def test_addresses_of_datagrams(loop, address):
    async def sock_sendto(loop):
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            return await loop.sock_sendto(sock, b"x", address)

    same_as_asyncio(loop, sock_sendto)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6,
                                    socket.AF_UNIX])
@pytest.mark.parametrize("address", [
    None, (), ("",), (LOOPBACK, -1), (LOOPBACK, 70000), (LOOPBACK, "x"), 3,
    b"\0rsloop_c-nobody", "/nonexistent/socket", "x" * 200, ("::1", 1),
    (LOOPBACK, 1), ("\0", 9)], ids=ids)
def test_addresses_of_connections(loop, address, family):
    async def sock_connect(loop):
        with socket.socket(family) as sock:
            sock.setblocking(False)
            return await loop.sock_connect(sock, address)

    same_as_asyncio(loop, sock_connect)


# --- sockets -----------------------------------------------------------------

def calls(sock):
    made = {
        "sock_recv": (sock, 10),
        "sock_recv_into": (sock, bytearray(10)),
        "sock_sendall": (sock, b"x"),
        "sock_connect": (sock, (LOOPBACK, 1)),
        "sock_accept": (sock,),
    }
    if sys.version_info >= (3, 11):
        made |= {
            "sock_recvfrom": (sock, 10),
            "sock_recvfrom_into": (sock, bytearray(10)),
            "sock_sendto": (sock, b"x", (LOOPBACK, 1)),
        }
    return made


METHODS = sorted(calls(None))


def closed():
    sock = socket.socket()
    sock.setblocking(False)
    sock.close()
    return sock


def detached():
    sock = socket.socket()
    socket.socket(fileno=sock.detach()).close()
    return sock


def no_socket():
    sock = socket.socket(fileno=3)     # whatever that is
    sock.detach()
    return sock


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("make", [
    closed, detached, lambda: None, lambda: 1, lambda: "x", object, lambda: socket],
    ids=["closed", "detached", "None", "int", "str", "object", "module"])
@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
def test_sockets_that_are_none(loop, name, make, debug):
    loop.set_debug(debug)
    sock = make()
    same_as_asyncio(loop, lambda loop: getattr(loop, name)(*calls(sock)[name]))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
def test_unconnected_socket(loop, name, debug):
    loop.set_debug(debug)

    async def step(loop):
        with socket.socket() as sock:
            sock.setblocking(False)
            return await getattr(loop, name)(*calls(sock)[name])

    if name == "sock_sendto" or not name.startswith("sock_recvfrom"):
        same_as_asyncio(loop, step)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("timeout", [None, 0.5])
def test_blocking_sockets_are_refused_in_debug_mode(loop, pair, name, timeout):
    loop.set_debug(True)
    pair[0].settimeout(timeout)
    kind, text = same_as_asyncio(
        loop, lambda loop: getattr(loop, name)(*calls(pair[0])[name]))
    assert (kind, text) == (ValueError, "the socket must be non-blocking")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
def test_tls_sockets_are_refused(loop, pair, name, debug, client_context):
    loop.set_debug(debug)
    with client_context.wrap_socket(
            pair[0], server_hostname="localhost",
            do_handshake_on_connect=False) as sock:
        assert isinstance(sock, ssl.SSLSocket)
        kind, text = same_as_asyncio(
            loop, lambda loop: getattr(loop, name)(*calls(sock)[name]))
        assert (kind, text) == (TypeError,
                                "Socket cannot be of type SSLSocket")


def test_blocking_socket_blocks_the_loop_until_there_is_data(loop, pair):
    pair[0].setblocking(True)
    sender = threading.Timer(0.02, pair[1].send, [b"data"])
    sender.start()
    assert run(loop, loop.sock_recv(pair[0], 10)) == b"data"
    sender.join()
    assert pair[0].getblocking()


def test_sockets_own_timeout_is_raised(loop, pair):
    pair[0].settimeout(0.01)
    assert same_as_asyncio(loop, lambda loop: loop.sock_recv(pair[0], 10)) == (
        TimeoutError if sys.version_info >= (3, 10) else socket.timeout,
        "timed out")


def test_closed_loop_receives_what_is_there_and_does_not_wait(loop, pair):
    def first_step(loop):
        try:
            loop.sock_recv(pair[0], 10).send(None)
        except BaseException as exc:
            return type(exc), exc.args

    oracle = asyncio.SelectorEventLoop()
    oracle.close()
    loop.close()
    assert first_step(loop) == first_step(oracle) == (
        RuntimeError, ("Event loop is closed",))
    for each in loop, oracle:
        pair[1].send(b"data")
        assert first_step(each) == (StopIteration, (b"data",))


@pytest.mark.stream
async def test_socket_of_a_transport_is_refused(loop):
    from support import transport_and_peer
    async with transport_and_peer() as (transport, _, peer):
        sock = transport.get_extra_info("socket")._sock
        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.sock_recv(sock, 10)
        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.sock_sendall(sock, bytes(16 << 20))


# --- sockets that do it their own way ----------------------------------------

class Own(socket.socket):
    """Its methods count, and fail at first as if there was nothing."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.counts = {}

    def _count(self, name):
        self.counts[name] = self.counts.get(name, 0) + 1
        if self.counts[name] == 1:
            raise BlockingIOError

    def recv(self, *args):
        self._count("recv")
        return super().recv(*args).upper()

    def recv_into(self, *args):
        self._count("recv_into")
        return super().recv_into(*args)

    def recvfrom(self, *args):
        self._count("recvfrom")
        return super().recvfrom(*args)

    def recvfrom_into(self, *args):
        self._count("recvfrom_into")
        return super().recvfrom_into(*args)

    def send(self, *args):
        self._count("send")
        return super().send(*args)

    def accept(self):
        self._count("accept")
        return super().accept()


def own(sock):
    made = Own(fileno=sock.detach())
    made.setblocking(False)
    return made


async def test_subclass_that_overrides_methods_is_asked(loop, pair):
    with own(pair[0]) as sock:
        await loop.sock_sendall(sock, b"sent")
        await loop.sock_sendall(pair[1], b"data" * 4)
        assert await loop.sock_recv(sock, 4) == b"DATA"
        assert await loop.sock_recv_into(sock, bytearray(4)) == 4
        expected = {"send": 2, "recv": 2, "recv_into": 2}
        if sys.version_info >= (3, 11):
            await loop.sock_recvfrom(sock, 4)
            await loop.sock_recvfrom_into(sock, bytearray(4))
            expected |= {"recvfrom": 2, "recvfrom_into": 2}
        assert sock.counts == expected


async def test_subclass_that_overrides_accept_is_asked(loop):
    with own(socket.create_server((LOOPBACK, 0))) as listener, \
            socket.create_connection(listener.getsockname()) as client:
        conn, address = await loop.sock_accept(listener)
        with conn:
            assert address == client.getsockname()
            assert type(conn) is socket.socket
            assert conn.gettimeout() == 0
        assert listener.counts == {"accept": 2}


class Like:
    """Not a socket, but with what the methods use."""

    family, type, proto = socket.AF_INET, socket.SOCK_STREAM, 0

    def __init__(self, sock):
        self.sock = sock

    def fileno(self):
        return self.sock.fileno()

    def gettimeout(self):
        return 0

    def recv(self, n):
        return self.sock.recv(n)[::-1]

    def send(self, data):
        return self.sock.send(data)


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
async def test_object_with_a_sockets_methods_will_do(loop, pair, debug):
    loop.set_debug(debug)
    like = Like(pair[0])
    task = loop.create_task(loop.sock_recv(like, 10))
    await settle()
    await loop.sock_sendall(Like(pair[1]), b"data")
    assert await asyncio.wait_for(task, PATIENCE) == b"atad"


def test_error_of_a_method_is_raised_as_it_is(loop, pair):
    class Failing(Like):
        def recv(self, n):
            raise ZeroDivisionError("own")

    with pytest.raises(ZeroDivisionError, match="own"):
        run(loop, loop.sock_recv(Failing(pair[0]), 10))
