"""The linear head and its loss decomposed into torch operations: any device, any derivative."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from softxent.ops.linear.problem import Problem, Wanted
from softxent.ops.spec import size_of
from softxent.ops.tensors import decompositions, torch_private
from softxent.ops.tensors.reductions import reduce
from softxent.ops.tensors.routing import is_traced

__all__ = [
    "gradients",
    "in_chunks",
    "linear_cross_entropy",
    "logits_of",
    "value_and_gradients",
]


def linear_cross_entropy(
    problem: Problem,
    features: Tensor,
    classifier: Tensor,
    bias: Tensor | None,
    target: Tensor,
    weight: Tensor | None,
) -> Tensor:
    """The reduced loss, from all logits; on an accelerator from those of a chunk at a time."""
    accelerator = features.device.type not in ("cpu", "meta") and not is_traced()
    if accelerator and not torch_private.transforms_active():
        return in_chunks(problem, features, classifier, bias, target, weight)
    logits = logits_of(problem, features, classifier, bias)
    return decompositions.cross_entropy(problem.loss, logits, target, weight)


def logits_of(
    problem: Problem, features: Tensor, classifier: Tensor, bias: Tensor | None
) -> Tensor:
    """All logits, in float32 where the problem says so."""
    if problem.widens:
        features, classifier = features.float(), classifier.float()
        bias = None if bias is None else bias.float()
    return F.linear(features, classifier, bias)


def in_chunks(
    problem: Problem,
    features: Tensor,
    classifier: Tensor,
    bias: Tensor | None,
    target: Tensor,
    weight: Tensor | None,
) -> Tensor:
    """The same a chunk of rows at a time; backward computes the chunk's logits again."""
    loss = problem.loss
    count = size_of(loss.rows)
    row = loss.classes * 4 * max(4, features.element_size())  # bytes that autograd keeps per row
    size = max(1, problem.max_bytes // row)
    x = features.reshape(count, features.shape[-1])
    y = target.reshape(count, *target.shape[len(loss.rows) :])

    def losses(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        part = replace(loss, axis=1, rows=(len(x),))
        logits = logits_of(problem, x, classifier, bias)
        rows = decompositions.row_losses(part, logits, y, weight)
        z_terms = torch.zeros_like(rows.losses) if rows.z_terms is None else rows.z_terms
        return rows.losses, z_terms

    parts: list[tuple[Tensor, Tensor]] = [
        checkpoint(losses, x[i : i + size], y[i : i + size], use_reentrant=False)
        for i in range(0, max(1, count), size)
    ]
    denominator: Tensor | float = float(count)
    kept_count = float(count)
    if loss.target_kind == "index":
        ignore_index = loss.options.ignore_index
        kept = y if ignore_index is None else y[y != ignore_index]
        kept_count = float(len(kept))
        denominator = kept_count if weight is None else weight[kept.long()].sum()
    all_losses, z_terms = (torch.cat(part).view(loss.rows) for part in zip(*parts, strict=True))
    return reduce(loss, all_losses, denominator, (z_terms, kept_count))


def gradients(
    problem: Problem, saved: tuple[Any, ...], upstream: Tensor, wanted: Wanted
) -> tuple[Tensor | None, ...]:
    """The wanted gradients as part of the graph."""
    value = linear_cross_entropy(problem, *saved)
    inputs = [x for x, is_wanted in zip(saved, wanted, strict=False) if is_wanted]
    grads = iter(torch.autograd.grad(value, inputs, upstream, create_graph=True))
    return tuple(next(grads) if is_wanted else None for is_wanted in wanted)


def value_and_gradients(
    problem: Problem,
    tensors: Sequence[Tensor | None],
    wanted: Wanted,
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """The reduced loss and the wanted gradients of its sum, none of them part of a graph.

    Args:
        problem: the checked loss.
        tensors: features, classifier, bias, target and class weights, without gradients.
        wanted: the gradients to compute, of the first three.
    """
    with torch.inference_mode(False), torch.enable_grad():
        # What was made in inference mode can't be part of a graph.
        usable = [
            x.clone() if x is not None and not is_traced() and x.is_inference() else x
            for x in tensors
        ]
        inputs = [
            x.requires_grad_() if want and x is not None else x
            for x, want in zip(usable, (*wanted, False, False), strict=True)
        ]
        value = linear_cross_entropy(problem, *inputs)  # type: ignore[arg-type]
        leaves = [x for x in inputs if x is not None and x.requires_grad]
        grads = iter(torch.autograd.grad(value.sum(), leaves) if leaves else ())
    return value.detach(), tuple(next(grads) if want else None for want in wanted)
