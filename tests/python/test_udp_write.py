# SPDX-License-Identifier: Apache-2.0
"""sendto(): what it takes, where it sends, what it does about errors, and flow
control. Unix sockets stand in where a socket must be full: loopback takes
every UDP message."""

import array
import asyncio
import errno
import logging
import socket
import sys

import pytest

from datagrams import (
    Recorder,
    empty,
    endpoint,
    fill,
    full_unix_pair,
    has_ipv6,
    name_of,
    outcome_of_endpoint,
    outcome_of_socket,
    udp_socket,
)
from support import LOOPBACK, PATIENCE, turns, until

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

HEADER = 8 if sys.version_info >= (3, 13) else 0
# 3.13.0 forgets to take the header off again.
forgets_headers = (sys.version_info >= (3, 13) and not hasattr(
    asyncio.selector_events._SelectorDatagramTransport, "_header_size"))


# --- data --------------------------------------------------------------------

@pytest.mark.parametrize("data", [
    b"bytes", bytearray(b"bytearray"), memoryview(b"memoryview"),
    memoryview(b"--part--")[2:6], memoryview(array.array("i", [1, 2, 3]))])
async def test_bytes_like_data(loop, data):
    with udp_socket() as peer:
        async with endpoint() as (transport, protocol):
            transport.sendto(data, peer.getsockname())
            assert peer.recv(100) == bytes(data)
        async with endpoint(remote_addr=peer.getsockname()) as (transport, _):
            transport.sendto(data)
            assert peer.recv(100) == bytes(data)


@pytest.mark.parametrize("data", [
    "text", 7, None, [1], array.array("b", b"x"), object(), b"x".decode])
async def test_other_data(loop, data):
    async with endpoint() as (transport, protocol):
        with pytest.raises(TypeError) as caught:
            transport.sendto(data, (LOOPBACK, 9))
        assert str(caught.value) == (
            "data argument must be a bytes-like object, "
            f"not {type(data).__name__!r}")
        assert protocol.calls == ["made"]


@pytest.mark.parametrize("data", [b"", bytearray(), memoryview(b"")])
async def test_nothing_is_a_message_from_3_13_on(loop, data):
    with udp_socket() as peer:
        async with endpoint() as (transport, _):
            transport.sendto(data, peer.getsockname())
            transport.sendto(b"next", peer.getsockname())
            if sys.version_info >= (3, 13):
                assert peer.recv(100) == b""
            assert peer.recv(100) == b"next"


@pytest.mark.parametrize("data", [memoryview(b"abcdef")[::2]])
async def test_data_that_cannot_be_sent(loop, data):
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    async with endpoint() as (transport, protocol):
        transport.sendto(data, (LOOPBACK, 9))
        exc = await asyncio.wait_for(protocol.lost, PATIENCE)
        assert isinstance(exc, BufferError)
        assert contexts[0]["exception"] is exc


async def test_keywords(loop):
    with udp_socket() as peer:
        async with endpoint() as (transport, _):
            transport.sendto(data=b"x", addr=peer.getsockname())
            assert peer.recv(100) == b"x"
            for bad in ((), (b"x", None, None)):
                with pytest.raises(TypeError):
                    transport.sendto(*bad)
            with pytest.raises(TypeError):
                transport.sendto(b"x", address=peer.getsockname())


async def test_it_is_sent_at_once(loop):
    with udp_socket() as peer:
        peer.setblocking(False)
        async with endpoint() as (transport, _):
            transport.sendto(b"x", peer.getsockname())
            assert peer.recv(100) == b"x"
            assert transport.get_write_buffer_size() == 0


# --- addresses ---------------------------------------------------------------

async def test_remote_addr_is_the_only_address(loop):
    with udp_socket() as peer:
        async with endpoint(remote_addr=peer.getsockname()) as (transport, _):
            transport.sendto(b"1")
            transport.sendto(b"2", None)
            transport.sendto(b"3", peer.getsockname())
            for bad in [(LOOPBACK, 1), "x", (), 0]:
                with pytest.raises(ValueError) as caught:
                    transport.sendto(b"x", bad)
                assert str(caught.value) == (
                    "Invalid address: must be None or "
                    f"{peer.getsockname()}")
            assert [peer.recv(9) for _ in range(3)] == [b"1", b"2", b"3"]


