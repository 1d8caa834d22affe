# SPDX-License-Identifier: Apache-2.0
"""Each allocation fails once: of the extension's own in whole scenarios, of the
interpreter's in single calls. Whatever was going on ends or is reported,
nothing is left behind, and the loop goes on."""

import os
import shutil
import subprocess

import pytest

import no_memory_scenarios
import no_memory_steps
from support import run_python

PARTS = 4                # steps share a child: most of its time is its start

pytestmark = [
    pytest.mark.slow(90),
    pytest.mark.asyncio_is_worse("it is Python, whose frames do not survive"),
]


@pytest.fixture(scope="session")
def fail_alloc(tmp_path_factory):
    """The library that is preloaded, made by this machine's compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path_factory.mktemp("fail_alloc") / "fail_alloc.so"
    source = os.path.join(os.path.dirname(__file__), "fail_alloc.c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source,
                    "-ldl"], check=True)
    return library


def sweep(flavour, code, environment=()):
    """How many failures there were in each sweep of code."""
    done = run_python("import no_memory, no_memory_scenarios, "
                      "no_memory_steps\n" + code,
                      flavour, env=environment, timeout=80)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    counts = [line for line in lines if line.endswith(" failures")]
    assert (lines, done.returncode) == (counts, 0), done.stderr[-4000:]
    return [int(count.split()[0]) for count in counts]


def preloaded(fail_alloc):
    sanitizer = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    return {"LD_PRELOAD": f"{fail_alloc}:{os.environ.get('LD_PRELOAD', '')}",
            "ASAN_OPTIONS": sanitizer}


@pytest.mark.parametrize(
    "scenario", [scenario.__name__ for scenario in no_memory_scenarios.ALL])
def test_allocation_of_the_extension_fails(flavour, scenario, fail_alloc):
    counts = sweep(
        flavour,
        f"no_memory.sweep_scenario(no_memory_scenarios.{scenario})",
        preloaded(fail_alloc))
    assert counts[0] >= 1


@pytest.mark.parametrize("scenario, least", [
    ("futures_are_made", 5), ("calls_are_queued", 5),
    ("sources_are_started", 7), ("loop_closes_with_all_of_it", 6)])
def test_allocation_for_native_code_fails(flavour, scenario, least, fail_alloc,
                                          probe_folder):
    counts = sweep(
        flavour,
        f"sys.path.insert(0, {str(probe_folder)!r})\n"
        "import no_memory_native\n"
        f"no_memory.sweep_scenario(no_memory_native.{scenario})",
        preloaded(fail_alloc))
    assert counts[0] >= least


@pytest.mark.parametrize("part", range(PARTS))
def test_allocation_of_the_interpreter_fails(flavour, part):
    pytest.importorskip("_testcapi", reason="this CPython has no test modules")
    counts = sweep(
        flavour,
        f"for step in no_memory_steps.ALL[{part}::{PARTS}]:\n"
        "    no_memory.sweep_step(step)\n")
    assert len(counts) == len(no_memory_steps.ALL[part::PARTS])
    assert sum(counts) >= len(counts)
