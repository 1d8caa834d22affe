# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.anatomy`: what an operation of a row is made of.

    python -m benchmarks.anatomy --workloads websocket --loops rsloop_c:auto,blazio

runs the row as `benchmarks` does and says for each operation, beside rate and CPU
time, how much of that was the kernel's, how often the server slept, and which system
calls it made; with --shares, in whose code it was. perf's counters see the calls,
which cost little; strace would slow the server down, and with it change how many
messages each of its turns finds."""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import cell, perf, tools
from .__main__ import pinned
from .cell import CellError, Conditions, Sample
from .loops import select as select_loops
from .machine import kernel_share
from .workloads import Workload, select

WARM_SECONDS = 0.3
LONG, SHORT = 5.0, 1.0  # of a pass, as `scale`: their difference has no start-up
SHOWN = 0.005  # what happens less often in an operation is left out


@dataclass
class Anatomy:
    """Of one row on one loop, for each operation; lists have one number a round."""

    figures: dict[str, list[float]] = field(default_factory=dict)
    counts: dict[str, list[float]] = field(default_factory=dict)
    shares: dict[str, list[float]] = field(default_factory=dict)

    def note(self, kind: str, numbers: dict[str, float]) -> None:
        lines: dict[str, list[float]] = getattr(self, kind)
        for name, number in numbers.items():
            lines.setdefault(name, []).append(number)


def _figures(
    value: float, cpu_us: float, of_cpu: float, sleeps: float
) -> dict[str, float]:
    return {
        "a second": value,
        "CPU, µs": cpu_us,
        "of it the kernel's": cpu_us * of_cpu,
        "of it Python's and the loop's": cpu_us * (1 - of_cpu),
        "sleeps": sleeps,
    }


def _loaded(
    workload: Workload, conditions: Conditions, target: cell.Target
) -> tuple[Sample, float]:
    """One load on it, and how many operations that was."""
    sample = Sample(workload.name, "", 0)
    cell.load(workload, sample, conditions, target)
    return sample, float(sample.details["messages"])


def examine_server(
    workload: Workload, loop: str, conditions: Conditions, sort: str | None
) -> Anatomy:
    found = Anatomy()
    # The client then counts from its first message on, as perf does.
    conditions = replace(conditions, warmup=0.0)
    with cell.served(workload, loop, conditions) as target:
        pid = target.child.pid
        _loaded(workload, replace(conditions, seconds=WARM_SECONDS), target)
        before = kernel_share(pid)
        sample, number = _loaded(workload, conditions, target)
        used = kernel_share(pid).since(before)
        assert sample.value is not None
        assert sample.cpu_us is not None
        sleeps = used.sleeps / number
        found.note(
            "figures", _figures(sample.value, sample.cpu_us, used.of_cpu, sleeps)
        )
        if sample.client_busy is not None:
            found.note("figures", {"client busy": sample.client_busy})
        with perf.counted(pid) as counts:
            _, number = _loaded(workload, conditions, target)
        found.note("counts", {name: n / number for name, n in counts.items()})
        if sort:
            with perf.sampled(pid, sort) as shares:
                _loaded(workload, conditions, target)
            found.note("shares", shares)
    return found


def _counted_body(
    workload: Workload, loop: str, conditions: Conditions
) -> tuple[dict[str, float], float]:
    """What a whole process met, its children too, and its operations."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        out = Path(name) / "counts"
        result = cell.run_body(workload, loop, conditions, perf.stat_command(out))
        return perf.parse_counts(out.read_text()), result["operations"] * 1.1


def examine_body(workload: Workload, loop: str, conditions: Conditions) -> Anatomy:
    found = Anatomy()
    result = cell.run_body(workload, loop, conditions)
    number, cpu = result["operations"], result["cpu"]
    figures = _figures(
        number / result["seconds"],
        cpu * 1e6 / number,
        min(1.0, result["kernel"] / cpu),  # it is known by the tick
        result["sleeps"] / number,
    )
    found.note("figures", figures)
    passes = replace(conditions, seconds=0.0)
    few, less = _counted_body(workload, loop, replace(passes, scale=SHORT))
    many, more = _counted_body(workload, loop, replace(passes, scale=LONG))
    found.note(
        "counts", {name: (many[name] - few[name]) / (more - less) for name in many}
    )
    return found


def examine(
    workload: Workload, loop: str, conditions: Conditions, sort: str | None = None
) -> Anatomy:
    if workload.kind == "inprocess":
        return examine_body(workload, loop, conditions)
    if workload.unit not in ("msg/s", "req/s", "conn/s"):
        raise CellError(f"{workload.name} has no operations to count by")
    return examine_server(workload, loop, conditions, sort)


def merge(found: Sequence[Anatomy]) -> dict[str, dict[str, float]]:
    """Medians over the rounds, by kind and name."""
    merged: dict[str, dict[str, float]] = {}
    for kind in ("figures", "counts", "shares"):
        lines: dict[str, list[float]] = {}
        for one in found:
            for name, numbers in getattr(one, kind).items():
                lines.setdefault(name, []).extend(numbers)
        merged[kind] = {name: statistics.median(n) for name, n in lines.items()}
    return merged


def _text(kind: str, name: str, number: float | None) -> str:
    if number is None:
        return ""
    if kind == "shares" or name == "client busy":
        return f"{number:.1%}"
    if name == "a second":
        return f"{number:,.0f}"
    return (
        f"{number:.2f}" if kind == "figures" and name != "sleeps" else f"{number:.3f}"
    )


def table(name: str, found: dict[str, dict[str, dict[str, float]]]) -> str:
    """`found` by loop, then kind, then name."""
    lines = [f"| {name} | {' | '.join(found)} |", "|---" * (len(found) + 1) + "|"]
    for kind in ("figures", "counts", "shares"):
        names = dict.fromkeys(n for by_kind in found.values() for n in by_kind[kind])
        for one in names:
            numbers = [by_kind[kind].get(one) for by_kind in found.values()]
            if kind != "figures" and max(n or 0.0 for n in numbers) < SHOWN:
                continue
            cells = [_text(kind, one, number) for number in numbers]
            lines.append(f"| {one} | {' | '.join(cells)} |")
    return "\n".join(lines)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.anatomy")
    add = parser.add_argument
    add("--workloads", default="echo-protocol-1k-3")
    add("--loops", default="rsloop_c:auto+streams,uvloop")
    add("--rounds", type=int, default=3)
    add("--seconds", type=float, default=0.5, help="of each load")
    add("--pin", choices=("split", "share", "none"), default="split")
    add("--shares", choices=("dso", "sym"), help="of CPU time, by object or function")
    args = parser.parse_args(argv)
    try:
        args.workloads = select(args.workloads)
        args.loops = select_loops(args.loops)
    except ValueError as exc:
        parser.error(f"{exc}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(argv)
    server_cpus, client_cpus = pinned(args.pin)
    conditions = Conditions(
        seconds=args.seconds,
        server_cpus=server_cpus,
        client_cpus=client_cpus,
        client=tools.build_client(),
    )
    failed = False
    for workload in args.workloads:
        rounds: dict[str, list[Anatomy]] = {}
        for _ in range(args.rounds):
            for loop in random.sample(args.loops, len(args.loops)):
                try:
                    one = examine(workload, loop, conditions, args.shares)
                    rounds.setdefault(loop, []).append(one)
                except (CellError, tools.ToolError, OSError) as exc:
                    print(f"{workload.name} on {loop}: {exc}", file=sys.stderr)
                    failed = True
        merged = {loop: merge(rounds[loop]) for loop in args.loops if loop in rounds}
        print(table(workload.name, merged))
        print(flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
