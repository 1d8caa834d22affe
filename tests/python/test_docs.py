# SPDX-License-Identifier: Apache-2.0
"""What the documents say is there: files, links, commands, code that runs."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
OURS_ONLY = pytest.mark.asyncio_is_worse("the documents are about rsloop_c")


def names(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("document", DOCUMENTS, ids=names)
def test_links_lead_somewhere(document):
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=names)
def test_files_that_are_named_exist(document):
    text = document.read_text(encoding="utf-8")
    mentioned = re.findall(r"`((?:[\w.]+/)+[\w.]*|_?\w+\.(?:c|h|py))`", text)
    mentioned += re.findall(r"^    (scripts/\w+|examples/\S+)", text, re.MULTILINE)
    rooms = [
        ROOT,
        ROOT / "runtime",
        ROOT / "pyext",
        ROOT / "python" / "rsloop_c",
        ROOT / "python" / "rsloop_c" / "include",
        ROOT / "benchmarks",
        ROOT / "tests",
    ]
    for name in mentioned:
        if name.startswith(".build/"):
            continue  # made by the command that the document tells of
        if f"```python\n# {name}\n" in text:
            continue  # a program of the document's own
        assert any((room / name).exists() for room in rooms), name


# --- docs/compatibility.md ---------------------------------------------------

TABLE = ROOT / "docs" / "compatibility.md"
SINCE = re.compile(r"-|3\.1[0-5](\.\d)?( to 3\.\d+)?( \(.+\))?")


def features():
    """(feature, since, state, named tests) for each row of the tables."""
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and not line.startswith(("| Feature", "| ---")):
            feature, since, state, tests = line.strip("| ").split(" | ")
            yield feature, since, state, re.findall(r"`([^`]+)`", tests)


def defined_in(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, functions)}


def test_each_feature_has_a_state_and_tests_that_exist():
    rows = list(features())
    assert len(rows) > 100
    for feature, since, state, tests in rows:
        assert SINCE.fullmatch(since), f"{feature}: since {since}"
        claim = re.match(r"yes|partly|no|not yet", state)
        assert claim, f"{feature}: {state}"
        claimed = claim.group() in ("yes", "partly")
        assert bool(tests) == claimed, f"{feature}: {state}, tests {tests}"
        for test in tests:
            path, _, name = test.partition("::")
            assert (ROOT / path).is_file(), f"{feature}: {path}"
            if path.startswith("tests/python/"):
                assert name in defined_in(ROOT / path), f"{feature}: {test}"


def test_no_feature_is_named_twice():
    names = [feature for feature, *_ in features()]
    assert len(set(names)) == len(names)


# --- docs/tls.md ---


def test_each_feature_of_ssl_has_tests_that_exist():
    text = (ROOT / "docs" / "tls.md").read_text(encoding="utf-8")
    table = text.partition("## Features of ssl, by engine")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()
            if line.startswith("| ") and "---" not in line][1:]
    assert len(rows) > 60
    assert len({feature for feature, *_ in rows}) == len(rows)
    for feature, openssl, mbedtls, tests in rows:
        assert openssl and mbedtls
        assert "ignored" not in openssl + mbedtls, feature
        named = re.findall(r"`(\w+)::(\w+)`", tests)
        assert named, feature
        for file, test in named:
            path = ROOT / "tests" / "python" / f"test_tls_{file}.py"
            assert test in defined_in(path), f"{feature}: {file}::{test}"


@OURS_ONLY
def test_readmes_first_program_runs(flavour, tmp_path):
    code = re.search(
        r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    (tmp_path / "first.py").write_text(code.group(1))
    done = subprocess.run(
        [sys.executable, "-W", "error", "first.py"],
        cwd=tmp_path,
        env={**os.environ, **flavour.environment()},
        text=True,
        capture_output=True,
    )
    assert (done.stdout, done.stderr) == (f"{flavour.backend}\n", "")
