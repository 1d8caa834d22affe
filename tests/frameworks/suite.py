# SPDX-License-Identifier: Apache-2.0
"""One project's own tests: its sources, its environment, its run on a loop."""

import collections
import dataclasses
import glob
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
LOOPS = ("asyncio", "epoll", "io_uring")
SUITE_SECONDS = 2400


class Broken(Exception):
    """A suite that cannot be had, or that ended without a report."""


def run(*command, **options):
    print("$", " ".join(command), flush=True)
    try:
        subprocess.run(command, check=True, **options)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Broken(f"{command[0]}: {error}") from error


def apart(folder):
    """What to put before a command, so that it has a network of its own, in
    which localhost is ::1 as well. Only root can have that.

    Containers often have IPv6 but no name for it, and tests of both families
    then fail on any loop."""
    with open("/etc/hosts") as file:
        names = file.read().rstrip() + "\n"
    try:
        socket.getaddrinfo("localhost", None, family=socket.AF_INET6)
    except OSError:
        names += "::1 localhost\n"
    hosts = os.path.join(folder, "hosts")
    with open(hosts, "w") as copy:
        copy.write(names)
    prefix = ["unshare", "--mount", "--net", sys.executable,
              os.path.join(HERE, "apart.py"), hosts]
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return prefix


@dataclasses.dataclass
class Result:
    """What became of each test of a suite on one loop."""

    outcomes: dict
    loops: int = 0
    turned: int = 0
    flaky: tuple = ()
    seconds: float = 0

    @property
    def failed(self):
        return {test for test, how in self.outcomes.items()
                if how == "failed"}

    def counts(self):
        found = collections.Counter(self.outcomes.values())
        return (found["passed"] + found["xfailed"], found["failed"],
                found["skipped"])


class Suite:
    def __init__(self, project, folder, base_python):
        self.project = project
        self.folder = os.path.join(folder, project.name)
        self.base_python = base_python
        os.makedirs(self.folder, exist_ok=True)

    @property
    def bin(self):
        return os.path.join(self.folder, "venv", "bin")

    @property
    def python(self):
        return os.path.join(self.bin, "python")

    def pip(self, *arguments):
        run(self.python, "-m", "pip", "--quiet",
            "--disable-pip-version-check", *arguments)

    def say(self, *words):
        print(f"{self.project.name}:", *words, flush=True)

    # --- What it needs -----------------------------------------------------

    def install(self, wheel):
        """The project and what its tests need, unless they are there; and
        rsloop_c, always."""
        wanted = [self.base_python, *self.project.requirement,
                  *self.project.requirements]
        stamp = os.path.join(self.folder, "venv.json")
        if not same_json(stamp, wanted):
            shutil.rmtree(os.path.join(self.folder, "venv"), True)
            run(self.base_python, "-m", "venv",
                os.path.join(self.folder, "venv"))
            self.pip("install", *wanted[1:])
            with open(stamp, "w") as file:
                json.dump(wanted, file)
        self.pip("install", "--force-reinstall", "--no-deps", wheel)

    def unpack(self):
        """Fresh sources with the tests; returns the folder to run in."""
        if self.project.tests_here:
            return os.path.join(HERE, self.project.name)
        archive = self.debian_archive() if self.project.debian else (
            self.pypi_archive())
        target = os.path.join(self.folder, "source")
        shutil.rmtree(target, True)
        with tarfile.open(archive) as tar:
            if hasattr(tarfile, "data_filter"):
                tar.extractall(target, filter="data")
            else:
                tar.extractall(target)
        source, = glob.glob(os.path.join(target, "*"))
        if self.project.compiled:
            shutil.rmtree(os.path.join(source, self.project.compiled))
        return source

    def pypi_archive(self):
        name = f"{self.project.name}-{self.project.version}.tar.gz"
        path = os.path.join(self.folder, name)
        if not os.path.exists(path):
            self.pip("download", "--no-deps", "--no-binary", ":all:",
                     "--dest", self.folder,
                     f"{self.project.name}=={self.project.version}")
        return path

    def debian_archive(self):
        suite, package, version = self.project.debian
        upstream = version.rpartition("-")[0]
        pattern = os.path.join(
            self.folder, f"{package}_{upstream}.orig.tar.*z*")
        if not glob.glob(pattern):
            run("bash", "-c",
                '. "$1/scripts/lib.sh"; source_package "$2" "$3" "$4" "$5"',
                "suite.py", ROOT, self.folder, suite, package, version)
        archive, = glob.glob(pattern)
        return archive

    # --- Running -----------------------------------------------------------

    def run(self, source, loop, arguments, only=None):
        """Run the tests (or those of the ids in `only`) on loop."""
        label = loop + ("-again" if only else "")
        report = os.path.join(self.folder, f"{label}.json")
        log = os.path.join(self.folder, f"{label}.log")
        environment = self.environment(loop, report)
        if only:
            environment["TEST_ONLY"] = os.path.join(
                self.folder, f"{label}-only.json")
            with open(environment["TEST_ONLY"], "w") as file:
                json.dump(sorted(only), file)
        if os.path.exists(report):
            os.unlink(report)
        command = [*apart(self.folder),
                   self.python, "-m", "pytest", "-q", "-p", "loop_plugin",
                   "-p", "no:cacheprovider", *self.project.pytest, *arguments]
        for test in self.project.deselected:
            command += ["--deselect", test]
        began = time.monotonic()
        with open(log, "w") as output:
            try:
                code = subprocess.run(
                    command, cwd=source, env=environment,
                    stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    timeout=SUITE_SECONDS).returncode
            except subprocess.TimeoutExpired:
                code = "timeout"
        if code not in (0, 1) or not os.path.exists(report):
            with open(log) as output:
                self.say(output.read()[-5000:])
            raise Broken(f"{loop}: pytest ended with {code}: see {log}")
        with open(report) as file:
            result = Result(**json.load(file))
        result.seconds = time.monotonic() - began
        return result

    def environment(self, loop, report):
        names = {**os.environ, "TEST_LOOP": loop, "TEST_REPORT": report,
                 "PYTHONPATH": HERE,
                 "PATH": self.bin + os.pathsep + os.environ["PATH"]}
        for name in ("PYTHONASYNCIODEBUG", "RSLOOP_C_BACKEND", "TEST_ONLY"):
            names.pop(name, None)
        if loop != "asyncio":
            names["RSLOOP_C_BACKEND"] = loop
        return names

    def run_twice(self, source, loop, arguments):
        """Run the tests; what failed once more. What passes then counts as
        passed and is named as flaky."""
        result = self.run(source, loop, arguments)
        if not result.failed:
            return result
        again = self.run(source, loop, arguments, only=result.failed)
        result.flaky = tuple(sorted(
            test for test in result.failed
            if again.outcomes.get(test) in ("passed", "xfailed")))
        result.outcomes.update(dict.fromkeys(result.flaky, "passed"))
        return result


def same_json(path, value):
    try:
        with open(path) as file:
            return json.load(file) == value
    except (OSError, ValueError):
        return False
