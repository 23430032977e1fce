"""The same numbers in the logits' own type: as softxent computes them, and as plain formulas do.

Plain formulas are right on paper. In a computer's numbers each of them fails somewhere:
exponentials overflow, probabilities underflow or round to 1, and `lse - logit` subtracts equals.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from softxent.ops.api import cross_entropy_with_grad, log_softmax, logsumexp, softmax
from softxent.ops.reference import target_mass
from softxent.ops.spec import Reduction

__all__ = ["EPSILON", "Computed", "Plain", "compute", "compute_plainly", "freeze", "rounded"]

Array = npt.NDArray[Any]

# The distance from 1 to the next number of each type.
EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Computed:
    """What softxent computes from logits of one type.

    Half precision is computed in float32, and what has the logits' shape is rounded at the end.
    bfloat16, which NumPy doesn't have, stands in float32 arrays. Names as in `Trace`; the kernels
    keep the numbers up to `shifted_sum` to themselves, so those are NumPy's in the type that the
    kernels work in.

    Attributes:
        dtype: the type of the logits.
    """

    dtype: str
    scaled: Array
    maximum: Array
    shifted: Array
    shifted_exponentials: Array
    shifted_sum: Array
    lse: Array
    log_probabilities: Array
    probabilities: Array
    mass: Array | None = None
    mass_sum: Array | None = None
    target_probability: Array | None = None
    losses: Array | None = None
    row_gradient: Array | None = None
    value: float | None = None
    gradient: Array | None = None

    def __post_init__(self) -> None:
        freeze(self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plain:
    """What one of three plain formulas gives in the logits' type, every operation rounded to it.

    Attributes:
        way: `exp / sum`: exponentials of the logits as they are, divided by their sum, then log;
            `log of softmax`: the same with the largest logit subtracted first;
            `lse - logit`: the logarithm of the sum, minus the logit.
        exponentials: (N, C)
        exponential_sum: (N,)
        lse: (N,)
        probabilities: (N, C)
        log_probabilities: (N, C)
        losses: (N,), 0 in ignored rows; None without a target.
        row_gradient: (N, C) s p - t of these probabilities; None without a target.
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


def freeze(record: Any) -> None:
    """Make a record's arrays read-only."""
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, np.ndarray):
            value.setflags(write=False)


def compute(
    logits: npt.NDArray[np.float64],
    dtype: str,
    y: Array | None,
    options: dict[str, Any],
    reduction: Reduction,
) -> Computed:
    """What softxent computes in a type.

    Args:
        logits: (N, C), numbers of that type.
        dtype: float64, float32, float16 or bfloat16.
        y: (N,) class indices, (N, C) class probabilities, or None.
        options: `cross_entropy`'s, without the reduction.
        reduction: the reduction of `value` and `gradient`.
    """
    z = logits.astype(np.float64 if dtype == "float64" else np.float32)
    one: Any = z.dtype.type
    with np.errstate(all="ignore"):  # inf and NaN are shown, not warned about
        u = z / one(options["temperature"])
        if options["softcap"] is not None:
            cap = one(options["softcap"])
            u = cap * np.tanh(u / cap)
        maximum = u.max(axis=1)
        shifted = u - maximum[:, None]
        shifted_exponentials = np.exp(shifted)
    probabilities = rounded(softmax(u), dtype)
    about_target: dict[str, Any] = {}
    if y is not None:
        mass = target_mass(y, z.shape[1], options["weight"], options["label_smoothing"])
        target_probability = None
        if y.ndim == 1:
            kept = y != options["ignore_index"]
            mass[~kept] = 0
            target_probability = np.full(len(y), np.nan, probabilities.dtype)
            target_probability[kept] = probabilities[kept, y[kept]]
        value, gradient = cross_entropy_with_grad(z, y, reduction=reduction, **options)
        losses, row_gradient = cross_entropy_with_grad(z, y, reduction="none", **options)
        about_target = {
            "mass": rounded(mass, dtype),
            "mass_sum": rounded(mass.sum(axis=1), dtype),
            "target_probability": target_probability,
            "losses": losses,
            "row_gradient": rounded(row_gradient, dtype),
            "value": None if reduction == "none" else float(value),
            "gradient": rounded(gradient, dtype),
        }
    return Computed(
        dtype=dtype,
        scaled=u,
        maximum=maximum,
        shifted=shifted,
        shifted_exponentials=shifted_exponentials,
        shifted_sum=shifted_exponentials.sum(axis=1),
        lse=rounded(logsumexp(u), dtype),
        log_probabilities=rounded(log_softmax(u), dtype),
        probabilities=probabilities,
        **about_target,
    )


