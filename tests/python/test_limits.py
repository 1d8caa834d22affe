# SPDX-License-Identifier: Apache-2.0
"""What a loop and its servers take on: connections, accept rate, write buffer,
unfinished handshakes, and the graceful end."""

import asyncio
import contextlib
import math
import socket

import pytest

from support import (
    LOOPBACK,
    PATIENCE,
    Accepting,
    Echo,
    Recorder,
    environ,
    settle,
    transport_and_peer,
    until,
)
from tls import needs_shutdown_timeout, serving, trusting

pytestmark = [pytest.mark.stream,
              pytest.mark.asyncio_is_worse("it has no limits")]

COUNTS = ("max_connections", "max_pending_tls_handshakes",
          "max_write_buffer_bytes", "max_pending_read_bytes")
PRESETS = {"max_pending_tls_handshakes": 256, "max_pending_read_bytes": 1 << 20,
           "tls_silence_timeout": 2}
NUMBERS = ("max_accept_rate", "idle_timeout", "read_timeout", "write_timeout",
           "tls_silence_timeout")
FIRST_ONLY = 1e-6        # connections a second: one, and the next in days


@contextlib.asynccontextmanager
async def serving_with(limits=None, factory=Echo, **options):
    """A server, and what it has accepted."""
    accepting = Accepting(factory)
    server = await asyncio.get_running_loop().create_server(
        accepting, LOOPBACK, 0, limits=limits, **options)
    try:
        yield server, accepting
    finally:
        await server.drain(0)


async def connect(server, factory=Recorder, **options):
    address = server.sockets[0].getsockname()
    _, protocol = await asyncio.wait_for(
        asyncio.get_running_loop().create_connection(
            factory, *address, **options), PATIENCE)
    return protocol


async def end(*protocols):
    for protocol in protocols:
        protocol.transport.abort()
        await asyncio.wait_for(protocol.lost, PATIENCE)


# --- settings ----------------------------------------------------------------

async def test_a_loop_has_no_limits_but_of_what_is_pending(loop):
    for name in COUNTS + NUMBERS:
        assert getattr(loop.limits, name) == PRESETS.get(name)
    assert loop.limits.connections == 0
    assert loop.limits.pending_tls_handshakes == 0


async def test_settings_are_numbers_or_none(loop):
    for name in COUNTS + NUMBERS:
        setattr(loop.limits, name, 7)
        assert getattr(loop.limits, name) == 7
        setattr(loop.limits, name, None)
        assert getattr(loop.limits, name) is None
    for name in NUMBERS:
        setattr(loop.limits, name, 0.25)
        assert getattr(loop.limits, name) == 0.25
        setattr(loop.limits, name, math.inf)
        assert getattr(loop.limits, name) is None


@pytest.mark.parametrize("value", [0, -1, math.nan, "7", b"7", 1 + 2j, [], False])
async def test_wrong_settings_are_refused(loop, value):
    for name in COUNTS + NUMBERS:
        before = getattr(loop.limits, name)
        with pytest.raises((TypeError, ValueError)):
            setattr(loop.limits, name, value)
        assert getattr(loop.limits, name) == before
    for name in COUNTS:
        with pytest.raises(TypeError):
            setattr(loop.limits, name, 1.5)
    with pytest.raises(AttributeError):
        del loop.limits.max_connections
    with pytest.raises(AttributeError):
        loop.limits.connections = 1
    with pytest.raises(TypeError):
        type(loop.limits)()


@pytest.mark.parametrize("name", COUNTS + NUMBERS)
def test_a_variable_sets_what_new_loops_begin_with(flavour, name):
    variable = "RSLOOP_C_" + name.upper()
    with environ(**{variable: "12"}):
        loop = flavour.new_loop()
    assert getattr(loop.limits, name) == 12
    loop.close()
    for wrong in ("0", "-1", "many", "1x", "nan"):
        with environ(**{variable: wrong}):
            with pytest.raises(ValueError, match=variable):
                flavour.new_loop()


@pytest.mark.parametrize(
    "name", ["max_pending_tls_handshakes", "max_write_buffer_bytes"])
def test_rsloops_variables_serve_too(flavour, name):
    for value, expected in [(" 512 ", 512), ("0", None), ("many", None)]:
        with environ(**{"RSLOOP_" + name.upper(): value}):
            loop = flavour.new_loop()
        assert getattr(loop.limits, name) == (expected or PRESETS.get(name))
        loop.close()
    with environ(**{"RSLOOP_" + name.upper(): "1", "RSLOOP_C_" + name.upper(): "2"}):
        loop = flavour.new_loop()
    assert getattr(loop.limits, name) == 2
    loop.close()


