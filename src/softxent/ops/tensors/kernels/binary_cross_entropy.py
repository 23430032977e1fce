"""Binary cross-entropy of CPU tensors by the compiled kernels, with autograd."""

from __future__ import annotations

import math
from typing import Any, overload

import torch
from torch import Tensor

from softxent import _native
from softxent.ops import checks
from softxent.ops.spec import Loss
from softxent.ops.tensors import decompositions, torch_private
from softxent.ops.tensors.dtypes import KERNEL_TYPE, computed, epsilon, loss_dtype
from softxent.ops.tensors.kernels.buffers import (
    Array,
    as_array,
    empty_like,
    is_plain_memory,
    most_threads,
)
from softxent.ops.tensors.kernels.derivatives import differentiate, independent
from softxent.ops.tensors.kernels.early_gradient import comes_early, times_upstream
from softxent.ops.tensors.reductions import to_scalar

__all__ = ["binary_cross_entropy"]


def binary_cross_entropy(
    loss: Loss,
    logits: Tensor,
    target: Tensor,
    pos_weight: Tensor | None,
    weight: Tensor | None,
) -> Tensor:
    """The reduced loss, in the dtype in which logits are computed.

    Weights have the logits' shape. The kernels check the target, before they return anything.
    """
    plain = pos_weight is None and weight is None and _is_plain(loss, logits, target)
    if logits.requires_grad and torch.is_grad_enabled():
        function: type[torch.autograd.Function] = _BinaryCrossEntropy
        arguments: tuple[Any, ...] = (logits, target, pos_weight, weight, loss)
        if plain:
            function, arguments = _PlainBinaryCrossEntropy, (logits, target, loss)
        result: Tensor = torch_private.apply_function(function, *arguments)
        return result
    if plain:
        return _plain_loss(loss, logits, target, None)
    return _loss(loss, logits, target, pos_weight, weight)


def _count(loss: Loss, logits: Tensor) -> int:
    """The denominator of the reduction."""
    return logits.numel() if loss.options.reduction == "mean" else 1


def _mean(total: float, count: int, logits: Tensor) -> Tensor:
    return to_scalar(total / count if count else math.nan, loss_dtype(logits))


def _raise_for_target(loss: Loss, target: Tensor) -> None:
    checks.check_binary_values(loss.op, as_array(computed(target)), epsilon(target))


def _gradient_by_decomposition(
    loss: Loss,
    logits: Tensor,
    target: Tensor,
    pos_weight: Tensor | None,
    weight: Tensor | None,
    upstream: Tensor,
) -> Tensor:
    """The gradient, as part of the graph where gradients are enabled."""
    with torch.enable_grad():
        x = independent(logits)
        value = decompositions.binary_cross_entropy(loss, x, target, pos_weight, weight)
    (grad,) = differentiate([value], [x], [upstream])
    return grad


# --- the general path ---


def _loss(
    loss: Loss,
    logits: Tensor,
    target: Tensor,
    pos_weight: Tensor | None,
    weight: Tensor | None,
) -> Tensor:
    per_element = loss.options.reduction == "none"
    losses = torch.empty(logits.shape, dtype=loss_dtype(logits)) if per_element else None
    try:
        total = _native.binary_cross_entropy(
            _flat(logits),
            _flat(target),
            positive_weight=_flat(pos_weight),
            weight=_flat(weight),
            loss=_flat(losses),
            threads=most_threads(logits),
        )
    except IndexError:  # a target outside [0, 1]
        _raise_for_target(loss, target)
        raise
    return _mean(total, _count(loss, logits), logits) if losses is None else losses


@overload
def _flat(x: Tensor) -> Array: ...
@overload
def _flat(x: None) -> None: ...


def _flat(x: Tensor | None) -> Array | None:
    """All elements as one dimension."""
    return None if x is None else as_array(x.contiguous().view(-1))


class _BinaryCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        target: Tensor,
        pos_weight: Tensor | None,
        weight: Tensor | None,
        loss: Loss,
    ) -> Tensor:
        ctx.save_for_backward(logits, target, pos_weight, weight)
        ctx.loss = loss
        return _loss(loss, logits, target, pos_weight, weight)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        logits, target, pos_weight, weight = ctx.saved_tensors
        loss: Loss = ctx.loss
        if torch.is_grad_enabled() or torch_private.is_batched(upstream):
            grad = _gradient_by_decomposition(loss, logits, target, pos_weight, weight, upstream)
            return grad, None, None, None, None
        per_element = loss.options.reduction == "none"
        grad = empty_like(logits.contiguous())
        _native.binary_cross_entropy(
            _flat(logits),
            _flat(target),
            positive_weight=_flat(pos_weight),
            weight=_flat(weight),
            upstream=_flat(upstream) if per_element else None,
            scale=1.0 if per_element else float(upstream) / max(1, _count(loss, logits)),
            grad=_flat(grad),
            value=False,
            threads=most_threads(logits),
        )
        return grad, None, None, None, None


# --- the fast path ---


def _is_plain(loss: Loss, logits: Tensor, target: Tensor) -> bool:
    """Whether addresses alone describe the call to the kernels: one dtype, contiguous elements."""
    return (
        loss.options.reduction != "none"
        and target.dtype is logits.dtype
        and is_plain_memory(logits)
        and is_plain_memory(target)
    )


def _run_plain(
    logits: Tensor, target: Tensor, grad: Tensor | None, scale: float, *, value: bool
) -> float:
    return _native.plain_binary_cross_entropy(
        logits.data_ptr(),
        target.data_ptr(),
        0 if grad is None else grad.data_ptr(),
        KERNEL_TYPE[logits.dtype],
        logits.numel(),
        scale,
        value,
        most_threads(logits),
    )


def _plain_loss(loss: Loss, logits: Tensor, target: Tensor, grad: Tensor | None) -> Tensor:
    """The reduced loss, and the gradient in the same call where it is wanted."""
    count = _count(loss, logits)
    scale = 1 / count if count else math.nan
    try:
        total = _run_plain(logits, target, grad, scale, value=True)
    except IndexError:  # a target outside [0, 1]
        _raise_for_target(loss, target)
        raise
    return _mean(total, count, logits)


class _PlainBinaryCrossEntropy(torch.autograd.Function):
    """Mean or sum without weights."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, loss: Loss) -> Tensor:
        ctx.grad = empty_like(logits) if comes_early(loss) else None
        value = _plain_loss(loss, logits, target, ctx.grad)
        ctx.save_for_backward(logits, target)
        ctx.loss = loss
        return value

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        grad, ctx.grad = ctx.grad, None
        grad = times_upstream(grad, upstream)
        if grad is None:
            logits, target = ctx.saved_tensors
            loss: Loss = ctx.loss
            if torch.is_grad_enabled() or torch_private.is_batched(upstream):
                grad = _gradient_by_decomposition(loss, logits, target, None, None, upstream)
            else:
                grad = empty_like(logits)
                scale = upstream.item() / max(1, _count(loss, logits))
                _run_plain(logits, target, grad, scale, value=False)
        return grad, None, None
