# SPDX-License-Identifier: Apache-2.0
"""N loops on N threads, which share nothing. With a GIL this shows that they
do not disturb each other; without one, that they need no lock either."""

import asyncio
import queue
import sys
import sysconfig
import threading

import pytest

from support import LOOPBACK, PATIENCE, Echo, Recorder

pytestmark = pytest.mark.stream

THREADS = 4


def on_threads(function, count=THREADS):
    """Run function(index) on each thread; raise what the first raised."""
    raised = []
    barrier = threading.Barrier(count)

    def target(index):
        try:
            barrier.wait()
            function(index)
        except BaseException as exc:
            raised.append(exc)

    threads = [threading.Thread(target=target, args=(index,))
               for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


async def echo(index, clients=5, messages=40):
    loop = asyncio.get_running_loop()
    made = []

    def factory():
        made.append(Echo())
        return made[-1]

    server = await loop.create_server(factory, LOOPBACK, 0)
    address = server.sockets[0].getsockname()

    async def client(number):
        transport, protocol = await loop.create_connection(
            Recorder, *address)
        expected = b""
        for message in range(messages):
            expected += b"%d.%d.%d;" % (index, number, message) * 20
            transport.write(expected[len(protocol.data):])
            assert await protocol.received(len(expected)) == expected
        transport.close()
        await protocol.lost

    await asyncio.gather(*map(client, range(clients)))
    for protocol in made:
        await asyncio.wait_for(protocol.lost, PATIENCE)
    server.close()
    await server.wait_closed()


def test_loops_on_threads_serve_tcp(flavour):
    def target(index):
        loop = flavour.new_loop()
        loop.run_until_complete(echo(index))
        loop.close()

    on_threads(target)


def test_loops_are_made_and_closed_on_threads_all_the_time(flavour):
    def target(index):
        for _ in range(20):
            loop = flavour.new_loop()
            assert loop.run_until_complete(
                asyncio.sleep(0.0001, index)) == index
            loop.close()

    on_threads(target)


def test_loops_post_to_each_other(loop_factory):
    """A ring of loops, a token goes round."""
    loops = [loop_factory() for _ in range(THREADS)]
    hops = []

    def hop(index, left):
        hops.append(index)
        following = (index + 1) % THREADS
        if left:
            loops[following].call_soon_threadsafe(hop, following, left - 1)
        else:
            for loop in loops:
                loop.call_soon_threadsafe(loop.stop)

    loops[0].call_soon_threadsafe(hop, 0, 1000)
    on_threads(lambda index: loops[index].run_forever())
    assert hops == [number % THREADS for number in range(1001)]


def test_a_call_reaches_a_loop_that_just_begins_to_run(loop):
    """The call comes while the loop is idle, while it runs, or in between."""
    futures = queue.SimpleQueue()

    def target():
        while (future := futures.get()) is not None:
            loop.call_soon_threadsafe(future.set_result, None)

    thread = threading.Thread(target=target)
    thread.start()
    try:
        for _ in range(3000):
            future = loop.create_future()
            futures.put(future)
            loop.run_until_complete(future)
    finally:
        futures.put(None)
        thread.join()


def test_calls_of_a_thread_keep_their_order_over_runs(loop):
    """Some are made while the loop runs, others between its runs."""
    ran, count = [], 5000

    def target():
        for number in range(count):
            loop.call_soon_threadsafe(ran.append, number)

    thread = threading.Thread(target=target)
    thread.start()
    while len(ran) < count:
        loop.call_soon(loop.stop)
        loop.run_forever()
    thread.join()
    assert ran == list(range(count))


@pytest.mark.asyncio_is_worse("without a GIL its timers are lost")
def test_strangers_calls_break_nothing(loop_factory):
    """Only call_soon_threadsafe() is for other threads. What else they
    call may come late, but nothing is lost or damaged."""
    loop = loop_factory()
    ran, count = [], 500

    def target(index):
        for number in range(count):
            loop.call_soon(ran.append, (index, number))
            loop.call_later(0.0001 * (number % 7), ran.append, None).cancel()
            loop.call_later(0.0001 * (number % 5), ran.append, None)

    def watch():
        if len(ran) < 2 * count * THREADS:
            loop.call_later(0.001, watch)
        else:
            loop.stop()

    loop.call_soon(watch)
    threads = [threading.Thread(target=target, args=(index,))
               for index in range(THREADS)]
    for thread in threads:
        thread.start()
    loop.run_forever()
    for thread in threads:
        thread.join()
    for index in range(THREADS):
        assert ([entry[1] for entry in ran if entry and entry[0] == index]
                == list(range(count)))


def test_tasks_timers_and_callbacks_run_on_all_threads(flavour):
    def target(index):
        loop = flavour.new_loop()

        async def main():
            queue = asyncio.Queue()

            async def producer():
                for number in range(200):
                    await queue.put(number)
                    if number % 20 == 0:
                        await asyncio.sleep(0.0002)

            async def consumer():
                return [await queue.get() for _ in range(200)]

            _, got = await asyncio.gather(producer(), consumer())
            assert got == list(range(200))

        loop.run_until_complete(main())
        loop.close()

    on_threads(target)


def test_handles_are_cancelled_from_other_threads(loop):
    """Strangers may cancel at any time; a callback runs once or not at all."""
    ran = []
    handles = [loop.call_later(0.0005 * (n % 10), ran.append, n)
               for n in range(2000)]

    def cancel():
        for handle in handles[::2]:
            handle.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    loop.call_later(0.05, loop.stop)
    loop.run_forever()
    thread.join()
    assert len(ran) == len(set(ran))
    assert set(range(1, 2000, 2)) <= set(ran)


def test_getters_are_called_from_other_threads(flavour, loop):
    from support import tcp_socket_pair
    ours, peer = tcp_socket_pair()
    stop = threading.Event()
    raised = []

    async def main():
        transport, protocol = await loop.create_connection(
            Recorder, sock=ours)

        def stranger():
            try:
                while not stop.is_set():
                    transport.get_extra_info("peername")
                    transport.is_closing()
                    transport.get_write_buffer_size()
                    loop.is_running(), loop.is_closed(), loop.time()
                    repr(loop)
                    if flavour.ours:     # asyncio's repr fails in a race
                        repr(transport)
            except BaseException as exc:
                raised.append(exc)

        thread = threading.Thread(target=stranger)
        thread.start()
        for _ in range(200):
            peer.send(b"x" * 100)
            transport.write(b"y" * 100)
            await asyncio.sleep(0)
        await protocol.received(20_000)
        transport.close()
        await protocol.lost
        stop.set()
        thread.join()

    loop.run_until_complete(main())
    peer.close()
    assert raised == []


def test_gil_stays_off_while_our_loop_runs(loop):
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("this build has a GIL")

    async def main():
        return sys._is_gil_enabled()

    assert loop.run_until_complete(main()) is False
