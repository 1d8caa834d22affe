# SPDX-License-Identifier: Apache-2.0
"""Where exceptions of callbacks, tasks and futures go."""

import gc
import sys

import pytest


def run_once(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_handler_is_none_at_first(loop):
    assert loop.get_exception_handler() is None


def test_handler_is_what_was_set(loop):
    def handler(loop, context):
        pass

    loop.set_exception_handler(handler)
    assert loop.get_exception_handler() is handler
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None


def test_handler_must_be_callable_or_none(loop):
    with pytest.raises(TypeError,
                       match="A callable object or None is expected"):
        loop.set_exception_handler("spam")


def test_default_handler_logs_a_failed_callback(loop, asyncio_errors):
    loop.call_soon(lambda: 1 / 0)
    run_once(loop)
    record, = asyncio_errors
    assert record.getMessage().startswith("Exception in callback ")
    assert record.exc_info[0] is ZeroDivisionError
    asyncio_errors.clear()


def test_custom_handler_gets_message_exception_and_handle(loop):
    seen = []
    loop.set_exception_handler(lambda *args: seen.append(args))

    def callback():
        raise ValueError("of the callback")

    handle = loop.call_soon(callback)
    run_once(loop)
    (handler_loop, context), = seen
    assert handler_loop is loop
    assert context["message"].startswith("Exception in callback ")
    assert str(context["exception"]) == "of the callback"
    assert context["handle"] is handle
    assert set(context) == {"message", "exception", "handle"}


def test_context_holds_the_source_traceback_in_debug_mode(loop):
    seen = []
    loop.set_debug(True)
    loop.set_exception_handler(lambda loop, context: seen.append(context))
    loop.call_soon(lambda: 1 / 0)
    run_once(loop)
    assert seen[0]["source_traceback"][-1].name == \
        "test_context_holds_the_source_traceback_in_debug_mode"


def test_failed_timer_goes_to_the_handler(loop):
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(context))
    handle = loop.call_later(0.001, lambda: 1 / 0)
    loop.call_later(0.004, loop.stop)
    loop.run_forever()
    assert seen[0]["handle"] is handle


def test_callbacks_after_a_failed_one_still_run(loop):
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append("failed"))
    loop.call_soon(lambda: 1 / 0)
    loop.call_soon(seen.append, "ran")
    run_once(loop)
    assert seen == ["failed", "ran"]


def test_exception_in_the_handler_is_logged_and_the_loop_goes_on(
        loop, asyncio_errors):
    def handler(loop, context):
        raise AttributeError("of the handler")

    loop.set_exception_handler(handler)
    loop.call_soon(lambda: 1 / 0)
    run_once(loop)
    record, = asyncio_errors
    assert "Unhandled error in exception handler" in record.getMessage()
    asyncio_errors.clear()


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_exit_raised_by_the_handler_leaves_the_loop(loop, kind):
    def handler(loop, context):
        raise kind

    loop.set_exception_handler(handler)
    loop.call_soon(lambda: 1 / 0)
    with pytest.raises(kind):
        loop.run_forever()


def test_overridden_default_handler_is_used(loop):
    seen = []
    loop.default_exception_handler = seen.append
    loop.call_soon(lambda: 1 / 0)
    run_once(loop)
    assert isinstance(seen[0]["exception"], ZeroDivisionError)


def test_call_exception_handler_calls_the_handler(loop):
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(context))
    context = {"message": "by hand"}
    loop.call_exception_handler(context)
    assert seen == [context]


def test_default_exception_handler_logs_extra_keys(loop, asyncio_errors):
    loop.call_exception_handler({"message": "the message", "detail": 17})
    assert asyncio_errors[0].getMessage() == "the message\ndetail: 17"
    asyncio_errors.clear()


def test_default_exception_handler_without_a_message_has_its_own(
        loop, asyncio_errors):
    loop.call_exception_handler({})
    assert "Unhandled exception in event loop" in \
        asyncio_errors[0].getMessage()
    asyncio_errors.clear()


def test_exception_of_a_task_nobody_awaited_is_reported(loop):
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(context))

    async def fail():
        raise ValueError("nobody looks")

    task = loop.create_task(fail())
    run_once(loop)
    run_once(loop)
    del task
    gc.collect()
    assert seen[0]["message"] == "Task exception was never retrieved"
    assert str(seen[0]["exception"]) == "nobody looks"


def test_task_destroyed_while_pending_is_reported(loop):
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(context))

    async def forever():
        await loop.create_future()

    task = loop.create_task(forever())
    run_once(loop)
    del task
    gc.collect()
    assert seen[0]["message"] == "Task was destroyed but it is pending!"


def test_handler_runs_in_the_context_of_the_failed_handle(loop):
    if sys.version_info < (3, 12):
        pytest.skip("new in 3.12")
    import contextvars
    variable = contextvars.ContextVar("variable", default="outside")
    seen = []
    loop.set_exception_handler(
        lambda loop, context: seen.append(variable.get()))
    context = contextvars.copy_context()
    context.run(variable.set, "inside")
    loop.call_soon(lambda: 1 / 0, context=context)
    run_once(loop)
    assert seen == ["inside"]


def test_failed_reader_is_reported_and_stays_registered(loop):
    import socket
    left, right = socket.socketpair()
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(context))

    def readable():
        left.recv(1)
        if len(seen) == 1:
            loop.stop()
        raise ValueError("of the reader")

    loop.add_reader(left, readable)
    right.send(b"ab")
    loop.run_forever()
    assert loop.remove_reader(left)
    left.close(), right.close()
    assert len(seen) == 2
    assert str(seen[0]["exception"]) == "of the reader"


def test_exceptions_do_not_pile_up_references(loop):
    import weakref

    class Marker(Exception):
        pass

    refs = []

    def fail():
        exc = Marker()
        refs.append(weakref.ref(exc))
        raise exc

    loop.set_exception_handler(lambda loop, context: None)
    for _ in range(20):
        loop.call_soon(fail)
    run_once(loop)
    gc.collect()
    assert [ref for ref in refs if ref() is not None] == []
