# SPDX-License-Identifier: Apache-2.0
"""The order of the cells of a run."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from .workloads import Workload


def cells(
    workloads: Sequence[Workload], loops: Sequence[str], rounds: int, seed: int
) -> Iterator[tuple[int, Workload, str]]:
    """Round by round, so that a slow drift of the machine meets all loops; the
    loops of a row one after another, so that a ratio is of one moment; each
    time in another order, so that none always follows the same."""
    chance = random.Random(seed)
    for number in range(rounds):
        for workload in workloads:
            order = list(loops)
            chance.shuffle(order)
            for loop in order:
                yield number, workload, loop


def count(workloads: Sequence[Workload], loops: Sequence[str], rounds: int) -> int:
    return len(workloads) * len(loops) * rounds