async def test_an_address_that_fails_to_compare(loop):
    class Odd:
        def __eq__(self, other):
            raise KeyError("odd")

    with udp_socket() as peer:
        async with endpoint(remote_addr=peer.getsockname()) as (transport, _):
            with pytest.raises(KeyError):
                transport.sendto(b"x", Odd())


@pytest.mark.parametrize("addr", [
    None, 7, b"127.0.0.1", "127.0.0.1", (), ("127.0.0.1",),
    ("127.0.0.1", 9, 0), ["127.0.0.1", 9], (None, 9), ("127.0.0.1", None),
    ("127.0.0.1", "9"), ("127.0.0.1", 9.5), ("127.0.0.1", 65536),
    ("127.0.0.1", -1), ("127.0.0.1", 2**80), ("127.0.0.1\0", 9)])
async def test_an_address_that_is_none_is_fatal(loop, addr):
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    async with endpoint() as (transport, protocol):
        expected = outcome_of_socket(socket.AF_INET, addr)
        transport.sendto(b"x", addr)
        assert transport.is_closing()
        exc = await asyncio.wait_for(protocol.lost, PATIENCE)
        assert (type(exc), str(exc)) == expected
        assert contexts == [{
            "message": "Fatal write error on datagram transport",
            "exception": exc, "transport": transport, "protocol": protocol}]


# Texts that no resolver is asked about.
HOSTS = st.sampled_from([
    "127.0.0.1", "127.0.0.2", "0.0.0.0", "", "127.1", "127", "0x7f.0.0.1",
    "127.0.0.01", "255.255.255.255", "<broadcast>", "1.2.3.4.5", "::1", "::",
    "::ffff:127.0.0.1", "::1%lo", "::1%1", "fe80::1", "[::1]", "127.0.0.1 ",
    " 127.0.0.1", "\0", "127.0.0.1\0x"])
PORTS = st.one_of(st.integers(-2, 70000), st.booleans(), st.none(),
                  st.sampled_from([2**31, 2**64, -2**70, 9.0, "9"]))
NUMBERS = st.one_of(st.integers(-1, 2**20 + 1), st.integers(2**32 - 2, 2**33),
                    st.none())
ADDRESSES = st.one_of(
    st.tuples(HOSTS, PORTS), st.tuples(HOSTS, PORTS, NUMBERS),
    st.tuples(HOSTS, PORTS, NUMBERS, NUMBERS),
    st.tuples(HOSTS, PORTS, NUMBERS, NUMBERS, NUMBERS), HOSTS)


@pytest.mark.slow(60)
@pytest.mark.parametrize("family", [
    socket.AF_INET,
    pytest.param(socket.AF_INET6, marks=pytest.mark.skipif(
        not has_ipv6(), reason="no IPv6 here"))])
