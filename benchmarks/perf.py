# SPDX-License-Identifier: Apache-2.0
"""Linux's `perf`: how often a process meets tracepoints, and where it is when a
clock samples it."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from .objects import label
from .tools import ToolError, run_tool

SAMPLES_A_SECOND = 4999
ATTACH_SECONDS = 30.0
TRACEFS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))

ALL_CALLS = "raw_syscalls:sys_enter"
# perf takes tens of milliseconds to attach to each: not all 360 there are.
CALLS = [
    "accept4",
    "close",
    "connect",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "futex",
    "io_uring_enter",
    "read",
    "recvfrom",
    "recvmsg",
    "sendmsg",
    "sendto",
    "wait4",
    "waitid",
    "write",
    "writev",
]
OTHERS = {
    "io_uring:io_uring_submit_req": "io_uring requests",
    "io_uring:io_uring_complete": "io_uring completions",
    "sock:sock_send_length": "sends that the socket saw",
    "sock:sock_recv_length": "receives that the socket saw",
    "net:net_dev_queue": "packets out, answers to them too",
    "sched:sched_waking": "wakes of another thread",
}
LABELS = {f"syscalls:sys_enter_{name}": name for name in CALLS} | OTHERS


def known_events() -> list[str]:
    """Of those above, what this kernel has; ToolError if it shows none."""
    for folder in TRACEFS:
        try:
            found = set((folder / "available_events").read_text().split())
        except OSError:
            continue
        return [name for name in (ALL_CALLS, *LABELS) if name in found]
    raise ToolError("no tracepoints (needs root, and tracefs on /sys/kernel/tracing)")


def parse_counts(text: str) -> dict[str, float]:
    """Of what `perf stat -x,` writes: {"recvfrom": 12, ...}; calls that are not
    in CALLS are summed up as "other calls"."""
    counts: dict[str, float] = {}
    for line in text.splitlines():
        words = line.split(",")
        if len(words) > 2 and not line.startswith("#"):
            if not words[0].isdigit():
                raise ToolError(f"perf did not count {words[2]}: {words[0]}")
            counts[words[2]] = float(words[0])
    total = counts.pop(ALL_CALLS, 0.0)
    named = {LABELS[name]: number for name, number in counts.items()}
    other = total - sum(named.get(name, 0) for name in CALLS)
    return {"system calls": total, **named, "other calls": other}


def stat_command(out: Path, options: Sequence[str] = ()) -> list[str]:
    events = [word for name in known_events() for word in ("-e", name)]
    return ["perf", "stat", "-x,", "-o", str(out), *options, *events]


class _Control:
    """The two pipes by which a running perf is told to count."""

    def __init__(self, folder: Path) -> None:
        self._paths = folder / "control", folder / "answer"
        for path in self._paths:
            os.mkfifo(path)
        # Read and write: opening waits for no one.
        self._fds = [os.open(path, os.O_RDWR) for path in self._paths]
        self.option = "fifo:" + ",".join(map(str, self._paths))

    def say(self, word: str, perf: subprocess.Popen[str]) -> None:
        """Returns when perf has done it."""
        assert perf.stderr is not None
        os.write(self._fds[0], f"{word}\n".encode())
        deadline = time.monotonic() + ATTACH_SECONDS
        while not select.select([self._fds[1]], [], [], 0.1)[0]:
            if perf.poll() is not None:
                raise ToolError(f"perf: {perf.stderr.read().strip()[-300:]}")
            if time.monotonic() > deadline:
                raise ToolError(f"perf does not {word}")
        os.read(self._fds[1], 64)

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)


@contextlib.contextmanager
def _attached(command: list[str], control: _Control) -> Iterator[None]:
    """perf counts in the block, and has written what it found after it."""
    try:
        perf = subprocess.Popen(
            [*command, "--control", control.option],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
    except FileNotFoundError:
        raise ToolError("perf is not installed") from None
    with perf:
        try:
            control.say("enable", perf)
            yield
            control.say("disable", perf)
            perf.send_signal(signal.SIGINT)
            perf.wait(ATTACH_SECONDS)
        except subprocess.TimeoutExpired:
            raise ToolError("perf does not end") from None
        finally:
            perf.kill()


@contextlib.contextmanager
def counted(pid: int) -> Iterator[dict[str, float]]:
    """Fills the dictionary with what the process met in the block."""
    counts: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        out, control = Path(name) / "counts", _Control(Path(name))
        with contextlib.closing(control):
            command = stat_command(out, ["-D", "-1", "-p", str(pid)])
            with _attached(command, control):
                yield counts
            counts |= parse_counts(out.read_text())


def parse_shares(text: str) -> dict[str, float]:
    """Of `perf report -t,`: {"python3.14": 0.51, "the kernel": 0.43}."""
    shares: dict[str, float] = {}
    for line in text.splitlines():
        found = re.match(r"\s*([\d.]+)%\s*,(.+?)\s*$", line)
        if found:
            name = found[2].strip()
            name = "the kernel" if name.startswith("[kernel") else label(name)
            shares[name] = shares.get(name, 0.0) + float(found[1]) / 100
    return shares


@contextlib.contextmanager
def sampled(pid: int, key: str = "dso") -> Iterator[dict[str, float]]:
    """Fills the dictionary with the shares of the process's CPU time in the
    block, by `key` of perf report: "dso", or "sym" for functions."""
    shares: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        out, control = Path(name) / "samples", _Control(Path(name))
        with contextlib.closing(control):
            command = f"perf record -q -e cpu-clock -F {SAMPLES_A_SECOND} -D -1".split()
            with _attached([*command, "-o", str(out), "-p", str(pid)], control):
                yield shares
        report = f"perf report -q --stdio -t, --sort {key} -i {out}".split()
        shares |= parse_shares(run_tool(report, ATTACH_SECONDS))
