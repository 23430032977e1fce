"""Whether the probabilities can be taken at their word."""

from __future__ import annotations

from softxent.render.markup import Element, el
from softxent.render.numbers import count, percent, probability
from softxent.render.tables import scrolling, table
from softxent.report.calibration import Bin, Calibration
from softxent.report.charts import Frame, axis, drawing

__all__ = ["section"]


def section(calibration: Calibration) -> Element:
    """Promised probability against frequency, and whether chance explains the difference."""
    bins = calibration.bins
    return el(
        "section",
        el("h2", "Calibration", id="reliability"),
        el("p", _verdict(calibration)),
        el(
            "figure",
            _chart(calibration),
            el(
                "figcaption",
                f"The test rows in {count(len(bins))} groups of about {count(bins[0].rows)}, by "
                "the probability of the class that the model named. A group on the diagonal is "
                "right as often as the model says; below it the model is too sure, above it too "
                "modest. "
                "Lines: 95% intervals (Wilson).",
            ),
            class_="beside",
        ),
        el(
            "details",
            el("summary", "Every group in numbers"),
            scrolling("Every group in numbers", _numbers(bins)),
        ),
    )


def _verdict(calibration: Calibration) -> str:
    error, chance = calibration.error, calibration.by_chance
    benchmark = (
        f"of perfectly calibrated models, 95% would show at most {percent(chance, 1)} on so many "
        "rows."
    )
    if error <= chance:
        return (
            f"The expected calibration error is {percent(error, 1)}, which chance can explain: "
            f"{benchmark}"
        )
    promised = sum(one.rows * one.confidence for one in calibration.bins)
    leaning = "sure" if promised > sum(one.right for one in calibration.bins) else "modest"
    return (
        f"On the whole the model is too {leaning}. The expected calibration error is "
        f"{percent(error, 1)}, more than chance explains: {benchmark}"
    )


def _chart(calibration: Calibration) -> Element:
    bins = calibration.bins
    lowest = 100 * min(min(one.low, one.confidence) for one in bins)
    x_axis = axis(lowest, 100, "probability of the named class (%)", most=5)
    y_axis = axis(lowest, 100, "how often it was right (%)", most=5)
    frame = Frame(across=352, up=288, x_axis=x_axis, y_axis=y_axis)
    low, high = x_axis.low, x_axis.high
    return drawing(
        "reliable",
        "Probability against frequency",
        f"Expected calibration error {percent(calibration.error, 1)}; every group is in the table "
        "of groups.",
        frame.width,
        frame.height,
        frame.axes(),
        el(
            "line",
            x1=frame.x(low),
            y1=frame.y(low),
            x2=frame.x(high),
            y2=frame.y(high),
            class_="ideal",
        ),
        (
            el(
                "g",
                el("line", x1=x, x2=x, y1=frame.y(100 * one.low), y2=frame.y(100 * one.high)),
                el("circle", cx=x, cy=frame.y(100 * one.accuracy), r=3.5),
                class_="series test interval",
            )
            for one in bins
            for x in [frame.x(100 * one.confidence)]
        ),
    )


def _numbers(bins: list[Bin]) -> Element:
    return table(
        "The rows in order of their confidence, in groups of equal size.",
        [
            ("mean probability", "number"),
            ("right", "number"),
            ("rows", "number"),
            ("frequency", "number"),
            ("95% interval", "number"),
        ],
        [
            [
                probability(one.confidence),
                count(one.right),
                count(one.rows),
                percent(one.right, one.rows, 1),
                f"{percent(one.low, 1, 1)} to {percent(one.high, 1, 1)}",
            ]
            for one in bins
        ],
    )
