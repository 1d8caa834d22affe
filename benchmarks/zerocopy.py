# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.zerocopy`: whether sending without a copy pays.

A C program (zerocopy.c) sends messages of some sizes by send(), MSG_ZEROCOPY and
io_uring's SEND and SEND_ZC, over loopback and, for root, over a pair of veth
interfaces into a network namespace that is made for it. The ways take turns; each
figure is the median of the rounds. Sender and receiver have a core each. Needs a C
compiler and liburing."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import cell, tools

HERE = Path(__file__).resolve().parent
DEPS = HERE.parent / ".deps" / "usr"
WAYS = ("copy", "msg", "ring", "ring-zc")
SIZES = (4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20)
SETTLE_SECONDS = 20.0


def build(folder: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        sys.exit("no C compiler (cc)")
    program, triplets = folder / "zerocopy", "*-linux-gnu"
    includes = [DEPS / "include", *(DEPS / "include").glob(triplets)]
    subprocess.run(
        [
            *(compiler, "-std=gnu11", "-O2", "-o", str(program)),
            *(f"-isystem{path}" for path in includes if path.is_dir()),
            str(HERE / "zerocopy.c"),
            *(f"-L{path}" for path in (DEPS / "lib").glob(triplets)),
            "-l:liburing.a",
        ],
        check=True,
    )
    return program


def ip(*words: str) -> None:
    subprocess.run(("ip", *words), check=True)


@contextlib.contextmanager
def namespace() -> Iterator[tuple[str, list[str]]]:
    """An address behind a veth pair, and what runs a command there."""
    name = f"zerocopy{os.getpid()}"
    near, far = f"zc{os.getpid()}a", f"zc{os.getpid()}b"
    ip("netns", "add", name)
    try:
        ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        ip("addr", "add", "198.18.77.1/30", "dev", near)
        ip("link", "set", near, "up")
        ip("-n", name, "addr", "add", "198.18.77.2/30", "dev", far)
        ip("-n", name, "link", "set", far, "up")
        yield "198.18.77.2", ["ip", "netns", "exec", name]
    finally:
        ip("netns", "del", name)  # the interfaces go with it


@contextlib.contextmanager
def receiver(command: list[str]) -> Iterator[tuple[str, int]]:
    """(port, pid)"""
    command = tools.on_cpus(command, "1")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process.pid
        finally:
            process.kill()


def measure(send: list[str], way: str, size: int, seconds: float) -> dict[str, Any]:
    command = [*send, way, str(size), str(seconds)]
    text = tools.run_tool(command, seconds + SETTLE_SECONDS, "0")
    found: dict[str, Any] = json.loads(text)
    return found


def rounds(
    program: Path, address: str, prefix: list[str], options: argparse.Namespace
) -> None:
    samples: dict[tuple[str, int], list[tuple[float, ...]]] = {}
    with receiver([*prefix, str(program), "receive", address]) as (port, pid):
        send = [str(program), "send", address, port]
        for _ in range(options.rounds):
            for size in options.sizes:
                for way in WAYS:
                    before = cell.cpu_seconds(pid)
                    found = measure(send, way, size, options.seconds)
                    received = cell.cpu_seconds(pid) - before
                    mib = found["bytes"] / 2**20
                    samples.setdefault((way, size), []).append(
                        (
                            mib / found["seconds"],
                            found["cpu"] * 1e6 / mib,
                            received * 1e6 / mib / 1.2,  # with the warm-up
                            found["calls"] / found["sends"],
                            100 * found["copied"] / max(1, found["released"]),
                        )
                    )
    for size in options.sizes:
        for way in WAYS:
            rate, cpu, received, calls, copied = (
                statistics.median(column)
                for column in zip(*samples[way, size], strict=True)
            )
            told = f"{copied:.0f} %" if way in ("msg", "ring-zc") else ""
            print(
                f"| {address} | {size >> 10} KiB | {way} | {rate:,.0f} MiB/s "
                f"| {cpu:.0f} µs | {received:.0f} µs | {calls:.2f} | {told} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    options = parser.parse_args()
    print(
        "| over | message | way | rate | sender's CPU/MiB | receiver's "
        "| system calls | copied all the same |\n|---|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory(prefix="zerocopy-") as folder:
        program = build(Path(folder))
        rounds(program, "127.0.0.1", [], options)
        try:
            with namespace() as (address, prefix):
                rounds(program, address, prefix, options)
        except (OSError, subprocess.CalledProcessError) as exc:
            print(f"no veth: {exc}", file=sys.stderr)


if __name__ == "__main__":
    main()
