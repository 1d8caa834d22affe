# SPDX-License-Identifier: Apache-2.0
"""Run projects' own test suites on asyncio and on rsloop_c, and compare.

    python tests/frameworks/run.py                    all of them
    python tests/frameworks/run.py aiohttp anyio      these
    python tests/frameworks/run.py aiohttp --loops epoll -- -k connector

Takes a project's tests from its source distribution, installs the project, its
test requirements and this checkout in a virtual environment of its own, and
runs the tests once for each loop. What failed runs once more; when it passes
then, it is named as flaky. Exit status 0 means: what fails on rsloop_c fails on
asyncio too, and the loops were really rsloop_c's. projects.py has the table.
"""

import argparse
import concurrent.futures
import glob
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile

from projects import PROJECTS
from suite import LOOPS, ROOT, Broken, Suite, run


def build_wheel(folder, python, checkout):
    """The wheel of rsloop_c that every environment gets."""
    if checkout.endswith(".whl"):
        return os.path.abspath(checkout)
    target = os.path.join(folder, "wheel")
    shutil.rmtree(target, True)
    builder = os.path.join(folder, "builder")    # Debian's Pythons have no pip
    run(python, "-m", "venv", builder)
    run(os.path.join(builder, "bin", "python"), "-m", "pip", "wheel", "--quiet",
        "--disable-pip-version-check", "--no-deps", "--wheel-dir", target,
        "--config-settings=build-dir=" + os.path.join(folder, "cmake"),
        checkout)
    wheel, = glob.glob(os.path.join(target, "*.whl"))
    return wheel


def description(python, checkout):
    """What is compared: the interpreter, the kernel, the commit."""
    version = subprocess.run(
        [python, "-c", "import platform; print(platform.python_version())"],
        check=True, capture_output=True, text=True).stdout.strip()
    commit = "an unknown commit"
    if os.path.isdir(checkout):
        answer = subprocess.run(
            ["git", "-C", checkout, "describe", "--always", "--dirty"],
            capture_output=True, text=True, check=False)
        commit = answer.stdout.strip() or commit
    return f"CPython {version}, Linux {platform.release()}, {commit}"


def faults(results):
    """What is wrong on our loops, a line each."""
    oracle = results["asyncio"]
    found = []
    for loop, result in results.items():
        if loop == "asyncio":
            continue
        for test in sorted(result.failed - oracle.failed):
            found.append(f"FAILS ON {loop} ONLY: {test}")
        for test in sorted(set(oracle.outcomes) - set(result.outcomes)):
            found.append(f"{loop}: did not run: {test}")
        if not result.turned:
            found.append(
                f"{loop}: no loop of rsloop_c ran: this proves nothing")
    return found


def compare(suite, wheel, loops, arguments):
    """Run one project; returns its results by loop and what is wrong."""
    results = {}
    try:
        suite.install(wheel)
        source = suite.unpack()
        for loop in loops:
            result = suite.run_twice(source, loop, arguments)
            results[loop] = result
            passed, failed, skipped = result.counts()
            suite.say(
                f"{loop:9} {passed} passed, {failed} failed, {skipped} "
                f"skipped in {result.seconds:.0f} s; {result.loops} "
                f"rsloop_c loops, {result.turned} runs")
            for test in result.flaky:
                suite.say(f"flaky on {loop}, passed the second time: {test}")
    except Broken as error:
        suite.say(error)
        return results, [str(error)]
    for test, reason in suite.project.deselected.items():
        suite.say(f"left out: {test}: {reason}")
    for test in sorted(results["asyncio"].failed):
        suite.say("fails on asyncio:", test)
    found = faults(results)
    for fault in found:
        suite.say(fault)
    return results, found


def table(rows, loops, what):
    print(f"\npassed/failed/skipped; {what}\n")
    print("| project |", " | ".join(loops), "|")
    print("|---" * (len(loops) + 1) + "|")
    for project, results, found in rows:
        cells = ["/".join(map(str, results[loop].counts()))
                 if loop in results else "broke off" for loop in loops]
        print(f"| {project.title} |", " | ".join(cells), "|"
              + (f" {len(found)} of ours" if found else ""))


def choose(names):
    known = {project.name: project for project in PROJECTS}
    unknown = set(names) - set(known)
    if unknown:
        sys.exit(f"no suite of {', '.join(sorted(unknown))}; there are: "
                 + ", ".join(known))
    return [known[name] for name in names] if names else list(PROJECTS)


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        epilog="what follows -- goes to pytest")
    parser.add_argument("--loops", default=",".join(LOOPS))
    parser.add_argument("--jobs", type=int, default=1,
                        help="how many projects at once")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--rsloop-c", default=ROOT,
                        help="what pip installs: a checkout or a wheel")
    parser.add_argument("--folder", help="to work in; kept and used again")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = sys.argv[1:]
    rest = []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, rest = arguments[:at], arguments[at + 1:]
    options = parser.parse_args(arguments)
    loops = options.loops.split(",")
    if set(loops) - set(LOOPS):
        parser.error(f"--loops: of {', '.join(LOOPS)}")
    options.loops = [loop for loop in LOOPS
                     if loop in loops or loop == "asyncio"]
    options.pytest = rest
    return options


def main():
    options = parse()
    chosen = choose(options.names)
    # A shell's background jobs ignore SIGINT, and so would the programs that
    # tests start and interrupt: what is executed inherits that, but no handler.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    temporary = None
    if options.folder is None:
        temporary = tempfile.TemporaryDirectory(prefix="frameworks-")
    folder = os.path.abspath(options.folder or temporary.name)
    os.makedirs(folder, exist_ok=True)
    what = description(options.python, options.rsloop_c)
    wheel = build_wheel(folder, options.python, options.rsloop_c)

    def one(project):
        suite = Suite(project, folder, options.python)
        return project, *compare(suite, wheel, options.loops, options.pytest)

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(one, chosen))
    table(rows, options.loops, what)
    passed = sum(result.counts()[0] for _, results, _ in rows
                 for loop, result in results.items() if loop != "asyncio")
    bad = sum(len(found) for _, _, found in rows)
    if temporary:
        temporary.cleanup()
    print(f"{passed} passed, {bad} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
