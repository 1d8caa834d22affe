# SPDX-License-Identifier: Apache-2.0
"""The ratios of a run as an SVG: for each row a group of bars that start at
the baseline's line, to the right where a loop is ahead, to the left where it
is behind. The axis is logarithmic, so that half and double are equally far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from .report import Run
from .stats import Spread
from .workloads import Workload

WIDTH = 900
LEFT = 190
RIGHT = 60
BAR = 9
GAP = 12
LEGEND_ROW = 18
TICK_ROOM = 32
TICKS = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4, 6, 8, 16)
LOW, HIGH = 0.6, 1.6  # the axis shows at least this
LOWEST, HIGHEST = 0.05, 16.0  # and at most this
INK, FAINT, BAD = "#1f2328", "#d0d7de", "#cf222e"
COLOURS = {
    "rsloop_c:auto": "#0b5cad",
    "rsloop_c:io_uring": "#4a90d9",
    "rsloop_c:epoll": "#9cc5ee",
    "uvloop": "#57606a",
    "asyncio": "#b0b7bf",
    "rsloop": "#d4843e",
    "rloop": "#8f63b8",
    "zloop": "#4f9d69",
    "zuvloop": "#c2587c",
    "blazio": "#b59a2d",
}


@dataclass(frozen=True)
class Axis:
    low: float
    high: float

    def x(self, ratio: float) -> float:
        share = math.log(min(max(ratio, self.low), self.high) / self.low)
        width = WIDTH - LEFT - RIGHT
        return LEFT + width * share / math.log(self.high / self.low)


def axis_for(ratios: Sequence[float]) -> Axis:
    low = min([LOW, *(ratio * 0.9 for ratio in ratios)])
    high = max([HIGH, *(ratio * 1.1 for ratio in ratios)])
    return Axis(max(low, LOWEST), min(high, HIGHEST))


def _text(x: float, y: float, text: str, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'


def _dot(x: float, y: float) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="white" stroke="{INK}" '
        'stroke-width="0.9"/>'
    )


def _label(ratio: Spread, xs: Sequence[float], y: float) -> str:
    """The number, beyond all that is drawn at `xs` on its side."""
    loses = ratio.median < 1
    x = min(xs) - 5 if loses else max(xs) + 5
    anchor, colour = ("end", BAD) if loses else ("start", INK)
    style = f'font-size="9" text-anchor="{anchor}" fill="{colour}"'
    return _text(x, y, f"{ratio.median:.2f}", style)


def _bar(run: Run, workload: Workload, loop: str, axis: Axis, y: float) -> list[str]:
    ratio = run.results.ratio(workload, loop, run.baseline)
    cpu = run.results.ratio(workload, loop, run.baseline, "cpu_us")
    one, base = axis.x(1), y + BAR - 1
    if ratio is None:
        failed = run.results.errors(workload.name, loop)
        style = f'fill="{BAD}" font-size="9"'
        return [_text(one + 4, base, f"{loop} failed", style)] if failed else []
    end, low, high = (axis.x(n) for n in (ratio.median, ratio.low, ratio.high))
    title = f"{loop}: {ratio.median:.2f} ({ratio.low:.2f}..{ratio.high:.2f})"
    middle = y + BAR / 2
    xs = [end, low, high]
    parts = [
        f'<rect x="{min(one, end):.1f}" y="{y:.1f}" height="{BAR - 1}" '
        f'width="{max(abs(end - one), 0.5):.1f}" '
        f'fill="{COLOURS.get(loop, "#888888")}"><title>{escape(title)}</title></rect>',
        _line(low, middle, high, middle, f'stroke="{INK}" stroke-width="0.8"'),
    ]
    if cpu:
        xs.append(axis.x(cpu.median))
        parts.append(_dot(xs[-1], middle - 0.5))
    return [*parts, _label(ratio, xs, base)]


def _ticks(axis: Axis) -> list[float]:
    """Those with room for their labels; 1 and then powers of 2 come first."""
    chosen: list[float] = []
    for tick in sorted(TICKS, key=lambda t: (t != 1, math.log2(t) % 1 != 0)):
        room = all(abs(axis.x(tick) - axis.x(t)) > TICK_ROOM for t in chosen)
        if axis.low <= tick <= axis.high and room:
            chosen.append(tick)
    return chosen


def _grid(axis: Axis, top: float, bottom: float) -> list[str]:
    parts = []
    for tick in _ticks(axis):
        x = axis.x(tick)
        stroke = f'stroke="{FAINT}"'
        if tick == 1:
            stroke = f'stroke="{INK}" stroke-width="1.5"'
        parts.append(_line(x, top, x, bottom, stroke))
        style = f'font-size="10" text-anchor="middle" fill="{INK}"'
        parts.append(_text(x, bottom + 12, f"{tick:g}x", style))
    return parts


def _legend(loops: Sequence[str], y: float) -> tuple[list[str], float]:
    """Its parts and the y below it."""
    parts, x = [], float(LEFT)
    for loop in loops:
        width = 26 + 6.5 * len(loop)
        if x + width > WIDTH:
            x, y = float(LEFT), y + LEGEND_ROW
        colour = COLOURS.get(loop, "#888888")
        parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="10" height="10" fill="{colour}"/>'
        )
        parts.append(_text(x + 14, y + 9, loop, f'font-size="11" fill="{INK}"'))
        x += width
    y += LEGEND_ROW
    parts.append(_dot(LEFT + 5, y + 5))
    text = "server CPU per operation, likewise: right of the line is less"
    parts.append(_text(LEFT + 14, y + 9, text, f'font-size="11" fill="{INK}"'))
    return parts, y + LEGEND_ROW


def _ratios(run: Run, loops: Sequence[str]) -> list[float]:
    return [
        found.median
        for workload in run.workloads
        for loop in loops
        if (found := run.results.ratio(workload, loop, run.baseline))
    ]


def _caption(run: Run) -> str:
    machine, rounds = run.machine, run.options["rounds"]
    caption = (
        f"CPython {machine['python']}, {machine['cpu']}, {machine['cores']} cores, "
        f"Linux {machine['kernel']}, {machine['date'][:10]}; "
    )
    if rounds == 1:
        return caption + "one round"
    return caption + f"medians of {rounds} rounds, lines: lowest to highest"


def render(run: Run) -> str:
    loops = [name for name in run.loops if name != run.baseline]
    axis = axis_for(_ratios(run, loops))
    small = f'font-size="10" fill="{INK}"'
    title = f"Rate relative to {run.baseline} (right of the line is faster)"
    parts = [
        _text(12, 22, title, f'font-size="15" font-weight="bold" fill="{INK}"'),
        _text(12, 38, _caption(run), small),
    ]
    legend, top = _legend(loops, 50)
    parts += legend
    y = top + GAP / 2
    bars = []
    for workload in run.workloads:
        height = BAR * len(loops)
        style = f'font-size="11" text-anchor="end" fill="{INK}"'
        bars.append(_text(LEFT - 42, y + height / 2 + 4, workload.name, style))
        for loop in loops:
            bars += _bar(run, workload, loop, axis, y)
            y += BAR
        y += GAP
    parts += _grid(axis, top, y - GAP / 2) + bars
    bottom = y + 20
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
        f'height="{bottom:.0f}" viewBox="0 0 {WIDTH} {bottom:.0f}" '
        'font-family="system-ui, sans-serif">'
    )
    background = f'<rect width="{WIDTH}" height="{bottom:.0f}" fill="white"/>'
    return "\n".join([head, background, *parts, "</svg>", ""])
