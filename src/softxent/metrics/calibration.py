"""Whether predictions are correct as often as their probabilities say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from softxent.metrics.intervals import wilson_interval

__all__ = ["Bin", "Calibration", "measure_calibration"]

_MOST_BINS = 15
_ROWS_PER_BIN = 30  # with fewer, the intervals are too wide to be useful
_SIMULATIONS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Rows of similar confidence.

    Attributes:
        rows: how many.
        correct: how many of them are predicted correctly.
        confidence: their mean confidence.
        low, high: the 95% confidence interval of `accuracy`.
    """

    rows: int
    correct: int
    confidence: float
    low: float
    high: float

    @property
    def accuracy(self) -> float:
        """Correct / rows."""
        return self.correct / self.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The expected calibration error (ECE) and the bins that it is computed from.

    Attributes:
        bins: by increasing confidence; their numbers of rows differ by at most one.
        error: the ECE, the rows' mean of |accuracy - confidence| of their bin.
        by_chance: the 95% quantile of the ECE of a perfectly calibrated model with the same
            confidences; an error below it may be chance.
    """

    bins: list[Bin]
    error: float
    by_chance: float


def measure_calibration(
    confidence: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_]
) -> Calibration | None:
    """Compare confidences with frequencies, in bins of equally many rows.

    Args:
        confidence: (N,) probability of the predicted class; rows with NaN are left out.
        correct: (N,) whether the prediction is correct.

    Returns:
        The calibration; None without any row. It is deterministic: the quantile comes from 200
        simulations with a fixed seed.

    Example:
        >>> confidence = np.linspace(0.5, 1, 100)
        >>> calibration = measure_calibration(confidence, confidence > 0.6)
        >>> calibration is not None
        True

    Source: Nguyen and O'Connor, "Posterior calibration and exploratory analysis for natural
    language processing models", EMNLP 2015 (bins of equal size); the simulation is the consistency
    resampling of Bröcker and Smith, 2007.
    """
    known = ~np.isnan(confidence)
    order = np.argsort(confidence[known], kind="stable")
    confidence, correct = confidence[known][order], correct[known][order]
    if not len(confidence):
        return None
    number = min(_MOST_BINS, max(1, len(confidence) // _ROWS_PER_BIN))
    starts = np.array([part[0] for part in np.array_split(np.arange(len(confidence)), number)])
    sizes = np.diff(starts, append=len(confidence))
    bins = []
    for start, rows in zip(starts.tolist(), sizes.tolist(), strict=True):
        hits = int(correct[start : start + rows].sum())
        low, high = wilson_interval(hits, rows)
        mean = float(confidence[start : start + rows].mean())
        bins.append(Bin(rows=rows, correct=hits, confidence=mean, low=low, high=high))
    rng = np.random.default_rng(0)
    simulated = [
        _error(rng.random(len(confidence)) < confidence, confidence, starts)
        for _ in range(_SIMULATIONS)
    ]
    return Calibration(
        bins=bins,
        error=_error(correct, confidence, starts),
        by_chance=float(np.quantile(simulated, 0.95)),
    )


def _error(
    correct: npt.NDArray[np.bool_],
    confidence: npt.NDArray[np.float64],
    starts: npt.NDArray[np.intp],
) -> float:
    gaps = np.abs(np.add.reduceat(correct - confidence, starts))
    return float(gaps.sum()) / len(confidence)
