# SPDX-License-Identifier: Apache-2.0
"""The process that holds the loop under test: `python -m benchmarks.child JOB`.

JOB is JSON: {"do": "probe" | "body" | "serve", "loop": NAME, "target": NAME,
"params": {...}, "seconds": S, "gc": BOOL}. It answers by one line of JSON on stdout; a
server does so when it listens, and then runs until it is killed."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import resource
import sys
from typing import Any

from . import bodies, servers
from .loops import LOOPS, backend_of, make_loop, version_of


def answer(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def probe(loop: asyncio.AbstractEventLoop, job: dict[str, Any]) -> None:
    """Show that the loop runs at all, before it is given a row."""
    loop.run_until_complete(asyncio.sleep(0))
    answer({"version": version_of(LOOPS[job["loop"]]), "backend": backend_of(loop)})


def body(loop: asyncio.AbstractEventLoop, job: dict[str, Any]) -> None:
    number = max(20, int(job["params"]["operations"] * job.get("scale", 1)))
    target, seconds = job["target"], job["seconds"]
    if threads := job["params"].get("threads"):
        spec = LOOPS[job["loop"]]
        share = (threads, number)
        result = bodies.measure_threads(lambda: make_loop(spec), target, share, seconds)
    else:
        result = bodies.measure(loop, target, number, seconds)
    answer(result | {"backend": backend_of(loop)})


def raise_files(wanted: int) -> None:
    """As many descriptors as one may have, which must be `wanted` at least."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = max(hard, wanted)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    except ValueError:  # only root may raise the hard limit
        sys.exit(f"needs {wanted} descriptors; ulimit -Hn is {hard}")


def serve(loop: asyncio.AbstractEventLoop, job: dict[str, Any]) -> None:
    raise_files(64 + int(job["params"].get("files", 1000)))
    if LOOPS[job["loop"]].tls == "mbedtls":  # of others it cannot know the keys
        job["params"]["context_class"] = importlib.import_module("rsloop_c").SSLContext
    start = servers.SERVERS[job["target"]](loop, job["params"])

    async def listen() -> servers.Address:
        return await start

    address = loop.run_until_complete(listen())
    backend = backend_of(loop)
    spec = LOOPS[job["loop"]]
    if "tls" in job["params"] and spec.module == "rsloop_c":
        engine = loop.run_until_complete(servers.tls_engine(loop, job["params"]))
        engine = engine or "python"  # asyncio's says nothing
        if spec.tls not in (None, engine):
            sys.exit(f"NotImplementedError: {spec.tls}: TLS is by {engine}")
        backend = f"{backend}, TLS by {engine}"
    answer({"address": address, "backend": backend})
    loop.run_forever()


def main() -> None:
    job = json.loads(sys.argv[1])
    if not job.get("gc", True):
        gc.disable()
    loop = make_loop(LOOPS[job["loop"]])
    asyncio.set_event_loop(loop)
    {"probe": probe, "body": body, "serve": serve}[job["do"]](loop, job)
    loop.close()


if __name__ == "__main__":
    main()
