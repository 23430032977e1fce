"""One row of a trace as the texts need it: its target and what it costs, its classes' names."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from softxent.render.numbers import plural
from softxent.render.text import shorten

if TYPE_CHECKING:
    from softxent.explain.trace import Trace

__all__ = ["Goal", "goal_of", "label", "mark", "names_of", "why_nan", "with_others"]

NAME_WIDTH = 16

Values = npt.NDArray[np.float64]


class Goal(NamedTuple):
    """What the target asks of a row, and what the row pays."""

    target: int | None  # the target's class; None where the target is class probabilities
    ignored: bool
    mass: Values  # (C,) t
    mass_sum: float  # s
    loss: float
    gradient: Values  # (C,)


def goal_of(trace: Trace, row: int) -> Goal | None:
    """A row's goal, or None in a trace without a target."""
    if trace.losses is None:
        return None
    assert trace.target is not None
    assert trace.ignored is not None
    assert trace.mass is not None
    assert trace.mass_sum is not None
    assert trace.row_gradient is not None
    return Goal(
        target=int(trace.target[row]) if trace.target.ndim == 1 else None,
        ignored=bool(trace.ignored[row]),
        mass=trace.mass[row],
        mass_sum=float(trace.mass_sum[row]),
        loss=float(trace.losses[row]),
        gradient=trace.row_gradient[row],
    )


def label(trace: Trace, index: int, columns: int = NAME_WIDTH) -> str:
    """A class by its name; `class 2` where it has none, or where the name is a number."""
    name = shorten(trace.classes[index], columns)
    if trace.named and name and not name.replace(".", "").isdigit():
        return name
    return f"class {name or index}"


def names_of(trace: Trace, shown: list[int]) -> list[str]:
    """The shown classes' names and, where some classes aren't shown, how many."""
    others = len(trace.classes) - len(shown)
    names = [label(trace, index) for index in shown]
    return [*names, plural(others, "other")] if others else names


def with_others(values: npt.NDArray[np.floating], shown: list[int]) -> list[float]:
    """The shown classes' values and, where some classes aren't shown, the sum of theirs."""
    others = np.delete(values, shown)
    return [*values[shown].tolist(), *([math.fsum(others)] if others.size else [])]


def mark(index: int, goal: Goal | None) -> str:
    """What points at the target."""
    return "  <- target" if goal and not goal.ignored and index == goal.target else ""


def why_nan(scaled: Values) -> str:
    """What makes a row's probabilities NaN; empty where nothing does."""
    if np.isnan(scaled).any():
        return "A logit is NaN"
    if np.isposinf(scaled).any():
        return "A logit is infinite"
    if np.isneginf(scaled).all():
        return "Every logit is -inf, which rules every class out"
    return ""
