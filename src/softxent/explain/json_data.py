"""An explanation as data that JSON can hold."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from softxent.explain.numbers import Numbers

__all__ = ["trace_data", "what_if_data"]


def trace_data(numbers: Numbers) -> dict[str, Any]:
    """All numbers of a trace as lists, dictionaries and strings."""
    return {
        "format": "softxent.trace",
        "version": 1,
        **_plain_data(numbers),
        "binary": _plain_data(numbers.binary),
        "margin": _plain_data(numbers.margin),
        "computed": _plain_data(numbers.computed),
        "plain": _plain_data(numbers.plain),
    }


def what_if_data(before: Numbers, after: Numbers) -> dict[str, Any]:
    """All numbers of two traces."""
    return {
        "format": "softxent.what_if",
        "version": 1,
        "before": trace_data(before),
        "after": trace_data(after),
    }


def _plain_data(value: Any) -> Any:
    """Dictionaries, lists, strings and numbers.

    JSON has no infinities and no NaN. They become strings that Python's `float` and JavaScript's
    `Number` read.
    """
    if is_dataclass(value):
        return {field.name: _plain_data(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, np.ndarray | np.generic):
        return _plain_data(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain_data(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
