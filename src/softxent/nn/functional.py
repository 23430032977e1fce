"""torch.nn.functional's signatures for softmax and its losses: classes on axis 1.

What differs from the top-level functions is torch's convention alone: the class axis is 1 (0 for
a single sample), and the argument is called `input`.
"""

from __future__ import annotations

from torch import Tensor

from softxent import ops

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "log_softmax",
    "nll_loss",
    "softmax",
]


def softmax(input: Tensor, dim: int) -> Tensor:
    """As `torch.nn.functional.softmax`; `dim` is not guessed.

    Args:
        input: logits, floating point.
        dim: the class axis.
    """
    result: Tensor = ops.softmax(input, dim)
    return result


def log_softmax(input: Tensor, dim: int) -> Tensor:
    """As `torch.nn.functional.log_softmax`; `dim` is not guessed.

    Args:
        input: logits, floating point.
        dim: the class axis.
    """
    result: Tensor = ops.log_softmax(input, dim)
    return result


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """As `torch.nn.functional.cross_entropy`: input (C,), (N, C) or (N, C, d1, ...).

    Args:
        input: logits.
        target: class indices (), (N,) or (N, d1, ...), or class probabilities of input's shape.
        weight: (C,) class weights.
        ignore_index, reduction, label_smoothing: as `softxent.cross_entropy`.

    Returns:
        The loss in nats.

    Raises:
        TargetError, ShapeError, DTypeError, OptionError: as `softxent.cross_entropy`.

    Example:
        >>> import torch
        >>> cross_entropy(torch.tensor([[2.0, -1.0, 0.1]]), torch.tensor([2]))
        tensor(2.0818)
    """
    result: Tensor = ops.cross_entropy(
        input,
        target,
        weight,
        axis=_class_axis(input),
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
    return result


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """As `torch.nn.functional.nll_loss`: input holds log-probabilities.

    Args:
        input: (C,), (N, C) or (N, C, d1, ...).
        target: class indices (), (N,) or (N, d1, ...).
        weight: (C,) class weights.
        ignore_index, reduction: as `softxent.nll_loss`.
    """
    result: Tensor = ops.nll_loss(
        input,
        target,
        weight,
        axis=_class_axis(input),
        ignore_index=ignore_index,
        reduction=reduction,
    )
    return result


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """As `torch.nn.functional.binary_cross_entropy`, but that nothing is clipped at 100.

    Args:
        input: probabilities of the positive class.
        target: the same shape, in [0, 1].
        weight: broadcast against the shape.
        reduction: as `softxent.binary_cross_entropy`.
    """
    result: Tensor = ops.binary_cross_entropy(input, target, weight, reduction=reduction)
    return result


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """As `torch.nn.functional.binary_cross_entropy_with_logits`.

    Args:
        input: logits of the positive class.
        target: the same shape, in [0, 1].
        weight: broadcast against the shape.
        reduction: as `softxent.binary_cross_entropy_with_logits`.
        pos_weight: the positive class's weight, broadcast against the shape.
    """
    result: Tensor = ops.binary_cross_entropy_with_logits(
        input, target, weight, pos_weight=pos_weight, reduction=reduction
    )
    return result


def _class_axis(input: Tensor) -> int:
    return 0 if input.ndim == 1 else 1
