# SPDX-License-Identifier: Apache-2.0
"""The live figures: what the application counts and what the loop reports."""

import asyncio
import collections
import os
import platform
import time
from typing import Any

import rsloop_c

_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
_LAG_INTERVAL = 0.05

Sample = dict[str, Any]


class Figures:
    def __init__(self) -> None:
        self.requests = 0
        self.active = 0
        self.websockets = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.history: collections.deque[Sample] = collections.deque(maxlen=60)
        self._lags: list[float] = []
        self._started = time.monotonic()
        self._next: asyncio.Future[Sample] | None = None

    async def run(self) -> None:
        """Sample once a second, until cancelled."""
        measuring = asyncio.create_task(self._measure_lag())
        try:
            before = self._counters()
            while True:
                await asyncio.sleep(1)
                after = self._counters()
                self._publish(self._sample(before, after))
                before = after
        finally:
            measuring.cancel()

    async def next(self) -> Sample:
        """Wait for the next sample; any number of readers share it."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._next)

    def about(self) -> dict[str, str]:
        """What does not change while the server runs."""
        info = rsloop_c.runtime_info()
        loop = type(asyncio.get_running_loop())
        return {
            "backend": info["backend"],
            "reason": info["reason"],
            "kernel": info["kernel"],
            "loop": f"{loop.__module__.partition('.')[0]}.{loop.__name__}",
            "python": platform.python_version(),
            "version": rsloop_c.__version__,
        }

    async def _measure_lag(self) -> None:
        """How much later than asked for a timer runs."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_INTERVAL
            await asyncio.sleep(_LAG_INTERVAL)
            self._lags.append(max(0.0, loop.time() - due))

    def _counters(self) -> Sample:
        info = rsloop_c.runtime_info()
        return {
            "time": time.monotonic(),
            "cpu": time.process_time(),
            "requests": self.requests,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "callbacks": info["callbacks"],
            "polls": info["polls"],
            "stolen_bytes": info["stolen_bytes"],
            "connections": info["connections"],
        }

    def _sample(self, before: Sample, after: Sample) -> Sample:
        seconds: float = after["time"] - before["time"]

        def rate(name: str) -> float:
            return float(after[name] - before[name]) / seconds

        lags = sorted(self._lags) or [0.0]
        self._lags = []
        return {
            "uptime": after["time"] - self._started,
            "requests": self.requests,
            "active": self.active,
            "websockets": self.websockets,
            "connections": after["connections"],
            "requests_per_s": rate("requests"),
            "callbacks_per_s": rate("callbacks"),
            "polls_per_s": rate("polls"),
            "bytes_in_per_s": rate("bytes_in"),
            "bytes_out_per_s": rate("bytes_out"),
            "stolen_bytes_per_s": rate("stolen_bytes"),
            "cpu_percent": 100 * rate("cpu"),
            "lag_ms": 1000 * lags[len(lags) // 2],
            "lag_max_ms": 1000 * lags[-1],
            "rss_bytes": _resident_bytes(),
            "threads": len(os.listdir("/proc/self/task")),
        }

    def _publish(self, sample: Sample) -> None:
        self.history.append(sample)
        if self._next is not None:
            self._next.set_result(sample)
            self._next = None


class Count:
    """ASGI middleware that counts requests, websockets and body bytes."""

    def __init__(self, app: Any, figures: Figures) -> None:
        self.app = app
        self.figures = figures

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        figures = self.figures

        async def counted_receive() -> Any:
            message = await receive()
            figures.bytes_in += _payload(message)
            return message

        async def counted_send(message: Any) -> None:
            figures.bytes_out += _payload(message)
            await send(message)

        if scope["type"] == "http":
            figures.requests += 1
            figures.active += 1
            try:
                await self.app(scope, counted_receive, counted_send)
            finally:
                figures.active -= 1
        elif scope["type"] == "websocket":
            figures.websockets += 1
            try:
                await self.app(scope, counted_receive, counted_send)
            finally:
                figures.websockets -= 1
        else:
            await self.app(scope, receive, send)


def _payload(message: Any) -> int:
    """Bytes of a body or of a websocket message."""
    data = message.get("body") or message.get("bytes") or message.get("text") or b""
    return len(data)


def _resident_bytes() -> int:
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * _PAGE_SIZE
