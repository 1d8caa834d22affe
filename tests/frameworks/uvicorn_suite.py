# SPDX-License-Identifier: Apache-2.0
"""Run uvicorn's own test suite on asyncio and on rsloop_c, and compare.

    python tests/frameworks/uvicorn_suite.py
    python tests/frameworks/uvicorn_suite.py --loops asyncio,io_uring

Downloads uvicorn's source distribution from PyPI, installs it, its test
requirements and this checkout in a new virtual environment, and runs its tests
once for each loop. Exit status 0 means: what fails on rsloop_c fails on
asyncio too, and the loops were really rsloop_c's.
"""

import argparse
import collections
import glob
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import venv

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
LOOPS = ("asyncio", "epoll", "io_uring")
SUITE_SECONDS = 1200
# uvloop would be picked by "auto"; the others check style, types and speed.
NOT_NEEDED = re.compile(
    r"uvicorn|uvloop|ruff|mypy|types-|twine|coverage|pytest-codspeed"
    r"|pytest-xdist|zensical|mkdocs")


def run(*command, **options):
    print("$", " ".join(command), flush=True)
    return subprocess.run(command, check=True, **options)


def download(pip, folder, version):
    run(pip, "download", "--quiet", "--no-deps", "--no-binary", "uvicorn",
        "--dest", folder, "uvicorn" + (f"=={version}" if version else ""))
    archive, = glob.glob(os.path.join(folder, "uvicorn-*.tar.gz"))
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(folder, filter="data")
        else:
            tar.extractall(folder)
    return archive, archive[:-len(".tar.gz")]


def requirements(source):
    """The "standard" extra and the "dev" group, without what is not needed.

    Found by their form: 3.10 has no tomllib."""
    with open(os.path.join(source, "pyproject.toml")) as file:
        text = file.read()
    found = []
    for name in ("standard", "dev"):
        match = re.search(rf"^{name} = \[\n(.*?)^\]", text, re.M | re.S)
        found += re.findall(r'^    "([^"]+)"', match.group(1), re.M)
    return [line for line in found if not NOT_NEEDED.match(line)]


def install(python, archive, source, rsloop_c):
    pip = [python, "-m", "pip", "install", "--quiet",
           "--disable-pip-version-check"]
    run(*pip, archive)
    wanted = requirements(source)
    print("test requirements:", ", ".join(wanted))
    # One that has no wheel for this Python must not cost the others.
    if subprocess.run([*pip, *wanted]).returncode != 0:
        for line in wanted:
            subprocess.run([*pip, line])
    run(*pip, rsloop_c)


def run_suite(python, source, loop, folder, arguments):
    report = os.path.join(folder, f"{loop}.json")
    log = os.path.join(folder, f"{loop}.log")
    environment = {**os.environ, "TEST_LOOP": loop, "TEST_REPORT": report,
                   "PYTHONPATH": HERE}
    environment.pop("PYTHONASYNCIODEBUG", None)
    if loop != "asyncio":
        environment["RSLOOP_C_BACKEND"] = loop
    started = time.monotonic()
    with open(log, "w") as output:
        try:
            # Its own options start eight processes: too many for the timings
            # of a small machine.
            code = subprocess.run(
                [python, "-m", "pytest", "-o", "addopts=", "-q",
                 "-p", "loop_plugin", "-p", "no:cacheprovider",
                 "--ignore", "tests/benchmarks", *arguments],
                cwd=source, env=environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output,
                timeout=SUITE_SECONDS).returncode
        except subprocess.TimeoutExpired:
            code = "timeout"
    if not os.path.exists(report):
        with open(log) as output:
            print(output.read()[-5000:])
        sys.exit(f"{loop}: the suite ended without a report ({code})")
    with open(report) as file:
        result = json.load(file)
    counts = collections.Counter(result["outcomes"].values())
    print(f"{loop:9}", ", ".join(
        f"{count} {how}" for how, count in sorted(counts.items())),
        f"in {time.monotonic() - started:.0f} s;",
        f"{result['loops']} rsloop_c loops, {result['turned']} runs",
        flush=True)
    if code not in (0, 1):
        sys.exit(f"{loop}: pytest ended with {code}: see {log}")
    return result


def failing(result):
    return {test for test, how in result["outcomes"].items()
            if how == "failed"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--loops", default=",".join(LOOPS))
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--uvicorn", default="", help="its version")
    parser.add_argument("--rsloop-c", default=ROOT,
                        help="what pip installs: a checkout or a wheel")
    parser.add_argument("--folder", help="to work in; kept and used again")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest")
    options = parser.parse_args()
    loops = options.loops.split(",")
    if set(loops) - set(LOOPS):
        parser.error(f"--loops: of {', '.join(LOOPS)}")
    if "asyncio" not in loops:
        loops.insert(0, "asyncio")
    temporary = None
    if options.folder is None:
        temporary = tempfile.TemporaryDirectory(prefix="uvicorn-suite-")
    folder = os.path.abspath(options.folder or temporary.name)
    os.makedirs(folder, exist_ok=True)
    environment = os.path.join(folder, "venv")
    python = os.path.join(environment, "bin", "python")
    if not os.path.exists(python):
        if options.python == sys.executable:
            venv.create(environment, with_pip=True)
        else:
            run(options.python, "-m", "venv", environment)
    for old in glob.glob(os.path.join(folder, "uvicorn-*.tar.gz")):
        os.unlink(old)
    archive, source = download(os.path.join(environment, "bin", "pip"),
                               folder, options.uvicorn)
    install(python, archive, source, options.rsloop_c)
    print("suite of", os.path.basename(source), flush=True)
    results = {loop: run_suite(python, source, loop, folder, options.pytest)
               for loop in sorted(loops, key=LOOPS.index)}
    expected = failing(results["asyncio"])
    for test in sorted(expected):
        print("fails on asyncio:", test)
    bad = 0
    for loop, result in results.items():
        if loop == "asyncio":
            continue
        for test in sorted(failing(result) - expected):
            print(f"FAILS ON {loop} ONLY:", test)
            bad += 1
        missing = set(results["asyncio"]["outcomes"]) - set(result["outcomes"])
        if missing:
            print(f"{loop}: did not run:", *sorted(missing))
            bad += len(missing)
        if not result["turned"]:
            print(f"{loop}: no loop of rsloop_c ran: this proves nothing")
            bad += 1
    passed = sum(how == "passed" for loop, result in results.items()
                 if loop != "asyncio" for how in result["outcomes"].values())
    print(f"{passed} passed, {bad} failed")
    if temporary:
        temporary.cleanup()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
