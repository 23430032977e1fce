"""The compiled kernels on torch's CPU tensors, with autograd.

The forward pass saves two numbers per row beside the logits: their maximum and the tail sum. The
backward pass computes the gradient from them, for any upstream gradient, as often as autograd
asks. Derivatives of the gradient itself are decomposed into torch operations.
"""

from softxent.ops.tensors.kernels.binary_cross_entropy import binary_cross_entropy
from softxent.ops.tensors.kernels.buffers import as_array, empty_like
from softxent.ops.tensors.kernels.cross_entropy import (
    checks_indices,
    cross_entropy,
    cross_entropy_with_grad,
    gradient,
    loss_and_saved,
)
from softxent.ops.tensors.kernels.softmax import (
    logsumexp,
    softmax,
    softmax_gradient,
    softmax_gradient_by_decomposition,
)
from softxent.ops.tensors.kernels.stats import cross_entropy_with_stats

__all__ = [
    "as_array",
    "binary_cross_entropy",
    "checks_indices",
    "cross_entropy",
    "cross_entropy_with_grad",
    "cross_entropy_with_stats",
    "empty_like",
    "gradient",
    "logsumexp",
    "loss_and_saved",
    "softmax",
    "softmax_gradient",
    "softmax_gradient_by_decomposition",
]
