# SPDX-License-Identifier: Apache-2.0
"""Handle and TimerHandle are asyncio's, by class and by behaviour."""

import asyncio
import contextvars
import functools
import gc
import sys
import weakref

import pytest


def nothing():
    pass


@pytest.fixture
def timer(loop):
    handle = loop.call_later(3600, nothing)
    yield handle
    handle.cancel()


def test_call_soon_returns_an_asyncio_handle(loop):
    handle = loop.call_soon(nothing)
    assert isinstance(handle, asyncio.Handle)
    assert not isinstance(handle, asyncio.TimerHandle)


def test_call_later_returns_an_asyncio_timer_handle(loop, timer):
    assert isinstance(timer, asyncio.TimerHandle)
    assert isinstance(timer, asyncio.Handle)


def test_call_soon_threadsafe_returns_an_asyncio_handle(loop):
    assert isinstance(loop.call_soon_threadsafe(nothing), asyncio.Handle)


def test_cancelled_tells_the_state(loop):
    handle = loop.call_soon(nothing)
    assert handle.cancelled() is False
    assert handle.cancel() is None
    assert handle.cancelled() is True
    handle.cancel()
    assert handle.cancelled() is True


def test_handle_is_not_cancelled_because_it_ran(loop):
    handle = loop.call_soon(loop.stop)
    loop.run_forever()
    assert handle.cancelled() is False


def test_repr_names_the_callback_and_its_place(loop):
    handle = loop.call_soon(nothing)
    text = repr(handle)
    assert "Handle" in text
    assert "nothing()" in text
    assert "test_handles.py:" in text


def test_repr_shows_the_arguments(loop):
    handle = loop.call_soon(print, 1, "two")
    assert "1, 'two'" in repr(handle) or "print" in repr(handle)


def test_repr_names_what_a_partial_wraps(loop):
    handle = loop.call_soon(functools.partial(nothing))
    assert "nothing" in repr(handle)


def test_repr_of_a_cancelled_handle_says_so_and_drops_the_callback(loop):
    handle = loop.call_soon(nothing)
    handle.cancel()
    assert "cancelled" in repr(handle)
    assert "nothing" not in repr(handle)


def test_repr_of_a_cancelled_handle_keeps_the_callback_in_debug_mode(loop):
    loop.set_debug(True)
    handle = loop.call_soon(nothing)
    handle.cancel()
    assert "cancelled" in repr(handle)
    assert "nothing" in repr(handle)


def test_repr_of_a_timer_shows_when(loop, timer):
    assert f"when={timer.when()}" in repr(timer)
    assert "TimerHandle" in repr(timer)


def test_repr_in_debug_mode_says_where_it_was_created(loop):
    loop.set_debug(True)
    handle = loop.call_soon(nothing)
    assert "created at" in repr(handle)
    assert "test_handles.py" in repr(handle)


def test_handles_can_be_weakly_referenced(loop, timer):
    handle = loop.call_soon(nothing)
    assert weakref.ref(handle)() is handle
    assert weakref.ref(timer)() is timer


def test_get_context_returns_the_given_context(loop):
    if sys.version_info < (3, 12):
        pytest.skip("Handle.get_context is new in 3.12")
    context = contextvars.copy_context()
    assert loop.call_soon(nothing, context=context).get_context() is context
    timer = loop.call_later(3600, nothing, context=context)
    assert timer.get_context() is context
    timer.cancel()


def test_get_context_without_one_is_a_copy_of_the_current(loop):
    if sys.version_info < (3, 12):
        pytest.skip("Handle.get_context is new in 3.12")
    variable = contextvars.ContextVar("variable")
    variable.set("here")
    context = loop.call_soon(nothing).get_context()
    assert context[variable] == "here"


def test_when_is_the_absolute_deadline(loop):
    before = loop.time()
    timer = loop.call_later(100, nothing)
    after = loop.time()
    assert before + 100 <= timer.when() <= after + 100
    assert isinstance(timer.when(), float)
    timer.cancel()


def test_timers_order_by_deadline(loop):
    early, late = loop.call_at(1e9, nothing), loop.call_at(2e9, nothing)
    assert early < late and late > early
    assert early <= late and late >= early
    assert not early > late and not late < early
    assert sorted([late, early]) == [early, late]
    early.cancel(), late.cancel()


def test_timers_compare_equal_only_to_their_like(loop):
    now = 1e9
    first = loop.call_at(now, nothing, 1)
    same = loop.call_at(now, nothing, 1)
    other = loop.call_at(now, nothing, 2)
    assert first == first
    assert first == same
    assert first != other
    assert first != "a timer"
    for timer in (first, same, other):
        timer.cancel()


def test_timers_do_not_order_against_other_things(loop, timer):
    with pytest.raises(TypeError):
        timer < 3
    with pytest.raises(TypeError):
        timer >= "x"
    assert (timer == 3) is False


def test_timer_hash_is_that_of_its_deadline(loop, timer):
    assert hash(timer) == hash(timer.when())


