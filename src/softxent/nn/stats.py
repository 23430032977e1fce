"""The statistics that a loss computes in the same pass over the logits."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

__all__ = ["LossStats"]


class LossStats(NamedTuple):
    """A loss and the statistics of its rows, which have the target's shape.

    The rows are those of p = softmax(u), u = softcap tanh(z / (temperature softcap)). In an ignored
    row `lse` and `entropy` are 0, `argmax` is -1 and `hits` is False; in a row that has no loss
    (only -inf, or with +inf or NaN) `lse` and `entropy` are NaN.

    Attributes:
        loss: reduced as requested, in nats; differentiable.
        lse: log sum_j exp(u_j), in nats; differentiable.
        entropy: -sum_j p_j log p_j, in nats; differentiable.
        argmax: int64, the class with the largest logit, the first among equals; a NaN is larger
            than any number.
        hits: bool, whether the target is among the k largest in that order. The target of class
            probabilities is their largest, the first among equals.
        z_loss: the part of `loss` that the option `z_loss` adds, reduced as `loss` is; 0 without
            that option. `loss - z_loss` is the cross-entropy. Differentiable.
    """

    loss: Tensor
    lse: Tensor
    entropy: Tensor
    argmax: Tensor
    hits: Tensor
    z_loss: Tensor
