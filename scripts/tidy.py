#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check what no formatter checks: sizes, licence lines, open ends.

A file has at most 500 lines, a function 70 lines and, in C, 5 parameters. What
is beyond that is recorded in scripts/tidy_allowed.txt, one `<what> <number>` a
line; a recorded number may shrink (--update writes it) but grows only by hand.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = ROOT / "scripts" / "tidy_allowed.txt"
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
PARAMETERS_MAX = 5
COLUMNS_MAX = 80
OPEN_END = re.compile(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))")
LICENCE = "SPDX-License-Identifier: Apache-2.0"

Measure = tuple[str, int, int]  # what, its number, the limit


def sources() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    return [ROOT / name for name in sorted(filter(None, listed))]


def language(path: Path, text: str) -> str | None:
    kinds = {".c": "c", ".h": "c", ".py": "python", ".pyi": "python", ".sh": "shell"}
    if path.suffix in kinds:
        return kinds[path.suffix]
    first = text.partition("\n")[0]
    if not path.suffix and first.startswith("#!"):
        return "python" if "python" in first else "shell"
    return None


def parameters(header: str) -> int:
    """Count those of a C function from the text between name and brace."""
    inside = header[header.index("(") + 1 : header.rindex(")")]
    depth = commas = 0
    for char in inside:
        depth += (char == "(") - (char == ")")
        commas += char == "," and depth == 0
    return 0 if inside.strip() in ("", "void") else commas + 1


def c_functions(name: str, lines: list[str]) -> Iterator[Measure]:
    """PEP 7 puts a function's braces, and no others, alone in column 0."""
    for opening in (n for n, line in enumerate(lines) if line == "{"):
        start = opening - 1
        while start > 0 and not re.match(r"\w+\(", lines[start]):
            start -= 1
        header = " ".join(lines[start:opening])
        function = f"{name}:{header.partition('(')[0]}"
        closing = lines.index("}", opening) if "}" in lines[opening:] else opening
        yield function, closing - start + 1, FUNCTION_LINES_MAX
        yield f"{function}()", parameters(header), PARAMETERS_MAX


def python_functions(name: str, text: str) -> Iterator[Measure]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            yield f"{name}:{node.name}", length, FUNCTION_LINES_MAX


def shell_functions(name: str, lines: list[str]) -> Iterator[Measure]:
    start = None
    for number, line in enumerate(lines):
        if found := re.match(r"(\w+)\(\) [{(]$", line):
            start, function = number, found[1]
        elif line in ("}", ")") and start is not None:
            yield f"{name}:{function}", number - start + 1, FUNCTION_LINES_MAX
            start = None


def faults_of_lines(name: str, kind: str, lines: list[str]) -> Iterator[str]:
    if LICENCE not in "\n".join(lines[:4]) and any(lines):
        yield f"{name}:1: no line with {LICENCE}"
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            yield f"{name}:{number}: blanks at the end of the line"
        if kind == "c" and "\t" in line:
            yield f"{name}:{number}: a tab"
        if kind == "c" and len(line) > COLUMNS_MAX:
            yield f"{name}:{number}: {len(line)} columns, at most {COLUMNS_MAX}"
        if OPEN_END.search(line) and "OPEN_END" not in line:
            yield f"{name}:{number}: an open end that names no issue: TODO(#12)"


def survey() -> tuple[dict[str, int], list[str]]:
    """What is beyond a limit, and the faults that no allowance covers."""
    beyond: dict[str, int] = {}
    faults: list[str] = []
    for path in sources():
        if not path.is_file() or path.is_symlink():
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        if (kind := language(path, text)) is None:
            continue
        name = str(path.relative_to(ROOT))
        lines = text.splitlines()
        faults += faults_of_lines(name, kind, lines)
        measures: list[Measure] = [(name, len(lines), FILE_LINES_MAX)]
        if kind == "c":
            measures += c_functions(name, lines)
        elif kind == "python":
            measures += python_functions(name, text)
        else:
            measures += shell_functions(name, lines)
        for what, number, limit in measures:
            if number > limit:
                beyond[what] = max(number, beyond.get(what, 0))
    return beyond, faults


def recorded() -> dict[str, int]:
    pairs = (line.split() for line in ALLOWED.read_text().splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


def main(arguments: list[str]) -> int:
    beyond, faults = survey()
    allowed = recorded()
    for what, number in beyond.items():
        if what not in allowed:
            faults.append(f"{what}: {number} is beyond the limit")
        elif number > allowed[what]:
            faults.append(f"{what}: {number}, recorded are {allowed[what]}")
    shrunk = {
        what: number for what, number in allowed.items() if beyond.get(what, 0) < number
    }
    if arguments == ["--update"]:
        kept = {w: min(n, beyond[w]) for w, n in allowed.items() if w in beyond}
        ALLOWED.write_text("".join(f"{w} {n}\n" for w, n in sorted(kept.items())))
    elif shrunk:
        faults += [f"{what}: shrunk, run scripts/tidy.py --update" for what in shrunk]
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
