"""From losses per row to the caller's result, as tensors: each, their sum, or their mean."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from softxent.ops.spec import Loss

__all__ = ["reduce", "reduce_kernel_losses", "to_scalar"]


def reduce(
    loss: Loss,
    losses: Tensor,
    denominator: Tensor | float,
    z_terms: tuple[Tensor, Tensor | float] | None = None,
) -> Tensor:
    """Losses per row as `reduction` says, differentiable; `mean` divides by the denominator.

    Args:
        loss: the checked options.
        losses: per row.
        denominator: what `mean` divides the losses by.
        z_terms: z_loss lse^2 of each row, and the number of kept rows that `mean` divides these by;
            None where `losses` holds them.
    """
    reduction = loss.options.reduction
    if reduction == "mean":
        mean = _quotient(losses.sum(), denominator)
        return mean if z_terms is None else mean + _quotient(z_terms[0].sum(), z_terms[1])
    if z_terms is not None:
        losses = losses + z_terms[0]
    return losses if reduction == "none" else losses.sum()


def _quotient(total: Tensor, denominator: Tensor | float) -> Tensor:
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
