"""The numbers as softxent computes them in the dtype of the logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from softxent.explain.numbers.formula import bounded, target_distribution
from softxent.explain.numbers.rounding import freeze, rounded, working_dtype
from softxent.ops import cross_entropy_with_grad, log_softmax, logsumexp, softmax
from softxent.ops.options import LossOptions

__all__ = ["Computed", "compute"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Computed:
    """What softxent computes from logits of one dtype.

    Half precision is computed in float32, and results of the logits' shape are rounded at the end.
    bfloat16, which NumPy lacks, is stored in float32 arrays. The names are those of `Trace`. The
    kernels don't return the numbers up to `shifted_sum`; these are NumPy's, in the dtype that the
    kernels compute in.

    Attributes:
        dtype: the dtype of the logits.
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


def compute(
    logits: npt.NDArray[np.float64], dtype: str, target: Array | None, options: LossOptions
) -> Computed:
    """Compute the numbers in a dtype.

    Args:
        logits: (N, C), numbers of that dtype.
        dtype: float64, float32, float16 or bfloat16.
        target: (N,) class indices, (N, C) class probabilities, or None.
        options: the loss.
    """
    z = logits.astype(working_dtype(dtype))
    with np.errstate(all="ignore"):  # infinities and NaNs are shown, without a warning
        u = bounded(z, options)
        maximum = u.max(axis=1)
        shifted = u - maximum[:, None]
        shifted_exponentials = np.exp(shifted)
    probabilities = rounded(softmax(u), dtype)
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
        **({} if target is None else _loss(z, dtype, target, probabilities, options)),
    )


def _loss(
    z: Array, dtype: str, target: Array, probabilities: Array, options: LossOptions
) -> dict[str, Any]:
    """The numbers that need a target."""
    t, ignored = target_distribution(target, z.shape[1], options)
    target_probability = None
    if target.ndim == 1:
        kept = ~ignored
        target_probability = np.full(len(target), np.nan, probabilities.dtype)
        target_probability[kept] = probabilities[kept, target[kept]]
    keywords = options._asdict()
    value, gradient = cross_entropy_with_grad(z, target, **keywords)
    losses, row_gradient = cross_entropy_with_grad(z, target, **{**keywords, "reduction": "none"})
    return {
        "mass": rounded(t, dtype),
        "mass_sum": rounded(t.sum(axis=1), dtype),
        "target_probability": target_probability,
        "losses": losses,
        "row_gradient": rounded(row_gradient, dtype),
        "value": None if options.reduction == "none" else float(value),
        "gradient": rounded(gradient, dtype),
    }
