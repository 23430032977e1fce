"""The losses of tensors beside cross-entropy: NLL, log loss and the two binary cross-entropies."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from softxent.ops import checks, spec
from softxent.ops.options import LossOptions, check_reduction
from softxent.ops.spec import Loss
from softxent.ops.tensors import decompositions, intake, kernels, operators, torch_private
from softxent.ops.tensors.dtypes import computed, loss_dtype
from softxent.ops.tensors.reductions import reduce
from softxent.ops.tensors.routing import is_traced, kernels_take, wants_gradient

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "checked_indices",
    "checked_probabilities",
    "log_loss",
    "nll_loss",
]


def nll_loss(op: str, log_probs: Tensor, target: Any, options: LossOptions, axis: int) -> Tensor:
    """The reduction of -w_y log p_y."""
    target, weight, loss = intake.receive_loss(
        op, log_probs, target, options, axis, name="log_probs"
    )
    spec.check_is_index(loss)
    target = operators.check_target(loss, target)
    rows = computed(log_probs.movedim(loss.axis, -1))
    return decompositions.nll_loss(loss, rows, target, weight)


def checked_indices(
    op: str, log_probs: Tensor, target: Tensor, options: LossOptions, axis: int
) -> Tensor:
    """The class indices of an NLL loss as int64, after every check of that loss."""
    target, _, loss = intake.receive_loss(
        op, log_probs, target, options, axis, name="log_probs", any_weight=True
    )
    spec.check_is_index(loss)
    return operators.check_target(loss, target).long()


def log_loss(op: str, probs: Tensor, target: Any, options: LossOptions, axis: int) -> Tensor:
    """Cross-entropy of given probabilities."""
    target, weight, loss = intake.receive_loss(op, probs, target, options, axis, name="probs")
    target = operators.check_target(loss, target)
    p = computed(probs)
    if (numbers := intake.values(p)) is not None:
        checks.check_probabilities(op, numbers, loss.axis, torch.finfo(probs.dtype).eps)
    log_probs = p.movedim(loss.axis, -1).log()
    if loss.target_kind == "index":
        return decompositions.nll_loss(loss, log_probs, target, weight)
    t = target.movedim(loss.axis, -1).to(p.dtype)
    if weight is not None:
        t = t * weight.to(p.dtype)
    zero = torch.zeros_like(log_probs)
    losses = 0 - (t * torch.where(t == 0, zero, log_probs)).sum(dim=-1)
    return reduce(loss, losses, losses.numel())


def binary_cross_entropy(
    op: str, probs: Tensor, target: Any, weight: Any, *, reduction: str
) -> Tensor:
    """Cross-entropy of the probability of one of two classes."""
    p = computed(probs)
    y = checked_probabilities(op, p, target, reduction)
    traced = is_traced() or torch_private.in_jit_trace()
    loss = Loss.elementwise(op, probs.shape, reduction, remember=not traced)
    zero = torch.zeros_like(p)
    positive = torch.where(y == 0, zero, y * torch.where(y == 0, zero, p).log())
    negative = torch.where(y == 1, zero, (1 - y) * torch.log1p(-torch.where(y == 1, zero, p)))
    weight = intake.element_weight(op, "weight", weight, probs)
    losses = decompositions.weighted(0 - positive - negative, weight)
    return reduce(loss, losses, losses.numel())


def checked_probabilities(op: str, probs: Tensor, target: Any, reduction: str) -> Tensor:
    """The target of a binary loss in the dtype of its probabilities, after checks of both."""
    check_reduction(op, "reduction", reduction)
    y = operators.check_binary_target(op, intake.receive_binary(op, "probs", probs, target))
    if (numbers := intake.values(probs)) is not None:
        hint = " Logits? Use binary_cross_entropy_with_logits."
        checks.check_unit_interval(op, numbers, hint=hint)
    return y.to(probs.dtype)


def binary_cross_entropy_with_logits(
    op: str,
    logits: Tensor,
    target: Any,
    weight: Any,
    *,
    pos_weight: Any,
    reduction: str,
    any_weight: bool = False,
) -> Tensor:
    """Softmax cross-entropy over the two logits [0, x], with the soft target [1 - y, v y]."""
    y = intake.receive_binary(op, "logits", logits, target)
    traced = is_traced() or torch_private.in_jit_trace()
    loss = Loss.elementwise(op, logits.shape, reduction, remember=not traced)
    v = intake.element_weight(op, "pos_weight", pos_weight, logits, any_weight=any_weight)
    w = intake.element_weight(op, "weight", weight, logits, any_weight=any_weight)
    others_differentiate = torch.is_grad_enabled() and wants_gradient(y, v, w)
    if traced or others_differentiate or not kernels_take(logits, y, v, w):
        y = operators.check_binary_target(op, y)
        return decompositions.binary_cross_entropy(loss, logits, y, v, w)
    if not y.is_floating_point():
        y = y.to(loss_dtype(logits))
    return kernels.binary_cross_entropy(loss, logits, y, v, w)
