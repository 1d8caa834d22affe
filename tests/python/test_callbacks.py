# SPDX-License-Identifier: Apache-2.0
"""call_soon, the order of callbacks, and starting and stopping the loop."""

import asyncio

import pytest


def test_callbacks_run_in_the_order_they_were_scheduled(loop):
    seen = []
    for number in range(1000):
        loop.call_soon(seen.append, number)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == list(range(1000))


def test_callback_gets_all_its_arguments(loop):
    seen = []
    loop.call_soon(lambda *args: seen.append(args), 1, "two", None)
    loop.call_soon(lambda *args: seen.append(args))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [(1, "two", None), ()]


def test_callback_scheduled_by_a_callback_runs_in_the_next_turn(loop):
    seen = []

    def first():
        seen.append("first")
        loop.call_soon(seen.append, "nested")

    loop.call_soon(first)
    loop.call_soon(seen.append, "second")
    loop.call_soon(loop.call_soon, loop.stop)
    loop.run_forever()
    assert seen == ["first", "second", "nested"]


def test_cancelled_callback_does_not_run(loop):
    seen = []
    handle = loop.call_soon(seen.append, "cancelled")
    loop.call_soon(seen.append, "kept")
    handle.cancel()
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == ["kept"]


def test_callback_can_cancel_a_later_one_of_the_same_turn(loop):
    seen = []
    loop.call_soon(lambda: victim.cancel())
    victim = loop.call_soon(seen.append, "victim")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == []


def test_callback_can_cancel_itself_while_it_runs(loop):
    seen = []

    def callback():
        handle.cancel()
        seen.append(handle.cancelled())

    handle = loop.call_soon(callback)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [True]


def test_stop_lets_the_current_turn_finish(loop):
    seen = []
    loop.call_soon(loop.stop)
    loop.call_soon(seen.append, "same turn")
    loop.call_soon(lambda: loop.call_soon(seen.append, "next turn"))
    loop.run_forever()
    assert seen == ["same turn"]
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == ["same turn", "next turn"]


def test_stop_before_run_forever_gives_exactly_one_turn(loop):
    seen = []
    loop.call_soon(lambda: loop.call_soon(seen.append, "second turn"))
    loop.call_soon(seen.append, "first turn")
    loop.stop()
    loop.run_forever()
    assert seen == ["first turn"]


def test_stop_with_nothing_scheduled_returns_at_once(loop):
    loop.stop()
    loop.run_forever()
    assert not loop.is_running()


def test_stop_with_only_a_far_timer_does_not_wait_for_it(loop):
    handle = loop.call_later(3600, lambda: None)
    before = loop.time()
    loop.stop()
    loop.run_forever()
    handle.cancel()
    assert loop.time() - before < 5


def test_is_running_is_true_only_inside_run_forever(loop):
    seen = []
    assert not loop.is_running()
    loop.call_soon(lambda: seen.append(loop.is_running()))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [True]
    assert not loop.is_running()


def test_get_running_loop_names_the_loop_in_callbacks(loop):
    seen = []
    loop.call_soon(lambda: seen.append(asyncio.get_running_loop()))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [loop]
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_run_until_complete_returns_the_result(loop):
    async def main():
        await asyncio.sleep(0)
        return 42

    assert loop.run_until_complete(main()) == 42


def test_run_until_complete_raises_what_the_coroutine_raised(loop):
    async def main():
        await asyncio.sleep(0)
        raise ZeroDivisionError("of ours")

    with pytest.raises(ZeroDivisionError, match="of ours"):
        loop.run_until_complete(main())


def test_run_until_complete_accepts_a_future(loop):
    future = loop.create_future()
    loop.call_soon(future.set_result, "done")
    assert loop.run_until_complete(future) == "done"


def test_run_until_complete_of_a_done_future_returns_at_once(loop):
    future = loop.create_future()
    future.set_result("done already")
    assert loop.run_until_complete(future) == "done already"


def test_run_until_complete_refuses_what_cannot_be_awaited(loop):
    with pytest.raises(TypeError):
        loop.run_until_complete("not awaitable")


def test_run_until_complete_stopped_too_early_raises(loop):
    async def main():
        loop.stop()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    task = loop.create_task(main())
    with pytest.raises(RuntimeError,
                       match="Event loop stopped before Future completed"):
        loop.run_until_complete(task)
    loop.run_until_complete(task)


def test_loop_can_be_run_many_times(loop):
    async def main(number):
        await asyncio.sleep(0)
        return number

    assert [loop.run_until_complete(main(n)) for n in range(50)] \
        == list(range(50))


def test_exit_leaves_the_callbacks_behind_it_for_the_next_run(loop):
    def callback():
        raise SystemExit

    seen = []
    loop.call_soon(callback)
    loop.call_soon(seen.append, "behind")
    with pytest.raises(SystemExit):
        loop.run_forever()
    assert not loop.is_running()
    assert seen == []
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == ["behind"]


def test_other_base_exceptions_go_to_the_exception_handler(loop):
    class Odd(BaseException):
        pass

    def callback():
        raise Odd

    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(context))
    loop.call_soon(callback)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert isinstance(seen[0]["exception"], Odd)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_exit_raised_by_a_callback_leaves_run_forever(loop, kind):
    def callback():
        raise kind("out")

    loop.call_soon(callback)
    with pytest.raises(kind, match="out"):
        loop.run_forever()


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_exit_raised_by_a_task_leaves_run_until_complete(loop, kind):
    async def main():
        await asyncio.sleep(0)
        raise kind("out")

    with pytest.raises(kind, match="out"):
        loop.run_until_complete(main())


def test_callback_is_released_after_it_ran(loop):
    import weakref

    class Callback:
        def __call__(self):
            pass

    callback = Callback()
    gone = weakref.ref(callback)
    loop.call_soon(callback)
    del callback
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert gone() is None


def test_callback_arguments_are_released_when_cancelled(loop):
    import weakref

    class Thing:
        pass

    thing = Thing()
    gone = weakref.ref(thing)
    handle = loop.call_soon(lambda thing: None, thing)
    del thing
    handle.cancel()
    assert gone() is None
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_many_callbacks_scheduling_each_other_do_not_starve_timers(loop):
    fired = []

    def again():
        if not fired:
            loop.call_soon(again)
        else:
            loop.stop()

    loop.call_later(0.01, fired.append, True)
    loop.call_soon(again)
    loop.run_forever()
    assert fired == [True]


def test_methods_of_the_loop_can_be_patched_on_the_instance(loop):
    seen = []
    loop.call_exception_handler = seen.append
    loop.call_soon(lambda: 1 / 0)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert isinstance(seen[0]["exception"], ZeroDivisionError)


def test_call_soon_patched_on_the_instance_is_used_by_tasks(loop):
    calls = []
    original = loop.call_soon

    def counting(*args, **kwargs):
        calls.append(args[0])
        return original(*args, **kwargs)

    loop.call_soon = counting

    async def main():
        await asyncio.sleep(0)
        return "ran"

    assert loop.run_until_complete(main()) == "ran"
    assert calls
