"""The linear head and its loss on tensors: checks, and which implementation computes.

Ordinary tensors on the CPU go through the loop over chunks (`autograd`); while torch.compile or
another tracer records, as one operator (`operators`). All others, and gradients of the target or of
the class weights, are decomposed into torch operations (`decompositions`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor

from softxent.ops.linear import autograd, decompositions, operators
from softxent.ops.linear.problem import autocast, loop_takes, receive, wanted_of, widens
from softxent.ops.options import LossOptions
from softxent.ops.tensors import intake
from softxent.ops.tensors.routing import is_traced, kernels_take, wants_gradient

__all__ = ["linear_cross_entropy", "linear_cross_entropy_with_grad"]


def linear_cross_entropy(
    op: str,
    features: Tensor,
    classifier: Tensor,
    target: Any,
    bias: Any,
    options: LossOptions,
    *,
    max_bytes: int,
    skip_below: float,
    logits_dtype: Any,
) -> Tensor:
    """The reduced loss, differentiable."""
    features, classifier, bias = autocast(op, features, classifier, bias, logits_dtype)
    recorded = is_traced() and kernels_take(features, classifier, bias)
    if recorded and not wants_gradient(target, options.weight):
        target, options = intake.all_beside(op, target, options, features)
        wide = widens(op, logits_dtype, features.dtype)
        return operators.linear_cross_entropy(
            op, features, classifier, target, bias, options, max_bytes, skip_below, wide
        )
    target, class_weight, problem = receive(
        op, features, classifier, target, bias, options, max_bytes, skip_below, logits_dtype
    )
    tensors = (features, classifier, bias, target, class_weight)
    if not loop_takes(*tensors):
        return decompositions.linear_cross_entropy(problem, *tensors)
    wanted = wanted_of(features, classifier, bias)
    result: Tensor = autograd.LinearCrossEntropy.apply(*tensors, problem, wanted)  # type: ignore[no-untyped-call]
    return result


def linear_cross_entropy_with_grad(
    op: str,
    features: Tensor,
    classifier: Tensor,
    target: Any,
    bias: Any,
    options: LossOptions,
    *,
    max_bytes: int,
    skip_below: float,
    logits_dtype: Any,
    wanted: Collection[str],
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """The reduced loss and its gradients, none of them part of a graph; `wanted` names them."""
    is_wanted = (
        "features" in wanted,
        "classifier" in wanted,
        "bias" in wanted and bias is not None,
    )
    if is_traced() and kernels_take(features, classifier, bias):
        target, options = intake.all_beside(op, target, options, features)
        wide = widens(op, logits_dtype, features.dtype)
        limits = max_bytes, skip_below, wide
        return operators.linear_cross_entropy_with_grad(
            op, features, classifier, target, bias, options, *limits, is_wanted
        )
    target, weight, problem = receive(
        op, features, classifier, target, bias, options, max_bytes, skip_below, logits_dtype
    )
    tensors = (
        features.detach(),
        classifier.detach(),
        None if bias is None else bias.detach(),
        target.detach(),
        None if weight is None else weight.detach(),
    )
    if not loop_takes(*tensors):
        return decompositions.value_and_gradients(problem, tensors, is_wanted)
    head = problem.head(*tensors)
    sums, grads = autograd.forward(head, is_wanted)
    factor = head.scale() if head.sums_in_float32 else 1.0
    return autograd.value_of(head, sums), autograd.finish(grads, head, factor)