def test_addresses_are_read_as_socket_reads_them(loop, family):
    loop.set_exception_handler(lambda loop, context: None)

    @hypothesis.settings(max_examples=200, deadline=None, database=None,
              suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(ADDRESSES)
    def check(addr):
        expected = outcome_of_socket(family, addr)
        assert loop.run_until_complete(
            outcome_of_endpoint(addr, family=family)) == expected

    check()


async def test_an_address_is_not_confused_with_one_that_died(loop):
    """Tuples are known by identity: one that is freed must be forgotten."""
    with udp_socket() as one, udp_socket() as two:
        async with endpoint() as (transport, _):
            for i in range(2000):
                peer = one if i % 3 else two
                transport.sendto(b"%d" % i, peer.getsockname())
                assert peer.recv(100) == b"%d" % i


# --- errors ------------------------------------------------------------------

async def test_a_message_too_long(loop):
    async with endpoint() as (transport, protocol):
        transport.sendto(b"x" * 70000, name_of(transport))
        assert [exc.errno for exc in protocol.errors] == [errno.EMSGSIZE]
        transport.sendto(b"short", name_of(transport))
        assert await protocol.received(1) == [b"short"]


async def test_an_unknown_host_name(loop):
    async with endpoint() as (transport, protocol):
        transport.sendto(b"x", ("no-such-host.invalid", 9))
        assert [type(exc) for exc in protocol.errors] == [socket.gaierror]
        assert not transport.is_closing()


async def test_error_received_raises_through_sendto(loop):
    class Raising(Recorder):
        def error_received(self, exc):
            raise ValueError("mine") from exc

    async with endpoint(Raising) as (transport, protocol):
        with pytest.raises(ValueError, match="mine"):
            transport.sendto(b"x" * 70000, name_of(transport))
        assert not transport.is_closing()


async def test_audit_event(loop):
    events = []
    watching = True

    def hook(event, args):
        if watching and event == "socket.sendto":
            events.append(args)

    sys.addaudithook(hook)       # for good: there is no way to remove it
    with udp_socket() as peer:
        name = peer.getsockname()
        async with endpoint() as (transport, _):
            transport.sendto(b"x", name)
            sock, addr = events.pop()
            assert (sock.getsockname(), addr) == (name_of(transport), name)
            assert peer.recv(100) == b"x"
            del sock
    watching = False
    assert not events


# --- after close -------------------------------------------------------------

async def test_connected_and_lost_warns_after_five(loop, caplog):
    caplog.set_level(logging.WARNING, "asyncio")
    with udp_socket() as peer:
        async with endpoint(remote_addr=peer.getsockname()) as (
                transport, protocol):
            transport.close()
            for _ in range(7):
                transport.sendto(b"x")
            warned = [r.getMessage() for r in caplog.records]
            assert warned == ["socket.send() raised exception."] * 3
            await protocol.lost
            transport.sendto(b"x")
        peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.recv(100)


async def test_unconnected_and_closing_still_sends(loop):
    with udp_socket() as peer:
        async with endpoint() as (transport, protocol):
            transport.close()
            transport.sendto(b"last words", peer.getsockname())
            assert peer.recv(100) == b"last words"
            await protocol.lost
            await turns()
            with pytest.raises(AttributeError):
                transport.sendto(b"x", peer.getsockname())
            with pytest.raises(TypeError):
                transport.sendto("x")


# --- a socket that is full ---------------------------------------------------

async def test_what_does_not_fit_is_queued_and_sent_in_order(loop, tmp_path):
    with full_unix_pair(tmp_path) as (sender, receiver, path):
        async with endpoint(sock=sender) as (transport, protocol):
            for i in range(50):
                transport.sendto(b"%02d" % i)
            assert transport.get_write_buffer_size() == 50 * (2 + HEADER)
            assert "write=<polling" in repr(transport)
            got = [m for m in empty(receiver) if m != b"fill"]
            while len(got) < 50:
                await asyncio.sleep(0)
                got += empty(receiver)
            assert got == [b"%02d" % i for i in range(50)]
            await turns()
            if not forgets_headers:
                assert transport.get_write_buffer_size() == 0
            assert "write=<idle" in repr(transport)


async def test_what_is_queued_does_not_change(loop, tmp_path):
    with full_unix_pair(tmp_path) as (sender, receiver, path):
        async with endpoint(sock=sender) as (transport, _):
            data = bytearray(b"before")
            transport.sendto(data)
            transport.sendto(memoryview(data)[:3])
            data[:] = b"-after"
            data.append(7)         # no buffer is kept exported
            empty(receiver)
            await until(lambda: "write=<idle" in repr(transport))
            assert empty(receiver) == [b"before", b"bef"]


async def test_pause_and_resume(loop, tmp_path):
    with full_unix_pair(tmp_path) as (sender, receiver, path):
        async with endpoint(sock=sender) as (transport, protocol):
            transport.set_write_buffer_limits(high=100, low=20)
            assert transport.get_write_buffer_limits() == (20, 100)
            while "pause" not in protocol.calls:
                transport.sendto(b"x" * 10)
            assert transport.get_write_buffer_size() > 100
            transport.sendto(b"x" * 10)
            assert protocol.calls == ["made", "pause"]
            if not forgets_headers:
                empty(receiver)
                await until(lambda: "resume" in protocol.calls)
                assert protocol.calls == ["made", "pause", "resume"]


async def test_limits_apply_to_what_is_queued(loop, tmp_path):
    with full_unix_pair(tmp_path) as (sender, receiver, path):
        async with endpoint(sock=sender) as (transport, protocol):
            transport.sendto(b"x" * 10)
            assert protocol.calls == ["made"]
            transport.set_write_buffer_limits(high=0)
            assert protocol.calls == ["made", "pause"]


@pytest.mark.parametrize("limits", [(1, 2), (-1, None), (0, -1)])
async def test_bad_limits(loop, limits):
    async with endpoint() as (transport, _):
        with pytest.raises(ValueError):
            transport.set_write_buffer_limits(*limits)
        assert transport.get_write_buffer_limits() == (16384, 65536)


async def test_pause_writing_may_raise(loop, tmp_path):
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    class Raising(Recorder):
        def pause_writing(self):
            raise ValueError("mine")

    with full_unix_pair(tmp_path) as (sender, receiver, path):
        async with endpoint(Raising, sock=sender) as (transport, protocol):
            transport.set_write_buffer_limits(high=0)
            transport.sendto(b"x")
            assert contexts[0]["message"] == "protocol.pause_writing() failed"
            assert not transport.is_closing()


async def test_close_sends_what_is_queued(loop, tmp_path):
    with full_unix_pair(tmp_path) as (sender, receiver, path):
        async with endpoint(sock=sender) as (transport, protocol):
            transport.sendto(b"1")
            transport.close()
            transport.sendto(b"2")
            await turns()
            assert protocol.calls == ["made"]
            empty(receiver)
            assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
            assert empty(receiver) == [b"1", b"2"]


async def test_abort_drops_what_is_queued(loop, tmp_path):
    with full_unix_pair(tmp_path) as (sender, receiver, path):
        async with endpoint(sock=sender) as (transport, protocol):
            transport.sendto(b"1")
            transport.close()
            transport.abort()
            assert await asyncio.wait_for(protocol.lost, PATIENCE) is None
            assert set(empty(receiver)) == {b"fill"}


async def test_an_error_while_draining_goes_on_with_the_rest(loop, tmp_path):
    """The peer goes away, another comes; what was for the first is lost."""
    with full_unix_pair(tmp_path) as (sender, receiver, path):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unconnected:
            unconnected.setblocking(False)
            other = str(tmp_path / "other")
            async with endpoint(sock=unconnected) as (transport, protocol):
                transport.sendto(b"full", path)
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as second:
                    second.bind(other)
                    second.setblocking(False)
                    transport.sendto(b"behind it", other)
                    receiver.close()
                    await until(lambda: protocol.errors)
                    await until(lambda: "write=<idle" in repr(transport))
                    assert empty(second) == [b"behind it"]
                assert isinstance(protocol.errors[0], ConnectionRefusedError)


async def test_close_in_error_received_while_draining(loop, tmp_path):
    class Closing(Recorder):
        def error_received(self, exc):
            super().error_received(exc)
            self.transport.abort()

    with full_unix_pair(tmp_path) as (sender, receiver, path):
        async with endpoint(Closing, sock=sender) as (transport, protocol):
            transport.sendto(b"1")
            transport.sendto(b"2")
            receiver.close()
            await asyncio.wait_for(protocol.lost, PATIENCE)
            assert protocol.calls == ["made", "error", "lost"]


async def test_unclosed_with_a_queue(loop, tmp_path):
    import gc
    with full_unix_pair(tmp_path) as (sender, receiver, path):
        transport, protocol = await loop.create_datagram_endpoint(
            Recorder, sock=sender)
        transport.sendto(b"x")
        transport.abort()
        await protocol.lost
        del transport
        protocol.transport = None
        gc.collect()


def test_fill_fills(tmp_path):
    """The helper's own check: the sender is full, and has room again."""
    with full_unix_pair(tmp_path) as (sender, receiver, path):
        with pytest.raises(BlockingIOError):
            sender.send(b"x")
        assert set(empty(receiver)) == {b"fill"}
        assert fill(sender) > 0
