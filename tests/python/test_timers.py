# SPDX-License-Identifier: Apache-2.0
"""call_later, call_at, time: order, accuracy, cancellation, scale."""

import asyncio
import contextvars
import gc
import math
import random
import time
import weakref

import pytest

from support import run, until


def test_time_is_the_monotonic_clock(loop):
    before = time.monotonic()
    now = loop.time()
    assert before <= now <= time.monotonic()


def test_call_later_runs_no_earlier_than_its_delay(loop):
    times = []

    def note():
        times.append(loop.time())
        loop.stop()

    start = loop.time()
    loop.call_later(0.02, note)
    loop.run_forever()
    # A loop may run a timer early by its clock's resolution.
    assert times[0] - start >= 0.02 - time.get_clock_info(
        "monotonic").resolution


def test_call_later_sleeps_no_longer_than_it_must(loop):
    start = loop.time()
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert loop.time() - start < 2


def test_call_at_uses_the_loops_own_clock(loop):
    times = []
    when = loop.time() + 0.01
    handle = loop.call_at(when, lambda: times.append(loop.time()))
    assert handle.when() == when
    loop.call_at(when + 0.005, loop.stop)
    loop.run_forever()
    assert times[0] >= when - 0.001


def test_timers_run_in_the_order_of_their_deadlines(loop):
    seen = []
    now = loop.time()
    for delay in (0.009, 0.001, 0.005, 0.003, 0.007):
        loop.call_at(now + delay, seen.append, delay)
    loop.call_at(now + 0.012, loop.stop)
    loop.run_forever()
    assert seen == [0.001, 0.003, 0.005, 0.007, 0.009]


def test_many_timers_run_in_the_order_of_their_deadlines(loop):
    import random
    delays = [random.Random(7).random() / 50 for _ in range(2000)]
    random.Random(8).shuffle(delays)
    seen = []
    now = loop.time()
    for delay in delays:
        loop.call_at(now + delay, seen.append, delay)
    loop.call_at(now + 0.03, loop.stop)
    loop.run_forever()
    assert seen == sorted(delays)


def test_overdue_timers_keep_the_order_of_their_deadlines(loop):
    seen = []
    now = loop.time()
    loop.call_at(now - 1, seen.append, "later")
    loop.call_at(now - 3, seen.append, "earliest")
    loop.call_at(now - 2, seen.append, "middle")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == ["earliest", "middle", "later"]


def test_negative_delays_keep_the_order_of_their_deadlines(loop):
    seen = []
    loop.call_later(-1, seen.append, "second")
    loop.call_later(-2, seen.append, "first")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == ["first", "second"]


def test_call_later_zero_runs_in_the_next_turn_not_in_this_one(loop):
    seen = []

    def callback():
        loop.call_later(0, seen.append, "timer")
        loop.call_soon(seen.append, "soon")
        seen.append("callback")

    loop.call_soon(callback)
    run(loop, until(lambda: len(seen) == 3))
    assert seen[0] == "callback"
    assert sorted(seen[1:]) == ["soon", "timer"]


def test_infinite_delay_never_runs_and_does_not_disturb(loop):
    handle = loop.call_later(math.inf, lambda: 1 / 0)
    assert handle.when() == math.inf
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    handle.cancel()


def test_delay_of_many_years_does_not_overflow(loop):
    handles = [loop.call_later(delay, lambda: 1 / 0)
               for delay in (1e9, 1e12, 1e18, 1e300)]
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    for handle in handles:
        handle.cancel()


def test_delay_below_the_clocks_resolution_runs(loop):
    loop.call_later(1e-12, loop.stop)
    loop.run_forever()


def test_delay_may_be_any_number(loop):
    from fractions import Fraction
    seen = []
    loop.call_later(True, lambda: None).cancel()
    loop.call_later(Fraction(1, 1000), seen.append, "fraction")
    loop.call_later(0.003, loop.stop)
    loop.run_forever()
    assert seen == ["fraction"]


def test_delay_none_is_a_type_error(loop):
    with pytest.raises((TypeError, AssertionError)):
        loop.call_later(None, lambda: None)
    # 3.10 asserts where later ones raise.
    with pytest.raises((TypeError, AssertionError)):
        loop.call_at(None, lambda: None)


