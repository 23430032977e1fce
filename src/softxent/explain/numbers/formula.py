"""Every number from the logits to the loss and its gradient, in float64.

The results are the library's own (`softxent.ops`); next to them are the intermediate numbers of the
formula, computed by NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from softxent.ops import (
    Mean,
    cross_entropy,
    cross_entropy_with_grad,
    log_softmax,
    logsumexp,
    reference,
    softmax,
)
from softxent.ops.options import LossOptions

__all__ = ["bounded", "loss_numbers", "margin", "softmax_numbers", "target_distribution"]

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]


def bounded(z: Array, options: LossOptions) -> Array:
    """(N, C) logits after the temperature and the softcap, u, in the dtype of z.

    An infinite logit stays infinite: -inf is a masked class.
    """
    one = z.dtype.type
    u = z / one(options.temperature)
    if options.softcap is None:
        return np.asarray(u)
    cap = one(options.softcap)
    return np.asarray(np.where(np.isinf(z), z, cap * np.tanh(u / cap)))


def softmax_numbers(z: Float64, options: LossOptions) -> dict[str, Float64]:
    """The numbers up to the probabilities, by their names in `Numbers`; z is (N, C) logits."""
    with np.errstate(all="ignore"):  # infinities and NaNs are shown, without a warning
        u = bounded(z, options)
        maximum = u.max(axis=1)
        shifted = u - maximum[:, None]
        exponentials = np.exp(u)
        shifted_exponentials = np.exp(shifted)
        return {
            "logits": z,
            "scaled": u,
            "maximum": maximum,
            "shifted": shifted,
            "exponentials": exponentials,
            "exponential_sum": exponentials.sum(axis=1),
            "shifted_exponentials": shifted_exponentials,
            "shifted_sum": shifted_exponentials.sum(axis=1),
            "lse": logsumexp(u),
            "log_probabilities": log_softmax(u),
            "probabilities": softmax(u),
        }


def loss_numbers(
    z: Float64, target: Array, probabilities: Float64, options: LossOptions
) -> dict[str, Any]:
    """The numbers that need a target, by their names in `Numbers`.

    Args:
        z: (N, C) logits.
        target: (N,) class indices, or (N, C) class probabilities.
        probabilities: (N, C), of z.
        options: the loss.
    """
    distribution, ignored = target_distribution(target, z.shape[1], options)
    target_probability, denominator = None, float(len(z))
    if target.ndim == 1:
        kept, classes = np.flatnonzero(~ignored), target[~ignored]
        target_probability = np.full(len(z), np.nan)
        target_probability[kept] = probabilities[kept, classes]
        weight = options.weight
        denominator = float(len(kept) if weight is None else weight[classes].sum())
    keywords = options._asdict()
    value, gradient = cross_entropy_with_grad(z, target, **keywords)
    losses = cross_entropy(z, target, **{**keywords, "reduction": "none"})
    # The gradient of the sum holds each row's own gradient.
    _, row_gradient = cross_entropy_with_grad(z, target, **{**keywords, "reduction": "sum"})
    total = cross_entropy(z, target, **{**keywords, "reduction": "sum", "z_loss": 0.0})
    z_terms = np.zeros(len(z))
    if options.z_loss:
        lse = logsumexp(bounded(z[~ignored], options))
        z_terms[~ignored] = options.z_loss * np.where(np.isfinite(lse), lse, np.nan) ** 2
    return {
        "target": target,
        "ignored": ignored,
        "mass": distribution,
        "mass_sum": distribution.sum(axis=1),
        "target_probability": target_probability,
        "losses": losses,
        "z_terms": z_terms,
        "row_gradient": row_gradient,
        # A denominator below 0, of negative class weights, makes no `Mean`.
        "mean": None if denominator < 0 else Mean(float(total), denominator),
        "z_mean": Mean(float(z_terms.sum()), int((~ignored).sum())),
        "value": None if options.reduction == "none" else float(value),
        "gradient": gradient,
    }


def target_distribution(
    target: Array, classes: int, options: LossOptions
) -> tuple[Float64, npt.NDArray[np.bool_]]:
    """The target as (N, C) weighted and smoothed class probabilities t, 0 in ignored rows.

    Returns:
        t, and (N,) bool, the ignored rows.
    """
    ignored = np.zeros(len(target), np.bool_)
    if target.ndim == 1:
        ignored = target == options.ignore_index
    distribution = reference.target_distribution(
        target, classes, options.weight, options.label_smoothing
    )
    distribution[ignored] = 0
    return distribution, ignored


def margin(logits: Float64) -> Float64:
    """(N, C) changes that bring each logit level with the highest, and that one with the next."""
    rows = np.arange(len(logits))
    if not len(rows):
        return logits.copy()
    best = logits.argmax(axis=1)
    others = logits.copy()
    others[rows, best] = -np.inf
    with np.errstate(invalid="ignore", over="ignore"):
        changes = np.asarray(logits.max(axis=1)[:, None] - logits)
        changes[rows, best] = others.max(axis=1) - logits[rows, best]
    return changes
