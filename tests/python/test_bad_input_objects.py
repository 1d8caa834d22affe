# SPDX-License-Identifier: Apache-2.0
"""Every method of what a loop gives out (transports, servers, handles), called
in every wrong way: open, closed, and in debug mode from another thread."""

import asyncio
import contextlib
import inspect
import sys
import sysconfig
import threading

import pytest

import bad_input
import support
from bad_input import Outcome, nothing

pytestmark = [pytest.mark.untidy, pytest.mark.slow(60),
              pytest.mark.asyncio_is_worse("it is the oracle")]

TRANSPORT = asyncio.selector_events._SelectorSocketTransport
CLASSES = {
    "transport": TRANSPORT,
    "lost transport": TRANSPORT,
    "server": asyncio.base_events.Server,
    "closed server": asyncio.base_events.Server,
    "handle": asyncio.Handle,
    "timer": asyncio.TimerHandle,
}
CASES = [(case, name) for case, kind in CLASSES.items()
         for name in bad_input.public_names(kind)]
VALID = {
    "name": lambda: "peername",
    "default": lambda: None,
    "protocol": asyncio.Protocol,
    "high": lambda: 10,
    "low": lambda: 5,
    "data": lambda: b"data",
    "list_of_data": lambda: [b"data"],
    "other": lambda: None,
}
# asyncio's writelines() of 3.12.0 to 3.13.5 sends on a socket that is gone.
WRITELINES_IS_BROKEN = sys.version_info >= (3, 12) and (
    "_conn_lost" not in TRANSPORT.writelines.__code__.co_names)

# Without a GIL a stranger's call of these raises: test_foreign_threads.py.
REFUSED = {"pause_reading", "set_protocol", "set_write_buffer_limits", "write",
           "write_eof", "writelines"} if (
    sysconfig.get_config_var("Py_GIL_DISABLED")) else set()


def valid(method, parameter):
    return VALID[parameter]()


@contextlib.asynccontextmanager
async def a_transport():
    loop = asyncio.get_running_loop()
    ours, peer = support.tcp_socket_pair()
    transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, ours)
    yield transport
    # What began in another thread may not have ended: asyncio's way is free.
    transport.set_protocol(asyncio.Protocol())
    transport.abort()
    await support.turns()
    ours.close()
    peer.close()


@contextlib.asynccontextmanager
async def a_lost_transport():
    async with a_transport() as transport:
        transport.abort()
        await support.turns()
        yield transport


@contextlib.asynccontextmanager
async def a_server():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, support.LOOPBACK, 0)
    yield server
    server.close()


@contextlib.asynccontextmanager
async def a_closed_server():
    async with a_server() as server:
        server.close()
        await server.wait_closed()
        yield server


@contextlib.asynccontextmanager
async def a_handle():
    yield asyncio.get_running_loop().call_soon(nothing)


@contextlib.asynccontextmanager
async def a_timer():
    timer = asyncio.get_running_loop().call_later(1000, nothing)
    yield timer
    timer.cancel()


MAKERS = {
    "transport": a_transport,
    "lost transport": a_lost_transport,
    "server": a_server,
    "closed server": a_closed_server,
    "handle": a_handle,
    "timer": a_timer,
}


async def in_the_loop(subject, call):
    positional, keywords = call.arguments(valid)
    value = getattr(subject, call.name)(*positional, **keywords)
    if inspect.isawaitable(value):
        value = await asyncio.wait_for(value, 0.02)
    await support.turns(3)
    return value


async def in_another_thread(subject, call):
    asyncio.get_running_loop().set_debug(True)
    outcome = asyncio.get_running_loop().create_future()

    def target():
        positional, keywords = call.arguments(valid)
        try:
            value = getattr(subject, call.name)(*positional, **keywords)
            if asyncio.iscoroutine(value):
                value.close()
            result = value, None
        except Exception as exc:
            result = None, exc
        outcome.get_loop().call_soon_threadsafe(outcome.set_result, result)

    thread = threading.Thread(target=target)
    thread.start()
    value, exc = await outcome
    thread.join()
    asyncio.get_running_loop().set_debug(False)
    if exc is not None:
        raise exc
    return value


def outcome_of(make_loop, make, place, call):
    outcomes = []

    async def main():
        async with make() as subject:
            try:
                outcomes.append(Outcome(await place(subject, call)))
            except Exception as exc:
                outcomes.append(Outcome(exc=exc))

    loop = make_loop()
    loop.set_exception_handler(nothing)
    try:
        loop.run_until_complete(main())
        loop.run_until_complete(support.turns(3))
    finally:
        loop.close()
    return outcomes[0]


def check(make_loop, case, name, place, only_valid=False):
    if name == "writelines" and case == "lost transport" and (
            WRITELINES_IS_BROKEN):
        pytest.skip("asyncio up to 3.13.5 sends on a socket that is gone")
    make = MAKERS[case]
    found = bad_input.differences(
        bad_input.calls_of(CLASSES[case], name, only_valid=only_valid),
        lambda call: [outcome_of(factory, make, place, call) for factory in (
            make_loop, asyncio.SelectorEventLoop)],
        known={})
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize("case,name", CASES)
def test_wrong_call(flavour, case, name, asyncio_errors):
    check(flavour.new_loop, case, name, in_the_loop)
    asyncio_errors.clear()


@pytest.mark.parametrize("case,name", CASES)
def test_call_from_another_thread_in_debug_mode(flavour, case, name,
                                                asyncio_errors):
    if flavour.ours and case == "transport" and name in REFUSED:
        pytest.skip("refused without a GIL: test_foreign_threads.py")
    check(flavour.new_loop, case, name, in_another_thread, only_valid=True)
    asyncio_errors.clear()
