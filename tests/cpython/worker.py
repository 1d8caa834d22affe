# SPDX-License-Identifier: Apache-2.0
"""The process in which one module of test.test_asyncio runs; see run.py.

It writes a line of JSON when a test starts and another when it has ended, so
that the driver knows where a process was that hung or crashed.
"""

import argparse
import collections
import faulthandler
import fnmatch
import json
import os
import signal
import sys
import unittest

PACKAGE = "test.test_asyncio"
TEST_SECONDS = 60
OURS, ASYNCIO = "rsloop_c", "asyncio"
LEFT_OUT = "left out"


def replace_asyncios_loop():
    """Every usual way to make a loop makes one of ours."""
    import asyncio
    import asyncio.unix_events

    import rsloop_c

    class Loop(rsloop_c.Loop):
        def __init__(self, selector=None):
            if selector is not None:
                selector.close()
            super().__init__()

    for module in (asyncio, asyncio.unix_events):
        for name in ("SelectorEventLoop", "EventLoop",
                     "_UnixSelectorEventLoop"):
            if hasattr(module, name):
                setattr(module, name, Loop)
    asyncio.unix_events._UnixDefaultEventLoopPolicy._loop_factory = Loop


def replace_asyncios_streams():
    import asyncio
    import asyncio.streams

    import rsloop_c

    for name in asyncio.streams.__all__:
        for module in (asyncio, asyncio.streams):
            setattr(module, name, getattr(rsloop_c, name))


def replace_contexts():
    """mbedTLS serves contexts of rsloop_c's class only. `ssl` itself has to keep
    its own, which it names: the tests get another `ssl`."""
    import ssl
    import types

    import rsloop_c

    class Class(type):
        def __call__(cls, *arguments):
            return rsloop_c.SSLContext(*arguments)

        def __instancecheck__(cls, value):
            return isinstance(value, ssl.SSLContext)

    theirs = types.SimpleNamespace(**vars(ssl))
    theirs.SSLContext = Class("SSLContext", (), {})
    for name, module in list(sys.modules.items()):
        if name.startswith(PACKAGE) and vars(module).get("ssl") is ssl:
            module.ssl = theirs


def count_loops(counts):
    """Count each loop by its kind: ours, asyncio's own, or else the name of
    the class by which a test stands in for a loop."""
    from asyncio import base_events, unix_events

    selector_loop = unix_events._UnixSelectorEventLoop
    init = base_events.BaseEventLoop.__init__

    def kind(cls):
        if any(base.__module__.startswith("rsloop_c") for base in cls.__mro__):
            return OURS
        if issubclass(cls, selector_loop):
            return ASYNCIO
        return f"{cls.__module__.rpartition('.')[2]}.{cls.__qualname__}"

    def __init__(self, *args, **kwargs):
        counts[kind(type(self))] += 1
        init(self, *args, **kwargs)

    base_events.BaseEventLoop.__init__ = __init__


class Result(unittest.TextTestResult):
    """Reports each test to the driver, with the loops that it made."""

    write = counts = None        # set by run()
    before, outcome = collections.Counter(), "ok"

    def startTest(self, test):
        super().startTest(test)
        self.before = collections.Counter(self.counts)
        self.outcome = "ok"
        self.write(started=test.id())
        # A hang ends the process; the driver starts another one. What others
        # do on the processors makes no hang.
        busy = max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))
        faulthandler.dump_traceback_later(TEST_SECONDS * busy, exit=True)

    # Also called for skipped tests that were never started (3.12.1).
    def stopTest(self, test):
        faulthandler.cancel_dump_traceback_later()
        super().stopTest(test)
        self.write(test=test.id(), outcome=self.outcome,
                   loops=self.counts - self.before)
        self.before = collections.Counter(self.counts)

    def _end(self, test, outcome):
        self.outcome = outcome
        if not hasattr(test, "_testMethodName"):     # setUpClass, setUpModule
            self.write(test=test.id(), outcome=outcome, loops={})

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._end(test, "failure")

    def addError(self, test, err):
        super().addError(test, err)
        self._end(test, "error")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._end(test, "skipped")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.outcome = "failure"

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self._end(test, "unexpected success")


def cases(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from cases(item)
        else:
            yield item


def run(module, keyword, skip, out):
    def write(**record):
        out.write(json.dumps(record) + "\n")

    counts = collections.Counter()
    count_loops(counts)
    if os.environ["TEST_LOOP"] != "asyncio":
        replace_asyncios_loop()
    if os.environ["TEST_LOOP"].endswith("+streams"):
        replace_asyncios_streams()
    Result.write, Result.counts = staticmethod(write), counts

    from test import support
    support.use_resources = ["cpu", "walltime", "subprocess"]

    loaded = unittest.defaultTestLoader.loadTestsFromName(
        f"{PACKAGE}.{module}")
    if os.environ.get("RSLOOP_C_TLS") == "mbedtls":
        replace_contexts()
    chosen = unittest.TestSuite()
    for case in cases(loaded):
        if keyword not in case.id() or case.id() in skip["ids"]:
            continue
        if any(fnmatch.fnmatchcase(case.id(), pattern)
               for pattern in skip["patterns"]):
            write(test=case.id(), outcome=LEFT_OUT, loops={})
        else:
            chosen.addTest(case)
    unittest.TextTestRunner(stream=sys.stderr, resultclass=Result,
                            verbosity=0).run(chosen)
    write(end=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("--report", required=True)
    parser.add_argument("--skip", required=True, help="a file of ids and patterns")
    parser.add_argument("-k", dest="keyword", default="")
    options = parser.parse_args()
    with open(options.skip) as file:
        skip = json.load(file)
    skip["ids"] = set(skip["ids"])
    # A shell's background job ignores SIGINT, and so would the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(options.report, "w", buffering=1) as out:
        run(options.module, options.keyword, skip, out)
    # What a daemon thread of a test still does is no matter of ours.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
