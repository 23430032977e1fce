"""The linear head as an operator of torch.library: what torch.compile and torch.export record.

Its gradients are results like any other, computed together with the loss; a second operator
computes those of a loss per row. Everything is checked each time the graph runs, labels included.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from softxent.ops.linear import autograd
from softxent.ops.linear.loop import LinearHead, RowSums
from softxent.ops.linear.problem import NOTHING, Wanted, receive, wanted_of
from softxent.ops.options import SCHEMA, LossOptions, with_weight
from softxent.ops.spec import size_of
from softxent.ops.tensors.dtypes import compute_dtype

__all__ = ["linear_cross_entropy", "linear_cross_entropy_with_grad"]

_CALL = (
    "str op, Tensor features, Tensor classifier, Tensor target, Tensor? bias, int max_bytes, "
    f"float skip_below, bool wide, bool[] wanted, {SCHEMA}"
)


def linear_cross_entropy(
    op: str,
    features: Tensor,
    classifier: Tensor,
    target: Tensor,
    bias: Tensor | None,
    options: LossOptions,
    max_bytes: int,
    skip_below: float,
    wide: bool,
) -> Tensor:
    """The reduced loss, differentiable in features, classifier and bias."""
    wanted = list(wanted_of(features, classifier, bias))
    results = _forward(
        op, features, classifier, target, bias, max_bytes, skip_below, wide, wanted, *options
    )
    loss: Tensor = results[0]
    return loss


def linear_cross_entropy_with_grad(
    op: str,
    features: Tensor,
    classifier: Tensor,
    target: Tensor,
    bias: Tensor | None,
    options: LossOptions,
    max_bytes: int,
    skip_below: float,
    wide: bool,
    wanted: Wanted,
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """The reduced loss and the wanted gradients, none of them part of a graph."""
    features, classifier, target = features.detach(), classifier.detach(), target.detach()
    bias = None if bias is None else bias.detach()
    if options.weight is not None:
        options = with_weight(options, options.weight.detach())
    limits = max_bytes, skip_below, wide
    call = (op, features, classifier, target, bias, *limits, list(wanted), *options)
    loss, rows, factor, *grads = _forward(*call)
    if options.reduction == "none":
        grads = _backward(torch.ones_like(loss), rows, *call)
    else:
        grads = [(g * factor.to(g.dtype)).to(features.dtype) for g in grads]
    return loss, tuple(g if want else None for g, want in zip(grads, wanted, strict=True))


def _head(
    op: str,
    features: Tensor,
    classifier: Tensor,
    target: Tensor,
    bias: Tensor | None,
    max_bytes: int,
    skip_below: float,
    wide: bool,
    wanted: list[bool],
    *options: Any,
) -> LinearHead:
    logits_dtype = torch.float32 if wide else None
    target, weight, problem = receive(
        op,
        features,
        classifier,
        target,
        bias,
        LossOptions(*options),
        max_bytes,
        skip_below,
        logits_dtype,
    )
    return problem.head(features, classifier, bias, target, weight)


@torch.library.custom_op(
    "softxent::linear_cross_entropy",
    mutates_args=(),
    device_types="cpu",
    schema=f"({_CALL}) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _forward(
    op: str,
    features: Tensor,
    classifier: Tensor,
    target: Tensor,
    bias: Tensor | None,
    max_bytes: int,
    skip_below: float,
    wide: bool,
    wanted: list[bool],
    *options: Any,
) -> tuple[Tensor, ...]:
    """The loss, the rows' sums, the factor of the gradients, and the gradients or empty tensors."""
    head = _head(
        op, features, classifier, target, bias, max_bytes, skip_below, wide, wanted, *options
    )
    per_row = head.loss.options.reduction == "none"
    sums, into = autograd.forward(head, NOTHING if per_row else wanted)
    rows = torch.from_numpy(np.column_stack([sums.loss, sums.saved]))
    factor = torch.tensor(head.scale() if head.sums_in_float32 else 1.0, dtype=torch.float64)
    grads = autograd.finish(into, head, 1.0)[0], into.classifier, into.bias
    return autograd.value_of(head, sums), rows, factor, *_present(grads, head.features)


