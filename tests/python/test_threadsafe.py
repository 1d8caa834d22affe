# SPDX-License-Identifier: Apache-2.0
"""call_soon_threadsafe: order, wake-ups, many producers."""

import asyncio
import threading
import time

import pytest

from support import PATIENCE
from traffic import ping_pong


def test_callback_from_another_thread_wakes_a_sleeping_loop(loop):
    thread = threading.Thread(
        target=lambda: loop.call_soon_threadsafe(loop.stop))
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()


def test_callback_runs_on_the_loops_thread(loop):
    seen = []

    def target():
        loop.call_soon_threadsafe(
            lambda: (seen.append(threading.get_ident()), loop.stop()))

    thread = threading.Thread(target=target)
    thread.start()
    loop.run_forever()
    thread.join()
    assert seen == [threading.get_ident()]


def test_one_producers_callbacks_run_in_order(loop):
    seen = []

    def produce():
        for number in range(20_000):
            loop.call_soon_threadsafe(seen.append, number)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=produce)
    thread.start()
    loop.run_forever()
    thread.join()
    assert seen == list(range(20_000))


@pytest.mark.slow(40)
def test_ten_producers_each_keep_their_order_and_lose_nothing(loop):
    seen = [[] for _ in range(10)]
    done = []

    def finished(index):
        done.append(index)
        if len(done) == 10:
            loop.stop()

    def produce(index):
        for number in range(2000):
            loop.call_soon_threadsafe(seen[index].append, number)
            if number % 100 == 0:
                time.sleep(0)
        loop.call_soon_threadsafe(finished, index)

    threads = [threading.Thread(target=produce, args=(index,))
               for index in range(10)]
    for thread in threads:
        thread.start()
    loop.run_forever()
    for thread in threads:
        thread.join()
    assert seen == [list(range(2000))] * 10


def test_calls_around_the_ends_of_short_runs_are_heard_in_order(loop):
    seen = [[], []]

    def produce(mine):
        for number in range(2000):
            loop.call_soon_threadsafe(mine.append, number)
            if number % 50 == 0:
                time.sleep(0)

    threads = [threading.Thread(target=produce, args=(mine,)) for mine in seen]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) or any(
            len(mine) < 2000 for mine in seen):
        loop.call_later(0.0005, loop.stop)     # it sleeps, or is busy
        loop.run_forever()
    for thread in threads:
        thread.join()
    assert seen == [list(range(2000))] * 2


def test_ping_pong_between_two_loops_never_stalls(loop_factory):
    """Each message must wake the other side: a lost wake-up hangs here."""
    here, there = loop_factory(), loop_factory()
    rounds = [0]

    def pong():
        here.call_soon_threadsafe(ping)

    def ping():
        rounds[0] += 1
        if rounds[0] < 2000:
            there.call_soon_threadsafe(pong)
        else:
            there.call_soon_threadsafe(there.stop)
            here.stop()

    thread = threading.Thread(target=there.run_forever)
    thread.start()
    here.call_soon(ping)
    here.run_forever()
    thread.join()
    assert rounds[0] == 2000


def test_callbacks_posted_before_the_run_keep_their_place(loop):
    seen = []
    loop.call_soon(seen.append, 1)
    loop.call_soon_threadsafe(seen.append, 2)
    loop.call_soon(seen.append, 3)
    loop.call_soon_threadsafe(seen.append, 4)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [1, 2, 3, 4]


def test_call_soon_threadsafe_on_the_loops_thread_keeps_asyncios_order(loop):
    seen = []

    def callback():
        loop.call_soon(seen.append, 1)
        loop.call_soon_threadsafe(seen.append, 2)
        loop.call_soon(seen.append, 3)
        loop.call_soon(loop.stop)

    loop.call_soon(callback)
    loop.run_forever()
    assert seen == [1, 2, 3]


def test_posted_callback_can_be_cancelled_by_its_poster(loop):
    seen = []

    def target():
        handle = loop.call_soon_threadsafe(seen.append, "cancelled")
        handle.cancel()
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=target)
    loop.call_soon(lambda: (thread.start(), thread.join()))
    loop.run_forever()
    assert seen == []


def test_post_to_a_closed_loop_raises(loop):
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_soon_threadsafe(print)


def test_posts_racing_with_close_raise_or_are_dropped(loop_factory):
    """Ten loops closed under the hands of their producers."""
    for _ in range(10):
        loop = loop_factory()
        started = threading.Event()
        raised = []

        def produce(loop=loop, started=started, raised=raised):
            try:
                for number in range(100_000):
                    loop.call_soon_threadsafe(abs, number)
                    started.set()
            except RuntimeError as exc:
                raised.append(str(exc))

        threads = [threading.Thread(target=produce) for _ in range(3)]
        for thread in threads:
            thread.start()
        started.wait(PATIENCE)
        loop.call_later(0.002, loop.stop)
        loop.run_forever()
        loop.close()
        for thread in threads:
            thread.join()
        assert set(raised) <= {"Event loop is closed"}


def test_callbacks_posted_and_never_run_are_released(loop):
    import gc
    import weakref

    class Thing:
        pass

    refs = []
    for _ in range(50):
        thing = Thing()
        refs.append(weakref.ref(thing))
        loop.call_soon_threadsafe(lambda thing: None, thing)
        del thing
    loop.close()
    gc.collect()
    assert [ref for ref in refs if ref() is not None] == []


def test_posted_exception_goes_to_the_handler(loop):
    seen = []
    loop.set_exception_handler(lambda loop, context: (
        seen.append(context["exception"]), loop.stop()))
    thread = threading.Thread(
        target=lambda: loop.call_soon_threadsafe(divmod, 1, 0))
    thread.start()
    loop.run_forever()
    thread.join()
    assert isinstance(seen[0], ZeroDivisionError)


def test_futures_resolved_from_threads_wake_their_waiters(loop):
    async def main():
        futures = [loop.create_future() for _ in range(100)]

        def resolve():
            for number, future in enumerate(futures):
                loop.call_soon_threadsafe(future.set_result, number)

        thread = threading.Thread(target=resolve)
        thread.start()
        results = await asyncio.wait_for(asyncio.gather(*futures), PATIENCE)
        thread.join()
        return results

    assert loop.run_until_complete(main()) == list(range(100))


def test_stop_posted_from_another_thread_is_heard_while_io_is_busy(loop):
    with ping_pong(loop):
        timer = threading.Timer(0.02, loop.call_soon_threadsafe, (loop.stop,))
        timer.start()
        loop.run_forever()
        timer.join()
