# SPDX-License-Identifier: Apache-2.0
"""install(streams=True) and the environment put our streams in asyncio's place."""

import asyncio
import inspect

import pytest

import rsloop_c
from support import environ, run_python

NAMES = ("open_connection", "start_server", "open_unix_connection",
         "start_unix_server")
VARIABLES = ("RSLOOP_C_FAST_STREAMS", "RSLOOP_USE_FAST_STREAMS")


def functions():
    return [getattr(module, name) for module in (asyncio, asyncio.streams)
            for name in NAMES]


@pytest.fixture
def installed(no_deprecation):
    before = functions()
    rsloop_c.install(streams=True)
    yield
    rsloop_c.uninstall()
    assert functions() == before


async def kinds():
    """The classes of both ends of a connection by asyncio's functions."""
    served = asyncio.get_running_loop().create_future()

    def callback(reader, writer):
        served.set_result(type(reader))
        writer.close()

    server = await asyncio.start_server(callback, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(
        *server.sockets[0].getsockname())
    found = {type(reader), await served}
    await reader.read()
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    return found


def test_our_loops_get_our_classes(installed):
    assert rsloop_c.run(kinds()) == {rsloop_c.StreamReader}


def test_other_loops_get_asyncios(installed):
    loop = asyncio.SelectorEventLoop()
    assert loop.run_until_complete(kinds()) == {asyncio.StreamReader}
    loop.close()


def test_without_streams_nothing_is_replaced(no_deprecation):
    before = functions()
    rsloop_c.install()
    try:
        assert functions() == before
        assert rsloop_c.run(kinds()) == {asyncio.StreamReader}
    finally:
        rsloop_c.uninstall()


def test_installing_twice_is_undone_at_once(no_deprecation):
    before = functions()
    rsloop_c.install(streams=True)
    rsloop_c.install(streams=True)
    assert functions() != before
    rsloop_c.uninstall()
    assert functions() == before
    rsloop_c.uninstall()
    assert functions() == before


def test_what_others_replaced_since_stays(no_deprecation):
    before = asyncio.open_connection
    rsloop_c.install(streams=True)
    asyncio.open_connection = len
    rsloop_c.uninstall()
    assert asyncio.open_connection is len
    asyncio.open_connection = before


def test_replacements_look_like_asyncios(installed):
    for name in NAMES:
        function = getattr(asyncio, name)
        assert inspect.iscoroutinefunction(function)
        assert function.__name__ == name and function.__doc__
        assert inspect.signature(function) == inspect.signature(
            function.__wrapped__)


@pytest.mark.parametrize("variable", VARIABLES)
def test_environment_counts_for_a_run(variable):
    before = functions()
    with environ(**{variable: "1"}):
        assert rsloop_c.run(kinds()) == {rsloop_c.StreamReader}
        assert functions() == before
    with environ(**{variable: "0"}):
        assert rsloop_c.run(kinds()) == {asyncio.StreamReader}


@pytest.mark.parametrize("variable", VARIABLES)
def test_environment_counts_for_install(no_deprecation, variable):
    with environ(**{variable: "1"}):
        rsloop_c.install()
    try:
        assert rsloop_c.run(kinds()) == {rsloop_c.StreamReader}
    finally:
        rsloop_c.uninstall()


def test_failed_run_puts_back_what_was_there():
    async def fail():
        raise ZeroDivisionError

    before = functions()
    with environ(RSLOOP_C_FAST_STREAMS="1"), pytest.raises(ZeroDivisionError):
        rsloop_c.run(fail())
    assert functions() == before


def test_environment_alone_patches_nothing(flavour):
    done = run_python("""
        import asyncio.streams
        before = vars(asyncio.streams).copy(), vars(asyncio).copy()
        import rsloop_c
        rsloop_c.new_event_loop().close()
        assert (vars(asyncio.streams), vars(asyncio)) == before
    """, flavour, env={"RSLOOP_C_FAST_STREAMS": "1"})
    assert done.returncode == 0, done.stderr


def test_functions_take_what_asyncios_do():
    for name in NAMES:
        ours = getattr(rsloop_c, name)
        assert inspect.signature(ours) == inspect.signature(getattr(asyncio, name))
        assert inspect.iscoroutinefunction(ours)
        assert ours.__module__ == "rsloop_c"
