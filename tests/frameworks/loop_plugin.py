# SPDX-License-Identifier: Apache-2.0
"""pytest plugin: a foreign test suite on rsloop_c's loop.

Loaded with `-p loop_plugin`. TEST_LOOP says which loop ("asyncio" changes
nothing), TEST_REPORT where to write what happened: each test's outcome and how
many loops of ours were made and run, which proves that they were really used.
TEST_ONLY names a file with the ids of the tests to run, as JSON.
"""

import asyncio
import asyncio.unix_events
import gc
import json
import os
import re

outcomes = {}
made = {"loops": 0, "turned": 0}


def replace_asyncios_loop():
    """Whatever makes asyncio's selector loop makes one of ours: the default
    policy (asyncio.run, Runner, asyncio.new_event_loop, and through them the
    plugins of anyio, pytest-asyncio and aiohttp) and the class itself
    (uvicorn's "asyncio" and "auto" loops, subclasses in tests)."""
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


def stable(node):
    """A test's id without the addresses that some have in their parameters."""
    return re.sub(r"0x[0-9a-f]{6,}", "0x", node)


def pytest_collection_modifyitems(config, items):
    if "TEST_ONLY" not in os.environ:
        return
    with open(os.environ["TEST_ONLY"]) as file:
        wanted = set(json.load(file))
    others = [item for item in items if stable(item.nodeid) not in wanted]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if stable(item.nodeid) in wanted]


def pytest_collection_finish():
    # Plugins collect garbage after each test: let them pass over what thousands
    # of collected tests hold.
    gc.collect()
    gc.freeze()


def pytest_runtest_logreport(report):
    test = stable(report.nodeid)
    before = outcomes.get(test)
    if report.failed:
        outcomes[test] = "failed"
    elif report.skipped and before != "failed":
        outcomes[test] = (
            "xfailed" if hasattr(report, "wasxfail") else "skipped")
    elif before is None:
        outcomes[test] = "passed"


def pytest_collectreport(report):
    if report.failed:
        outcomes[report.nodeid] = "failed"


def pytest_sessionfinish(session):
    with open(os.environ["TEST_REPORT"], "w") as file:
        json.dump({"outcomes": outcomes, **made}, file)
