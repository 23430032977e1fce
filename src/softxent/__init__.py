"""softxent: softmax and cross-entropy, exact, fast and explained."""

from softxent.explain import Trace as Trace
from softxent.explain import explain as explain
from softxent.ops import (
    Mean,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    cross_entropy_with_grad,
    empty_cache,
    get_num_threads,
    kernels,
    linear_cross_entropy,
    linear_cross_entropy_with_grad,
    log_loss,
    log_softmax,
    logsumexp,
    nll_loss,
    one_hot,
    set_num_threads,
    softmax,
    top_k,
)

__version__ = "0.1.0"

__all__ = [
    "Mean",
    "Trace",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "cross_entropy_with_grad",
    "empty_cache",
    "explain",
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
