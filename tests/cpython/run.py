# SPDX-License-Identifier: Apache-2.0
"""Run CPython's own test.test_asyncio with rsloop_c in asyncio's place.

    python tests/cpython/run.py                       both backends
    python tests/cpython/run.py --loops epoll,asyncio test_events test_streams
    python tests/cpython/run.py --loops epoll -k test_sock_accept test_events

The tests are those of the interpreter that runs this file. Each module runs
in a process of its own, where asyncio's selector loop is replaced before the
module is imported; a hang or a crash costs that module only. Exit status 0
means: nothing failed except what exclusions.txt lists, with its reason.
"""

import argparse
import collections
import fnmatch
import importlib.util
import json
import os
import pkgutil
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
EXCLUSIONS = os.path.join(HERE, "exclusions.txt")
PACKAGE = "test.test_asyncio"
MODULE_SECONDS = 400
TEST_SECONDS = 60
LOOPS = ("asyncio", "epoll", "io_uring")
# Windows' own, and the helpers.
NOT_HERE = {"test_proactor_events", "test_windows_events",
            "test_windows_utils", "utils", "functional", "echo", "echo2",
            "echo3"}
BAD = ("failure", "error", "unexpected success", "hang", "crash")

Exclusion = collections.namedtuple("Exclusion",
                                   "pattern loops versions reason")


# --- the process of one module -----------------------------------------------

def replace_asyncios_loop(counts):
    """Every usual way to make a loop makes one of ours, and is counted."""
    import asyncio
    import asyncio.unix_events

    import rsloop_c

    class Loop(rsloop_c.Loop):
        def __init__(self, selector=None):
            if selector is not None:
                selector.close()
            super().__init__()
            counts["loops"] += 1

    for module in (asyncio, asyncio.unix_events):
        for name in ("SelectorEventLoop", "EventLoop",
                     "_UnixSelectorEventLoop"):
            if hasattr(module, name):
                setattr(module, name, Loop)
    asyncio.unix_events._UnixDefaultEventLoopPolicy._loop_factory = Loop


def worker(module, keyword, excluded, report):
    import faulthandler
    import unittest

    counts = collections.Counter()
    out = open(report, "w", buffering=1)

    def write(**record):
        out.write(json.dumps(record) + "\n")

    if os.environ["TEST_LOOP"] != "asyncio":
        replace_asyncios_loop(counts)

    class Result(unittest.TextTestResult):
        # 3.12.1 stops skipped tests that it never started.
        loops_before, outcome = 0, "ok"

        def startTest(self, test):
            super().startTest(test)
            self.loops_before = counts["loops"]
            self.outcome = "ok"
            write(started=test.id())
            # A hang ends the process; the parent starts another one.
            faulthandler.dump_traceback_later(TEST_SECONDS, exit=True)

        def stopTest(self, test):
            faulthandler.cancel_dump_traceback_later()
            super().stopTest(test)
            write(test=test.id(), outcome=self.outcome,
                  loops=counts["loops"] - self.loops_before)

        def addFailure(self, test, err):
            super().addFailure(test, err)
            self.outcome = "failure"

        def addError(self, test, err):
            super().addError(test, err)
            self.outcome = "error"
            if not hasattr(test, "_testMethodName"):
                write(test=test.id(), outcome="error", loops=0)

        def addSkip(self, test, reason):
            super().addSkip(test, reason)
            self.outcome = "skipped"
            if not hasattr(test, "_testMethodName"):
                write(test=test.id(), outcome="skipped", loops=0)

        def addSubTest(self, test, subtest, err):
            super().addSubTest(test, subtest, err)
            if err is not None:
                self.outcome = "failure"

        def addUnexpectedSuccess(self, test):
            super().addUnexpectedSuccess(test)
            self.outcome = "unexpected success"

    from test import support
    support.use_resources = ["cpu", "walltime", "subprocess"]

    def cases(suite):
        for item in suite:
            if isinstance(item, unittest.TestSuite):
                yield from cases(item)
            else:
                yield item

    loaded = unittest.defaultTestLoader.loadTestsFromName(
        f"{PACKAGE}.{module}")
    chosen = unittest.TestSuite()
    for case in cases(loaded):
        if keyword and keyword not in case.id():
            continue
        if case.id() in excluded:
            continue
        chosen.addTest(case)
    unittest.TextTestRunner(stream=sys.stderr, resultclass=Result,
                            verbosity=0).run(chosen)
    write(end=True)
    out.close()
    # What a daemon thread of a test still does is no matter of ours.
    sys.stderr.flush()
    os._exit(0)


# --- the driver --------------------------------------------------------------

def read_exclusions():
    """Lines of `pattern [loop=..] [python=..] # reason`."""
    found = []
    with open(EXCLUSIONS) as file:
        for number, line in enumerate(file, 1):
            line, _, reason = line.partition("#")
            if not line.strip():
                continue
            if not reason.strip():
                sys.exit(f"{EXCLUSIONS}:{number}: no reason given")
            pattern, *conditions = line.split()
            wanted = dict(condition.split("=") for condition in conditions)
            found.append(Exclusion(
                pattern, wanted.pop("loop", None),
                wanted.pop("python", None), reason.strip()))
            if wanted:
                sys.exit(f"{EXCLUSIONS}:{number}: what is {wanted}?")
    return found


