# SPDX-License-Identifier: Apache-2.0
"""The run as markdown and as JSON."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .cell import Sample
from .stats import Figure, Results, Spread, best_loop
from .workloads import WORKLOADS, Workload

SCHEMA = 1
ERROR_LENGTH = 160
CANNOT = "NotImplementedError"


@dataclass
class Run:
    """All that a report needs, and all that its JSON holds."""

    machine: dict[str, Any]
    options: dict[str, Any]
    baseline: str
    loops: dict[str, str]  # name to version, in the order of the columns
    absent: dict[str, str]  # name to reason
    workloads: list[Workload]
    samples: list[Sample] = field(default_factory=list)

    @property
    def results(self) -> Results:
        return Results(self.samples)


def save(run: Run, path: Path) -> None:
    data = {
        "schema": SCHEMA,
        "machine": run.machine,
        "options": run.options,
        "baseline": run.baseline,
        "loops": run.loops,
        "absent": run.absent,
        "workloads": [dataclasses.asdict(workload) for workload in run.workloads],
        "samples": [dataclasses.asdict(sample) for sample in run.samples],
    }
    path.write_text(json.dumps(data, indent=1) + "\n")


def load(path: Path) -> Run:
    data = json.loads(path.read_text())
    if data.get("schema") != SCHEMA:
        raise ValueError(f"{path} is no result of these benchmarks")
    workloads = [Workload(**row) for row in data["workloads"]]
    return Run(
        data["machine"],
        data["options"],
        data["baseline"],
        data["loops"],
        data["absent"],
        [WORKLOADS.get(workload.name, workload) for workload in workloads],
        [Sample(**sample) for sample in data["samples"]],
    )


def short(number: float) -> str:
    """Three digits: 0.25, 12.3, 123, 1,234, 12.3k, 1.23M."""
    if number >= 999_500:
        return f"{number / 1e6:.2f}M"
    if number >= 9_999.5:
        return f"{number / 1e3:.1f}k"
    if number >= 99.95:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 9.995 else f"{number:.2f}"


def _range(found: Spread | None) -> str:
    if found is None:
        return "-"
    if found.count == 1:
        return short(found.median)
    return f"{short(found.median)} ({short(found.low)}..{short(found.high)})"


def _share(found: Spread | None) -> str:
    return f"{found.median:.0%}" if found else "-"


def _cannot(error: str) -> bool:
    """Whether the loop has said so itself: the row is none of its own."""
    return error.startswith(CANNOT)


def _ratio_cell(run: Run, workload: Workload, loop: str, best: str | None) -> str:
    results = run.results
    ratio = results.ratio(workload, loop, run.baseline)
    if ratio is None:
        if errors := results.errors(workload.name, loop):
            return "-" if all(map(_cannot, errors)) else "failed"
        number = results.spread(workload.name, loop, "value")
        return short(number.median) if number else "-"
    text = f"{ratio.median:.2f}"
    if loop == best:
        text = f"**{text}**"
    cpu = results.ratio(workload, loop, run.baseline, "cpu_us")
    return f"{text} ({cpu.median:.2f})" if cpu else text


def summary(run: Run) -> str:
    """A row a workload, a column a loop: its ratio to the baseline."""
    loops = [name for name in run.loops if name != run.baseline]
    lines = [
        f"| workload | {run.baseline} | " + " | ".join(loops) + " |",
        "|---|---|" + "---|" * len(loops),
    ]
    for workload in run.workloads:
        base = run.results.spread(workload.name, run.baseline, "value")
        if base:
            first = f"{short(base.median)} {workload.unit}"
        else:
            failed = run.results.errors(workload.name, run.baseline)
            first = "failed" if failed else "-"
        best = best_loop(run.results, workload, list(run.loops), run.baseline)
        if best == run.baseline:
            first = f"**{first}**"
        cells = [_ratio_cell(run, workload, loop, best) for loop in loops]
        lines.append(f"| {workload.name} | {first} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


# Columns of the details, for a row of which some loop has such a figure.
OPTIONAL_COLUMNS: tuple[tuple[str, Figure, Callable[[Spread | None], str]], ...] = (
    ("loop thread's µs/op", "loop_cpu_us", _range),
    ("p50 µs", "p50_us", _range),
    ("p99 µs", "p99_us", _range),
    ("loop thread", "loop_thread", _share),
    ("other threads", "other_threads", _share),
    ("client busy", "client_busy", _share),
    ("waited", "waited", _share),
    ("client waited", "client_waited", _share),
    ("client late µs", "client_late_us", _range),
    ("handshakes/s beside", "beside", _range),
)


def _detail_row(run: Run, workload: Workload, loop: str) -> list[str]:
    results, name = run.results, workload.name
    ratio = results.ratio(workload, loop, run.baseline)
    errors = results.errors(name, loop)
    return [
        loop,
        _range(results.spread(name, loop, "value")),
        f"{ratio.median:.2f} ({ratio.low:.2f}..{ratio.high:.2f})" if ratio else "-",
        _range(results.spread(name, loop, "cpu_us")),
        *(
            show(results.spread(name, loop, figure))
            for _, figure, show in OPTIONAL_COLUMNS
        ),
        f"{len(errors)} of {len(results.samples(name, loop))}" if errors else "0",
    ]


def _detail_table(run: Run, workload: Workload) -> list[str]:
    head = ["loop", workload.unit, "ratio", f"CPU {workload.cpu_unit}"]
    head += [*(title for title, _, _ in OPTIONAL_COLUMNS), "failed"]
    rows = [_detail_row(run, workload, loop) for loop in run.loops]
    optional = {title for title, _, _ in OPTIONAL_COLUMNS}
    kept = [
        number
        for number, title in enumerate(head)
        if title not in optional or any(row[number] != "-" for row in rows)
    ]
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line[n] for n in kept) + " |" for line in lines]


def details(run: Run) -> str:
    parts = []
    for workload in run.workloads:
        parts += [f"### {workload.name}", "", f"{workload.text}.", ""]
        parts += [*_detail_table(run, workload), ""]
    return "\n".join(parts)


def failures(run: Run) -> list[str]:
    """Each error once, with how often it came."""
    seen: dict[str, int] = {}
    for sample in run.samples:
        if sample.error is not None:
            text = " ".join(sample.error.split())[:ERROR_LENGTH]
            what = f"{sample.workload} on {sample.loop}: {text}"
            seen[what] = seen.get(what, 0) + 1
    return [f"{what} (x{times})" for what, times in seen.items()]


def losses(run: Run, loop: str) -> list[str]:
    """Rows on which `loop` is behind the baseline in rate."""
    found = []
    for workload in run.workloads:
        ratio = run.results.ratio(workload, loop, run.baseline)
        if ratio and ratio.median < 1:
            cpu = run.results.ratio(workload, loop, run.baseline, "cpu_us")
            tail = f", CPU {cpu.median:.2f}" if cpu else ""
            found.append(f"{workload.name} {ratio.median:.2f}{tail}")
    return found


def conditions(run: Run) -> str:
    machine, options = run.machine, run.options
    gil = "" if machine["gil"] else ", free-threaded"
    libraries = ", ".join(f"{k} {v}" for k, v in machine["libraries"].items())
    loops = ", ".join(f"{name} {version}" for name, version in run.loops.items())
    lines = [
        f"- {machine['date']}, commit {machine['commit']}",
        f"- {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, "
        f"{machine['libc']}; load before: {machine['load_before']}, "
        f"after: {machine.get('load_after', '-')}{_waited(run)}",
        f"- CPython {machine['python']}{gil}; {loops}; {libraries}",
        f"- {options['rounds']} rounds of {options['seconds']} s, {options['pin']}"
        f", garbage collector {options['gc']}, order from seed {options['seed']}",
    ]
    if backends := _backends(run):
        lines.append(f"- backends: {backends}")
    lines += [f"- absent: {name}: {why}" for name, why in run.absent.items()]
    return "\n".join(lines)


def _waited(run: Run) -> str:
    shares = [sample.waited for sample in run.samples if sample.waited is not None]
    if not shares:
        return ""
    median = statistics.median(shares)
    stolen = run.machine.get("stolen", 0)
    return (
        f"; the loops waited for a CPU {median:.0%} of the time (median), "
        f"{stolen:.0%} was stolen from the machine"
    )


def _backends(run: Run) -> str:
    found: dict[str, set[str]] = {}
    for sample in run.samples:
        if sample.backend:
            found.setdefault(sample.loop, set()).add(sample.backend)
    return ", ".join(
        f"{loop} on {'/'.join(sorted(names))}" for loop, names in found.items()
    )


def markdown(run: Run, chart: str | None = None) -> str:
    parts: list[str] = ["# Event loops side by side", "", conditions(run), ""]
    parts += [
        f"Ratios to {run.baseline}: the median over rounds of each round's ratio of "
        "rates (or of p99, or of bytes); in brackets that of server CPU per "
        "operation. Above 1 is better everywhere; the best of a row is bold.",
        "",
        summary(run),
        "",
    ]
    if chart:
        parts += [f"![ratios to {run.baseline}]({chart})", ""]
    for loop in run.loops:
        if loop.startswith("rsloop_c") and (lost := losses(run, loop)):
            parts += [f"Behind {run.baseline}, {loop}: " + "; ".join(lost) + ".", ""]
    if failed := failures(run):
        parts += ["## Failures", "", *(f"- {line}" for line in failed), ""]
    parts += ["## Details: median (lowest..highest)", "", details(run)]
    return "\n".join(parts)
