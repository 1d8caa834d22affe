# SPDX-License-Identifier: Apache-2.0
"""Pending handles and the garbage collector: ours does not look at those of a
loop that runs. Nothing may be freed too early for that, nor never."""

import asyncio
import contextvars
import gc
import threading
import warnings
import weakref

import pytest

from conftest import FREE_THREADED


class Owner:
    """Schedules its own method and keeps the handle, as programs do."""

    def method(self, *args):
        pass


def collect():
    for _ in range(3):      # the loop first, then what only it refers to
        gc.collect()


def gone_after_collection(*refs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")     # an unclosed loop
        collect()
    return [ref() for ref in refs] == [None] * len(refs)


def schedules(loop):
    """Each way for a handle to pend in the loop."""
    return {
        "call_soon": loop.call_soon,
        "call_soon_threadsafe": loop.call_soon_threadsafe,
        "call_later": lambda *args: loop.call_later(3600, *args),
        "call_at": lambda *args: loop.call_at(loop.time() + 3600, *args),
    }


WAYS = sorted(schedules(asyncio.AbstractEventLoop()))


def run_a_turn(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("runs", ["before", "never", "with", "cancelled"])
def test_dropped_loop_in_a_cycle_with_a_handle_is_collected(
        flavour, way, keeps, runs):
    """loop -> handle -> method -> owner -> loop, and the owner may have the
    handle as well."""
    def drop():
        loop = flavour.new_loop()
        owner = Owner()
        owner.loop = loop
        if runs == "before":
            run_a_turn(loop)

        def schedule():
            handle = schedules(loop)[way](owner.method, owner)
            if keeps:
                owner.handle = handle
            if runs == "cancelled":
                handle.cancel()

        if runs in ("with", "cancelled"):
            # stop() is before it: what call_soon() queues still pends at the end.
            loop.call_soon(loop.stop)
            loop.call_soon(schedule)
            loop.run_forever()
        else:
            schedule()
        return [weakref.ref(loop), weakref.ref(owner)]

    assert gone_after_collection(*drop())


def test_dropped_loop_that_a_thread_called_is_collected(flavour):
    def drop():
        loop = flavour.new_loop()
        owner = Owner()
        owner.loop = loop

        def call():
            owner.handles = [loop.call_soon_threadsafe(owner.method)
                             for _ in range(100)]

        def start():
            thread = threading.Thread(target=call)
            thread.start()
            thread.join()

        loop.call_soon(loop.stop)
        loop.call_soon(start)
        loop.run_forever()
        return [weakref.ref(loop), weakref.ref(owner)]

    assert gone_after_collection(*drop())


def test_handle_added_twice_is_collected_with_its_loop(flavour):
    def drop():
        loop = flavour.new_loop()
        owner = Owner()
        owner.loop = loop

        def add():
            method = owner.method
            owner.handle = loop.call_soon(method)
            if flavour.ours:
                loop._add_callback(owner.handle)
            # Visited twice, it would seem to have fewer references than it has.
            seen = sum(thing is method for thing in gc.get_referents(loop))
            assert seen <= 1
            collect()

        loop.call_soon(loop.stop)
        loop.call_soon(add)
        loop.run_forever()
        return [weakref.ref(loop), weakref.ref(owner)]

    assert gone_after_collection(*drop())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("keeps", [False, True])
def test_collections_while_a_loop_runs_free_nothing_that_pends(loop, way, keeps):
    seen = []
    kept = []

    class Node:
        """In a cycle of its own, so that only the handle keeps it alive."""

        def __init__(self, number):
            self.number = number
            self.itself = self

        def run(self, argument):
            seen.append((self.number, argument.number, argument.itself.number,
                         variable.get().number))

    variable = contextvars.ContextVar("variable")
    soon = {"call_later": lambda *args: loop.call_later(0.001, *args),
            "call_at": lambda *args: loop.call_at(loop.time(), *args)}
    schedule = soon.get(way) or schedules(loop)[way]

    def make(number):
        variable.set(Node(-number))
        handle = schedule(Node(number).run, Node(2 * number))
        if keeps:
            kept.append(handle)

    async def main():
        for number in range(100):
            contextvars.copy_context().run(make, number)
            gc.collect(number % 2)
        collect()
        while len(seen) < 100:
            collect()
            await asyncio.sleep(0.002)

    loop.run_until_complete(main())
    assert sorted(seen) == [(number, 2 * number, 2 * number, -number)
                            for number in range(100)]


@pytest.mark.parametrize("how", ["ran", "cancelled", "cancelled at once"])
@pytest.mark.parametrize("way", ["call_soon", "call_soon_threadsafe", "timer"])
def test_handle_that_left_a_running_loop_may_be_in_a_cycle(loop, way, how):
    """While the loop runs on, and although the owner has the handle."""
    schedule = {"call_soon": loop.call_soon,
                "call_soon_threadsafe": loop.call_soon_threadsafe,
                "timer": lambda *args: loop.call_later(0.001, *args)}[way]

    def make():
        owners = []
        for _ in range(100):
            owner = Owner()
            owner.context = contextvars.Context()
            variable = contextvars.ContextVar("variable")
            owner.context.run(variable.set, owner)
            owner.handle = owner.context.run(schedule, owner.method, owner)
            if how == "cancelled at once":
                owner.handle.cancel()
            owners.append(owner)
        return owners

    def cancel(owners):
        for owner in owners:
            owner.handle.cancel()

    async def main():
        owners = make()
        if how == "cancelled":
            cancel(owners)
        for _ in range(3):
            await asyncio.sleep(0.005)
        refs = [weakref.ref(owner) for owner in owners]
        del owners
        collect()
        # A loop may keep the context that was used last (contexts.h).
        return sum(ref() is not None for ref in refs)

    assert loop.run_until_complete(main()) <= 2


def test_cancelled_timer_of_a_far_deadline_does_not_keep_a_dropped_loop(flavour):
    def drop():
        loop = flavour.new_loop()

        async def main():
            loop.first = loop.call_later(3600, print)
            loop.second = loop.call_later(3601, print)
            loop.first.cancel()

        loop.run_until_complete(main())
        return [weakref.ref(loop)]

    assert gone_after_collection(*drop())


def test_weak_reference_to_a_pending_handle_is_enough_for_a_cycle(flavour):
    def drop():
        loop = flavour.new_loop()
        owner = Owner()
        owner.loop = loop
        refs = []

        async def main():
            refs.append(weakref.ref(loop.call_later(3600, owner.method)))
            refs.append(weakref.ref(loop.call_later(0, owner.method)))
            collect()
            owner.first, owner.second = (ref() for ref in refs)
            await asyncio.sleep(0.005)

        loop.run_until_complete(main())
        return refs + [weakref.ref(loop), weakref.ref(owner)]

    assert gone_after_collection(*drop())


def test_debug_mode_handles_are_collected_with_their_loop(flavour):
    def drop():
        loop = flavour.new_loop()
        loop.set_debug(True)
        owner = Owner()
        owner.loop = loop

        async def main():
            owner.timer = loop.call_later(3600, owner.method)
            owner.cancelled = loop.call_later(3600, owner.method)
            owner.cancelled.cancel()
            owner.soon = loop.call_soon(owner.method)
            assert owner.timer._source_traceback
            await asyncio.sleep(0)

        loop.run_until_complete(main())
        return [weakref.ref(loop), weakref.ref(owner)]

    assert gone_after_collection(*drop())


def test_referrers_of_a_pending_callback_lead_to_the_loop(loop):
    """Whoever looks for a leak finds the handle, or the loop that has it."""
    owner = Owner()

    async def main():
        method = owner.method
        loop.call_later(3600, method)
        handle = loop.call_soon(method)
        found = gc.get_referrers(method)
        del handle
        return found

    found = loop.run_until_complete(main())
    assert any(thing is loop or isinstance(thing, asyncio.Handle)
               for thing in found)


@pytest.mark.asyncio_is_worse("it has the collector look at each of them")
@pytest.mark.skipif(FREE_THREADED, reason="there all handles are tracked")
def test_collector_does_not_see_what_pends_in_a_loop_that_runs(flavour):
    loop = flavour.new_loop()

    async def main():
        pending = [loop.call_later(3600, print), loop.call_soon(print),
                   loop.call_soon_threadsafe(print)]
        while_running = [gc.is_tracked(handle) for handle in pending]
        pending[0].cancel()
        await asyncio.sleep(0.01)
        return pending, while_running

    pending, while_running = loop.run_until_complete(main())
    assert while_running == [False] * 3
    assert [gc.is_tracked(handle) for handle in pending] == [True] * 3
    assert gc.is_tracked(loop.call_later(3600, print))
    loop.close()


@pytest.mark.parametrize("way", WAYS)
def test_handle_of_a_closed_loop_may_be_in_a_cycle(flavour, way):
    def drop():
        loop = flavour.new_loop()
        owner = Owner()

        def schedule():
            owner.handle = schedules(loop)[way](owner.method)

        loop.call_soon(loop.stop)
        loop.call_soon(schedule)
        loop.run_forever()
        loop.close()
        return [weakref.ref(owner)]

    assert gone_after_collection(*drop())
