# SPDX-License-Identifier: Apache-2.0
"""Counts of instructions: what is read of callgrind's file, what has grown."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import (  # noqa: E402
    cell,
    instructions,
    regression,
)

CALLGRIND = """\
version: 1
positions: line
events: Ir
ob=(1) /usr/bin/python3.14
fn=(1) main
16 400
cob=(2) /x/_core.cpython-314-x86_64-linux-gnu.so
cfn=(2) step
calls=2 10
+1 300
* 5

ob=(2)
fn=(2)
10 250
-3 50
ob=(3) /lib/libc.so.6
fn=(3) memcpy
+2 7
totals: 712
"""


def test_callgrind_total_and_growth():
    with pytest.raises(cell.CellError, match="no total"):
        instructions.parse_objects("version: 1\n")
    before = {"call_soon": {"uvloop": 100.0, "asyncio": 100.0}}
    after = {"call_soon": {"uvloop": 101.0, "asyncio": 110.0}, "new": {"uvloop": 1.0}}
    assert instructions.grown(before, after, 1.02) == [
        "call_soon on asyncio: 100 -> 110 (1.100)"
    ]


def test_callgrind_counts_belong_to_their_object():
    assert instructions.parse_objects(CALLGRIND) == {
        "python3.14": 405,
        "_core": 300,
        "libc": 7,
    }
    with pytest.raises(cell.CellError, match="not its total"):
        instructions.parse_objects(CALLGRIND.replace("712", "713"))
    costs = {"a": {"_core": 750.0, "libc": 249.0, "libm": 1.0}, "b": {}}
    assert instructions.object_table("chain", costs, ["a", "b"]).splitlines() == [
        "| chain by object | a | b |",
        "|---|---|---|",
        "| _core | 750 (75%) | failed |",
        "| libc | 249 (25%) | failed |",
        "| others | 1 (0%) | failed |",
    ]


def test_regression_shows_growth_and_what_is_missing(monkeypatch, capsys):
    costs = [{"chain": {"a": 100.0, "b": 100.0}}, {"chain": {"a": 110.0}}]
    monkeypatch.setattr(regression, "build", lambda commit, folder: folder)
    monkeypatch.setattr(regression, "count", lambda *args: costs.pop(0))
    assert regression.main(["A", "B", "--paths=chain", "--loops=a,b"]) == 1
    shown = capsys.readouterr().out
    assert "| chain on a | 100 | 110 | 1.100 |" in shown
    assert "grown: chain on a: 100 -> 110 (1.100)" in shown
    assert "not counted: chain on b" in shown


def test_regression_passes_within_the_limit(monkeypatch):
    costs = [{"chain": {"a": 100.0}}, {"chain": {"a": 101.0}}]
    monkeypatch.setattr(regression, "build", lambda commit, folder: folder)
    monkeypatch.setattr(regression, "count", lambda *args: costs.pop(0))
    assert regression.main(["A", "--paths=chain", "--loops=a"]) == 0


def test_regression_tells_of_an_unknown_commit(capsys):
    assert regression.main(["no-such-commit"]) == 2
    assert "no-such-commit" in capsys.readouterr().err
