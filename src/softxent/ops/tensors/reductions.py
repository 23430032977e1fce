"""From losses per row to the caller's result, as tensors: each, their sum, or their mean."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from softxent.ops.spec import Loss

__all__ = ["reduce", "reduce_kernel_losses", "to_scalar"]


def reduce(loss: Loss, losses: Tensor, denominator: Tensor | float) -> Tensor:
    """Losses per row as `reduction` says, differentiable; `mean` divides by the denominator."""
    reduction = loss.options.reduction
    if reduction == "none":
        return losses
    total = losses.sum()
    if reduction == "sum":
        return total
    if isinstance(denominator, Tensor) or denominator:
        return total / denominator
    return total * torch.nan  # a mean over nothing, where Python would refuse to divide by 0


def reduce_kernel_losses(
    loss: Loss,
    losses: npt.NDArray[np.float64] | None,
    total: float,
    denominator: float,
    dtype: torch.dtype,
) -> Tensor:
    """What the kernels return (losses per row, or their sum), as `reduction` says."""
    if losses is not None:
        return torch.from_numpy(losses).to(dtype).view(loss.rows)
    if loss.options.reduction == "mean":
        total = total / denominator if denominator else math.nan
    return to_scalar(total, dtype)


def to_scalar(value: float, dtype: torch.dtype) -> Tensor:
    """A number as a tensor of a dtype; beyond the dtype's largest number it is inf."""
    try:
        return torch.scalar_tensor(value, dtype=dtype)
    except RuntimeError:
        return torch.scalar_tensor(value, dtype=torch.float64).to(dtype)
