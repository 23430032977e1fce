"""The loop over chunks on torch's CPU tensors, with autograd.

"mean" and "sum" compute the gradients together with the loss: three matmuls. "none" has to wait for
its upstream gradients and computes the logits again: four.

In half precision the factor of the gradients (of "mean", and the upstream gradient) comes last:
applied to the logits' gradient, a small one or the large one of a loss scale would leave the range
of float16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from softxent.ops.linear import decompositions
from softxent.ops.linear.loop import Gradients, LinearHead, RowSums
from softxent.ops.linear.problem import NOTHING, Problem, Wanted
from softxent.ops.tensors.dtypes import compute_dtype
from softxent.ops.tensors.kernels.buffers import empty

__all__ = [
    "LinearCrossEntropy",
    "finish",
    "forward",
    "from_sums",
    "value_of",
    "zeros_for",
]

_PIECE = 2**18  # numbers


def forward(head: LinearHead, wanted: Sequence[bool]) -> tuple[RowSums, Gradients]:
    """The sums of each row, and the gradients before `finish`."""
    into = zeros_for(head, wanted)
    if not into:
        return head.reduce(), into
    scale = 1.0 if head.sums_in_float32 else head.scale()
    return head.reduce_and_differentiate(into, scale=scale), into


def zeros_for(head: LinearHead, wanted: Sequence[bool]) -> Gradients:
    """Zeros for the wanted gradients."""
    matmuls, x = head.matmuls, head.features
    into = Gradients()
    if wanted[0]:
        into.features = empty((len(head.target), x.shape[-1]), x.dtype).zero_()
    if wanted[1]:
        into.classifier = matmuls.zeros(*head.classifier.shape)
        if (
            head.sums_in_float32
        ):  # its gradient is allocated at the end: until then its memory is free
            head.spare = head.classifier.numel() * head.classifier.element_size()
    if wanted[2]:
        into.bias = matmuls.zeros(head.loss.classes)
    return into


def finish(into: Gradients, head: LinearHead, factor: float) -> tuple[Tensor | None, ...]:
    """The gradients times a factor, in the arguments' shapes and dtypes.

    They are changed in place: another copy of the classifier's gradient would be the largest
    tensor of all.
    """
    dtype, features = head.features.dtype, into.features
    if features is not None:
        if factor != 1:
            features.mul_(factor)
        if head.kept is not None and not np.isfinite(factor):
            ignored = np.ones(len(head.target), bool)
            ignored[head.kept] = False
            features[ignored] = 0
        features = features.view(*head.loss.rows, features.shape[-1])
    return features, _times(into.classifier, factor, dtype), _times(into.bias, factor, dtype)


def _times(gradient: Tensor | None, factor: float, dtype: torch.dtype) -> Tensor | None:
    if gradient is None or (factor == 1 and gradient.dtype == dtype):
        return gradient
    if gradient.dtype == dtype:
        return gradient.mul_(factor)
    result = empty(tuple(gradient.shape), dtype)
    flat, out = gradient.view(-1), result.view(-1)
    for begin in range(0, len(flat), _PIECE):  # torch allocates each piece in the sums' dtype first
        torch.mul(flat[begin : begin + _PIECE], factor, out=out[begin : begin + _PIECE])
    return result


def from_sums(
    head: LinearHead, sums: RowSums, upstream: Tensor, wanted: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """The gradients from the rows' sums: for a loss per row, and for a second backward pass."""
    into = zeros_for(head, wanted)
    rows = None
    if head.loss.options.reduction == "none":
        rows = upstream.detach().double().reshape(-1).contiguous().numpy()
        factor = float(np.abs(rows).max(initial=0)) if head.sums_in_float32 else 1.0
        rows = rows / factor if factor not in (0, 1) else rows
    else:
        factor = float(upstream) * head.scale()
    if head.sums_in_float32:
        head.differentiate(sums, into, upstream=rows)
        return finish(into, head, factor)
    head.differentiate(sums, into, scale=factor, upstream=rows)
    return finish(into, head, 1.0)


def value_of(head: LinearHead, sums: RowSums) -> Tensor:
    """The reduced loss."""
    dtype = compute_dtype(head.features.dtype)
    losses = torch.from_numpy(sums.loss)
    reduction = head.loss.options.reduction
    if reduction == "none":
        return losses.to(dtype).view(head.loss.rows)
    total = losses.sum()
    if reduction == "mean":
        denominator = head.denominator()
        total = total / denominator if denominator else total * torch.nan
    return total.to(dtype)


class LinearCrossEntropy(torch.autograd.Function):
    """The loop with autograd.

    "mean" and "sum" compute the gradients together with the loss, and backward returns them. They
    are stored once, so a second backward pass computes them again.
    """

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        features: Tensor,
        classifier: Tensor,
        bias: Tensor | None,
        target: Tensor,
        weight: Tensor | None,
        problem: Problem,
        wanted: Wanted,
    ) -> Tensor:
        head = problem.head(features, classifier, bias, target, weight)
        per_row = problem.loss.options.reduction == "none"
        ctx.sums, gradients = forward(head, NOTHING if per_row else wanted)
        ctx.gradients = gradients or None
        ctx.problem = problem
        ctx.save_for_backward(features, classifier, bias, target, weight)
        return value_of(head, ctx.sums)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        wanted = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # create_graph: the gradient's own derivative
            grads = decompositions.gradients(ctx.problem, ctx.saved_tensors, upstream, wanted)
            return *grads, None, None, None, None
        head = ctx.problem.head(*ctx.saved_tensors)
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            grads = from_sums(head, ctx.sums, upstream, wanted)
        else:
            factor = float(upstream) * (head.scale() if head.sums_in_float32 else 1.0)
            grads = finish(gradients, head, factor)
        return *grads, None, None, None, None
