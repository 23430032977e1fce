"""The losses beside cross-entropy of logits: the public functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from softxent.ops.api.backends import backend_of
from softxent.ops.options import IGNORE_INDEX, LossOptions, Reduction
from softxent.ops.types import Array, ArrayLike, Floating, SupportsDLPack

if TYPE_CHECKING:
    from softxent.ops.types import Tensor

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "log_loss",
    "nll_loss",
]


@overload
def nll_loss(
    log_probs: Tensor,
    target: Tensor | ArrayLike,
    weight: Tensor | ArrayLike | None = None,
    *,
    axis: int = -1,
    ignore_index: int | None = IGNORE_INDEX,
    reduction: Reduction = "mean",
) -> Tensor: ...
@overload
def nll_loss(
    log_probs: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    axis: int = -1,
    ignore_index: int | None = IGNORE_INDEX,
    reduction: Literal["mean", "sum"] = "mean",
) -> Floating: ...
@overload
def nll_loss(
    log_probs: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    axis: int = -1,
    ignore_index: int | None = IGNORE_INDEX,
    reduction: Literal["none"],
) -> Array: ...
@overload
def nll_loss(
    log_probs: SupportsDLPack,
    target: Any,
    weight: Any = None,
    *,
    axis: int = -1,
    ignore_index: int | None = IGNORE_INDEX,
    reduction: Reduction = "mean",
) -> Any: ...


def nll_loss(
    log_probs: Any,
    target: Any,
    weight: Any = None,
    *,
    axis: int = -1,
    ignore_index: int | None = IGNORE_INDEX,
    reduction: Reduction = "mean",
) -> Any:
    """Negative log-likelihood of class indices under given log-probabilities, in nats.

        loss = -w_y log p_y

    `nll_loss(log_softmax(z), y)` is `cross_entropy(z, y)`.

    Args:
        log_probs: (..., C) log-probabilities, as `log_softmax` returns them; they aren't checked.
        target: class indices, the shape of log_probs without the class axis.
        weight, axis, ignore_index, reduction: as `cross_entropy`.

    Returns:
        The loss: a scalar, or one number per row.

    Raises:
        TargetError, ShapeError, DTypeError, OptionError: as `cross_entropy`.

    Edge cases: a row of weight 0 adds nothing, even where its log-probability is -inf.

    Cost: reads one number per row.

    Source: as `cross_entropy`.

    Example:
        >>> from softxent import log_softmax
        >>> float(nll_loss(log_softmax([[2.0, -1.0, 0.1]]), [2]).round(4))
        2.0818

    See Also: `torch.nn.functional.nll_loss`.
    """
    options = LossOptions(weight=weight, ignore_index=ignore_index, reduction=reduction)
    return backend_of(log_probs).nll_loss("nll_loss", log_probs, target, options, axis)


@overload
def log_loss(
    probs: Tensor,
    target: Tensor | ArrayLike,
    weight: Tensor | ArrayLike | None = None,
    *,
    axis: int = -1,
    reduction: Reduction = "mean",
) -> Tensor: ...
@overload
def log_loss(
    probs: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    axis: int = -1,
    reduction: Literal["mean", "sum"] = "mean",
) -> Floating: ...
@overload
def log_loss(
    probs: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    axis: int = -1,
    reduction: Literal["none"],
) -> Array: ...
@overload
def log_loss(
    probs: SupportsDLPack,
    target: Any,
    weight: Any = None,
    *,
    axis: int = -1,
    reduction: Reduction = "mean",
) -> Any: ...


def log_loss(
    probs: Any,
    target: Any,
    weight: Any = None,
    *,
    axis: int = -1,
    reduction: Reduction = "mean",
) -> Any:
    """Cross-entropy of given probabilities against a target, in nats.

        loss = -sum_j t_j log p_j

    For logits use `cross_entropy`, which stays exact where probabilities have rounded to 0 or 1.

    Args:
        probs: (..., C) probabilities: each row in [0, 1] and adding up to 1. This is checked.
        target: class indices, the shape of probs without the class axis; or class probabilities
            (one-hot rows, for example) of the shape of probs.
        weight, axis, reduction: as `cross_entropy`.

    Returns:
        The loss: a scalar, or one number per row. Nothing is clipped: a target of probability 0
        costs +inf.

    Raises:
        ProbabilityError: a row that can't be probabilities, naming it.
        TargetError, ShapeError, DTypeError, OptionError: as `cross_entropy`.

    Edge cases: 0 log 0 is 0. There is no ignore_index.

    Cost: several passes over probs; allocates arrays of its size.

    Source: as `cross_entropy`.

    Example:
        >>> float(log_loss([0.7, 0.2, 0.1], [1, 0, 0]))
        0.35667494393873245

    See Also: `sklearn.metrics.log_loss`, which clips probabilities and takes (y_true, y_pred).
    """
    options = LossOptions(weight=weight, ignore_index=None, reduction=reduction)
    return backend_of(probs).log_loss("log_loss", probs, target, options, axis)


@overload
def binary_cross_entropy(
    probs: Tensor,
    target: Tensor | ArrayLike,
    weight: Tensor | ArrayLike | None = None,
    *,
    reduction: Reduction = "mean",
) -> Tensor: ...
@overload
def binary_cross_entropy(
    probs: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    reduction: Literal["mean", "sum"] = "mean",
) -> Floating: ...
@overload
def binary_cross_entropy(
    probs: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    reduction: Literal["none"],
) -> Array: ...
@overload
def binary_cross_entropy(
    probs: SupportsDLPack, target: Any, weight: Any = None, *, reduction: Reduction = "mean"
) -> Any: ...


def binary_cross_entropy(
    probs: Any, target: Any, weight: Any = None, *, reduction: Reduction = "mean"
) -> Any:
    """Cross-entropy of the probability of one of two classes, in nats.

        loss = -w (y log p + (1 - y) log(1 - p))

    Args:
        probs: p, any shape, in [0, 1], as a sigmoid returns it. This is checked.
        target: y, the same shape, in [0, 1] up to rounding.
        weight: w, a weight per element, finite, broadcast against the shape.
        reduction: "none", "sum", or "mean" over all elements.

    Returns:
        The loss: a scalar, or one number per element. Nothing is clipped: probability 1 for the
        wrong class costs +inf (torch's own function clips the loss to 100).

    Raises:
        ProbabilityError: probs outside [0, 1]: logits, perhaps.
        TargetError: a target outside [0, 1]: class indices of many classes, perhaps.
        ShapeError, DTypeError, OptionError: as `cross_entropy`.

    Edge cases: 0 log 0 is 0; an element of weight 0 adds nothing.

    Cost: several passes, in float64 for arrays and in the dtype of probs (float32 for half
    precision) for tensors; allocates arrays of its size.

    Source: as `cross_entropy`, with two classes.

    Example:
        >>> float(binary_cross_entropy([0.9, 0.2], [1, 0]).round(4))
        0.1643

    See Also: `torch.nn.functional.binary_cross_entropy`, `sklearn.metrics.log_loss`.
    """
    return backend_of(probs).binary_cross_entropy(
        "binary_cross_entropy", probs, target, weight, reduction=reduction
    )


@overload
def binary_cross_entropy_with_logits(
    logits: Tensor,
    target: Tensor | ArrayLike,
    weight: Tensor | ArrayLike | None = None,
    *,
    pos_weight: Tensor | ArrayLike | None = None,
    reduction: Reduction = "mean",
) -> Tensor: ...
@overload
def binary_cross_entropy_with_logits(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    pos_weight: ArrayLike | None = None,
    reduction: Literal["mean", "sum"] = "mean",
) -> Floating: ...
@overload
def binary_cross_entropy_with_logits(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    pos_weight: ArrayLike | None = None,
    reduction: Literal["none"],
) -> Array: ...
@overload
def binary_cross_entropy_with_logits(
    logits: SupportsDLPack,
    target: Any,
    weight: Any = None,
    *,
    pos_weight: Any = None,
    reduction: Reduction = "mean",
) -> Any: ...


def binary_cross_entropy_with_logits(
    logits: Any,
    target: Any,
    weight: Any = None,
    *,
    pos_weight: Any = None,
    reduction: Reduction = "mean",
) -> Any:
    """Cross-entropy of one logit against one of two classes: softmax over [0, x], in nats.

        loss = w (v y log(1 + exp(-x)) + (1 - y) log(1 + exp(x)))

    Args:
        logits: x, any shape.
        target: y, the same shape, in [0, 1] up to rounding.
        weight: w, a weight per element, finite, broadcast against the shape.
        pos_weight: v, the positive class's weight, broadcast against the shape.
        reduction: "none", "sum", or "mean" over all elements.

    Returns:
        The loss: a scalar, or one number per element.

    Raises:
        TargetError: a target outside [0, 1]: class indices of many classes, perhaps.
        ShapeError, DTypeError, OptionError: as `cross_entropy`.

    Edge cases: a logit of +inf or -inf costs 0 for its own class and +inf for the other.

    Cost: reads each element once.

    Source: as `cross_entropy`, with two classes.

    Example:
        >>> float(binary_cross_entropy_with_logits([0.0], [1.0]).round(4))
        0.6931

    See Also: `torch.nn.functional.binary_cross_entropy_with_logits`,
    `optax.sigmoid_binary_cross_entropy`.
    """
    return backend_of(logits).binary_cross_entropy_with_logits(
        "binary_cross_entropy_with_logits",
        logits,
        target,
        weight,
        pos_weight=pos_weight,
        reduction=reduction,
    )
