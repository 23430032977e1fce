"""The largest error that each result may have, in units in the last place (ulp) of the exact value.

One bound, `ULP`, holds for every function, dtype and input of the compiled kernels, with two
exceptions: a log-sum-exp near 0, and float64 logits under a softcap or a temperature, where u =
softcap tanh(z / (temperature softcap)) is rounded to float64 before anything else, and no later
step can undo that. The decomposition into torch operations rounds more often; its bounds are
derived from the row of logits. docs/exactness.md explains both. A bound is lowered when the code
improves, and never raised to make a test pass.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tests.support.logits import depth

ULP = 4.0
HALF_ULP = 1.0  # softmax, log-softmax and gradients of half types, in their own ulp
# An entry of a softmax's gradient is a probability times a sum of others, each with its own error.
SOFTMAX_GRADIENT_ULP = 5.0  # of the larger term; of a log-softmax's gradient ULP
REDUCED_FLOAT32 = 0.51  # a sum or mean of float32 losses: added in float64 and rounded once
EXP = 1.0  # the kernels' exp(x), for x <= 0
LOG1P = {"float32": 0.5, "float64": 2.0}  # and log(1 + x)

# A float64 log-sum-exp near 0 is right to 2^-88 of the maximum. The ulp is that of the maximum.
LSE_NEAR_ZERO = 2.0**-33

TANH_SLOPE = 3.0  # torch's derivative of tanh, 1 - tanh^2, in ulp of 1


class RowBounds(NamedTuple):
    """The bounds of one row's loss and gradient, in ulp.

    Attributes:
        slope: the error of du/dz where it has an absolute one, in ulp of 1 / temperature.
    """

    loss: float
    gradient: float
    slope: float = 0.0


def kernels(
    row: Any, dtype: str, *, softcap: float | None = None, temperature: float = 1.0
) -> RowBounds:
    """The bounds of the compiled kernels.

    An ulp is at least eps = 2^-53 of a result. Where the roundings of u_j are k eps |u_j|, every
    log p_j is off by at most 2 k eps max |u|; and by so much, relatively, are p_j, 1 - p_j and the
    loss. The roundings of du/dz are added for the gradient. Float32 logits are scaled in float64.
    """
    size = np.abs(row[np.isfinite(row)]).max() / temperature
    if dtype == "float32" or (softcap is None and temperature == 1):
        return RowBounds(ULP, ULP)
    if softcap is None:
        return RowBounds(ULP + 2 * size, ULP + 2 * size)
    # z / temperature / softcap: 2; tanh: 5, by expm1 within 2 ulp; 2 + m, the quotient, the product
    drift = 2 * 10 * softcap * np.tanh(size / softcap)
    return RowBounds(ULP + drift, ULP + drift + 4 * size / softcap + 7)


def decomposition(
    row: Any, dtype: str, *, softcap: float | None = None, temperature: float = 1.0
) -> RowBounds:
    """The bounds of the decomposition into torch operations.

    As for the kernels, and u_j - max is rounded: exp(u_j - max) moves by eps |u_j - max|,
    relatively, and the sum of them by no more than the largest of these.
    """
    u = row.astype(np.float64) / temperature
    roundings = float(temperature != 1)
    if softcap is not None:
        u = softcap * np.tanh(u / softcap)
        roundings += 4  # the quotient, tanh within 2 ulp, the product
    drift = 2 * roundings * np.abs(u[np.isfinite(u)]).max()
    return RowBounds(
        ULP + drift + reach(u, dtype),
        ULP + drift + 2 * reach(u, dtype),
        TANH_SLOPE if softcap is not None else 0.0,
    )


def reach(u: Any, dtype: str) -> float:
    """The largest distance to the maximum at which exp(u - max) is a normal number."""
    below = np.max(u).astype(np.float64) - u.astype(np.float64)
    return float(below[below <= depth(dtype)].max())
