"""torch.nn.functional's softmax and its losses: the same signatures, the same results.

Classes are on axis 1 (on axis 0 of a single sample). Options that torch doesn't have follow its
arguments as keywords: `axis`, `z_loss`, `softcap`, `temperature`, `inplace_backward`. docs/torch.md
lists the results that differ on purpose.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from softxent.errors import OptionError
from softxent.nn.stats import LossStats
from softxent.ops import spec, tensors
from softxent.ops.options import IGNORE_INDEX, LossOptions, Reduction

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "cross_entropy_with_stats",
    "log_softmax",
    "nll_loss",
    "softmax",
]

# Taken now: after `patch()` these names are softxent's.
_torch_nll_loss = torch.nn.functional.nll_loss
_torch_binary_cross_entropy = torch.nn.functional.binary_cross_entropy


def softmax(
    input: Tensor,
    dim: int | None = None,
    _stacklevel: int = 3,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Softmax with the signature of `torch.nn.functional.softmax`.

        p_j = exp(x_j) / sum_k exp(x_k)

    Args:
        input: logits of any shape, floating point.
        dim: the class axis; without it torch's default for the shape, with a warning.
        dtype: the input is converted to it first.

    Returns:
        The probabilities, in the input's shape and dtype (or in `dtype`), differentiable.

    Raises:
        ShapeError, DTypeError: as `softxent.softmax`.

    Edge cases, cost, source: as `softxent.softmax`.

    Example:
        >>> softmax(torch.tensor([0.0, 0.0]), 0)
        tensor([0.5000, 0.5000])

    See Also: `softxent.softmax`, `torch.nn.functional.softmax`.
    """
    return any_softmax("softmax", input, dim, _stacklevel, dtype)


