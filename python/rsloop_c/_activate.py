# SPDX-License-Identifier: Apache-2.0
"""Put rsloop_c in the place of asyncio's and uvloop's loops.

Only `python -m rsloop_c` and the multiprocessing children of a program that it
runs call activate(): importing the package patches nothing.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
import warnings
from importlib.machinery import ModuleSpec
from multiprocessing import spawn
from types import ModuleType
from typing import Any

from ._core import build_info
from ._loop import Loop
from ._policy import EventLoopPolicy, install
from ._run import new_event_loop, run

_asyncio_loop = asyncio.SelectorEventLoop
_plain_selectors = (
    selectors.SelectSelector,
    selectors.PollSelector,
    selectors.EpollSelector,
)
_active = False


def activate() -> None:
    """From here on every usual way to make a loop makes one of ours."""
    global _active
    if _active:
        return
    _active = True
    # The default policy keeps its class, so programs that set, reset, compare
    # or subclass policies see what they expect.
    policy: Any = getattr(asyncio.unix_events, "_UnixDefaultEventLoopPolicy", None)
    if policy is not None:
        policy._loop_factory = Loop
    for module in (asyncio, asyncio.unix_events):
        for name in ("SelectorEventLoop", "EventLoop", "_UnixSelectorEventLoop"):
            if hasattr(module, name):
                setattr(module, name, SelectorEventLoop)
    sys.modules["uvloop"] = sys.modules["uvloop.loop"] = _make_uvloop()
    _prepare_children()


class _Substitute(type(Loop)):  # type: ignore[misc]
    """isinstance() and issubclass() answer as for asyncio's own class."""

    def __instancecheck__(cls, instance: object) -> bool:
        if cls is SelectorEventLoop:
            return isinstance(instance, _asyncio_loop)
        return bool(super().__instancecheck__(instance))

    def __subclasscheck__(cls, subclass: type) -> bool:
        if cls is SelectorEventLoop:
            return issubclass(subclass, _asyncio_loop)
        return bool(super().__subclasscheck__(subclass))


class SelectorEventLoop(Loop, metaclass=_Substitute):
    """Stands where asyncio.SelectorEventLoop and asyncio.EventLoop were.

    Makes plain rsloop_c loops; is a class because programs subclass it.
    """

    def __new__(cls, selector: selectors.BaseSelector | None = None) -> Any:
        if cls is SelectorEventLoop:
            _discard(selector)
            return Loop()
        return super().__new__(cls)

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        _discard(selector)
        super().__init__()


def _discard(selector: selectors.BaseSelector | None) -> None:
    if selector is None:
        return
    selector.close()
    if type(selector) not in _plain_selectors:
        warnings.warn(
            f"rsloop_c polls by itself, {selector!r} is not used",
            RuntimeWarning,
            stacklevel=3,
        )


def _make_uvloop() -> ModuleType:
    """uvloop's module-level names, so that uvicorn's "auto" and others find us."""
    module = ModuleType("uvloop", "rsloop_c, put in uvloop's place.")
    module.__spec__ = ModuleSpec("uvloop", None, is_package=True)
    module.__path__ = []
    vars(module).update(
        # The release of uvloop whose names these are.
        __version__=f"0.23.0+rsloop_c.{build_info()['version']}",
        __all__=("new_event_loop", "run", "install", "EventLoopPolicy"),
        EventLoopPolicy=EventLoopPolicy,
        Loop=Loop,
        install=install,
        loop=module,
        new_event_loop=new_event_loop,
        run=run,
    )
    return module


class _ActivateInChild:
    """Unpickling it in a multiprocessing child calls activate() there."""

    def __reduce__(self) -> tuple[Any, ...]:
        return activate, ()


def _prepare_children() -> None:
    """Forked children inherit all this; spawned ones and those of the fork
    server are told in the first message they read, before any of their own
    modules are imported."""
    original: Any = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        return {"rsloop_c": _ActivateInChild(), **original(name)}

    spawn.get_preparation_data = get_preparation_data
