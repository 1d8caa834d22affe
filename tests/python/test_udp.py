# SPDX-License-Identifier: Apache-2.0
"""UDP endpoints: what arrives, and what create_datagram_endpoint() takes."""

import asyncio
import contextvars
import socket
import time

import pytest

from datagrams import Echo, Recorder, ended, endpoint, has_ipv6, name_of, udp_socket
from support import ALL_TELL_READING, LOOPBACK, PATIENCE, run, turns, until

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
pausable = pytest.mark.skipif(
    not ALL_TELL_READING, reason="newer asyncios have it")


# --- receiving ---------------------------------------------------------------

async def test_echo(loop):
    async with endpoint(Echo) as (server, _):
        async with endpoint(remote_addr=name_of(server)) as (client, protocol):
            client.sendto(b"hello")
            assert await protocol.received(1) == [b"hello"]
            assert protocol.got[0][1] == name_of(server)
            assert client.get_extra_info("peername") == name_of(server)


async def test_messages_keep_their_order_and_boundaries(loop):
    messages = [b"%d" % i * (i % 50 + 1) for i in range(300)]
    async with endpoint() as (transport, protocol):
        with udp_socket() as peer:
            for start in range(0, 300, 100):     # what a socket has room for
                for message in messages[start:start + 100]:
                    peer.sendto(message, name_of(transport))
                await protocol.received(start + 100)
            assert protocol.data == messages
            assert {addr for _, addr in protocol.got} == {peer.getsockname()}


@pytest.mark.parametrize("size", [0, 1, 1472, 9000, 65507])
async def test_any_size(loop, size):
    async with endpoint() as (transport, protocol):
        with udp_socket() as peer:
            peer.sendto(b"x" * size, name_of(transport))
            assert await protocol.received(1) == [b"x" * size]
            assert protocol.got[0][1] == peer.getsockname()


async def test_a_message_that_nothing_follows_is_the_last(loop):
    async with endpoint() as (transport, protocol):
        with udp_socket() as peer:
            for i in range(1, 20):
                peer.sendto(b"%d" % i, name_of(transport))
                await protocol.received(i)
            await turns()
            assert len(protocol.got) == 19


@needs_ipv6
async def test_ipv6_addresses_have_four_parts(loop):
    async with endpoint(Echo, ("::1", 0)) as (transport, protocol):
        with udp_socket("::1", socket.AF_INET6) as peer:
            peer.sendto(b"six", name_of(transport))
            await protocol.received(1)
            assert protocol.got[0][1] == peer.getsockname()
            data, addr = await loop.run_in_executor(None, peer.recvfrom, 100)
            assert (data, addr) == (b"six", name_of(transport))


@needs_ipv6
async def test_ipv4_mapped_sender_is_shown_as_socket_shows_it(loop):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", 0))
    async with endpoint(Echo, sock=sock) as (transport, protocol):
        with udp_socket() as peer:
            peer.sendto(b"four", (LOOPBACK, name_of(transport)[1]))
            await protocol.received(1)
            assert protocol.got[0][1] == (
                "::ffff:127.0.0.1", peer.getsockname()[1], 0, 0)
            assert peer.recv(100) == b"four"


async def test_many_senders_are_told_apart(loop):
    async with endpoint(Echo) as (transport, protocol):
        peers = []
        try:
            for i in range(300):     # more than any table of known addresses
                peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                peers.append(peer)
                peer.bind((f"127.0.{i % 3}.{i % 7 + 1}", 0))
                peer.settimeout(PATIENCE)
            for turn in range(2):
                for i, peer in enumerate(peers):
                    peer.sendto(b"%d" % i, name_of(transport))
                    if i % 50 == 49:     # what a socket has room for
                        await protocol.received(turn * 300 + i + 1)
                for i, peer in enumerate(peers):
                    assert peer.recv(100) == b"%d" % i
            for data, addr in protocol.got:
                assert addr == peers[int(data)].getsockname()
        finally:
            for peer in peers:
                peer.close()


