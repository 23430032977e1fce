"""For points in the plane: the predicted class everywhere, with the test points on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from softxent.metrics import Metrics
from softxent.record import Data, Regions
from softxent.render.markup import Child, Element, el, name
from softxent.render.numbers import count
from softxent.report.charts import Axis, Frame, axis, drawing
from softxent.report.palette import Colour, class_colours, to_hex
from softxent.report.png import data_uri

__all__ = ["section"]

_FAINTEST, _DEEPEST = 0.04, 0.42
"""Opacity at probability 1/C and at 1; the page, light or dark, shows through."""

_SIDE = 360.0
_MOST_POINTS = 3000  # more would hide each other and make the page large


def section(data: Data, regions: Regions, metrics: Metrics) -> Element:
    """The decision regions, shaded by probability, with the test points."""
    colours = class_colours(data.classes)
    points = _shown(regions, metrics)
    return el(
        "section",
        el("h2", "Decision regions", id="regions"),
        el(
            "figure",
            _picture(data, regions, points, colours),
            _legend(data.classes, metrics, colours),
            el(
                "figcaption",
                "Background: the predicted class, the fainter the lower its probability. "
                f"Points: {count(len(points.target))} of {count(len(metrics.target))} test rows in "
                f"the colour of their true class. The {count(int(points.wrong.sum()))} with a ring "
                "are predicted wrongly.",
            ),
            class_="plane",
        ),
    )


@dataclass(frozen=True, slots=True)
class _Points:
    """The test points that are shown."""

    places: npt.NDArray[np.float64]  # (K, 2)
    target: npt.NDArray[np.int64]  # (K,)
    wrong: npt.NDArray[np.bool_]  # (K,)


def _shown(regions: Regions, metrics: Metrics) -> _Points:
    """All test points, or every k-th where there are very many."""
    step = max(1, -(-len(regions.points) // _MOST_POINTS))
    return _Points(
        places=np.array(regions.points, dtype=np.float64).reshape(-1, 2)[::step],
        target=np.array(regions.target, dtype=np.int64)[::step],
        wrong=~metrics.correct[::step],
    )


def _picture(data: Data, regions: Regions, points: _Points, colours: Sequence[Colour]) -> Element:
    frame = _frame(data, regions, points)
    left, right = map(frame.x, _cells(regions.x))
    bottom, top = map(frame.y, _cells(regions.y))
    picture = el(
        "image",
        href=data_uri(_pixels(regions, colours)),
        x=left,
        y=top,
        width=right - left,
        height=bottom - top,
        preserveAspectRatio="none",
    )
    return drawing(
        "plane",
        "Decision regions and test points",
        f"{count(len(points.target))} test points on the regions of {count(len(colours))} classes; "
        f"{count(int(points.wrong.sum()))} of them are in the region of another class.",
        frame.width,
        frame.height,
        picture,
        frame.axes(grid=False),
        _dots(points, colours, frame),
        _rings(points, frame),
    )


def _frame(data: Data, regions: Regions, points: _Points) -> Frame:
    """Axes over the grid and the points; equal scales where the extents are similar."""
    x_low, x_high = _extent(regions.x, points.places[:, 0])
    y_low, y_high = _extent(regions.y, points.places[:, 1])
    ratio = (y_high - y_low) / (x_high - x_low)
    names = data.features if len(data.features) == 2 else ["x", "y"]
    return Frame(
        across=_SIDE,
        up=_SIDE * (ratio if 0.5 <= ratio <= 1.5 else 1.0),
        x_axis=_over(x_low, x_high, names[0]),
        y_axis=_over(y_low, y_high, names[1]),
    )


def _cells(grid: Sequence[float]) -> tuple[float, float]:
    """The outer edges of a grid's first and last cells, whose centres are given."""
    half = (grid[-1] - grid[0]) / (len(grid) - 1) / 2
    return grid[0] - half, grid[-1] + half


def _extent(grid: Sequence[float], points: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, high = _cells(grid)
    return float(points.min(initial=low)), float(points.max(initial=high))


def _over(low: float, high: float, label: str) -> Axis:
    """An axis over exactly [low, high], with round ticks inside."""
    ticks = [tick for tick in axis(low, high, label).ticks if low <= tick <= high]
    return Axis(low=low, high=high, ticks=ticks, label=label)


def _pixels(regions: Regions, colours: Sequence[Colour]) -> npt.NDArray[np.uint8]:
    """(len(y), len(x), 4): the class is the colour, its probability the opacity; y points up."""
    predicted = np.array(regions.predicted)[::-1]
    probability = np.array(regions.probability, dtype=np.float64)[::-1]
    least = 1 / max(2, len(colours))
    opacity = _FAINTEST + (_DEEPEST - _FAINTEST) * np.clip(
        (probability - least) / (1 - least), 0, 1
    )
    alpha = np.round(opacity * 255 / 3) * 3  # invisible steps that halve the file
    return np.dstack([np.array(colours)[predicted], alpha]).astype(np.uint8)


def _dots(points: _Points, colours: Sequence[Colour], frame: Frame) -> list[Element]:
    """One path per class: a dot at each point, over a halo in the page's colour."""
    parts = []
    for index, colour in enumerate(colours):
        places = points.places[points.target == index].tolist()
        path = "".join(f"M{frame.x(x):.1f} {frame.y(y):.1f}h0" for x, y in places)
        if path:
            parts.append(el("path", d=path, class_="halo"))
            parts.append(el("path", d=path, class_="point", stroke=to_hex(colour)))
    return parts


def _rings(points: _Points, frame: Frame) -> list[Element]:
    return [
        el("circle", cx=frame.x(x), cy=frame.y(y), r=7, class_="ring")
        for x, y in points.places[points.wrong].tolist()
    ]


def _legend(classes: Sequence[str], metrics: Metrics, colours: Sequence[Colour]) -> Element:
    entries: list[Child] = [
        el("li", _dot(colour), name(one, 32), f" ({count(int(rows))})")
        for one, colour, rows in zip(classes, colours, metrics.counts.rows, strict=True)
    ]
    ring = el("circle", cx=8, cy=8, r=6.5, class_="ring")
    entries.append(el("li", el("svg", ring, viewBox="0 0 16 16", aria_hidden="true"), "wrong"))
    return el("ul", entries, class_="key")


def _dot(colour: Colour) -> Element:
    dot = el("circle", cx=8, cy=8, r=5, fill=to_hex(colour))
    return el("svg", dot, viewBox="0 0 16 16", aria_hidden="true")
