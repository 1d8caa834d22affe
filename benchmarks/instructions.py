# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.instructions`: instructions an operation, by callgrind.

A hot path runs twice under valgrind, with a few operations and with many; the
difference of the two counts over that of the operations is what one costs, free
of start-up, and it repeats to a percent or so on any machine, however busy.
So two loops can be compared, or two commits:

    python -m benchmarks.instructions --json before.json       # one commit
    python -m benchmarks.instructions --against before.json    # the other

The second ends with status 1 if a path has grown by more than --limit;
`python -m benchmarks.regression A B` builds two commits and does both.

    python -m benchmarks.instructions --by-object --paths task_step,gather

says as well whose instructions they are: the interpreter's, _asyncio's, the
loop's own."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import objects, tools
from .cell import ROOT, CellError
from .loops import LOOPS

TIMEOUT_SECONDS = 300
GROWTH_LIMIT = 1.02  # below it is noise


SERVED: dict[str, dict[str, Any]] = {
    "protocol": {},
    "tls": {"tls": 1},
    "udp": {"udp": 1},
    "accept": {"mode": "connect", "conns": 16, "size": 1},
    "tls_accept": {"mode": "connect", "conns": 16, "size": 1, "tls": 1},
    "http": {"conns": 16},
    "websocket": {},
}
WEBSOCKET_BYTES = 1024


@dataclass(frozen=True)
class HotPath:
    name: str
    target: str  # a body, or one of SERVED
    few: int
    many: int
    default: bool = True

    @property
    def served(self) -> bool:
        return self.target in SERVED


PATHS = {
    path.name: path
    for path in (
        HotPath("call_soon", "callbacks", 2_000, 12_000),
        HotPath("chain", "chain", 1_000, 6_000),
        HotPath("call_later", "timers", 2_000, 12_000),
        HotPath("threadsafe", "threadsafe", 2_000, 12_000),
        HotPath("task_step", "tasks", 1_000, 4_000),
        HotPath("future", "futures", 1_000, 4_000),
        HotPath("gather", "gather", 100, 500),
        HotPath("executor", "executor", 200, 1_200, default=False),
        HotPath("streams_message", "tcp_streams", 200, 2_200),
        HotPath("echo_message", "protocol", 200, 2_200),
        HotPath("tls_message", "tls", 200, 2_200, default=False),
        HotPath("udp_message", "udp", 200, 2_200),
        HotPath("connection", "accept", 200, 1_200),
        HotPath("tls_connection", "tls_accept", 50, 250, default=False),
        HotPath("http_request", "http", 200, 2_200, default=False),
        HotPath("websocket_message", "websocket", 200, 2_200, default=False),
    )
}
DEFAULT_PATHS = ",".join(path.name for path in PATHS.values() if path.default)
OBJECTS_SHOWN = 0.005  # of a cost: what has less is summed up


def _valgrind(job: dict[str, Any], out: Path) -> list[str]:
    return [
        "valgrind",
        "--tool=callgrind",
        f"--callgrind-out-file={out}",
        sys.executable,
        "-m",
        "benchmarks.instructions_child",
        json.dumps(job),
    ]


def parse_objects(text: str) -> Counter[str]:
    """Of a callgrind.out file: the instructions by shared object."""
    found = re.search(r"^(?:totals|summary): (\d+)", text, re.M)
    if found is None:
        raise CellError("callgrind left no total")
    costs = objects.self_costs(text)
    if costs.total() != int(found[1]):
        raise CellError("callgrind's parts are not its total")
    return costs


def _serve(
    path: HotPath, process: subprocess.Popen[str], number: int, client: Path
) -> None:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise CellError("the server ended")
    port = json.loads(line)["address"]
    options = {"port": port, "messages": number, "warmup": 0}
    options |= SERVED[path.target]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        if path.target == "http":
            options |= tools.http_files(Path(folder), port)
        elif path.target == "websocket":
            options |= tools.websocket_files(Path(folder), WEBSOCKET_BYTES)
        tools.run_client(client, options, TIMEOUT_SECONDS, None)


