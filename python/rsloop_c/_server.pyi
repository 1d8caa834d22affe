# SPDX-License-Identifier: Apache-2.0
# _server.py itself extends parts of asyncio that have no types.

import asyncio

from ._core import Limits

class Server(asyncio.Server):
    limits: Limits
    async def drain(self, timeout: float | None = None) -> int: ...

class ServerMixin:
    async def drain(self, timeout: float | None = None) -> int: ...
