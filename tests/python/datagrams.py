# SPDX-License-Identifier: Apache-2.0
"""What the tests of datagram transports share: a protocol that records, and
endpoints that end with their test."""

import asyncio
import contextlib
import errno
import socket

from support import LOOPBACK, PATIENCE, until


class Recorder(asyncio.DatagramProtocol):
    """Records what a transport tells it, in order."""

    def __init__(self):
        self.transport = None
        self.calls = []
        self.got = []            # (data, addr)
        self.errors = []
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        assert self.transport is None, "connection_made came twice"
        self.transport = transport
        self.calls.append("made")

    def datagram_received(self, data, addr):
        assert type(data) is bytes
        assert "lost" not in self.calls
        self.calls.append("data")
        self.got.append((data, addr))

    def error_received(self, exc):
        self.calls.append("error")
        self.errors.append(exc)

    def connection_lost(self, exc):
        assert not self.lost.done(), "connection_lost came twice"
        self.calls.append("lost")
        self.lost.set_result(exc)

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    @property
    def data(self):
        return [data for data, _ in self.got]

    async def received(self, count):
        await until(lambda: len(self.got) >= count,
                    f"{count} datagrams (have {len(self.got)})")
        return self.data


class Echo(Recorder):
    def datagram_received(self, data, addr):
        super().datagram_received(data, addr)
        self.transport.sendto(data, addr)


@contextlib.asynccontextmanager
async def endpoint(protocol_factory=Recorder, local_addr=None, **options):
    """(transport, protocol) of create_datagram_endpoint(); on a free port of
    loopback when nothing else is said."""
    if local_addr is None and not options:
        local_addr = (LOOPBACK, 0)
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        protocol_factory, local_addr, **options)
    try:
        yield transport, protocol
    finally:
        await ended(transport, protocol)


async def ended(transport, protocol):
    if not protocol.lost.done():
        transport.abort()
        await asyncio.wait_for(protocol.lost, PATIENCE)


@contextlib.contextmanager
def udp_socket(host=LOOPBACK, family=socket.AF_INET):
    """A blocking socket, bound to a free port."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.bind((host, 0))
        yield sock


def name_of(transport):
    return transport.get_extra_info("sockname")


def has_ipv6():
    try:
        with udp_socket("::1", socket.AF_INET6):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def full_unix_pair(tmp_path):
    """(sender, receiver, address): non-blocking unix sockets; the receiver
    has no room for another message."""
    path = str(tmp_path / "full")
    with (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
          socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender):
        receiver.bind(path)
        receiver.setblocking(False)
        sender.setblocking(False)
        sender.connect(path)
        fill(sender)
        yield sender, receiver, path


def fill(sender, data=b"fill"):
    count = 0
    while True:
        try:
            sender.send(data)
        except OSError as exc:
            assert exc.errno in (errno.EAGAIN, errno.ENOBUFS)
            return count
        count += 1


def empty(receiver):
    """Everything that waits in a non-blocking socket."""
    messages = []
    while True:
        try:
            messages.append(receiver.recv(65536))
        except BlockingIOError:
            return messages


def outcome_of_socket(family, addr):
    """What the socket module says to this address: (type, text), or None."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(b"x", addr)
        except Exception as exc:
            return type(exc), str(exc)
        return None


async def outcome_of_endpoint(addr, **options):
    """The same of an endpoint()'s sendto()."""
    async with endpoint(**options) as (transport, protocol):
        transport.sendto(b"x", addr)
        exc = None
        if transport.is_closing():
            exc = await protocol.lost
        elif protocol.errors:
            exc = protocol.errors[0]
        return exc and (type(exc), str(exc))
