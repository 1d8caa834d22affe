# SPDX-License-Identifier: Apache-2.0
"""Run CPython's own test.test_asyncio with rsloop_c in asyncio's place.

    python tests/cpython/run.py                       both backends
    python tests/cpython/run.py --loops epoll,asyncio test_events test_streams
    python tests/cpython/run.py --loops epoll -k test_sock_accept test_events
    python tests/cpython/run.py --tls mbedtls         the modules about TLS

The tests are those of the interpreter that runs this file. Each module runs
in a process of its own (worker.py), where asyncio's selector loop is replaced
before the module is imported; a hang or a crash costs that module only. Exit
status 0 means: nothing failed except what exclusions.txt lists, with its
reason, and no selector loop of asyncio's was made.
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
import sysconfig
import tempfile
import time

from worker import ASYNCIO, LEFT_OUT, OURS, PACKAGE

HERE = os.path.dirname(os.path.abspath(__file__))
EXCLUSIONS = os.path.join(HERE, "exclusions.txt")
WORKER = os.path.join(HERE, "worker.py")
MODULE_SECONDS = 400
# With +streams, asyncio's stream classes and functions are ours as well.
LOOPS = ("asyncio", "epoll", "io_uring", "epoll+streams", "io_uring+streams")
TLS_ENGINES = ("openssl", "mbedtls", "python")
TLS_MODULES = ("test_ssl", "test_sslproto", "test_streams")
# Windows' own, and the helpers.
NOT_HERE = {"test_proactor_events", "test_windows_events",
            "test_windows_utils", "utils", "functional", "echo", "echo2",
            "echo3"}
BAD = ("failure", "error", "unexpected success", "hang", "crash")
VERSION = "%d.%d" % sys.version_info[:2] + (
    "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else "")

Exclusion = collections.namedtuple(
    "Exclusion", "pattern loops versions engines run reason")


# --- exclusions --------------------------------------------------------------

def read_exclusions():
    """Lines of `pattern [loop=..] [python=..] [tls=..] [run=no] # reason`."""
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
                wanted.pop("python", None),
                wanted.pop("tls", None),
                wanted.pop("run", "yes") != "no", reason.strip()))
            if wanted:
                sys.exit(f"{EXCLUSIONS}:{number}: what is {wanted}?")
    return found


def applies(exclusion, test, loop, engine):
    backend = loop.partition("+")[0]
    if exclusion.loops and not {loop, backend} & set(exclusion.loops.split(",")):
        return False
    if exclusion.versions and VERSION not in exclusion.versions.split(","):
        return False
    if exclusion.engines and (
            engine or "auto") not in exclusion.engines.split(","):
        return False
    short = test[len(PACKAGE) + 1:] if test.startswith(PACKAGE) else test
    return fnmatch.fnmatchcase(short, exclusion.pattern)


# --- one module --------------------------------------------------------------

def modules():
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        sys.exit(f"this Python has no {PACKAGE}")
    return sorted(
        name for _, name, _ in
        pkgutil.iter_modules(spec.submodule_search_locations)
        if name.startswith("test_") and name not in NOT_HERE)


class Module:
    """What became of a module's tests."""

    def __init__(self, name, leave_out, engine):
        self.name = name
        self.engine = engine
        self.leave_out = leave_out       # patterns
        self.outcomes = {}               # by the test's id
        self.loops = {}                  # of these, how many of which kind
        self.kinds = collections.Counter()

    def run(self, loop, keyword, log):
        """After a hang or a crash the module is started again without the
        tests that ran."""
        deadline = time.monotonic() + MODULE_SECONDS
        while True:
            with tempfile.TemporaryDirectory() as folder:
                report = os.path.join(folder, "report")
                status = self._start(loop, keyword, log, folder, report,
                                     deadline - time.monotonic())
                started, ended = self._read(report)
            if ended:
                return
            self.outcomes[started or f"{PACKAGE}.{self.name}"] = (
                self._end(started, status))
            if started is None or status is None:
                return

    def _start(self, loop, keyword, log, folder, report, seconds):
        """The exit status of one process; None when it took too long."""
        environment = dict(os.environ, TEST_LOOP=loop)
        if loop != "asyncio":
            environment["RSLOOP_C_BACKEND"] = loop.partition("+")[0]
        if self.engine:
            environment["RSLOOP_C_TLS"] = self.engine
        skip = os.path.join(folder, "skip")
        with open(skip, "w") as file:
            json.dump({"ids": list(self.outcomes),
                       "patterns": self.leave_out}, file)
        try:
            return subprocess.run(
                [sys.executable, WORKER, self.name, "--report", report,
                 "--skip", skip, "-k", keyword],
                cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, timeout=max(seconds, 1)).returncode
        except subprocess.TimeoutExpired:
            return None

    def _read(self, report):
        """The test that was started and did not end; did the module end?"""
        started = None
        if not os.path.exists(report):
            return None, False
        with open(report) as file:
            for line in file:
                record = json.loads(line)
                if "end" in record:
                    return None, True
                if "started" in record:
                    started = record["started"]
                    continue
                started = None
                self.outcomes[record["test"]] = record["outcome"]
                self.loops[record["test"]] = record["loops"]
                self.kinds.update(record["loops"])
        return started, False

    @staticmethod
    def _end(started, status):
        if status is not None and status < 0:
            return "crash"               # by a signal
        # faulthandler's exit is 1; without a test the module does not load.
        return "hang" if status is None or started else "error"

    def with_loop(self, kind):
        return [test for test, loops in self.loops.items()
                if loops.get(kind)]