async def test_a_server_begins_with_the_loops_timeouts(loop):
    loop.limits.idle_timeout = 1000
    loop.limits.max_connections = 10
    async with serving_with({"max_connections": 3}) as (server, _):
        assert server.limits.idle_timeout == 1000
        assert server.limits.max_connections == 3
        assert server.limits.max_accept_rate is None
        for name in PRESETS:
            with pytest.raises(AttributeError):
                setattr(server.limits, name, 1)
        assert loop.limits.max_connections == 10


async def test_a_wrong_limit_leaves_no_server(loop):
    for wrong, error in [({"max_friends": 1}, AttributeError),
                         ({"max_connections": 0}, ValueError)]:
        with pytest.raises(error):
            await loop.create_server(Echo, LOOPBACK, 0, limits=wrong)


async def test_a_servers_class_is_asyncios(loop):
    async with serving_with() as (server, _):
        assert isinstance(server, asyncio.base_events.Server)
        assert server.is_serving()
    waiting = await loop.create_server(Echo, LOOPBACK, 0, start_serving=False)
    assert not waiting.is_serving()
    waiting.close()


# --- connections -------------------------------------------------------------

async def test_a_server_accepts_no_more_than_its_cap(loop):
    async with serving_with({"max_connections": 2}) as (server, accepting):
        clients = [await connect(server) for _ in range(4)]
        await accepting.count(2)
        await settle()
        assert len(accepting.made) == 2
        assert server.limits.connections == loop.limits.connections == 2
        await end(clients[0])
        await accepting.count(3)
        clients[2].transport.write(b"third")
        assert await clients[2].received(5) == b"third"
        server.limits.max_connections = None
        await accepting.count(4)
        assert server.limits.connections == 3
        await end(*clients[1:])
        await until(lambda: loop.limits.connections == 0)


@pytest.mark.tls
async def test_connections_that_come_at_once_are_counted(loop):
    async with serving_with({"max_connections": 3}, ssl=serving()) as (secure, _), \
            serving_with({"max_connections": 4}) as (plain, accepting):
        socks = half_open(secure, 20) + half_open(plain, 20)
        await accepting.count(4)
        await until(lambda: secure.limits.connections == 3)
        await settle()
        assert (secure.limits.connections, plain.limits.connections) == (3, 4)
        for sock in socks:
            sock.close()
        await until(lambda: loop.limits.connections == 0)


async def test_a_loops_cap_is_all_its_servers(loop):
    loop.limits.max_connections = 2
    async with serving_with() as (one, first), serving_with() as (two, second):
        clients = [await connect(one), await connect(two)]
        await first.count(1)
        await second.count(1)
        clients += [await connect(one), await connect(two)]
        await settle()
        assert len(first.made) + len(second.made) == 2
        assert one.limits.connections == two.limits.connections == 1
        await end(*clients[:2])
        await first.count(2)
        await second.count(2)
        await end(*clients[2:])


async def test_own_connections_are_not_counted(loop):
    loop.limits.max_connections = 1
    async with transport_and_peer() as (_, protocol, peer):
        assert loop.limits.connections == 0
        async with serving_with() as (server, accepting):
            client = await connect(server)
            await accepting.count(1)
            await end(client)


async def test_a_factory_that_fails_gives_its_place_back(loop):
    def refuse():
        raise ValueError("nobody")

    async with serving_with({"max_connections": 1}, refuse) as (server, _):
        for _ in range(3):
            client = await connect(server)
            await asyncio.wait_for(client.lost, PATIENCE)
        assert server.limits.connections == 0


async def test_a_permitted_rate_holds_the_next_one_back(loop):
    async with serving_with({"max_accept_rate": FIRST_ONLY}) as (server, accepting):
        clients = [await connect(server) for _ in range(3)]
        await accepting.count(1)
        await settle()
        assert len(accepting.made) == 1
        server.limits.max_accept_rate = None
        await accepting.count(3)
        await end(*clients)


async def test_a_permitted_rate_lets_all_in_in_the_end(loop):
    loop.limits.max_accept_rate = 40
    start = loop.time()
    async with serving_with() as (server, accepting):
        clients = [await connect(server) for _ in range(12)]
        await accepting.count(12)
        # The first ones may come as a burst of a tenth of a second.
        assert loop.time() - start > (12 - 1) / 40 - 0.1 - 0.025
        await end(*clients)


