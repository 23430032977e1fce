"""Whether the model is right as often as its probabilities say."""

from __future__ import annotations

from softxent.metrics import Bin, Calibration
from softxent.render.markup import Element, el
from softxent.render.numbers import count, percent, probability
from softxent.render.tables import scrolling, table
from softxent.report.charts import Frame, axis, drawing

__all__ = ["section"]


def section(calibration: Calibration) -> Element:
    """Probability against frequency, and whether chance can explain the difference."""
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
                f"The test rows in {count(len(bins))} bins of about {count(bins[0].rows)}, by the "
                "probability of the predicted class. In a bin on the diagonal the model is right "
                "as often as its probabilities say; below the diagonal it is overconfident, above "
                "it underconfident. Lines: 95% confidence intervals (Wilson).",
            ),
            class_="beside",
        ),
        el(
            "details",
            el("summary", "Every bin in numbers"),
            scrolling("Every bin in numbers", _numbers(bins)),
        ),
    )


def _verdict(calibration: Calibration) -> str:
    error, chance = calibration.error, calibration.by_chance
    benchmark = (
        f"95% of perfectly calibrated models have an error of at most {percent(chance, 1)} on this "
        "many rows."
    )
    if error <= chance:
        return (
            f"The expected calibration error is {percent(error, 1)}, which chance can explain: "
            f"{benchmark}"
        )
    expected = sum(one.rows * one.confidence for one in calibration.bins)
    correct = sum(one.correct for one in calibration.bins)
    return (
        f"On average the model is {'over' if expected > correct else 'under'}confident. The "
        f"expected calibration error is {percent(error, 1)}, more than chance can explain: "
        f"{benchmark}"
    )


def _chart(calibration: Calibration) -> Element:
    bins = calibration.bins
    lowest = 100 * min(min(one.low, one.confidence) for one in bins)
    x_axis = axis(lowest, 100, "probability of the predicted class (%)", most=5)
    y_axis = axis(lowest, 100, "share of correct predictions (%)", most=5)
    frame = Frame(across=352, up=288, x_axis=x_axis, y_axis=y_axis)
    low, high = x_axis.low, x_axis.high
    return drawing(
        "reliable",
        "Probability against frequency",
        f"Expected calibration error {percent(calibration.error, 1)}; every bin is in the table "
        "below.",
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
        "Bins of equally many rows, by increasing confidence.",
        [
            ("mean probability", "number"),
            ("correct", "number"),
            ("rows", "number"),
            ("accuracy", "number"),
            ("95% interval", "number"),
        ],
        [
            [
                probability(one.confidence),
                count(one.correct),
                count(one.rows),
                percent(one.correct, one.rows, 1),
                f"{percent(one.low, 1, 1)} to {percent(one.high, 1, 1)}",
            ]
            for one in bins
        ],
    )