# --- what happens inside a batch ---------------------------------------------

class Acting(Recorder):
    """Calls act(self) when the message is b'now'."""

    act = None

    def datagram_received(self, data, addr):
        super().datagram_received(data, addr)
        if data == b"now":
            self.act()


def send_batch(peer, transport, *messages):
    for message in messages:
        peer.sendto(message, name_of(transport))


@pytest.mark.parametrize("method", ["close", "abort"])
async def test_nothing_is_delivered_after(loop, method):
    async with endpoint(Acting) as (transport, protocol):
        protocol.act = getattr(transport, method)
        with udp_socket() as peer:
            send_batch(peer, transport, b"1", b"now", b"2", b"3")
            assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
            assert protocol.data == [b"1", b"now"]
            assert protocol.calls == ["made", "data", "data", "lost"]


async def test_the_next_message_goes_to_a_new_protocol(loop):
    async with endpoint(Acting) as (transport, protocol):
        other = Recorder()
        protocol.act = lambda: transport.set_protocol(other)
        with udp_socket() as peer:
            send_batch(peer, transport, b"1", b"now", b"2", b"3")
            assert await other.received(2) == [b"2", b"3"]
            assert protocol.data == [b"1", b"now"]
            assert transport.get_protocol() is other
            transport.set_protocol(protocol)


@pausable
async def test_a_pause_loses_nothing(loop):
    async with endpoint(Acting) as (transport, protocol):
        protocol.act = transport.pause_reading
        with udp_socket() as peer:
            send_batch(peer, transport, b"1", b"now", b"2", b"3")
            await protocol.received(2)
            assert not transport.is_reading()
            await turns()
            assert protocol.data == [b"1", b"now"]
            transport.resume_reading()
            assert transport.is_reading()
            assert await protocol.received(4) == [b"1", b"now", b"2", b"3"]


@pausable
async def test_pausing_twice_and_after_close(loop):
    async with endpoint() as (transport, protocol):
        transport.resume_reading()
        transport.pause_reading()
        transport.pause_reading()
        transport.resume_reading()
        with udp_socket() as peer:
            send_batch(peer, transport, b"1")
            await protocol.received(1)
        transport.close()
        transport.pause_reading()
        transport.resume_reading()
        assert not transport.is_reading()


async def test_an_exception_is_reported_and_the_rest_delivered(loop):
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    async with endpoint(Acting) as (transport, protocol):
        error = ValueError("mine")

        def act():
            raise error
        protocol.act = act
        with udp_socket() as peer:
            send_batch(peer, transport, b"now", b"1", b"now", b"2")
            await protocol.received(4)
        assert not transport.is_closing()
    assert [context["exception"] for context in contexts] == [error, error]
    for context in contexts:
        assert context["message"].startswith("Exception in callback ")
        assert "._read_ready()" in context["message"]
        assert isinstance(context["handle"], asyncio.Handle)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_leaves_the_loop_loses_nothing(loop, kind):
    async def make():
        return await loop.create_datagram_endpoint(Acting, (LOOPBACK, 0))

    transport, protocol = run(loop, make())

    def act():
        raise kind
    protocol.act = act
    with udp_socket() as peer:
        send_batch(peer, transport, b"1", b"now", b"2", b"3")
        with pytest.raises(kind):
            loop.run_until_complete(protocol.received(9))
        protocol.act = lambda: None
        assert b"now" in protocol.data
        run(loop, protocol.received(4))
        assert protocol.data == [b"1", b"now", b"2", b"3"]
    run(loop, ended(transport, protocol))


