"""A linear head and its loss together, without holding all logits."""

from __future__ import annotations

import torch
from torch import Tensor

from softxent.errors import OptionError, ShapeError
from softxent.nn.stats import LossStats
from softxent.ops.linear import tensors
from softxent.ops.linear.loop import MAX_BYTES
from softxent.ops.linear.stats import linear_stats
from softxent.ops.options import IGNORE_INDEX, LossOptions, Reduction
from softxent.ops.spec import describe
from softxent.ops.tensors import check_tensors

__all__ = [
    "linear_cross_entropy",
    "linear_cross_entropy_with_stats",
    "linear_log_prob_and_entropy",
]


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: object = None,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
    max_bytes: int = MAX_BYTES,
    skip_below: float = 0.0,
    logits_dtype: torch.dtype | None = None,
) -> Tensor:
    """As `torch.nn.functional.linear_cross_entropy`, without holding all logits at once.

        loss = cross_entropy(linear(input, linear_weight, linear_bias), target)

    Args:
        input: features (..., D); torch takes (D,) and (N, D).
        linear_weight: the classifier (C, D). Torch's (C, d1, ..., D) is not supported.
        target: class indices (...), or class probabilities (..., C).
        linear_bias: (C,).
        weight: (C,) class weights.
        reduction, label_smoothing: as `softxent.cross_entropy`.
        ignore_index: as `softxent.cross_entropy`; None for -100.
        options: torch's choice of chunks; without effect, see `max_bytes`.
        z_loss, softcap, temperature: as `softxent.cross_entropy`; torch has none of them.
        max_bytes, skip_below, logits_dtype: as `softxent.linear_cross_entropy`.

    Returns:
        The loss in nats, differentiable; float32 for half precision.

    Raises:
        TargetError, ShapeError, DTypeError, OptionError: as `softxent.linear_cross_entropy`.

    Edge cases: as `softxent.linear_cross_entropy`. A derivative of the gradient (create_graph,
    torch.func, forward-mode) holds the logits, and so do gradients of a target or of class weights.

    Example:
        >>> import torch
        >>> X, W = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> linear_cross_entropy(X, W, torch.tensor([1]))      # logits 1, 2, 3
        tensor(1.4076)

    Cost, source: as `softxent.linear_cross_entropy`.

    See Also: `softxent.linear_cross_entropy`, `torch.nn.functional.linear_cross_entropy`.
    """
    check_tensors(
        "linear_cross_entropy", input=input, linear_weight=linear_weight, target=target,
        linear_bias=linear_bias, weight=weight,
    )  # fmt: skip
    if linear_weight.ndim > 2:
        raise ShapeError(
            f"[linear_cross_entropy] linear_weight has shape {describe(linear_weight.shape)}: "
            "pass one row per class, (C, D). For losses of several dimensions call it once per "
            "dimension."
        )
    return tensors.linear_cross_entropy(
        "linear_cross_entropy",
        input,
        linear_weight,
        target,
        linear_bias,
        LossOptions(
            weight=weight,
            ignore_index=IGNORE_INDEX if ignore_index is None else ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
            z_loss=z_loss,
            softcap=softcap,
            temperature=temperature,
        ),
        max_bytes=max_bytes,
        skip_below=skip_below,
        logits_dtype=logits_dtype,
    )


def linear_cross_entropy_with_stats(
    features: Tensor,
    classifier: Tensor,
    target: Tensor,
    bias: Tensor | None = None,
    weight: Tensor | None = None,
    *,
    ignore_index: int = IGNORE_INDEX,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
    max_bytes: int = MAX_BYTES,
    logits_dtype: torch.dtype | None = None,
    k: int = 1,
) -> LossStats:
    """The loss with lse, entropy, argmax and top-k hits of each row, without the logits.

    One pass computes everything that the evaluation of a language model needs.

    Args:
        features, classifier, target, bias, weight, ignore_index, reduction, label_smoothing,
            z_loss, softcap, temperature, max_bytes, logits_dtype: as
            `softxent.linear_cross_entropy`.
        k: a row is a hit where its target is among the k classes with the largest logits.

    Returns:
        A record; `loss`, `lse` and `entropy` are differentiable.

    Raises:
        TargetError, ShapeError, DTypeError, OptionError: as `softxent.linear_cross_entropy`.

    Cost: one matmul, three more in backward.

    Example:
        >>> import torch
        >>> X, W = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> stats = linear_cross_entropy_with_stats(X, W, torch.tensor([1]), k=2)
        >>> stats.lse, stats.argmax, stats.hits
        (tensor([3.4076]), tensor([2]), tensor([True]))

    Edge cases: as `LossStats`. Source: as `softxent.linear_cross_entropy`.

    See Also: `linear_cross_entropy`, `cross_entropy_with_stats`.
    """
    op = "linear_cross_entropy_with_stats"
    check_tensors(op, features=features, classifier=classifier, target=target, bias=bias)
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
        *linear_stats(
            op,
            features,
            classifier,
            target,
            bias,
            options,
            max_bytes=max_bytes,
            logits_dtype=logits_dtype,
            k=k,
        )
    )


def linear_log_prob_and_entropy(
    features: Tensor,
    classifier: Tensor,
    ids: Tensor,
    bias: Tensor | None = None,
    *,
    ignore_index: int = IGNORE_INDEX,
    softcap: float | None = None,
    temperature: float = 1.0,
    max_bytes: int = MAX_BYTES,
    logits_dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-probability of given ids and entropy of their distribution, without the logits.

    Fine-tuning by reinforcement needs these of a policy's tokens.

        log p_y = z_y - lse,   H = -sum_j p_j log p_j

    Args:
        features, classifier, bias, ignore_index, softcap, temperature, max_bytes, logits_dtype: as
            `softxent.linear_cross_entropy`.
        ids: class indices, the features' shape without the last axis.

    Returns:
        (log-probability, entropy) in nats, each of the shape of ids, differentiable; 0 for an
        ignored id.

    Raises:
        TargetError, ShapeError, DTypeError, OptionError: as `softxent.linear_cross_entropy`.

    Cost: one matmul, three more in backward.

    Example:
        >>> import torch
        >>> X, W = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> linear_log_prob_and_entropy(X, W, torch.tensor([1]))
        (tensor([-1.4076]), tensor([0.8324]))

    Edge cases: as `LossStats`. Source: as `softxent.linear_cross_entropy`.

    See Also: `linear_cross_entropy_with_stats`.
    """
    op = "linear_log_prob_and_entropy"
    check_tensors(op, features=features, classifier=classifier, ids=ids, bias=bias)
    if ids.is_floating_point():
        raise OptionError(f"[{op}] ids are class indices: pass integers, e.g. ids.long().")
    options = LossOptions(
        ignore_index=ignore_index, reduction="none", softcap=softcap, temperature=temperature
    )
    stats = linear_stats(
        op,
        features,
        classifier,
        ids,
        bias,
        options,
        max_bytes=max_bytes,
        logits_dtype=logits_dtype,
        k=1,
    )
    return 0 - stats[0], stats[2]
