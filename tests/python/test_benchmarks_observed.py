# SPDX-License-Identifier: Apache-2.0
"""The loops of the benchmarks that somebody watches."""

import contextlib
import sys
from pathlib import Path

import pytest

import rsloop_c

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import loops  # noqa: E402


@pytest.fixture(autouse=True)
def uninstalled():
    yield
    rsloop_c.uninstall()


def test_they_are_a_set_of_their_own():
    watched = loops.select("observed")
    assert watched[0] == "rsloop_c:auto+streams"
    assert "rsloop_c:auto+profiler" in watched
    assert not {*watched[1:]} & {*loops.select("default,tls")}


def test_the_profiler_runs():
    spec = loops.LOOPS["rsloop_c:auto+profiler"]
    made = [loops.make_loop(spec) for _ in range(2)]
    assert rsloop_c.profiler_running()
    rsloop_c.stop_profiler()
    for loop in made:
        loop.close()


@pytest.mark.parametrize("by, attribute", [
    ("watchdog", "watchdog"), ("flight_recorder", "flight_recorder"),
    ("metrics", "_metrics")])
def test_the_variables_are_those_of_the_loop(by, attribute, monkeypatch):
    spec = loops.LOOPS[f"rsloop_c:auto+{by}"]
    for variable, value in spec.env.items():
        monkeypatch.setenv(variable, value)
    with contextlib.closing(loops.make_loop(spec)) as loop:
        assert getattr(loop, attribute)
