# SPDX-License-Identifier: Apache-2.0
"""Which context callbacks, timers, tasks, readers and signals run in."""

import asyncio
import contextvars
import os
import signal
import socket
import threading

import pytest

variable = contextvars.ContextVar("variable", default="default")


def context_with(value):
    context = contextvars.copy_context()
    context.run(variable.set, value)
    return context


def run_and_stop(loop):
    loop.call_later(0.005, loop.stop)
    loop.run_forever()


def test_call_soon_runs_in_a_copy_of_the_callers_context(loop):
    seen = []
    token = variable.set("at the call")
    loop.call_soon(lambda: (seen.append(variable.get()),
                            variable.set("changed inside")))
    loop.call_soon(lambda: seen.append(variable.get()))
    variable.reset(token)
    run_and_stop(loop)
    assert seen == ["at the call", "at the call"]
    assert variable.get() == "default"


def test_turns_of_callbacks_alone_keep_their_contexts_apart(loop):
    seen = []
    own = context_with("its own")

    def step(left, value):
        seen.append(variable.get())
        if left % 7 == 0:
            variable.set(value)
        if left > 0:
            loop.call_soon(step, left - 1, value + 1)
        else:
            loop.stop()

    def in_its_own(left):
        seen.append(variable.get())
        if left > 0:
            loop.call_soon(in_its_own, left - 1, context=own)

    loop.call_soon(step, 100, 1)
    loop.call_soon(in_its_own, 100, context=own)
    loop.run_forever()
    assert seen[1::2] == ["its own"] * len(seen[1::2])
    expected, value = [], "default"
    for left in range(100, -1, -1):
        expected.append(value)
        if left % 7 == 0:
            value = 101 - left
    assert seen[::2] == expected
    assert variable.get() == "default"


@pytest.mark.parametrize("end", ["stop", "exit"])
def test_a_chain_that_ends_leaves_the_callers_context(loop, end):
    current = contextvars.copy_context()

    def step(left):
        variable.set(left)
        if left > 0:
            loop.call_soon(step, left - 1)
        elif end == "stop":
            loop.stop()
        else:
            raise SystemExit(3)

    def run():
        loop.call_soon(step, 50)
        if end == "stop":
            loop.run_forever()
        else:
            with pytest.raises(SystemExit):
                loop.run_forever()
        loop.call_soon(loop.stop)
        loop.run_forever()
        return variable.get()

    assert current.run(run) == "default"
    assert variable not in current


@pytest.mark.parametrize("arrival", ["timer", "thread", "reader"])
def test_a_chain_lets_others_in_outside_of_its_context(loop, arrival):
    left, right = socket.socketpair()
    left.setblocking(False)
    seen = []

    def came():
        seen.append(variable.get())
        loop.remove_reader(left)

    def step():
        variable.set("the chain's")
        if not seen:
            loop.call_soon(step)
        else:
            loop.stop()

    thread = threading.Thread(
        target=lambda: loop.call_soon_threadsafe(came))
    with left, right:
        if arrival == "timer":
            loop.call_later(0.01, came)
        elif arrival == "reader":
            loop.add_reader(left, came)
            loop.call_later(0.01, right.send, b"x")
        else:
            loop.call_soon(thread.start)
        loop.call_soon(step)
        loop.run_forever()
    if arrival == "thread":
        thread.join()
    assert seen == ["default"]


@pytest.mark.parametrize("schedule", [
    lambda loop, callback, context: loop.call_soon(callback, context=context),
    lambda loop, callback, context: loop.call_later(0.001, callback,
                                                    context=context),
    lambda loop, callback, context: loop.call_at(loop.time(), callback,
                                                 context=context),
    lambda loop, callback, context: loop.call_soon_threadsafe(
        callback, context=context),
], ids=["call_soon", "call_later", "call_at", "call_soon_threadsafe"])
def test_callback_runs_in_the_given_context_itself(loop, schedule):
    context = context_with("given")
    seen = []

    def callback():
        seen.append(variable.get())
        variable.set("changed by the callback")

    schedule(loop, callback, context)
    run_and_stop(loop)
    assert seen == ["given"]
    assert context[variable] == "changed by the callback"
    assert variable.get() == "default"


@pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe"])
def test_context_none_means_the_current_one(loop, method):
    seen = []
    variable.set("current")
    getattr(loop, method)(lambda: seen.append(variable.get()), context=None)
    variable.set("default")
    run_and_stop(loop)
    assert seen == ["current"]


def test_task_runs_in_a_copy_of_its_creators_context(loop):
    async def child():
        variable.set("set in the child")
        await asyncio.sleep(0)
        return variable.get()

    async def main():
        variable.set("set in main")
        result = await loop.create_task(child())
        return result, variable.get()

    assert loop.run_until_complete(main()) == (
        "set in the child", "set in main")


def test_future_done_callback_runs_in_the_given_context(loop):
    seen = []
    future = loop.create_future()
    future.add_done_callback(lambda future: seen.append(variable.get()),
                             context=context_with("given"))
    future.set_result(None)
    run_and_stop(loop)
    assert seen == ["given"]


def test_reader_runs_in_the_context_of_its_registration(loop):
    left, right = socket.socketpair()
    seen = []

    def readable():
        seen.append(variable.get())
        left.recv(1)
        loop.remove_reader(left)

    context_with("at add_reader").run(loop.add_reader, left, readable)
    right.send(b"x")
    run_and_stop(loop)
    left.close(), right.close()
    assert seen == ["at add_reader"]


def test_signal_handler_runs_in_the_context_of_its_registration(loop):
    seen = []

    def handler():
        seen.append(variable.get())
        loop.stop()

    context_with("at registration").run(
        loop.add_signal_handler, signal.SIGUSR1, handler)
    loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
    loop.run_forever()
    loop.remove_signal_handler(signal.SIGUSR1)
    assert seen == ["at registration"]


def test_same_context_entered_twice_is_reported_not_fatal(loop):
    """A callback whose context is already entered cannot run; asyncio gives
    the RuntimeError to the exception handler or to the caller."""
    context = contextvars.copy_context()
    seen = []
    loop.set_exception_handler(lambda loop, info: seen.append(
        info["exception"]))

    def outer():
        loop.call_soon(seen.append, "inner ran", context=context)
        loop.call_soon(loop.stop)

    context.run(outer)
    loop.run_forever()
    assert seen == ["inner ran"]


def test_context_of_the_wrong_type_does_not_run_the_callback(loop):
    seen = []
    loop.set_exception_handler(lambda loop, info: None)
    try:
        loop.call_soon(seen.append, "ran", context="no context")
    except TypeError:
        pass
    loop.call_soon(loop.stop)
    try:
        loop.run_forever()
    except (AttributeError, TypeError):
        pass
    assert seen == []


def test_call_exception_handler_runs_in_the_handles_context(loop):
    seen = []
    loop.set_exception_handler(
        lambda loop, info: seen.append(variable.get()))
    loop.call_soon(lambda: 1 / 0, context=context_with("the handle's"))
    run_and_stop(loop)
    assert seen[0] in ("the handle's", "default")
    import sys
    if sys.version_info >= (3, 12):
        assert seen == ["the handle's"]


def test_protocol_made_by_create_connection_sees_the_callers_context(loop):
    from support import Recorder, tcp_socket_pair
    seen = []

    class Protocol(Recorder):
        def connection_made(self, transport):
            seen.append(("made", variable.get()))
            super().connection_made(transport)

        def data_received(self, data):
            seen.append(("data", variable.get()))
            super().data_received(data)

        def connection_lost(self, exc):
            seen.append(("lost", variable.get()))
            super().connection_lost(exc)

    async def main():
        ours, peer = tcp_socket_pair()
        variable.set("the caller's")
        transport, protocol = await loop.create_connection(Protocol, sock=ours)
        peer.send(b"x")
        await protocol.received(1)
        peer.close()
        await protocol.lost

    loop.run_until_complete(main())
    assert seen == [("made", "the caller's"), ("data", "the caller's"),
                    ("lost", "the caller's")]


@pytest.fixture
def seen_by():
    """seen_by(cls) makes a protocol class that notes each callback with the
    value that the variable has in it."""
    notes = []

    def wrap(cls):
        def noting(name):
            method = getattr(cls, name, None)

            def callback(self, *args):
                notes.append((name, variable.get()))
                return method(self, *args) if method else None
            return callback

        names = ("connection_made", "data_received", "eof_received",
                 "pause_writing", "resume_writing", "connection_lost",
                 "datagram_received", "error_received", "pipe_data_received",
                 "pipe_connection_lost", "process_exited")
        return type("Noting", (cls,), {
            name: noting(name) for name in names
            if hasattr(cls, name)})

    wrap.notes = notes
    return wrap


