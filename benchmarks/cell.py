# SPDX-License-Identifier: Apache-2.0
"""One measurement: one workload on one loop, in processes of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import tools
from .loops import LOOPS
from .machine import ThreadTimes, thread_times
from .workloads import Workload

START_SECONDS = 20.0
PATIENCE_SECONDS = 30.0
SETTLE_SECONDS = 0.3
ROOT = Path(__file__).resolve().parent.parent


class CellError(Exception):
    """The cell has no number; the message says why."""


@dataclass(frozen=True)
class Conditions:
    """What is the same for every cell of a run."""

    seconds: float = 1.0
    warmup: float = 0.2
    scale: float = 1.0  # of the operations of a pass
    server_cpus: str | None = None  # as taskset has them: "0", "0,1"
    client_cpus: str | None = None
    realtime: bool = False  # scheduling of server and client.c, for root
    rate: float = 0.0  # of open-loop rows, messages a second
    gc: bool = True
    client: Path = Path("client")


def with_rate(conditions: Conditions, rate: float) -> Conditions:
    return replace(conditions, rate=rate)


@dataclass
class Sample:
    """A cell's outcome; `error` is set, or else `value` and the rest."""

    workload: str
    loop: str
    round: int
    value: float | None = None
    cpu_us: float | None = None
    loop_cpu_us: float | None = None  # of it, the loop's thread alone
    p50_us: float | None = None
    p99_us: float | None = None
    client_busy: float | None = None  # its CPU time over the window's
    waited: float | None = None  # for a CPU, the loop's process, likewise
    client_waited: float | None = None
    client_late_us: float | None = None  # p99 of how late an open loop's requests left
    loop_thread: float | None = None  # CPU of the server's main thread over time
    other_threads: float | None = None  # and of all others
    beside: float | None = None  # TLS handshakes a second, of another client
    backend: str | None = None
    error: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


def _job(workload: Workload, loop: str, conditions: Conditions) -> dict[str, Any]:
    return {
        "do": "body" if workload.kind == "inprocess" else "serve",
        "loop": loop,
        "target": workload.target,
        "params": dict(workload.params),
        "seconds": conditions.seconds,
        "scale": conditions.scale,
        "gc": conditions.gc,
    }


def _command(job: dict[str, Any], cpus: str | None, realtime: bool) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.child", json.dumps(job)]
    return tools.on_cpus(command, cpus, realtime)


def _last_words(stderr: str, returncode: int) -> str:
    lines = [line for line in stderr.strip().splitlines() if line.strip()]
    if returncode < 0:
        name = signal.Signals(-returncode).name
        return f"killed by {name}" + (f": {lines[-1]}" if lines else "")
    return lines[-1][-300:] if lines else f"exit status {returncode}"


def _kill(process: subprocess.Popen[str]) -> None:
    """With all that it has spawned: it leads a session of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def _child(
    job: dict[str, Any],
    cpus: str | None = None,
    realtime: bool = False,
    under: Sequence[str] = (),
) -> Iterator[Child]:
    environment = dict(os.environ, **LOOPS[job["loop"]].env)
    with tempfile.TemporaryFile("w+") as stderr:
        process = subprocess.Popen(
            [*under, *_command(job, cpus, realtime)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )
        try:
            yield Child(process, stderr)
        finally:
            _kill(process)
            assert process.stdout is not None
            process.stdout.close()


class Child:
    def __init__(self, process: subprocess.Popen[str], stderr: Any) -> None:
        self.process = process
        self.pid = process.pid
        self._stderr = stderr

    def answer(self, seconds: float) -> dict[str, Any]:
        """Its next line; CellError if it ends before or says nothing."""
        stdout = self.process.stdout
        assert stdout is not None
        if not select.select([stdout], [], [], seconds)[0]:
            raise CellError(f"no answer within {seconds:.0f} s")
        line = stdout.readline()
        if not line:
            self.process.wait()
            raise CellError(self.last_words())
        result = json.loads(line)
        assert isinstance(result, dict)
        return result

    def wait(self, seconds: float) -> None:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise CellError(f"no end within {seconds:.0f} s") from None

    def last_words(self) -> str:
        self._stderr.seek(0)
        return _last_words(self._stderr.read(), self.process.returncode)

    def check_alive(self) -> None:
        if self.process.poll() is not None:
            raise CellError(self.last_words())


def probe(loop: str) -> dict[str, Any]:
    """{"version", "backend"}, or CellError saying why the loop is absent."""
    with _child({"do": "probe", "loop": loop}) as child:
        return child.answer(START_SECONDS)


def measure(
    workload: Workload, loop: str, number: int, conditions: Conditions
) -> Sample:
    """Never raises for what the loop under test does."""
    sample = Sample(workload.name, loop, number)
    run = _run_body if workload.kind == "inprocess" else _run_server
    try:
        run(workload, sample, conditions)
    except (CellError, tools.ToolError, OSError, ValueError) as exc:
        sample.error = f"{exc}" or type(exc).__name__
        sample.value = None
    return sample


def run_body(
    workload: Workload, loop: str, conditions: Conditions, under: Sequence[str] = ()
) -> dict[str, Any]:
    """What bodies.measure() says; the process runs `under` a command, if there is
    one, which is left to end by itself."""
    job = _job(workload, loop, conditions)
    with _child(job, under=under) as child:
        result = child.answer(conditions.seconds + PATIENCE_SECONDS)
        if under:
            child.wait(PATIENCE_SECONDS)
    return result


def _run_body(workload: Workload, sample: Sample, conditions: Conditions) -> None:
    result = run_body(workload, sample.loop, conditions)
    sample.backend = result.pop("backend")
    sample.value = result["operations"] / result["seconds"]
    sample.cpu_us = result["cpu"] * 1e6 / result["operations"]
    sample.waited = result.get("waited")
    sample.details = result


@contextlib.contextmanager
def served(workload: Workload, loop: str, conditions: Conditions) -> Iterator[Target]:
    """The row's server, listening, in a process of its own until the end."""
    job = _job(workload, loop, conditions)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        if workload.params.get("unix"):
            job["params"]["path"] = str(folder / "socket")
        if workload.params.get("tls"):
            key = str(workload.params.get("key", "ecdsa"))
            files = tools.certificate(folder, key)
            job["params"]["tls"] = [str(path) for path in files]
        with _child(job, conditions.server_cpus, conditions.realtime) as child:
            yield Target(child, child.answer(START_SECONDS), folder)


