"""Derivatives that the kernels don't have: by decomposition into torch operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from softxent.ops.spec import Loss
from softxent.ops.tensors import decompositions

__all__ = ["differentiate", "gradients_by_decomposition", "independent"]


def differentiate(
    outputs: Sequence[Tensor], inputs: Sequence[Any], upstream: Sequence[Tensor]
) -> Sequence[Tensor]:
    """Gradients, as part of the graph where gradients are enabled."""
    keep_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        return torch.autograd.grad(outputs, inputs, upstream, create_graph=keep_graph)


def independent(x: Tensor) -> Tensor:
    """A view of x that no other input of the loss depends on."""
    return x.view_as(x)


def gradients_by_decomposition(
    loss: Loss,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    upstream: Tensor,
    wanted: tuple[bool, ...],
) -> list[Tensor | None]:
    """The wanted gradients with respect to logits, target and weight.

    They are part of the graph where gradients are enabled.
    """
    with torch.enable_grad():
        given = [
            independent(x) if want and x is not None else x
            for x, want in zip((logits, target, weight), wanted, strict=True)
        ]
        value = decompositions.cross_entropy(loss, *given)  # type: ignore[arg-type]
        value = value.to(upstream.dtype)
    inputs = [x for x, want in zip(given, wanted, strict=True) if want]
    grads = iter(differentiate([value], inputs, [upstream]))
    return [next(grads) if want else None for want in wanted]
