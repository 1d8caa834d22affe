# SPDX-License-Identifier: Apache-2.0
# _loop.py itself extends parts of asyncio that have no types.

import asyncio

from . import _core

class Loop(_core.Loop, asyncio.SelectorEventLoop):
    def __init__(self, backend: str | None = None) -> None: ...