def log_softmax(
    input: Tensor,
    dim: int | None = None,
    _stacklevel: int = 3,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Log-softmax with the signature of `torch.nn.functional.log_softmax`.

        log p_j = x_j - log sum_k exp(x_k)

    Args:
        input, dim, dtype: as `softmax`.

    Returns:
        Log-probabilities in nats, in the input's shape and dtype (or in `dtype`), differentiable.

    Raises:
        ShapeError, DTypeError: as `softxent.log_softmax`.

    Edge cases, cost, source: as `softxent.log_softmax`.

    Example:
        >>> log_softmax(torch.tensor([0.0, 0.0]), 0)
        tensor([-0.6931, -0.6931])

    See Also: `softxent.log_softmax`, `torch.nn.functional.log_softmax`.
    """
    return any_softmax("log_softmax", input, dim, _stacklevel, dtype)


def any_softmax(
    op: str,
    input: Tensor,
    dim: int | None,
    stacklevel: int,
    dtype: torch.dtype | None,
    *,
    saves_result: bool = False,
) -> Tensor:
    """Softmax or log_softmax; `saves_result` as in `softxent.ops.tensors.kernels`."""
    tensors.check_tensors(op, input=input)
    if dim is None:
        dim = 0 if input.ndim in (0, 1, 3) else 1
        _warn(
            f"[{op}] without dim the classes are taken to be on axis {dim}, as in torch: "
            f"pass dim={dim}.",
            stacklevel + 1,
        )
    if dtype is not None:
        input = input.to(dtype)
    log = op != "softmax"
    if input.ndim == 0:  # one class
        return tensors.softmax(op, input.reshape(1), dim, None, log=log).reshape(())
    return tensors.softmax(op, input, dim, None, log=log, saves_result=saves_result)


def cross_entropy(
    input: Tensor,
    target: Tensor,
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
) -> Tensor:
    """Cross-entropy with the signature of `torch.nn.functional.cross_entropy`.

        loss = sum_j t_j (lse - u_j) + z_loss lse^2      t, u: as `softxent.cross_entropy`

    Args:
        input: logits (C,), (N, C) or (N, C, d1, ...), floating point.
        target: class indices (), (N,) or (N, d1, ...), or class probabilities of input's shape.
        weight: (C,) class weights.
        size_average, reduce: deprecated in torch; `reduction` says the same.
        ignore_index, reduction, label_smoothing: as `softxent.cross_entropy`.
        axis: the class axis, where it is not torch's: -1 for logits (B, T, C) and targets (B, T).
        z_loss, softcap, temperature: as `softxent.cross_entropy`.
        inplace_backward: the backward pass writes the gradient over the logits, so that nothing of
            their size is allocated. The logits are then marked as changed: using them later, in a
            second backward pass too, raises torch's error. In a compiled graph it has no effect.

    Returns:
        The loss in nats, in the dtype that torch gives it.

    Raises:
        TargetError, ShapeError, DTypeError, OptionError: as `softxent.cross_entropy`.

    Edge cases: as `softxent.cross_entropy`.

    Cost: as `softxent.cross_entropy`; between forward and backward two numbers per row are saved.

    Example:
        >>> cross_entropy(torch.tensor([[2.0, -1.0, 0.1]]), torch.tensor([2]))
        tensor(2.0818)

    Source: as `softxent.cross_entropy`.

    See Also: `softxent.cross_entropy` (classes on the last axis, arrays too),
    `torch.nn.functional.cross_entropy`.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    options = LossOptions(
        weight=weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
        z_loss=z_loss,
        softcap=softcap,
        temperature=temperature,
    )
    return cross_entropy_with_options(
        input, target, options, axis=axis, inplace_backward=inplace_backward
    )


def cross_entropy_with_options(
    input: Tensor,
    target: Tensor,
    options: LossOptions,
    *,
    axis: int | None = None,
    inplace_backward: bool = False,
    logits_may_change: bool = False,
) -> Tensor:
    """`cross_entropy` with its options as a record, as modules hold them.

    With `logits_may_change` the program may change the logits in place before the backward pass.
    """
    tensors.check_tensors("cross_entropy", input=input, target=target, weight=options.weight)
    nested = input.is_nested or target.is_nested  # without a shape
    soft_target = target.is_floating_point() and not nested and target.shape == input.shape
    if soft_target and options.ignore_index is not None and options.ignore_index >= 0:
        raise OptionError(
            f"[cross_entropy] ignore_index is {options.ignore_index}, but the target holds class "
            "probabilities, of which none is an index: leave ignore_index out."
        )
    dtype = _result_dtype(input, target) if soft_target else _dtype_in_autocast(input.dtype, input)
    return tensors.cross_entropy(
        "cross_entropy",
        input,
        target,
        options,
        _class_axis(input) if axis is None else axis,
        dtype=dtype,
        inplace_backward=inplace_backward,
        logits_may_change=logits_may_change,
        any_weight=True,
    )


def cross_entropy_with_stats(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = IGNORE_INDEX,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    axis: int | None = None,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
    k: int = 1,
) -> LossStats:
    """`cross_entropy` with statistics of each row, from the same pass over the logits.

        lse = log sum_j exp(u_j),  entropy = -sum_j p_j log p_j,  p = softmax(u)

    Args:
        input, target, weight, ignore_index, reduction, label_smoothing, axis, z_loss, softcap,
            temperature: as `cross_entropy`.
        k: a row is a hit where the target is among the k classes with the largest logits.

    Returns:
        `LossStats`: loss, lse, entropy, argmax, hits, and the part of the loss that z_loss adds.

    Raises:
        OptionError: k is less than 1 or more than there are classes; else as `cross_entropy`.

    Edge cases: ignored rows, and rows that have no loss, are described at `LossStats`.

    Cost: reads the logits from memory once and a second time from the cache. The gradient of the
    loss comes from the kernels; those of lse and entropy are decomposed into torch operations.

    Example:
        >>> logits, target = torch.tensor([[2.0, -1.0, 0.1]]), torch.tensor([2])
        >>> stats = cross_entropy_with_stats(logits, target, k=2)
        >>> stats.argmax, stats.hits
        (tensor([0]), tensor([True]))

    Source: as `softxent.cross_entropy`.

    See Also: `cross_entropy`, `softxent.top_k`.
    """
    tensors.check_tensors("cross_entropy_with_stats", input=input, target=target, weight=weight)
    options = LossOptions(
        weight=weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
        z_loss=z_loss,
        softcap=softcap,
        temperature=temperature,
    )
    return LossStats(
        *tensors.cross_entropy_with_stats(
            "cross_entropy_with_stats",
            input,
            target,
            options,
            _class_axis(input) if axis is None else axis,
            k=k,
            dtype=_dtype_in_autocast(input.dtype, input),
        )
    )


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduce: bool | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """`torch.nn.functional.nll_loss` after a check of the labels.

        loss = -w_y log p_y

    Args:
        input: log-probabilities, (C,), (N, C) or (N, C, d1, ...).
        target: class indices (), (N,) or (N, d1, ...), any integer dtype.
        weight: (C,) class weights.
        size_average, reduce: deprecated in torch; `reduction` says the same.
        ignore_index, reduction: as `softxent.nll_loss`.

    Returns:
        The loss in nats, in the dtype of the input, differentiable.

    Raises:
        TargetError, ShapeError, DTypeError, OptionError: as `softxent.nll_loss`.

    Edge cases, cost: as `softxent.nll_loss`.

    Example:
        >>> nll_loss(torch.tensor([[-0.5, -1.0]]), torch.tensor([1]))
        tensor(1.)

    See Also: `softxent.nll_loss`, `cross_entropy` (which takes logits).
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    tensors.check_tensors("nll_loss", input=input, target=target, weight=weight)
    options = LossOptions(weight=weight, ignore_index=ignore_index, reduction=reduction)
    index = tensors.checked_indices("nll_loss", input, target, options, _class_axis(input))
    if weight is not None:
        weight = weight.to(input.dtype)
    if ignore_index is None:  # every index is a class, so none is the default
        ignore_index = IGNORE_INDEX
    return _torch_nll_loss(input, index, weight, ignore_index=ignore_index, reduction=reduction)


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """`torch.nn.functional.binary_cross_entropy` after a check of probabilities and target.

        loss = -w (y max(log p, -100) + (1 - y) max(log(1 - p), -100))

    Args:
        input: probabilities of the positive class, in [0, 1].
        target: the same shape, in [0, 1].
        weight: broadcast against the shape.
        size_average, reduce: deprecated in torch; `reduction` says the same.
        reduction: as `softxent.binary_cross_entropy`.

    Returns:
        The loss in nats, in the dtype of the input, differentiable.

    Raises:
        ProbabilityError, TargetError, ShapeError, DTypeError, OptionError: as
            `softxent.binary_cross_entropy`.

    Edge cases: logarithms are clipped at -100, as in torch; `softxent.binary_cross_entropy` doesn't
    clip.

    Cost: torch's, and one pass over input and target for the checks.

    Example:
        >>> binary_cross_entropy(torch.tensor([0.5]), torch.tensor([1.0]))
        tensor(0.6931)

    See Also: `softxent.binary_cross_entropy`; `binary_cross_entropy_with_logits`, which is exact
    for confident predictions.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    op = "binary_cross_entropy"
    tensors.check_tensors(op, input=input, target=target, weight=weight)
    target = tensors.checked_probabilities(op, input, target, reduction)
    if weight is not None:
        spec.check_broadcast(op, "weight", weight.shape, input.shape)
    return _torch_binary_cross_entropy(input, target, weight, reduction=reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Reduction = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Binary cross-entropy with torch's `binary_cross_entropy_with_logits` signature.

        loss = w (v y log(1 + exp(-x)) + (1 - y) log(1 + exp(x)))

    Args:
        input: logits of the positive class.
        target: the same shape, in [0, 1].
        weight: broadcast against the shape.
        size_average, reduce: deprecated in torch; `reduction` says the same.
        reduction: as `softxent.binary_cross_entropy_with_logits`.
        pos_weight: the positive class's weight, broadcast against the shape.

    Returns:
        The loss in nats, in the dtype that torch gives it, differentiable.

    Raises:
        TargetError, ShapeError, DTypeError, OptionError: as
            `softxent.binary_cross_entropy_with_logits`.

    Edge cases, cost, source: as `softxent.binary_cross_entropy_with_logits`.

    Example:
        >>> binary_cross_entropy_with_logits(torch.tensor([0.0]), torch.tensor([1.0]))
        tensor(0.6931)

    See Also: `softxent.binary_cross_entropy_with_logits`,
    `torch.nn.functional.binary_cross_entropy_with_logits`.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    op = "binary_cross_entropy_with_logits"
    tensors.check_tensors(op, input=input, target=target, weight=weight, pos_weight=pos_weight)
    loss = tensors.binary_cross_entropy_with_logits(
        op,
        input,
        target,
        weight,
        pos_weight=pos_weight,
        reduction=reduction,
        any_weight=True,
    )
    return loss.to(_result_dtype(input, target))


def _class_axis(input: Tensor) -> int:
    return 0 if input.ndim == 1 else 1


def _result_dtype(input: Tensor, target: Tensor) -> torch.dtype:
    """The dtype of torch's loss: the logits', or a wider one of the target."""
    return _dtype_in_autocast(torch.promote_types(input.dtype, target.dtype), input)


def _dtype_in_autocast(dtype: torch.dtype, input: Tensor) -> torch.dtype:
    if dtype in (torch.float16, torch.bfloat16) and torch.is_autocast_enabled(input.device.type):
        return torch.float32
    return dtype


def legacy_reduction(size_average: bool | None, reduce: bool | None) -> Reduction:
    """The `reduction` that torch's two deprecated arguments, each True by default, stand for."""
    total: Reduction = "sum" if size_average is False else "mean"
    reduction: Reduction = "none" if reduce is False else total
    _warn(f"size_average and reduce are deprecated: pass reduction={reduction!r}.", 4)
    return reduction


def _warn(message: str, stacklevel: int) -> None:
    if not torch.compiler.is_compiling():  # no graph can hold a warning
        warnings.warn(message, stacklevel=stacklevel)
