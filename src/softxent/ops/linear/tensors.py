"""The linear head on torch tensors: who computes what was checked.

Ordinary tensors on the CPU go through the loop over chunks (`linear_engine`); while torch.compile
or another tracer looks on, as one operator (`linear_operators`). All others, and gradients of the
target or of the class weights, are composed of torch's operations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from softxent.ops import linear_engine as engine
from softxent.ops import linear_operators as operators
from softxent.ops import tensor
from softxent.ops import tensor_intake as intake

__all__ = ["linear_cross_entropy", "linear_cross_entropy_with_grad"]


def linear_cross_entropy(
    op: str,
    features: Tensor,
    classifier: Tensor,
    target: Any,
    bias: Any,
    weight: Any,
    *,
    options: dict[str, Any],
    max_bytes: int,
    skip_below: float,
) -> Tensor:
    """The reduced loss, differentiable."""
    features, classifier, bias = _autocast(features, classifier, bias)
    if intake.is_traced() and tensor.kernels_take(features, classifier, bias):
        target = intake.beside(op, "target", target, features)
        weight = None if weight is None else intake.beside(op, "weight", weight, features)
        arguments = (features, classifier, target, bias, weight)
        return operators.linear_cross_entropy(
            op,
            *arguments,
            options,
            max_bytes,
            skip_below,
            engine.wanted_of(features, classifier, bias),
        )
    target, weight, problem = engine.receive(
        op, features, classifier, target, bias, weight, options, max_bytes, skip_below
    )
    if engine.must_compose(features, classifier, bias, target, weight):
        return engine.compose(problem, features, classifier, bias, target, weight)
    wanted = engine.wanted_of(features, classifier, bias)
    result: Tensor = engine.LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        features, classifier, bias, target, weight, problem, wanted
    )
    return result


def linear_cross_entropy_with_grad(
    op: str,
    features: Tensor,
    classifier: Tensor,
    target: Any,
    bias: Any,
    weight: Any,
    *,
    options: dict[str, Any],
    max_bytes: int,
    skip_below: float,
    wanted: engine.Wanted,
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """The reduced loss and its gradients, none with a graph."""
    target, weight, problem = engine.receive(
        op, features, classifier, target, bias, weight, options, max_bytes, skip_below
    )
    engine.check_cpu(op, features)
    wanted = (wanted[0], wanted[1], wanted[2] and bias is not None)
    head = problem.head(features, classifier, bias, target, weight)
    sums, held = engine.forward(head, wanted)
    return engine.value_of(head, sums), engine.finish(held, head, 1.0)


def _autocast(
    features: Tensor, classifier: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What torch's linear does with them under autocast."""
    device = features.device.type
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return features, classifier, bias
    if features.dtype == torch.float64:
        return features, classifier, bias
    dtype = torch.get_autocast_dtype(device)
    return features.to(dtype), classifier.to(dtype), None if bias is None else bias.to(dtype)