def load(
    workload: Workload, sample: Sample, conditions: Conditions, target: Target
) -> None:
    """Load a served() row and note what came of it."""
    run = _load_beside if workload.params.get("handshakes") else _load_client
    run = {"http": _load_http, "idle": _load_idle}.get(workload.kind, run)
    try:
        run(workload, sample, conditions, target)
    except tools.ToolError:
        # Whoever died first knows best.
        time.sleep(0.05)
        target.child.check_alive()
        raise
    target.child.check_alive()


def _run_server(workload: Workload, sample: Sample, conditions: Conditions) -> None:
    with served(workload, sample.loop, conditions) as target:
        sample.backend = target.started["backend"]
        begun, before = time.monotonic(), thread_times(target.child.pid)
        load(workload, sample, conditions, target)
        used = thread_times(target.child.pid).since(before)
        _note_threads(sample, used, time.monotonic() - begun)


def _note_threads(sample: Sample, used: ThreadTimes, elapsed: float) -> None:
    sample.waited = used.waited / elapsed
    sample.loop_thread = used.main / elapsed
    sample.other_threads = used.others / elapsed


@dataclass(frozen=True)
class Target:
    child: Child
    started: dict[str, Any]
    folder: Path

    @property
    def ports(self) -> list[int]:
        address = self.started["address"]
        return address if isinstance(address, list) else [int(address)]

    @property
    def port(self) -> int:
        return self.ports[0]


def _client_options(
    workload: Workload, conditions: Conditions, target: Target
) -> dict[str, Any]:
    params = workload.params
    mode = "echo" if workload.kind == "open" else workload.kind
    options: dict[str, Any] = {
        "mode": mode,
        "conns": params["conns"],
        "size": params.get("size", 1),
        "seconds": conditions.seconds,
        "warmup": conditions.warmup,
        "cpu_pid": target.child.pid,
        "messages": params.get("messages", 0),
    }
    if params.get("unix"):
        options["unix"] = target.started["address"]
    else:
        options["port"] = target.port
    if params.get("udp"):
        options["udp"] = 1
    if params.get("websocket"):
        options |= tools.websocket_files(target.folder, int(params["size"]))
    if "rate" in params:
        return options | {"rate": params["rate"], "sleep": 1}
    if params.get("http"):
        options |= tools.http_files(target.folder, target.port, tls=True)
    if params.get("tls"):
        options |= {"tls": 1, "resume": params.get("resume", False)}
    if workload.kind == "open":
        options["rate"] = conditions.rate
    return options


