# SPDX-License-Identifier: Apache-2.0
"""Database drivers against real servers, on the loop that loop_plugin.py set."""

import asyncio
import inspect
import os
import socket

import pytest
import servers

import rsloop_c

TEST_SECONDS = 120


def pytest_pyfunc_call(pyfuncitem):
    """A test that is a coroutine function runs by asyncio.run()."""
    if not inspect.iscoroutinefunction(pyfuncitem.function):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def run():
        # Else a test that says nothing about the loop could pass.
        loop = asyncio.get_running_loop()
        ours = isinstance(loop, rsloop_c.Loop)
        assert ours == (os.environ["TEST_LOOP"] != "asyncio")
        await asyncio.wait_for(pyfuncitem.function(**arguments), TEST_SECONDS)

    asyncio.run(run())
    return True


def server(start):
    try:
        with start() as running:
            yield running
    except servers.Missing as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def postgresql():
    yield from server(servers.postgresql)


@pytest.fixture(scope="session")
def redis_server():
    yield from server(servers.redis)


@pytest.fixture
def silent_port():
    """A port that accepts and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]
