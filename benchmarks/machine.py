# SPDX-License-Identifier: Apache-2.0
"""Where and when a run was made."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

LIBRARIES = ("uvicorn", "httptools", "websockets")


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _memory_gib() -> float:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return round(pages / 2**30, 1)


def commit() -> str | None:
    """Of the checkout, with a plus if its tracked files were changed."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
        )
    except OSError:
        return None
    return done.stdout.strip() or None


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def gil() -> bool:
    enabled = getattr(sys, "_is_gil_enabled", None)
    return bool(enabled()) if enabled else True


def describe() -> dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat("T", "seconds"),
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": _memory_gib(),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "gil": gil(),
        "libraries": _versions(),
        "commit": commit(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def waited_seconds(pid: int | str = "self") -> float:
    """How long a process's threads were ready to run and had no CPU: what the
    machine's other work took from a measurement."""
    total = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # the thread has ended
            total += int(path.read_text().split()[1])
    return total / 1e9


def cpu_ticks() -> tuple[int, int]:
    """(stolen by the hypervisor, all) since the machine started."""
    with open("/proc/stat") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return ticks[7], sum(ticks)


def stolen_since(before: tuple[int, int]) -> float:
    stolen, total = cpu_ticks()
    return (stolen - before[0]) / max(1, total - before[1])
