# SPDX-License-Identifier: Apache-2.0
"""Helpers of the tests of TLS: contexts, pairs of protocols, a peer by hand,
and what OpenSSL itself makes of two contexts."""

import asyncio
import os
import re
import ssl
import sys

import pytest

from support import LOOPBACK, PATIENCE, Accepting, Recorder, tcp_socket_pair

HERE = os.path.dirname(os.path.abspath(__file__))
CERTIFICATES = os.path.join(os.path.dirname(HERE), "runtime", "tls_certs")

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

needs_shutdown_timeout = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="ssl_shutdown_timeout is new in 3.11")
each_version = pytest.mark.parametrize(
    "version", [TLS12, TLS13], ids=["1.2", "1.3"])
# What an engine makes of a context has nothing to do with the loop's backend.
of_any_loop = pytest.mark.tls("epoll")
each_role = pytest.mark.parametrize("role", ["client", "server"])


def path_of(name):
    return os.path.join(CERTIFICATES, name)


OP_IGNORE_UNEXPECTED_EOF = 0x80


def new_context(protocol):
    """Of the class that the engine under test can serve."""
    if os.environ.get("RSLOOP_C_TLS") == "mbedtls":
        import rsloop_c
        context = rsloop_c.SSLContext(protocol)
    else:
        context = ssl.SSLContext(protocol)
    # Some CPythons of 3.10 and 3.11 do not tell an end from a close_notify.
    context.options &= ~OP_IGNORE_UNEXPECTED_EOF
    return context


def serving(name="ec", key=None, **attributes):
    """A server's context with the chain of one of tls_certs."""
    context = new_context(ssl.PROTOCOL_TLS_SERVER)
    key = key or ("rsa.key" if name == "rsa" else "ec.key")
    context.load_cert_chain(path_of(f"{name}.pem"), path_of(key))
    return with_attributes(context, attributes)


def trusting(ca="ca.pem", **attributes):
    """A client's context that trusts one of tls_certs and nothing else."""
    context = new_context(ssl.PROTOCOL_TLS_CLIENT)
    if ca:
        context.load_verify_locations(path_of(ca))
    return with_attributes(context, attributes)


def with_attributes(context, attributes):
    version = attributes.pop("version", None)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    for name, value in attributes.items():
        setattr(context, name, value)
    return context


def engine_of(protocol):
    return protocol.transport.get_extra_info("tls_engine", "python")


def ssl_object_of(protocol):
    return protocol.transport.get_extra_info("ssl_object")


async def talk(client):
    """A byte to an Echo and back."""
    client.transport.write(b"x")
    assert await client.received(1) == b"x"


def skip_old_sslproto(protocol, why):
    """asyncio's TLS was written anew for 3.11."""
    if sys.version_info < (3, 11) and engine_of(protocol) == "python":
        protocol.transport.abort()
        pytest.skip(f"asyncio of 3.10 {why}")


# --- two protocols -----------------------------------------------------------

class tls_pair:
    """The two protocols of a TLS connection, server's first."""

    def __init__(self, server_context=None, client_context=None,
                 server=Recorder, client=Recorder, server_options=(),
                 **client_options):
        self.contexts = server_context or serving(), client_context or trusting()
        self.accepting = Accepting(server)
        self.client_factory = client
        self.server_options = dict(server_options)
        self.options = {"server_hostname": "localhost", **client_options}

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(
            self.accepting, LOOPBACK, 0, ssl=self.contexts[0],
            **self.server_options)
        try:
            _, self.client = await asyncio.wait_for(loop.create_connection(
                self.client_factory, *self.server.sockets[0].getsockname(),
                ssl=self.contexts[1], **self.options), PATIENCE)
        except BaseException:
            await self.end_server()
            raise
        await self.accepting.count(1)
        self.served = self.accepting.made[0]
        return self.served, self.client

    async def __aexit__(self, *exc):
        for protocol in (self.client, self.served):
            if not protocol.lost.done():
                protocol.transport.abort()
            await asyncio.wait_for(protocol.lost, PATIENCE)
        await self.end_server()

    async def end_server(self):
        self.server.close()
        await self.server.wait_closed()


# --- a peer by hand ----------------------------------------------------------

class Peer:
    """The far end of a connection: an SSLObject and a socket, so that a test
    decides which bytes go when."""

    def __init__(self, sock, context, server_side, server_hostname=None,
                 session=None):
        self.sock = sock
        self.loop = asyncio.get_running_loop()
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = context.wrap_bio(
            self.incoming, self.outgoing, server_side=server_side,
            server_hostname=server_hostname, session=session)

    async def drive(self, function, *arguments):
        """Call function until it wants nothing more of the socket."""
        while True:
            try:
                return function(*arguments)
            except ssl.SSLWantReadError:
                await self.flush()
                await self.feed()
            finally:
                await self.flush()

    async def flush(self):
        await self.send(self.outgoing.read())

    async def send(self, raw):
        if raw:
            await asyncio.wait_for(self.loop.sock_sendall(self.sock, raw),
                                   PATIENCE)

    async def feed(self):
        data = await self.receive()
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    async def receive(self):
        return await asyncio.wait_for(self.loop.sock_recv(self.sock, 65536),
                                      PATIENCE)

    async def handshake(self):
        await self.drive(self.ssl.do_handshake)

    async def write(self, data):
        await self.send(self.records(data))

    def records(self, data):
        """The ciphertext of data, which nobody sends."""
        view = memoryview(data)
        while len(view):
            view = view[self.ssl.write(view):]
        return self.outgoing.read()

    def notify(self):
        """The ciphertext of a close_notify."""
        try:
            self.ssl.unwrap()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    async def read(self, count):
        data = bytearray()
        while len(data) < count:
            piece = await self.drive(self.ssl.read, count - len(data))
            assert piece, f"close_notify after {len(data)} of {count} bytes"
            data += piece
        return bytes(data)

    async def read_to_end(self):
        """Everything up to the close_notify; raises when there is none."""
        data = bytearray()
        while True:
            try:
                piece = await self.drive(self.ssl.read, 65536)
            except ssl.SSLZeroReturnError:
                piece = b""
            if not piece:
                return bytes(data)
            data += piece

    async def socket_ends(self):
        """Read on until the socket ends; how it does."""
        try:
            while await self.receive():
                pass
        except ConnectionResetError:
            return "reset"
        return "eof"


