# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks`: run rows on loops, write table, JSON and chart."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import cell, chart, loops, machine, report, schedule, tools, workloads
from .loops import BASELINE, LOOPS
from .report import Run
from .workloads import SETS, WORKLOADS, Workload

QUICK_SECONDS = 0.25
QUICK_SCALE = 0.2
OPEN_LOOP_SHARE = 0.5
CELL_SECONDS = 0.4  # to start and end the processes of one


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Event loops side by side, every cell in processes of its own.",
    )
    add = parser.add_argument
    add("--loops", default="default", help="names or sets; default: all that import")
    add("--workloads", help="names, prefixes with a star, or sets; default: default")
    add("--rounds", type=int, help="default: 5")
    add("--seconds", type=float, help="of measuring in each cell; default: 1")
    add("--out", type=Path, help="folder for results.{md,json,svg}")
    add("--baseline", default=BASELINE, help="ratios are to this loop")
    add(
        "--pin",
        choices=("split", "share", "none"),
        default="split",
        help="split: servers on one core, the client on another; share: servers "
        "on both, the client on the second",
    )
    add(
        "--realtime",
        action="store_true",
        help="servers and client preempt whatever else runs (SCHED_FIFO; root)",
    )
    add("--rate", type=float, default=0, help="open-loop: messages a second")
    add("--gc", choices=("on", "off"), default="on", help="the garbage collector")
    add("--seed", type=int, default=1, help="of the order of the cells")
    add("--quick", action="store_true", help="one short round of a few rows")
    add("--list", action="store_true", help="list rows and loops, and end")
    add("--from", dest="source", type=Path, help="report a results.json again")
    args = parser.parse_args(argv)
    args.rounds = args.rounds or (1 if args.quick else 5)
    args.seconds = args.seconds or (QUICK_SECONDS if args.quick else 1.0)
    args.workloads = args.workloads or ("quick" if args.quick else "default")
    if args.rounds < 1 or args.seconds <= 0:
        parser.error("--rounds and --seconds are positive")
    try:
        args.rows = workloads.select(args.workloads)
        args.names = loops.select(args.loops)
    except ValueError as exc:
        parser.error(f"{exc}; see --list")
    return args


