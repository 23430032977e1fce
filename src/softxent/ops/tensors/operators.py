"""The kernels as operators of torch.library: what torch.compile and torch.export record.

An operator checks everything each time the graph runs, labels included; while the graph is
recorded, its shapes are checked.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from softxent.ops import checks
from softxent.ops.options import SCHEMA, LossOptions, with_weight
from softxent.ops.spec import Loss
from softxent.ops.tensors import intake, kernels
from softxent.ops.tensors.dtypes import computed, epsilon, loss_dtype
from softxent.ops.tensors.routing import is_traced, on_cpu

__all__ = [
    "check_binary_target",
    "check_target",
    "cross_entropy",
    "cross_entropy_with_grad",
    "logsumexp",
    "softmax",
]


# --- softmax ---


@torch.library.custom_op("softxent::softmax", mutates_args=(), device_types="cpu")
def softmax(x: Tensor, axis: int, log: bool, saves_result: bool) -> Tensor:
    """Softmax, or its logarithm."""
    return kernels.softmax(x, axis, log=log)


@softmax.register_fake
def _(x: Tensor, axis: int, log: bool, saves_result: bool) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("softxent::softmax_backward", mutates_args=(), device_types="cpu")
def _softmax_backward(
    upstream: Tensor, saved: Tensor, axis: int, log: bool, from_result: bool
) -> Tensor:
    return kernels.softmax_gradient(upstream, saved, axis, log, from_result)


@_softmax_backward.register_fake
def _(upstream: Tensor, saved: Tensor, axis: int, log: bool, from_result: bool) -> Tensor:
    return torch.empty_like(saved)


def _save_for_softmax(ctx: Any, inputs: Any, output: Tensor) -> None:
    x, *ctx.call = inputs
    ctx.save_for_backward(output if ctx.call[2] else x)


def _softmax_gradient(ctx: Any, upstream: Tensor) -> Any:
    (saved,) = ctx.saved_tensors
    return _softmax_backward(upstream, saved, *ctx.call), None, None, None


softmax.register_autograd(_softmax_gradient, setup_context=_save_for_softmax)


def _save_for_second(ctx: Any, inputs: Any, output: Tensor) -> None:
    upstream, saved, *ctx.call = inputs
    ctx.save_for_backward(upstream, saved)


def _second_gradient(ctx: Any, outer: Tensor) -> Any:
    grads = kernels.softmax_gradient_by_decomposition(
        ctx.saved_tensors, ctx.call, outer, ctx.needs_input_grad[:2]
    )
    return *grads, None, None, None


_softmax_backward.register_autograd(_second_gradient, setup_context=_save_for_second)


@torch.library.custom_op("softxent::logsumexp", mutates_args=(), device_types="cpu")
def logsumexp(x: Tensor, axis: int) -> Tensor:
    """Logsumexp."""
    return kernels.logsumexp(x, axis)


@logsumexp.register_fake
def _(x: Tensor, axis: int) -> Tensor:
    return x.new_empty(x.shape[:axis] + x.shape[axis + 1 :])


def _save_input(ctx: Any, inputs: Any, output: Tensor) -> None:
    x, ctx.axis = inputs
    ctx.save_for_backward(x)


def _logsumexp_gradient(ctx: Any, upstream: Tensor) -> Any:
    (x,) = ctx.saved_tensors
    return upstream.unsqueeze(ctx.axis) * softmax(x, ctx.axis, False, False), None


logsumexp.register_autograd(_logsumexp_gradient, setup_context=_save_input)


# --- checks of values ---


def check_target(loss: Loss, target: Tensor) -> Tensor:
    """The target, its values checked: now, or each time the graph runs that is being recorded."""
    if is_traced() and on_cpu(target):
        checked: Tensor = _checked_target(
            target, loss.op, loss.target_kind, loss.axis, loss.classes, loss.options.ignore_index
        )
        return checked
    intake.check_target(loss, target)
    return target


def check_binary_target(op: str, target: Tensor) -> Tensor:
    """The same for a binary target."""
    if is_traced() and on_cpu(target):
        checked: Tensor = _checked_target(target, op, "binary", 0, 2, None)
        return checked
    if (numbers := intake.values(target)) is not None:
        checks.check_binary_values(op, numbers, epsilon(target))
    return target


@torch.library.custom_op("softxent::checked_target", mutates_args=(), device_types="cpu")
def _checked_target(
    target: Tensor, op: str, kind: str, axis: int, classes: int, ignore_index: int | None
) -> Tensor:
    numbers = kernels.as_array(computed(target))
    if kind == "index":
        checks.check_indices(op, numbers, classes, ignore_index)
    elif kind == "probabilities":
        checks.check_soft_target(op, numbers, axis, epsilon(target))
    else:
        checks.check_binary_values(op, numbers, epsilon(target))
    return target.clone()  # an operator may not return its input


@_checked_target.register_fake
def _(
    target: Tensor, op: str, kind: str, axis: int, classes: int, ignore_index: int | None
) -> Tensor:
    return torch.empty_like(target)


def _save_nothing(ctx: Any, inputs: Any, output: Tensor) -> None:
    pass


def _pass_through(ctx: Any, upstream: Tensor) -> Any:
    return upstream, None, None, None, None, None


_checked_target.register_autograd(_pass_through, setup_context=_save_nothing)


@_checked_target.register_vmap
def _(info: Any, in_dims: Any, target: Tensor, *rest: Any) -> tuple[Tensor, Any]:
    checked: Tensor = _checked_target(target, *rest)  # all samples at once
    return checked, in_dims[0]


# --- cross-entropy ---


def cross_entropy(
    op: str,
    logits: Tensor,
    target: Any,
    options: LossOptions,
    axis: int,
    dtype: torch.dtype,
    any_weight: bool,
) -> Tensor:
    """The reduced loss, differentiable in the logits."""
    target, options = intake.all_beside(op, target, options, logits)
    value, _ = _forward(logits, target, op, dtype, any_weight, axis, *options)
    result: Tensor = value
    return result


def cross_entropy_with_grad(
    op: str, logits: Tensor, target: Any, options: LossOptions, axis: int
) -> tuple[Tensor, Tensor]:
    """The reduced loss and its gradient, neither of them part of a graph."""
    target, options = intake.all_beside(op, target, options, logits)
    if options.weight is not None:
        options = with_weight(options, options.weight.detach())
    call = (op, loss_dtype(logits), False, axis, *options)
    logits, target = logits.detach(), target.detach()
    value, saved = _forward(logits, target, *call)
    return value, _backward(torch.ones_like(value), saved, logits, target, *call)


_CALL = (
    f"Tensor logits, Tensor target, str op, ScalarType dtype, bool any_weight, int axis, {SCHEMA}"
)


def _receive(
    logits: Tensor,
    target: Tensor,
    op: str,
    dtype: torch.dtype,
    any_weight: bool,
    axis: int,
    *options: Any,
) -> tuple[Tensor, Tensor | None, Loss]:
    return intake.receive_loss(
        op, logits, target, LossOptions(*options), axis, any_weight=any_weight
    )


@torch.library.custom_op(
    "softxent::cross_entropy",
    mutates_args=(),
    device_types="cpu",
    schema=f"({_CALL}) -> (Tensor, Tensor)",
)
def _forward(
    logits: Tensor, target: Tensor, op: str, dtype: torch.dtype, *rest: Any
) -> tuple[Tensor, Tensor]:
    """The reduced loss, and the saved statistics of the rows."""
    target, weight, loss = _receive(logits, target, op, dtype, *rest)
    intake.check_target(loss, target)
    value, saved = kernels.loss_and_saved(loss, logits, target, weight, dtype)
    # As integers: a NaN would not be equal to itself in the checks of torch.library.
    return value, torch.from_numpy(saved.view(np.int64))


@_forward.register_fake
def _(
    logits: Tensor, target: Tensor, op: str, dtype: torch.dtype, *rest: Any
) -> tuple[Tensor, Tensor]:
    _, _, loss = _receive(logits, target, op, dtype, *rest)
    rows = logits.numel() // loss.classes if loss.classes else 0
    return (
        logits.new_empty(loss.rows if loss.options.reduction == "none" else (), dtype=dtype),
        logits.new_empty((rows, 2), dtype=torch.int64),
    )


@torch.library.custom_op(
    "softxent::cross_entropy_backward",
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor upstream, Tensor saved, {_CALL}) -> Tensor",
)
def _backward(upstream: Tensor, saved: Tensor, logits: Tensor, *rest: Any) -> Tensor:
    target, weight, loss = _receive(logits, *rest)
    rows = kernels.as_array(saved).view(np.float64)
    return kernels.gradient(
        loss, logits, target, weight, rows, upstream, out=kernels.empty_like(logits)
    )


@_backward.register_fake
def _(upstream: Tensor, saved: Tensor, logits: Tensor, *rest: Any) -> Tensor:
    return torch.empty_like(logits)


def _save_call(ctx: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
    logits, target, op, dtype, any_weight, axis, weight, *ctx.options = inputs
    ctx.arguments = (op, dtype, any_weight, axis)
    ctx.save_for_backward(logits, target, weight, output[1])


def _cross_entropy_gradient(ctx: Any, upstream: Tensor, *unused: Any) -> Any:
    logits, target, weight, saved = ctx.saved_tensors
    options = LossOptions(weight, *ctx.options)
    grad = _backward(upstream, saved, logits, target, *ctx.arguments, *options)
    return grad, *[None] * (len(ctx.arguments) + len(options) + 1)


_forward.register_autograd(_cross_entropy_gradient, setup_context=_save_call)
