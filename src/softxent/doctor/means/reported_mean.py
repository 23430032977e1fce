"""A reported mean and the batches that it was made from, as the rules see them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["ReportedMean"]


@dataclass(frozen=True, kw_only=True)
class ReportedMean:
    """A reported mean, with the means and sizes of its batches.

    Attributes:
        reported: the number in question.
        tolerance: how far rounding may have moved it.
        means: the mean of each batch, (K,).
        counts: what each of them was divided by, (K,), > 0.
    """

    reported: float
    tolerance: float
    means: npt.NDArray[np.float64]
    counts: npt.NDArray[np.float64]

    @property
    def plain(self) -> float:
        """The mean of the means, each counted once."""
        return float(self.means.mean())

    @property
    def weighted(self) -> float:
        """The correct mean: each batch counts with its size."""
        return float(self.means @ self.counts / self.counts.sum())

    def agrees_with(self, value: float) -> bool:
        """Whether the reported number is this one, up to its rounding."""
        return abs(self.reported - value) <= self.tolerance
