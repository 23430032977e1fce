"""Predictions as they are compared with labels, as the rules see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

__all__ = ["Comparison"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Predicted and true classes, and how many were counted as correct (None if unknown)."""

    predicted: npt.NDArray[Any]
    target: npt.NDArray[Any]
    correct: float | None