def test_stop_keeps_the_rest_for_the_next_run(loop):
    transport, protocol = run(loop, loop.create_datagram_endpoint(
        Acting, (LOOPBACK, 0)))
    protocol.act = loop.stop
    with udp_socket() as peer:
        send_batch(peer, transport, b"now", b"1", b"2")
        loop.run_forever()
        assert protocol.data == [b"now"]
        run(loop, protocol.received(3))
        assert protocol.data == [b"now", b"1", b"2"]
    run(loop, ended(transport, protocol))


async def test_slow_callbacks_let_others_have_their_turn(loop):
    class Slow(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if not self.turns_of_others:
                loop.call_soon(self.other)
            time.sleep(0.001)

        def other(self):
            self.turns_of_others.append(len(self.got))

        turns_of_others = []

    async with endpoint(Slow) as (transport, protocol):
        with udp_socket() as peer:
            send_batch(peer, transport, *[b"x"] * 40)
            await protocol.received(40)
        assert protocol.turns_of_others[0] < 5


async def test_quick_callbacks_let_others_have_their_turn(loop):
    """A flood that never ends must not keep the loop for itself."""
    class Flood(Recorder):
        def datagram_received(self, data, addr):
            self.got.append(data)
            self.transport.sendto(data, name_of(self.transport))

    async with endpoint(Flood) as (transport, protocol):
        transport.sendto(b"x", name_of(transport))
        for _ in range(20):
            await asyncio.sleep(0)
        assert 0 < len(protocol.got) < 20 * 100


# --- contexts ----------------------------------------------------------------

async def test_callbacks_run_in_the_context_of_the_maker(loop):
    var = contextvars.ContextVar("var", default="default")
    seen = []

    class Seeing(Recorder):
        def datagram_received(self, data, addr):
            seen.append(var.get())
            var.set(data.decode())
            super().datagram_received(data, addr)

        def connection_made(self, transport):
            seen.append(var.get())
            super().connection_made(transport)

    var.set("maker")
    async with endpoint(Seeing) as (transport, protocol):
        var.set("later")
        with udp_socket() as peer:
            peer.sendto(b"one", name_of(transport))
            await protocol.received(1)
            peer.sendto(b"two", name_of(transport))
            await protocol.received(2)
    # What a callback sets stays for the next one.
    assert seen == ["maker", "maker", "one"]
    assert var.get() == "later"


# --- errors ------------------------------------------------------------------

@pytest.fixture
def closed_port():
    """An address that nobody can bind just now, and nobody has."""
    with udp_socket() as holder:
        yield "127.0.0.9", holder.getsockname()[1]


async def test_refused_by_the_peer(loop, closed_port):
    async with endpoint(remote_addr=closed_port) as (transport, protocol):
        transport.sendto(b"anybody?")
        await until(lambda: protocol.errors)
        assert [type(exc) for exc in protocol.errors] == [ConnectionRefusedError]
        assert not transport.is_closing()


async def test_refused_is_told_by_the_next_send(loop, closed_port):
    async with endpoint(remote_addr=closed_port) as (transport, protocol):
        transport.sendto(b"anybody?")
        transport.sendto(b"nobody?")
        assert [type(exc) for exc in protocol.errors] == [ConnectionRefusedError]


async def test_error_received_may_raise(loop, closed_port):
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    class Raising(Recorder):
        def error_received(self, exc):
            super().error_received(exc)
            raise ValueError("mine")

    async with endpoint(Raising, remote_addr=closed_port) as (
            transport, protocol):
        transport.sendto(b"anybody?")
        await until(lambda: contexts)
        assert isinstance(contexts[0]["exception"], ValueError)
        assert contexts[0]["message"].startswith("Exception in callback ")
        assert not transport.is_closing()


async def test_error_received_may_close(loop, closed_port):
    class Closing(Recorder):
        def error_received(self, exc):
            super().error_received(exc)
            self.transport.close()

    async with endpoint(Closing, remote_addr=closed_port) as (
            transport, protocol):
        transport.sendto(b"anybody?")
        assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
        assert protocol.calls == ["made", "error", "lost"]
