"""One row of a trace: its target and loss, and the names of its classes."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from softxent.explain.numbers import Numbers
from softxent.render.numbers import plural
from softxent.render.text import shorten

__all__ = [
    "RowLoss",
    "class_label",
    "shown_classes",
    "shown_names",
    "target_mark",
    "why_undefined",
    "with_remainder",
]

Values = npt.NDArray[np.float64]

_NAME_WIDTH = 16
_ALL_CLASSES = 12  # up to so many classes, all are shown;
_TOP_CLASSES = 8  # of more, so many and the target


class RowLoss(NamedTuple):
    """One row's target and what it gives."""

    target: int | None  # None where the target is class probabilities
    ignored: bool
    t: Values  # (C,) the target distribution
    s: float  # its sum
    loss: float
    gradient: Values  # (C,)

    @classmethod
    def of(cls, numbers: Numbers, row: int) -> RowLoss | None:
        """The row of a trace; None in a trace without a target."""
        if numbers.losses is None:
            return None
        assert numbers.target is not None
        assert numbers.ignored is not None
        assert numbers.mass is not None
        assert numbers.mass_sum is not None
        assert numbers.row_gradient is not None
        return cls(
            target=int(numbers.target[row]) if numbers.target.ndim == 1 else None,
            ignored=bool(numbers.ignored[row]),
            t=numbers.mass[row],
            s=float(numbers.mass_sum[row]),
            loss=float(numbers.losses[row]),
            gradient=numbers.row_gradient[row],
        )


def class_label(numbers: Numbers, index: int, columns: int = _NAME_WIDTH) -> str:
    """A class by its name; `class 2` where it has no name, or a number for a name."""
    name = shorten(numbers.classes[index], columns)
    if numbers.named and name and not name.replace(".", "").isdigit():
        return name
    return f"class {name or index}"


def shown_classes(numbers: Numbers, loss: RowLoss | None) -> list[int]:
    """The classes of a row that are shown.

    Every class, in order; of many the most probable ones (or those whose logits make the row
    undefined) and the target.
    """
    count = len(numbers.classes)
    if count <= _ALL_CLASSES:
        return list(range(count))
    scaled = numbers.scaled[0]
    key = np.isfinite(scaled) if why_undefined(scaled) else -numbers.probabilities[0]
    order = np.argsort(key, kind="stable")
    shown = [int(index) for index in order[:_TOP_CLASSES]]
    if loss is not None and not loss.ignored:
        target = int(loss.t.argmax()) if loss.target is None else loss.target
        shown += [] if target in shown else [target]
    return shown


def shown_names(numbers: Numbers, shown: list[int]) -> list[str]:
    """The names of the shown classes and, where some aren't shown, how many."""
    others = len(numbers.classes) - len(shown)
    names = [class_label(numbers, index) for index in shown]
    return [*names, plural(others, "other")] if others else names


def with_remainder(values: npt.NDArray[np.floating], shown: list[int]) -> list[float]:
    """The values of the shown classes and, where some aren't shown, the sum of the others."""
    others = np.delete(values, shown)
    return [*values[shown].tolist(), *([math.fsum(others)] if others.size else [])]


def target_mark(index: int, loss: RowLoss | None) -> str:
    """The mark next to the target's class."""
    return "  <- target" if loss and not loss.ignored and index == loss.target else ""


def why_undefined(scaled: Values) -> str:
    """Why a row's probabilities are NaN; empty where they aren't."""
    if np.isnan(scaled).any():
        return "A logit is NaN"
    if np.isposinf(scaled).any():
        return "A logit is infinite"
    if np.isneginf(scaled).all():
        return "Every logit is -inf, which excludes every class"
    return ""
