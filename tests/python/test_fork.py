# SPDX-License-Identifier: Apache-2.0
"""fork: the child's copy is dead, a new loop works, the parent is untouched."""

import asyncio
import os
import subprocess
import sys
import warnings

import pytest

import support
from support import PATIENCE, run_python


@pytest.fixture(autouse=True)
def fork_is_allowed(monkeypatch):
    """3.12 warns of os.fork() in a process with threads."""
    if support.UNDER_ASAN:
        # ASan's allocator is copied with its locks, and nobody opens those that
        # the runtime thread has at that moment: it must not be at work.
        monkeypatch.setattr(support, "TAKEOVER", "never")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def in_child(function):
    """Run function in a forked child; the exit status it ended with: 0 if
    it returned True."""
    pid = os.fork()
    if pid == 0:
        status = 9
        try:
            status = 0 if function() is True else 8
        except BaseException as exc:
            os.write(2, f"child: {exc!r}\n".encode())
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def test_child_can_make_and_run_a_new_loop(loop, flavour):
    loop.run_until_complete(asyncio.sleep(0))

    def child():
        new = flavour.new_loop()
        result = new.run_until_complete(asyncio.sleep(0.001, 42))
        new.close()
        return result == 42

    assert in_child(child) == 0
    assert loop.run_until_complete(asyncio.sleep(0, "parent")) == "parent"


def test_running_loop_is_hidden_in_a_child_forked_in_a_callback(loop):
    def child():
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return True

    async def main():
        assert in_child(child) == 0

    loop.run_until_complete(main())


def test_child_forked_in_a_callback_can_run_a_new_loop(loop, flavour):
    def child():
        new = flavour.new_loop()
        result = new.run_until_complete(asyncio.sleep(0.001, 42))
        new.close()
        return result == 42

    async def main():
        assert in_child(child) == 0
        await asyncio.sleep(0.001)
        return "parent goes on"

    assert loop.run_until_complete(main()) == "parent goes on"


def test_child_serves_tcp_on_a_new_loop_while_the_parent_serves_on_its_own(
        loop, flavour):
    from support import LOOPBACK, Accepting, Recorder

    async def echo(loop):
        accepting = Accepting()
        server = await loop.create_server(accepting, LOOPBACK, 0)
        transport, protocol = await loop.create_connection(
            Recorder, *server.sockets[0].getsockname())
        transport.write(b"hello")
        data = await asyncio.wait_for(protocol.received(5), PATIENCE)
        transport.abort()
        await protocol.lost
        server.close()
        await server.wait_closed()
        await accepting.all_lost()
        return data

    def child():
        new = flavour.new_loop()
        data = new.run_until_complete(echo(new))
        new.close()
        return data == b"hello"

    assert loop.run_until_complete(echo(loop)) == b"hello"
    assert in_child(child) == 0
    assert loop.run_until_complete(echo(loop)) == b"hello"


def test_connection_of_the_parent_survives_a_fork(loop):
    from support import Echo, recv_exactly, transport_and_peer

    async def main():
        async with transport_and_peer(Echo) as (_, _p, peer):
            await loop.sock_sendall(peer, b"before")
            await recv_exactly(peer, 6)
            assert in_child(lambda: True) == 0
            await loop.sock_sendall(peer, b"after")
            return await asyncio.wait_for(recv_exactly(peer, 5), PATIENCE)

    assert loop.run_until_complete(main()) == b"after"


def test_child_can_close_its_copy_without_hurting_the_parent(loop):
    async def main():
        pass

    loop.run_until_complete(main())

    def child():
        loop.close()
        return loop.is_closed()

    assert in_child(child) == 0
    assert loop.run_until_complete(asyncio.sleep(0.001, "alive")) == "alive"


def test_child_that_collects_its_copy_does_not_hurt_the_parent(flavour):
    done = run_python("""
        import gc, warnings
        warnings.simplefilter("ignore")
        loop = new_event_loop()
        loop.run_until_complete(asyncio.sleep(0.001))
        pid = os.fork()
        if pid == 0:
            del loop
            gc.collect()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        loop.run_until_complete(asyncio.sleep(0.001))
        loop.close()
        print("alive")
        """, flavour)
    assert done.stdout == "alive\n", done.stderr


