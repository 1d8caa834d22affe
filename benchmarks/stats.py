# SPDX-License-Identifier: Apache-2.0
"""What the samples say: medians and paired ratios, with their spread."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from .cell import Sample
from .workloads import Workload

Figure = Literal[
    "value",
    "cpu_us",
    "loop_cpu_us",
    "p50_us",
    "p99_us",
    "loop_thread",
    "other_threads",
    "client_busy",
    "waited",
    "client_waited",
    "client_late_us",
    "beside",
]


@dataclass(frozen=True)
class Spread:
    median: float
    low: float
    high: float
    count: int


def spread(numbers: Sequence[float]) -> Spread | None:
    if not numbers:
        return None
    return Spread(statistics.median(numbers), min(numbers), max(numbers), len(numbers))


class Results:
    """The samples of a run, by workload and loop."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._cells: dict[tuple[str, str], list[Sample]] = {}
        for sample in samples:
            self._cells.setdefault((sample.workload, sample.loop), []).append(sample)

    def samples(self, workload: str, loop: str) -> list[Sample]:
        return self._cells.get((workload, loop), [])

    def numbers(self, workload: str, loop: str, figure: Figure) -> dict[int, float]:
        """By round; a round that failed has none."""
        return {
            sample.round: number
            for sample in self.samples(workload, loop)
            if sample.error is None and (number := getattr(sample, figure)) is not None
        }

    def spread(self, workload: str, loop: str, figure: Figure) -> Spread | None:
        return spread(list(self.numbers(workload, loop, figure).values()))

    def errors(self, workload: str, loop: str) -> list[str]:
        return [s.error for s in self.samples(workload, loop) if s.error is not None]

    def ratio(
        self, workload: Workload, loop: str, baseline: str, figure: Figure = "value"
    ) -> Spread | None:
        """To the baseline, round by round, since both ran a moment apart then.
        Turned so that above 1 is better, whatever the figure is."""
        ours = self.numbers(workload.name, loop, figure)
        base = self.numbers(workload.name, baseline, figure)
        less_is_better = figure != "value" or workload.lower_is_better
        ratios = []
        for number in ours.keys() & base.keys():
            over, under = ours[number], base[number]
            if less_is_better:
                over, under = under, over
            if under > 0:
                ratios.append(over / under)
        return spread(ratios)


def best_loop(
    results: Results, workload: Workload, loops: Sequence[str], baseline: str
) -> str | None:
    """The one with the highest median ratio; the baseline's is 1."""
    ratios = {
        loop: found.median
        for loop in loops
        if (found := results.ratio(workload, loop, baseline))
    }
    return max(ratios, key=lambda loop: ratios[loop]) if ratios else None
