# SPDX-License-Identifier: Apache-2.0
"""Stream transports by drawn scenarios: calls from outside and from within
protocol callbacks, a scripted peer, callbacks that raise."""

import asyncio
import errno
import socket
import sys

import hypothesis
import pytest
from hypothesis import strategies as st

import oracle
import support

pytestmark = pytest.mark.slow(oracle.SLOW_SECONDS)

HUGE = 3_000_000         # more than both sockets' buffers hold
BUFFERS = 65536          # what each socket is told to buffer
SMALL = 4096             # less than any of them
# asyncio's writelines() of 3.12.0 to 3.13.5 uses a socket that is gone, and
# does not tell the protocol to pause (gh-136234, gh-127529).
WRITELINES_IS_BROKEN = sys.version_info >= (3, 12) and (
    "_conn_lost" not in
    asyncio.selector_events._SelectorSocketTransport.writelines
    .__code__.co_names)


class Odd:
    """Bytes-like for nobody."""

    def __repr__(self):
        return "Odd()"


def pieces(*sizes):
    return [bytes([65 + size % 26]) * size for size in sizes]


# Without strided views: asyncio loses the connection over one, we send it.
PAYLOADS = {
    "nothing": lambda: b"",
    "bytes": lambda: b"abc",
    "bytearray": lambda: bytearray(b"defg"),
    "empty bytearray": bytearray,
    "memoryview": lambda: memoryview(b"0123456789")[2:7],
    "view of bytearray": lambda: memoryview(bytearray(b"view")),
    "str": lambda: "text",
    "None": lambda: None,
    "int": lambda: 7,
    "list": lambda: [b"x"],
    "odd": Odd,
    "page": lambda: b"P" * SMALL,
    "huge": lambda: b"H" * HUGE,
}
# Without empty pieces: asyncio from 3.12 on never drains one (gh-155888).
LISTS = {
    "none": list,
    "one": lambda: [b"one"],
    "mixed": lambda: [b"a", bytearray(b"b"), memoryview(b"cc")],
    "many": lambda: pieces(*range(1, 1500, 7)),
    "tuple": lambda: (b"t1", b"t2"),
    "str": lambda: "text",
    "ints": lambda: [1, 2],
    "bad end": lambda: [b"good", "bad"],
    "None": lambda: None,
    "bytes": lambda: b"xyz",
    "huge": lambda: [b"h" * (HUGE // 2)] * 2,
}
LIMITS = [
    {}, {"high": 0}, {"high": 1}, {"high": 1000}, {"high": 10 ** 9},
    {"high": 100, "low": 0}, {"high": 100, "low": 100}, {"low": 10},
    {"high": 100, "low": 101}, {"high": -1}, {"low": -1}, {"high": "x"},
    {"high": 1.5}, {"high": None, "low": None}, {"high": 10 ** 30},
]
EXTRA = ["socket", "peername", "sockname", "nonsense", 7, None]


# --- protocols ---------------------------------------------------------------

class Raised(Exception):
    pass


class Actor:
    """Writes down what it is told; then does what the scenario says for the
    first call of each callback, and answers or raises as it says."""

    def __init__(self, stage, name):
        self.stage = stage
        self.name = name
        self.played = set()

    def _act(self, callback):
        stage = self.stage
        if callback in self.played:
            return None
        self.played.add(callback)
        script = stage.scenario["reactions"].get(callback)
        if script is None:
            return None
        operations, answer = script
        stage.leaving = answer in (SystemExit, KeyboardInterrupt)
        for operation in operations:
            stage.operate(operation)
        stage.leaving = False
        if isinstance(answer, type) and issubclass(answer, BaseException):
            raise answer(f"of {callback}")
        return answer

    def connection_made(self, transport):
        self.stage.transport = transport
        self.stage.run.note(self.name, "made")
        return self._act("connection_made")

    def eof_received(self):
        self.stage.run.note(self.name, "eof")
        return self._act("eof_received")

    def connection_lost(self, exc):
        self.stage.run.note(self.name, "lost", self._reason(exc))
        self.stage.lost = True
        self.stage.losing = True
        try:
            return self._act("connection_lost")
        finally:
            self.stage.losing = False

    def _reason(self, exc):
        """A reset fails a blocked write and a waiting read at once. asyncio
        meets the read first (ECONNRESET); io_uring has consumed that error
        when the write is tried (EPIPE)."""
        if self.stage.peer_left and isinstance(
                exc, (ConnectionResetError, BrokenPipeError)):
            return "reset or broken"
        return oracle.describe(exc)

    def pause_writing(self):
        self.stage.run.note(self.name, "pause")
        return self._act("pause_writing")

    def resume_writing(self):
        self.stage.run.note(self.name, "resume")
        return self._act("resume_writing")


class Streaming(Actor, asyncio.Protocol):
    def data_received(self, data):
        assert type(data) is bytes
        self.stage.run.note_data(self.name, data)
        return self._act("data_received")


class Buffered(Actor, asyncio.BufferedProtocol):
    def __init__(self, stage, name, size=16):
        super().__init__(stage, name)
        self.buffer = bytearray(size)

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        self.stage.run.note_data(self.name, bytes(self.buffer[:nbytes]))
        return self._act("data_received")


KINDS = {"streaming": Streaming, "buffered": Buffered}


# --- the stage ---------------------------------------------------------------

class Stage:
    """A transport, the peer's socket and what may be done with them."""

    def __init__(self, run, scenario):
        self.run = run
        self.scenario = scenario
        self.transport = None
        self.peer = None
        self.peer_data = bytearray()
        self.peer_ended = None
        self.peer_left = False
        self.sent_count = 0
        self.wrote_in_step = False
        self.leaving = False     # SystemExit is about to be raised
        self.lost = False
        self.losing = False
        self.protocols = 0

    def protocol(self, kind):
        self.protocols += 1
        return KINDS[kind](self, f"protocol {self.protocols}")

    def operate(self, operation):
        name, *arguments = operation
        getattr(self, "do_" + name)(*arguments)

    # What the user does.

    def _writes(self):
        """May this write be played? Ours leave together at the end of the
        turn: a peer that is gone fails the second of them in asyncio only,
        and the first before the exception that ends the turn."""
        if self.losing and support.DROPS_LAST_WORDS:
            return False     # ours are sent, as by older asyncios
        if self.peer_left and (self.wrote_in_step or self.leaving):
            return False
        self.wrote_in_step = True
        return True

    def do_write(self, payload):
        if self._writes():
            self.run.attempt("write", self.transport.write,
                             PAYLOADS[payload]())

    def do_writelines(self, payload):
        if self.losing:
            return           # asyncio's tells of the end a second time
        if WRITELINES_IS_BROKEN and (
                self.lost or self.transport.is_closing()
                or self.peer_left or payload == "huge"
                or self.transport.get_write_buffer_size()):
            return
        if self._writes():
            self.run.attempt("writelines", self.transport.writelines,
                             LISTS[payload]())

    def do_call(self, name):
        self.run.attempt(name, getattr(self.transport, name))

    def do_limits(self, place):
        self.run.attempt("limits", self.transport.set_write_buffer_limits,
                         **LIMITS[place])
        # Ours are sizes: whole, and no larger than memory.
        self.run.note([min(int(limit), sys.maxsize) for limit in
                       self.transport.get_write_buffer_limits()])

    def do_extra(self, place):
        value = self.run.attempt("extra", self.transport.get_extra_info,
                                 EXTRA[place], "default")
        self.run.note(type(value).__name__)

    def do_set_protocol(self, kind):
        self.run.attempt("set_protocol", self.transport.set_protocol,
                         self.protocol(kind))

    def do_state(self):
        transport = self.transport
        self.run.note("state", transport.is_closing(), transport.is_reading(),
                      transport.get_write_buffer_size() > 0,
                      type(transport.get_protocol()).__name__)

    # What the peer does.

    def do_peer_send(self, count):
        if self.peer.fileno() < 0:
            return
        data = bytes((self.sent_count + i) % 251 for i in range(count))
        self.sent_count += count
        try:
            self.peer.send(data)
        except (ConnectionError, BlockingIOError):
            pass

    def do_peer_shutdown(self):
        try:
            self.peer.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def do_peer_close(self):
        self.peer_left = True
        self.peer.close()

    def do_peer_reset(self):
        self.peer_left = True
        if self.peer.fileno() >= 0:
            support.reset(self.peer)

    def do_peer_read(self):
        """Handled by read(), which waits."""

    async def read(self):
        """All that the peer can read, until nothing more comes."""
        while True:
            before = len(self.peer_data)
            while self.peer.fileno() >= 0 and self.peer_ended is None:
                try:
                    data = self.peer.recv(1 << 20)
                except BlockingIOError:
                    break
                except OSError as exc:
                    self.peer_ended = errno.errorcode[exc.errno]
                    break
                if not data:
                    self.peer_ended = "EOF"
                self.peer_data += data
            await self.run.settle()
            if len(self.peer_data) == before:
                return


def socket_pair(kind):
    if kind == "tcp":
        ours, peer = support.tcp_socket_pair()
        # No bigger than HUGE, and the same on all loops.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFERS)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFERS)
        return ours, peer
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    peer.setblocking(False)
    return ours, peer


async def play(run, scenario):
    stage = Stage(run, scenario)
    run.loop.set_debug(scenario["debug"])
    ours, stage.peer = socket_pair(scenario["socket"])
    make = (run.loop.create_connection if scenario["client"]
            else run.loop.connect_accepted_socket)
    try:
        await make(lambda: stage.protocol(scenario["protocol"]), sock=ours)
        for operations in scenario["steps"]:
            stage.wrote_in_step = False
            for operation in operations:
                stage.operate(operation)
            if ("peer_read",) in operations:
                await stage.read()
            await run.settle()
            run.note("--")
        stage.do_state()
        stage.transport.close()
        await stage.read()
        if not stage.lost:
            stage.peer.close()
            await run.settle()
        if not stage.lost:
            stage.transport.abort()
            await run.settle()
        stage.do_state()
    finally:
        stage.peer.close()
        await run.settle()
    # A close with unread input is a RST, which overtakes what is on its way;
    # whether the input was read depends on the backend.
    if not stage.sent_count or len(stage.peer_data) < BUFFERS:
        run.note("peer got", len(stage.peer_data),
                 bytes(stage.peer_data[:9000]))
    if not stage.sent_count:
        run.note("peer saw", stage.peer_ended)


# --- scenarios ---------------------------------------------------------------

USER = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(sorted(PAYLOADS))),
    st.tuples(st.just("write"), st.sampled_from(["bytes", "huge", "page"])),
    st.tuples(st.just("writelines"), st.sampled_from(sorted(LISTS))),
    st.tuples(st.just("call"), st.sampled_from([
        "close", "abort", "pause_reading", "resume_reading", "write_eof",
        "can_write_eof", "is_reading", "is_closing"])),
    st.tuples(st.just("call"), st.sampled_from([
        "pause_reading", "resume_reading"])),
    st.tuples(st.just("limits"), st.integers(0, len(LIMITS) - 1)),
    st.tuples(st.just("extra"), st.integers(0, len(EXTRA) - 1)),
    st.tuples(st.just("set_protocol"), st.sampled_from(sorted(KINDS))),
    st.tuples(st.just("state")),
)
PEER = st.one_of(
    st.lists(st.one_of(
        st.tuples(st.just("peer_send"), st.sampled_from([1, 5, 1000, SMALL]))),
        min_size=1, max_size=1),
    st.sampled_from([
        [("peer_read",)], [("peer_read",)],
        [("peer_shutdown",)], [("peer_close",)], [("peer_reset",)],
        [("peer_send", 10), ("peer_shutdown",)],
        [("peer_send", 3), ("peer_close",)]]),
)
ANSWERS = st.sampled_from([None, None, None, True, True, False, 0, "yes",
                           Raised, Raised, OSError, ConnectionResetError,
                           asyncio.CancelledError, SystemExit,
                           KeyboardInterrupt])
