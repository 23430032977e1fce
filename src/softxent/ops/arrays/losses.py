"""The losses of arrays beside cross-entropy: NLL, log loss and the two binary cross-entropies."""

from __future__ import annotations

from typing import Any

import numpy as np

from softxent import _native
from softxent.ops import checks, spec
from softxent.ops.arrays.intake import Array, receive_binary, receive_loss, receive_optional
from softxent.ops.arrays.output import readable
from softxent.ops.arrays.reductions import reduce, to_scalar
from softxent.ops.dtypes import compute_dtype, epsilon
from softxent.ops.options import LossOptions
from softxent.ops.spec import Loss

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "log_loss",
    "nll_loss",
]


def nll_loss(op: str, log_probs: Any, target: Any, options: LossOptions, axis: int) -> Any:
    """The reduction of -w_y log p_y."""
    array, target, weight, loss, export = receive_loss(
        op, log_probs, target, options, axis, name="log_probs"
    )
    spec.check_is_index(loss)
    return export(_pick(loss, array, target, weight))


def _pick(loss: Loss, log_probs: Array, target: Array, weight: Array | None) -> Any:
    """The reduction of -w_y log p_y, of checked arrays."""
    dtype = compute_dtype(loss.op, "log_probs", log_probs.dtype)
    ignore = loss.options.ignore_index
    kept = np.full(target.shape, True) if ignore is None else target != ignore
    index = np.where(kept, target, 0).astype(np.int64)
    if loss.classes == 0:
        picked = np.zeros(loss.rows)
    else:
        picked = np.take_along_axis(log_probs, np.expand_dims(index, loss.axis), loss.axis)
        picked = picked.reshape(loss.rows).astype(np.float64)
    if weight is None or loss.classes == 0:
        w = np.ones(loss.rows)
    else:
        w = np.asarray(weight, np.float64)[index]
    w = np.where(kept, w, 0.0)
    # A row of weight 0 adds nothing, even where its log-probability is -inf.
    losses = 0.0 - w * np.where(w == 0, 0.0, picked)  # 0.0 for log p = 0, never -0.0
    return reduce(loss, losses, float(w.sum()), dtype)


def log_loss(op: str, probs: Any, target: Any, options: LossOptions, axis: int) -> Any:
    """Cross-entropy of given probabilities."""
    array, target, weight, loss, export = receive_loss(
        op, probs, target, options, axis, name="probs"
    )
    dtype = compute_dtype(op, "probs", array.dtype)
    tolerance = epsilon(array.dtype)
    array = array.astype(dtype, copy=False)
    checks.check_probabilities(op, array, loss.axis, tolerance)
    if loss.target_kind == "index":
        with np.errstate(divide="ignore"):
            return export(_pick(loss, np.log(array), target, weight))
    t = np.moveaxis(target, loss.axis, -1).astype(np.float64)
    if weight is not None:
        t = t * weight
    with np.errstate(divide="ignore", invalid="ignore"):
        log_probs = np.log(np.moveaxis(array, loss.axis, -1))
        losses = 0.0 - np.where(t == 0, 0.0, t * log_probs).sum(axis=-1)
    return export(reduce(loss, losses, float(losses.size), dtype))


def binary_cross_entropy(op: str, probs: Any, target: Any, weight: Any, *, reduction: str) -> Any:
    """Cross-entropy of the probability of one of two classes."""
    array, target, export = receive_binary(op, "probs", probs, target)
    dtype = compute_dtype(op, "probs", array.dtype)
    checks.check_unit_interval(op, array, hint=" Logits? Use binary_cross_entropy_with_logits.")
    p, y = array.astype(np.float64), target.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        positive = np.where(y == 0, 0.0, y * np.log(p))
        negative = np.where(y == 1, 0.0, (1 - y) * np.log1p(-p))
    losses = 0.0 - positive - negative
    weight = _element_weight(op, "weight", weight, losses)
    if weight is not None:
        with np.errstate(invalid="ignore"):
            losses = np.where(weight == 0, 0.0, losses * weight)
    loss = Loss.elementwise(op, array.shape, reduction)
    return export(reduce(loss, losses, float(losses.size), dtype))


def binary_cross_entropy_with_logits(
    op: str, logits: Any, target: Any, weight: Any, *, pos_weight: Any, reduction: str
) -> Any:
    """Softmax cross-entropy over the two logits [0, x]."""
    array, target, export = receive_binary(op, "logits", logits, target)
    loss = Loss.elementwise(op, array.shape, reduction)
    pos_weight = _element_weight(op, "pos_weight", pos_weight, array)
    weight = _element_weight(op, "weight", weight, array)
    dtype = compute_dtype(op, "logits", array.dtype)
    per_element = loss.options.reduction == "none"
    losses = np.empty(array.size, np.float64) if per_element else None

    def elements(name: str, x: Array) -> Array:
        x = x if x.dtype.kind in "fV" else x.astype(dtype)
        return np.ascontiguousarray(readable(op, name, x)).reshape(-1)

    total = _native.binary_cross_entropy(
        elements("logits", array),
        elements("target", target),
        positive_weight=None if pos_weight is None else elements("pos_weight", pos_weight),
        weight=None if weight is None else elements("weight", weight),
        loss=losses,
    )
    if losses is not None:
        return export(reduce(loss, losses, 1.0, dtype))
    denominator = float(array.size) if loss.options.reduction == "mean" else 1.0
    return export(to_scalar(total, denominator, dtype))


def _element_weight(op: str, name: str, weight: Any, like: Array) -> Array | None:
    """A weight per element, broadcast to the shape of `like`."""
    weight = receive_optional(op, name, weight)
    if weight is None:
        return None
    spec.check_broadcast(op, name, weight.shape, like.shape)
    checks.check_element_weight(op, name, weight)
    return np.broadcast_to(weight, like.shape)
