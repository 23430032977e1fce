"""The formula in float64 NumPy, as a textbook prints it: what everything else is compared with.

    u    = softcap tanh(z / (temperature softcap))        (u = z / temperature without softcap)
    lse  = log sum_j exp(u_j)
    p_j  = exp(u_j - lse)
    t_j  = w_j ((1 - e) q_j + e / C)                      class probabilities q
           (1 - e) w_y [j = y] + (e / C) w_j              a class index y
    s    = sum_j t_j
    loss = s lse - sum_j t_j u_j + z_loss lse^2
    dloss/dz_j = ((s + 2 z_loss lse) p_j - t_j) du_j/dz_j

Rows are independent and the classes are on the last axis. It is right to the rounding of float64
where the model isn't sure of itself; where it is, `lse - u` cancels, and the kernels do better.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["cross_entropy", "log_softmax", "logsumexp", "softmax", "target_mass"]

Array = npt.NDArray[np.float64]


def logsumexp(u: npt.ArrayLike) -> Array:
    """Log sum exp over the last axis; (..., C) -> (...)."""
    u = np.asarray(u, np.float64)
    m = u.max(axis=-1, initial=-np.inf)
    shift = np.where(np.isfinite(m), m, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(shift + np.log(np.exp(u - shift[..., None]).sum(axis=-1)))


def log_softmax(u: npt.ArrayLike) -> Array:
    """U - lse over the last axis."""
    u = np.asarray(u, np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(u - logsumexp(u)[..., None])


def softmax(u: npt.ArrayLike) -> Array:
    """exp(u - lse) over the last axis."""
    return np.asarray(np.exp(log_softmax(u)))


def target_mass(
    target: npt.ArrayLike,
    classes: int,
    weight: npt.ArrayLike | None = None,
    label_smoothing: float = 0.0,
) -> Array:
    """The mass t over the classes: from indices (N,), or from class probabilities (N, C)."""
    target = np.asarray(target)
    w = np.ones(classes) if weight is None else np.asarray(weight, np.float64)
    e = label_smoothing
    if target.ndim == 2:
        return np.asarray(w * ((1 - e) * target.astype(np.float64) + e / classes))
    onehot = np.zeros((len(target), classes))
    onehot[np.arange(len(target)), np.where((target >= 0) & (target < classes), target, 0)] = 1
    return np.asarray((1 - e) * w * onehot + e / classes * w)


def cross_entropy(
    logits: npt.ArrayLike,
    target: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
) -> tuple[Array, Array, Any]:
    """Loss a row (N,), its gradient (N, C), and what `mean` divides by.

    Args:
        logits: (N, C).
        target: (N,) class indices or (N, C) class probabilities.
        weight: (C,), or None for ones.
        ignore_index, label_smoothing, z_loss, softcap, temperature: as `softxent.cross_entropy`.
    """
    z = np.asarray(logits, np.float64)
    target = np.asarray(target)
    n, classes = z.shape
    scaled = z / temperature
    if softcap is None:
        u, slope = scaled, np.full_like(z, 1 / temperature)
    else:
        u = softcap * np.tanh(scaled / softcap)
        slope = (1 - np.tanh(scaled / softcap) ** 2) / temperature

    t = target_mass(target, classes, weight, label_smoothing)
    s = t.sum(axis=-1)
    lse = logsumexp(u)
    p = softmax(u)
    with np.errstate(invalid="ignore"):
        taken = np.where(t == 0, 0.0, t * (lse[:, None] - u))  # 0 log 0 = 0
        loss = taken.sum(axis=-1) + z_loss * lse**2
        grad = ((s + 2 * z_loss * lse)[:, None] * p - t) * slope
    loss = np.where(np.isfinite(lse), loss, np.nan)
    denominator: Any = n
    if target.ndim == 1:
        kept = target != ignore_index
        loss = np.where(kept, loss, 0.0)
        grad = np.where(kept[:, None], grad, 0.0)
        w = np.ones(classes) if weight is None else np.asarray(weight, np.float64)
        denominator = w[target[kept]].sum()
    return loss, grad, denominator