REACTIONS = st.dictionaries(
    st.sampled_from(["connection_made", "data_received", "eof_received",
                     "connection_lost", "pause_writing", "resume_writing"]),
    st.tuples(st.lists(USER, max_size=3), ANSWERS), max_size=3)
SCENARIOS = st.fixed_dictionaries({
    "socket": st.sampled_from(["tcp", "unix"]),
    "client": st.booleans(),
    "debug": st.sampled_from([False, False, False, True]),
    "protocol": st.sampled_from(sorted(KINDS)),
    "reactions": REACTIONS,
    "steps": st.lists(st.one_of(st.lists(USER, min_size=1, max_size=3), PEER),
                      max_size=8),
})


def found(**changes):
    """A scenario that once went otherwise."""
    return hypothesis.example(scenario={
        "socket": "tcp", "client": True, "debug": False,
        "protocol": "streaming", "reactions": {}, "steps": [], **changes})


@pytest.mark.skipif(
    sys.version_info < (3, 11, 7),
    reason="older asyncios read in spite of a pause, and turn for ever when "
           "KeyboardInterrupt leaves eof_received()")
@oracle.profile(120)
@hypothesis.given(scenario=SCENARIOS)
# What was written before a callback raised was dropped.
@found(reactions={"data_received": ([("write", "bytes")], Raised)},
       steps=[[("peer_send", 1)]])
# The end of the stream was told once, where asyncio meets it again.
@found(reactions={"eof_received": ([], SystemExit)},
       steps=[[("peer_shutdown",)]])
# A transport that was lost had no socket to show.
@found(reactions={"connection_made": ([("call", "close")], None)},
       debug=True, socket="unix")
@found(steps=[[("writelines", "None")], [("writelines", "ints")]])
def test_transport_goes_as_on_asyncio(flavour, scenario):
    oracle.compare(flavour.new_loop, play, scenario)
