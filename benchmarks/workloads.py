# SPDX-License-Identifier: Apache-2.0
"""The rows: what is run, with which parameters, and what its number means."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field

Parameter = int | float | str | bool


@dataclass(frozen=True)
class Workload:
    name: str
    text: str
    # How it is run: "inprocess" (bodies.py), or a server (servers.py) under a
    # load: "echo", "connect", "send", "receive", "http", "idle", "open" (by
    # client.c in that mode; "http" is wrk's, "open" is "echo" at a rate).
    kind: str
    unit: str = "ops/s"
    target: str = ""  # name of the body or of the server
    params: Mapping[str, Parameter] = field(default_factory=dict)
    lower_is_better: bool = False

    @property
    def cpu_unit(self) -> str:
        return {"MiB/s": "µs/MiB"}.get(self.unit, "µs/op")


def _inprocess() -> list[Workload]:
    rows = [
        ("callbacks", "call_soon, 200,000 at once", 200_000),
        ("chain", "call_soon, each schedules the next", 100_000),
        ("tasks", "tasks of one sleep(0), 50,000 in batches of 5,000", 50_000),
        ("timers", "call_later, 100,000, half of them cancelled", 100_000),
        ("threadsafe", "call_soon_threadsafe, 4 producers", 100_000),
        ("futures", "a future resolved by call_soon, awaited", 50_000),
        ("gather", "gather of 10 futures resolved by call_soon", 5_000),
        ("executor", "run_in_executor round trips", 5_000),
        ("tcp_streams", "start_server and open_connection, 1 KiB", 5_000),
        ("subprocess", "create_subprocess_exec and wait", 50),
    ]
    return [
        Workload(name, text, "inprocess", target=name, params={"operations": number})
        for name, text, number in rows
    ]


def _echo(server: str, kib: int, conns: int) -> Workload:
    return Workload(
        f"echo-{server}-{kib}k-{conns}",
        f"TCP echo by {server}, {kib} KiB, {conns} connections",
        "echo",
        "msg/s",
        server,
        {"size": kib * 1024, "conns": conns},
    )


def _echoes() -> list[Workload]:
    return [
        _echo(server, kib, conns)
        for server in ("protocol", "buffered", "streams", "sock")
        for kib in (1, 10, 100)
        for conns in (3, 64)
    ]


def _servers() -> list[Workload]:
    return [
        Workload(
            "http",
            "HTTP: uvicorn with httptools, wrk, 64 keep-alive connections",
            "http",
            "req/s",
            "http",
            {"conns": 64},
        ),
        Workload(
            "accept",
            "connections accepted, a byte echoed, closed by both sides",
            "connect",
            "conn/s",
            "accept",
            {"conns": 16},
        ),
        Workload(
            "udp",
            "UDP echo, 1 KiB, 3 sockets",
            "echo",
            "msg/s",
            "udp",
            {"size": 1024, "conns": 3, "udp": True},
        ),
        Workload(
            "unix",
            "unix echo by protocol, 1 KiB, 3 connections",
            "echo",
            "msg/s",
            "unix",
            {"size": 1024, "conns": 3, "unix": True},
        ),
        Workload(
            "websocket",
            "websocket echo (websockets), 1 KiB, 16 connections",
            "echo",
            "msg/s",
            "websocket",
            {"size": 1024, "conns": 16, "websocket": True},
        ),
        Workload(
            "bulk-in",
            "bytes received, 1 connection",
            "send",
            "MiB/s",
            "bulk_in",
            {"conns": 1},
        ),
        Workload(
            "bulk-out",
            "bytes sent under flow control, 1 connection",
            "receive",
            "MiB/s",
            "bulk_out",
            {"conns": 1},
        ),
    ]


WORK_US = (5, 20, 100)


def _working_echo(work_us: int, tls: bool) -> Workload:
    params: dict[str, Parameter] = {"size": 1024, "conns": 16, "work_us": work_us}
    return Workload(
        f"echo-{'tls-' * tls}work-{work_us}us",
        f"{'TLS' if tls else 'TCP'} echo, {work_us} µs of work a message, 1 KiB, "
        "16 connections",
        "echo",
        "msg/s",
        "protocol",
        params | {"tls": True} if tls else params,
    )


TLS_CONNS = 16
HANDSHAKES = 500  # a second, beside plain connections
BESIDE_RATE = 10_000


def _tls_echo(server: str, kib: int) -> Workload:
    return Workload(
        f"echo-tls-{server}-{kib}k-{TLS_CONNS}",
        f"TLS 1.3 echo by {server}, {kib} KiB, {TLS_CONNS} connections",
        "echo",
        "msg/s",
        server,
        {"size": kib * 1024, "conns": TLS_CONNS, "tls": True},
    )


def _handshakes(key: str, resume: bool) -> Workload:
    named = {"ecdsa": "ECDSA P-256", "rsa": "RSA-2048"}[key]
    return Workload(
        f"handshakes-{key}{'-resumed' * resume}",
        f"TLS 1.3 connections {'resumed' if resume else 'made'}, {named}, a byte "
        f"echoed, closed by the client, {TLS_CONNS} at a time",
        "connect",
        "conn/s",
        "protocol",
        {"conns": TLS_CONNS, "tls": True, "key": key, "resume": resume},
    )


def _plain(name: str, text: str, handshakes: int) -> Workload:
    params: dict[str, Parameter] = {"size": 1024, "conns": 16, "rate": BESIDE_RATE}
    return Workload(
        name,
        f"p99 of plain echo at {BESIDE_RATE:,} a second, 1 KiB, 16 connections, {text}",
        "open",
        "µs p99",
        "beside" if handshakes else "protocol",
        params | {"tls": True, "handshakes": handshakes} if handshakes else params,
        lower_is_better=True,
    )


def _tls() -> list[Workload]:
    return [
        *(_tls_echo(by, kib) for by in ("protocol", "streams") for kib in (1, 16, 100)),
        Workload(
            "https",
            "HTTPS: uvicorn with httptools, 16 keep-alive connections",
            "echo",
            "req/s",
            "http",
            {"conns": TLS_CONNS, "http": True, "tls": True},
        ),
        *(_handshakes(k, resume) for k in ("ecdsa", "rsa") for resume in (False, True)),
        _plain("plain-alone", "nothing beside them", 0),
        _plain("plain-beside-tls", f"{HANDSHAKES} TLS handshakes a second", HANDSHAKES),
        _idle("idle-tls", 1_000, 500, tls=True),
    ]


def _loops(name: str, body: str, operations: int, threads: int) -> Workload:
    return Workload(
        f"{name}-{threads}",
        f"{body} as above, on {threads} loop{'s' * (threads > 1)} in as many threads",
        "inprocess",
        target=body,
        params={"operations": operations, "threads": threads},
    )


IDLE_BALLAST = 9000  # connections before those that are counted


def _idle(
    name: str, conns: int, ballast: int = IDLE_BALLAST, tls: bool = False
) -> Workload:
    params: dict[str, Parameter] = {
        "conns": conns,
        "ballast": ballast,
        "files": conns + ballast,
    }
    return Workload(
        name,
        f"RSS per idle {'TLS ' * tls}connection, protocol included, "
        f"{conns:,} connections",
        "idle",
        "bytes",
        "idle",
        params | {"tls": True} if tls else params,
        lower_is_better=True,
    )


def _others() -> list[Workload]:
    return [
        *(_loops("loops", "chain", 50_000, threads) for threads in (1, 2)),
        *(_loops("loops-tasks", "tasks", 10_000, threads) for threads in (1, 2)),
        *(_working_echo(us, tls) for tls in (False, True) for us in WORK_US),
        Workload(
            "open-loop",
            "p99 of echo at one absolute rate, 1 KiB, 64 connections",
            "open",
            "µs p99",
            "protocol",
            {"size": 1024, "conns": 64},
            lower_is_better=True,
        ),
        _idle("idle", 10_000),
        _idle("idle-100k", 100_000),
        *_tls(),
    ]


WORKLOADS = {
    workload.name: workload
    for workload in [*_inprocess(), *_echoes(), *_servers(), *_others()]
}

QUICK = (
    "callbacks",
    "tasks",
    "timers",
    "threadsafe",
    "tcp_streams",
    "echo-protocol-1k-3",
    "echo-protocol-1k-64",
    "echo-streams-1k-3",
    "http",
)

# Chosen by one word in --workloads.
SETS = {
    "all": tuple(WORKLOADS),
    "quick": QUICK,
    "inprocess": tuple(row.name for row in _inprocess()),
    "echo": tuple(name for name in WORKLOADS if name.startswith("echo-")),
    "tls": tuple(row.name for row in _tls())
    + tuple(name for name in WORKLOADS if name.startswith("echo-tls-work-")),
    "work": tuple(name for name in WORKLOADS if "-work-" in name),
    "default": tuple(row.name for row in [*_inprocess(), *_echoes(), *_servers()]),
}


def select(text: str) -> list[Workload]:
    """Workloads by name, by set, or by pattern: "echo-*-1k-*"."""
    names: list[str] = []
    for word in filter(None, text.split(",")):
        found = list(SETS[word]) if word in SETS else fnmatch.filter(WORKLOADS, word)
        if not found:
            raise ValueError(f"no workload {word!r}")
        names += [name for name in found if name not in names]
    return [WORKLOADS[name] for name in names]
