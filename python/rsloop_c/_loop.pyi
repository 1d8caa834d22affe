# SPDX-License-Identifier: Apache-2.0
# _loop.py itself extends parts of asyncio that have no types.

import asyncio
from collections.abc import Callable

from _typeshed import StrOrBytesPath

from . import _core
from ._fs_events import FileSystemEvent, FileSystemWatch

class Loop(_core.Loop, asyncio.SelectorEventLoop):
    def __init__(self, backend: str | None = None) -> None: ...
    def _monitor_fs(
        self,
        path: StrOrBytesPath,
        callback: Callable[[str, FileSystemEvent], object],
    ) -> FileSystemWatch: ...
