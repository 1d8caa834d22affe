# SPDX-License-Identifier: Apache-2.0
"""Which shared object a count of callgrind's belongs to."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePath

_NAMED = re.compile(r"\((\d+)\)(?: (.*))?$")


def label(path: str) -> str:
    """python3.14, _core, _asyncio, libc: a file's name up to its suffixes."""
    name = PurePath(path).name
    stem = re.split(r"\.so|\.cpython-|\.abi3", name)[0]
    return stem if ".so" in name else name


def self_costs(text: str) -> Counter[str]:
    """Instructions by shared object, of a callgrind.out file.

    A name is written once and then stands for itself by its number. The line
    after calls= is the callee's cost, which is counted where that is defined."""
    names: dict[str, str] = {}
    costs: Counter[str] = Counter()
    current = ""
    skip = False
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and key in ("ob", "cob"):
            found = _NAMED.match(value)
            number, name = found.groups() if found else (value, value)
            if name is not None:
                names[number] = label(name)
            if key == "ob":
                current = names[number]
        elif equals and key == "calls":
            skip = True
        elif line[:1] in "0123456789+-*" and line:
            if not skip:
                costs[current] += int(line.split()[1])
            skip = False
    return costs
