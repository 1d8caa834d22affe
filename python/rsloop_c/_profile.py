# SPDX-License-Identifier: Apache-2.0
"""The profiler: what loops and their runtime threads did, as a trace or a page.

The records are the C side's (rsl/prof.h); here they get names and a form.
"""

from __future__ import annotations

import contextlib
import html
import json
import os
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import CodeType
from typing import IO, Any, NamedTuple

from . import _core

__all__ = ("Profile", "profile", "profiler_running", "start_profiler", "stop_profiler")

RECORDS = 1 << 18

# rsl_prof_kind: what a record without a name is called, its category, and what
# its amount is.
_KINDS = (
    ("turn", "loop", "entries"),
    ("wait for I/O", "idle", None),
    ("wait for the GIL", "gil", None),
    ("poll", "io", "events"),
    ("collect", "io", "events"),
    ("take messages", "hand-over", "messages"),
    ("callback", "callback", None),
    ("task step", "task", None),
    ("I/O", "io", None),
    ("send", "io", "connections"),
    ("ask the runtime thread", "hand-over", None),
    ("read for the loop", "hand-over", "bytes"),
    ("TLS handshake", "tls", None),
    ("TLS read", "tls", "bytes"),
    ("TLS write", "tls", "bytes"),
)
_IO = 8
# rsl_event_kind: how an I/O record is called.
_EVENTS = (
    "nothing", "begin", "readable", "data", "EOF", "read error", "writable",
    "sent", "accept", "accept error", "datagram", "watch", "message",
)  # fmt: skip
_RECORD = struct.Struct("=qqQII")


class Span(NamedTuple):
    """start and duration are nanoseconds; start counts from the profile's."""

    start: int
    duration: int
    name: str
    category: str
    amount: int
    unit: str | None


@dataclass
class Thread:
    """What one thread did. lost: older records that did not fit."""

    tid: int
    name: str
    spans: list[Span]
    lost: int


@dataclass
class Profile:
    """What stop_profiler() returns and profile() gives."""

    started_ns: int
    duration_ns: int = 0
    threads: list[Thread] = field(default_factory=list)

    def trace(self) -> dict[str, Any]:
        """The Chrome trace event format, which ui.perfetto.dev opens."""
        pid = os.getpid()
        events: list[dict[str, Any]] = []
        for thread in self.threads:
            names = {"ph": "M", "pid": pid, "tid": thread.tid, "name": "thread_name"}
            events.append({**names, "args": {"name": thread.name}})
            events += (
                {
                    "ph": "X",
                    "pid": pid,
                    "tid": thread.tid,
                    "ts": span.start / 1000,
                    "dur": span.duration / 1000,
                    "name": span.name,
                    "cat": span.category,
                    "args": {span.unit: span.amount} if span.unit else {},
                }
                for span in thread.spans
            )
        lost = {thread.name: thread.lost for thread in self.threads if thread.lost}
        return {"traceEvents": events, "otherData": {"lost": lost}}

    def page(self, title: str = "rsloop_c profile") -> str:
        """A page that needs nothing else: a timeline and a flame chart."""
        names: dict[tuple[str, str], int] = {}
        threads = [
            {
                "tid": thread.tid,
                "name": thread.name,
                "lost": thread.lost,
                "spans": [
                    [
                        span.start,
                        span.duration,
                        names.setdefault((span.name, span.category), len(names)),
                        span.amount if span.unit else 0,
                    ]
                    for span in sorted(thread.spans, key=_outer_first)
                ],
            }
            for thread in self.threads
        ]
        data = {
            "duration": self.duration_ns,
            "names": list(names),
            "threads": threads,
        }
        text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
        page = resources.files(__package__).joinpath("_profile_page.html")
        return (
            page.read_text(encoding="utf-8")
            .replace("{{title}}", html.escape(title))
            .replace("{{data}}", text)
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a page for a name that ends in .html, else a trace."""
        with open(path, "w", encoding="utf-8") as file:
            self._write(file, os.fspath(path))

    def _write(self, file: IO[str], path: str) -> None:
        if path.endswith((".html", ".htm")):
            file.write(self.page(Path(path).stem))
        else:
            json.dump(self.trace(), file, separators=(",", ":"))


def _outer_first(span: Span) -> tuple[int, int]:
    return span.start, -span.duration


def _label(what: Any) -> str:
    if isinstance(what, CodeType):
        name = getattr(what, "co_qualname", what.co_name)  # 3.11
        place = os.path.basename(what.co_filename)
        return f"{name} ({place}:{what.co_firstlineno})"
    if isinstance(what, type):
        return f"{what.__module__}.{what.__qualname__}"
    return type(what).__qualname__


def _spans(records: bytes, labels: list[str], origin: int) -> list[Span]:
    spans = []
    for start, end, amount, kind, name in _RECORD.iter_unpack(records):
        text, category, unit = _KINDS[kind]
        if kind == _IO:
            text = _EVENTS[amount]
            if name:
                text = f"{labels[name - 1]}: {text}"
        elif name:
            text = labels[name - 1]
        spans.append(Span(start - origin, end - start, text, category, amount, unit))
    return spans


_lock = threading.Lock()
_started: Profile | None = None

profiler_running = _core.profiler_running


def start_profiler(*, records: int = RECORDS) -> None:
    """Begin to record what every loop of this interpreter does.

    The last `records` (a power of two from 64 to 2**24) of each thread are kept,
    32 bytes each. Raises RuntimeError when a profile is being taken.
    """
    _start(records)


def _start(records: int) -> Profile:
    global _started
    with _lock:
        profile = Profile(time.monotonic_ns())
        _core._profiler_start(records)
        _started = profile
        return profile


def stop_profiler(path: str | os.PathLike[str] | None = None) -> Profile:
    """End the profile, from any thread, and save it when there is a path.

    Raises RuntimeError when none is being taken, and OSError when it cannot be
    saved; it has ended then as well.
    """
    stopped = _stop()
    if path is not None:
        stopped.save(path)
    return stopped


def _stop() -> Profile:
    global _started
    with _lock:
        recorded, objects = _core._profiler_stop()
        profile, _started = _started, None
    assert profile is not None
    profile.duration_ns = time.monotonic_ns() - profile.started_ns
    labels = [_label(what) for what in objects]
    known = {thread.native_id: thread.name for thread in threading.enumerate()}
    for tid, name, lost, records in sorted(recorded, key=lambda thread: thread[0]):
        spans = _spans(records, labels, profile.started_ns)
        # The runtime thread, and threads that have ended, by the system's name.
        text = f"{known.get(tid, name)} ({tid})"
        profile.threads.append(Thread(tid, text, spans, lost))
    return profile


@contextlib.contextmanager
def profile(
    path: str | os.PathLike[str] | None = None, *, records: int = RECORDS
) -> Iterator[Profile]:
    """Profile what runs inside; saved to `path` at the end, if that is given.

    A path ending in .html gets a page for a browser, any other a trace for
    ui.perfetto.dev. It is opened at the beginning, so that an OSError comes
    before the work. The Profile that is given is filled at the end.
    """
    with contextlib.ExitStack() as stack:
        file = None
        if path is not None:
            file = stack.enter_context(open(path, "w", encoding="utf-8"))
        taken = _start(records)
        try:
            yield taken
        finally:
            # Somebody may have stopped it meanwhile.
            if _started is taken:
                _stop()
            if file is not None:
                assert path is not None
                taken._write(file, os.fspath(path))
