# SPDX-License-Identifier: Apache-2.0
"""inspect.signature of every public method against asyncio's."""

import asyncio
import inspect

import pytest

from support import PATIENCE, Recorder, transport_and_peer

Parameter = inspect.Parameter


def public_methods(cls):
    return sorted(name for name in dir(cls)
                  if not name.startswith("_")
                  and callable(getattr(cls, name)))


def shape(function):
    """Names, defaults and kinds; positional-only ones count as plain."""
    parameters = []
    for parameter in inspect.signature(function).parameters.values():
        kind = parameter.kind
        if kind is Parameter.POSITIONAL_ONLY:
            kind = Parameter.POSITIONAL_OR_KEYWORD
        parameters.append((parameter.name, kind.name, parameter.default))
    return parameters


@pytest.mark.parametrize("name", public_methods(asyncio.SelectorEventLoop))
def test_loop_method_has_asyncios_signature(flavour, name):
    ours = shape(getattr(flavour.loop_class, name))
    theirs = shape(getattr(asyncio.SelectorEventLoop, name))
    if name == "create_task" and ours[-1][1] == "VAR_KEYWORD":
        # Late 3.13 takes **kwargs where 3.13.0 still names them.
        ours, theirs = ours[:2], theirs[:2]
    assert ours == theirs


@pytest.mark.parametrize("name", public_methods(asyncio.SelectorEventLoop))
def test_loop_method_is_a_coroutine_function_where_asyncios_is(flavour, name):
    ours = getattr(flavour.loop_class, name)
    assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(
        getattr(asyncio.SelectorEventLoop, name))


@pytest.mark.parametrize("name", public_methods(asyncio.TimerHandle))
def test_handle_method_has_asyncios_signature(loop, name):
    timer = loop.call_later(1, print)
    timer.cancel()
    assert shape(getattr(type(timer), name)) == \
        shape(getattr(asyncio.TimerHandle, name))


@pytest.mark.parametrize("name", public_methods(asyncio.Transport))
async def test_transport_method_has_asyncios_signature(loop, name):
    from asyncio.selector_events import _SelectorSocketTransport
    async with transport_and_peer() as (transport, _, _):
        theirs = getattr(_SelectorSocketTransport, name)
        assert shape(getattr(type(transport), name)) == shape(theirs)


async def test_pipe_methods_have_asyncios_signatures(loop, pipe):
    from asyncio import unix_events
    for end, make, theirs in (
            (0, loop.connect_read_pipe, unix_events._UnixReadPipeTransport),
            (1, loop.connect_write_pipe, unix_events._UnixWritePipeTransport)):
        transport, protocol = await make(Recorder, pipe[end])
        for name in public_methods(theirs):
            assert shape(getattr(type(transport), name)) == \
                shape(getattr(theirs, name)), name
        transport.close()
        await asyncio.wait_for(protocol.lost, PATIENCE)


@pytest.mark.asyncio_is_worse("it documents some only")
@pytest.mark.parametrize("name", ["call_soon", "call_soon_threadsafe",
                                  "call_later", "call_at", "create_task",
                                  "time", "create_future", "stop",
                                  "add_reader", "run_forever"])
def test_loop_method_has_a_docstring(flavour, name):
    assert getattr(flavour.loop_class, name).__doc__


def test_callbacks_can_be_passed_by_keyword(loop):
    seen = []
    loop.call_soon(callback=lambda: seen.append("soon"))
    loop.call_later(delay=0, callback=lambda: seen.append("later"))
    loop.call_at(when=loop.time(), callback=lambda: seen.append("at"))
    loop.call_soon_threadsafe(callback=lambda: seen.append("threadsafe"))
    loop.call_later(0.005, loop.stop)
    loop.run_forever()
    assert sorted(seen) == ["at", "later", "soon", "threadsafe"]


async def test_transport_arguments_can_be_passed_by_keyword(loop):
    from support import recv_exactly
    async with transport_and_peer() as (transport, protocol, peer):
        transport.write(data=b"a")
        transport.writelines(list_of_data=[b"b"])
        assert await recv_exactly(peer, 2) == b"ab"
        transport.set_write_buffer_limits(high=10, low=5)
        assert transport.get_extra_info(name="x", default=1) == 1
        other = Recorder()
        transport.set_protocol(protocol=other)
        transport.set_protocol(protocol)


def test_no_public_name_is_missing(loop):
    missing = [name for name in dir(asyncio.SelectorEventLoop)
               if not name.startswith("_") and not hasattr(loop, name)]
    assert missing == []
