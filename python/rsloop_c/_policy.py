# SPDX-License-Identifier: Apache-2.0
"""EventLoopPolicy, install() and uninstall().

asyncio deprecates policies in Python 3.14 and drops them in 3.16: run() and
new_event_loop() are the way that stays. What is used of asyncio here are the
private names behind the deprecated ones, because importing this package must
not warn.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from . import _streams
from ._loop import Loop

_GONE = "asyncio has no event loop policies since Python 3.16: use rsloop_c.run()"

if TYPE_CHECKING:
    from asyncio import DefaultEventLoopPolicy as _DefaultPolicy
else:
    # The name is the same in 3.10 to 3.15.
    _DefaultPolicy = getattr(asyncio.unix_events, "_UnixDefaultEventLoopPolicy", object)


class EventLoopPolicy(_DefaultPolicy):
    """asyncio's default policy, with rsloop_c's loops."""

    def __init__(self) -> None:
        if _DefaultPolicy is object:
            raise RuntimeError(_GONE)
        super().__init__()

    def new_event_loop(self) -> Loop:
        return Loop()


# What uninstall() puts back; None is asyncio's default.
_previous: Any = None
_has_streams = False


def install(*, streams: bool | None = None) -> None:
    """Make asyncio.new_event_loop() and asyncio.run() use rsloop_c's loops.

    With streams, asyncio.open_connection(), start_server() and their unix
    counterparts use rsloop_c's StreamReader and StreamWriter on these loops;
    None means what the environment variable RSLOOP_C_FAST_STREAMS says.
    """
    global _previous, _has_streams
    policy = EventLoopPolicy()
    if _streams.wanted(streams) and not _has_streams:
        _has_streams = True
        _streams.patch()
    current = _get_policy()
    if not isinstance(current, EventLoopPolicy):
        _previous = current
        _set_policy(policy)


def uninstall() -> None:
    """Undo install(); does nothing when another policy was set since."""
    global _previous, _has_streams
    if _has_streams:
        _has_streams = False
        _streams.unpatch()
    if _DefaultPolicy is not object and isinstance(_get_policy(), EventLoopPolicy):
        _set_policy(_previous)
        _previous = None


def _get_policy() -> Any:
    events: Any = asyncio.events
    # 3.14 has it under this name too, without the warning.
    get = getattr(events, "_get_event_loop_policy", None)
    return get() if get is not None else asyncio.get_event_loop_policy()


def _set_policy(policy: Any) -> None:
    events: Any = asyncio.events
    put = getattr(events, "_set_event_loop_policy", None)
    if put is not None:
        put(policy)
    else:
        asyncio.set_event_loop_policy(policy)
