# SPDX-License-Identifier: Apache-2.0
"""The loops that can be compared, and how each is made."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field

BASELINE = "uvloop"


@dataclass(frozen=True)
class LoopSpec:
    name: str
    module: str
    backend: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    streams: bool = False  # asyncio's stream functions are patched
    tls: str | None = None  # the engine that is asked for
    observed: bool = False  # somebody watches; it is no loop of its own
    profiled: bool = False


def _specs() -> dict[str, LoopSpec]:
    ours = [
        LoopSpec(f"rsloop_c:{backend}", "rsloop_c", backend)
        for backend in ("auto", "io_uring", "epoll")
    ]
    with_streams = [
        LoopSpec(f"{spec.name}+streams", spec.module, spec.backend, streams=True)
        for spec in ours
    ]
    # rsloop's own benchmark turns its native streams on; so do we.
    peers = [
        LoopSpec("uvloop", "uvloop"),
        LoopSpec("asyncio", "asyncio"),
        LoopSpec("rsloop", "rsloop", env={"RSLOOP_USE_FAST_STREAMS": "1"}),
        LoopSpec("rloop", "rloop"),
        LoopSpec("zloop", "zloop"),
        LoopSpec("zuvloop", "zuvloop"),
        LoopSpec("blazio", "blazio"),
    ]
    engines = [
        LoopSpec(
            f"rsloop_c:auto+{engine}",
            "rsloop_c",
            "auto",
            {"RSLOOP_C_TLS": engine},
            streams=True,
            tls=engine,
        )
        for engine in ("python", "openssl", "mbedtls")
    ]
    # What it costs to be watched; to be read beside rsloop_c:auto+streams.
    watched: dict[str, dict[str, str]] = {
        "profiler": {},
        "watchdog": {"RSLOOP_C_WATCHDOG": "5"},
        "metrics": {"RSLOOP_C_METRICS": "@rsloop_c-bench-%p"},
        "flight_recorder": {"RSLOOP_C_FLIGHT_RECORDER": "50"},
    }
    observed = [
        LoopSpec(
            f"rsloop_c:auto+{by}",
            "rsloop_c",
            "auto",
            env,
            streams=True,
            observed=True,
            profiled=by == "profiler",
        )
        for by, env in watched.items()
    ]
    return {
        spec.name: spec for spec in [*ours, *with_streams, *peers, *engines, *observed]
    }


LOOPS = _specs()

# What runs if nothing is said: engines differ in rows with TLS alone.
DEFAULT = tuple(
    name for name, spec in LOOPS.items() if spec.tls is None and not spec.observed
)
SETS = {
    "default": DEFAULT,
    "tls": (
        "rsloop_c:auto+streams",
        *(name for name, spec in LOOPS.items() if spec.tls is not None),
        *(name for name in DEFAULT if not name.startswith("rsloop_c")),
    ),
    "observed": (
        "rsloop_c:auto+streams",
        *(name for name, spec in LOOPS.items() if spec.observed),
    ),
}


def select(text: str) -> list[str]:
    """Loops by name or by set."""
    names: list[str] = []
    for word in filter(None, text.split(",")):
        if word not in SETS and word not in LOOPS:
            raise ValueError(f"no such loop: {word}")
        names += [name for name in SETS.get(word, (word,)) if name not in names]
    return names


def make_loop(spec: LoopSpec) -> asyncio.AbstractEventLoop:
    """Make the loop in this process; a backend that is not the one asked for
    is an error, since its numbers would stand under another's name."""
    module = importlib.import_module(spec.module)
    loop: asyncio.AbstractEventLoop
    if spec.streams:
        module.install(streams=True)
    if spec.profiled and not module.profiler_running():
        module.start_profiler()
    if spec.backend is None:
        loop = module.new_event_loop()
    else:
        loop = module.new_event_loop(backend=spec.backend)
        if spec.backend not in ("auto", backend_of(loop)):
            raise RuntimeError(f"{spec.name} runs on {backend_of(loop)}")
    return loop


def backend_of(loop: asyncio.AbstractEventLoop) -> str | None:
    backend = getattr(loop, "backend", None)
    return backend if isinstance(backend, str) else None


def version_of(spec: LoopSpec) -> str:
    if spec.module == "asyncio":
        return "stdlib"
    try:
        return importlib.metadata.version(spec.module)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