async def test_a_paused_server_can_be_closed(loop):
    async with serving_with({"max_accept_rate": FIRST_ONLY,
                             "max_connections": 1}) as (server, accepting):
        clients = [await connect(server) for _ in range(2)]
        await accepting.count(1)
        await settle()
        server.close()
        await end(clients[0])
        await asyncio.wait_for(clients[1].lost, PATIENCE)


# --- what a peer does not take -----------------------------------------------

async def test_a_write_buffer_beyond_its_cap_ends_the_connection(loop):
    loop.limits.max_write_buffer_bytes = 300_000
    async with transport_and_peer(sndbuf=50_000, rcvbuf=50_000) as (
            transport, protocol, peer):
        for _ in range(400):
            transport.write(bytes(10_000))
            if transport.is_closing():
                break
        assert transport.is_closing()
        exc = await asyncio.wait_for(protocol.lost, PATIENCE)
        assert isinstance(exc, ConnectionAbortedError)
        assert "exceeds the limit of 300000 bytes" in str(exc)


@pytest.mark.parametrize("make", [bytes, bytearray])
async def test_one_write_beyond_the_cap_counts_too(loop, make):
    loop.limits.max_write_buffer_bytes = 300_000
    async with transport_and_peer(sndbuf=50_000, rcvbuf=50_000) as (
            transport, protocol, peer):
        transport.write(make(20_000_000))
        exc = await asyncio.wait_for(protocol.lost, PATIENCE)
        assert isinstance(exc, ConnectionAbortedError)


async def test_who_takes_everything_hears_of_no_cap(loop):
    async with serving_with({"max_write_buffer_bytes": 100_000}) as (server, _):
        client = await connect(server)
        for number in range(1, 200):
            client.transport.write(bytes(20_000))
            await client.received(number * 20_000)
        await end(client)


async def test_a_stream_hears_what_the_cap_said(loop):
    loop.limits.max_write_buffer_bytes = 100_000
    raised = loop.create_future()

    async def pour(reader, writer):
        try:
            while not writer.is_closing():
                writer.write(bytes(1_000_000))
            await writer.drain()
        except ConnectionError:
            raised.set_result(reader.exception())
        finally:
            writer.close()

    server = await asyncio.start_server(pour, LOOPBACK, 0)
    with socket.create_connection(server.sockets[0].getsockname()):
        exc = await asyncio.wait_for(raised, PATIENCE)
    assert "exceeds the limit" in str(exc)
    await server.drain(0)


# --- handshakes --------------------------------------------------------------

def half_open(server, count):
    """Connections whose clients say nothing, all there before the loop looks."""
    address = server.sockets[0].getsockname()
    return [socket.create_connection(address) for _ in range(count)]


@pytest.mark.tls
async def test_unfinished_handshakes_are_capped(loop):
    loop.limits.max_pending_tls_handshakes = 8
    loop.limits.tls_silence_timeout = None
    async with serving_with(ssl=serving()) as (secure, _), \
            serving_with() as (plain, _):
        socks = half_open(secure, 40)
        await until(lambda: loop.limits.pending_tls_handshakes == 8)
        await settle()
        assert loop.limits.pending_tls_handshakes == 8
        assert loop.limits.connections == secure.limits.connections == 8
        late = loop.create_task(connect(
            secure, ssl=trusting(), server_hostname="localhost"))
        for _ in range(3):           # plain service goes on
            client = await connect(plain)
            client.transport.write(b"x")
            assert await client.received(1) == b"x"
            await end(client)
        assert not late.done()
        for sock in socks:
            sock.close()
        client = await asyncio.wait_for(late, PATIENCE)
        client.transport.write(b"secret")
        assert await client.received(6) == b"secret"
        await end(client)
        await until(lambda: loop.limits.pending_tls_handshakes == 0)


@pytest.mark.tls
async def test_silent_handshakes_make_room_for_others(loop):
    loop.limits.max_pending_tls_handshakes = 8
    loop.limits.tls_silence_timeout = 0.1
    async with serving_with(ssl=serving()) as (server, _):
        socks = half_open(server, 8)
        for sock in socks[::2]:
            sock.send(b"\x16\x03\x01\x02")      # the beginning of a hello
        await until(lambda: loop.limits.pending_tls_handshakes == 8)
        await asyncio.sleep(0.5)                 # as long as nobody else comes
        assert loop.limits.pending_tls_handshakes == 8
        socks += half_open(server, 40)
        for _ in range(3):
            client = await connect(server, ssl=trusting(),
                                   server_hostname="localhost")
            client.transport.write(b"served")
            assert await client.received(6) == b"served"
            await end(client)
        for sock in socks:
            sock.close()
        await until(lambda: loop.limits.pending_tls_handshakes == 0)


