# SPDX-License-Identifier: Apache-2.0
"""python -m rsloop_c.top: watch the loops of a running process.

    python -m rsloop_c.top PID
    python -m rsloop_c.top HOST:PORT | /PATH | @NAME | http://HOST:PORT/metrics

The process must serve its figures: RSLOOP_C_METRICS=pid python program.py for
the first form, RSLOOP_C_METRICS=ADDRESS or loop.serve_metrics() for the second.
They come from the loop's runtime thread, also while the loop is stuck.
"""

from __future__ import annotations

import argparse
import re
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ._metrics import parse_address, path_of

PREFIX = "rsloop_c_"
_PATIENCE_SECONDS = 5.0
_PAGE_BYTES_MAX = 16 << 20
_STUCK_SECONDS = 0.5
_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class PageError(Exception):
    """What came is no page of metrics."""


@dataclass
class LoopFigures:
    """Of one loop: samples without the prefix, and the histogram of turns."""

    backend: str = "?"
    values: dict[str, float] = field(default_factory=dict)
    buckets: dict[float, float] = field(default_factory=dict)  # cumulative


@dataclass
class Page:
    pid: str = "?"
    loops: dict[str, LoopFigures] = field(default_factory=dict)
    taken: float = field(default_factory=time.monotonic)


def parse_page(text: str) -> Page:
    """Read what an endpoint answers. Raises PageError."""
    if not text.endswith("# EOF\n"):
        raise PageError("the answer is not OpenMetrics text, or not whole")
    page = Page()
    for line in text.splitlines():
        found = _SAMPLE.fullmatch(line)
        if line[:1] == "#" or found is None:
            continue
        name = found[1].removeprefix(PREFIX)
        labels: Mapping[str, str] = dict(_LABEL.findall(found[2] or ""))
        if name == "process_info":
            page.pid = labels.get("pid", "?")
        if "loop" not in labels:
            continue
        loop = page.loops.setdefault(labels["loop"], LoopFigures())
        try:
            value = float(found[3])
            bound = float(labels.get("le", 0))
        except ValueError:
            raise PageError(f"no number: {line}") from None
        if name == "loop_info":
            loop.backend = labels.get("backend", "?")
        elif name == "turn_seconds_bucket":
            loop.buckets[bound] = value
        else:
            # What is told by engine is shown as one.
            loop.values[name] = loop.values.get(name, 0) + value
    return page


def fetch(address: str | tuple[str, int]) -> Page:
    """Ask once. Raises OSError or PageError."""
    if isinstance(address, tuple):
        sock = socket.create_connection(address, _PATIENCE_SECONDS)
    else:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(_PATIENCE_SECONDS)
    with sock:
        if isinstance(address, str):
            sock.connect("\0" + address[1:] if address[:1] == "@" else address)
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: rsloop_c\r\n\r\n")
        answer = bytearray()
        while chunk := sock.recv(65536):
            answer += chunk
            if len(answer) > _PAGE_BYTES_MAX:
                raise PageError("the answer does not end")
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].decode("latin-1")
    if status.split(" ")[1:2] != ["200"]:
        raise PageError(status or "no answer")
    return parse_page(body.decode("utf-8", "replace"))


def seconds(value: float) -> str:
    """A duration in at most 6 characters."""
    if value >= 10:
        return f"{value:.0f}s"
    if value >= 1:
        return f"{value:.1f}s"
    if value >= 0.001:
        return f"{value * 1e3:.3g}ms"
    return f"{value * 1e6:.3g}us" if value else "0"


def amount(value: float) -> str:
    """A number in at most 6 characters."""
    for unit in ("", "k", "M", "G", "T"):
        if value < 999.5:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}P"


def quantile(before: LoopFigures | None, now: LoopFigures, part: float) -> float:
    """Below which bound `part` of the turns since `before` were."""
    counts = {
        bound: count - (before.buckets.get(bound, 0) if before else 0)
        for bound, count in now.buckets.items()
    }
    total = max(counts.values(), default=0)
    longest = now.values.get("turn_max_seconds", 0)
    for bound in sorted(counts):
        if total and counts[bound] >= part * total:
            return min(bound, longest)
    return 0


_COLUMNS = (
    ("loop", 4),
    ("backend", 8),
    ("state", 11),
    ("conns", 6),
    ("ready", 6),
    ("timers", 6),
    ("turns/s", 8),
    ("calls/s", 8),
    ("busy", 5),
    ("p50", 7),
    ("p99", 7),
    ("max", 7),
    ("slow", 5),
    ("in/s", 7),
    ("out/s", 7),
    ("unsent", 7),
    ("sysc/s", 7),
    ("handed/s", 8),
    ("taken/s", 7),
    ("tls/s", 6),
    ("tlswait", 7),
)


