# SPDX-License-Identifier: Apache-2.0
"""Any sequence of calls on a datagram transport does what it does on asyncio:
the same callbacks, the same exceptions, the same messages sent."""

import asyncio
import fcntl
import socket
import struct
import termios

import pytest

from datagrams import empty, ended, name_of, udp_socket
from support import ALL_TELL_READING, LOOPBACK, run, turns, until

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies


class Logging(asyncio.DatagramProtocol):
    """Writes down what it is told, and does what is next in `acts` at each
    message."""

    def __init__(self, log, acts, name="first"):
        self.log = log
        self.acts = acts
        self.name = name
        self.lost = asyncio.get_running_loop().create_future()
        self.transport = None

    def note(self, *what):
        self.log.append((self.name, *what))

    def connection_made(self, transport):
        self.transport = transport
        self.note("made")

    def datagram_received(self, data, addr):
        self.note("data", data)
        act = self.acts.pop(0) if self.acts else None
        if act == "raise":
            raise ValueError("mine")
        if act == "echo":
            self.transport.sendto(data, addr)
        elif act == "replace":
            other = Logging(self.log, self.acts, "second")
            other.transport, other.lost = self.transport, self.lost
            self.transport.set_protocol(other)
        elif act is not None:
            getattr(self.transport, act)()

    def error_received(self, exc):
        self.note("error", type(exc), str(exc))

    def connection_lost(self, exc):
        self.note("lost", type(exc), str(exc))
        self.lost.set_result(None)

    def pause_writing(self):
        self.note("pause")

    def resume_writing(self):
        self.note("resume")


def waiting(sock):
    """The size of the next message in a socket."""
    size = fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4))
    return struct.unpack("i", size)[0]


class Play:
    """One sequence on one loop; `log` is what came of it."""

    def __init__(self, connected):
        self.connected = connected
        self.log = []
        self.acts = []
        self.count = 0

    async def play(self, steps):
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self.on_exception)
        with udp_socket() as peer:
            peer.setblocking(False)
            self.peer = peer
            where = {"local_addr": (LOOPBACK, 0)}
            if self.connected:
                where["remote_addr"] = peer.getsockname()
            self.transport, protocol = await loop.create_datagram_endpoint(
                lambda: Logging(self.log, self.acts), **where)
            self.name = name_of(self.transport)
            for name, *args in steps:
                self.log.append(("step", name, *args))
                try:
                    result = getattr(self, name)(*args)
                except Exception as exc:
                    result = type(exc), str(exc)
                self.log.append(("result", self.hide_port(result)))
                await self.settle()
                self.log.append(("sent", empty(peer)))
            self.acts.clear()
            await ended(self.transport, protocol)
            await turns()

    async def settle(self):
        """Turns until what has arrived is delivered, or will not be."""
        sock = self.transport.get_extra_info("socket")
        await until(lambda: self.transport.is_closing()
                    or (PAUSES and not self.transport.is_reading())
                    or not waiting(sock))
        await turns()

    def hide_port(self, result):
        """Ports differ from play to play."""
        if isinstance(result, tuple) and isinstance(result[1], str):
            port = str(self.peer.getsockname()[1])
            return result[0], result[1].replace(port, "PORT")
        return result

    def on_exception(self, loop, context):
        self.log.append(("handler", type(context["exception"]),
                         str(context["exception"]), sorted(context)))

    # --- steps ---

    def arrive(self, number):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            sock = self.peer if self.connected else other
            for _ in range(number):
                self.count += 1
                try:
                    sock.sendto(b"%d" % self.count, self.name)
                except ConnectionRefusedError:    # told late of a closed one
                    pass

    def then(self, *acts):
        self.acts[:] = acts

    def send(self, data, to):
        addr = {"peer": self.peer.getsockname(), "none": None,
                "nobody": ("127.0.0.1", 0), "wrong": ("x", "y"),
                "number": 7}[to]
        self.transport.sendto(data, addr)

    def call(self, name, *args):
        return getattr(self.transport, name)(*args)


DATA = st.one_of(st.binary(max_size=5), st.binary(max_size=5).map(bytearray),
                 st.sampled_from([b"x" * 65508, "text", None, 7]))
PAUSES = (["pause_reading", "resume_reading", "is_reading"]
          if ALL_TELL_READING else [])
CALLS = st.one_of(
    st.tuples(st.sampled_from(
        ["close", "abort", "is_closing", "get_write_buffer_size",
         "get_write_buffer_limits", *PAUSES])),
    st.tuples(st.just("set_write_buffer_limits"),
              st.integers(-1, 9) | st.none(), st.integers(-1, 9) | st.none()))
ACTS = st.sampled_from(["raise", "echo", "replace", "close", "abort", None]
                       + PAUSES[:1])
STEPS = st.lists(st.one_of(
    st.tuples(st.just("arrive"), st.integers(0, 5)),
    st.lists(ACTS, max_size=5).map(lambda acts: ("then", *acts)),
    st.tuples(st.just("send"), DATA,
              st.sampled_from(["peer", "none", "nobody", "wrong", "number"])),
    CALLS.map(lambda call: ("call", *call))), max_size=12)


def log_of(loop, connected, steps):
    play = Play(connected)
    run(loop, play.play(steps))
    return play.log


@pytest.mark.slow(60)
def test_as_on_asyncio(loop):
    oracle = asyncio.SelectorEventLoop()

    @hypothesis.settings(max_examples=150, deadline=None, database=None,
                         suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(st.booleans(), STEPS)
    def check(connected, steps):
        expected = log_of(oracle, connected, steps)
        assert log_of(loop, connected, steps) == expected

    try:
        check()
    finally:
        oracle.close()