def _load_client(
    workload: Workload, sample: Sample, conditions: Conditions, target: Target
) -> None:
    result = tools.run_client(
        conditions.client,
        _client_options(workload, conditions, target),
        conditions.seconds + conditions.warmup + PATIENCE_SECONDS,
        conditions.client_cpus,
        conditions.realtime,
    )
    sample.details = result
    done = result["messages"]
    if workload.unit == "MiB/s":
        done = result["bytes"] / 2**20
    if not done:
        raise CellError("not one message was answered")
    sample.value = done / result["seconds"]
    if workload.params.get("resume") and result["resumed"] < done / 2:
        raise CellError("NotImplementedError: it resumes no sessions")
    sample.cpu_us = result["server_cpu"] * 1e6 / done
    sample.loop_cpu_us = result["server_loop_cpu"] * 1e6 / done
    sample.p50_us = result.get("p50_us")
    sample.p99_us = result.get("p99_us")
    sample.client_busy = result["client_cpu"] / result["seconds"]
    sample.client_waited = result["client_waited"] / result["seconds"]
    sample.client_late_us = result.get("late_p99_us")
    if workload.kind == "open":
        # The median of its slices': a stall of the machine is in one of them.
        sample.value = result.get("slice_p99_us", sample.p99_us)


def _load_beside(
    workload: Workload, sample: Sample, conditions: Conditions, target: Target
) -> None:
    """As _load_client(), while another client shakes hands on the other port."""
    options = {
        "mode": "connect",
        "conns": 64,
        "tls": 1,
        "rate": workload.params["handshakes"],
        "sleep": 1,
        "port": target.ports[1],
        "seconds": conditions.warmup + conditions.seconds,
        "warmup": 0,
    }
    command = [*tools.AT_LEISURE, *tools.client_command(conditions.client, options)]
    with subprocess.Popen(
        tools.on_cpus(command, conditions.client_cpus),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as client:
        try:
            _load_client(workload, sample, conditions, target)
            stdout, stderr = client.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise CellError("no end of the handshakes") from None
        finally:
            client.kill()
    if client.returncode != 0:
        raise CellError(stderr.strip()[-300:])
    result = json.loads(stdout)
    sample.beside = result["messages"] / result["seconds"]
    sample.details["beside"] = result


def cpu_seconds(pid: int) -> float:
    """A process's CPU clock, all threads, to the nanosecond."""
    return time.clock_gettime((~pid << 3) | 2)


def _load_http(
    workload: Workload, sample: Sample, conditions: Conditions, target: Target
) -> None:
    url = f"http://127.0.0.1:{target.port}/"
    for _ in range(200):
        with urllib.request.urlopen(url, timeout=5) as response:
            response.read()
    before = cpu_seconds(target.child.pid)
    result = tools.run_wrk(
        target.port,
        int(workload.params["conns"]),
        conditions.seconds,
        conditions.client_cpus,
    )
    target.child.check_alive()
    cpu = cpu_seconds(target.child.pid) - before
    sample.value = result["messages"] / result["seconds"]
    sample.cpu_us = cpu * 1e6 / max(1, result["messages"])
    sample.p50_us = result["p50_us"]
    sample.p99_us = result["p99_us"]
    sample.details = result


def rss_bytes(pid: int) -> int:
    """Counted page by page: /proc/PID/statm is late by what each CPU keeps."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        found = re.search(r"^Rss:\s+(\d+) kB", file.read(), re.M)
    assert found is not None
    return int(found[1]) * 1024


def _wait_for_fds(pid: int, count: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while len(os.listdir(f"/proc/{pid}/fd")) < count:
        if time.monotonic() > deadline:
            raise CellError(f"not {count} fds open after {START_SECONDS:.0f} s")
        time.sleep(0.05)


@contextlib.contextmanager
def _idle_connections(
    conns: int, tls: bool, conditions: Conditions, target: Target
) -> Iterator[None]:
    """So many connections to the server, all of them accepted."""
    fds = len(os.listdir(f"/proc/{target.child.pid}/fd"))
    options = {"mode": "idle", "conns": conns, "port": target.port, "tls": tls}
    patience = PATIENCE_SECONDS + conns / 1000
    with subprocess.Popen(
        tools.client_command(conditions.client, options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdout is not None
        try:
            if not select.select([client.stdout], [], [], patience)[0]:
                raise CellError(f"no {conns} connections in {patience:.0f} s")
            if not client.stdout.readline():
                _, stderr = client.communicate()
                raise CellError(stderr.strip()[-300:])
            _wait_for_fds(target.child.pid, fds + conns)
            time.sleep(SETTLE_SECONDS)
            yield
        finally:
            client.kill()


def _load_idle(
    workload: Workload, sample: Sample, conditions: Conditions, target: Target
) -> None:
    """The growth of RSS over so many connections, for each. What start-up has
    left free in the heap is used up before by others."""
    pid, conns = target.child.pid, int(workload.params["conns"])
    ballast, tls = int(workload.params["ballast"]), bool(workload.params.get("tls"))
    time.sleep(SETTLE_SECONDS)
    with _idle_connections(ballast, tls, conditions, target):
        before = rss_bytes(pid)
        with _idle_connections(conns, tls, conditions, target):
            sample.value = (rss_bytes(pid) - before) / conns
    sample.details = {"connections": conns, "rss_before": before}
