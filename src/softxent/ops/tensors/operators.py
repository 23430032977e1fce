"""The kernels as operators of torch.library: what torch.compile and torch.export put in a graph.

An operator checks everything itself, labels included, when the graph runs; while it is recorded
its shapes are checked.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from softxent.ops import composed, engine, spec
from softxent.ops import tensor_intake as intake

__all__ = ["check_target", "cross_entropy", "logsumexp", "softmax"]


# --- softmax ---


@torch.library.custom_op("softxent::softmax", mutates_args=(), device_types="cpu")
def softmax(x: Tensor, axis: int, log: bool) -> Tensor:
    """Softmax, or its logarithm."""
    return engine.softmax(x, axis, log=log)


@softmax.register_fake
def _(x: Tensor, axis: int, log: bool) -> Tensor:
    return torch.empty_like(x)


def _keep_result(ctx: Any, inputs: Any, output: Tensor) -> None:
    _, ctx.axis, ctx.log = inputs
    ctx.save_for_backward(output)


def _softmax_gradient(ctx: Any, upstream: Tensor) -> Any:
    (result,) = ctx.saved_tensors
    return engine.softmax_gradient(upstream, result, ctx.axis, ctx.log), None, None


softmax.register_autograd(_softmax_gradient, setup_context=_keep_result)


@torch.library.custom_op("softxent::logsumexp", mutates_args=(), device_types="cpu")
def logsumexp(x: Tensor, axis: int) -> Tensor:
    """Logsumexp."""
    return engine.logsumexp(x, axis)


@logsumexp.register_fake
def _(x: Tensor, axis: int) -> Tensor:
    return x.new_empty(x.shape[:axis] + x.shape[axis + 1 :])


def _keep_input(ctx: Any, inputs: Any, output: Tensor) -> None:
    x, ctx.axis = inputs
    ctx.save_for_backward(x)


def _logsumexp_gradient(ctx: Any, upstream: Tensor) -> Any:
    (x,) = ctx.saved_tensors
    return upstream.unsqueeze(ctx.axis) * softmax(x, ctx.axis, False), None


logsumexp.register_autograd(_logsumexp_gradient, setup_context=_keep_input)


# --- cross-entropy ---


def check_target(
    target: Tensor, op: str, kind: str, classes: int, ignore_index: int | None
) -> Tensor:
    """The target, whose values are checked when the graph runs."""
    checked: Tensor = _checked_target(target, op, kind, classes, ignore_index)
    return checked


@torch.library.custom_op("softxent::checked_target", mutates_args=(), device_types="cpu")
def _checked_target(
    target: Tensor, op: str, kind: str, classes: int, ignore_index: int | None
) -> Tensor:
    # A copy: an operator may not return its input.
    if kind == "index":
        intake.check_indices(op, target, classes, ignore_index)
    elif kind == "probabilities":
        spec.check_masses(op, intake.values(target))
    else:
        spec.check_binary_values(op, intake.values(target))
    return target.clone()


@_checked_target.register_fake
def _(target: Tensor, op: str, kind: str, classes: int, ignore_index: int | None) -> Tensor:
    return torch.empty_like(target)


def _nothing_to_keep(ctx: Any, inputs: Any, output: Tensor) -> None:
    pass


def _as_it_came(ctx: Any, upstream: Tensor) -> Any:
    return upstream, None, None, None, None


_checked_target.register_autograd(_as_it_came, setup_context=_nothing_to_keep)


@_checked_target.register_vmap
def _(info: Any, in_dims: Any, target: Tensor, *rest: Any) -> tuple[Tensor, Any]:
    checked: Tensor = _checked_target(target, *rest)  # every sample's at once
    return checked, in_dims[0]


def cross_entropy(
    op: str,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    dtype: torch.dtype | None,
    any_weight: bool,
    options: dict[str, Any],
) -> Tensor:
    """The reduced loss, differentiable in the logits."""
    value, _ = _forward(
        logits,
        target,
        weight,
        op,
        dtype or composed.dtype_of(logits),
        any_weight,
        options["axis"],
        options["ignore_index"],
        options["reduction"],
        options["label_smoothing"],
        options.get("z_loss", 0.0),
        options.get("softcap"),
        options.get("temperature", 1.0),
    )
    result: Tensor = value
    return result


@torch.library.custom_op("softxent::cross_entropy", mutates_args=(), device_types="cpu")
def _forward(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    op: str,
    dtype: torch.dtype,
    any_weight: bool,
    axis: int,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    z_loss: float,
    softcap: float | None,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    target, weight, loss = _receive(
        op,
        any_weight,
        logits,
        target,
        weight,
        axis,
        ignore_index,
        reduction,
        label_smoothing,
        z_loss,
        softcap,
        temperature,
    )
    intake.check_target(loss, target)
    value, summary = engine.loss_and_summary(loss, logits, target, weight, dtype)
    # As bits, of which a NaN equals itself.
    return value, torch.from_numpy(summary.view(np.int64))


@_forward.register_fake
def _(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    op: str,
    dtype: torch.dtype,
    any_weight: bool,
    axis: int,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    z_loss: float,
    softcap: float | None,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    target, weight, loss = _receive(
        op,
        any_weight,
        logits,
        target,
        weight,
        axis,
        ignore_index,
        reduction,
        label_smoothing,
        z_loss,
        softcap,
        temperature,
    )
    rows = logits.numel() // loss.classes if loss.classes else 0
    return (
        logits.new_empty(loss.rows if reduction == "none" else (), dtype=dtype),
        logits.new_empty((rows, 2), dtype=torch.int64),
    )


@torch.library.custom_op("softxent::cross_entropy_backward", mutates_args=(), device_types="cpu")
def _backward(
    upstream: Tensor,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    summary: Tensor,
    axis: int,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    z_loss: float,
    softcap: float | None,
    temperature: float,
) -> Tensor:
    target, weight, loss = _receive(
        "cross_entropy",
        True,
        logits,
        target,
        weight,
        axis,
        ignore_index,
        reduction,
        label_smoothing,
        z_loss,
        softcap,
        temperature,
    )
    return engine.gradient(
        loss,
        logits,
        target,
        weight,
        engine.array(summary).view(np.float64),
        upstream,
        out=engine.empty_like(logits),
    )


@_backward.register_fake
def _(upstream: Tensor, logits: Tensor, *rest: Any) -> Tensor:
    return torch.empty_like(logits)


def _receive(
    op: str,
    any_weight: bool,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    axis: int,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    z_loss: float,
    softcap: float | None,
    temperature: float,
) -> tuple[Tensor, Tensor | None, spec.Loss]:
    options = {
        "axis": axis,
        "ignore_index": ignore_index,
        "reduction": reduction,
        "label_smoothing": label_smoothing,
        "z_loss": z_loss,
        "softcap": softcap,
        "temperature": temperature,
    }
    return intake.receive_loss(op, logits, target, weight, options, any_weight=any_weight)


def _keep_summary(ctx: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
    logits, target, weight, _, _, _, *ctx.options = inputs
    ctx.save_for_backward(logits, target, weight, output[1])


def _cross_entropy_gradient(ctx: Any, upstream: Tensor, *unused: Any) -> Any:
    logits, target, weight, summary = ctx.saved_tensors
    grad = _backward(upstream, logits, target, weight, summary, *ctx.options)
    return grad, *[None] * 12


_forward.register_autograd(_cross_entropy_gradient, setup_context=_keep_summary)
