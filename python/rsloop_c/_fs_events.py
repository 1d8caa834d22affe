# SPDX-License-Identifier: Apache-2.0
"""Changes of files and directories by inotify(7), with uvloop's interface."""

from __future__ import annotations

import contextlib
import contextvars
import enum
import os
import struct

from . import _core

# From <sys/inotify.h>; the kernel's ABI.
_IN_MODIFY = 0x0002
_IN_ATTRIB = 0x0004
_IN_MOVED_FROM = 0x0040
_IN_MOVED_TO = 0x0080
_IN_CREATE = 0x0100
_IN_DELETE = 0x0200
_IN_DELETE_SELF = 0x0400
_IN_MOVE_SELF = 0x0800
_IN_Q_OVERFLOW = 0x4000
_IN_IGNORED = 0x8000

_CHANGES = _IN_MODIFY | _IN_ATTRIB
_WATCHED = (
    _CHANGES
    | _IN_MOVED_FROM
    | _IN_MOVED_TO
    | _IN_CREATE
    | _IN_DELETE
    | _IN_DELETE_SELF
    | _IN_MOVE_SELF
)
_HEADER = struct.Struct("iIII")
_READ_BYTES = 64 * 1024


class FileSystemEvent(enum.IntEnum):
    """What happened: made, moved or removed; contents or attributes changed."""

    RENAME = 1
    CHANGE = 2
    RENAME_CHANGE = 3


class FileSystemWatch:
    """What Loop._monitor_fs() returns; it ends with cancel() or with the loop."""

    def __init__(self, watches, path, callback):
        self._watches = watches
        self._name = os.path.basename(os.fsdecode(path))
        self._callback = callback
        self._context = contextvars.copy_context()
        self._descriptor = None

    def cancel(self):
        """Call back no more; does nothing the second time."""
        watches, self._watches = self._watches, None
        if watches is not None:
            watches.remove(self)

    def cancelled(self):
        """Return True after cancel(), or when the loop was closed."""
        return self._watches is None

    def _run(self, name, event):
        if self._watches is not None:
            self._callback(name or self._name, event)


class _Watches:
    """The inotify descriptor of a loop and who listens to it."""

    def __init__(self, loop):
        self._loop = loop
        self._fd = _core._inotify_init()
        self._listeners = {}  # by watch descriptor, which is one for a file
        try:
            loop._add_reader(self._fd, self._read)
        except BaseException:
            os.close(self._fd)
            raise

    def add(self, path, callback):
        watch = FileSystemWatch(self, path, callback)
        watch._descriptor = _core._inotify_add_watch(self._fd, path, _WATCHED)
        self._listeners.setdefault(watch._descriptor, []).append(watch)
        return watch

    def remove(self, watch):
        listeners = self._listeners.get(watch._descriptor, ())
        if watch not in listeners:
            return  # the file was removed, and the kernel's watch with it
        listeners.remove(watch)
        if not listeners:
            del self._listeners[watch._descriptor]
            # The file may have been removed just now.
            with contextlib.suppress(OSError):
                _core._inotify_rm_watch(self._fd, watch._descriptor)

    def close(self):
        for listeners in self._listeners.values():
            for watch in listeners:
                watch._watches = None
        self._listeners.clear()
        os.close(self._fd)

    def _read(self):
        try:
            data = os.read(self._fd, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        start = 0
        while start < len(data):
            descriptor, mask, _, length = _HEADER.unpack_from(data, start)
            start += _HEADER.size + length
            name = data[start - length : start].rstrip(b"\0")
            self._tell(descriptor, mask, os.fsdecode(name))

    def _tell(self, descriptor, mask, name):
        if mask & _IN_IGNORED:
            self._listeners.pop(descriptor, None)
        elif mask & _IN_Q_OVERFLOW:
            # Events were lost: anything may have happened anywhere.
            for listeners in self._listeners.values():
                self._schedule(listeners, "", FileSystemEvent.RENAME_CHANGE)
        else:
            # One thing an event; what is no change of the file itself made,
            # moved or removed something, were it by unmounting.
            changed = mask & _CHANGES
            event = FileSystemEvent.CHANGE if changed else FileSystemEvent.RENAME
            self._schedule(self._listeners.get(descriptor, ()), name, event)

    def _schedule(self, listeners, name, event):
        for watch in listeners:
            self._loop.call_soon(watch._run, name, event, context=watch._context)


class FileSystemMixin:
    """_monitor_fs() of a loop."""

    _fs_watches = None

    def _monitor_fs(self, path, callback):
        """Call callback(name, event) when a file, or what a directory holds,
        is made, changed, moved or removed.

        `name` is a str: that of the directory's entry, or of the path itself;
        `event` is a FileSystemEvent. The callback runs in the context of this
        call. Returns a handle with cancel() and cancelled(). Raises OSError for
        a path that cannot be watched and RuntimeError when the loop is closed.
        As uvloop's method of this name.
        """
        self._check_closed()
        if not callable(callback):
            raise TypeError(f"a callable object was expected, got {callback!r}")
        if self._fs_watches is None:
            self._fs_watches = _Watches(self)
        return self._fs_watches.add(path, callback)

    def _close_fs_watches(self):
        watches, self._fs_watches = self._fs_watches, None
        if watches is not None:
            watches.close()
