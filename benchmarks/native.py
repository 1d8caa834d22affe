# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.native`: how many native completions a second.

Awaitables that do nothing, one after the other and a hundred at once: those of
rsloop_c.h, which a native thread or the pool completes, beside run_in_executor()
of several loops. (rsloop's future_into_py() is Rust's: its wheel has nothing to
call.) Each figure is of a process of its own, the median of the rounds; CPU is of
all its threads. Needs a C compiler."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from . import loops

HERE = Path(__file__).resolve().parent
MODULE = "native_completions"
WIDTHS = (1, 100)
ROWS = (
    ("asyncio", "run_in_executor"),
    ("uvloop", "run_in_executor"),
    ("rsloop", "run_in_executor"),
    ("rsloop_c:auto", "run_in_executor"),
    ("rsloop_c:auto", f"{MODULE}.by_pool"),
    ("rsloop_c:auto", f"{MODULE}.by_thread"),
)


def build(folder: Path) -> None:
    """Compile the module for this Python."""
    import rsloop_c

    compiler = shutil.which("cc")
    if compiler is None:
        sys.exit("no C compiler (cc)")
    subprocess.run(
        [
            *(compiler, "-std=c11", "-O2", "-shared", "-fPIC", "-pthread"),
            f"-isystem{sysconfig.get_path('include')}",
            f"-isystem{sysconfig.get_config_var('INCLUDEPY')}",
            f"-I{rsloop_c.get_include()}",
            *("-o", str(folder / f"{MODULE}.so"), str(HERE / f"{MODULE}.c")),
        ],
        check=True,
    )


def nothing() -> int:
    return 42


def source(name: str) -> Callable[[], Awaitable[int]]:
    """What makes an awaitable; inside the running loop."""
    if name == "run_in_executor":
        loop = asyncio.get_running_loop()
        return lambda: loop.run_in_executor(None, nothing)
    module, _, function = name.partition(".")
    found = getattr(importlib.import_module(module), function)
    return found  # type: ignore[no-any-return]


async def measure(name: str, width: int, seconds: float) -> dict[str, float]:
    make = source(name)

    async def some(until: float) -> int:
        count = 0
        while time.perf_counter() < until:
            for _ in range(20):
                if await make() != 42:
                    raise ValueError("a wrong answer")
            count += 20
        return count

    await some(time.perf_counter() + seconds / 10)
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    counts = await asyncio.gather(*(some(began + seconds) for _ in range(width)))
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"rate": sum(counts) / took, "cpu_us": cpu / sum(counts) * 1e6}


def child(loop_name: str, name: str, width: int, seconds: float) -> None:
    loop = loops.make_loop(loops.LOOPS[loop_name])
    asyncio.set_event_loop(loop)
    result = loop.run_until_complete(measure(name, width, seconds))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    print(json.dumps(result))


def cell(
    folder: Path, row: tuple[str, str], width: int, seconds: float
) -> dict[str, float] | None:
    """One figure, or None where something is not installed."""
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "benchmarks.native", "--child", *row]
    done = subprocess.run(
        [*command, str(width), str(seconds)],
        cwd=HERE.parent,
        env={**os.environ, "PYTHONPATH": path},
        text=True,
        capture_output=True,
    )
    if "ModuleNotFoundError" in done.stderr:
        return None
    if done.returncode != 0:
        sys.exit(f"{row}: {done.stderr}")
    result: dict[str, float] = json.loads(done.stdout)
    return result


def table(folder: Path, rounds: int, seconds: float) -> None:
    found: dict[tuple[tuple[str, str], int], list[dict[str, float] | None]] = {}
    for _ in range(rounds):
        for row in ROWS:
            for width in WIDTHS:
                sample = cell(folder, row, width, seconds)
                found.setdefault((row, width), []).append(sample)
    heads = [f"{width} at once" for width in WIDTHS]
    print("| loop | awaited | " + " | ".join(heads) + " |")
    print("|---|---|" + "---|" * len(WIDTHS))
    for row in ROWS:
        cells = []
        for width in WIDTHS:
            samples = [sample for sample in found[row, width] if sample]
            if not samples:
                cells.append("not installed")
                continue
            rate = statistics.median(sample["rate"] for sample in samples)
            cpu = statistics.median(sample["cpu_us"] for sample in samples)
            cells.append(f"{rate / 1000:.1f}k/s ({cpu:.1f} µs CPU)")
        print(f"| {row[0]} | `{row[1]}` | " + " | ".join(cells) + " |")


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        _, _, loop_name, name, width, seconds = sys.argv
        child(loop_name, name, int(width), float(seconds))
        return
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.native", description="Native completions a second."
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        table(Path(folder), args.rounds, args.seconds)


if __name__ == "__main__":
    main()
