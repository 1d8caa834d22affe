# SPDX-License-Identifier: Apache-2.0
"""runtime_info(): what the native side of a loop is doing, and why."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import Any

from . import _core
from ._loop import Loop

# Bit n of the features word of io_uring_setup(2) is _RING_FEATURES[n].
_RING_FEATURES = (
    "SINGLE_MMAP",
    "NODROP",
    "SUBMIT_STABLE",
    "RW_CUR_POS",
    "CUR_PERSONALITY",
    "FAST_POLL",
    "POLL_32BITS",
    "SQPOLL_NONFIXED",
    "EXT_ARG",
    "NATIVE_WORKERS",
    "RSRC_TAGS",
    "CQE_SKIP",
    "LINKED_FILE",
    "REG_REG_RING",
    "RECVSEND_BUNDLE",
    "MIN_TIMEOUT",
    "RW_ATTR",
    "NO_IOWAIT",
)


def runtime_info(loop: asyncio.AbstractEventLoop | None = None) -> dict[str, Any]:
    """Say which backend runs and why.

    Of loop, or without it of the running loop. Without a running rsloop_c loop:
    what a new one would choose, and no figures.
    """
    if loop is None:
        loop = asyncio._get_running_loop()
        if not isinstance(loop, Loop):
            return _readable(_core.probe())
    elif not isinstance(loop, Loop):
        raise TypeError(f"an rsloop_c.Loop was expected, got {loop!r}")
    return _readable(loop._runtime_info())


def _readable(info: dict[str, Any]) -> dict[str, Any]:
    code = info.pop("reason_errno", 0)
    if code:
        info["reason"] += f": {errno.errorcode.get(code, code)} ({os.strerror(code)})"
    features = info.pop("ring_features", 0)
    info["ring_features"] = [
        name for bit, name in enumerate(_RING_FEATURES) if features >> bit & 1
    ]
    info["kernel"] = os.uname().release
    return info
