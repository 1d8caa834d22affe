# SPDX-License-Identifier: Apache-2.0
"""Which context callbacks, timers, tasks, readers and signals run in."""

import asyncio
import contextvars
import os
import signal
import socket

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
