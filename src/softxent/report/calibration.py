"""Do the probabilities mean what they say? Reliability in bins of equal mass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from softxent.report.metrics import Metrics, wilson

__all__ = ["Bin", "Calibration", "calibrate"]

_MOST_BINS = 15
_ROWS_A_BIN = 30  # fewer and the intervals are too wide to read anything off them
_DRAWS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Rows of similar confidence: what was promised, what came, and its 95% interval."""

    rows: int
    right: int
    confidence: float
    low: float
    high: float

    @property
    def accuracy(self) -> float:
        """The share of rows that were right."""
        return self.right / self.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The bins, and the expected calibration error over them.

    Attributes:
        bins: by increasing confidence; their numbers of rows differ by at most one.
        error: the rows' mean of |accuracy - confidence| of their bin.
        by_chance: what 95% of perfectly calibrated models with these confidences stay below.
    """

    bins: list[Bin]
    error: float
    by_chance: float


def calibrate(metrics: Metrics) -> Calibration | None:
    """The reliability of the predicted class's probability; None without any prediction."""
    kept = metrics.predicted >= 0
    order = np.argsort(metrics.confidence[kept], kind="stable")
    confidence = metrics.confidence[kept][order]
    right = (metrics.predicted == metrics.target)[kept][order]
    if not len(confidence):
        return None
    number = min(_MOST_BINS, max(1, len(confidence) // _ROWS_A_BIN))
    starts = np.array([part[0] for part in np.array_split(np.arange(len(confidence)), number)])
    sizes = np.diff(starts, append=len(confidence))
    bins = []
    for start, rows in zip(starts.tolist(), sizes.tolist(), strict=True):
        hits = int(right[start : start + rows].sum())
        low, high = wilson(hits, rows)
        promised = float(confidence[start : start + rows].mean())
        bins.append(Bin(rows=rows, right=hits, confidence=promised, low=low, high=high))
    rng = np.random.default_rng(0)  # the same page each time
    drawn = [
        _error(rng.random(len(confidence)) < confidence, confidence, starts) for _ in range(_DRAWS)
    ]
    return Calibration(
        bins=bins,
        error=_error(right, confidence, starts),
        by_chance=float(np.quantile(drawn, 0.95)),
    )


def _error(
    right: npt.NDArray[np.bool_], confidence: npt.NDArray[np.float64], starts: npt.NDArray[np.intp]
) -> float:
    return float(np.abs(np.add.reduceat(right - confidence, starts)).sum()) / len(confidence)
