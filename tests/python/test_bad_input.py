# SPDX-License-Identifier: Apache-2.0
"""Calls that are drastic rather than wrong: re-entrant, after the end, out of
protocols that lack methods. test_bad_input_loop.py and test_bad_input_objects.py
have the matrix of wrong arguments.
"""

import asyncio
import contextlib
import socket
import sys
import warnings

import pytest

from support import PATIENCE, Recorder, settle, tcp_socket_pair


def nothing(*args):
    pass


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
