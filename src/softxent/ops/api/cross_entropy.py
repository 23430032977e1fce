"""Cross-entropy of logits, with and without its gradient: the public functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from softxent.ops.api.backends import backend_of
from softxent.ops.options import IGNORE_INDEX, LossKeywords, LossOptions, Reduction
from softxent.ops.types import Array, ArrayLike, Floating, SupportsDLPack

if TYPE_CHECKING:
    from softxent.ops.types import Tensor

__all__ = ["cross_entropy", "cross_entropy_with_grad"]


@overload
def cross_entropy(
    logits: Tensor,
    target: Tensor | ArrayLike,
    weight: Tensor | ArrayLike | None = None,
    *,
    axis: int = -1,
    reduction: Reduction = "mean",
    **options: Unpack[LossKeywords],
) -> Tensor: ...
@overload
def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    axis: int = -1,
    reduction: Literal["mean", "sum"] = "mean",
    **options: Unpack[LossKeywords],
) -> Floating: ...
@overload
def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    axis: int = -1,
    reduction: Literal["none"],
    **options: Unpack[LossKeywords],
) -> Array: ...
@overload
def cross_entropy(
    logits: SupportsDLPack,
    target: Any,
    weight: Any = None,
    *,
    axis: int = -1,
    reduction: Reduction = "mean",
    **options: Unpack[LossKeywords],
) -> Any: ...


def cross_entropy(
    logits: Any,
    target: Any,
    weight: Any = None,
    *,
    axis: int = -1,
    ignore_index: int | None = IGNORE_INDEX,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
) -> Any:
    """Cross-entropy of softmax(logits) against a target, in nats.

        u    = softcap tanh(z / (temperature softcap)),  lse = log sum_j exp(u_j)
        t    = (1 - e) w_y onehot(y) + (e / C) w         for a class index y
               w ((1 - e) q + e / C)                     for class probabilities q
        loss = sum_j t_j (lse - u_j) + z_loss lse^2

    Pass the raw logits: softmax is part of the function. Applied to probabilities, the loss can't
    fall below log(1 + (C - 1) / e), and training stalls.

    Args:
        logits: z, (..., C) float16, bfloat16, float32 or float64; integers in arrays count as
            float64.
        target: class indices, the logits' shape without the class axis, any integer dtype; or class
            probabilities, the logits' shape, >= 0 up to rounding (integers and booleans: one-hot
            rows).
        weight: (C,) class weights w, finite.
        axis: the class axis, C.
        ignore_index: rows with this class index add nothing, even where their logits are NaN; None
            to keep every row.
        reduction: "none" (one loss per row), "sum", or "mean". The mean divides by what torch
            divides by: the summed weight of the kept targets for class indices, the number of rows
            for class probabilities. The terms of z_loss are averaged over the kept rows.
        label_smoothing: e in [0, 1].
        z_loss: factor of lse^2, which keeps the logits from drifting, >= 0.
        softcap: bound of |u|, > 0; None for none.
        temperature: divides the logits, > 0.

    Returns:
        The loss: a scalar, or one number per row; float32 for half precision, else the logits'
        dtype (float64 for integers).

    Raises:
        TargetError: a class index outside [0, C) that isn't ignore_index; a negative probability;
            integers in the logits' shape that aren't one-hot rows.
        ShapeError, DTypeError: shapes or dtypes that don't fit.
        OptionError: an option outside its range.

    Edge cases: a mean over no row is NaN. A -inf logit is a masked class; as the target it costs
    +inf. A row of only -inf, or with +inf or NaN, is NaN, and only that row. One class: 0.

    Cost: reads the logits twice; allocates one number per row.

    Source: I. J. Good, "Rational decisions", 1952; label smoothing: C. Szegedy et al., 2016.

    Example:
        >>> float(cross_entropy([[2.0, -1.0, 0.1]], [2]).round(4))
        2.0818
        >>> confident = cross_entropy([[20.0, 0.0]], [0])        # lse - x would give 0
        >>> f"{confident:.9e}"
        '2.061153620e-09'

    See Also: `torch.nn.functional.cross_entropy` (classes on axis 1: `softxent.nn.functional`),
    `optax.softmax_cross_entropy`, `optax.softmax_cross_entropy_with_integer_labels`,
    `sklearn.metrics.log_loss` (which takes probabilities).
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
    return backend_of(logits).cross_entropy("cross_entropy", logits, target, options, axis)


@overload
def cross_entropy_with_grad(
    logits: Tensor,
    target: Tensor | ArrayLike,
    weight: Tensor | ArrayLike | None = None,
    *,
    axis: int = -1,
    reduction: Reduction = "mean",
    out: Tensor | None = None,
    **options: Unpack[LossKeywords],
) -> tuple[Tensor, Tensor]: ...
@overload
def cross_entropy_with_grad(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    axis: int = -1,
    reduction: Literal["mean", "sum"] = "mean",
    out: Array | None = None,
    **options: Unpack[LossKeywords],
) -> tuple[Floating, Array]: ...
@overload
def cross_entropy_with_grad(
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    axis: int = -1,
    reduction: Literal["none"],
    out: Array | None = None,
    **options: Unpack[LossKeywords],
) -> tuple[Array, Array]: ...
@overload
def cross_entropy_with_grad(
    logits: SupportsDLPack,
    target: Any,
    weight: Any = None,
    *,
    axis: int = -1,
    reduction: Reduction = "mean",
    out: Any = None,
    **options: Unpack[LossKeywords],
) -> tuple[Any, Any]: ...


def cross_entropy_with_grad(
    logits: Any,
    target: Any,
    weight: Any = None,
    *,
    axis: int = -1,
    ignore_index: int | None = IGNORE_INDEX,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
    out: Any = None,
) -> tuple[Any, Any]:
    """Cross-entropy and its gradient with respect to the logits, in one pass.

        dloss/dz_j = ((s + 2 z_loss lse) p_j - t_j) du_j/dz_j,   s = sum_j t_j

    Args:
        logits, target, weight, axis, ignore_index, reduction, label_smoothing, z_loss, softcap,
            temperature: as `cross_entropy`.
        out: an array of the logits' shape and dtype for the gradient. `out=logits` overwrites the
            logits, and nothing of their size is allocated.

    Returns:
        (loss, gradient). The gradient has the logits' shape and dtype. For "mean" it is that of the
        mean; for "sum" and "none" each row's is that of its own loss.

    Raises:
        TargetError, ShapeError, DTypeError, OptionError: as `cross_entropy`; nothing is written.

    Edge cases: as `cross_entropy`. The gradient of an ignored row is exactly 0. Where the target
    is a masked class the loss is +inf and the gradient finite.

    Cost: reads the logits three times, writes the gradient once; allocates one number per row.

    Source: as `cross_entropy`.

    Example:
        >>> loss, grad = cross_entropy_with_grad([[2.0, -1.0, 0.1]], [2])
        >>> grad.round(4)
        array([[ 0.8338,  0.0415, -0.8753]])

    See Also: `cross_entropy`; `torch.autograd.grad` of torch's loss; `jax.value_and_grad` of
    optax's.
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
    value, grad = backend_of(logits).cross_entropy_with_grad(
        "cross_entropy_with_grad", logits, target, options, axis, out
    )
    return value, grad