def compute_plainly(
    logits: npt.NDArray[np.float64], dtype: str, y: Array | None, options: dict[str, Any]
) -> tuple[Plain, ...]:
    """What the three plain formulas give; arguments as `compute`."""

    def r(values: Array) -> Array:
        return rounded(values, dtype)

    z = logits.astype(np.float64 if dtype == "float64" else np.float32)
    one: Any = z.dtype.type
    with np.errstate(all="ignore"):
        u, slope = r(z / one(options["temperature"])), None
        if options["softcap"] is not None:
            cap = one(options["softcap"])
            bent = r(np.tanh(r(u / cap)))
            u, slope = r(cap * bent), r(1 - r(bent * bent))
        target = _Target(y, logits.shape[1], options, slope, r) if y is not None else None

        e = r(np.exp(u))
        total = r(e.sum(axis=1))
        p = r(e / total[:, None])
        unshifted = _plain("exp / sum", e, total, r(np.log(total)), p, r(np.log(p)), target)

        maximum = u.max(axis=1)
        e = r(np.exp(r(u - maximum[:, None])))
        total = r(e.sum(axis=1))
        p = r(e / total[:, None])
        lse = r(maximum + r(np.log(total)))
        shifted = _plain("log of softmax", e, total, lse, p, r(np.log(p)), target)
        log_p = r(u - lse[:, None])
        subtracted = _plain("lse - logit", e, total, lse, r(np.exp(log_p)), log_p, target)
    return unshifted, shifted, subtracted


class _Target:
    """What a plain formula needs to know of a target."""

    def __init__(
        self, y: Array, count: int, options: dict[str, Any], slope: Array | None, r: Any
    ) -> None:
        self.kept = np.full(len(y), True) if y.ndim == 2 else y != options["ignore_index"]
        self.mass = r(target_mass(y, count, options["weight"], options["label_smoothing"]))
        self.z_loss, self.temperature = options["z_loss"], options["temperature"]
        self.slope, self.r = slope, r

    def losses(self, log_p: Array, lse: Array) -> Array:
        t, r = self.mass.astype(log_p.dtype), self.r
        taken = r(np.where(t == 0, 0, t * log_p).sum(axis=1))  # 0 log 0 = 0
        loss = 0 - taken
        if self.z_loss:
            loss = r(loss + r(log_p.dtype.type(self.z_loss) * r(lse * lse)))
        return np.where(self.kept, loss, 0).astype(log_p.dtype)

    def gradient(self, p: Array, lse: Array) -> Array:
        t, r = self.mass.astype(p.dtype), self.r
        factor = r(t.sum(axis=1))
        if self.z_loss:
            factor = r(factor + r(p.dtype.type(2 * self.z_loss) * lse))
        gradient = r(r(factor[:, None] * p) - t)
        if self.slope is not None:
            gradient = r(gradient * self.slope)
        if self.temperature != 1:
            gradient = r(gradient / p.dtype.type(self.temperature))
        return np.where(self.kept[:, None], gradient, 0).astype(p.dtype)


def _plain(
    way: str, e: Array, total: Array, lse: Array, p: Array, log_p: Array, target: _Target | None
) -> Plain:
    return Plain(
        way=way,
        exponentials=e,
        exponential_sum=total,
        lse=lse,
        probabilities=p,
        log_probabilities=log_p,
        losses=None if target is None else target.losses(log_p, lse),
        row_gradient=None if target is None else target.gradient(p, lse),
    )


def rounded(values: npt.ArrayLike, dtype: str) -> Array:
    """Numbers rounded to a type; bfloat16, which NumPy doesn't have, stays in float32 arrays."""
    values = np.asarray(values)
    if dtype != "bfloat16":
        with np.errstate(over="ignore"):
            return values.astype(dtype)
    values = values.astype(np.float32)
    bits = np.ascontiguousarray(values).view(np.uint32)
    # bfloat16 is float32's upper half; half a unit, less one where the last kept bit is 0, rounds
    # to nearest, and ties to even.
    up = ((bits >> 16) & 1) + np.uint32(0x7FFF)
    near = ((bits + up) & np.uint32(0xFFFF0000)).view(np.float32)
    return np.where(np.isnan(values), values, near.reshape(values.shape))
