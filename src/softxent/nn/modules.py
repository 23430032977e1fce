"""torch.nn's modules for softmax and its losses, computed by `softxent.nn.functions`.

Each is a subclass of torch's own: it has the same arguments, attributes, buffers and repr, and
`isinstance` checks for torch's class succeed.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from softxent.nn import functions as F
from softxent.ops.options import IGNORE_INDEX, LossOptions, Reduction

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "LogSoftmax",
    "NLLLoss",
    "Softmax",
]


class Softmax(nn.Softmax):
    """As `torch.nn.Softmax`."""

    def forward(self, input: Tensor) -> Tensor:
        """Probabilities of logits."""
        return F.softmax(input, self.dim, _stacklevel=5)


class LogSoftmax(nn.LogSoftmax):
    """As `torch.nn.LogSoftmax`."""

    def forward(self, input: Tensor) -> Tensor:
        """Log-probabilities of logits."""
        return F.log_softmax(input, self.dim, _stacklevel=5)


class CrossEntropyLoss(nn.CrossEntropyLoss):
    """As `torch.nn.CrossEntropyLoss`: pass it the raw logits.

    Args:
        weight: (C,) class weights.
        size_average, reduce: deprecated in torch; `reduction` says the same.
        ignore_index, reduction, label_smoothing: as `softxent.cross_entropy`.
        axis, z_loss, softcap, temperature, inplace_backward: as
            `softxent.nn.functional.cross_entropy`; torch has none of them.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduce: bool | None = None,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
        *,
        axis: int | None = None,
        z_loss: float = 0.0,
        softcap: float | None = None,
        temperature: float = 1.0,
        inplace_backward: bool = False,
    ) -> None:
        super().__init__(weight, size_average, ignore_index, reduce, reduction, label_smoothing)
        self.axis = axis
        self.z_loss = z_loss
        self.softcap = softcap
        self.temperature = temperature
        self.inplace_backward = inplace_backward

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of logits against class indices or class probabilities."""
        return F.cross_entropy_with_options(
            input,
            target,
            LossOptions.of_module(self),
            axis=self.axis,
            inplace_backward=self.inplace_backward,
        )


class NLLLoss(nn.NLLLoss):
    """As `torch.nn.NLLLoss`: pass it log-probabilities."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of log-probabilities against class indices."""
        return F.nll_loss(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=cast(Reduction, self.reduction),
        )


class BCELoss(nn.BCELoss):
    """As `torch.nn.BCELoss`: pass it probabilities."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of probabilities against targets in [0, 1]."""
        return F.binary_cross_entropy(
            input, target, self.weight, reduction=cast(Reduction, self.reduction)
        )


class BCEWithLogitsLoss(nn.BCEWithLogitsLoss):
    """As `torch.nn.BCEWithLogitsLoss`: pass it logits."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of logits against targets in [0, 1]."""
        return F.binary_cross_entropy_with_logits(
            input,
            target,
            self.weight,
            reduction=cast(Reduction, self.reduction),
            pos_weight=self.pos_weight,
        )
