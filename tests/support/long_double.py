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

    at: int
    top: Any
    d: Array  # u - max, rounded
    e: Array  # exp(u - max)
    rest: Any

    @property
    def log_sum(self) -> Any:
        return np.log1p(self.rest)

    @property
    def lse(self) -> Any:
        return self.top + self.log_sum

    def p(self, places: Any = slice(None)) -> Array:
        return np.asarray(self.e[places] / (1 + self.rest))

    def log_p(self, places: Any = slice(None)) -> Array:
        return np.asarray(self.d[places] - self.log_sum)


def long(x: Array) -> Array:
    """The same numbers as long doubles; bfloat16 goes by way of float32."""
    exact = x.astype(np.float32) if x.dtype.name == "bfloat16" else x
    return exact.astype(Long)


def row(x: Array) -> Row:
    u = long(x)
    at = int(u.argmax())
    with np.errstate(invalid="ignore"):
        d = u - u[at]
        back = d + u[at]  # what the difference has lost, by Knuth's two-term sum
        lost = (u - back) + ((back - d) - u[at])
    e = np.exp(d) * (1 + np.where(np.isfinite(u), lost, 0))
    others = e.copy()
    others[at] = 0
    return Row(at, u[at], d, e, others.sum())


@dataclass(frozen=True)
class Loss:
    """At some places of a row: its gradient, and how far that may be off."""

    loss: Any
    grad: Array
    doubt: Array


def cross_entropy(
    r: Row,
    target: int | Array,
    weight: Array | None = None,
    *,
    label_smoothing: float = 0.0,
    places: Any = slice(None),
) -> Loss:
    """Loss and gradient of one row, as `oracle.cross_entropy`; plain logits."""
    classes = len(r.e)
    smoothing = Long(label_smoothing)
    here = np.arange(classes)[places]
    if isinstance(target, int | np.integer) and not label_smoothing:
        s = Long(1) if weight is None else long(weight[target])
        gap = -s * r.d[target]
        t = np.where(here == target, s, Long(0))
        at_top = s if target == r.at else Long(0)
        others = s - at_top
    else:
        w = np.ones(classes, Long) if weight is None else long(weight)
        if isinstance(target, int | np.integer):
            t_all = np.full(classes, smoothing / classes) * w
            t_all[target] += (1 - smoothing) * w[target]
        else:
            t_all = w * ((1 - smoothing) * long(target) + smoothing / classes)
        s, at_top = t_all.sum(), t_all[r.at]
        gap = np.where(t_all == 0, 0, t_all * np.where(t_all == 0, 0, -r.d)).sum()
        t = t_all[here]
        t_all[r.at] = 0
        others = t_all.sum()
    pull = s * r.p(places)
    grad = pull - t
    doubt = 8 * EPS * np.maximum(pull, t)  # where they cancel
    if at_top > s / 2:
        # Nearly all of p and of t is on one class: what is beside it has the digits of 1 - p.
        less = s * r.rest / (1 + r.rest)
        grad[here == r.at] = others - less
        doubt[here == r.at] = 8 * EPS * max(others, less)
    return Loss(s * r.log_sum + gap, grad, doubt)


def softmax_gradient(x: Array, upstream: Array, *, log: bool) -> tuple[Array, Array]:
    """Gradients of rows (N, C) of finite logits, and the larger of each entry's two terms.

    As `tests.support.oracle.softmax_gradient` and `log_softmax_gradient`.
    """
    u, g = long(x), long(upstream)
    at = u.argmax(axis=-1)[:, None]
    is_largest = np.arange(u.shape[-1]) == at
    e = np.exp(u - np.take_along_axis(u, at, -1))
    tail = np.where(is_largest, 0, e).sum(axis=-1, keepdims=True)
    p = e / (1 + tail)
    if not log:
        d = g - np.take_along_axis(g, at, -1)
        values = p * (d - (p * d).sum(axis=-1, keepdims=True))
        sizes = p * abs(d), p * (p * abs(d)).sum(axis=-1, keepdims=True)
    else:
        q, total = tail / (1 + tail), g.sum(axis=-1, keepdims=True)
        others = np.where(is_largest, 0, g).sum(axis=-1, keepdims=True)
        likely = p > 0.5
        values = np.where(likely, q * total - others, g - p * total)
        sizes = (
            abs(np.where(likely, q * total, g)),
            abs(np.where(likely, others, p * total)),
        )
    return values, np.maximum.reduce([*sizes, abs(values)])


def unit(exact: Any, dtype: Any) -> Array:
    """One in the last place of each exact value; below the smallest normal number, the one there.

    Args:
        exact: long doubles.
        dtype: float32, float64, float16, or ml_dtypes.bfloat16.
    """
    mantissa, smallest = _format(dtype)
    exponent = np.maximum(np.frexp(np.asarray(exact, Long))[1] - 1, smallest)
    return np.asarray(np.ldexp(Long(1), exponent - mantissa))


def _format(dtype: Any) -> tuple[int, int]:
    """Bits behind the point, and the exponent of the smallest normal number."""
    if np.dtype(dtype).name == "bfloat16":
        return 7, -126
    info = np.finfo(dtype)
    return int(info.nmant), int(info.minexp)


def ulps(got: Any, exact: Any, of: Any = None) -> Array:
    """How far each result is off, in units in the last place of the exact value (or of `of`)."""
    got, exact = np.asarray(got), np.asarray(exact, Long)
    wide = long(got)
    finite = np.isfinite(wide) & np.isfinite(exact)
    same = (wide == exact) | (np.isnan(wide) & np.isnan(exact))
    with np.errstate(invalid="ignore"):
        off = np.abs(wide - exact) / unit(exact if of is None else of, got.dtype)
    return np.where(finite, off, np.where(same, 0, np.inf))
