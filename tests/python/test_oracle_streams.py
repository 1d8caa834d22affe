# SPDX-License-Identifier: Apache-2.0
"""asyncio's streams and ours by drawn scenarios: reads of every kind that are
cancelled while they wait, drains, ends. A cancelled read has taken nothing."""

import asyncio
import socket

import hypothesis
import pytest
from hypothesis import strategies as st

import oracle
import rsloop_c
import support

pytestmark = pytest.mark.slow(oracle.SLOW_SECONDS)

LIMIT = 64               # of a line; twice that pauses reading
HUGE = 3_000_000
TEXTS = [b"a", b"ab\n", b"no end", b"\n", b"x" * 50, b"y" * 200, b"one\ntwo\n",
         b"z" * 70 + b"\n", b"separ", b"ator!", b"separator!"]


class Stage(oracle.Tasks):
    """A stream, its peer's socket, and the tasks that read and drain."""

    def __init__(self, run):
        super().__init__(run)
        self.reader = self.writer = self.peer = None

    def details_of(self, exc):
        return getattr(exc, "partial", None), getattr(exc, "consumed", None)

    def shown(self, result):
        return result if isinstance(
            result, (bytes, type(None))) else type(result).__name__

    def do_read(self, count):
        self.start("read", self.reader.read(count))

    def do_readexactly(self, count):
        self.start("readexactly", self.reader.readexactly(count))

    def do_readuntil(self, separator):
        self.start("readuntil", self.reader.readuntil(separator))

    def do_readline(self):
        self.start("readline", self.reader.readline())

    def do_write(self, count):
        self.run.attempt("write", self.writer.write, b"w" * count)

    def do_drain(self):
        self.start("drain", self.writer.drain())

    def do_close(self):
        self.run.attempt("close", self.writer.close)

    def do_wait_closed(self):
        self.start("wait_closed", self.writer.wait_closed())

    def do_cancel(self, place):
        waiting = [task for task in self.tasks if not task.done()]
        if waiting:
            waiting[place % len(waiting)].cancel()

    def do_cancel_now(self, name, argument):
        """Before it has begun, or has heard that it is done."""
        getattr(self, "do_" + name)(argument)
        self.tasks[-1].cancel()

    def do_state(self):
        self.run.note("at_eof", self.reader.at_eof(),
                      self.writer.is_closing())

    def do_peer_send(self, text):
        try:
            self.peer.send(text)
        except OSError:
            pass

    def do_peer_send_and_cancel(self, text, place):
        """The data is on its way when the read is cancelled."""
        self.do_peer_send(text)
        self.do_cancel(place)

    def do_peer_read(self):
        try:
            while self.peer.recv(1 << 20):
                pass
        except OSError:
            pass

    def do_peer_shutdown(self):
        try:
            self.peer.shutdown(socket.SHUT_WR)
        except OSError:
            pass


async def play(run, scenario):
    stage = Stage(run)
    ours, stage.peer = support.tcp_socket_pair()
    open_connection = asyncio.open_connection
    if scenario["ours"] and type(run.loop) is not asyncio.SelectorEventLoop:
        open_connection = rsloop_c.open_connection
    stage.reader, stage.writer = await open_connection(sock=ours, limit=LIMIT)
    try:
        for name, *arguments in scenario["steps"]:
            getattr(stage, "do_" + name)(*arguments)
            await run.settle()
            run.note("--")
        for task in stage.tasks:
            task.cancel()
        await run.settle()
        stage.do_state()
        stage.writer.transport.abort()
        await run.settle()
        # What no read has taken is all there.
        stage.start("rest", stage.reader.read())
        await run.settle()
    finally:
        stage.writer.transport.abort()
        stage.peer.close()
        await run.settle()
        for task in stage.tasks:
            task.cancel()
        await run.settle()


COUNTS = st.sampled_from([-1, 0, 1, 5, 60, 300])
# Not read(-1): asyncio's loses what it has read when it is cancelled, ours does
# not (test_fast_streams_reader.py).
READ_COUNTS = st.sampled_from([0, 1, 5, 60, 300])
READS = st.one_of(
    st.tuples(st.just("read"), READ_COUNTS),
    st.tuples(st.just("readexactly"), COUNTS),
    st.tuples(st.just("readuntil"), st.sampled_from(
        [b"\n", b"separator!", b"", b"r"])),
    st.tuples(st.just("readline")),
)
STEPS = st.one_of(
    READS, READS,
    st.tuples(st.just("peer_send"), st.sampled_from(TEXTS)),
    st.tuples(st.just("peer_send"), st.sampled_from(TEXTS)),
    st.tuples(st.just("cancel"), st.integers(0, 3)),
    st.tuples(st.just("peer_send_and_cancel"), st.sampled_from(TEXTS),
              st.integers(0, 3)),
    st.tuples(st.just("cancel_now"), st.just("read"), READ_COUNTS),
    st.tuples(st.just("cancel_now"), st.just("readexactly"), COUNTS),
    st.tuples(st.just("write"), st.sampled_from([0, 1, HUGE])),
    st.tuples(st.just("drain")), st.tuples(st.just("peer_read")),
    st.tuples(st.just("close")), st.tuples(st.just("wait_closed")),
    st.tuples(st.just("peer_shutdown")), st.tuples(st.just("state")),
)


@oracle.profile(60)
@hypothesis.given(scenario=st.fixed_dictionaries({
    "ours": st.booleans(),       # rsloop_c's StreamReader, or asyncio's
    "steps": st.lists(STEPS, max_size=12)}))
def test_streams_go_as_on_asyncio(flavour, scenario):
    oracle.compare(flavour.new_loop, play, scenario)