def count(path: HotPath, loop: str, number: int, client: Path | None) -> Counter[str]:
    """Instructions of a whole process that does `number` operations, by shared
    object."""
    job: dict[str, Any] = {"loop": loop, "target": path.target, "number": number}
    environment = dict(os.environ, PYTHONHASHSEED="0", **LOOPS[loop].env)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        out = Path(folder) / "callgrind.out"
        if path.target in ("tls", "tls_accept"):
            job["tls"] = [str(file) for file in tools.certificate(Path(folder))]
        with subprocess.Popen(
            _valgrind(job, out),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        ) as process:
            try:
                if path.served:
                    assert client is not None
                    _serve(path, process, number, client)
                _, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                raise CellError(f"no end after {TIMEOUT_SECONDS} s") from None
            finally:
                process.kill()
        if process.returncode != 0:
            raise CellError(stderr.strip().splitlines()[-1][-200:])
        return parse_objects(out.read_text())


def per_operation(path: HotPath, loop: str, client: Path | None) -> dict[str, float]:
    """By shared object."""
    few = count(path, loop, path.few, client)
    many = count(path, loop, path.many, client)
    number = path.many - path.few
    return {name: (many[name] - few[name]) / number for name in many}


def grown(
    before: dict[str, dict[str, float]],
    after: dict[str, dict[str, float]],
    limit: float,
) -> list[str]:
    """Hot paths that cost more than `limit` times what they did."""
    return [
        f"{name} on {loop}: {before[name][loop]:.0f} -> {cost:.0f} "
        f"({cost / before[name][loop]:.3f})"
        for name, costs in after.items()
        for loop, cost in costs.items()
        if before.get(name, {}).get(loop) and cost > before[name][loop] * limit
    ]


def table(costs: dict[str, dict[str, float]], loops: Sequence[str]) -> str:
    lines = [
        "| instructions an operation | " + " | ".join(loops) + " |",
        "|---|" + "---|" * len(loops),
    ]
    for name, row in costs.items():
        cells = [f"{row[loop]:,.0f}" if loop in row else "failed" for loop in loops]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def object_table(
    name: str, costs: dict[str, dict[str, float]], loops: Sequence[str]
) -> str:
    """Whose the instructions of one path are; `costs` by loop, then object."""
    shown = sorted(
        {
            part
            for row in costs.values()
            for part, cost in row.items()
            if abs(cost) > OBJECTS_SHOWN * sum(map(abs, row.values()))
        },
        key=lambda part: -max(row.get(part, 0) for row in costs.values()),
    )
    lines = [
        f"| {name} by object | {' | '.join(loops)} |",
        "|---" * len(loops) + "|---|",
    ]
    for part in [*shown, "others"]:
        cells = []
        for loop in loops:
            row, total = costs.get(loop, {}), sum(costs.get(loop, {}).values())
            left = sum(cost for one, cost in row.items() if one not in shown)
            cost = left if part == "others" else row.get(part, 0)
            cells.append(f"{cost:,.0f} ({cost / total:.0%})" if total else "failed")
        lines.append(f"| {part} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions")
    add = parser.add_argument
    add("--loops", default="rsloop_c:epoll,uvloop")
    add("--paths", default=DEFAULT_PATHS, help=", ".join(PATHS))
    add("--by-object", action="store_true", help="whose the instructions are")
    add("--json", type=Path, help="write the counts there")
    add("--against", type=Path, help="counts that --json wrote before")
    add("--limit", type=float, default=GROWTH_LIMIT, help="growth allowed")
    args = parser.parse_args(argv)
    args.loops, args.paths = args.loops.split(","), args.paths.split(",")
    if unknown := {*args.loops} - {*LOOPS} | {*args.paths} - {*PATHS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = _arguments(argv)
    served = any(PATHS[name].served for name in args.paths)
    client = tools.build_client() if served else None
    costs: dict[str, dict[str, float]] = {}
    parts: dict[str, dict[str, dict[str, float]]] = {}
    failed = False
    for name in args.paths:
        row = costs.setdefault(name, {})
        for loop in args.loops:
            try:
                part = per_operation(PATHS[name], loop, client)
                parts.setdefault(name, {})[loop] = part
                row[loop] = sum(part.values())
            except (CellError, tools.ToolError, OSError) as exc:
                print(f"{name} on {loop}: {exc}", file=sys.stderr)
                failed = True
    print(table(costs, args.loops))
    if args.by_object:
        for name, by_loop in parts.items():
            print("\n" + object_table(name, by_loop, args.loops))
    if args.json:
        args.json.write_text(json.dumps(costs, indent=1) + "\n")
    if args.against:
        worse = grown(json.loads(args.against.read_text()), costs, args.limit)
        for line in worse:
            print(f"grown: {line}")
        failed = failed or bool(worse)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