def _print_list() -> None:
    print("loops:", ", ".join(LOOPS))
    for name, names in loops.SETS.items():
        print(f"set {name}: {', '.join(names)}")
    for name, rows in SETS.items():
        print(f"set {name}: {len(rows)} rows")
    for row in WORKLOADS.values():
        print(f"  {row.name:22} {row.text} [{row.unit}]")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def probe_loops(names: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Versions of those that run here, reasons of those that do not."""
    present: dict[str, str] = {}
    absent: dict[str, str] = {}
    for name in names:
        try:
            present[name] = cell.probe(name)["version"]
        except cell.CellError as exc:
            absent[name] = str(exc)
            _say(f"absent: {name}: {exc}")
    return present, absent


def pinned(pin: str) -> tuple[str | None, str | None]:
    cpus = sorted(os.sched_getaffinity(0))
    if pin == "none" or len(cpus) < 2:
        return None, None
    first, second = str(cpus[0]), str(cpus[1])
    return f"{first},{second}" if pin == "share" else first, second


def _conditions(args: argparse.Namespace) -> cell.Conditions:
    try:
        client = tools.build_client()
    except tools.ToolError as exc:
        _say(f"rows with a client will fail: {exc}")
        client = Path("no-client")
    server_cpus, client_cpus = pinned(args.pin)
    return cell.Conditions(
        seconds=args.seconds,
        warmup=min(0.2, args.seconds / 2),
        scale=QUICK_SCALE if args.quick else 1.0,
        server_cpus=server_cpus,
        client_cpus=client_cpus,
        realtime=args.realtime,
        rate=args.rate,
        gc=args.gc == "on",
        client=client,
    )


def _calibrate(
    names: Sequence[str], row: Workload, conditions: cell.Conditions
) -> float:
    """Half of what the best loop does in a closed loop."""
    name = f"echo-{row.target}-1k-{row.params['conns']}"
    found = [
        cell.measure(WORKLOADS[name], loop, 0, conditions).value or 0.0
        for loop in names
    ]
    return OPEN_LOOP_SHARE * max(found)


def _progress(sample: cell.Sample, row: Workload, done: int, total: int) -> None:
    if sample.error is None and sample.value is not None:
        text = f"{report.short(sample.value)} {row.unit}"
    else:
        text = f"FAILED: {sample.error}"
    _say(f"[{done}/{total}] round {sample.round + 1} {row.name} {sample.loop}: {text}")


def perform(args: argparse.Namespace) -> Run:
    present, absent = probe_loops(args.names)
    if not present:
        raise SystemExit("none of the loops runs here")
    baseline = args.baseline
    if baseline not in present:
        baseline = "asyncio" if "asyncio" in present else next(iter(present))
        _say(f"no {args.baseline} here: ratios are to {baseline}")
    conditions = _conditions(args)
    pin = "unpinned"
    if conditions.server_cpus is not None:
        pin = f"server on CPU {conditions.server_cpus}"
        pin += f", client on {conditions.client_cpus}"
    if conditions.realtime:
        pin += ", both in real time"
    options = {
        "rounds": args.rounds,
        "seconds": args.seconds,
        "scale": conditions.scale,
        "pin": pin,
        "seed": args.seed,
        "gc": args.gc,
    }
    run = Run(machine.describe(), options, baseline, present, absent, args.rows)
    if not conditions.rate:
        for row in args.rows:
            if row.kind == "open" and "rate" not in row.params:
                rate = _calibrate(list(present), row, conditions)
                conditions = cell.with_rate(conditions, rate)
    options["rate"] = round(conditions.rate)
    _say_how_long(run, conditions)
    ticks = machine.cpu_ticks()
    collect(run, conditions, args.out)
    run.machine["stolen"] = round(machine.stolen_since(ticks), 3)
    run.machine["load_after"] = round(os.getloadavg()[0], 2)
    return run


def _say_how_long(run: Run, conditions: cell.Conditions) -> None:
    cells = schedule.count(run.workloads, list(run.loops), run.options["rounds"])
    seconds = conditions.seconds + conditions.warmup + CELL_SECONDS
    _say(f"{cells} cells, some {cells * seconds / 60:.0f} minutes")


def collect(run: Run, conditions: cell.Conditions, out: Path | None) -> None:
    """Ctrl-C ends the measuring, not the report of what is measured."""
    names, rounds = list(run.loops), run.options["rounds"]
    total = schedule.count(run.workloads, names, rounds)
    order = schedule.cells(run.workloads, names, rounds, run.options["seed"])
    try:
        for done, (number, row, loop) in enumerate(order, 1):
            sample = cell.measure(row, loop, number, conditions)
            run.samples.append(sample)
            _progress(sample, row, done, total)
            if out and done % (total // rounds) == 0:  # a round is complete
                report.save(run, out / "results.json")
    except KeyboardInterrupt:
        _say("interrupted: reporting what is there")


def write(run: Run, out: Path | None) -> None:
    if out is not None:
        (out / "results.md").write_text(report.markdown(run, "results.svg") + "\n")
        (out / "results.svg").write_text(chart.render(run))
        report.save(run, out / "results.json")
        _say(f"written: {out}/results.md, results.svg, results.json")
    print(report.markdown(run))


def narrowed(run: Run, args: argparse.Namespace) -> Run:
    """An earlier run, with the rows and loops that are asked for alone."""
    if args.loops != "default":
        keep = {*args.names, run.baseline}
        run.loops = {k: v for k, v in run.loops.items() if k in keep}
    if args.workloads != "default":
        names = {row.name for row in args.rows}
        run.workloads = [row for row in run.workloads if row.name in names]
    return run


def main(argv: Sequence[str] | None = None) -> int:
    args = _arguments(argv)
    if args.list:
        _print_list()
        return 0
    if args.out is not None:
        try:
            args.out.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise SystemExit(f"--out: {exc}") from None
    if args.source is not None:
        run = narrowed(report.load(args.source), args)
    else:
        run = perform(args)
    write(run, args.out)
    return 0


if __name__ == "__main__":
    try:
        status = main()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)