def test_flow_control_and_the_end_run_in_the_makers_context(
        loop, flavour, seen_by):
    from support import Recorder, recv_until_eof, tcp_socket_pair

    async def main():
        ours, peer = tcp_socket_pair()
        variable.set("the maker's")
        transport, protocol = await loop.create_connection(
            seen_by(Recorder), sock=ours)
        await asyncio.create_task(other_context(transport, peer))
        await protocol.lost
        peer.close()

    async def other_context(transport, peer):
        variable.set("the writer's")
        transport.write(bytes(8 << 20))
        reading = loop.create_task(recv_until_eof(peer))
        peer.shutdown(socket.SHUT_WR)
        await reading

    loop.run_until_complete(main())
    names = [name for name, _ in seen_by.notes]
    assert names[:2] == ["connection_made", "pause_writing"]
    assert sorted(names[2:4]) == ["eof_received", "resume_writing"]
    assert names[4:] == ["connection_lost"]
    values = dict(seen_by.notes)
    # It comes inside of the write() that was too much.
    assert values.pop("pause_writing") == "the writer's"
    # Until 3.15 asyncio runs what follows from a write() that had to wait in
    # the context of that write().
    if not flavour.ours:
        del values["resume_writing"], values["connection_lost"]
    assert set(values.values()) == {"the maker's"}


def test_protocols_of_a_server_run_in_the_context_it_was_started_in(
        loop, seen_by):
    from support import Accepting, Echo, Recorder

    async def main():
        accepting = Accepting(seen_by(Echo))
        variable.set("the server's")
        server = await loop.create_server(accepting, "127.0.0.1", 0)
        variable.set("the client's")
        transport, client = await loop.create_connection(
            Recorder, *server.sockets[0].getsockname())
        transport.write(b"x")
        await client.received(1)
        transport.close()
        await accepting.all_lost()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())
    assert {value for _, value in seen_by.notes} == {"the server's"}
    assert {"connection_made", "data_received", "connection_lost"} <= {
        name for name, _ in seen_by.notes}


def test_datagrams_run_in_the_makers_context(loop, seen_by):
    class Datagrams(asyncio.DatagramProtocol):
        def __init__(self):
            self.read, self.lost = loop.create_future(), loop.create_future()

        def datagram_received(self, data, address):
            self.read.set_result(data)

        def connection_lost(self, exc):
            self.lost.set_result(exc)

    async def main():
        variable.set("the maker's")
        transport, protocol = await loop.create_datagram_endpoint(
            seen_by(Datagrams), local_addr=("127.0.0.1", 0))

        async def other_context():
            variable.set("the sender's")
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.sendto(b"x", transport.get_extra_info("sockname"))
            await protocol.read

        await asyncio.create_task(other_context())
        transport.close()
        await protocol.lost

    loop.run_until_complete(main())
    assert seen_by.notes == [(name, "the maker's") for name in (
        "connection_made", "datagram_received", "connection_lost")]


def test_subprocess_protocols_run_in_the_makers_context(
        loop, flavour, seen_by):
    class Process(asyncio.SubprocessProtocol):
        def __init__(self):
            self.lost = loop.create_future()

        def connection_lost(self, exc):
            self.lost.set_result(exc)

    async def main():
        variable.set("the maker's")
        transport, protocol = await loop.subprocess_exec(
            seen_by(Process), "/bin/echo", "x", stdin=None, stderr=None)
        variable.set("afterwards")
        await protocol.lost
        transport.close()

    loop.run_until_complete(main())
    assert {name for name, _ in seen_by.notes} == {
        "connection_made", "pipe_data_received", "pipe_connection_lost",
        "process_exited", "connection_lost"}
    values = dict(seen_by.notes)
    if not flavour.ours:     # 3.10's child watcher is a thread
        values = {name: value for name, value in values.items()
                  if name.startswith(("connection_made", "pipe_data"))}
    assert set(values.values()) == {"the maker's"}
