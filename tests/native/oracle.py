"""What the kernels should give, in 50 digits; shares nothing with them. Slow and plain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np

mpmath.mp.dps = 50


@dataclass
class Row:
    probs: list[Any]
    log_probs: list[Any]
    lse: Any
    max: float


def row(x: np.ndarray) -> Row:
    z = [mpmath.mpf(float(v)) for v in x]
    top = max(z)
    at = z.index(top)
    e = [mpmath.exp(v - top) for v in z]
    rest = mpmath.fsum(v for j, v in enumerate(e) if j != at)
    log_sum = mpmath.log1p(rest)
    return Row(
        [v / (1 + rest) for v in e],
        [(v - top) - log_sum for v in z],
        top + log_sum,
        float(top),
    )


def cross_entropy(
    x: np.ndarray,
    mass: list[Any],
    z_loss: float = 0.0,
    softcap: float = 0.0,
    temperature: float = 1,
) -> tuple[Any, list[Any], list[Any]]:
    """The loss, its gradient, and for each entry of the gradient the larger of its two terms."""
    z = [mpmath.mpf(float(v)) for v in x]
    t = [mpmath.mpf(float(v)) if not isinstance(v, mpmath.mpf) else v for v in mass]
    if softcap:
        v = [a / mpmath.mpf(temperature) / mpmath.mpf(softcap) for a in z]
        u = [softcap * mpmath.tanh(a) for a in v]
        slope = [mpmath.sech(a) ** 2 / mpmath.mpf(temperature) for a in v]
    else:
        u = [a / mpmath.mpf(temperature) for a in z]
        slope = [1 / mpmath.mpf(temperature)] * len(z)
    top = max(u)
    at = u.index(top)
    e = [mpmath.exp(a - top) for a in u]
    rest = mpmath.fsum(a for j, a in enumerate(e) if j != at)
    log_sum = mpmath.log1p(rest)
    lse = top + log_sum
    s = mpmath.fsum(t)
    loss = mpmath.fsum(a * (log_sum + (top - b)) for a, b in zip(t, u, strict=True) if a)
    loss += mpmath.mpf(z_loss) * lse**2
    pull = s + 2 * mpmath.mpf(z_loss) * lse
    p = [a / (1 + rest) for a in e]
    grad = [(pull * a - b) * c for a, b, c in zip(p, t, slope, strict=True)]
    # 50 digits don't hold 1 - p of a model that is sure by 700 nats.
    others = mpmath.fsum(a for j, a in enumerate(t) if j != at) + (pull - s)
    grad[at] = (others - pull * rest / (1 + rest)) * slope[at]
    terms = [max(abs(pull * a), b) * c for a, b, c in zip(p, t, slope, strict=True)]
    return loss, grad, terms


def ulps(got: Any, want: Any, dtype: Any, of: Any = None) -> float:
    """|got - want| in units of the last place of `want` (or of `of`), in dtype's normal numbers."""
    if not mpmath.isfinite(want):
        return 0.0 if float(got) == float(want) else float("inf")
    scale = abs(want if of is None else of)
    info = np.finfo(dtype)
    exponent = max(mpmath.frexp(scale)[1] if scale else -(10**6), info.minexp + 1)
    return float(abs(mpmath.mpf(float(got)) - want) / mpmath.mpf(2) ** (exponent - 1 - info.nmant))
