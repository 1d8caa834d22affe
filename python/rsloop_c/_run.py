# SPDX-License-Identifier: Apache-2.0
"""run() and new_event_loop(), the two ways to get a loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from . import _streams
from ._loop import Loop

_T = TypeVar("_T")


def new_event_loop(backend: str | None = None) -> Loop:
    """Make a loop that is not yet the current one of any thread.

    backend is "auto", "io_uring" or "epoll"; None means what the environment
    variable RSLOOP_C_BACKEND says, and "auto" without it.
    """
    return Loop(backend)


def run(
    main: Coroutine[Any, Any, _T],
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = new_event_loop,
    debug: bool | None = None,
    **run_kwargs: Any,
) -> _T:
    """Run a coroutine on a new rsloop_c loop and return its result.

    What asyncio.run() of this Python does, and its keyword arguments. Raises
    TypeError when loop_factory makes a loop of another kind; with None the
    loop comes from asyncio.new_event_loop(). RSLOOP_C_FAST_STREAMS=1 gives
    asyncio's stream functions rsloop_c's classes meanwhile.
    """
    factory = _only_ours(loop_factory)
    with _streams.patched_as_wished():
        return _run(main, factory, debug, run_kwargs)


def _run(
    main: Coroutine[Any, Any, _T],
    factory: Callable[[], Loop],
    debug: bool | None,
    run_kwargs: dict[str, Any],
) -> _T:
    if sys.version_info >= (3, 12):
        return asyncio.run(main, loop_factory=factory, debug=debug, **run_kwargs)
    for name in run_kwargs:
        raise TypeError(f"run() got an unexpected keyword argument {name!r}")
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("asyncio.run() cannot be called from a running event loop")
    if sys.version_info >= (3, 11):
        with asyncio.Runner(loop_factory=factory, debug=debug) as runner:
            return runner.run(main)
    return _run_310(main, factory, debug)


def _only_ours(
    factory: Callable[[], asyncio.AbstractEventLoop] | None,
) -> Callable[[], Loop]:
    def make() -> Loop:
        loop = asyncio.new_event_loop() if factory is None else factory()
        if isinstance(loop, Loop):
            return loop
        # Nobody else knows of it: without this it would warn when collected.
        if isinstance(loop, asyncio.AbstractEventLoop) and not loop.is_running():
            loop.close()
        raise TypeError("rsloop_c.run() uses a non-rsloop_c event loop")

    return make


def _run_310(
    main: Coroutine[Any, Any, _T], factory: Callable[[], Loop], debug: bool | None
) -> _T:
    """Python 3.10 has neither asyncio.Runner nor loop_factory.

    Ctrl-C is as there: KeyboardInterrupt leaves the loop at once, and the tasks
    are cancelled afterwards.
    """
    if not asyncio.iscoroutine(main):
        raise ValueError(f"a coroutine was expected, got {main!r}")
    loop = factory()
    try:
        asyncio.set_event_loop(loop)
        if debug is not None:
            loop.set_debug(debug)
        return loop.run_until_complete(main)
    finally:
        try:
            _cancel_all_tasks(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def _cancel_all_tasks(loop: Loop) -> None:
    tasks = asyncio.all_tasks(loop)
    if not tasks:
        return
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    for task in tasks:
        if not task.cancelled() and task.exception() is not None:
            loop.call_exception_handler(
                {
                    "message": "unhandled exception during rsloop_c.run() shutdown",
                    "exception": task.exception(),
                    "task": task,
                }
            )
