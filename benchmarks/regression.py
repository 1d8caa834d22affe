# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.regression A B`: two commits by callgrind's counts.

Builds both with the Python that runs this, each in a folder of its own, and
counts the instructions of the hot paths (instructions.py) with each; status 1
when a path costs more at B. "." stands for the working tree. The measuring code
is this checkout's for both, so that only what is measured differs. Needs
scikit-build-core, ninja and valgrind; nothing is installed."""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from .cell import ROOT
from .instructions import DEFAULT_PATHS, GROWTH_LIMIT, grown

LOOP_NAMES = "rsloop_c:epoll,rsloop_c:io_uring"

Costs = dict[str, dict[str, float]]


class BuildError(Exception):
    """A commit is unknown or does not build."""


def _run(command: Sequence[str | Path], what: str) -> bytes:
    done = subprocess.run(command, cwd=ROOT, capture_output=True)
    if done.returncode != 0:
        text = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise BuildError(f"{what}: {text[-400:]}")
    return done.stdout


def checkout(commit: str, folder: Path) -> Path:
    """The sources of `commit`, with this checkout's native dependencies."""
    if commit == ".":
        return ROOT
    archive = _run(["git", "archive", "--format=zip", commit], commit)
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        files.extractall(folder)
    if (ROOT / ".deps").exists():
        (folder / ".deps").symlink_to((ROOT / ".deps").resolve())
    return folder


def build(commit: str, folder: Path) -> Path:
    """A folder for PYTHONPATH that has the package as of `commit`."""
    source, target = folder / "source", folder / "target"
    source.mkdir()
    options = ["--no-build-isolation", "--no-deps", "--no-warn-script-location"]
    options.append(f"--config-settings=build-dir={folder / 'build'}")
    pip = [sys.executable, "-m", "pip", "install", "-q", *options]
    _run([*pip, "--target", target, checkout(commit, source)], commit)
    return target


def count(package: Path, out: Path, paths: str, loops: str) -> Costs:
    """Costs by path and loop; what failed is missing, and was printed."""
    command = [sys.executable, "-m", "benchmarks.instructions"]
    command += ["--loops", loops, "--paths", paths, "--json", str(out)]
    environment = dict(os.environ, PYTHONPATH=str(package))
    subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    costs: Costs = json.loads(out.read_text())
    return costs


def table(before: Costs, after: Costs) -> str:
    lines = ["| instructions | before | after | after/before |", "|---|---|---|---|"]
    for name, costs in after.items():
        for loop, cost in costs.items():
            old = before.get(name, {}).get(loop)
            was, ratio = (f"{old:,.0f}", f"{cost / old:.3f}") if old else ("", "")
            lines.append(f"| {name} on {loop} | {was} | {cost:,.0f} | {ratio} |")
    return "\n".join(lines)


def missing(wanted: Sequence[str], loops: Sequence[str], costs: Costs) -> list[str]:
    return [
        f"{name} on {loop}"
        for name in wanted
        for loop in loops
        if loop not in costs.get(name, {})
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.regression")
    add = parser.add_argument
    add("before", help="a commit")
    add("after", nargs="?", default=".", help='a commit; default ".", the tree')
    add("--loops", default=LOOP_NAMES)
    add("--paths", default=DEFAULT_PATHS)
    add("--limit", type=float, default=GROWTH_LIMIT, help="growth allowed")
    args = parser.parse_args(argv)
    counted: list[Costs] = []
    with tempfile.TemporaryDirectory(prefix="regression-") as name:
        for commit in (args.before, args.after):
            folder = Path(name) / str(len(counted))
            folder.mkdir()
            try:
                package = build(commit, folder)
            except BuildError as exc:
                print(f"{exc}", file=sys.stderr)
                return 2
            out = folder / "costs.json"
            counted.append(count(package, out, args.paths, args.loops))
    before, after = counted
    print(table(before, after))
    worse = grown(before, after, args.limit)
    for line in worse:
        print(f"grown: {line}")
    failed = missing(args.paths.split(","), args.loops.split(","), after)
    for line in failed:
        print(f"not counted: {line}")
    return 1 if worse or failed else 0


if __name__ == "__main__":
    sys.exit(main())
