"""The operations on NumPy arrays, and on arrays of other libraries through DLPack.

`softxent.ops.tensors` has the same functions for torch tensors; `softxent.ops.api` chooses.

    softmax, cross_entropy, losses    the operations: checks and calls of the compiled kernels
    intake, output, reductions        arguments, where results go, from rows to the result
    memory, runtime                   memory of large results; instruction set and threads
"""

from softxent.ops.arrays.cross_entropy import cross_entropy, cross_entropy_with_grad
from softxent.ops.arrays.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    log_loss,
    nll_loss,
)
from softxent.ops.arrays.softmax import logsumexp, one_hot, softmax, top_k

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "cross_entropy_with_grad",
    "log_loss",
    "logsumexp",
    "nll_loss",
    "one_hot",
    "softmax",
    "top_k",
]
