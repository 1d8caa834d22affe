# SPDX-License-Identifier: Apache-2.0
"""Servers with limits of their own, and their graceful end."""

from __future__ import annotations

import asyncio
import functools
from asyncio import base_events
from asyncio.unix_events import _UnixSelectorEventLoop


class Server(base_events.Server):
    """asyncio's Server, with `limits` and drain()."""

    limits = None  # _core.Limits; a server that asyncio has made has none

    async def drain(self, timeout=None):
        """Stop accepting and wait until every connection has ended.

        After timeout seconds those that are left are aborted. Returns how many
        that were.
        """
        self.close()
        loop = self.get_loop()
        gone = loop.create_future()
        self.limits._wait(gone)
        if not gone.done():
            await asyncio.wait({gone}, timeout=timeout)
        aborted = 0 if gone.done() else loop._abort_clients(self)
        await gone
        return aborted


class ServerMixin:
    """create_server() and create_unix_server() of Loop."""

    @functools.wraps(base_events.BaseEventLoop.create_server)
    async def create_server(self, *args, limits=None, start_serving=True, **kwargs):
        server = await super().create_server(*args, start_serving=False, **kwargs)
        return await self._begin_server(server, limits, start_serving)

    @functools.wraps(_UnixSelectorEventLoop.create_unix_server)
    async def create_unix_server(
        self, *args, limits=None, start_serving=True, **kwargs
    ):
        server = await super().create_unix_server(*args, start_serving=False, **kwargs)
        return await self._begin_server(server, limits, start_serving)

    async def _begin_server(self, server, limits, start_serving):
        try:
            own = self._new_limits()
            for name, value in dict(limits or ()).items():
                setattr(own, name, value)
            server.__class__ = Server
            server.limits = own
        except BaseException:
            server.close()
            raise
        if start_serving:
            await server.start_serving()
        return server

    async def drain(self, timeout=None):
        """Drain every server of this loop; how many connections were aborted."""
        servers = [s for s in self._servers() if isinstance(s, Server)]
        return sum(await asyncio.gather(*(server.drain(timeout) for server in servers)))