def test_cancelled_timer_does_not_run(loop):
    seen = []
    handle = loop.call_later(0.001, seen.append, "cancelled")
    handle.cancel()
    loop.call_later(0.005, loop.stop)
    loop.run_forever()
    assert seen == []


def test_timer_cancelled_twice_is_cancelled_once(loop):
    handle = loop.call_later(3600, lambda: None)
    handle.cancel()
    handle.cancel()
    assert handle.cancelled()
    loop.stop()
    loop.run_forever()


def test_timer_cancelled_by_an_earlier_one_of_the_same_turn_does_not_run(loop):
    seen = []
    now = loop.time() - 1
    loop.call_at(now, lambda: second.cancel())
    second = loop.call_at(now + 0.1, seen.append, "second")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == []


def test_timer_cancelled_after_it_ran_is_harmless(loop):
    handle = loop.call_later(0, loop.stop)
    loop.run_forever()
    handle.cancel()
    loop.stop()
    loop.run_forever()


def test_timer_can_be_set_from_a_timer(loop):
    seen = []

    def again():
        seen.append(loop.time())
        if len(seen) < 5:
            loop.call_later(0.001, again)
        else:
            loop.stop()

    loop.call_later(0.001, again)
    loop.run_forever()
    assert seen == sorted(seen) and len(seen) == 5


def test_100_000_timers_half_cancelled_run_the_other_half(loop):
    count = [0]

    def bump():
        count[0] += 1

    now = loop.time()
    handles = [loop.call_at(now + (n % 97) / 1000, bump)
               for n in range(100_000)]
    for handle in handles[::2]:
        handle.cancel()
    loop.call_at(now + 0.1, loop.stop)
    loop.run_forever()
    assert count[0] == 50_000


def test_cancelled_timers_release_their_callbacks(loop):
    import weakref

    class Thing:
        pass

    things = [Thing() for _ in range(500)]
    refs = [weakref.ref(thing) for thing in things]
    handles = [loop.call_later(3600, lambda thing: None, thing)
               for thing in things]
    things.clear()
    for handle in handles:
        handle.cancel()
    assert [ref for ref in refs if ref() is not None] == []


def test_cancelled_timers_do_not_accumulate(loop):
    """Timeouts set and cancelled a million times must not cost memory."""
    import gc
    import sys
    for _ in range(5000):
        loop.call_later(3600, print).cancel()
    loop.stop()
    loop.run_forever()
    gc.collect()
    alive = sum(isinstance(thing, asyncio.TimerHandle)
                for thing in gc.get_objects())
    assert alive <= 2500, sys.version


