"""A linear head and its loss together, without the logits: the public functions.

Arrays and tensors go through the same loop over chunks of rows (`softxent.ops.linear.loop`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar, Unpack, overload

from softxent.errors import OptionError
from softxent.ops.arrays.intake import is_tensor
from softxent.ops.linear import arrays
from softxent.ops.linear.loop import MAX_BYTES
from softxent.ops.options import IGNORE_INDEX, LossKeywords, LossOptions, Reduction
from softxent.ops.types import Array, ArrayLike, Floating, SupportsDLPack

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    from softxent.ops.types import Tensor

__all__ = ["LinearGradients", "linear_cross_entropy", "linear_cross_entropy_with_grad"]

GradientName = Literal["features", "classifier", "bias"]
_ALL: tuple[GradientName, ...] = ("features", "classifier", "bias")
T = TypeVar("T")


class LinearGradients(NamedTuple, Generic[T]):
    """The gradients of a linear head; None where one isn't wanted, or where there is no bias."""

    features: T | None
    classifier: T | None
    bias: T | None


@overload
def linear_cross_entropy(
    features: Tensor,
    classifier: Tensor,
    target: Tensor | ArrayLike,
    bias: Tensor | None = None,
    weight: Tensor | ArrayLike | None = None,
    *,
    reduction: Reduction = "mean",
    max_bytes: int = MAX_BYTES,
    skip_below: float = 0.0,
    logits_dtype: torch.dtype | str | None = None,
    **options: Unpack[LossKeywords],
) -> Tensor: ...
@overload
def linear_cross_entropy(
    features: ArrayLike,
    classifier: ArrayLike,
    target: ArrayLike,
    bias: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    *,
    reduction: Literal["mean", "sum"] = "mean",
    max_bytes: int = MAX_BYTES,
    skip_below: float = 0.0,
    logits_dtype: npt.DTypeLike | None = None,
    **options: Unpack[LossKeywords],
) -> Floating: ...
@overload
def linear_cross_entropy(
    features: ArrayLike,
    classifier: ArrayLike,
    target: ArrayLike,
    bias: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    *,
    reduction: Literal["none"],
    max_bytes: int = MAX_BYTES,
    skip_below: float = 0.0,
    logits_dtype: npt.DTypeLike | None = None,
    **options: Unpack[LossKeywords],
) -> Array: ...
@overload
def linear_cross_entropy(
    features: SupportsDLPack,
    classifier: Any,
    target: Any,
    bias: Any = None,
    weight: Any = None,
    *,
    reduction: Reduction = "mean",
    max_bytes: int = MAX_BYTES,
    skip_below: float = 0.0,
    logits_dtype: Any = None,
    **options: Unpack[LossKeywords],
) -> Any: ...


def linear_cross_entropy(
    features: Any,
    classifier: Any,
    target: Any,
    bias: Any = None,
    weight: Any = None,
    *,
    ignore_index: int | None = IGNORE_INDEX,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
    max_bytes: int = MAX_BYTES,
    skip_below: float = 0.0,
    logits_dtype: Any = None,
) -> Any:
    """Cross-entropy of features through a linear classifier, without holding all logits at once.

        z    = X W^T + b
        loss = cross_entropy(z, target)

    Args:
        features: X, (..., D) float16, bfloat16, float32 or float64.
        classifier: W, (C, D): one row per class.
        target: class indices, the features' shape without the last axis, any integer dtype; or
            class probabilities, that shape with an axis of C classes at the end.
        bias: b, (C,).
        weight, ignore_index, reduction, label_smoothing, z_loss, softcap, temperature: as
            `cross_entropy`.
        max_bytes: how many bytes may be allocated beside the arguments and the gradients (and, for
            half precision, a float32 copy of the classifier's); at least one row of logits is.
        skip_below: only for the gradients of tensors; see `linear_cross_entropy_with_grad`.
        logits_dtype: float32 for logits of half-precision tensors that are multiplied, added up and
            kept in float32; None for logits in the features' dtype.

    Returns:
        The loss in nats: a scalar, or one number per row; float32 for half precision, else the
        features' dtype. For tensors it is differentiable in features, classifier and bias.

    Raises:
        TargetError, ShapeError, DTypeError, OptionError: as `cross_entropy`.

    Edge cases: as `cross_entropy`. Ignored rows are left out of the matmuls, even where they hold
    NaN.

    Cost: one matmul; for tensors that need gradients three with "mean" and "sum", four with "none".
    Logits of half-precision tensors are rounded to their dtype, as torch's linear rounds them;
    those of arrays are float32. With logits_dtype=float32 matmuls take as long as those of float32,
    the classifier is converted block by block, and a row of logits needs twice the memory.

    Source: E. Wijmans et al., "Cut your losses in large-vocabulary language models", 2024, for the
    aim; as `cross_entropy` for the loss.

    Example:
        >>> import numpy as np
        >>> X, W = np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> float(linear_cross_entropy(X, W, [1]).round(4))      # logits 1, 2, 3
        1.4076

    See Also: `torch.nn.functional.linear_cross_entropy` and `torch.nn.functional.linear` followed
    by `torch.nn.functional.cross_entropy`.
    """
    options = LossOptions(
        weight=weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
        z_loss=z_loss,
        softcap=softcap,
        temperature=temperature,
    )
    return _backend_of(features).linear_cross_entropy(
        "linear_cross_entropy",
        features,
        classifier,
        target,
        bias,
        options,
        max_bytes=max_bytes,
        skip_below=skip_below,
        logits_dtype=logits_dtype,
    )


