# SPDX-License-Identifier: Apache-2.0
"""Every public method with wrong types, after close, from a wrong thread and
re-entrantly: asyncio's exception, never a crash or a hang.

The expectation is not written down: asyncio's own loop is asked.
"""

import asyncio
import contextlib
import socket
import sys
import threading
import warnings

import pytest

from support import LOOPBACK, PATIENCE, Recorder, settle, tcp_socket_pair


def nothing(*args):
    pass


async def coroutine():
    pass


CALLS = [
    ("call_soon", (), {}),
    ("call_soon", (nothing,), {"contxt": None}),
    ("call_soon", (nothing, 1), {"callback": nothing}),
    ("call_soon_threadsafe", (), {}),
    ("call_soon_threadsafe", (nothing,), {"unknown": 1}),
    ("call_later", (), {}),
    ("call_later", (1,), {}),
    ("call_later", ("1", nothing), {}),
    ("call_later", ([], nothing), {}),
    ("call_later", (1, nothing), {"unknown": 1}),
    ("call_at", (), {}),
    ("call_at", (1,), {}),
    ("time", (1,), {}),
    ("is_running", (1,), {}),
    ("is_closed", (1,), {}),
    ("stop", (1,), {}),
    ("close", (1,), {}),
    ("run_forever", (1,), {}),
    ("run_until_complete", (), {}),
    ("run_until_complete", (None,), {}),
    ("run_until_complete", (42,), {}),
    ("run_until_complete", (coroutine,), {}),
    ("create_future", (1,), {}),
    ("create_task", (), {}),
    ("create_task", (None,), {}),
    ("create_task", (nothing,), {}),
    ("create_task", (coroutine,), {}),
    ("set_task_factory", (), {}),
    ("set_task_factory", (42,), {}),
    ("get_task_factory", (1,), {}),
    ("set_exception_handler", (42,), {}),
    ("set_exception_handler", (), {}),
    ("call_exception_handler", (), {}),
    ("default_exception_handler", (None,), {}),
    ("set_debug", (), {}),
    ("get_debug", (1,), {}),
    ("set_default_executor", (), {}),
    ("run_in_executor", (), {}),
    ("run_in_executor", (None,), {}),
    ("run_in_executor", (42, nothing), {}),
    ("add_reader", (), {}),
    ("add_reader", (1,), {}),
    ("add_reader", (-1, nothing), {}),
    ("add_reader", ("x", nothing), {}),
    ("add_reader", (None, nothing), {}),
    ("add_reader", (1.5, nothing), {}),
    ("add_reader", (2 ** 40, nothing), {}),
    ("add_reader", (99999, nothing), {}),
    ("add_writer", (-1, nothing), {}),
    ("add_writer", (None, nothing), {}),
    ("add_writer", (), {}),
    ("remove_reader", (), {}),
    ("remove_reader", ("x",), {}),
    ("remove_reader", (None,), {}),
    ("remove_reader", (-1,), {}),
    ("remove_reader", (99999,), {}),
    ("remove_writer", ("x",), {}),
    ("remove_writer", (-1,), {}),
    ("remove_writer", (99999,), {}),
    ("add_signal_handler", (), {}),
    ("add_signal_handler", ("x", nothing), {}),
    ("add_signal_handler", (0, nothing), {}),
    ("add_signal_handler", (10, coroutine), {}),
    ("remove_signal_handler", ("x",), {}),
    ("remove_signal_handler", (0,), {}),
    ("getaddrinfo", (), {}),
    ("getaddrinfo", (object(), 80), {}),
    ("getaddrinfo", ("127.0.0.1", object()), {}),
    ("getaddrinfo", ("127.0.0.1", 80), {"unknown": 1}),
    ("getnameinfo", (), {}),
    ("getnameinfo", (None,), {}),
    ("getnameinfo", (("127.0.0.1", "x"),), {}),
    ("sock_recv", (), {}),
    ("sock_recv", (None, 1), {}),
    ("sock_recv_into", (None, bytearray(1)), {}),
    ("sock_sendall", (None, b"x"), {}),
    ("sock_connect", (None, ("127.0.0.1", 1)), {}),
    ("sock_accept", (None,), {}),
    ("sock_sendfile", (None, None), {}),
    ("create_server", (), {}),
    ("create_server", (nothing,), {}),
    ("create_server", (nothing, 42, 0), {}),
    ("create_server", (nothing, LOOPBACK, "no such service"), {}),
    ("create_server", (nothing, LOOPBACK, 70000), {}),
    ("create_server", (nothing, LOOPBACK, -1), {}),
    ("create_server", (nothing, LOOPBACK, 0), {"ssl": 42}),
    ("create_server", (nothing, LOOPBACK, 0), {"backlog": "many"}),
    ("create_server", (nothing, LOOPBACK, 0), {"family": "x"}),
    ("create_server", (nothing,), {"sock": 42}),
    ("create_connection", (), {}),
    ("create_connection", (nothing,), {}),
    ("create_connection", (nothing, LOOPBACK, 70000), {}),
    ("create_connection", (nothing, LOOPBACK, object()), {}),
    ("create_connection", (nothing, 42, 80), {}),
    ("create_connection", (nothing,), {"sock": 42}),
    ("create_connection", (nothing, LOOPBACK, 1), {"local_addr": "x"}),
    ("create_connection", (nothing, LOOPBACK, 1), {"unknown": 1}),
    ("create_unix_server", (nothing,), {}),
    ("create_unix_server", (nothing, 42), {}),
    ("create_unix_connection", (nothing,), {}),
    ("create_unix_connection", (nothing, 42), {}),
    ("connect_accepted_socket", (), {}),
    ("connect_accepted_socket", (nothing, 42), {}),
    ("connect_accepted_socket", (nothing, None), {}),
    ("connect_read_pipe", (nothing, 42), {}),
    ("connect_write_pipe", (nothing, 42), {}),
    ("start_tls", (), {}),
    ("start_tls", (None, None, None), {}),
    ("sendfile", (None, None), {}),
    ("subprocess_exec", (nothing, 42), {}),
    ("subprocess_exec", (nothing,), {}),
    ("subprocess_shell", (nothing, 42), {}),
    ("create_datagram_endpoint", (nothing,), {}),
    ("shutdown_asyncgens", (1,), {}),
    ("set_write_buffer_limits", (), {}),
]

