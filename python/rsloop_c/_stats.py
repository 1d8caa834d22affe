# SPDX-License-Identifier: Apache-2.0
"""transport_stats(): sums over all loops, under the names of the rsloop package."""

from __future__ import annotations

import os

from . import _core

_VARIABLES = ("RSLOOP_C_TRANSPORT_STATS", "RSLOOP_TRANSPORT_STATS")
_OFF = ("0", "false", "no", "off")

# rsloop asks once, too.
_ENABLED = not any(
    os.environ.get(name, "").strip().lower() in _OFF for name in _VARIABLES
)

# What reset_transport_stats() has seen. Replaced as a whole: no lock.
_before: dict[str, int] = {}


def _figures() -> dict[str, int]:
    total = _core.stats_total()
    return {
        "read_events": total["reads"],
        "read_bytes": total["bytes_read"],
        "read_wakeups": total["reads_handed"],
        "python_read_drains": max(total["reads"] - total["reads_handed"], 0),
        "staged_writes": total["writes_staged"],
        "direct_write_attempts": total["writes_direct"],
        "poll_rebinds": 0,  # of Windows
    }


def transport_stats() -> dict[str, int | bool]:
    """Count what transports did, in all loops of this process.

    rsloop counts only with RSLOOP_TRANSPORT_STATS=1. Here counting is always
    on; 0 in that variable or in RSLOOP_C_TRANSPORT_STATS hides the figures.
    """
    stats: dict[str, int | bool] = {"enabled": _ENABLED}
    before = _before
    for name, value in _figures().items():
        stats[name] = max(value - before.get(name, 0), 0) if _ENABLED else 0
    return stats


def reset_transport_stats() -> None:
    """Let transport_stats() begin at 0 again. Loop.stats() goes on."""
    global _before
    _before = _figures()
