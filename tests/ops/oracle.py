"""The formula once more, in 50 digits, sharing nothing with the library.

A row of logits is a sequence of floats, and every result is an mpmath number (or a list of them):
exact for the purpose, since the inputs are taken as the very numbers that their floats stand for.
Nothing is clever here: no maximum is taken out, since mpmath's exponents don't overflow; where a
difference cancels, more digits are carried.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np

DIGITS = 50
# Beyond this many decimal places a float64 has rounded to 0 anyway.
MOST_DIGITS = DIGITS + 330

mp = mpmath.mp.clone()
mp.dps = DIGITS


@contextmanager
def _digits_for(values: Sequence[float]) -> Iterator[None]:
    """50 digits behind the place where a term exp(-range) first shows beside a 1."""
    finite = [float(v) for v in values if math.isfinite(v)]
    spread = (max(finite) - min(finite)) / math.log(10) if finite else 0
    mp.dps = DIGITS + min(int(spread) + 1, MOST_DIGITS)
    try:
        yield
    finally:
        mp.dps = DIGITS


def _exact(values: Sequence[float]) -> list[Any]:
    return [mp.mpf(float(v)) for v in values]


def _sum_exp(u: Sequence[Any]) -> Any:
    # Equal logits are counted, not repeated: a million classes with a hundred values are quick.
    return mp.fsum(n * mp.exp(v) for v, n in Counter(u).items())


def logsumexp(row: Sequence[float]) -> Any:
    with _digits_for(row):
        return mp.log(_sum_exp(_exact(row)))


def log_softmax(row: Sequence[float]) -> list[Any]:
    with _digits_for(row):
        u = _exact(row)
        total = _sum_exp(u)
        # log(p) rather than u - lse: where the model is sure, p is 1 - tiny, and enough digits are
        # carried for the tiny part.
        value = {v: mp.log(mp.exp(v) / total) if mp.isfinite(v) else mp.ninf for v in set(u)}
        return [value[v] for v in u]


def softmax(row: Sequence[float]) -> list[Any]:
    with _digits_for(row):
        u = _exact(row)
        total = _sum_exp(u)
        value = {v: mp.exp(v) / total for v in set(u)}
        return [value[v] for v in u]


@dataclass(frozen=True)
class Result:
    loss: Any
    grad: list[Any]
    terms: list[Any]  # the larger of the two terms whose difference the gradient is


def cross_entropy(
    row: Sequence[float],
    target: int | Sequence[float],
    weight: Sequence[float] | None = None,
    *,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
) -> Result:
    """Loss and gradient of one row: t is the target's mass, t_j log(1 / p_j) is summed."""
    classes = len(row)
    with _digits_for(row):
        w = [mp.mpf(1)] * classes if weight is None else _exact(weight)
        e = mp.mpf(label_smoothing)
        if isinstance(target, int | np.integer):
            t = [e / classes * w_j for w_j in w]
            t[target] += (1 - e) * w[target]
        else:
            t = [
                w_j * ((1 - e) * q + e / classes) for w_j, q in zip(w, _exact(target), strict=True)
            ]

        scaled = [z / mp.mpf(temperature) for z in _exact(row)]
        slope = [1 / mp.mpf(temperature)] * classes
        if softcap is not None:
            cap = mp.mpf(softcap)
            slope = [s * mp.sech(v / cap) ** 2 for s, v in zip(slope, scaled, strict=True)]
            scaled = [cap * mp.tanh(v / cap) for v in scaled]

        lse = mp.log(_sum_exp(scaled))
        p = [mp.exp(u - lse) for u in scaled]
        cost = [t_j * (lse - u) for t_j, u in zip(t, scaled, strict=True) if t_j != 0]
        loss = mp.fsum(cost) + mp.mpf(z_loss) * lse**2
        pull = mp.fsum(t) + 2 * mp.mpf(z_loss) * lse
        grad = [(pull * p_j - t_j) * s for p_j, t_j, s in zip(p, t, slope, strict=True)]
        terms = [max(abs(pull * p_j), t_j) * s for p_j, t_j, s in zip(p, t, slope, strict=True)]
        return Result(loss, grad, terms)


def ulps(got: Any, exact: Any, of: Any = None) -> float:
    """How far the worst of the results is off, in units in the last place of the exact value.

    Below the smallest normal number the unit stays the one there.

    Args:
        got: results, whose dtype sets the unit.
        exact: an mpmath number, or a list of them.
        of: the numbers whose last place is the unit, where it isn't the results' own.
    """
    got = np.asarray(got)
    info = np.finfo(got.dtype)
    exact = exact if isinstance(exact, list) else [exact]
    of = exact if of is None else of
    values = got.reshape(-1).tolist()
    return max(_ulps(v, e, u, info) for v, e, u in zip(values, exact, of, strict=True))


def _ulps(got: float, exact: Any, of: Any, info: Any) -> float:
    if not mp.isfinite(exact) or not math.isfinite(got):
        return 0.0 if mp.mpf(got) == exact else math.inf
    exponent = mp.frexp(of)[1] - 1 if of else info.minexp
    unit = mp.mpf(2) ** (max(exponent, int(info.minexp)) - int(info.nmant))
    return float(abs(mp.mpf(got) - exact) / unit)


def rounded(exact: Any, dtype: Any) -> Any:
    """The float of this dtype that is nearest to an exact value (ties don't occur in tests)."""
    nearest = dtype(float(exact))  # within an ulp or so; the neighbours decide
    around = [np.nextafter(nearest, dtype(-np.inf)), nearest, np.nextafter(nearest, dtype(np.inf))]
    return min(around, key=lambda v: abs(mp.mpf(float(v)) - exact))
