# SPDX-License-Identifier: Apache-2.0
"""A setting's values side by side: `python -m benchmarks.sweep VARIABLE VALUES`.

Each round runs each row on each loop with every value of the environment variable, in
shuffled order. The table shows, for each value, rate and CPU per operation as ratios to
the first value of the same round, above 1 is better: median and, in brackets, lowest
and highest."""

from __future__ import annotations

import argparse
import os
import random
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from . import cell, tools
from .workloads import Workload, select

Ratios = list[tuple[float, float]]


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep")
    add = parser.add_argument
    add("variable")
    add("values", help="comma-separated; the first is the baseline")
    add("--loops", default="rsloop_c:auto,rsloop_c:epoll")
    add("--workloads", default="unix,echo-protocol-1k-3")
    add("--rounds", type=int, default=3)
    add("--seconds", type=float, default=0.4)
    add("--rate", type=float, default=0.0, help="of open-loop, messages a second")
    add("--one-cpu", action="store_true", help="server and client on the same")
    return parser.parse_args(argv)


@contextmanager
def variable_set(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@dataclass
class Line:
    """A row on a loop."""

    workload: Workload
    loop: str
    samples: dict[str, list[cell.Sample]] = field(default_factory=dict)

    def ratios(self, value: str, baseline: str) -> Ratios:
        power = -1 if self.workload.lower_is_better else 1
        pairs = zip(self.samples[baseline], self.samples[value], strict=True)
        return [
            ((new.value / old.value) ** power, old.cpu_us / new.cpu_us)
            for old, new in pairs
            if old.value and new.value and old.cpu_us and new.cpu_us
        ]


def run(args: argparse.Namespace) -> list[Line]:
    cpus = sorted(os.sched_getaffinity(0))
    client = cpus[0] if args.one_cpu else cpus[-1]
    conditions = cell.Conditions(
        seconds=args.seconds,
        warmup=0.1,
        server_cpus=str(cpus[0]),
        client_cpus=str(client),
        rate=args.rate,
        client=tools.build_client(),
    )
    values = args.values.split(",")
    rows = select(args.workloads)
    lines = [Line(row, loop) for row in rows for loop in args.loops.split(",")]
    for number in range(args.rounds):
        for line in lines:
            for value in random.sample(values, len(values)):
                with variable_set(args.variable, value):
                    sample = cell.measure(line.workload, line.loop, number, conditions)
                line.samples.setdefault(value, []).append(sample)
    return lines


def _spread(numbers: Sequence[float]) -> str:
    middle = statistics.median(numbers)
    return f"{middle:.2f} ({min(numbers):.2f}..{max(numbers):.2f})"


def _first(samples: Sequence[cell.Sample]) -> str:
    done = [sample for sample in samples if sample.value and sample.cpu_us]
    if not done:
        return "failed"
    rate = statistics.median(sample.value or 0 for sample in done)
    cpu = statistics.median(sample.cpu_us or 0 for sample in done)
    return f"{rate:,.0f}, {cpu:.2f} µs"


def _cell(ratios: Ratios) -> str:
    if not ratios:
        return "failed"
    return ", CPU ".join(_spread(side) for side in zip(*ratios, strict=True))


def table(lines: Sequence[Line], variable: str, values: Sequence[str]) -> str:
    head = ["workload", "loop", f"{variable}={values[0]}", *values[1:]]
    out = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for line in lines:
        row = [line.workload.name, line.loop, _first(line.samples[values[0]])]
        row += [_cell(line.ratios(value, values[0])) for value in values[1:]]
        out.append("| " + " | ".join(row) + " |")
    return "\n".join(out)


def main() -> None:
    args = arguments()
    print(table(run(args), args.variable, args.values.split(",")))


if __name__ == "__main__":
    main()
