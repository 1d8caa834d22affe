# SPDX-License-Identifier: Apache-2.0
"""Making, running, closing, dropping loops, in every order."""

import asyncio
import gc
import threading
import warnings
import weakref

import pytest

from support import PATIENCE, open_fds, run_python


def test_loop_can_be_closed_twice(loop):
    loop.close()
    loop.close()
    assert loop.is_closed()


def test_loop_can_be_closed_without_ever_running(loop_factory):
    for _ in range(20):
        loop_factory().close()


def test_is_closed_tells_the_state(loop):
    assert loop.is_closed() is False
    loop.close()
    assert loop.is_closed() is True


def test_close_while_running_raises(loop):
    async def main():
        with pytest.raises(RuntimeError,
                           match="Cannot close a running event loop"):
            loop.close()

    loop.run_until_complete(main())
    assert not loop.is_closed()


@pytest.mark.parametrize("method", ["run_forever", "run_until_complete"])
def test_running_a_running_loop_raises(loop, method):
    async def main():
        coro = asyncio.sleep(0)
        args = (coro,) if method == "run_until_complete" else ()
        with pytest.raises(RuntimeError,
                           match="This event loop is already running"):
            getattr(loop, method)(*args)
        coro.close()

    loop.run_until_complete(main())


def test_running_a_loop_inside_another_raises(loop_factory):
    outer, inner = loop_factory(), loop_factory()

    async def main():
        with pytest.raises(
                RuntimeError,
                match="Cannot run the event loop while another loop"):
            inner.run_forever()

    outer.run_until_complete(main())
    assert not inner.is_running()


def test_running_a_closed_loop_raises(loop):
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.run_forever()
    coro = asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.run_until_complete(coro)
    coro.close()


def test_stop_after_close_is_harmless(loop):
    loop.close()
    loop.stop()
    assert loop.is_closed()


def test_pending_callbacks_are_dropped_by_close(loop):
    class Thing:
        pass

    refs = []
    for schedule in (loop.call_soon, loop.call_soon_threadsafe,
                     lambda *args: loop.call_later(3600, *args)):
        thing = Thing()
        refs.append(weakref.ref(thing))
        schedule(lambda thing: None, thing)
        del thing
    loop.close()
    gc.collect()
    assert [ref for ref in refs if ref() is not None] == []


def test_unclosed_loop_warns_when_collected(flavour):
    loop = flavour.new_loop()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del loop
        gc.collect()
    assert any(warning.category is ResourceWarning
               and "unclosed event loop" in str(warning.message)
               for warning in caught)


def test_unclosed_loop_that_ran_releases_everything_when_collected(flavour):
    """The guard counts its fds and threads."""
    loop = flavour.new_loop()
    loop.run_until_complete(asyncio.sleep(0.001))
    gone = weakref.ref(loop)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        del loop
        gc.collect()
    assert gone() is None


def test_unclosed_loop_with_pending_handles_is_collected(flavour):
    """The handles refer to the loop and the loop to them: a cycle."""
    loop = flavour.new_loop()
    loop.call_soon(lambda: loop)
    loop.call_later(3600, lambda: loop)
    loop.call_soon_threadsafe(print)
    gone = weakref.ref(loop)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        del loop
        gc.collect()
    assert gone() is None


def test_closed_loop_is_collected(loop_factory, flavour):
    loop = flavour.new_loop()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    gone = weakref.ref(loop)
    del loop
    gc.collect()
    assert gone() is None


def test_loop_is_weakly_referenced_and_has_a_dict(loop):
    assert weakref.ref(loop)() is loop
    loop.attribute_of_ours = 42
    assert loop.__dict__["attribute_of_ours"] == 42


def test_loop_run_on_one_thread_then_on_another(loop):
    from support import LOOPBACK, Accepting, Recorder
    state = {}
    accepting = Accepting()

    async def start():
        server = await loop.create_server(accepting, LOOPBACK, 0)
        transport, protocol = await loop.create_connection(
            Recorder, *server.sockets[0].getsockname())
        transport.write(b"main")
        await protocol.received(4)
        state.update(server=server, transport=transport, protocol=protocol)

    async def go_on(data):
        before = len(state["protocol"].data)
        state["transport"].write(data)
        await state["protocol"].received(before + len(data))

    async def stop():
        state["transport"].abort()
        await state["protocol"].lost
        state["server"].close()
        await state["server"].wait_closed()
        await accepting.all_lost()

    loop.run_until_complete(asyncio.wait_for(start(), PATIENCE))
    raised = []

    def in_thread():
        try:
            loop.run_until_complete(asyncio.wait_for(go_on(b"thread"),
                                                     PATIENCE))
        except BaseException as exc:
            raised.append(exc)

    for _ in range(3):
        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()
        loop.run_until_complete(asyncio.wait_for(go_on(b"main"), PATIENCE))
    loop.run_until_complete(stop())
    assert raised == []


