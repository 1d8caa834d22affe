# SPDX-License-Identifier: Apache-2.0
"""The flight recorder: how many events are kept, and how reports show them."""

from __future__ import annotations

import os
from typing import Any

from . import _core

EVENTS_MAX = 65536


class Record(list[tuple[float, str, int]]):
    """(loop time, what, amount) of a connection, the oldest first."""

    def __repr__(self) -> str:
        # Reports put a context's values into one log record by repr().
        last = self[-1][0] if self else 0.0
        lines = (
            f"\n  {at - last:+.6f} s {what}" + (f" {amount}" if amount else "")
            for at, what, amount in self
        )
        return "".join(lines)


def of_callback(callback: Any, arguments: Any) -> dict[str, Record]:
    """The same on a callback: of or with a stream transport."""
    for thing in (getattr(callback, "__self__", None), *(arguments or ())):
        if isinstance(thing, _core.StreamTransport | _core.SSLStreamTransport):
            return of_transport(thing)
    return {}


def of_transport(transport: Any) -> dict[str, Record]:
    """What a report on the transport has in addition."""
    events = transport.get_extra_info("flight_recorder")
    return {"flight_recorder": Record(events)} if events else {}


def events_from_environment() -> int:
    """RSLOOP_C_FLIGHT_RECORDER. Raises ValueError when it is no such number."""
    text = os.environ.get("RSLOOP_C_FLIGHT_RECORDER", "") or "0"
    if text.isascii() and text.isdigit() and int(text) <= EVENTS_MAX:
        return int(text)
    raise ValueError(
        f"RSLOOP_C_FLIGHT_RECORDER must be from 0 to {EVENTS_MAX}, not {text!r}"
    )