@pytest.mark.tls
async def test_finished_handshakes_are_not_counted(loop):
    loop.limits.max_pending_tls_handshakes = 1
    async with serving_with(ssl=serving()) as (server, accepting):
        clients = [await connect(server, ssl=trusting(),
                                 server_hostname="localhost")
                   for _ in range(5)]
        await accepting.count(5)
        assert server.limits.connections == 5
        await until(lambda: loop.limits.pending_tls_handshakes == 0)
        await end(*clients)
        await until(lambda: server.limits.connections == 0)


@needs_shutdown_timeout
@pytest.mark.tls("epoll")
async def test_a_handshake_that_times_out_makes_room(loop):
    loop.limits.max_pending_tls_handshakes = 1
    async with serving_with(ssl=serving(), ssl_handshake_timeout=0.1) as (server, _):
        socks = half_open(server, 3)
        client = await connect(server, ssl=trusting(), server_hostname="localhost")
        await end(client)
        for sock in socks:
            sock.close()


# --- the end -----------------------------------------------------------------

async def test_drain_waits_for_every_connection(loop):
    async with serving_with() as (server, accepting):
        clients = [await connect(server) for _ in range(3)]
        await accepting.count(3)
        address = server.sockets[0].getsockname()
        draining = loop.create_task(server.drain())
        again = loop.create_task(server.drain(PATIENCE))
        await settle()
        assert not draining.done() and not server.is_serving()
        with pytest.raises(OSError):
            await loop.create_connection(Recorder, *address)
        clients[0].transport.write(b"served still")
        assert await clients[0].received(12) == b"served still"
        await end(*clients)
        assert await asyncio.wait_for(draining, PATIENCE) == 0
        assert await asyncio.wait_for(again, PATIENCE) == 0


async def test_drain_aborts_who_stays(loop):
    async with serving_with() as (server, accepting), serving_with() as (other, _):
        clients = [await connect(server) for _ in range(3)]
        bystander = await connect(other)
        await accepting.count(3)
        assert await asyncio.wait_for(server.drain(0.01), PATIENCE) == 3
        for client in clients:
            await asyncio.wait_for(client.lost, PATIENCE)
        assert [p.lost_with for p in accepting.made] == [None] * 3
        bystander.transport.write(b"x")
        assert await bystander.received(1) == b"x"
        assert await server.drain() == 0
        await end(bystander)


@pytest.mark.tls
async def test_drain_aborts_tls_too(loop):
    async with serving_with(ssl=serving()) as (server, accepting):
        client = await connect(server, ssl=trusting(), server_hostname="localhost")
        await accepting.count(1)
        assert await asyncio.wait_for(server.drain(0.01), PATIENCE) == 1
        await asyncio.wait_for(client.lost, PATIENCE)


async def test_a_loop_drains_all_its_servers(loop):
    async with serving_with() as (one, first), serving_with() as (two, second):
        clients = [await connect(one), await connect(two)]
        await first.count(1)
        await second.count(1)
        assert await asyncio.wait_for(loop.drain(0.01), PATIENCE) == 2
        assert not one.is_serving() and not two.is_serving()
        assert await loop.drain() == 0
        for client in clients:
            await asyncio.wait_for(client.lost, PATIENCE)


async def test_a_cancelled_drain_may_be_repeated(loop):
    async with serving_with() as (server, accepting):
        client = await connect(server)
        await accepting.count(1)
        draining = loop.create_task(server.drain())
        await settle()
        draining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await draining
        assert await asyncio.wait_for(server.drain(0), PATIENCE) == 1
        await asyncio.wait_for(client.lost, PATIENCE)


async def test_a_unix_server_has_limits_too(loop, tmp_path):
    path = str(tmp_path / "socket")
    accepting = Accepting(Echo)
    server = await loop.create_unix_server(
        accepting, path, limits={"max_connections": 1})
    clients = [(await loop.create_unix_connection(Recorder, path))[1]
               for _ in range(2)]
    await accepting.count(1)
    await settle()
    assert len(accepting.made) == 1
    await end(clients[0])
    await accepting.count(2)
    await end(clients[1])
    assert await server.drain(PATIENCE) == 0