class peer_by_hand:
    """A connection of which one end is the loop's transport with its
    protocol, in `role`, and the other a Peer."""

    def __init__(self, role, protocol=Recorder, server_context=None,
                 client_context=None, handshake=True, hostname="localhost",
                 **options):
        self.role, self.protocol = role, protocol
        self.server_context = server_context or serving()
        self.client_context = client_context or trusting()
        self.with_handshake, self.hostname = handshake, hostname
        self.options = options

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        ours, theirs = tcp_socket_pair()
        made = []

        def factory():
            made.append(self.protocol())
            return made[0]

        if self.role == "client":
            self.peer = Peer(theirs, self.server_context, True)
            opening = loop.create_connection(
                factory, sock=ours, ssl=self.client_context,
                server_hostname=self.hostname, **self.options)
        else:
            self.peer = Peer(theirs, self.client_context, False,
                             self.hostname)
            opening = loop.connect_accepted_socket(
                factory, sock=ours, ssl=self.server_context, **self.options)
        self.opening = loop.create_task(opening)
        if not self.with_handshake:
            return self.opening, self.peer
        try:
            await asyncio.wait_for(asyncio.gather(
                self.opening, self.peer.handshake()), PATIENCE)
        except BaseException:
            await self.__aexit__()
            raise
        return made[0], self.peer

    async def __aexit__(self, *exc):
        try:
            if not self.opening.done():
                self.opening.cancel()
            await asyncio.wait([self.opening])
            if self.opening.cancelled() or self.opening.exception():
                return
            _, protocol = self.opening.result()
            if not protocol.lost.done():
                protocol.transport.abort()
            await asyncio.wait_for(protocol.lost, PATIENCE)
        finally:
            self.peer.sock.close()


# --- OpenSSL's own word ------------------------------------------------------

def facts(exc):
    """What there is to compare of an exception, without line numbers of C."""
    if exc is None:
        return None
    return (type(exc).__name__, re.sub(r"_ssl\.c:\d+", "_ssl.c", str(exc)),
            exc.errno if isinstance(exc, OSError) else None,
            *(getattr(exc, name, None) for name in (
                "library", "reason", "verify_code", "verify_message")))


def by_openssl(server_context, client_context, hostname="localhost"):
    """How the handshake of two contexts ends for client and server, by the
    ssl module alone: None or an exception for each."""
    wires = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(wires[0], wires[1],
                                     server_hostname=hostname)
    server = server_context.wrap_bio(wires[1], wires[0], server_side=True)
    ends = [client.do_handshake, server.do_handshake]
    outcomes = ["unfinished", "unfinished"]
    for _ in range(10):
        for number, step in enumerate(ends):
            if outcomes[number] not in ("unfinished", None):
                continue
            try:
                # After the handshake a refusal by the peer comes by reading.
                if outcomes[number] is None:
                    (client, server)[number].read(1)
                else:
                    step()
                    outcomes[number] = None
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as exc:
                outcomes[number] = exc
    assert "unfinished" not in outcomes or any(
        isinstance(outcome, Exception) for outcome in outcomes)
    return outcomes


async def by_loop(role, server_context, client_context, hostname="localhost"):
    """The same, of which the running loop does the part of `role`, and the
    other end is a Peer: asyncio does not send the alert of a handshake that
    fails, the Peer does."""
    outcomes = {"client": None, "server": None}
    other = "server" if role == "client" else "client"
    async with peer_by_hand(role, server_context=server_context,
                            client_context=client_context, handshake=False,
                            hostname=hostname) as (opening, peer):
        try:
            await peer.handshake()
        except OSError as exc:
            outcomes[other] = exc
        try:
            _, protocol = await asyncio.wait_for(opening, PATIENCE)
        except OSError as exc:
            outcomes[role] = exc
        else:
            if outcomes[other] is None:
                # A refusal of TLS 1.3 comes after the client's handshake.
                protocol.transport.write(b"x")
                try:
                    await peer.read(1)
                    await peer.write(b"x")
                except (OSError, AssertionError) as exc:
                    outcomes[other] = exc
            if outcomes[other] is None:
                await protocol.received(1)
            else:
                outcomes[role] = await asyncio.wait_for(
                    protocol.lost, PATIENCE)
        if outcomes[role] is not None and outcomes[other] is None:
            try:
                await peer.read_to_end()
            except OSError as exc:
                outcomes[other] = exc
    return [outcomes["client"], outcomes["server"]]
