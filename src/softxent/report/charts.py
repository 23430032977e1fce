"""Charts in SVG: axes with ticks and units, and lines with their names next to them.

A chart is a few hundred SVG units wide. That is about the number of pixels that it gets on a phone
and on half of a wide screen, so its text is readable on both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from softxent.render.markup import Child, Element, el
from softxent.render.numbers import number, typeset_minus

__all__ = ["Axis", "Frame", "Series", "axis", "drawing", "line_chart"]

_LINE_HEIGHT = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A range of numbers, its ticks, and a label with the unit."""

    low: float
    high: float
    ticks: Sequence[float]
    label: str


def axis(low: float, high: float, label: str, *, whole: bool = False, most: int = 6) -> Axis:
    """An axis over [low, high], widened to round numbers.

    Args:
        low: the least value.
        high: the greatest value.
        label: the quantity, with its unit.
        whole: whether all values are integers; the range is then not widened.
        most: the greatest number of ticks.
    """
    if high <= low:
        spread = abs(low) / 2 or 0.5
        low, high = low - spread, high + spread
    step = _round_step((high - low) / most)
    if whole:
        step = max(1.0, round(step))
        first, last = math.ceil(low / step), math.floor(high / step)
    else:
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        low, high = first * step, last * step
    return Axis(low=low, high=high, ticks=[i * step for i in range(first, last + 1)], label=label)


def _round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is at least `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= least * (1 - 1e-9))


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The plot area of a chart, and the positions of values in it."""

    across: float
    """The plot area's width, without the margins."""
    up: float
    x_axis: Axis
    y_axis: Axis
    left: float = 52.0
    right: float = 16.0
    top: float = 30.0
    bottom: float = 42.0

    @property
    def width(self) -> float:
        """Of the whole chart."""
        return self.left + self.across + self.right

    @property
    def height(self) -> float:
        """Of the whole chart."""
        return self.top + self.up + self.bottom

    def x(self, value: float) -> float:
        """The position of a value on the x axis."""
        share = (value - self.x_axis.low) / (self.x_axis.high - self.x_axis.low)
        return self.left + share * self.across

    def y(self, value: float) -> float:
        """The position of a value on the y axis, which points up."""
        share = (value - self.y_axis.low) / (self.y_axis.high - self.y_axis.low)
        return self.top + (1 - share) * self.up

    def axes(self, *, grid: bool = True) -> list[Element]:
        """Ticks with their numbers, grid lines and labels."""
        floor, end = self.top + self.up, self.left + self.across
        parts: list[Element] = []
        for tick, text in _tick_texts(self.y_axis):
            at = self.y(tick)
            line = (self.left, end) if grid else (self.left - 4, self.left)
            parts += [
                el("line", x1=line[0], x2=line[1], y1=at, y2=at, class_="grid" if grid else "axis"),
                el("text", text, x=self.left - 8, y=at + 4, text_anchor="end"),
            ]
        for tick, text in _tick_texts(self.x_axis):
            at = self.x(tick)
            parts += [
                el("line", x1=at, x2=at, y1=floor, y2=floor + 4, class_="axis"),
                el("text", text, x=at, y=floor + 18, text_anchor="middle"),
            ]
        middle = (self.left + end) / 2
        return [
            *parts,
            el("line", x1=self.left, x2=end, y1=floor, y2=floor, class_="axis"),
            el("text", self.y_axis.label, x=0, y=14, class_="label"),
            el("text", self.x_axis.label, x=middle, y=self.height - 6, class_="label middle"),
        ]


def _tick_texts(axis: Axis) -> list[tuple[float, str]]:
    ticks = axis.ticks
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if decimals > 5 or max(map(abs, ticks), default=0) >= 1e6:
        return [(tick, number(tick, 2)) for tick in ticks]
    return [(tick, typeset_minus(f"{tick:,.{decimals}f}")) for tick in ticks]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A line of a chart: one value per epoch; values that aren't finite leave gaps."""

    name: str
    style: str
    """The line's CSS class."""
    values: Sequence[float]
    last: str
    """The last value as text, shown at the end of the line."""


def drawing(
    id_: str, title: str, description: str, width: float, height: float, *content: Child
) -> Element:
    """An SVG image with a description for screen readers.

    Args:
        id_: the prefix of its ids, unique in the page.
        title: its name.
        description: what it shows.
        width: in SVG units.
        height: in SVG units.
        content: its elements.
    """
    return el(
        "svg",
        el("title", title, id=f"{id_}-title"),
        el("desc", description, id=f"{id_}-description"),
        content,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_labelledby=f"{id_}-title {id_}-description",
        class_="drawing",
    )


def line_chart(
    id_: str,
    title: str,
    description: str,
    x_axis: Axis,
    y_axis: Axis,
    x: Sequence[float],
    series: Sequence[Series],
) -> Element:
    """Lines over x, each with its name and last value at its end."""
    frame = Frame(across=274, up=198, x_axis=x_axis, y_axis=y_axis, right=104)
    return drawing(
        id_,
        title,
        description,
        frame.width,
        frame.height,
        frame.axes(),
        (_line(frame, x, one) for one in series),
        _end_labels(frame, x, series),
    )


def _line(frame: Frame, x: Sequence[float], series: Series) -> Element:
    runs: list[list[tuple[float, float]]] = [[]]
    for place, value in zip(x, series.values, strict=True):
        if math.isfinite(value):
            runs[-1].append((frame.x(place), frame.y(value)))
        elif runs[-1]:
            runs.append([])
    dots = [point for run in runs for point in run]
    few = len(dots) <= 30  # more dots would hide the line
    return el(
        "g",
        (
            el("polyline", points=" ".join(f"{px:.1f},{py:.1f}" for px, py in run))
            for run in runs
            if len(run) > 1
        ),
        (el("circle", cx=px, cy=py, r=2.5) for px, py in dots) if few else None,
        class_=f"series {series.style}",
    )


def _end_labels(frame: Frame, x: Sequence[float], series: Sequence[Series]) -> list[Element]:
    """Each line's name and last value at its end, moved apart where they would overlap."""
    ends = []
    for one in series:
        finite = [(p, v) for p, v in zip(x, one.values, strict=True) if math.isfinite(v)]
        if finite:
            ends.append((frame.y(finite[-1][1]), frame.x(finite[-1][0]), one))
    ends.sort(key=lambda end: end[0])
    heights = [end[0] for end in ends]
    for i in range(1, len(heights)):
        missing = heights[i - 1] + _LINE_HEIGHT - heights[i]
        if missing > 0:
            heights[i - 1] -= missing / 2
            heights[i] += missing / 2
    return [
        el("text", f"{one.name} {one.last}", x=right + 8, y=at + 4, class_=f"end {one.style}")
        for at, (_, right, one) in zip(heights, ends, strict=True)
    ]