def _present(grads: tuple[Tensor | None, ...], like: Tensor) -> list[Tensor]:
    """Empty tensors for gradients that aren't wanted: an operator can't return None."""
    return [like.new_empty(0) if gradient is None else gradient for gradient in grads]


@_forward.register_fake
def _(
    op: str,
    features: Tensor,
    classifier: Tensor,
    target: Tensor,
    bias: Tensor | None,
    max_bytes: int,
    skip_below: float,
    wide: bool,
    wanted: list[bool],
    *options: Any,
) -> tuple[Tensor, ...]:
    dtype = compute_dtype(features.dtype)
    rows, classes = features.shape[:-1], classifier.shape[0]
    per_row = LossOptions(*options).reduction == "none"
    if per_row:
        wanted = [False, False, False]
    grads = (
        features.new_empty(features.shape) if wanted[0] else None,
        features.new_empty(classifier.shape, dtype=dtype) if wanted[1] else None,
        features.new_empty((classes,), dtype=dtype) if wanted[2] else None,
    )
    return (
        features.new_empty(rows if per_row else (), dtype=dtype),
        features.new_empty((size_of(rows), 3), dtype=torch.float64),
        features.new_empty((), dtype=torch.float64),
        *_present(grads, features),
    )


@torch.library.custom_op(
    "softxent::linear_cross_entropy_backward",
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor upstream, Tensor rows, {_CALL}) -> (Tensor, Tensor, Tensor)",
)
def _backward(upstream: Tensor, rows: Tensor, *call: Any) -> tuple[Tensor, ...]:
    """The gradients of a loss per row; empty tensors for those that aren't wanted."""
    head, wanted = _head(*call), call[8]
    saved = rows.numpy()
    sums = RowSums(saved[:, 0], np.ascontiguousarray(saved[:, 1:]))
    grads = autograd.from_sums(head, sums, upstream, wanted)
    return tuple(_present(grads, head.features))


@_backward.register_fake
def _(upstream: Tensor, rows: Tensor, *call: Any) -> tuple[Tensor, ...]:
    features, classifier, wanted = call[1], call[2], call[8]
    shapes = features.shape, classifier.shape, classifier.shape[:1]
    grads = tuple(
        features.new_empty(shape) if is_wanted else None
        for shape, is_wanted in zip(shapes, wanted, strict=True)
    )
    return tuple(_present(grads, features))


def _save_call(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    op, features, classifier, target, bias, *rest = inputs
    max_bytes, skip_below, wide, ctx.wanted, weight, *ctx.options = rest
    ctx.op, ctx.limits = op, (max_bytes, skip_below, wide)
    ctx.save_for_backward(features, classifier, target, bias, weight, *output[1:])
    ctx.set_materialize_grads(False)


def _gradient(ctx: Any, upstream: Tensor | None, *unused: Any) -> tuple[Any, ...]:
    *tensors, weight, rows, factor, dx, dw, db = ctx.saved_tensors
    features, wanted = tensors[0], ctx.wanted
    options = LossOptions(weight, *ctx.options)
    nothing = (None,) * (4 + len(options))
    if upstream is None:
        return (None,) * 5 + nothing
    grads: list[Tensor | None]
    if options.reduction == "none":
        made = _backward(upstream, rows, ctx.op, *tensors, *ctx.limits, wanted, *options)
        grads = [gradient if want else None for gradient, want in zip(made, wanted, strict=True)]
    else:
        scale = upstream.double() * factor
        grads = [
            (gradient * scale.to(gradient.dtype)).to(features.dtype) if want else None
            for gradient, want in zip((dx, dw, db), wanted, strict=True)
        ]
    return None, grads[0], grads[1], None, grads[2], *nothing


_forward.register_autograd(_gradient, setup_context=_save_call)