def _state(loop: LoopFigures) -> str:
    now = loop.values.get("turn_now_seconds", 0)
    if now >= _STUCK_SECONDS:
        return f"STUCK {seconds(now)}"
    if not loop.values.get("running"):
        return "stopped"
    return "busy" if now else "waits"


def row(before: LoopFigures | None, now: LoopFigures, elapsed: float) -> list[str]:
    """One loop's cells, but for its name."""

    def rate(*names: str) -> float:
        if before is None or elapsed <= 0:
            return 0
        return max(
            sum(now.values.get(n, 0) - before.values.get(n, 0) for n in names)
            / elapsed,
            0,
        )

    def value(name: str) -> str:
        return amount(now.values.get(name, 0))

    calls = ("poll", "read", "write", "accept", "runtime")
    return [
        now.backend,
        _state(now),
        value("connections"),
        value("ready"),
        value("timers"),
        amount(rate("turns_total")),
        amount(rate("callbacks_total")),
        f"{min(rate('turn_seconds_sum'), 1):.0%}",
        seconds(quantile(before, now, 0.5)),
        seconds(quantile(before, now, 0.99)),
        seconds(now.values.get("turn_max_seconds", 0)),
        value("slow_turns_total"),
        amount(rate("bytes_read_total")) + "B",
        amount(rate("bytes_written_total")) + "B",
        value("write_backlog") + "B",
        amount(rate(*(f"syscalls_{name}_total" for name in calls))),
        amount(rate("handovers_total")),
        amount(rate("takeovers_total")),
        amount(rate("tls_handshakes_finished_total")),
        value("tls_handshakes_pending"),
    ]


def render(before: Page | None, now: Page) -> str:
    """The whole picture, without control characters."""
    count = len(now.loops)
    lines = [
        f"rsloop_c top   pid {now.pid}   {count} loop{'' if count == 1 else 's'}   "
        + time.strftime("%H:%M:%S"),
        " ".join(name.rjust(width) for name, width in _COLUMNS),
    ]
    elapsed = 0.0 if before is None else now.taken - before.taken
    for name, loop in now.loops.items():
        old = None if before is None else before.loops.get(name)
        cells = [name, *row(old, loop, elapsed)]
        lines.append(
            " ".join(
                cell.rjust(width)
                for cell, (_, width) in zip(cells, _COLUMNS)  # noqa: B905
            )
        )
    return "\n".join(lines)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m rsloop_c.top",
        description=__doc__.split("\n", 1)[0].partition(": ")[2],
        epilog="The process must serve its figures: RSLOOP_C_METRICS=pid "
        "(or an address) in its environment, or loop.serve_metrics().",
    )
    add = parser.add_argument
    add("target", help="a process id, HOST:PORT, /PATH, @NAME or a URL")
    add("-n", "--interval", type=float, default=1.0, help="seconds between looks")
    add("-c", "--count", type=int, default=0, help="how many looks; 0: until Ctrl-C")
    args = parser.parse_args(argv)
    if not 0.01 <= args.interval <= 3600:
        parser.error("the interval must be 0.01 to 3600 seconds")
    if args.target.isdecimal():
        args.address = path_of(int(args.target))
        return args
    target = args.target.removeprefix("http://").partition("/metrics")[0]
    try:
        args.address = parse_address(target)
    except ValueError as exc:
        parser.error(str(exc))
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Show pages until Ctrl-C. 1: there is, or was, no endpoint."""
    args = _arguments(argv)
    live = sys.stdout.isatty()
    before: Page | None = None
    looks = 0
    try:
        while True:
            now = fetch(args.address)
            picture = render(before, now)
            if live:  # home, and clear what is below and beside it
                picture = "\x1b[H" + picture.replace("\n", "\x1b[K\n") + "\x1b[J"
                picture = ("\x1b[2J" if before is None else "") + picture
            print(picture, flush=True)
            before, looks = now, looks + 1
            if looks == args.count:
                return 0
            time.sleep(args.interval)
    except KeyboardInterrupt:
        return 0
    except (OSError, PageError) as exc:
        place = args.address
        if isinstance(place, tuple):
            place = "{}:{}".format(*place)
        print(f"{place}: {exc}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
