"""Cross-entropy of CPU tensors by the compiled kernels, with autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from softxent import _native
from softxent.ops import checks
from softxent.ops.spec import Loss, size_of
from softxent.ops.tensors import torch_private
from softxent.ops.tensors.dtypes import KERNEL_TYPE, loss_dtype
from softxent.ops.tensors.kernels.buffers import (
    Array,
    as_array,
    empty_like,
    is_plain_memory,
    most_threads,
)
from softxent.ops.tensors.kernels.derivatives import gradients_by_decomposition
from softxent.ops.tensors.kernels.early_gradient import comes_early, times_upstream
from softxent.ops.tensors.reductions import reduce_kernel_losses, to_scalar

__all__ = [
    "arguments_of",
    "checks_indices",
    "cross_entropy",
    "cross_entropy_with_grad",
    "gradient",
    "gradients",
    "loss_and_saved",
    "run",
]


def checks_indices(loss: Loss, target: Tensor) -> bool:
    """Whether the kernels check this target themselves, before they write anything."""
    return (
        loss.target_kind == "index"
        and target.dtype.is_signed
        and loss.options.ignore_index is not None
    )


def cross_entropy(
    loss: Loss,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    dtype: torch.dtype,
    *,
    inplace_backward: bool = False,
    logits_may_change: bool = False,
) -> Tensor:
    """The reduced loss, of this dtype.

    With `logits_may_change` the first backward pass doesn't need the logits. It may be set neither
    in half precision nor with reduction="none".
    """
    plain = weight is None and not inplace_backward and _is_plain(loss, logits, target)
    others = target.requires_grad or (weight is not None and weight.requires_grad)
    if torch.is_grad_enabled() and (logits.requires_grad or others):
        early = logits_may_change or (not (others or inplace_backward) and comes_early(loss))
        function: type[torch.autograd.Function] = _CrossEntropy
        arguments: tuple[Any, ...] = (logits, target, weight, loss, dtype)
        arguments = (*arguments, inplace_backward, early, logits_may_change)
        if plain:
            function = _PlainCrossEntropy
            arguments = (logits, target, loss, dtype, early, logits_may_change)
        result: Tensor = torch_private.apply_function(function, *arguments)
        return result
    if plain:
        return to_scalar(_run_plain(loss, logits, target), dtype)
    losses = _row_losses(loss)
    total = run(loss, target, arguments_of(loss, logits, target, weight), {"loss": losses})
    return reduce_kernel_losses(loss, losses, *total, dtype)


def cross_entropy_with_grad(
    loss: Loss, logits: Tensor, target: Tensor, weight: Tensor | None, out: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The reduced loss and its gradient in one pass, the gradient in `out` where that is given."""
    grad = empty_like(logits.detach()) if out is None else out
    buffer = grad if out is None or _writable(out, logits, target, weight) else empty_like(grad)
    losses = _row_losses(loss)
    arguments = arguments_of(loss, logits, target, weight)
    total = run(loss, target, arguments, {"loss": losses, "grad": as_array(buffer)})
    if buffer is not grad:
        with torch.no_grad():
            grad.copy_(buffer)
    elif out is not None:
        torch.autograd.graph.increment_version(out)
    return reduce_kernel_losses(loss, losses, *total, loss_dtype(logits)), grad


def _writable(out: Tensor, logits: Tensor, target: Tensor, weight: Tensor | None) -> bool:
    """Whether the kernels can write to `out`: it is the logits, or overlaps no input."""
    destination = as_array(out)
    others = [as_array(x) for x in (target, weight) if x is not None]
    if not (out.data_ptr() == logits.data_ptr() and out.stride() == logits.stride()):
        others.append(as_array(logits))
    return not any(np.may_share_memory(destination, other) for other in others)


# --- the general path ---


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None,
        loss: Loss,
        dtype: torch.dtype,
        inplace_backward: bool,
        early: bool,
        logits_may_change: bool,
    ) -> Tensor:
        grad = empty_like(logits.detach()) if early else None
        value, saved = loss_and_saved(loss, logits, target, weight, dtype, grad)
        ctx.save_for_backward(logits, target, weight)
        ctx.loss, ctx.saved, ctx.inplace_backward = loss, saved, inplace_backward
        ctx.grad, ctx.logits_may_change = grad, logits_may_change
        return value

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        grad, ctx.grad = ctx.grad, None
        if ctx.needs_input_grad[:3] == (True, False, False):
            early = times_upstream(grad, upstream, always=ctx.logits_may_change)
            if early is not None:
                return early, *[None] * 7
        logits, target, weight = ctx.saved_tensors
        return *gradients(ctx, logits, target, weight, upstream), *[None] * 5


def gradients(
    ctx: Any, logits: Tensor, target: Tensor, weight: Tensor | None, upstream: Tensor
) -> list[Tensor | None]:
    """The gradients with respect to logits, target and weight, as autograd needs them."""
    wanted = ctx.needs_input_grad[:3]
    # The gradient's own derivative, or many upstream gradients at once.
    if torch.is_grad_enabled() or torch_private.is_batched(upstream):
        return gradients_by_decomposition(ctx.loss, logits, target, weight, upstream, wanted)
    grads: list[Tensor | None] = [None, None, None]
    if wanted[1] or wanted[2]:
        others = (False, *wanted[1:])
        grads = gradients_by_decomposition(ctx.loss, logits, target, weight, upstream, others)
    if wanted[0]:
        given = (ctx.loss, logits, target, weight, ctx.saved, upstream)
        in_place = ctx.inplace_backward
        try:
            grads[0] = gradient(*given, logits.detach() if in_place else empty_like(logits))
        except BufferError:  # target or weight share the logits' memory and are still to be read
            grads[0], in_place = gradient(*given, empty_like(logits)), False
        if in_place:
            torch.autograd.graph.increment_version(logits)
    return grads