def test_plain_handles_hash_and_compare_by_identity(loop):
    one, two = loop.call_soon(nothing), loop.call_soon(nothing)
    assert one == one and one != two
    assert len({one, two}) == 2


def test_handle_of_asyncio_itself_can_be_made_for_the_loop(loop):
    """Libraries build asyncio.Handle by hand; the loop must not mind."""
    seen = []
    handle = asyncio.Handle(seen.append, ("ran",), loop)
    handle._run()
    assert seen == ["ran"]


def test_handle_private_run_calls_the_callback(loop):
    seen = []
    handle = loop.call_soon(seen.append, "ran")
    handle._run()
    assert seen == ["ran"]


def test_private_attributes_others_read_are_there(loop):
    handle = loop.call_soon(nothing, context=None)
    assert handle._callback is nothing
    assert tuple(handle._args or ()) == ()
    assert handle._loop is loop
    assert handle._cancelled is False
    assert isinstance(handle._context, contextvars.Context)


def test_arguments_are_a_tuple_until_the_handle_is_cancelled(loop):
    for count in range(5):
        handle = loop.call_soon(nothing, *range(count))
        assert handle._args == tuple(range(count))
        assert handle._args is handle._args
        handle.cancel()
        assert handle._args is None


def test_arguments_that_somebody_looked_at_arrive(loop):
    seen = []
    for count in range(5):
        handle = loop.call_soon(lambda *args: seen.append(args), *range(count))
        assert repr(handle) and len(handle._args) == count
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [tuple(range(count)) for count in range(5)]


def test_arguments_live_while_a_callback_cancels_its_handle(loop):
    class Argument:
        pass

    handles = []
    alive = []

    def callback(first, second):
        handles.pop().cancel()
        gc.collect()
        alive.extend([isinstance(first, Argument), isinstance(second, Argument)])

    handles.append(loop.call_soon(callback, Argument(), Argument()))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert alive == [True, True]


def test_handle_that_a_report_keeps_is_not_used_again(loop):
    kept = []
    loop.set_exception_handler(lambda loop, info: kept.append(info["handle"]))

    def failing(number):
        raise ValueError(number)

    for number in range(3):
        loop.call_soon(failing, number)
        loop.call_later(0, failing, number)
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    for _ in range(10):
        loop.call_soon(nothing)
    assert len({id(handle) for handle in kept}) == 6
    assert sorted(handle._args for handle in kept) == [
        (0,), (0,), (1,), (1,), (2,), (2,)]
    assert {handle._callback for handle in kept} == {failing}


def test_memory_of_a_burst_is_given_back(loop):
    burst = 30_000
    before = sys.getallocatedblocks()
    for _ in range(burst):
        loop.call_soon(nothing)
        loop.call_soon_threadsafe(nothing)
    for _ in range(30):     # a loop that sleeps gives some back each time
        loop.call_later(0.0001, loop.stop)
        loop.run_forever()
    assert sys.getallocatedblocks() - before < burst / 4


def test_source_traceback_exists_in_debug_mode_only(loop):
    assert not loop.call_soon(nothing)._source_traceback
    loop.set_debug(True)
    handle = loop.call_soon(nothing)
    assert handle._source_traceback[-1].name == \
        "test_source_traceback_exists_in_debug_mode_only"


def test_handles_are_freed_when_they_ran(loop):
    refs = [weakref.ref(loop.call_soon(nothing)) for _ in range(100)]
    refs += [weakref.ref(loop.call_later(0, nothing)) for _ in range(100)]
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert [ref for ref in refs if ref() is not None] == []


def test_handle_in_a_reference_cycle_is_collected(loop):
    class Cycle:
        def callback(self):
            pass

    cycle = Cycle()
    cycle.handle = loop.call_later(0, cycle.callback)
    gone = weakref.ref(cycle)
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    del cycle
    gc.collect()
    assert gone() is None


def test_cancel_from_another_thread_after_the_run_is_safe(loop):
    import threading
    handle = loop.call_soon(nothing)
    thread = threading.Thread(target=handle.cancel)
    thread.start()
    thread.join()
    assert handle.cancelled()
    loop.stop()
    loop.run_forever()


def test_threadsafe_handle_cancel_waits_for_a_running_callback(loop):
    if sys.version_info < (3, 14):
        pytest.skip("cancel() that waits is new in 3.14")
    import threading
    running, release, finished = (threading.Event() for _ in range(3))
    order = []

    def callback():
        running.set()
        release.wait()
        order.append("callback ended")
        loop.call_soon(loop.stop)

    handle = loop.call_soon_threadsafe(callback)

    def canceller():
        running.wait()
        threading.Timer(0.01, release.set).start()
        handle.cancel()
        order.append("cancel returned")
        finished.set()

    thread = threading.Thread(target=canceller)
    thread.start()
    loop.run_forever()
    thread.join()
    assert order == ["callback ended", "cancel returned"]
