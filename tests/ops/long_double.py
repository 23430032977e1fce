"""The oracle for long rows: NumPy's long double, 64 bits of mantissa, and its error bounded.

50 digits take minutes on a million classes. Long double has 11 bits more than float64, enough as
long as nothing cancels: differences to the maximum are kept as two-term sums, the maximum's own
term is left out of the sum of the rest, and where a result is a difference all the same (a
log-sum-exp near 0, a gradient p - t), `doubt` says how far it may be off, and 50 digits decide.

Shares nothing with the library. `test_exactness` compares it with the oracle of 50 digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Long = np.longdouble
Array = npt.NDArray[Any]
AVAILABLE = np.finfo(Long).nmant >= 63
EPS = 2.0**-63  # one unit in the last place of a long double near 1


@dataclass(frozen=True)
class Row:
    """The softmax of one row. `rest` is the sum of exp(u - max) but for the first maximum."""

    u: Array
    at: int
    d: Array  # u - max, rounded
    e: Array  # exp(u - max)
    rest: Any

    @property
    def top(self) -> Any:
        return self.u[self.at]

    @property
    def log_sum(self) -> Any:
        return np.log1p(self.rest)

    @property
    def p(self) -> Array:
        return self.e / (1 + self.rest)

    @property
    def log_p(self) -> Array:
        return self.d - self.log_sum

    @property
    def lse(self) -> Any:
        return self.top + self.log_sum

    @property
    def lse_doubt(self) -> Any:
        return 4 * EPS * (abs(self.top) + self.log_sum)


def row(x: Array) -> Row:
    u = np.asarray(x).astype(Long)
    at = int(u.argmax())
    with np.errstate(invalid="ignore"):
        d = u - u[at]
        back = d + u[at]  # what the difference has lost, by Knuth's two-term sum
        lost = (u - back) + ((back - d) - u[at])
    # float64's smallest numbers are far from long double's
    e = np.exp(d) * (1 + np.where(np.isfinite(u), lost, 0))
    others = e.copy()
    others[at] = 0
    return Row(u, at, d, e, others.sum())


@dataclass(frozen=True)
class Loss:
    loss: Any
    grad: Array
    terms: Array  # the larger of the two terms whose difference a gradient is
    doubt: Array  # how far grad may be off


def cross_entropy(
    x: Array,
    target: int | Array,
    weight: Array | None = None,
    *,
    label_smoothing: float = 0.0,
) -> Loss:
    """Loss and gradient of one row, as `oracle.cross_entropy`; plain logits."""
    r = row(x)
    classes = len(r.u)
    w = np.ones(classes, Long) if weight is None else weight.astype(Long)
    smoothing = Long(label_smoothing)
    if isinstance(target, int | np.integer):
        t = np.full(classes, smoothing / classes) * w
        t[target] += (1 - smoothing) * w[target]
    else:
        t = w * ((1 - smoothing) * target.astype(Long) + smoothing / classes)
    s = t.sum()
    gap = np.where(t == 0, 0, t * np.where(t == 0, 0, -r.d)).sum()
    p = r.p
    grad = s * p - t
    terms = np.maximum(s * p, t)
    doubt = 8 * EPS * terms
    if t[r.at] > s / 2:
        # Nearly all of p and of t is on one class: what is beside it has the digits of 1 - p.
        others = t.copy()
        others[r.at] = 0
        mass, less = others.sum(), s * r.rest / (1 + r.rest)
        grad[r.at] = mass - less
        doubt[r.at] = 8 * EPS * max(mass, less)
    return Loss(s * r.log_sum + gap, grad, terms, doubt)


def unit(exact: Any, dtype: Any) -> Array:
    """One in the last place of each exact value; below the smallest normal number, the one there.

    Args:
        exact: long doubles.
        dtype: float32, float64, float16, or ml_dtypes.bfloat16.
    """
    mantissa, smallest = _format(dtype)
    exponent = np.maximum(np.frexp(np.asarray(exact, Long))[1] - 1, smallest)
    return np.ldexp(Long(1), exponent - mantissa)


def _format(dtype: Any) -> tuple[int, int]:
    """Bits behind the point, and the exponent of the smallest normal number."""
    if np.dtype(dtype).name == "bfloat16":
        return 7, -126
    info = np.finfo(dtype)
    return int(info.nmant), int(info.minexp)


def ulps(got: Any, exact: Any, of: Any = None) -> Array:
    """How far each result is off, in units in the last place of the exact value (or of `of`)."""
    got, exact = np.asarray(got), np.asarray(exact, Long)
    wide = (
        got.astype(Long)
        if np.dtype(got.dtype).name != "bfloat16"
        else (got.astype(np.float32).astype(Long))
    )
    finite = np.isfinite(wide) & np.isfinite(exact)
    same = (wide == exact) | (np.isnan(wide) & np.isnan(exact))
    with np.errstate(invalid="ignore"):
        off = np.abs(wide - exact) / unit(exact if of is None else of, got.dtype)
    return np.where(finite, off, np.where(same, 0, np.inf))