def test_child_ends_through_normal_interpreter_exit(flavour):
    done = run_python("""
        import warnings
        warnings.simplefilter("ignore")
        loop = new_event_loop()
        loop.run_until_complete(asyncio.sleep(0.001))
        pid = os.fork()
        if pid == 0:
            sys.exit(5)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        loop.close()
        """, flavour)
    assert done.stdout == "5\n", done.stderr


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_children_run_loops(flavour, method, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("""
import asyncio, multiprocessing, warnings
import support

def child(number):
    loop = support.child_flavour().new_loop()
    try:
        return loop.run_until_complete(asyncio.sleep(0.001, number * 2))
    finally:
        loop.close()

async def main():
    loop = asyncio.get_running_loop()
    context = multiprocessing.get_context(METHOD)
    with context.Pool(2) as pool:
        return await loop.run_in_executor(None, pool.map, child, range(4))

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    loop = support.child_flavour().new_loop()
    print(loop.run_until_complete(main()))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
""".replace("METHOD", repr(method)))
    done = subprocess.run(
        [sys.executable, str(script)], text=True, timeout=30,
        env={**os.environ, **flavour.environment(),
             "PYTHONPATH": os.path.dirname(os.path.abspath(__file__))},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.stdout == "[0, 2, 4, 6]\n", done.stderr


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_process_pool_works_from_a_running_loop(flavour, method, tmp_path):
    """run_in_executor() with processes, while the loop serves connections."""
    script = tmp_path / "script.py"
    script.write_text("""
import asyncio, multiprocessing, sys, warnings
from concurrent.futures import ProcessPoolExecutor
import support

def in_process(number):
    loop = support.child_flavour().new_loop()
    try:
        return loop.run_until_complete(asyncio.sleep(0.001, number ** 2))
    finally:
        loop.close()

async def echo(reader, writer):
    async for line in reader:
        writer.write(line)
    writer.close()

async def chat(address, stop):
    reader, writer = await asyncio.open_connection(*address)
    while not stop.is_set():
        writer.write(b"line\\n")
        assert await reader.readline() == b"line\\n"
    writer.close()
    await writer.wait_closed()

async def main():
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    chatting = asyncio.create_task(
        chat(server.sockets[0].getsockname(), stop))
    context = multiprocessing.get_context(METHOD)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        print(await asyncio.gather(*(
            loop.run_in_executor(pool, in_process, number)
            for number in range(5))))
    stop.set()
    await chatting
    server.close()
    await server.wait_closed()

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    loop = support.child_flavour().new_loop()
    loop.run_until_complete(main())
    loop.close()
""".replace("METHOD", repr(method)))
    done = subprocess.run(
        [sys.executable, str(script)], text=True, timeout=30,
        env={**os.environ, **flavour.environment(),
             "PYTHONPATH": os.path.dirname(os.path.abspath(__file__))},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.stdout == "[0, 1, 4, 9, 16]\n", done.stderr


@pytest.mark.parametrize("where", ["idle", "callback", "other thread"])
def test_child_of_any_fork_ends_normally_and_the_parent_goes_on(
        flavour, where):
    """Normal exit, with atexit and finalizers, while the parent's runtime
    thread reads for it: no deadlock, and no descriptor of the parent hurt."""
    if where != "idle" and not flavour.ours:
        pytest.skip("asyncio's child shares the parent's epoll and empties it")
    done = run_python("""
        import threading, time, warnings
        warnings.simplefilter("ignore")
        where = WHERE
        loop = new_event_loop()
        pids = []

        async def echo(reader, writer):
            async for line in reader:
                writer.write(line)
            writer.close()

        def fork():
            pid = os.fork()
            if pid == 0:
                sys.exit(7)
            pids.append(pid)

        async def main(inside=None):
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(
                *server.sockets[0].getsockname())
            for number in range(50):
                writer.write(b"line\\n")
                if inside and number % 10 == 5:
                    inside()
                assert await reader.readline() == b"line\\n"
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()

        if where == "idle":
            loop.run_until_complete(main())
            fork()
            loop.run_until_complete(main())
        elif where == "callback":
            # Not in a task: 3.14's cannot leave one in the child.
            loop.run_until_complete(main(lambda: loop.call_soon(fork)))
        else:
            # The child has only the thread that forked it.
            def in_thread():
                threads = len(os.listdir("/proc/self/task"))
                thread = threading.Thread(target=fork)
                thread.start()
                thread.join()
                # It ends a moment after that, and under ASan with a lock held
                # that the next child would find locked for ever.
                while len(os.listdir("/proc/self/task")) > threads:
                    time.sleep(0.001)
            loop.run_until_complete(main(in_thread))
        print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
               for pid in pids])
        loop.close()
        """.replace("WHERE", repr(where)), flavour)
    # An exit in a thread ends the thread; in a child it is the last one.
    expected = {"idle": [7], "callback": [7] * 5, "other thread": [0] * 5}[where]
    assert done.stdout == f"{expected}\n", done.stderr
