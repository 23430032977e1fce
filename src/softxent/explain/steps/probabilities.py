"""The steps from one row's logits to its probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from softxent.explain.numbers import Numbers
from softxent.explain.steps.document import Column, Step, Table
from softxent.explain.steps.row import (
    RowLoss,
    Values,
    shown_names,
    target_mark,
    why_undefined,
    with_remainder,
)
from softxent.render.numbers import exact, short
from softxent.render.text import align_decimals

__all__ = ["probability_steps"]

_LARGEST_EXPONENT = 700  # exp(710) overflows; exp(-710) is subnormal and has few digits


def probability_steps(numbers: Numbers, shown: list[int], loss: RowLoss | None) -> Iterator[Step]:
    """The logits, the scaled logits, the exponentials and the probabilities."""
    yield _logits(numbers, shown, loss)
    if numbers.softcap is not None or numbers.temperature != 1:
        yield _scaled(numbers, shown, loss)
    reason = why_undefined(numbers.scaled[0])
    if reason:
        yield Step(f"{reason}: the probabilities are not defined.")
    else:
        yield _exponentials(numbers, shown)
        yield _probabilities(numbers, shown)


def _logits(numbers: Numbers, shown: list[int], loss: RowLoss | None) -> Step:
    sentence = (
        "The logits: one number per class. The higher the number, the more probable the class."
    )
    if numbers.dtype != "float64":
        sentence += f" They are {numbers.dtype} numbers, shown with every stored digit."
    if len(shown) < len(numbers.classes):
        sentence += f" Of {len(numbers.classes):,} classes, {len(shown)} are shown."
    return Step(sentence, [_listing(numbers, numbers.logits[0], shown, loss)])


def _scaled(numbers: Numbers, shown: list[int], loss: RowLoss | None) -> Step:
    temperature, cap = exact(numbers.temperature), numbers.softcap
    sentence = f"The logits divided by the temperature, {temperature}."
    if cap is not None:
        scale = exact(cap * numbers.temperature)
        sentence = (
            f"The logits limited to the range from -{exact(cap)} to {exact(cap)}: "
            f"{exact(cap)} tanh(logit / {scale})."
        )
        if numbers.temperature != 1:
            sentence = sentence.removesuffix(".") + f", with the temperature {temperature}."
    return Step(sentence, [_listing(numbers, numbers.scaled[0], shown, loss)])


def _listing(numbers: Numbers, values: Values, shown: list[int], loss: RowLoss | None) -> Table:
    cells = align_decimals([exact(value) for value in values[shown]])
    marks = [target_mark(index, loss) for index in shown]
    others = np.delete(values, shown)
    if others.size:
        cells.append(f"up to {short(others.max())}")
        marks.append("")
    names = shown_names(numbers, shown)
    return Table((Column(names, "name"), Column(cells), Column(marks, "mark")))


def _exponentials(numbers: Numbers, shown: list[int]) -> Step:
    top = float(numbers.maximum[0])
    sentence = "Exponentials make every number positive."
    arguments, values = numbers.scaled[0], numbers.exponentials[0]
    total = float(numbers.exponential_sum[0])
    if not (abs(top) <= _LARGEST_EXPONENT and math.isfinite(total)):
        sentence = (
            f"Exponentials make every number positive. exp({short(top)}) doesn't fit into 64 "
            f"bits, so the largest logit, {exact(top)}, is first subtracted from each. This "
            "divides all exponentials by the same number, which cancels in the next step."
        )
        arguments, values = numbers.shifted[0], numbers.shifted_exponentials[0]
        total = float(numbers.shifted_sum[0])
    calls = [f"exp({exact(argument)})" for argument in arguments[shown]]
    names = shown_names(numbers, shown)
    calls += [""] * (len(names) - len(calls))
    cells = align_decimals([exact(value) for value in [*with_remainder(values, shown), total]])
    table = Table(
        (
            Column([*names, "sum"], "name"),
            Column([*calls, ""]),
            Column([f"= {cell}" for cell in cells]),
        )
    )
    return Step(sentence, [table])


def _probabilities(numbers: Numbers, shown: list[int]) -> Step:
    values = with_remainder(numbers.probabilities[0], shown)
    total = f"{math.fsum(numbers.probabilities[0]):.15g}"
    table = Table(
        (
            Column([*shown_names(numbers, shown), "sum"], "name"),
            Column(align_decimals([*map(exact, values), total])),
            Column(kind="bar", shares=[*values, None]),
        )
    )
    return Step("Probabilities: each exponential divided by the sum. They add up to 1.", [table])
