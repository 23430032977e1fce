"""Cross-entropy of logits in tensors: checks, and which implementation computes it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from softxent.ops import spec
from softxent.ops.options import LossOptions
from softxent.ops.tensors import decompositions, intake, kernels, operators
from softxent.ops.tensors.dtypes import is_half, loss_dtype
from softxent.ops.tensors.routing import is_traced, kernels_take, wants_gradient

__all__ = ["cross_entropy", "cross_entropy_with_grad", "cross_entropy_with_stats"]


def cross_entropy(
    op: str,
    logits: Tensor,
    target: Any,
    options: LossOptions,
    axis: int,
    *,
    dtype: torch.dtype | None = None,
    inplace_backward: bool = False,
    logits_may_change: bool = False,
    any_weight: bool = False,
) -> Tensor:
    """The reduced loss, differentiable in the logits, a class-probability target and the weight.

    Args:
        op: the public function's name.
        logits, target, options, axis: as `softxent.cross_entropy`.
        dtype: the dtype of the loss; by default the one in which the logits are computed.
        inplace_backward: whether the backward pass writes the gradient over the logits.
        logits_may_change: whether the caller may change the logits before the backward pass.
        any_weight: whether class weights may be NaN or infinite, as in torch.
    """
    dtype = dtype or loss_dtype(logits)
    traced = is_traced()
    if traced and kernels_take(logits) and not wants_gradient(target, options.weight):
        return operators.cross_entropy(op, logits, target, options, axis, dtype, any_weight)
    target, weight, loss = intake.receive_loss(
        op, logits, target, options, axis, any_weight=any_weight, traced=traced
    )
    if traced or not kernels_take(logits, target, weight):
        target = operators.check_target(loss, target)
        return decompositions.cross_entropy(loss, logits, target, weight).to(dtype)
    if inplace_backward:
        intake.check_overwritable(op, logits)
    if not kernels.checks_indices(loss, target):
        intake.check_target(loss, target)
    if logits_may_change:
        # The gradient of the forward pass doesn't need them; where there is none, or it can't be
        # multiplied by every upstream gradient, a copy does.
        keeps = not logits.requires_grad or not torch.is_grad_enabled()
        logits_may_change = not (keeps or is_half(logits.dtype) or options.reduction == "none")
        logits = logits if keeps or logits_may_change else logits.clone()
    return kernels.cross_entropy(
        loss,
        logits,
        target,
        weight,
        dtype,
        inplace_backward=inplace_backward,
        logits_may_change=logits_may_change,
    )


def cross_entropy_with_grad(
    op: str, logits: Tensor, target: Any, options: LossOptions, axis: int, out: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The reduced loss and its gradient, neither of them part of a graph."""
    if out is not None:
        intake.check_out(op, out, logits.shape, logits.dtype, logits)
    if is_traced() and kernels_take(logits):
        value, grad = operators.cross_entropy_with_grad(op, logits, target, options, axis)
    else:
        target, weight, loss = intake.receive_loss(op, logits, target, options, axis)
        intake.check_target(loss, target)
        if kernels_take(logits, target, weight):
            return kernels.cross_entropy_with_grad(loss, logits, target, weight, out)
        with torch.inference_mode(False), torch.enable_grad():
            leaf = _usable(logits.detach()).requires_grad_()
            weight = None if weight is None else _usable(weight)
            value = decompositions.cross_entropy(loss, leaf, _usable(target), weight)
            (grad,) = torch.autograd.grad(value.sum(), leaf)
    if out is not None:
        grad = intake.copy_to(op, out, grad, logits.detach())
    return value.detach(), grad


def _usable(x: Tensor) -> Tensor:
    """A tensor that can be part of a graph: a copy of one that was made in inference mode."""
    return x.clone() if x.is_inference() else x


def cross_entropy_with_stats(
    op: str,
    logits: Tensor,
    target: Any,
    options: LossOptions,
    axis: int,
    *,
    k: int,
    dtype: torch.dtype,
) -> tuple[Tensor, ...]:
    """The reduced loss; lse, entropy, argmax and top-k hits per row; what z_loss adds to the loss.

    Args:
        op: the public function's name.
        logits, target, options, axis: as `softxent.cross_entropy`.
        k: the length of the short list.
        dtype: the dtype of the loss.
    """
    target, weight, loss = intake.receive_loss(op, logits, target, options, axis, any_weight=True)
    k = spec.check_k(op, k, loss.classes)
    if is_traced() or not kernels_take(logits, target, weight):
        target = operators.check_target(loss, target)
        value, *stats = decompositions.cross_entropy_with_stats(loss, logits, target, weight, k)
    else:
        intake.check_target(loss, target)
        value, *stats = kernels.cross_entropy_with_stats(loss, logits, target, weight, dtype, k)
    return value.to(dtype), *stats, decompositions.z_term(loss, target, stats[0]).to(dtype)
