# SPDX-License-Identifier: Apache-2.0
"""Datagram endpoints over unix sockets."""

import os
import socket
import sys

import pytest

from datagrams import (
    Echo,
    Recorder,
    endpoint,
    name_of,
    outcome_of_endpoint,
    outcome_of_socket,
)
from support import PATIENCE, until

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

UNIX = {"family": socket.AF_UNIX}


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "socket")


@pytest.fixture
def peer(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.bind(str(tmp_path / "peer"))
        yield sock


async def test_echo_over_paths(loop, path, tmp_path):
    async with endpoint(Echo, path, **UNIX) as (server, protocol):
        async with endpoint(Recorder, str(tmp_path / "client"),
                            remote_addr=path, **UNIX) as (client, other):
            client.sendto(b"hello")
            assert await other.received(1) == [b"hello"]
            assert other.got == [(b"hello", path)]
            assert protocol.got == [(b"hello", str(tmp_path / "client"))]
            assert client.get_extra_info("peername") == path
            assert name_of(server) == path


async def test_addressed_to_paths(loop, path, peer):
    async with endpoint(Recorder, path, **UNIX) as (transport, protocol):
        for name in (peer.getsockname(), os.fsencode(peer.getsockname())):
            transport.sendto(b"x", name)
            assert peer.recvfrom(100) == (b"x", path)


async def test_abstract_names(loop):
    name = f"\0rsloop-c-test-{os.getpid()}-{id(loop)}"
    async with endpoint(Echo, name, **UNIX) as (server, protocol):
        assert name_of(server) == name.encode()
        async with endpoint(Recorder, name + "-client", remote_addr=name,
                            **UNIX) as (client, other):
            client.sendto(b"hello")
            await other.received(1)
            assert other.got == [(b"hello", name.encode())]
            assert protocol.got == [(b"hello", name.encode() + b"-client")]


async def test_a_sender_without_a_name(loop, path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as plain:
            plain.bind(path + "-plain")
            peer.sendto(b"x", path + "-plain")
            shown = plain.recvfrom(100)[1]
        async with endpoint(Recorder, path, **UNIX) as (_, protocol):
            peer.sendto(b"x", path)
            await protocol.received(1)
            assert protocol.got == [(b"x", shown)]


async def test_remote_addr_alone(loop, peer):
    async with endpoint(remote_addr=peer.getsockname(), **UNIX) as (
            transport, _):
        transport.sendto(b"from nobody")
        assert peer.recv(100) == b"from nobody"
        with pytest.raises(ValueError, match="Invalid address: must be None"):
            transport.sendto(b"x", "elsewhere")


async def test_family_alone(loop, peer):
    async with endpoint(**UNIX) as (transport, _):
        transport.sendto(b"by name", peer.getsockname())
        assert peer.recv(100) == b"by name"


async def test_a_stale_socket_is_replaced(loop, path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stale:
        stale.bind(path)
    async with endpoint(Recorder, path, **UNIX) as (transport, protocol):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
            peer.sendto(b"x", path)
        await protocol.received(1)


async def test_a_file_in_the_way_is_kept(loop, path):
    with open(path, "w"):
        pass
    with pytest.raises(OSError):
        await loop.create_datagram_endpoint(Recorder, path, **UNIX)
    assert os.path.isfile(path)


@pytest.mark.parametrize("options", [
    {"local_addr": ("127.0.0.1", 0)}, {"local_addr": 7},
    {"remote_addr": b"bytes"}])
async def test_addresses_are_strings(loop, options):
    with pytest.raises(TypeError, match="string is expected"):
        await loop.create_datagram_endpoint(Recorder, **options, **UNIX)


async def test_nobody_is_there(loop, path):
    with pytest.raises(FileNotFoundError):
        await loop.create_datagram_endpoint(
            Recorder, remote_addr=path, **UNIX)
    async with endpoint(**UNIX) as (transport, protocol):
        transport.sendto(b"x", path)
        assert [type(exc) for exc in protocol.errors] == [FileNotFoundError]


async def test_the_peer_goes_away(loop, peer):
    async with endpoint(remote_addr=peer.getsockname(), **UNIX) as (
            transport, protocol):
        peer.close()
        transport.sendto(b"x")
        await until(lambda: protocol.errors)
        assert isinstance(protocol.errors[0], OSError)
        assert not transport.is_closing()


async def test_a_pair_without_names(loop):
    """Its peer has no name, so asyncio takes it for unconnected."""
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with theirs:
        async with endpoint(sock=ours) as (transport, protocol):
            assert transport.get_extra_info("peername") == ""
            theirs.send(b"hello")
            await protocol.received(1)
            assert protocol.got == [(b"hello", None)]
            transport.sendto(b"x")
            assert isinstance(await protocol.lost, TypeError)
            assert contexts[0]["exception"] is protocol.lost.result()


@pytest.mark.skipif(sys.version_info < (3, 13),
                    reason="asyncio takes datagram sockets only")
async def test_messages_of_a_sequenced_socket(loop):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        async with endpoint(sock=ours) as (transport, protocol):
            theirs.send(b"one")
            theirs.send(b"two")
            assert await protocol.received(2) == [b"one", b"two"]


@pytest.mark.parametrize("size", [0, 1, 65536, 150_000])
async def test_any_size(loop, path, size):
    async with endpoint(Recorder, path, **UNIX) as (_, protocol):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
            peer.sendto(b"x" * size, path)
        assert await protocol.received(1) == [b"x" * size]


async def test_what_is_larger_than_max_size_is_cut(loop, path):
    async with endpoint(Recorder, path, **UNIX) as (transport, protocol):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            try:
                peer.sendto(b"x" * (transport.max_size + 10), path)
            except OSError:
                pytest.skip("the kernel sends no message of this size")
        assert await protocol.received(1) == [b"x" * transport.max_size]


NAMES = st.one_of(
    st.text(max_size=120),
    st.binary(max_size=120),
    st.binary(min_size=1, max_size=107).map(lambda tail: b"\0" + tail),
    st.sampled_from(["", b"", "\0", b"\0", "x" * 107, "x" * 108, "\0" + "x" * 107,
                     "\0" + "x" * 108, "\udcff", "\ud800", "a\0b", b"a\0b",
                     None, 7, ("127.0.0.1", 9), bytearray(b"name")]))


@pytest.mark.slow(60)
def test_names_are_read_as_socket_reads_them(loop):
    loop.set_exception_handler(lambda loop, context: None)

    @hypothesis.settings(max_examples=200, deadline=None, database=None,
              suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(NAMES)
    def check(name):
        expected = outcome_of_socket(socket.AF_UNIX, name)
        assert loop.run_until_complete(
            outcome_of_endpoint(name, **UNIX)) == expected

    check()


@pytest.mark.slow(60)
def test_senders_are_shown_as_socket_shows_them(loop):
    target = f"\0rsloop-c-shown-{os.getpid()}-{id(loop)}"

    async def compare(name):
        async with endpoint(Recorder, target, **UNIX) as (_, protocol):
            with (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer,
                  socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as plain):
                plain.bind(target + "-plain")
                peer.bind(name)
                peer.sendto(b"x", target)
                peer.sendto(b"x", target + "-plain")
                await protocol.received(1)
                assert protocol.got == [plain.recvfrom(100)]

    @hypothesis.settings(max_examples=100, deadline=None, database=None,
              suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(st.binary(min_size=1, max_size=90))
    def check(tail):
        # Abstract, and so free of files; unlikely to be taken.
        loop.run_until_complete(
            compare(b"\0rsloop-c-%d" % os.getpid() + tail))

    check()