VALID = [
    ("call_soon", (nothing,), {}),
    ("call_soon_threadsafe", (nothing,), {}),
    ("call_later", (0, nothing), {}),
    ("call_at", (0, nothing), {}),
    ("time", (), {}),
    ("stop", (), {}),
    ("close", (), {}),
    ("is_running", (), {}),
    ("is_closed", (), {}),
    ("run_forever", (), {}),
    ("create_future", (), {}),
    ("get_debug", (), {}),
    ("set_debug", (True,), {}),
    ("get_task_factory", (), {}),
    ("set_task_factory", (None,), {}),
    ("get_exception_handler", (), {}),
    ("set_exception_handler", (None,), {}),
    ("run_in_executor", (None, nothing), {}),
    ("add_reader", (0, nothing), {}),
    ("add_writer", (0, nothing), {}),
    ("remove_reader", (0,), {}),
    ("remove_writer", (0,), {}),
    ("remove_signal_handler", (10,), {}),
    ("getaddrinfo", ("127.0.0.1", 80), {}),
    ("create_server", (nothing, LOOPBACK, 0), {"start_serving": False}),
    ("create_connection", (nothing, LOOPBACK, 1), {}),
    ("shutdown_asyncgens", (), {}),
    ("shutdown_default_executor", (), {}),
    ("__repr__", (), {}),
]


