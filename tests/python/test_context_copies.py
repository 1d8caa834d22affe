# SPDX-License-Identifier: Apache-2.0
"""Each callback has a copy of its caller's context to itself, however the loop
saves the copying."""

import contextvars
import gc
import sys
import time
import weakref

import pytest

from support import PATIENCE

variable = contextvars.ContextVar("variable", default="default")
other = contextvars.ContextVar("other")

SCHEDULES = {
    "call_soon": lambda loop, callback: loop.call_soon(callback),
    "call_soon_threadsafe":
        lambda loop, callback: loop.call_soon_threadsafe(callback),
    "call_later": lambda loop, callback: loop.call_later(0, callback),
}


@pytest.fixture(params=SCHEDULES)
def schedule(request, loop):
    return lambda callback: SCHEDULES[request.param](loop, callback)


def turn(loop):
    loop.call_later(0.005, loop.stop)
    loop.run_forever()


def context_of(handle):
    if sys.version_info >= (3, 12):
        assert handle.get_context() is handle._context
    return handle._context


def test_changes_of_one_callback_are_not_seen_by_the_next(loop, schedule):
    seen = []

    def callback():
        seen.append((variable.get(), other.get(None)))
        variable.set(len(seen))
        other.set("set")

    def caller():
        variable.set("mine")
        for _ in range(5):
            schedule(callback)

    contextvars.Context().run(caller)
    turn(loop)
    assert seen == [("mine", None)] * 5


def test_changes_between_calls_are_seen_by_later_ones(loop, schedule):
    seen = []

    def caller():
        for value in ["a", "b", "b", "a"]:
            token = variable.set(value)
            schedule(lambda: seen.append(variable.get()))
            variable.reset(token)
            schedule(lambda: seen.append(variable.get()))

    contextvars.Context().run(caller)
    turn(loop)
    assert sorted(seen) == sorted(["a", "default", "b", "default"] * 2)


def test_calls_from_callbacks_inherit_what_these_changed(loop, schedule):
    seen = []

    def callback(depth):
        seen.append(variable.get())
        if depth % 2:
            variable.set(depth)
        if depth:
            schedule(lambda: callback(depth - 1))

    schedule(lambda: callback(6))
    deadline = time.monotonic() + PATIENCE
    while len(seen) < 7 and time.monotonic() < deadline:
        turn(loop)
    assert seen == ["default", "default", 5, 5, 3, 3, 1]


def test_handles_do_not_share_a_context(loop, schedule):
    handles = [schedule(lambda: None) for _ in range(3)]
    contexts = [context_of(handle) for handle in handles]
    assert len({id(context) for context in contexts}) == 3
    turn(loop)
    for handle, context in zip(handles, contexts):
        assert context_of(handle) is context


def test_callback_runs_in_the_context_that_its_handle_shows(loop, schedule):
    seen = []
    first = schedule(lambda: seen.append(variable.get()))
    second = schedule(lambda: seen.append(variable.get()))
    context_of(first).run(variable.set, "changed from outside")
    turn(loop)
    assert seen == ["changed from outside", "default"]
    assert context_of(second).get(variable) is None


def test_kept_handle_shows_what_its_callback_changed(loop, schedule):
    handle = schedule(lambda: variable.set("changed"))
    schedule(lambda: None)
    turn(loop)
    assert context_of(handle)[variable] == "changed"


def test_context_is_entered_while_its_callback_runs(loop, schedule):
    errors = []

    def callback():
        try:
            context_of(handle).run(lambda: None)
        except RuntimeError as exc:
            errors.append(exc)

    handle = schedule(callback)
    turn(loop)
    assert len(errors) == 1


@pytest.mark.skipif(sys.version_info < (3, 12), reason="new in 3.12")
def test_handler_of_an_exception_sees_what_the_callback_changed(loop, schedule):
    seen = []

    def callback():
        variable.set("before it failed")
        raise ValueError

    loop.set_exception_handler(
        lambda loop, info: seen.append((variable.get(), type(info["handle"]))))
    schedule(callback)
    schedule(lambda: seen.append(variable.get()))
    turn(loop)
    assert seen[0][0] == "before it failed"
    assert seen[1] == "default"


def test_token_of_a_callback_does_not_fit_the_next(loop, schedule):
    tokens = []
    errors = []

    def first():
        tokens.append(variable.set("first"))

    def second():
        try:
            variable.reset(tokens[0])
        except ValueError as exc:
            errors.append(exc)

    schedule(first)
    schedule(second)
    turn(loop)
    assert len(errors) == 1


def test_copy_made_inside_keeps_what_was_set_inside(loop, schedule):
    copies = []

    def callback():
        variable.set(len(copies))
        copies.append(contextvars.copy_context())

    for _ in range(3):
        schedule(callback)
    turn(loop)
    assert [copy[variable] for copy in copies] == [0, 1, 2]


def test_values_die_with_the_callbacks(loop, schedule):
    class Value:
        pass

    def caller():
        value = Value()
        variable.set(value)
        schedule(lambda: None)
        schedule(lambda: other.set(value))
        return weakref.ref(value)

    reference = contextvars.Context().run(caller)
    turn(loop)
    gc.collect()
    assert reference() is None


def test_failing_finalizer_of_a_value_harms_nothing(loop, schedule):
    """The last reference goes while the loop takes a new snapshot."""
    seen = []

    class Value:
        def __del__(self):
            schedule(lambda: seen.append(variable.get()))

    def caller():
        variable.set(Value())
        schedule(lambda: None)
        variable.set("after")
        schedule(lambda: seen.append(variable.get()))

    contextvars.Context().run(caller)
    turn(loop)
    turn(loop)
    assert "after" in seen
    assert len(seen) == 2
