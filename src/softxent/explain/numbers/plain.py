"""The loss by three plain formulas, in the dtype of the logits.

Each is right in exact arithmetic and fails for some floating-point numbers: exponentials overflow,
probabilities underflow or round to 1, and `lse - logit` subtracts nearly equal numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from softxent.explain.numbers.formula import target_distribution
from softxent.explain.numbers.rounding import freeze, rounded, working_dtype
from softxent.ops.options import LossOptions

__all__ = ["Plain", "compute_plainly"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plain:
    """What one plain formula gives, with every operation rounded to the dtype of the logits.

    Attributes:
        way: `exp / sum`: exponentials of the logits, divided by their sum, then log;
            `log of softmax`: the same, with the largest logit subtracted first;
            `lse - logit`: the logarithm of the sum, minus the logit.
        exponentials: (N, C)
        exponential_sum: (N,)
        lse: (N,)
        probabilities: (N, C)
        log_probabilities: (N, C)
        losses: (N,), 0 in ignored rows; None without a target.
        row_gradient: (N, C) s p - t with these probabilities; None without a target.
    """

    way: str
    exponentials: Array
    exponential_sum: Array
    lse: Array
    probabilities: Array
    log_probabilities: Array
    losses: Array | None = None
    row_gradient: Array | None = None

    def __post_init__(self) -> None:
        freeze(self)


def compute_plainly(
    logits: npt.NDArray[np.float64], dtype: str, target: Array | None, options: LossOptions
) -> tuple[Plain, ...]:
    """The three formulas; the arguments are those of `computed.compute`."""

    def r(values: Array) -> Array:
        return rounded(values, dtype)

    z = logits.astype(working_dtype(dtype))
    one: Any = z.dtype.type
    with np.errstate(all="ignore"):
        u, slope = r(z / one(options.temperature)), None
        if options.softcap is not None:
            cap = one(options.softcap)
            tanh = r(np.tanh(r(u / cap)))
            u, slope = np.where(np.isinf(z), z, r(cap * tanh)), r(1 - r(tanh * tanh))
        loss = None if target is None else _PlainLoss(target, logits.shape[1], options, slope, r)

        e = r(np.exp(u))
        total = r(e.sum(axis=1))
        p = r(e / total[:, None])
        unshifted = _plain("exp / sum", e, total, r(np.log(total)), p, r(np.log(p)), loss)

        maximum = u.max(axis=1)
        e = r(np.exp(r(u - maximum[:, None])))
        total = r(e.sum(axis=1))
        p = r(e / total[:, None])
        lse = r(maximum + r(np.log(total)))
        shifted = _plain("log of softmax", e, total, lse, p, r(np.log(p)), loss)
        log_p = r(u - lse[:, None])
        subtracted = _plain("lse - logit", e, total, lse, r(np.exp(log_p)), log_p, loss)
    return unshifted, shifted, subtracted


class _PlainLoss:
    """The loss and its gradient from given probabilities, with every operation rounded by r."""

    def __init__(
        self,
        target: Array,
        classes: int,
        options: LossOptions,
        slope: Array | None,
        r: Callable[[Array], Array],
    ) -> None:
        t, self.ignored = target_distribution(target, classes, options)
        self.t, self.options, self.slope, self.r = r(t), options, slope, r

    def losses(self, log_p: Array, lse: Array) -> Array:
        t, r = self.t.astype(log_p.dtype), self.r
        loss = 0 - r(np.where(t == 0, 0, t * log_p).sum(axis=1))  # 0 log 0 = 0
        if self.options.z_loss:
            loss = r(loss + r(log_p.dtype.type(self.options.z_loss) * r(lse * lse)))
        return np.where(self.ignored, 0, loss).astype(log_p.dtype)

    def gradient(self, p: Array, lse: Array) -> Array:
        t, r = self.t.astype(p.dtype), self.r
        factor = r(t.sum(axis=1))
        if self.options.z_loss:
            factor = r(factor + r(p.dtype.type(2 * self.options.z_loss) * lse))
        gradient = r(r(factor[:, None] * p) - t)
        if self.slope is not None:
            gradient = r(gradient * self.slope)
        if self.options.temperature != 1:
            gradient = r(gradient / p.dtype.type(self.options.temperature))
        return np.where(self.ignored[:, None], 0, gradient).astype(p.dtype)


def _plain(
    way: str, e: Array, total: Array, lse: Array, p: Array, log_p: Array, loss: _PlainLoss | None
) -> Plain:
    return Plain(
        way=way,
        exponentials=e,
        exponential_sum=total,
        lse=lse,
        probabilities=p,
        log_probabilities=log_p,
        losses=None if loss is None else loss.losses(log_p, lse),
        row_gradient=None if loss is None else loss.gradient(p, lse),
    )
