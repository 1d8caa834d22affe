# SPDX-License-Identifier: Apache-2.0
"""What the documents say is there: files, links, commands, code that runs."""

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
        ROOT / "python" / "rsloop_c",
        ROOT / "benchmarks",
        ROOT / "tests",
    ]
    for name in mentioned:
        assert any((room / name).exists() for room in rooms), name


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