def describe(call):
    name, args, kwargs = call
    shown = [getattr(arg, "__name__", None) or (
        "object" if type(arg) is object else repr(arg)) for arg in args]
    shown += [f"{key}={value}" for key, value in kwargs.items()]
    return f"{name}({', '.join(shown)})"


def quiet(loop):
    loop.set_exception_handler(nothing)
    return loop


def outcome(loop, call, drive):
    """The class of what the call raised, or None."""
    name, args, kwargs = call
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = getattr(loop, name)(*args, **kwargs)
            if asyncio.iscoroutine(result):
                drive(result)
            elif asyncio.isfuture(result):
                result.cancel()
            elif isinstance(result, asyncio.Handle):
                result.cancel()
    except Exception as exc:
        return type(exc)
    return None


def classes_match(ours, theirs):
    if ours is theirs:
        return True
    # asserts of asyncio are no interface: any proper exception is better.
    return theirs is AssertionError and ours is not None and issubclass(
        ours, Exception)


def in_stopped_loop(make, call):
    loop = quiet(make())
    try:
        return outcome(loop, call, loop.run_until_complete)
    finally:
        loop.close()


def in_running_loop(make, call):
    """Called from a callback, coroutines awaited by a task."""
    loop = quiet(make())

    async def main():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                name, args, kwargs = call
                result = getattr(loop, name)(*args, **kwargs)
                if asyncio.iscoroutine(result):
                    await asyncio.wait_for(result, PATIENCE)
                elif isinstance(result, asyncio.Handle):
                    result.cancel()
                elif asyncio.isfuture(result):
                    await asyncio.wait({result}, timeout=PATIENCE)
        except Exception as exc:
            return type(exc)

    task = loop.create_task(main())
    try:
        return loop.run_until_complete(task)
    except RuntimeError:
        return "stopped"
    finally:
        if not task.done():
            task.cancel()
            loop.run_until_complete(
                asyncio.gather(task, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def in_closed_loop(make, call):
    loop = quiet(make())
    loop.close()

    def drive(coro):
        try:
            coro.send(None)
        except StopIteration:
            pass
        finally:
            coro.close()

    try:
        return outcome(loop, call, drive)
    finally:
        if loop._default_executor is not None:
            loop._default_executor.shutdown()


def in_another_thread(make, call):
    """While the loop runs here."""
    if call[0] in ("close", "stop", "create_connection"):
        return None      # what it raises depends on who is faster
    loop = quiet(make())
    seen = []

    def drive(coro):
        try:
            coro.send(None)
        except StopIteration:
            pass
        finally:
            coro.close()

    def target():
        seen.append(outcome(loop, call, drive))
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=target)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    return seen[0]


PLACES = {"stopped": in_stopped_loop, "running": in_running_loop,
          "closed": in_closed_loop, "another thread": in_another_thread}


@pytest.mark.untidy
@pytest.mark.parametrize("call", CALLS, ids=describe)
@pytest.mark.parametrize("place", ["stopped", "closed"])
def test_wrong_arguments_raise_what_asyncio_raises(flavour, place, call):
    ours = PLACES[place](flavour.new_loop, call)
    theirs = PLACES[place](asyncio.SelectorEventLoop, call)
    assert classes_match(ours, theirs), f"{ours} in place of {theirs}"


@pytest.mark.untidy
@pytest.mark.parametrize("call", CALLS, ids=describe)
def test_wrong_arguments_inside_the_running_loop_raise_the_same(flavour,
                                                                call):
    ours = in_running_loop(flavour.new_loop, call)
    theirs = in_running_loop(asyncio.SelectorEventLoop, call)
    assert classes_match(ours, theirs), f"{ours} in place of {theirs}"


@pytest.mark.untidy
@pytest.mark.parametrize("call", VALID, ids=describe)
@pytest.mark.parametrize("place", ["closed", "another thread"])
def test_right_arguments_at_the_wrong_place_raise_what_asyncio_raises(
        flavour, place, call):
    ours = PLACES[place](flavour.new_loop, call)
    theirs = PLACES[place](asyncio.SelectorEventLoop, call)
    assert ours is theirs, f"{ours} in place of {theirs}"


TRANSPORT_CALLS = [
    ("write", (), {}), ("write", (None,), {}), ("write", ("text",), {}),
    ("write", (b"x", 1), {}), ("write", (), {"unknown": 1}),
    ("writelines", (), {}), ("writelines", (42,), {}),
    ("writelines", (["text"],), {}), ("writelines", ("text",), {}),
    ("set_write_buffer_limits", ("x",), {}),
    ("set_write_buffer_limits", (), {"high": -1}),
    ("set_write_buffer_limits", (), {"high": 1, "low": 2}),
    ("set_write_buffer_limits", (), {"high": 1.5}),
    ("set_write_buffer_limits", (1, 2, 3), {}),
    ("get_write_buffer_size", (1,), {}),
    ("get_write_buffer_limits", (1,), {}),
    ("get_extra_info", (), {}), ("get_extra_info", (1, 2, 3), {}),
    ("get_extra_info", (["unhashable"],), {}),
    ("pause_reading", (1,), {}), ("resume_reading", (1,), {}),
    ("is_reading", (1,), {}), ("is_closing", (1,), {}),
    ("set_protocol", (), {}),
    ("close", (1,), {}), ("abort", (1,), {}),
    ("write_eof", (1,), {}), ("can_write_eof", (1,), {}),
]


async def transport_outcome(call, closed):
    loop = asyncio.get_running_loop()
    ours, peer = tcp_socket_pair()
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    if closed:
        transport.close()
        await protocol.lost
    name, args, kwargs = call
    try:
        getattr(transport, name)(*args, **kwargs)
        seen = None
    except Exception as exc:
        seen = type(exc)
    if not protocol.lost.done():
        transport.abort()
        await protocol.lost
    peer.close()
    return seen


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
@pytest.mark.parametrize("call", TRANSPORT_CALLS, ids=describe)
def test_wrong_arguments_to_a_transport_raise_what_asyncio_raises(
        flavour, call, closed):
    seen = []
    for make in (flavour.new_loop, asyncio.SelectorEventLoop):
        loop = make()
        seen.append(loop.run_until_complete(transport_outcome(call, closed)))
        loop.close()
    ours, theirs = seen
    assert classes_match(ours, theirs), f"{ours} in place of {theirs}"


@pytest.mark.parametrize("name", [
    "write", "writelines", "close", "abort", "pause_reading",
    "resume_reading", "write_eof", "get_write_buffer_size",
    "set_write_buffer_limits", "get_extra_info", "is_closing", "is_reading",
    "get_protocol", "get_write_buffer_limits", "can_write_eof", "__repr__"])
async def test_transport_method_after_connection_lost_is_safe(flavour, loop, name):
    if (name == "writelines" and not flavour.ours
            and (3, 12, 2) <= sys.version_info < (3, 13, 6)):
        pytest.skip("asyncio up to 3.13.5 sends on a socket that is gone")
    ours, peer = tcp_socket_pair()
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    transport.abort()
    await protocol.lost
    await settle()
    arguments = {"write": (b"x",), "writelines": ([b"x"],),
                 "get_extra_info": ("peername",)}.get(name, ())
    with contextlib.suppress(RuntimeError, AttributeError, OSError):
        getattr(transport, name)(*arguments)
    await settle()
    assert protocol.calls == ["made", "lost"]
    peer.close()


@pytest.mark.parametrize("name", [
    "connection_made", "data_received", "eof_received", "connection_lost"])
@pytest.mark.parametrize("action", ["close", "abort", "pause", "write",
                                    "nested run", "stop", "set_protocol"])
def test_reentrant_calls_from_protocol_callbacks(flavour, loop, name, action):
    """Each callback does something drastic; the loop must go on."""
    if action == "nested run" and not flavour.ours:
        pytest.skip("asyncio of 3.13.0 forgets the running loop")
    loop.set_exception_handler(nothing)

    class Drastic(Recorder):
        def act(self):
            transport = self.transport
            if action == "close":
                transport.close()
            elif action == "abort":
                transport.abort()
            elif action == "pause":
                transport.pause_reading()
                transport.resume_reading()
            elif action == "write":
                transport.write(b"x" * 100_000)
            elif action == "nested run":
                with pytest.raises(RuntimeError):
                    loop.run_forever()
            elif action == "stop":
                loop.stop()
            elif action == "set_protocol":
                transport.set_protocol(self)

    def overriding(self, *args):
        result = getattr(Recorder, name)(self, *args)
        self.act()
        return result

    setattr(Drastic, name, overriding)
    ours, peer = tcp_socket_pair()
    peer.send(b"hello")
    peer.shutdown(socket.SHUT_WR)
    state = []

    async def main():
        transport, protocol = await loop.create_connection(
            Drastic, sock=ours)
        state.append(protocol)
        await asyncio.wait_for(protocol.lost, PATIENCE)

    task = loop.create_task(main())
    while not task.done():
        try:
            loop.run_until_complete(task)
        except RuntimeError as exc:
            assert "Event loop stopped before" in str(exc)
    peer.close()
    assert state[0].calls.count("lost") == 1
    assert state[0].calls.count("made") == 1
    assert state[0].calls[-1] == "lost"


@pytest.mark.parametrize("name", ["connection_made", "data_received",
                                  "eof_received", "connection_lost",
                                  "pause_writing"])
def test_protocol_without_the_method_does_not_crash(loop, name):
    """A protocol is any object: asyncio reports the AttributeError."""
    loop.set_exception_handler(nothing)

    class Incomplete:
        def __init__(self):
            self.lost = asyncio.get_running_loop().create_future()

        def connection_made(self, transport):
            pass

        def data_received(self, data):
            pass

        def eof_received(self):
            pass

        def connection_lost(self, exc):
            pass

        def pause_writing(self):
            pass

        def resume_writing(self):
            pass

    delattr(Incomplete, name)
    ours, peer = tcp_socket_pair()
    peer.setblocking(False)

    async def main():
        try:
            transport, _ = await asyncio.wait_for(
                loop.create_connection(Incomplete, sock=ours), 0.5)
        except (AttributeError, asyncio.TimeoutError):
            ours.close()
            await settle()
            return
        transport.write(b"x" * 4_000_000)
        peer.send(b"hello")
        await settle()
        transport.abort()
        await settle()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loop.run_until_complete(main())
        peer.close()
        import gc
        gc.collect()
    assert loop.run_until_complete(asyncio.sleep(0, "alive")) == "alive"


def test_deep_recursion_in_a_callback_is_reported(loop):
    seen = []
    loop.set_exception_handler(
        lambda loop, context: seen.append(context["exception"]))

    def recurse():
        recurse()

    loop.call_soon(recurse)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert isinstance(seen[0], RecursionError)


def test_stop_of_the_wrong_loop_in_a_callback_is_harmless(loop_factory):
    one, two = loop_factory(), loop_factory()
    one.call_soon(two.stop)
    one.call_soon(one.stop)
    one.run_forever()
    two.run_forever()
    assert not two.is_running()


def test_huge_arguments_do_not_crash(loop):
    handle = loop.call_later(1e308, nothing)
    handle.cancel()
    handle = loop.call_at(-1e308, nothing)
    handle.cancel()
    for wrong in (2 ** 31, 2 ** 63, 2 ** 64, -2 ** 63):
        with pytest.raises((ValueError, OverflowError, OSError, KeyError)):
            loop.add_reader(wrong, nothing)
