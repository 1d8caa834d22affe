# SPDX-License-Identifier: Apache-2.0
"""getaddrinfo and getnameinfo agree with the socket module."""

import asyncio
import socket

import pytest

from support import PATIENCE


@pytest.mark.parametrize("host, port, options", [
    ("127.0.0.1", 80, {}),
    ("127.0.0.1", "80", {}),
    ("127.0.0.1", None, {}),
    ("::1", 80, {}),
    (None, 80, {}),
    (None, 80, {"flags": socket.AI_PASSIVE}),
    ("localhost", 80, {}),
    ("localhost", 80, {"family": socket.AF_INET}),
    ("127.0.0.1", 80, {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", 80, {"type": socket.SOCK_STREAM,
                       "proto": socket.IPPROTO_TCP}),
    ("127.0.0.1", 53, {"type": socket.SOCK_DGRAM}),
    ("127.0.0.1", 80, {"flags": socket.AI_NUMERICHOST}),
    ("0.0.0.0", 0, {"type": socket.SOCK_STREAM}),
    ("fe80::1%lo", 80, {"type": socket.SOCK_STREAM}),
    ("127.1", 80, {"type": socket.SOCK_STREAM}),
    ("0x7f.1", 80, {"type": socket.SOCK_STREAM}),
    ("127.0.0.1", 0, {"family": socket.AF_INET, "type": socket.SOCK_STREAM,
                      "flags": socket.AI_CANONNAME}),
    (b"127.0.0.1", b"80", {}),
    ("::ffff:127.0.0.1", 80, {"type": socket.SOCK_STREAM}),
])
async def test_getaddrinfo_agrees_with_socket(loop, host, port, options):
    assert await loop.getaddrinfo(host, port, **options) == \
        socket.getaddrinfo(host, port, **options)


@pytest.mark.parametrize("host, port, options", [
    ("127.0.0.1", "no-such-service-of-ours", {}),
    ("not numeric", 80, {"flags": socket.AI_NUMERICHOST}),
    ("::1", 80, {"family": socket.AF_INET}),
    ("127.0.0.1", 80, {"type": 4711}),
    (None, None, {}),
    ("a" * 300, 80, {}),
    (1, 80, {}),
    ("127.0.0.1", 80, {"family": -17}),
    ("127.0.0.1", 1.5, {}),
])
async def test_getaddrinfo_fails_as_socket_does(loop, host, port, options):
    with pytest.raises(Exception) as expected:
        socket.getaddrinfo(host, port, **options)
    with pytest.raises(type(expected.value)) as seen:
        await loop.getaddrinfo(host, port, **options)
    if isinstance(expected.value, socket.gaierror):
        assert seen.value.args == expected.value.args


async def test_getaddrinfo_is_a_coroutine(loop):
    coro = loop.getaddrinfo("127.0.0.1", 80)
    assert asyncio.iscoroutine(coro)
    await coro


async def test_many_lookups_at_once_all_return(loop):
    results = await asyncio.gather(*(
        loop.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)
        for port in range(1, 200)))
    assert [result[0][4][1] for result in results] == list(range(1, 200))


async def test_cancelled_lookup_leaves_nothing_behind(loop):
    task = loop.create_task(loop.getaddrinfo("localhost", 80))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await loop.getaddrinfo("127.0.0.1", 80)


@pytest.mark.parametrize("address, flags", [
    (("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
    (("::1", 80, 0, 0), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
    (("127.0.0.1", 0), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
    (("127.0.0.1", 53), socket.NI_NUMERICHOST | socket.NI_DGRAM),
    (("127.0.0.1", 80), 0),
])
async def test_getnameinfo_agrees_with_socket(loop, address, flags):
    assert await loop.getnameinfo(address, flags) == \
        socket.getnameinfo(address, flags)


@pytest.mark.parametrize("address, flags", [
    (("localhost.invalid", 80), 0),
    (("127.0.0.1",), 0),
    ("127.0.0.1", 0),
    (("127.0.0.1", "80"), 0),
    (("127.0.0.1", -1), 0),
])
async def test_getnameinfo_fails_as_socket_does(loop, address, flags):
    with pytest.raises(Exception) as expected:
        socket.getnameinfo(address, flags)
    with pytest.raises(type(expected.value)):
        await loop.getnameinfo(address, flags)


def test_lookups_left_running_do_not_hold_up_close(loop):
    async def main():
        return [loop.create_task(loop.getaddrinfo("127.0.0.1", 80))
                for _ in range(20)]

    tasks = loop.run_until_complete(main())
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


async def test_getaddrinfo_patched_on_the_loop_is_used_by_create_connection(
        loop, monkeypatch):
    from support import LOOPBACK, Recorder
    server = await loop.create_server(Recorder, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]

    async def fake(host, port, **kwargs):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (LOOPBACK, port))]

    monkeypatch.setattr(loop, "getaddrinfo", fake, raising=False)
    transport, protocol = await loop.create_connection(
        Recorder, "a.name.of.ours", port)
    assert transport.get_extra_info("peername") == (LOOPBACK, port)
    transport.abort()
    await protocol.lost
    server.close()
    await server.wait_closed()


@pytest.mark.asyncio_is_worse("it looks names up in the default executor")
async def test_look_ups_do_not_wait_for_the_executor(loop):
    """A pool that is busy with something else delays no connection."""
    import threading
    from concurrent.futures import ThreadPoolExecutor
    release = threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    busy = loop.run_in_executor(None, release.wait)
    try:
        assert await asyncio.wait_for(loop.getaddrinfo("localhost", 80), PATIENCE)
        assert await asyncio.wait_for(
            loop.getnameinfo(("127.0.0.1", 80)), PATIENCE)
    finally:
        release.set()
        await busy


@pytest.mark.parametrize("host", ["fe80::1%lo", "::1%1"])
async def test_scope_of_a_numeric_address_is_kept(loop, host):
    assert await loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM) == \
        socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM)
