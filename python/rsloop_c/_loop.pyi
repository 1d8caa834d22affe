# SPDX-License-Identifier: Apache-2.0
# _loop.py itself extends parts of asyncio that have no types.

import asyncio
from collections.abc import Callable
from typing import IO, Any

from _typeshed import StrOrBytesPath

from . import _core
from ._fs_events import FileSystemEvent, FileSystemWatch
from ._metrics import MetricsEndpoint
from ._server import ServerMixin
from ._watchdog import Stall

class Loop(_core.Loop, ServerMixin, asyncio.SelectorEventLoop):
    watchdog_callback: Callable[[Stall], object] | None
    watchdog_file: IO[Any] | int | None
    def __init__(self, backend: str | None = None) -> None: ...
    @property
    def watchdog(self) -> float | None: ...
    @watchdog.setter
    def watchdog(self, seconds: float | None) -> None: ...
    def serve_metrics(
        self, host: str = "127.0.0.1", port: int = 0, *, path: str | None = None
    ) -> MetricsEndpoint: ...
    def _monitor_fs(
        self,
        path: StrOrBytesPath,
        callback: Callable[[str, FileSystemEvent], object],
    ) -> FileSystemWatch: ...