def loss_and_saved(
    loss: Loss,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    dtype: torch.dtype,
    grad: Tensor | None = None,
) -> tuple[Tensor, Array]:
    """The reduced loss, and the saved statistics (rows, 2) from which the gradient is computed.

    With `grad` the gradient is written there.
    """
    losses = _row_losses(loss)
    saved = np.empty((size_of(loss.rows), 2), np.float64)
    arguments = arguments_of(loss, logits, target, weight)
    buffers = {"loss": losses, "saved": saved, "grad": None if grad is None else as_array(grad)}
    total = run(loss, target, arguments, buffers)
    return reduce_kernel_losses(loss, losses, *total, dtype), saved


def gradient(
    loss: Loss,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    saved: Array,
    upstream: Tensor,
    out: Tensor,
) -> Tensor:
    """The gradient with respect to the logits, from the saved statistics, written to `out`."""
    arguments = arguments_of(loss, logits, target, weight)
    buffers: dict[str, Any] = {"grad": as_array(out), "saved": saved, "from_saved": True}
    if loss.options.reduction == "none":
        buffers["upstream"] = as_array(upstream.double().contiguous()).reshape(-1)
    else:
        buffers["scale"] = upstream.item()
    run(loss, target, arguments, buffers)
    return out


def _row_losses(loss: Loss) -> Array | None:
    """Room for a loss per row, where the caller wants them."""
    return np.empty(size_of(loss.rows)) if loss.options.reduction == "none" else None


def arguments_of(
    loss: Loss, logits: Tensor, target: Tensor, weight: Tensor | None
) -> dict[str, Any]:
    """The kernel's inputs: arrays and options."""
    arguments: dict[str, Any] = {
        "logits": as_array(logits),
        "axis": loss.axis,
        "mean": loss.options.reduction == "mean",
        "threads": most_threads(logits),
        **loss.kernel_options,
    }
    if loss.target_kind == "index":
        index = np.require(as_array(target.long()), requirements=["C", "A"])
        arguments["index"] = index.reshape(-1)
    else:
        soft_target = target if target.is_floating_point() else target.double()
        arguments["probabilities"] = as_array(soft_target)
    if weight is not None:
        arguments["weight"] = as_array(weight.to(loss_dtype(logits)).contiguous())
    return arguments


def run(
    loss: Loss, target: Tensor, arguments: dict[str, Any], buffers: dict[str, Any]
) -> tuple[float, float]:
    """Call the kernel: the sum of the losses, and the denominator of their mean."""
    try:
        return _native.cross_entropy(**arguments, **buffers)
    except IndexError:  # a class index out of range, found before anything was written
        _raise_for_indices(loss, target)
        raise


def _raise_for_indices(loss: Loss, target: Tensor) -> None:
    checks.check_indices(loss.op, as_array(target), loss.classes, loss.options.ignore_index)


# --- the fast path ---


def _is_plain(loss: Loss, logits: Tensor, target: Tensor) -> bool:
    """Whether addresses alone describe the call to the kernels: int64 indices, contiguous rows."""
    return (
        loss.is_plain
        and target.dtype is torch.int64
        and loss.axis == logits.ndim - 1
        and is_plain_memory(logits)
        and is_plain_memory(target)
    )


def _run_plain(
    loss: Loss,
    logits: Tensor,
    target: Tensor,
    grad: Tensor | None = None,
    saved: Tensor | None = None,
    scale: float = 1.0,
) -> float:
    """The reduced loss.

    With `grad` alone the gradient is computed too, with `saved` alone the saved statistics; with
    both, the gradient from the saved statistics.
    """
    options = loss.options
    try:
        return _native.plain_cross_entropy(
            logits.data_ptr(),
            target.data_ptr(),
            0 if grad is None else grad.data_ptr(),
            0 if saved is None else saved.data_ptr(),
            KERNEL_TYPE[logits.dtype],
            target.numel(),
            loss.classes,
            options.ignore_index,  # type: ignore[arg-type]
            options.label_smoothing,
            options.reduction == "mean",
            scale,
            most_threads(logits),
        )
    except IndexError:  # a class index out of range, found before anything was written
        _raise_for_indices(loss, target)
        raise


class _PlainCrossEntropy(torch.autograd.Function):
    """The usual loss of a model: mean or sum, class indices, contiguous rows.

    In a second backward pass the gradient is computed again, with the same bits.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        target: Tensor,
        loss: Loss,
        dtype: torch.dtype,
        early: bool,
        logits_may_change: bool,
    ) -> Tensor:
        grad = saved = None
        if early:
            grad = empty_like(logits)
        else:
            saved = torch.empty(2 * target.numel(), dtype=torch.float64)
        value = _run_plain(loss, logits, target, grad, saved)
        ctx.save_for_backward(logits, target)
        ctx.loss, ctx.grad, ctx.saved, ctx.logits_may_change = loss, grad, saved, logits_may_change
        return to_scalar(value, dtype)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        grad, ctx.grad = ctx.grad, None
        grad = times_upstream(grad, upstream, always=ctx.logits_may_change)
        if grad is None:
            logits, target = ctx.saved_tensors
            if torch.is_grad_enabled() or torch_private.is_batched(upstream):
                wanted = (True, False, False)
                grad, *_ = gradients_by_decomposition(
                    ctx.loss, logits, target, None, upstream, wanted
                )
            else:
                grad = empty_like(logits)
                _run_plain(ctx.loss, logits, target, grad, ctx.saved, upstream.item())
        return grad, *[None] * 5
