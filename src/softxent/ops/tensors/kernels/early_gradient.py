"""The gradient that a forward pass computes along with the loss.

One pass over the logits makes both; a backward pass of its own would read them again. The gradient
takes as much memory until the backward pass as the log-probabilities that torch keeps. Backward
hands it over: the upstream gradient of a loss is nearly always 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from softxent.ops.spec import Loss
from softxent.ops.tensors import torch_private
from softxent.ops.tensors.dtypes import is_half

__all__ = ["comes_early", "times_upstream"]


def comes_early(loss: Loss) -> bool:
    """Whether the forward pass computes the gradient of this loss with respect to the logits.

    Not for a loss per row, whose upstream gradients are numbers that only the backward pass knows;
    and not where hooks on saved tensors, such as those of checkpointing, keep memory low.
    """
    return loss.options.reduction != "none" and not torch_private.has_saved_tensor_hooks()


def times_upstream(grad: Tensor | None, upstream: Tensor, *, always: bool = False) -> Tensor | None:
    """The gradient of the forward pass times the upstream gradient, written over it.

    None where it must be computed anew: it is there no more, its own derivative is wanted, or the
    product would lose digits. A gradient that was rounded to half precision can be multiplied by
    powers of two alone. One below the smallest normal number has lost digits, which a factor of
    more than 1 in size would show. An infinite factor times the gradient of an ignored row isn't 0.

    Args:
        grad: the gradient, or None.
        upstream: the gradient with respect to the loss.
        always: whether to multiply by any finite number.
    """
    if grad is None or torch.is_grad_enabled() or torch_private.is_batched(upstream):
        return None
    scale = upstream.item()
    if scale == 1:
        return grad
    if always:
        return grad.mul_(scale) if math.isfinite(scale) else None
    is_exact = not is_half(grad.dtype) or abs(math.frexp(scale)[0]) == 0.5
    return grad.mul_(scale) if is_exact and abs(scale) <= 1 else None
