# SPDX-License-Identifier: Apache-2.0
"""Servers by drawn scenarios: the methods in any order, clients that come and
go before, between and after them."""

import asyncio
import socket

import hypothesis
import pytest
from hypothesis import strategies as st

import oracle
import support

pytestmark = pytest.mark.slow(oracle.SLOW_SECONDS)

CLIENTS = 3


class Served(asyncio.Protocol):
    def __init__(self, stage):
        self.stage = stage
        self.number = stage.served = stage.served + 1

    def connection_made(self, transport):
        self.transport = transport
        self.stage.transports.append(transport)
        self.stage.note(self.number, "made")
        action = self.stage.scenario["on_made"]
        if action == "raise":
            raise ValueError("of connection_made")
        if action is not None:
            getattr(self.stage, "do_" + action)()

    def data_received(self, data):
        self.stage.run.note_data(self.number, data)
        self.transport.write(data.upper())

    def eof_received(self):
        self.stage.note(self.number, "eof")
        return self.stage.scenario["keep_open"]

    def connection_lost(self, exc):
        self.stage.note(self.number, "lost", oracle.describe(exc))


class Stage:
    def __init__(self, run, scenario):
        self.run = run
        self.note = run.note
        self.scenario = scenario
        self.server = None
        self.served = 0
        self.transports = []
        self.clients = [None] * CLIENTS
        self.tasks = {}

    def factory(self):
        if self.scenario["factory"] == "raises":
            raise ValueError("of the factory")
        return Served(self)

    # The server.

    def do_start(self):
        self._begin("start_serving")

    def do_serve_forever(self):
        self._begin("serve_forever")

    def do_wait_closed(self):
        self._begin("wait_closed")

    def do_enter(self):
        self._begin("__aenter__")

    def do_exit(self):
        self._begin("__aexit__", None, None, None)

    def _begin(self, name, *args):
        """A task of the method, which is told apart by its number."""
        number = len(self.tasks) + 1

        async def main():
            try:
                value = await getattr(self.server, name)(*args)
            except asyncio.CancelledError:
                self.note(name, number, "cancelled")
            except Exception as exc:
                self.note(name, number, "raised", *oracle.describe(exc))
            else:
                self.note(name, number, "returned", value is None)

        self.tasks[number] = self.run.loop.create_task(main())

    def do_cancel(self):
        for task in self.tasks.values():
            task.cancel()

    def do_close(self):
        self.run.attempt("close", self.server.close)

    def do_close_clients(self):
        if hasattr(self.server, "close_clients"):
            self.run.attempt("close_clients", self.server.close_clients)

    def do_abort_clients(self):
        if hasattr(self.server, "abort_clients"):
            self.run.attempt("abort_clients", self.server.abort_clients)

    def do_state(self):
        server = self.server
        self.note("state", server.is_serving(), type(server.sockets).__name__,
                  len(server.sockets), server.get_loop() is self.run.loop,
                  [type(sock).__name__ for sock in server.sockets],
                  oracle.plain(repr(server)).partition(" sockets=")[0])

    # Its clients.

    def do_connect(self, place):
        if self.clients[place] is None:
            client = socket.socket(self.family)
            client.setblocking(False)
            try:
                client.connect(self.address)
            except BlockingIOError:
                pass
            except OSError as exc:
                self.note("client", place, oracle.describe(exc))
                client.close()
                return
            self.clients[place] = client

    def do_send(self, place):
        if self.clients[place] is not None:
            try:
                self.clients[place].send(b"abc")
            except OSError:
                pass

    def do_recv(self, place):
        if self.clients[place] is None or self.scenario["factory"] == "raises":
            return       # asyncio leaves that socket to the collector
        try:
            data = self.clients[place].recv(1000)
        except OSError as exc:
            # Refused or reset: which of them is the network's timing.
            self.note("client", place, "nothing" if isinstance(
                exc, BlockingIOError) else "broken")
        else:
            self.note("client", place, data or "end")

    def do_leave(self, place):
        if self.clients[place] is not None:
            self.clients[place].close()
            self.clients[place] = None

    def do_reset(self, place):
        if self.clients[place] is not None:
            support.reset(self.clients[place])
            self.clients[place] = None

    def do_shutdown(self, place):
        if self.clients[place] is not None:
            try:
                self.clients[place].shutdown(socket.SHUT_WR)
            except OSError:
                pass


async def play(run, scenario):
    stage = Stage(run, scenario)
    run.loop.set_debug(scenario["debug"])
    try:
        stage.server = await run.loop.create_server(
            stage.factory, support.LOOPBACK, 0, **scenario["options"])
    except Exception as exc:
        run.note("create_server", *oracle.describe(exc))
        return
    stage.family = stage.server.sockets[0].family
    stage.address = stage.server.sockets[0].getsockname()
    try:
        for name, *arguments in scenario["steps"]:
            getattr(stage, "do_" + name)(*arguments)
            await run.settle()
            run.note("--")
        stage.do_state()
    finally:
        for place in range(CLIENTS):
            stage.do_recv(place)
            stage.do_leave(place)
        stage.server.close()
        stage.server.close()
        await run.settle()
        for transport in stage.transports:
            transport.abort()
        await run.settle()
        stage.do_cancel()
        await run.settle()


PLACES = st.integers(0, CLIENTS - 1)
STEPS = st.one_of(
    st.sampled_from([
        ("start",), ("serve_forever",), ("wait_closed",), ("enter",),
        ("exit",), ("cancel",), ("close",), ("close_clients",),
        ("abort_clients",), ("state",)]),
    st.tuples(st.sampled_from(["connect", "send", "recv"]), PLACES),
    st.tuples(st.sampled_from(
        ["connect", "send", "recv", "leave", "reset", "shutdown"]), PLACES),
)
OPTIONS = st.fixed_dictionaries({}, optional={
    "start_serving": st.booleans(),
    "backlog": st.sampled_from([0, 1, 100, -1, "many", None]),
    "reuse_address": st.sampled_from([True, False, None]),
    "reuse_port": st.sampled_from([True, False, None]),
    "family": st.sampled_from([socket.AF_INET, socket.AF_UNSPEC]),
    "flags": st.sampled_from([socket.AI_PASSIVE, 0]),
    "ssl_handshake_timeout": st.sampled_from([None, 1.0]),
    "ssl": st.sampled_from([None, False]),
})
SCENARIOS = st.fixed_dictionaries({
    "debug": st.booleans(),
    "options": st.one_of(st.just({}), OPTIONS),
    "factory": st.sampled_from(["makes"] * 8 + ["raises"]),
    "on_made": st.sampled_from([None] * 6 + [
        "raise", "close", "close_clients", "abort_clients", "cancel"]),
    "keep_open": st.booleans(),
    "steps": st.lists(STEPS, max_size=12),
})


@pytest.mark.untidy      # servers that never served, protocols that are None
@oracle.profile(100)
@hypothesis.given(scenario=SCENARIOS)
def test_server_goes_as_on_asyncio(flavour, scenario):
    oracle.compare(flavour.new_loop, play, scenario)
