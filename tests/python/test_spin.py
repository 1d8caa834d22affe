# SPDX-License-Identifier: Apache-2.0
"""A loop that looks for a moment before it sleeps: RSLOOP_C_SPIN_US."""

import asyncio
import socket
import threading
import time

import pytest

from support import environ

ROUNDS = 300
LONGEST_US = "10000"


@pytest.fixture(params=["0", "", LONGEST_US], ids=["never", "default", "long"])
def spinning_loop(request, loop_factory):
    with environ(RSLOOP_C_SPIN_US=request.param):
        loop = loop_factory()
    yield loop
    loop.close()


@pytest.mark.asyncio_is_worse("it has no such setting")
@pytest.mark.parametrize("value", ["-1", "10001", "1.5", "soon", "9" * 30])
def test_what_is_no_time_is_a_value_error(loop_factory, value):
    with environ(RSLOOP_C_SPIN_US=value), \
            pytest.raises(ValueError, match="RSLOOP_C_SPIN_US"):
        loop_factory()


def test_a_client_that_answers_at_once_is_answered(spinning_loop):
    ours, theirs = socket.socketpair()

    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

        def connection_lost(self, exc):
            lost.set_result(exc)

    def client():
        with theirs:
            for number in range(ROUNDS):
                message = b"%d" % number
                theirs.sendall(message)
                assert theirs.recv(100) == message

    async def main():
        ours.setblocking(False)
        await spinning_loop.create_connection(Echo, sock=ours)
        await spinning_loop.run_in_executor(None, client)
        assert await lost is None

    lost = spinning_loop.create_future()
    spinning_loop.run_until_complete(asyncio.wait_for(main(), 60))


def test_calls_of_another_thread_are_not_lost(spinning_loop):
    async def main():
        for number in range(ROUNDS):
            assert await spinning_loop.run_in_executor(None, int, number) == number

    spinning_loop.run_until_complete(asyncio.wait_for(main(), 60))


def test_stop_and_a_wake_of_another_thread_end_the_loop(spinning_loop):
    """In whichever moment between two sleeps they come."""
    for _ in range(ROUNDS):
        started = threading.Event()

        def stop(started=started):
            started.wait()
            spinning_loop.stop()
            spinning_loop._write_to_self()

        thread = threading.Thread(target=stop)
        thread.start()
        spinning_loop.call_soon(started.set)
        guard = spinning_loop.call_later(60, pytest.fail, "the wake was lost")
        spinning_loop.run_forever()
        guard.cancel()
        thread.join()


def test_a_loop_that_nobody_talks_to_sleeps(spinning_loop):
    spinning_loop.run_until_complete(asyncio.sleep(0))
    before = time.process_time()
    spinning_loop.run_until_complete(asyncio.sleep(0.5))
    assert time.process_time() - before < 0.2
