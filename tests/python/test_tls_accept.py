# SPDX-License-Identifier: Apache-2.0
"""TLS: connections as a listener takes them, and how badly they begin."""

import asyncio
import gc
import warnings
import weakref

import pytest

from growth_cycles import within
from support import LOOPBACK, PATIENCE, Echo, Recorder, turns, until
from tls import serving, trusting

pytestmark = [pytest.mark.stream, pytest.mark.tls]


async def ends(reader):
    """The connection is over, in whatever way."""
    try:
        while await within(reader.read(4096)):
            pass
    except ConnectionError:
        pass


async def hang_up(address):
    _, writer = await asyncio.open_connection(*address)
    writer.close()
    await within(writer.wait_closed())


async def talk_nonsense(address):
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    await ends(reader)
    writer.close()


async def test_factory_that_raises_ends_its_connection(loop, flavour, request):
    if not flavour.ours:
        request.applymarker(pytest.mark.untidy)  # it leaves the socket
    made = []

    def factory():
        made.append(Recorder())
        if len(made) == 1:
            raise ValueError("no protocol for the first")
        return made[-1]

    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    server = await loop.create_server(factory, LOOPBACK, 0, ssl=serving())
    address = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(*address)
    await ends(reader)
    writer.close()
    transport, client = await within(loop.create_connection(
        Recorder, *address, ssl=trusting(), server_hostname="localhost"))
    transport.close()
    await asyncio.wait_for(client.lost, PATIENCE)
    assert len(made) == 2
    assert reports == []
    server.close()


async def test_factory_may_change_the_context(loop):
    context = serving()
    context.set_alpn_protocols(["old"])

    def factory():
        context.set_alpn_protocols(["new"])
        return Recorder()

    server = await loop.create_server(factory, LOOPBACK, 0, ssl=context)
    client_context = trusting()
    client_context.set_alpn_protocols(["old", "new"])
    transport, client = await within(loop.create_connection(
        Recorder, *server.sockets[0].getsockname(), ssl=client_context,
        server_hostname="localhost"))
    ssl_object = transport.get_extra_info("ssl_object")
    assert ssl_object.selected_alpn_protocol() == "new"
    transport.close()
    await asyncio.wait_for(client.lost, PATIENCE)
    server.close()


async def test_protocol_of_asyncios_sslproto_is_made_once(loop):
    context, made = serving(), []
    context._msg_callback = lambda *arguments: None

    def factory():
        made.append(Recorder())
        return made[-1]

    server = await loop.create_server(factory, LOOPBACK, 0, ssl=context)
    transport, client = await within(loop.create_connection(
        Recorder, *server.sockets[0].getsockname(), ssl=trusting(),
        server_hostname="localhost"))
    transport.close()
    await asyncio.wait_for(client.lost, PATIENCE)
    assert len(made) == 1
    server.close()


def test_loop_ends_amid_a_handshake_without_warning(loop_factory):
    loop = loop_factory()

    async def begin():
        server = await loop.create_server(Recorder, LOOPBACK, 0, ssl=serving())
        _, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname())
        await turns(5)
        writer.close()
        server.close()

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        loop.run_until_complete(begin())
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(turns(5))
        loop.close()
        gc.collect()
    assert [str(w.message) for w in seen
            if w.category is ResourceWarning] == []


async def test_nothing_remains_of_bad_beginnings(loop, flavour):
    if not flavour.ours:
        pytest.skip("asyncio's own")
    known = weakref.WeakSet()

    def factory():
        protocol = Echo()
        known.add(protocol)
        return protocol

    server = await loop.create_server(factory, LOOPBACK, 0, ssl=serving())
    address = server.sockets[0].getsockname()
    for _ in range(10):
        await hang_up(address)
        await talk_nonsense(address)
    transport, client = await within(loop.create_connection(
        Recorder, *address, ssl=trusting(), server_hostname="localhost"))
    transport.close()
    await within(client.lost)
    server.close()
    await within(server.wait_closed())
    await until(lambda: loop.limits.pending_tls_handshakes == 0)
    await until(lambda: gc.collect() is not None and not known)
