# SPDX-License-Identifier: Apache-2.0
"""pytest plugin: a foreign test suite on rsloop_c's loop.

Loaded with `-p loop_plugin`. TEST_LOOP says which loop ("asyncio" changes
nothing), TEST_REPORT where to write what happened: each test's outcome and how
many loops of ours were made, which proves that they were really used.
"""

import asyncio
import asyncio.unix_events
import json
import os

outcomes = {}
made = {"loops": 0, "turned": 0}


def replace_asyncios_loop():
    """Whatever makes asyncio's selector loop makes one of ours: the default
    policy (anyio's runner, asyncio.run, asyncio.new_event_loop) and the class
    itself (uvicorn's "asyncio" and "auto" loops, subclasses in tests)."""
    import rsloop_c

    class Loop(rsloop_c.Loop):
        def __init__(self, selector=None):
            if selector is not None:
                selector.close()
            super().__init__()
            made["loops"] += 1

        def run_forever(self):
            made["turned"] += 1
            super().run_forever()

    # Tests ask for the names: of the loop that "auto" took, and in their ids.
    replaced = asyncio.SelectorEventLoop
    Loop.__module__ = replaced.__module__
    Loop.__name__ = Loop.__qualname__ = replaced.__name__
    for module in (asyncio, asyncio.unix_events):
        for name in ("SelectorEventLoop", "EventLoop",
                     "_UnixSelectorEventLoop"):
            if hasattr(module, name):
                setattr(module, name, Loop)
    asyncio.unix_events._UnixDefaultEventLoopPolicy._loop_factory = Loop


if os.environ["TEST_LOOP"] != "asyncio":
    replace_asyncios_loop()


def pytest_runtest_logreport(report):
    before = outcomes.get(report.nodeid)
    if report.failed:
        outcomes[report.nodeid] = "failed"
    elif report.skipped and before != "failed":
        outcomes[report.nodeid] = (
            "xfailed" if hasattr(report, "wasxfail") else "skipped")
    elif before is None:
        outcomes[report.nodeid] = "passed"


def pytest_collectreport(report):
    if report.failed:
        outcomes[report.nodeid] = "failed"


def pytest_sessionfinish(session):
    with open(os.environ["TEST_REPORT"], "w") as file:
        json.dump({"outcomes": outcomes, **made}, file)
