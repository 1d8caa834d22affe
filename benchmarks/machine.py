# SPDX-License-Identifier: Apache-2.0
"""Where and when a run was made."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
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


@dataclass(frozen=True)
class ThreadTimes:
    """A process's, in seconds."""

    main: float  # CPU of its first thread
    others: float  # and of all the others that are left
    waited: float  # ready to run without a CPU: what the machine's other work took

    def since(self, before: ThreadTimes) -> ThreadTimes:
        return ThreadTimes(
            self.main - before.main,
            max(0.0, self.others - before.others),
            max(0.0, self.waited - before.waited),
        )


def thread_times(pid: int) -> ThreadTimes:
    ran = dict.fromkeys((True, False), 0)
    waited = 0
    for folder in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # the thread has ended
            words = (folder / "schedstat").read_text().split()
            ran[int(folder.name) == pid] += int(words[0])
            waited += int(words[1])
    return ThreadTimes(ran[True] / 1e9, ran[False] / 1e9, waited / 1e9)


@dataclass(frozen=True)
class KernelShare:
    """How a process's time was spent, all threads that are left."""

    user: int  # clock ticks
    kernel: int
    sleeps: int  # voluntary context switches

    def since(self, before: KernelShare) -> KernelShare:
        return KernelShare(
            self.user - before.user,
            self.kernel - before.kernel,
            self.sleeps - before.sleeps,
        )

    @property
    def of_cpu(self) -> float:
        return self.kernel / max(1, self.user + self.kernel)


def kernel_share(pid: int) -> KernelShare:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    sleeps = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        with contextlib.suppress(OSError):  # the thread has ended
            found = re.search(
                r"^voluntary_ctxt_switches:\s+(\d+)", status.read_text(), re.M
            )
            sleeps += int(found[1]) if found else 0
    return KernelShare(int(words[11]), int(words[12]), sleeps)


def cpu_ticks() -> tuple[int, int]:
    """(stolen by the hypervisor, all) since the machine started."""
    with open("/proc/stat") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return ticks[7], sum(ticks)


def stolen_since(before: tuple[int, int]) -> float:
    stolen, total = cpu_ticks()
    return (stolen - before[0]) / max(1, total - before[1])
