"""torch.nn's modules for softmax and its losses, on `softxent.nn.functional`."""

from __future__ import annotations

from torch import Tensor, nn

from softxent.nn import functional as F

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "LogSoftmax",
    "NLLLoss",
    "Softmax",
]


class Softmax(nn.Module):
    """As `torch.nn.Softmax`; the class axis is never guessed."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Probabilities of logits."""
        return F.softmax(input, self.dim)

    def extra_repr(self) -> str:
        """The axis."""
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """As `torch.nn.LogSoftmax`; the class axis is never guessed."""

    def forward(self, input: Tensor) -> Tensor:
        """Log-probabilities of logits."""
        return F.log_softmax(input, self.dim)


class _WeightedLoss(nn.Module):
    weight: Tensor | None

    def __init__(self, weight: Tensor | None, reduction: str) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.reduction = reduction


class CrossEntropyLoss(_WeightedLoss):
    """As `torch.nn.CrossEntropyLoss`: give it the raw logits.

    Args:
        weight: (C,) class weights.
        ignore_index, reduction, label_smoothing: as `softxent.cross_entropy`.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, reduction)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of logits against class indices or class probabilities."""
        return F.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(_WeightedLoss):
    """As `torch.nn.NLLLoss`: give it log-probabilities.

    Args:
        weight: (C,) class weights.
        ignore_index, reduction: as `softxent.nll_loss`.
    """

    def __init__(
        self, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(weight, reduction)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of log-probabilities against class indices."""
        return F.nll_loss(
            input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


class BCELoss(_WeightedLoss):
    """As `torch.nn.BCELoss`: give it probabilities.

    Args:
        weight: broadcast against the input.
        reduction: as `softxent.binary_cross_entropy`.
    """

    def __init__(self, weight: Tensor | None = None, *, reduction: str = "mean") -> None:
        super().__init__(weight, reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of probabilities against targets in [0, 1]."""
        return F.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_WeightedLoss):
    """As `torch.nn.BCEWithLogitsLoss`: give it logits.

    Args:
        weight: broadcast against the input.
        reduction: as `softxent.binary_cross_entropy_with_logits`.
        pos_weight: the positive class's weight, broadcast against the input.
    """

    pos_weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(weight, reduction)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of logits against targets in [0, 1]."""
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )
