"""Confidence intervals of proportions."""

from __future__ import annotations

import math
from statistics import NormalDist

__all__ = ["wilson_interval"]

_Z95 = NormalDist().inv_cdf(0.975)


def wilson_interval(successes: float, trials: float) -> tuple[float, float]:
    """The 95% confidence interval of a proportion; (NaN, NaN) without any trial.

        (p + z^2 / 2n  -+  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n),  z = 1.96

    Args:
        successes: how many trials succeeded, 0 to `trials`.
        trials: n.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22
    (1927).

    Example:
        >>> low, high = wilson_interval(9696, 10000)
        >>> round(low, 4), round(high, 4)
        (0.9661, 0.9728)

    See Also:
        scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
    """
    if not trials > 0:
        return math.nan, math.nan
    share, z2 = successes / trials, _Z95 * _Z95
    middle = share + z2 / (2 * trials)
    half = _Z95 * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials))
    scale = 1 + z2 / trials
    # Rounding could exclude the proportion itself; the interval of 0 of n starts at exactly 0.
    low, high = max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
    return min(share, low), max(share, high)