def test_loop_made_on_one_thread_and_closed_on_another(loop_factory):
    loop = loop_factory()
    loop.run_until_complete(asyncio.sleep(0))
    thread = threading.Thread(target=loop.close)
    thread.start()
    thread.join()
    assert loop.is_closed()


def test_loops_in_several_threads_run_side_by_side(loop_factory):
    results = []

    def target(number):
        loop = loop_factory()

        async def main():
            for _ in range(100):
                await asyncio.sleep(0)
            return number

        results.append(loop.run_until_complete(main()))
        loop.close()

    threads = [threading.Thread(target=target, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [0, 1, 2, 3, 4]


def test_many_loops_one_after_the_other_leak_nothing(loop_factory):
    before = len(open_fds())
    for _ in range(100):
        loop = loop_factory()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    assert len(open_fds()) == before


def test_many_loops_at_once_work(loop_factory):
    loops = [loop_factory() for _ in range(30)]
    for number, loop in enumerate(loops):
        assert loop.run_until_complete(
            asyncio.sleep(0, number)) == number
    for loop in loops:
        loop.close()


@pytest.mark.parametrize("state", [
    "loop.run_until_complete(asyncio.sleep(0))",
    "loop.call_soon(print); loop.call_later(3600, print)",
    "loop.run_until_complete(loop.create_server(asyncio.Protocol, "
    "'127.0.0.1', 0))",
    "loop.run_until_complete(asyncio.start_server(print, '127.0.0.1', 0))",
    "asyncio.set_event_loop(loop)",
    "loop.cycle = loop",
    "import builtins; builtins.kept = loop",
    "import threading; threading.Thread(target=loop.run_forever, "
    "daemon=True).start()",
    "loop.set_debug(True); loop.call_soon(print)",
], ids=["ran", "pending", "serving", "streams", "current", "cycle",
        "builtins", "running in a daemon thread", "debug"])
def test_interpreter_exits_cleanly_with_an_open_loop(flavour, state):
    done = run_python(f"""
        loop = new_event_loop()
        {state}
        print("end")
        """, flavour, timeout=20)
    assert done.stdout == "end\n"
    assert done.returncode == 0, done.stderr
    assert "Fatal" not in done.stderr


def test_interpreter_exits_cleanly_from_inside_the_loop(flavour):
    done = run_python("""
        async def main():
            server = await asyncio.start_server(print, '127.0.0.1', 0)
            sys.exit(7)
        loop = new_event_loop()
        loop.run_until_complete(main())
        """, flavour, timeout=20)
    assert done.returncode == 7, done.stderr
    assert done.stdout == ""


def test_os_exit_inside_the_loop_is_immediate(flavour):
    done = run_python("""
        loop = new_event_loop()
        loop.call_soon(os._exit, 9)
        loop.run_forever()
        """, flavour, timeout=20)
    assert done.returncode == 9


def test_transports_open_at_close_are_harmless(loop_factory):
    """A loop closed under its connections; then these are dropped."""
    from support import Recorder, tcp_socket_pair
    loop = loop_factory()
    ours, peer = tcp_socket_pair()

    async def connect():
        return await loop.create_connection(Recorder, sock=ours)

    transport, protocol = loop.run_until_complete(connect())
    transport.write(b"x")
    loop.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            transport.close()
        except RuntimeError as exc:
            assert "closed" in str(exc)
        ours.close()
        peer.close()
        del transport, protocol, ours
        gc.collect()


def test_server_open_at_close_is_harmless(loop_factory):
    from support import LOOPBACK, Recorder
    loop = loop_factory()

    async def serve():
        return await loop.create_server(Recorder, LOOPBACK, 0)

    server = loop.run_until_complete(serve())
    sockets = [sock._sock for sock in server.sockets]
    loop.close()
    for sock in sockets:
        sock.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del server, sockets
        gc.collect()


def test_subclass_of_the_loop_can_override_methods(flavour):
    class Counting(flavour.loop_class):
        calls = 0

        def call_soon(self, *args, **kwargs):
            type(self).calls += 1
            return super().call_soon(*args, **kwargs)

    loop = Counting()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert Counting.calls >= 1


def test_run_once_overridden_in_a_subclass_is_called(flavour):
    class Stepping(flavour.loop_class):
        steps = 0

        def _run_once(self):
            type(self).steps += 1
            super()._run_once()

    loop = Stepping()
    loop.run_until_complete(asyncio.sleep(0.001))
    loop.close()
    assert Stepping.steps >= 2


def test_the_running_loop_is_set_by_what_asyncio_calls(loop, monkeypatch):
    """Programs, and CPython's own tests, put another function in place."""
    seen, real = [], asyncio.events._set_running_loop

    def noting(running):
        seen.append(running)
        real(running)

    monkeypatch.setattr(asyncio.events, "_set_running_loop", noting)
    loop.run_until_complete(asyncio.sleep(0))
    assert seen == [loop, None]