def applies(exclusion, test, loop):
    if exclusion.loops and loop not in exclusion.loops.split(","):
        return False
    version = "%d.%d" % sys.version_info[:2]
    if exclusion.versions and version not in exclusion.versions.split(","):
        return False
    short = test[len(PACKAGE) + 1:] if test.startswith(PACKAGE) else test
    return fnmatch.fnmatchcase(short, exclusion.pattern)


def reason_of(test, loop, exclusions):
    for exclusion in exclusions:
        if applies(exclusion, test, loop):
            return exclusion.reason
    return None


def modules():
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        sys.exit(f"this Python has no {PACKAGE}")
    return sorted(
        name for _, name, _ in
        pkgutil.iter_modules(spec.submodule_search_locations)
        if name.startswith("test_") and name not in NOT_HERE)


def run_module(module, loop, keyword, log):
    """Outcomes of a module's tests. After a hang or a crash the module is
    started again without the tests that ran."""
    environment = dict(os.environ, TEST_LOOP=loop)
    if loop != "asyncio":
        environment["RSLOOP_C_BACKEND"] = loop
    outcomes, loops, done = {}, {}, []
    deadline = time.monotonic() + MODULE_SECONDS
    while True:
        with tempfile.TemporaryDirectory() as folder:
            report = os.path.join(folder, "report")
            skip = os.path.join(folder, "skip")
            with open(skip, "w") as file:
                json.dump(done, file)
            left = deadline - time.monotonic()
            try:
                process = subprocess.run(
                    [sys.executable, os.path.abspath(__file__), "--worker",
                     module, "--report", report, "--skip", skip,
                     "-k", keyword], cwd=folder,
                    env=environment, stdin=subprocess.DEVNULL,
                    stdout=log, stderr=log, timeout=max(left, 1))
                how = process.returncode
            except subprocess.TimeoutExpired:
                how = "timeout"
            started, ended = None, False
            if os.path.exists(report):
                with open(report) as file:
                    for line in file:
                        record = json.loads(line)
                        if "started" in record:
                            started = record["started"]
                        elif "test" in record:
                            started = None
                            outcomes[record["test"]] = record["outcome"]
                            loops[record["test"]] = record["loops"]
                            done.append(record["test"])
                        else:
                            ended = True
        if ended:
            return outcomes, loops
        name = started or f"{PACKAGE}.{module}"
        # faulthandler's exit is 1; a signal's is negative.
        if how != "timeout" and how < 0:
            outcomes[name] = "crash"
        elif how == "timeout" or started:
            outcomes[name] = "hang"
        else:
            outcomes[name] = "error"     # the module cannot be loaded
        done.append(name)
        if started is None or how == "timeout":
            return outcomes, loops


def run_loop(loop, names, keyword, exclusions, folder):
    total = collections.Counter()
    unexpected, listed, better = [], [], []
    with_loop = 0
    for module in names:
        path = os.path.join(folder, f"{loop}-{module}.log")
        with open(path, "w") as log:
            outcomes, loops = run_module(module, loop, keyword, log)
        total.update(outcomes.values())
        with_loop += sum(count > 0 for count in loops.values())
        bad = [test for test, how in outcomes.items() if how in BAD]
        for test in bad:
            reason = reason_of(test, loop, exclusions)
            if reason is None:
                unexpected.append((test, outcomes[test]))
            else:
                listed.append((test, reason))
        better += [test for test, how in outcomes.items() if how == "ok"
                   and loop != "asyncio"
                   and reason_of(test, loop, exclusions)]
        print(f"  {module:28} {len(outcomes):4} tests"
              + (f", {len(bad)} bad" if bad else ""), flush=True)
    print(f"{loop}: " + ", ".join(
        f"{count} {how}" for how, count in sorted(total.items())))
    if loop != "asyncio":
        print(f"{loop}: {with_loop} tests made at least one rsloop_c loop")
        if not keyword and not with_loop:
            unexpected.append(("no test made a loop of ours", "error"))
    for test, reason in listed:
        print(f"  excluded: {test}  # {reason}")
    for test in better:
        print(f"  excluded, but passes: {test}")
    for test, how in unexpected:
        print(f"  {how.upper()}: {test}")
    return total, unexpected


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="*")
    parser.add_argument("--loops", default="epoll,io_uring",
                        help="of " + ", ".join(LOOPS))
    parser.add_argument("-k", dest="keyword", default="",
                        help="only tests whose id contains it")
    parser.add_argument("--logs", help="a folder to keep the output in")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--report", help=argparse.SUPPRESS)
    parser.add_argument("--skip", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        with open(options.skip) as file:
            excluded = set(json.load(file))
        worker(options.worker, options.keyword, excluded, options.report)
        return 0
    loops = options.loops.split(",")
    for loop in loops:
        if loop not in LOOPS:
            parser.error(f"no such loop: {loop}")
    names = [re.sub(r"\.py$", "", name) for name in options.modules]
    exclusions = read_exclusions()
    folder = options.logs or tempfile.mkdtemp(prefix="test_asyncio-")
    os.makedirs(folder, exist_ok=True)
    print(f"Python {sys.version.split()[0]}; output in {folder}")
    failed = passed = 0
    for loop in loops:
        print(f"{PACKAGE} on {loop}", flush=True)
        total, unexpected = run_loop(loop, names or modules(),
                                     options.keyword, exclusions, folder)
        failed += len(unexpected)
        passed += total["ok"]
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
