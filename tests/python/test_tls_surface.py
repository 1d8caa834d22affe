# SPDX-License-Identifier: Apache-2.0
"""TLS: the transport's methods, in every state, beside those of asyncio's."""

import asyncio
import os
import sys
import weakref

import pytest

from support import PATIENCE, Recorder, settle
from tls import each_role, peer_by_hand, tls_pair

pytestmark = [pytest.mark.stream, pytest.mark.tls]

# Without arguments, and without an effect on the others.
CALLS = (
    "can_write_eof", "get_protocol", "get_read_buffer_limits",
    "get_read_buffer_size", "get_write_buffer_limits", "get_write_buffer_size",
    "is_closing", "is_reading", "pause_reading", "resume_reading",
    "set_read_buffer_limits", "set_write_buffer_limits", "write_eof",
)
needs_new_sslproto = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="asyncio's TLS was written anew for 3.11")


def outcome(transport, name, *arguments):
    """What a call comes to; a protocol by its class."""
    try:
        result = getattr(transport, name)(*arguments)
    except Exception as exc:
        return type(exc), str(exc)
    return type(result).__name__ if isinstance(result, Recorder) else result


async def states(transport, peer, protocol):
    """The states of a connection that its methods may tell apart."""
    yield "open"
    transport.pause_reading()
    yield "paused"
    transport.resume_reading()
    await settle()
    transport.close()
    yield "closing"
    await peer.read_to_end()
    await peer.send(peer.notify())
    await asyncio.wait_for(protocol.lost, PATIENCE)
    yield "closed"


async def outcomes(role):
    found = {}
    async with peer_by_hand(role) as (protocol, peer):
        transport = protocol.transport
        async for state in states(transport, peer, protocol):
            for name in CALLS:
                found[state, name] = outcome(transport, name)
    return found


@needs_new_sslproto
@each_role
def test_methods_do_what_asyncios_do_in_each_state(loop, role):
    oracle = asyncio.SelectorEventLoop()
    expected = oracle.run_until_complete(outcomes(role))
    oracle.close()
    found = loop.run_until_complete(outcomes(role))
    assert found == expected


@needs_new_sslproto
async def test_read_buffer_limits(loop):
    async with tls_pair() as (_, client):
        transport = client.transport
        assert transport.get_read_buffer_limits() == (65536, 262144)
        for arguments, limits in [
                ({"high": 4000}, (1000, 4000)), ({"low": 10}, (10, 40)),
                ({"high": 7, "low": 7}, (7, 7)), ({}, (65536, 262144))]:
            transport.set_read_buffer_limits(**arguments)
            assert transport.get_read_buffer_limits() == limits
        for high, low in [(1, 2), (-1, None), (0, 1)]:
            with pytest.raises(ValueError, match="must be >= low"):
                transport.set_read_buffer_limits(high, low)
        with pytest.raises(TypeError):
            transport.set_read_buffer_limits("much")
        assert transport.get_read_buffer_limits() == (65536, 262144)


@needs_new_sslproto
async def test_set_write_buffer_limits_has_defaults_of_tls(loop):
    async with tls_pair() as (_, client):
        transport = client.transport
        transport.set_write_buffer_limits(high=100)
        assert transport.get_write_buffer_limits() == (25, 100)
        transport.set_write_buffer_limits()
        assert transport.get_write_buffer_limits() == (131072, 524288)


@needs_new_sslproto
async def test_little_is_received_while_reading_is_paused(loop):
    """Whatever the peer sends, the rest stays in the sockets."""
    data = os.urandom(1 << 20)
    async with tls_pair() as (served, client):
        client.transport.pause_reading()
        served.transport.write(data)
        await settle()
        # asyncio's mark, and what one call may bring beyond it.
        assert client.transport.get_read_buffer_size() <= 512 * 1024
        client.transport.resume_reading()
        assert await client.received(len(data)) == data
        assert client.transport.get_read_buffer_size() == 0


async def test_transport_takes_attributes_and_weak_references(loop):
    async with tls_pair() as (_, client):
        client.transport.note = "mine"
        assert vars(client.transport)["note"] == "mine"
        assert weakref.ref(client.transport)() is client.transport
