"""The operations on torch tensors. `softxent.ops.arrays` has the same functions for arrays.

softmax, cross_entropy, losses    checks, and which implementation computes (`routing`)
kernels/                          the compiled kernels with autograd
operators                         the same as operators of torch.library, for compiled graphs
decompositions                    the formula in torch operations: any device, any derivative
intake, dtypes, reductions        arguments, rules of dtypes, from rows to the result
torch_private                     the private names of torch that the others use
"""

from softxent.ops.tensors.cross_entropy import (
    cross_entropy,
    cross_entropy_with_grad,
    cross_entropy_with_stats,
)
from softxent.ops.tensors.intake import check_tensors
from softxent.ops.tensors.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    checked_indices,
    checked_probabilities,
    log_loss,
    nll_loss,
)
from softxent.ops.tensors.routing import kernels_take
from softxent.ops.tensors.softmax import logsumexp, one_hot, softmax, top_k

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "check_tensors",
    "checked_indices",
    "checked_probabilities",
    "cross_entropy",
    "cross_entropy_with_grad",
    "cross_entropy_with_stats",
    "kernels_take",
    "log_loss",
    "logsumexp",
    "nll_loss",
    "one_hot",
    "softmax",
    "top_k",
]
