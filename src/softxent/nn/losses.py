"""torch.nn's modules for softmax and its losses, computed by `softxent.nn.functions`.

Each is a subclass of torch's own: it has the same arguments, attributes, buffers and repr, and
`isinstance` checks for torch's class succeed. torch.jit.script compiles torch's own function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from softxent.errors import OptionError
from softxent.nn import functions as F
from softxent.ops.linear import tensors
from softxent.ops.linear.loop import MAX_BYTES
from softxent.ops.options import IGNORE_INDEX, Reduction, options_of

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "LinearCrossEntropyLoss",
    "LogSoftmax",
    "NLLLoss",
    "Softmax",
]

_is_scripting: Callable[[], bool] = torch.jit.is_scripting  # type: ignore[attr-defined]


class Softmax(nn.Softmax):
    """As `torch.nn.Softmax`.

    Args:
        dim: the class axis.

    Shape, errors, edge cases, cost: as `softxent.nn.functional.softmax`.

    Example:
        >>> Softmax(dim=0)(torch.tensor([0.0, 0.0]))
        tensor([0.5000, 0.5000])

    See Also: `torch.nn.Softmax`, `softxent.nn.functional.softmax`.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Probabilities of logits."""
        if _is_scripting():
            return nn.functional.softmax(input, self.dim, _stacklevel=5)
        return F.softmax(input, self.dim, _stacklevel=5)


class LogSoftmax(nn.LogSoftmax):
    """As `torch.nn.LogSoftmax`.

    Args:
        dim: the class axis.

    Shape, errors, edge cases, cost: as `softxent.nn.functional.log_softmax`.

    Example:
        >>> LogSoftmax(dim=0)(torch.tensor([0.0, 0.0]))
        tensor([-0.6931, -0.6931])

    See Also: `torch.nn.LogSoftmax`, `softxent.nn.functional.log_softmax`.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Log-probabilities of logits."""
        if _is_scripting():
            return nn.functional.log_softmax(input, self.dim, _stacklevel=5)
        return F.log_softmax(input, self.dim, _stacklevel=5)


class CrossEntropyLoss(nn.CrossEntropyLoss):
    """As `torch.nn.CrossEntropyLoss`: pass it the raw logits.

    Args:
        weight: (C,) class weights.
        size_average, reduce: deprecated in torch; `reduction` says the same.
        ignore_index, reduction, label_smoothing: as `softxent.cross_entropy`.
        axis, z_loss, softcap, temperature, inplace_backward: as
            `softxent.nn.functional.cross_entropy`; torch has none of them.

    Shape, errors, edge cases, cost: as `softxent.nn.functional.cross_entropy`.

    Example:
        >>> CrossEntropyLoss()(torch.tensor([[2.0, -1.0, 0.1]]), torch.tensor([2]))
        tensor(2.0818)

    See Also: `torch.nn.CrossEntropyLoss`, `softxent.cross_entropy`.
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

    def __prepare_scriptable__(self) -> CrossEntropyLoss:
        theirs = (self.axis, self.z_loss, self.softcap, self.temperature) == (None, 0.0, None, 1.0)
        if theirs and not self.inplace_backward:
            return self
        raise OptionError(
            "[CrossEntropyLoss] torch.jit.script compiles torch's own loss, which has no axis, "
            "z_loss, softcap, temperature and inplace_backward: use torch.compile, or script a "
            "module without them."
        )

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of logits against class indices or class probabilities."""
        if _is_scripting():
            return nn.functional.cross_entropy(
                input,
                target,
                weight=self.weight,
                ignore_index=self.ignore_index,
                reduction=self.reduction,
                label_smoothing=self.label_smoothing,
            )
        return F.cross_entropy_with_options(
            input,
            target,
            options_of(self),
            axis=self.axis,
            inplace_backward=self.inplace_backward,
        )


class NLLLoss(nn.NLLLoss):
    """As `torch.nn.NLLLoss`: pass it log-probabilities.

    Args:
        weight, size_average, ignore_index, reduce, reduction: as torch's.

    Shape, errors, edge cases, cost: as `softxent.nn.functional.nll_loss`.

    Example:
        >>> NLLLoss()(torch.tensor([[-0.5, -1.0]]), torch.tensor([1]))
        tensor(1.)

    See Also: `torch.nn.NLLLoss`, `softxent.nn.functional.nll_loss`.
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of log-probabilities against class indices."""
        if _is_scripting():
            return nn.functional.nll_loss(
                input,
                target,
                weight=self.weight,
                ignore_index=self.ignore_index,
                reduction=self.reduction,
            )
        return F.nll_loss(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=cast(Reduction, self.reduction),
        )


class BCELoss(nn.BCELoss):
    """As `torch.nn.BCELoss`: pass it probabilities.

    Args:
        weight, size_average, reduce, reduction: as torch's.

    Shape, errors, edge cases, cost: as `softxent.nn.functional.binary_cross_entropy`.

    Example:
        >>> BCELoss()(torch.tensor([0.5]), torch.tensor([1.0]))
        tensor(0.6931)

    See Also: `torch.nn.BCELoss`, `softxent.nn.functional.binary_cross_entropy`.
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of probabilities against targets in [0, 1]."""
        if _is_scripting():
            return nn.functional.binary_cross_entropy(
                input, target, weight=self.weight, reduction=self.reduction
            )
        return F.binary_cross_entropy(
            input, target, self.weight, reduction=cast(Reduction, self.reduction)
        )


class BCEWithLogitsLoss(nn.BCEWithLogitsLoss):
    """As `torch.nn.BCEWithLogitsLoss`: pass it logits.

    Args:
        weight, size_average, reduce, reduction, pos_weight: as torch's.

    Shape, errors, edge cases, cost: as `softxent.nn.functional.binary_cross_entropy_with_logits`.

    Example:
        >>> BCEWithLogitsLoss()(torch.tensor([0.0]), torch.tensor([1.0]))
        tensor(0.6931)

    See Also: `torch.nn.BCEWithLogitsLoss`,
    `softxent.nn.functional.binary_cross_entropy_with_logits`.
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of logits against targets in [0, 1]."""
        if _is_scripting():
            return nn.functional.binary_cross_entropy_with_logits(
                input,
                target,
                self.weight,
                pos_weight=self.pos_weight,
                reduction=self.reduction,
            )
        return F.binary_cross_entropy_with_logits(
            input,
            target,
            self.weight,
            reduction=cast(Reduction, self.reduction),
            pos_weight=self.pos_weight,
        )


if TYPE_CHECKING:
    _Base = nn.Module
else:  # older versions of torch don't have it
    _Base = getattr(nn, "LinearCrossEntropyLoss", nn.Module)


class LinearCrossEntropyLoss(_Base):
    """As `torch.nn.LinearCrossEntropyLoss`: the last layer and its loss, with the layer's weights.

    Args:
        in_features: D.
        num_classes: C.
        out_features: torch's further dimensions of a loss; only () is supported.
        bias: whether the layer has one.
        device, dtype: of the layer.
        reduction, weight, ignore_index, label_smoothing, options, z_loss, softcap, temperature,
            max_bytes, skip_below, logits_dtype: as
            `softxent.nn.functional.linear_cross_entropy`.

    The layer is `linear`; share its weight with an embedding by
    `criterion.linear.weight = embedding.weight`.

    Shape, errors, edge cases, cost: as `softxent.nn.functional.linear_cross_entropy`.

    Example:
        >>> criterion = LinearCrossEntropyLoss(2, 3)
        >>> loss = criterion(torch.tensor([[1.0, 2.0]]), torch.tensor([1]))
        >>> loss.backward()
        >>> criterion.linear.weight.grad.shape
        torch.Size([3, 2])

    See Also: `torch.nn.LinearCrossEntropyLoss`, `softxent.linear_cross_entropy`.
    """

    weight: Tensor | None

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: torch.types.Device = None,
        dtype: torch.dtype | None = None,
        reduction: Reduction = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: object = None,
        z_loss: float = 0.0,
        softcap: float | None = None,
        temperature: float = 1.0,
        max_bytes: int = MAX_BYTES,
        skip_below: float = 0.0,
        logits_dtype: torch.dtype | None = None,
    ) -> None:
        nn.Module.__init__(self)  # torch's own would make the same attributes
        if tuple(out_features) != ():
            raise OptionError(
                f"[LinearCrossEntropyLoss] out_features is {out_features}: only () is "
                "supported. For losses of several dimensions make one module for each."
            )
        self.register_buffer("weight", weight)
        self.linear = nn.Linear(in_features, num_classes, bias=bias, device=device, dtype=dtype)
        self.num_classes = num_classes
        self.out_features = ()
        self.reduction = reduction
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.options = options
        self.z_loss = z_loss
        self.softcap = softcap
        self.temperature = temperature
        self.max_bytes = max_bytes
        self.skip_below = skip_below
        self.logits_dtype = logits_dtype

    def __prepare_scriptable__(self) -> LinearCrossEntropyLoss:
        raise OptionError(
            "[LinearCrossEntropyLoss] torch.jit.script can't compile it: use torch.compile, or "
            "script the layer alone and compute its loss outside."
        )

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of features against class indices or class probabilities."""
        ignore_index = IGNORE_INDEX if self.ignore_index is None else self.ignore_index
        return tensors.linear_cross_entropy(
            "linear_cross_entropy",
            input,
            self.linear.weight,
            target,
            self.linear.bias,
            options_of(self, ignore_index=ignore_index),
            max_bytes=self.max_bytes,
            skip_below=self.skip_below,
            logits_dtype=getattr(self, "logits_dtype", None),  # modules pickled before it existed
        )
