"""The formula in plain float64 NumPy. Everything else is compared with it.

    u    = softcap tanh(z / (temperature softcap))        (u = z / temperature without softcap;
                                                           u = z for an infinite z)
    lse  = log sum_j exp(u_j)
    p_j  = exp(u_j - lse)
    t_j  = w_j ((1 - e) q_j + e / C)                      class probabilities q
           (1 - e) w_y [j = y] + (e / C) w_j              a class index y
    s    = sum_j t_j
    loss = s lse - sum_j t_j u_j + z_loss lse^2
    dloss/dz_j = ((s + 2 z_loss lse) p_j - t_j) du_j/dz_j

A mean divides the sum of the losses by D, but it averages the z terms over the K kept rows:

    mean = sum_i (loss_i - z_loss lse_i^2) / D + z_loss sum_i lse_i^2 / K
    D    = the summed weight of the kept class indices; K for class probabilities

That is sum_i loss_i / D with z_loss D / K in place of z_loss.

Rows are independent and the classes are on the last axis. Results are accurate to the rounding of
float64, except for confident predictions: there `lse - u` cancels, and the kernels do better.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from softxent.ops.options import DEFAULTS, LossOptions

__all__ = ["cross_entropy", "log_softmax", "logsumexp", "softmax", "target_distribution"]

Float64 = npt.NDArray[np.float64]


def logsumexp(u: npt.ArrayLike) -> Float64:
    """The logarithm of the sum of exponentials over the last axis; (..., C) -> (...)."""
    u = np.asarray(u, np.float64)
    m = u.max(axis=-1, initial=-np.inf)
    shift = np.where(np.isfinite(m), m, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(shift + np.log(np.exp(u - shift[..., None]).sum(axis=-1)))


def log_softmax(u: npt.ArrayLike) -> Float64:
    """The log-softmax u - lse over the last axis."""
    u = np.asarray(u, np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(u - logsumexp(u)[..., None])


def softmax(u: npt.ArrayLike) -> Float64:
    """The softmax exp(u - lse) over the last axis."""
    return np.asarray(np.exp(log_softmax(u)))


def target_distribution(
    target: npt.ArrayLike,
    classes: int,
    weight: npt.ArrayLike | None = None,
    label_smoothing: float = 0.0,
) -> Float64:
    """The target distribution t (N, C), from class indices (N,) or class probabilities (N, C)."""
    target = np.asarray(target)
    w = _weights(weight, classes)
    e = label_smoothing
    if target.ndim == 2:
        return np.asarray(w * ((1 - e) * target.astype(np.float64) + e / classes))
    onehot = np.zeros((len(target), classes))
    onehot[np.arange(len(target)), np.where((target >= 0) & (target < classes), target, 0)] = 1
    return np.asarray((1 - e) * w * onehot + e / classes * w)


def _weights(weight: npt.ArrayLike | None, classes: int) -> Float64:
    return np.ones(classes) if weight is None else np.asarray(weight, np.float64)


def cross_entropy(
    logits: npt.ArrayLike, target: npt.ArrayLike, options: LossOptions = DEFAULTS
) -> tuple[Float64, Float64, Any]:
    """Loss per row (N,), its gradient (N, C), and the denominator D of `mean`.

    The caller reduces the losses. With the reduction "mean" their z terms have the factor
    z_loss D / K, so that the sum of the losses over D is the mean.

    Args:
        logits: (N, C).
        target: (N,) class indices or (N, C) class probabilities.
        options: as `softxent.cross_entropy`.
    """
    z = np.asarray(logits, np.float64)
    target = np.asarray(target)
    n, classes = z.shape
    scaled = z / options.temperature
    if options.softcap is None:
        u, slope = scaled, np.full_like(z, 1 / options.temperature)
    else:
        capped = options.softcap * np.tanh(scaled / options.softcap)
        u = np.where(np.isinf(z), z, capped)  # a masked class stays masked
        slope = (1 - np.tanh(scaled / options.softcap) ** 2) / options.temperature

    kept = np.full(n, True) if target.ndim == 2 else target != options.ignore_index
    denominator: Any = kept.sum()
    z_loss = options.z_loss
    if target.ndim == 1:
        denominator = _weights(options.weight, classes)[target[kept]].sum()
        if options.reduction == "mean" and kept.any():
            z_loss = z_loss * denominator / kept.sum()

    t = target_distribution(target, classes, options.weight, options.label_smoothing)
    s = t.sum(axis=-1)
    lse = logsumexp(u)
    p = softmax(u)
    with np.errstate(invalid="ignore"):
        cost = np.where(t == 0, 0.0, t * (lse[:, None] - u))  # 0 log 0 = 0
        loss = cost.sum(axis=-1) + z_loss * lse**2
        grad = ((s + 2 * z_loss * lse)[:, None] * p - t) * slope
    loss = np.where(np.isfinite(lse), loss, np.nan)
    loss = np.where(kept, loss, 0.0)
    grad = np.where(kept[:, None], grad, 0.0)
    return loss, grad, denominator
