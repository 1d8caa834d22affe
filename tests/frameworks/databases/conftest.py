# SPDX-License-Identifier: Apache-2.0
"""Database drivers against real servers, on the loop that loop_plugin.py set."""

import socket

import pytest
import servers
from coroutine_tests import pytest_pyfunc_call  # noqa: F401


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
