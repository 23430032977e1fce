"""A mean that carries its denominator, so that a loss can't be divided by the wrong number."""

from __future__ import annotations

import math
from dataclasses import dataclass

from softxent.errors import OptionError

__all__ = ["Mean"]


@dataclass(frozen=True, slots=True)
class Mean:
    """A sum and what it has to be divided by.

    Two of them add up to the mean over both, for any sizes: `Mean(s, a) + Mean(t, b)` is
    `Mean(s + t, a + b)`. Batches, epochs and machines can be added in any grouping, where a mean of
    means would count a short last batch as much as a full one.

    Args:
        total: the sum; for a loss in nats.
        weight: the denominator: the number of rows, or the summed weight of the rows, >= 0.

    Example:
        >>> epoch = sum([Mean(6.0, 64), Mean(1.0, 16)])
        >>> epoch
        Mean(total=7.0, weight=80)
        >>> epoch.value
        0.0875
        >>> Mean(0.0, 0).value
        nan

    Raises:
        OptionError: the weight is negative.

    Edge cases: a mean over nothing has the weight 0 and the value NaN.

    See Also: `torchmetrics.MeanMetric`, `keras.metrics.Mean`.
    """

    total: float
    weight: float

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise OptionError(f"[Mean] weight is {self.weight}: a denominator is >= 0.")

    @property
    def value(self) -> float:
        """The mean itself; NaN where the weight is 0, since a mean over nothing is not a number."""
        return self.total / self.weight if self.weight else math.nan

    def __add__(self, other: Mean) -> Mean:
        if not isinstance(other, Mean):
            return NotImplemented
        return Mean(self.total + other.total, self.weight + other.weight)

    def __radd__(self, other: int) -> Mean:
        return self if other == 0 else NotImplemented  # sum() starts from 0

    def __float__(self) -> float:
        return self.value
