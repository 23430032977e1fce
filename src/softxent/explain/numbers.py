"""The numbers of a trace, from checked logits and a checked target.

The results are the library's own (`softxent.ops`), in float64; beside them is what they are made
of. What the logits' own type makes of them is in `typed.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from softxent.ops.api import (
    cross_entropy,
    cross_entropy_with_grad,
    log_softmax,
    logsumexp,
    softmax,
)
from softxent.ops.mean import Mean
from softxent.ops.reference import target_mass
from softxent.ops.spec import Reduction

__all__ = ["margin_of", "numbers_of"]

Float64 = npt.NDArray[np.float64]


def numbers_of(
    z: Float64, target: npt.NDArray[Any] | None, options: dict[str, Any], reduction: Reduction
) -> dict[str, Any]:
    """The numbers of a trace by their names in `Trace`.

    Args:
        z: (N, C) logits.
        target: (N,) class indices, (N, C) class probabilities, or None.
        options: `cross_entropy`'s, without the reduction.
        reduction: the reduction of `value` and `gradient`.
    """
    temperature, softcap = options["temperature"], options["softcap"]
    with np.errstate(all="ignore"):  # inf and NaN are shown, not warned about
        u = z / temperature
        if softcap is not None:
            u = softcap * np.tanh(u / softcap)
        maximum = u.max(axis=1)
        shifted = u - maximum[:, None]
        exponentials = np.exp(u)
        shifted_exponentials = np.exp(shifted)
        exponential_sum = exponentials.sum(axis=1)
    probabilities = softmax(u)
    about_target: dict[str, Any] = {}
    if target is not None:
        value, gradient = cross_entropy_with_grad(z, target, reduction=reduction, **options)
        about_target = {
            **_about_target(z, target, probabilities, options),
            "value": None if reduction == "none" else float(value),
            "gradient": gradient,
        }
    return {
        "logits": z,
        "scaled": u,
        "maximum": maximum,
        "shifted": shifted,
        "exponentials": exponentials,
        "exponential_sum": exponential_sum,
        "shifted_exponentials": shifted_exponentials,
        "shifted_sum": shifted_exponentials.sum(axis=1),
        "lse": logsumexp(u),
        "log_probabilities": log_softmax(u),
        "probabilities": probabilities,
        **about_target,
    }


def _about_target(
    z: Float64, target: npt.NDArray[Any], probabilities: Float64, options: dict[str, Any]
) -> dict[str, Any]:
    """What a trace has only with a target: its mass, the losses and their gradient."""
    rows, count = probabilities.shape
    weight, smoothing = options["weight"], options["label_smoothing"]
    target_probability = None
    if target.ndim == 1:
        ignored = target == options["ignore_index"]
        kept, classes = np.flatnonzero(~ignored), target[~ignored]
        target_probability = np.full(rows, np.nan)
        target_probability[kept] = probabilities[kept, classes]
        denominator = float(len(kept) if weight is None else weight[classes].sum())
    else:
        ignored = np.zeros(rows, np.bool_)
        denominator = float(rows)
    mass = target_mass(target, count, weight, smoothing)
    mass[ignored] = 0
    losses = cross_entropy(z, target, reduction="none", **options)
    # The gradient of the sum holds each row's own.
    total, row_gradient = cross_entropy_with_grad(z, target, reduction="sum", **options)
    return {
        "target": target,
        "ignored": ignored,
        "mass": mass,
        "mass_sum": mass.sum(axis=1),
        "target_probability": target_probability,
        "losses": losses,
        "row_gradient": row_gradient,
        "mean": Mean(float(total), denominator),
    }


def margin_of(logits: Float64) -> Float64:
    """What brings each logit level with the highest, and the highest with the next."""
    rows = np.arange(len(logits))
    if not len(rows):
        return logits.copy()
    best = logits.argmax(axis=1)
    others = logits.copy()
    others[rows, best] = -np.inf
    with np.errstate(invalid="ignore", over="ignore"):
        margin = np.asarray(logits.max(axis=1)[:, None] - logits)
        margin[rows, best] = others.max(axis=1) - logits[rows, best]
    return margin