# --- one loop ----------------------------------------------------------------

class Run:
    """All modules on one kind of loop."""

    def __init__(self, loop, exclusions, engine):
        self.loop, self.exclusions, self.engine = loop, exclusions, engine
        self.kind = ASYNCIO if loop == "asyncio" else OURS
        self.modules = []
        self.total = collections.Counter()
        self.failed = []                 # (test, how)
        self.excluded = []               # (test, reason)
        self.seconds = 0

    @property
    def label(self):
        return f"{self.loop}-{self.engine}" if self.engine else self.loop

    def run(self, names, keyword, folder):
        began = time.monotonic()
        for name in names:
            module = Module(name, self._not_to_run(), self.engine)
            path = os.path.join(folder, f"{self.label}-{name}.log")
            with open(path, "w") as log:
                module.run(self.loop, keyword, log)
            self._judge(module)
            loops = module.kinds[self.kind]
            print(f"  {name:26} {len(module.outcomes):4} tests,"
                  f" {len(module.with_loop(self.kind)):4} on {loops} loops",
                  flush=True)
        self.seconds = time.monotonic() - began
        if self.kind == OURS and not keyword and not self.with_loop():
            self.failed.append(("no test made a loop of ours", "error"))

    def _judge(self, module):
        self.modules.append(module)
        self.total.update(module.outcomes.values())
        for test, how in module.outcomes.items():
            exclusion = next(filter(
                lambda exclusion: self._is_excluded(exclusion, test),
                self.exclusions), None)
            if how in BAD and exclusion is None:
                self.failed.append((test, how))
            elif how in BAD or how == LEFT_OUT:
                self.excluded.append((test, exclusion.reason))
            elif how == "ok" and exclusion and self.kind == OURS:
                self.failed.append((test, "excluded, but passes"))
        if self.kind == OURS:
            self.failed += [(test, "a loop of asyncio's in")
                            for test in module.with_loop(ASYNCIO)]

    def _is_excluded(self, exclusion, test):
        return applies(exclusion, test, self.loop, self.engine)

    def _not_to_run(self):
        """asyncio itself runs them all."""
        return [f"{PACKAGE}.{exclusion.pattern}"
                for exclusion in self.exclusions
                if not exclusion.run and self.kind == OURS
                and self._is_excluded(exclusion, exclusion.pattern)]

    def with_loop(self):
        return sum(len(module.with_loop(self.kind))
                   for module in self.modules)

    def report(self):
        for module in self.modules:
            if not module.with_loop(self.kind):
                others = ", ".join(sorted(module.kinds)) or "no loop at all"
                print(f"  no loop of this kind: {module.name} ({others})")
        for test, reason in self.excluded:
            print(f"  excluded: {test}  # {reason}")
        for test, how in self.failed:
            print(f"  {how.upper()}: {test}")

    def row(self):
        return (f"{VERSION + ' ' + self.label:23} {self.total['ok']:7}"
                f" {len(self.failed):7} {self.total['skipped']:8}"
                f" {len(self.excluded):9} {self.with_loop():10}"
                f" {self.seconds:8.0f}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="*")
    parser.add_argument("--loops", default="epoll,io_uring",
                        help="of " + ", ".join(LOOPS))
    parser.add_argument("--tls", choices=TLS_ENGINES,
                        help="ask for this TLS engine")
    parser.add_argument("-k", dest="keyword", default="",
                        help="only tests whose id contains it")
    parser.add_argument("--logs", help="a folder to keep the output in")
    options = parser.parse_args()
    loops = options.loops.split(",")
    for loop in loops:
        if loop not in LOOPS:
            parser.error(f"no such loop: {loop}")
    names = [re.sub(r"\.py$", "", name) for name in options.modules]
    exclusions = read_exclusions()
    folder = options.logs or tempfile.mkdtemp(prefix="test_asyncio-")
    os.makedirs(folder, exist_ok=True)
    print(f"Python {sys.version.split()[0]}; output in {folder}")
    chosen = [name for name in modules()
              if not options.tls or name in TLS_MODULES]
    runs = []
    for loop in loops:
        run = Run(loop, exclusions, options.tls)
        print(f"{PACKAGE} on {run.label}", flush=True)
        run.run(names or chosen, options.keyword, folder)
        run.report()
        runs.append(run)
    print(f"\n{'':23} {'passed':>7} {'failed':>7} {'skipped':>8}"
          f" {'excluded':>9} {'with loops':>10} {'seconds':>8}")
    for run in runs:
        print(run.row())
    failed = sum(len(run.failed) for run in runs)
    print(f"{sum(run.total['ok'] for run in runs)} passed, {failed} failed,"
          f" {sum(run.total['skipped'] for run in runs)} skipped,"
          f" {sum(len(run.excluded) for run in runs)} excluded")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
