"""Softmax, log-softmax and the losses built on them, for arrays and tensors."""

from softxent.ops.api import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    cross_entropy_with_grad,
    log_loss,
    log_softmax,
    logsumexp,
    nll_loss,
    one_hot,
    softmax,
    top_k,
)
from softxent.ops.arrays.memory import empty_cache
from softxent.ops.arrays.runtime import get_num_threads, kernels, set_num_threads
from softxent.ops.linear import linear_cross_entropy, linear_cross_entropy_with_grad
from softxent.ops.mean import Mean

__all__ = [
    "Mean",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "cross_entropy_with_grad",
    "empty_cache",
    "get_num_threads",
    "kernels",
    "linear_cross_entropy",
    "linear_cross_entropy_with_grad",
    "log_loss",
    "log_softmax",
    "logsumexp",
    "nll_loss",
    "one_hot",
    "set_num_threads",
    "softmax",
    "top_k",
]
