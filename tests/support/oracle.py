"""Expected values in 50-digit arithmetic. This module shares no code with the library.

A row of logits is a sequence of floats, and every result is an mpmath number or a list of them.
Each float stands for exactly the number it represents. The code is a direct transcription of the
formulas: mpmath's exponents don't overflow, so no maximum is subtracted, and where a difference
cancels, more digits are carried.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import mpmath
import numpy as np
import numpy.typing as npt

DIGITS = 50
# A difference that first shows beyond this many decimal places is 0 in float64.
MOST_DIGITS = DIGITS + 330

Numbers = Sequence[Any] | npt.NDArray[Any]  # floats or mpmath numbers

mp = mpmath.mp.clone()
mp.dps = DIGITS


@contextmanager
def _digits_for(values: Numbers) -> Iterator[None]:
    """Carry 50 digits beyond the places of the logits and of exp(min - max) beside a 1."""
    finite = [float(v) for v in values if math.isfinite(v)]
    spread = (max(finite) - min(finite)) / math.log(10) if finite else 0
    size = math.log10(max(1.0, *map(abs, finite), 1.0))
    mp.dps = DIGITS + int(min(spread + 1, MOST_DIGITS)) + int(size)
    try:
        yield
    finally:
        mp.dps = DIGITS


def exact(value: Any) -> Any:
    """The number that a float stands for; an mpmath number stays as it is."""
    return value if isinstance(value, mp.mpf) else mp.mpf(float(value))


def _exact(values: Numbers) -> list[Any]:
    return [exact(v) for v in values]


def _sum_exp(u: Sequence[Any]) -> Any:
    # Equal logits are counted, so that a million classes with a hundred values are quick.
    return mp.fsum(n * mp.exp(v) for v, n in Counter(u).items())


def _log_sum_exp(u: Sequence[Any]) -> Any:
    # Where one class alone isn't masked, lse - u is exactly 0 and not the last of 50 digits.
    unmasked = [v for v in u if v != mp.ninf]
    return unmasked[0] if len(unmasked) == 1 else mp.log(_sum_exp(u))


def logsumexp(row: Numbers) -> Any:
    """log sum_j exp(z_j)."""
    with _digits_for(row):
        return _log_sum_exp(_exact(row))


def log_softmax(row: Numbers) -> list[Any]:
    """z_j - lse."""
    with _digits_for(row):
        u = _exact(row)
        lse = _log_sum_exp(u)
        return [v - lse for v in u]


def softmax(row: Numbers) -> list[Any]:
    """exp(z_j) / sum_k exp(z_k)."""
    with _digits_for(row):
        u = _exact(row)
        total = _sum_exp(u)
        value = {v: mp.exp(v) / total for v in set(u)}
        return [value[v] for v in u]


class Gradient(NamedTuple):
    """A gradient, and the larger of the two terms that make each entry, for the size of an ulp."""

    values: list[Any]
    terms: list[Any]


def softmax_gradient(row: Numbers, upstream: Numbers) -> Gradient:
    """The derivative of sum_j g_j p_j with respect to each logit: p_j (g_j - sum_k p_k g_k)."""
    g = _exact(upstream)
    p = softmax(row)
    largest = g[max(range(len(p)), key=p.__getitem__)]
    with _digits_for(row):
        inner = mp.fsum(a * b for a, b in zip(p, g, strict=True) if a != 0)
        size = mp.fsum(a * abs(b - largest) for a, b in zip(p, g, strict=True) if a != 0)
        values = [a * (b - inner) if a != 0 else mp.mpf(0) for a, b in zip(p, g, strict=True)]
        terms = [
            max(a * abs(b - largest), a * size, abs(value)) if a != 0 else mp.mpf(0)
            for a, b, value in zip(p, g, values, strict=True)
        ]
    return Gradient(values, terms)


def log_softmax_gradient(row: Numbers, upstream: Numbers) -> Gradient:
    """The derivative of sum_j g_j log p_j with respect to each logit: g_j - p_j sum_k g_k."""
    g = _exact(upstream)
    p = softmax(row)
    with _digits_for(row):
        total = mp.fsum(g)
        values = [b - a * total for a, b in zip(p, g, strict=True)]
        terms = []
        for a, b, value in zip(p, g, values, strict=True):
            # Where p is nearly 1, the terms are those of (1 - p) sum_k g_k - sum_(k != j) g_k.
            pair = (b, a * total) if 2 * a <= 1 else ((1 - a) * total, total - b)
            terms.append(max(abs(pair[0]), abs(pair[1]), abs(value)))
    return Gradient(values, terms)


@dataclass(frozen=True)
class Result:
    """The loss of one row and its gradient.

    Attributes:
        grad_u: the derivatives pull p_j - t_j by u_j, where pull = sum_j t_j + 2 z_loss lse.
        terms_u: the larger of pull p_j and t_j.
        slope: du_j/dz_j.
    """

    loss: Any
    grad_u: list[Any]
    terms_u: list[Any]
    slope: list[Any]

    @property
    def grad(self) -> list[Any]:
        """The gradient by the logits."""
        return [g * s for g, s in zip(self.grad_u, self.slope, strict=True)]

    @property
    def terms(self) -> list[Any]:
        """The larger of the two terms whose difference each entry of the gradient is."""
        return [t * s for t, s in zip(self.terms_u, self.slope, strict=True)]


def cross_entropy(
    row: Numbers,
    target: int | np.integer[Any] | Numbers,
    weight: Numbers | None = None,
    *,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
) -> Result:
    """Loss and gradient of one row; the target is a class index or a distribution t_j."""
    classes = len(row)
    with _digits_for(row):
        w = [mp.mpf(1)] * classes if weight is None else _exact(weight)
        e = mp.mpf(label_smoothing)
        if isinstance(target, int | np.integer):
            t = [e / classes * w_j for w_j in w]
            t[int(target)] += (1 - e) * w[int(target)]
        else:
            t = [
                w_j * ((1 - e) * q + e / classes) for w_j, q in zip(w, _exact(target), strict=True)
            ]

        u = [z / mp.mpf(temperature) for z in _exact(row)]
        slope = [1 / mp.mpf(temperature)] * classes
        if softcap is not None:
            cap = mp.mpf(softcap)
            slope = [s * mp.sech(v / cap) ** 2 for s, v in zip(slope, u, strict=True)]
            u = [v if mp.isinf(v) else cap * mp.tanh(v / cap) for v in u]

        lse = _log_sum_exp(u)
        p = [mp.exp(v - lse) for v in u]
        cost = [t_j * (lse - v) for t_j, v in zip(t, u, strict=True) if t_j != 0]
        loss = mp.fsum(cost) + mp.mpf(z_loss) * lse**2
        pull = mp.fsum(t) + 2 * mp.mpf(z_loss) * lse
        grad_u = [pull * p_j - t_j for p_j, t_j in zip(p, t, strict=True)]
        terms_u = [max(abs(pull * p_j), t_j) for p_j, t_j in zip(p, t, strict=True)]
        return Result(loss, grad_u, terms_u, slope)


def mean(
    rows: Numbers,
    target: Numbers,
    weight: Numbers | None = None,
    *,
    ignore_index: int | None = None,
    z_loss: float = 0.0,
    **options: Any,
) -> tuple[Any, list[list[Any]]]:
    """The mean of the rows' losses and its gradient.

    The cross-entropies are divided by the summed weight of the kept targets (their number for
    class probabilities), the terms of z_loss by the number of kept rows.
    """
    zero = [mp.mpf(0)] * len(rows[0])
    kept = [not isinstance(t, int | np.integer) or int(t) != ignore_index for t in target]
    losses, grads, z_terms, z_grads = [], [], [], []
    for row, t, is_kept in zip(rows, target, kept, strict=True):
        if not is_kept:
            grads.append(zero)
            z_grads.append(zero)
            continue
        without = cross_entropy(row, t, weight, **options)
        # With weights of 0 only the term of z_loss is left.
        alone = cross_entropy(row, t, zero, z_loss=z_loss, **options)
        losses.append(without.loss)
        grads.append(without.grad)
        z_terms.append(alone.loss)
        z_grads.append(alone.grad)
    count = mp.mpf(sum(kept))
    total = count
    if weight is not None and isinstance(target[0], int | np.integer):
        total = mp.fsum(
            exact(weight[int(t)]) for t, is_kept in zip(target, kept, strict=True) if is_kept
        )
    value = mp.fsum(losses) / total + mp.fsum(z_terms) / count
    return value, [
        [g / total + z / count for g, z in zip(*pair, strict=True)]
        for pair in zip(grads, z_grads, strict=True)
    ]


def ulps(got: Any, expected: Any, of: Any = None, dtype: Any = None) -> float:
    """The largest error, in units in the last place (ulp) of the exact value.

    Below the smallest normal number, the ulp is the one of the smallest normal number.

    Args:
        got: one result or an array of them.
        expected: an mpmath number, or a list of them.
        of: the numbers whose last place counts, where that isn't the expected value's.
        dtype: the dtype whose ulp counts, where that isn't the result's.
    """
    got = np.asarray(got)
    info = np.finfo(got.dtype if dtype is None else dtype)
    expected = expected if isinstance(expected, list) else [expected]
    of = expected if of is None else of if isinstance(of, list) else [of]
    values = got.reshape(-1).tolist()
    return max(_ulps(v, e, u, info) for v, e, u in zip(values, expected, of, strict=True))


def _ulps(got: float, expected: Any, of: Any, info: Any) -> float:
    if not mp.isfinite(expected) or not math.isfinite(got):
        return 0.0 if mp.mpf(got) == expected else math.inf
    return float(abs(mp.mpf(got) - expected) / _ulp(of, info))


def ulp(value: Any, dtype: Any) -> Any:
    """The unit in the last place of a number, had it this dtype."""
    return _ulp(value, np.finfo(dtype))


def _ulp(value: Any, info: Any) -> Any:
    exponent = mp.frexp(value)[1] - 1 if value else info.minexp
    return mp.mpf(2) ** (max(int(exponent), int(info.minexp)) - int(info.nmant))


def rounded(value: Any, dtype: Any) -> Any:
    """The float of this dtype that is nearest to an exact value (ties don't occur in tests)."""
    nearest = dtype(float(value))  # within an ulp or so; the neighbours decide
    around = [np.nextafter(nearest, dtype(-np.inf)), nearest, np.nextafter(nearest, dtype(np.inf))]
    return min(around, key=lambda v: abs(mp.mpf(float(v)) - value))
