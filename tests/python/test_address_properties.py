# SPDX-License-Identifier: Apache-2.0
"""Addresses as they are given to create_connection(), create_server(),
sock_connect() and create_datagram_endpoint(): by generated hosts and ports,
the outcome is asyncio's. No host here needs a name server."""

import asyncio
import socket

import hypothesis
import pytest
from hypothesis import strategies as st

import oracle
import support
from test_dns_properties import is_local

pytestmark = pytest.mark.slow(oracle.SLOW_SECONDS)

# Nothing may leave the machine: addresses of loopback, and what is refused.
HOSTS = st.sampled_from([
    "127.0.0.1", "127.0.0.2", "localhost", "::1", "", None, "0", "1", "127.1",
    "0x7f.1", "0177.0.0.1", "2130706433", "::ffff:127.0.0.1", "::ffff:7f00:1",
    "fe80::1%lo", "::1%lo", "::1%1", "::1%none", "[::1]", " 127.0.0.1",
    "127.0.0.1 ", "127.0.0.256", "127.0.0.1.", "\u0661", "xn--", "a" * 64,
    "\udc80", "a\0b", "0.0.0.0", "::", "*", "<broadcast>", b"127.0.0.1",
    b"::1", b"localhost", bytearray(b"127.0.0.1"), 127, 1.5, True, [], {},
    ("127.0.0.1",), ["127.0.0.1", "::1"], ["127.0.0.1", None], object])
PORTS = st.sampled_from([
    0, 1, 65535, 65536, -1, 2 ** 40, 2 ** 70, "0", "1", "", " 1", "+1",
    "no-such-service", "tcpmux", b"1", b"tcpmux", None, 1.0, True, False, [],
    "1\0", "\u0661", "\udc80", object])
FAMILIES = st.sampled_from([
    0, 0, 0, socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, -1, 9999, "2",
    None])
PROTOS = st.sampled_from([0, 0, 0, socket.IPPROTO_TCP, socket.IPPROTO_UDP,
                          255, -1, "6", None])
FLAGS = st.sampled_from([0, 0, 0, socket.AI_PASSIVE, socket.AI_NUMERICHOST,
                         socket.AI_NUMERICSERV, 1 << 30, -1, "0", None])
ADDRESSES = st.one_of(
    st.tuples(HOSTS, PORTS), st.tuples(HOSTS, PORTS),
    st.tuples(HOSTS, PORTS, st.sampled_from([0, 1, -1, 1 << 20, "0"])),
    st.tuples(HOSTS, PORTS, st.just(0),
              st.sampled_from([0, 1, -1, 9999, 1 << 33, "0"])),
    st.sampled_from([(), None, "127.0.0.1", b"x", 5, ["127.0.0.1", 0]]))


def is_quiet(value):
    """Would looking this up ask nobody?"""
    if isinstance(value, (list, tuple, set, dict)):
        return all(map(is_quiet, value))
    if not isinstance(value, (str, bytes, bytearray)):
        return True
    host = bytes(value).decode() if not isinstance(value, str) else value
    return is_local(host)


HOSTS = HOSTS.filter(is_quiet)
ADDRESSES = ADDRESSES.filter(is_quiet)


async def name_of(end):
    """What a transport, a server or a socket is bound to, without the ports
    that the kernel chose."""
    sockets = getattr(end, "sockets", None)
    if sockets is None:
        sockets = [end.get_extra_info("socket")
                   if hasattr(end, "get_extra_info") else end]
    names = [(sock.family, sock.type, sock.getsockname()[:1],
              sock.getsockname()[2:]) for sock in sockets]
    end.close()
    await support.turns(3)
    return names


def play(call):
    async def outcome(run, scenario):
        try:
            run.note(await asyncio.wait_for(call(run.loop, **scenario), 5))
        except Exception as exc:
            text = str(exc)
            # Two failures of one host are told in either order.
            run.note(type(exc), sorted(oracle.plain(text).split(", ")))
    return outcome


@play
async def create_server(loop, **arguments):
    server = await loop.create_server(asyncio.Protocol, **arguments)
    return await name_of(server)


@play
async def create_connection(loop, **arguments):
    transport, _ = await loop.create_connection(asyncio.Protocol, **arguments)
    return await name_of(transport)


@play
async def create_datagram_endpoint(loop, **arguments):
    transport, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, **arguments)
    return await name_of(transport)


@play
async def sock_connect(loop, family, address):
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
        return sock.getpeername()


@oracle.profile(60)
@hypothesis.given(arguments=st.fixed_dictionaries(
    {"host": HOSTS, "port": PORTS, "family": FAMILIES, "flags": FLAGS}))
def test_server_listens_where_asyncio_does(flavour, arguments):
    # Privileged, or in use by chance: the outcome is not the loop's.
    hypothesis.assume(arguments["port"] not in (1, 65535, "1", b"1", "tcpmux",
                                                b"tcpmux"))
    oracle.compare(flavour.new_loop, create_server, arguments)


@oracle.profile(60)
@hypothesis.given(arguments=st.fixed_dictionaries(
    {"host": HOSTS, "port": PORTS, "family": FAMILIES, "proto": PROTOS,
     "flags": FLAGS},
    optional={"local_addr": ADDRESSES, "interleave": st.sampled_from([0, 1])}))
def test_connection_is_tried_as_by_asyncio(flavour, arguments):
    """Nobody listens on these ports: who refuses, and how, is compared."""
    hypothesis.assume(arguments["port"] not in (65535,))
    oracle.compare(flavour.new_loop, create_connection, arguments)


@oracle.profile(60)
@hypothesis.given(arguments=st.fixed_dictionaries(
    {}, optional={"local_addr": ADDRESSES, "remote_addr": ADDRESSES,
                  "family": FAMILIES, "proto": PROTOS, "flags": FLAGS}))
def test_datagram_endpoint_is_bound_as_by_asyncio(flavour, arguments):
    oracle.compare(flavour.new_loop, create_datagram_endpoint, arguments)


@oracle.profile(60)
@hypothesis.given(arguments=st.fixed_dictionaries(
    {"family": st.sampled_from([socket.AF_INET, socket.AF_INET6]),
     "address": ADDRESSES}))
def test_socket_is_connected_as_by_asyncio(flavour, arguments):
    oracle.compare(flavour.new_loop, sock_connect, arguments)
