# SPDX-License-Identifier: Apache-2.0
"""The watchdog: who is told of a loop that is stuck, and of what it does.

Its thread is the loop's own and waits in C, without the GIL. There a stall is
noticed and written to a file, GIL or not; then the thread waits for the GIL and
reports the rest here. The loop's runtime thread never runs Python, so that it
could not do the second half.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from . import _core

logger = logging.getLogger("rsloop_c")

_watching: weakref.WeakSet[_Watch] = weakref.WeakSet()
_STDERR = 2


@dataclass(frozen=True)
class Stall:
    """A loop's thread was stuck: for how long when that was noticed, and where.

    stack is what faulthandler wrote, the innermost frame first, or None when the
    thread did not answer. task is the one that runs once the GIL can be had:
    None if a callback does, or if the loop has gone on meanwhile. waits_for_gil:
    the thread was ready to go on, but another had the GIL.
    """

    loop: asyncio.AbstractEventLoop
    seconds: float
    stack: str | None
    task: asyncio.Task[Any] | None
    waits_for_gil: bool

    def __str__(self) -> str:
        text = f"the loop's thread has been stuck for {self.seconds:.3f} s"
        if self.waits_for_gil:
            text += " for want of the GIL"
        if self.task is not None:
            text += f" in task {self.task.get_name()!r}"
        lines = (self.stack or "").splitlines()[1:2]
        return text + "".join(f": {line.strip()}" for line in lines)


class _Watch:
    """A loop's watchdog and its thread."""

    def __init__(self, loop: Any, seconds: float, file: IO[Any] | int | None):
        # A copy: whoever owns the file may close it.
        self._fd = -1 if file is None else os.dup(_fileno(file))
        try:
            self.dog = _core.Watchdog(seconds, self._fd)
        except BaseException:
            self._close()
            raise
        self.seconds = seconds
        self._thread = threading.Thread(
            target=_watch, args=(weakref.ref(loop), self), name="rsloop_c-watchdog"
        )
        _watching.add(self)
        self._thread.start()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def end(self) -> None:
        """Returns when the thread has ended; idempotent, from any thread."""
        self.dog.end()
        if self._thread is not threading.current_thread():
            self._thread.join()
        _watching.discard(self)

    def serve(self, reference: weakref.ref[Any]) -> None:
        try:
            while (found := self.dog.wait()) is not None:
                loop = reference()
                if loop is not None:
                    _report(loop, *found)
                del loop
        finally:
            self._close()


def _fileno(file: IO[Any] | int) -> int:
    return file if isinstance(file, int) else file.fileno()


def _watch(reference: weakref.ref[Any], watch: _Watch) -> None:
    watch.serve(reference)


def _task_of(loop: Any, culprit: Any) -> asyncio.Task[Any] | None:
    # The step of a task that is over by now, else what runs.
    task = getattr(culprit, "__self__", None)
    if isinstance(task, asyncio.Task):
        return task
    with contextlib.suppress(RuntimeError):  # of a dictionary that changes
        return asyncio.current_task(loop)
    return None


def _report(
    loop: Any, seconds: float, waits_for_gil: bool, stack: bytes | None, culprit: Any
) -> None:
    task = _task_of(loop, culprit)
    text = None if stack is None else stack.decode("utf-8", "backslashreplace")
    stall = Stall(loop, seconds, text, task, waits_for_gil)
    logger.warning("%s", stall)
    callback = loop.watchdog_callback
    if callback is None:
        return
    try:
        callback(stall)
    except Exception:
        logger.exception("watchdog_callback failed")


def _end_all() -> None:
    for watch in list(_watching):
        watch.end()


# Before the threads of an interpreter that ends are joined.
threading._register_atexit(_end_all)  # type: ignore[attr-defined]


def bound_from_environment() -> float | None:
    """RSLOOP_C_WATCHDOG. Raises ValueError when it is no bound."""
    text = os.environ.get("RSLOOP_C_WATCHDOG", "")
    try:
        seconds = float(text or 0)
    except ValueError:
        seconds = -1.0
    if seconds == 0 or 0.001 <= seconds <= 86400:
        return seconds or None
    raise ValueError(
        "RSLOOP_C_WATCHDOG must be a number of seconds from 0.001 to 86400, or 0, "
        f"not {text!r}"
    )


class WatchdogMixin:
    """Loop.watchdog and what belongs to it."""

    _watch: _Watch | None = None
    #: Called with a Stall, on the watchdog's thread, as soon as the GIL is free.
    watchdog_callback: Callable[[Stall], object] | None = None
    #: A file, or a descriptor, that gets each report at once; None for no file.
    #: It is looked at when `watchdog` is set.
    watchdog_file: IO[Any] | int | None = _STDERR

    @property
    def watchdog(self) -> float | None:
        """After how many seconds a turn of the loop counts as stuck; or None.

        Set it on the loop's thread, or while the loop does not run. 0 is None.
        """
        return None if self._watch is None else self._watch.seconds

    @watchdog.setter
    def watchdog(self, seconds: float | None) -> None:
        before = self._watch
        now = None
        if seconds:
            self._check_closed()  # type: ignore[attr-defined]
            now = _Watch(self, seconds, self.watchdog_file)
        try:
            self._set_watchdog(None if now is None else now.dog)  # type: ignore[attr-defined]
        except BaseException:
            if now is not None:
                now.end()
            raise
        self._watch = now
        if before is not None:
            before.end()