def old_and_new_timers(loop, rng, lead):
    """What ran, what should have, and whether the first were due too early, for
    want of a processor."""
    # asyncio's heap has an order of its own among equal ones.
    deadlines = iter(rng.sample(range(10_000), 1000))
    seen, expected, cancelled = [], [], []
    start = loop.time() + lead
    in_time = False

    def make(number):
        handles = []
        for _ in range(number):
            when = start + next(deadlines) / 1e7
            handles.append(loop.call_at(when, seen.append, when))
        rng.shuffle(handles)
        cancelled.extend(handles[:number // 3])
        expected.extend(handle.when() for handle in handles[number // 3:])

    def late():
        nonlocal in_time
        make(400)
        for handle in cancelled:
            handle.cancel()
        in_time = loop.time() < start
        while loop.time() < start + 0.01:
            time.sleep(0.001)

    make(500)
    loop.call_soon(loop.call_soon, late)
    loop.call_at(start + 0.02, loop.stop)
    loop.run_forever()
    return seen, sorted(expected), in_time


@pytest.mark.parametrize("seed", range(5))
def test_old_and_new_timers_run_in_the_order_of_their_deadlines(loop, seed):
    """Those of earlier turns, and those that are due before the turn that makes
    them has ended; some cancelled."""
    rng = random.Random(seed)
    for lead in (0.05, 0.5, 5):
        seen, expected, in_time = old_and_new_timers(loop, rng, lead)
        if in_time:
            break
    assert seen == expected


def test_cancelled_timers_leave_a_running_loop(loop):
    """Most of what waits was cancelled: it does not wait for its deadline."""
    alive = 0

    async def main():
        nonlocal alive
        kept = [loop.call_later(3600, print) for _ in range(100)]
        gone = [loop.call_later(1800 + n % 7, print) for n in range(1000)]
        await asyncio.sleep(0.001)
        refs = [weakref.ref(handle) for handle in gone]
        while gone:
            gone.pop().cancel()
        for _ in range(3):
            await asyncio.sleep(0.001)
        alive = sum(ref() is not None for ref in refs)
        for handle in kept:
            handle.cancel()

    loop.run_until_complete(main())
    assert alive <= 100


def test_finalizer_of_a_cancelled_timer_may_make_others(loop):
    """It runs when the loop drops the handle, and finds the timers in order."""
    ran = []
    variable = contextvars.ContextVar("variable")

    class Thing:
        def __del__(self):
            if not loop.is_closed():
                loop.call_later(0, ran.append, "timer")
                loop.call_soon(ran.append, "callback")

    def make():
        variable.set(Thing())
        return loop.call_later(3600, print)

    handles = [contextvars.Context().run(make) for _ in range(100)]
    for handle in handles:
        handle.cancel()
    del handle
    handles.clear()
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    gc.collect()
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    assert ran.count("timer") == ran.count("callback") == 100


def test_wait_for_a_timeout_raises_timeout_error(loop):
    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.create_future(), 0.005)

    loop.run_until_complete(main())


def test_sleeps_wake_in_order(loop):
    seen = []

    async def sleeper(delay):
        await asyncio.sleep(delay)
        seen.append(delay)

    async def main():
        await asyncio.gather(*map(sleeper, (0.006, 0.002, 0.004)))

    loop.run_until_complete(main())
    assert seen == [0.002, 0.004, 0.006]


def test_timers_survive_from_one_run_to_the_next(loop):
    seen = []
    loop.call_later(0.05, seen.append, "kept")
    loop.stop()
    loop.run_forever()
    assert seen == []
    loop.call_later(0.08, loop.stop)
    loop.run_forever()
    assert seen == ["kept"]


def test_nan_delay_does_not_hang_or_crash(loop):
    try:
        handles = [loop.call_later(math.nan, lambda: None) for _ in range(3)]
    except ValueError:
        handles = []
    loop.call_soon(loop.call_soon, loop.stop)
    loop.run_forever()
    for handle in handles:
        handle.cancel()


def test_time_replaced_on_the_loop_decides_what_is_due(loop, monkeypatch):
    seen = []
    now = loop.time()
    loop.call_at(now + 3600, seen.append, "an hour")
    loop.call_at(now + 7200, seen.append, "two hours")
    monkeypatch.setattr(loop, "time", lambda: now + 3600)
    loop.call_later(1800, seen.append, "an hour and a half")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == ["an hour"]
    monkeypatch.setattr(loop, "time", lambda: now + 5400)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == ["an hour", "an hour and a half"]


def test_time_replaced_while_the_loop_runs(loop, monkeypatch):
    """As aiohttp's own tests do."""
    async def main():
        seen = []
        now = loop.time()
        loop.call_at(now + 3600, seen.append, "an hour")
        with monkeypatch.context() as patch:
            patch.setattr(loop, "time", lambda: now + 3600)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert seen == ["an hour"]
        assert loop.time() < now + 1800
        loop.call_at(now + 3600, seen.append, "never")
        await asyncio.sleep(0.001)
        assert seen == ["an hour"]

    loop.run_until_complete(main())


def test_time_replaced_on_the_loop_decides_how_long_it_sleeps(
        loop, monkeypatch):
    now = loop.time()
    times = iter([now + 3599.99])
    monkeypatch.setattr(loop, "time", lambda: next(times, now + 3600))
    loop.call_at(now + 3600, loop.stop)
    loop.run_forever()


def test_time_of_a_subclass_decides_what_is_due(loop):
    class Hasty(type(loop)):
        ahead = 0

        def time(self):
            return super().time() + self.ahead

    hasty = Hasty()
    try:
        hasty.call_later(3600, hasty.stop)
        hasty.ahead = 3600
        hasty.run_forever()
    finally:
        hasty.close()


def test_time_that_raises_ends_the_run(loop, monkeypatch):
    loop.call_later(3600, int)

    def broken():
        raise ZeroDivisionError

    monkeypatch.setattr(loop, "time", broken)
    with pytest.raises(ZeroDivisionError):
        loop.run_forever()
    monkeypatch.undo()
    loop.call_soon(loop.stop)
    loop.run_forever()
