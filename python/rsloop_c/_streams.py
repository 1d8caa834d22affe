# SPDX-License-Identifier: Apache-2.0
"""asyncio's streams with what happens for each message in C.

The classes have C in front (reads, feeding, write, drain) and asyncio's own
behind: what happens once a connection or less is asyncio's code, and so are the
functions that make connections, with these classes in the place of asyncio's.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
from asyncio import streams
from types import FunctionType

from . import _core
from ._loop import Loop

# Names in asyncio and in asyncio.streams that patch() replaces.
_FUNCTIONS = (
    "open_connection",
    "start_server",
    "open_unix_connection",
    "start_unix_server",
)
_VARIABLES = ("RSLOOP_C_FAST_STREAMS", "RSLOOP_USE_FAST_STREAMS")


def _with_our_classes(function):
    """asyncio's function; where its code names a class, it finds ours."""
    copy = FunctionType(
        function.__code__,
        _names,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__annotations__ = dict(function.__annotations__)
    copy.__doc__ = function.__doc__
    copy.__module__ = "rsloop_c"
    copy.__qualname__ = function.__qualname__
    return copy


_names = dict(vars(streams))


class StreamReader(_core.StreamReader, streams.StreamReader):
    """An asyncio.StreamReader whose buffer and reads are in C."""


class StreamWriter(_core.StreamWriter, streams.StreamWriter):
    """An asyncio.StreamWriter whose write() and drain() are in C."""


class StreamReaderProtocol(_core.StreamReaderProtocol, streams.StreamReaderProtocol):
    """An asyncio.StreamReaderProtocol that receives in C."""

    connection_made = _with_our_classes(streams.StreamReaderProtocol.connection_made)

    def connection_lost(self, exc):
        super().connection_lost(exc)
        # As asyncio's __del__, which the collector may call too late: nobody has
        # to ask how a connection ended.
        if exc is not None and not self._closed.cancelled():
            self._closed.exception()


_names.update(
    StreamReader=StreamReader,
    StreamWriter=StreamWriter,
    StreamReaderProtocol=StreamReaderProtocol,
)

open_connection = _with_our_classes(streams.open_connection)
start_server = _with_our_classes(streams.start_server)
open_unix_connection = _with_our_classes(streams.open_unix_connection)
start_unix_server = _with_our_classes(streams.start_unix_server)


# --- In the place of asyncio's -------------------------------------------------

_lock = threading.Lock()
_users = 0
_replaced = []  # (module, name, asyncio's function, what is there instead)


def wanted(choice):
    """Whether to patch: as chosen or, for None, as the environment says."""
    if choice is not None:
        return bool(choice)
    return any(os.environ.get(name, "0") not in ("", "0") for name in _VARIABLES)


def patch():
    """Let asyncio's functions use our classes on our loops. unpatch() as many
    times undoes it."""
    global _users
    with _lock:
        _users += 1
        if _users > 1:
            return
        for name in _FUNCTIONS:
            function = _dispatching(getattr(streams, name), globals()[name])
            for module in (asyncio, streams):
                _replaced.append((module, name, getattr(module, name), function))
                setattr(module, name, function)


def unpatch():
    """Undo a patch(); what somebody else has replaced since stays."""
    global _users
    with _lock:
        _users -= 1
        if _users > 0:
            return
        for module, name, original, function in _replaced:
            if getattr(module, name) is function:
                setattr(module, name, original)
        _replaced.clear()


@contextlib.contextmanager
def patched_as_wished():
    """Patched for so long, if the environment says so."""
    if not wanted(None):
        yield
        return
    patch()
    try:
        yield
    finally:
        unpatch()


def _dispatching(original, ours):
    @functools.wraps(original)
    async def function(*args, **kwargs):
        running = isinstance(asyncio._get_running_loop(), Loop)
        return await (ours if running else original)(*args, **kwargs)

    return function