@overload
def linear_cross_entropy_with_grad(
    features: Tensor,
    classifier: Tensor,
    target: Tensor | ArrayLike,
    bias: Tensor | None = None,
    weight: Tensor | ArrayLike | None = None,
    *,
    reduction: Reduction = "mean",
    max_bytes: int = MAX_BYTES,
    skip_below: float = 0.0,
    logits_dtype: torch.dtype | str | None = None,
    wanted: Collection[GradientName] = _ALL,
    **options: Unpack[LossKeywords],
) -> tuple[Tensor, LinearGradients[Tensor]]: ...
@overload
def linear_cross_entropy_with_grad(
    features: ArrayLike,
    classifier: ArrayLike,
    target: ArrayLike,
    bias: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    *,
    reduction: Literal["mean", "sum"] = "mean",
    max_bytes: int = MAX_BYTES,
    skip_below: float = 0.0,
    logits_dtype: npt.DTypeLike | None = None,
    wanted: Collection[GradientName] = _ALL,
    **options: Unpack[LossKeywords],
) -> tuple[Floating, LinearGradients[Array]]: ...
@overload
def linear_cross_entropy_with_grad(
    features: ArrayLike,
    classifier: ArrayLike,
    target: ArrayLike,
    bias: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    *,
    reduction: Literal["none"],
    max_bytes: int = MAX_BYTES,
    skip_below: float = 0.0,
    logits_dtype: npt.DTypeLike | None = None,
    wanted: Collection[GradientName] = _ALL,
    **options: Unpack[LossKeywords],
) -> tuple[Array, LinearGradients[Array]]: ...
@overload
def linear_cross_entropy_with_grad(
    features: SupportsDLPack,
    classifier: Any,
    target: Any,
    bias: Any = None,
    weight: Any = None,
    *,
    reduction: Reduction = "mean",
    max_bytes: int = MAX_BYTES,
    skip_below: float = 0.0,
    logits_dtype: Any = None,
    wanted: Collection[GradientName] = _ALL,
    **options: Unpack[LossKeywords],
) -> tuple[Any, LinearGradients[Any]]: ...


def linear_cross_entropy_with_grad(
    features: Any,
    classifier: Any,
    target: Any,
    bias: Any = None,
    weight: Any = None,
    *,
    ignore_index: int | None = IGNORE_INDEX,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
    max_bytes: int = MAX_BYTES,
    skip_below: float = 0.0,
    logits_dtype: Any = None,
    wanted: Collection[GradientName] = _ALL,
) -> tuple[Any, LinearGradients[Any]]:
    """The loss of a linear head and its gradients, in one pass.

        G = dloss/dz,   dX = G W,   dW = G^T X,   db = sum_i G_i

    Args:
        features, classifier, target, bias, weight, ignore_index, reduction, label_smoothing,
            z_loss, softcap, temperature, max_bytes, logits_dtype: as `linear_cross_entropy`.
        skip_below: leave a class out of dX and dW for the rows of a chunk if its probability is
            less than this in all of them (more exactly: the absolute value of its entry of G,
            before `mean` divides). Then each entry of dW is off by at most skip_below times the
            mean of |X| in its column (the sum for "sum" and "none"), and each row of dX by at most
            skip_below times the sum of |W| over the classes. 0: nothing is left out.
        wanted: the gradients to compute: some of "features", "classifier" and "bias".

    Returns:
        (loss, (dX, dW, db)), each gradient in the shape and dtype of its argument, None where it
        isn't wanted. For "none" they are those of the sum of the losses.

    Raises:
        TargetError, ShapeError, DTypeError, OptionError: as `linear_cross_entropy`.

    Edge cases: as `linear_cross_entropy`. The features' gradient of an ignored row is exactly 0.

    Cost: three matmuls, one less for each of dX and dW that isn't wanted. Half precision is
    summed in float32, and multiplied in float32 for arrays or with logits_dtype=float32.

    Source: as `linear_cross_entropy`.

    Example:
        >>> import numpy as np
        >>> X, W = np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> loss, grads = linear_cross_entropy_with_grad(X, W, [1])
        >>> grads.features.round(4)
        array([[ 0.7553, -0.09  ]])

    See Also: `linear_cross_entropy`.
    """
    op = "linear_cross_entropy_with_grad"
    if isinstance(wanted, str) or any(name not in _ALL for name in wanted):
        raise OptionError(f"[{op}] wanted is {wanted!r}: pass some of {', '.join(_ALL)}.")
    options = LossOptions(
        weight=weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
        z_loss=z_loss,
        softcap=softcap,
        temperature=temperature,
    )
    value, grads = _backend_of(features).linear_cross_entropy_with_grad(
        op,
        features,
        classifier,
        target,
        bias,
        options,
        max_bytes=max_bytes,
        skip_below=skip_below,
        logits_dtype=logits_dtype,
        wanted=wanted,
    )
    return value, LinearGradients(*grads)


def _backend_of(features: Any) -> Any:
    """The module that serves the features. torch is loaded with the first tensor only."""
    if is_tensor(features):
        from softxent.ops.linear import tensors

        return tensors
    return arrays
