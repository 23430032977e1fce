"""softxent: softmax and cross-entropy, exact, fast and explained.

`softxent.nn`, `softxent.doctor` and `softxent.learn` are loaded when they are first used; torch and
scikit-learn are not loaded before.
"""

import importlib as _importlib
import typing as _typing

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

if _typing.TYPE_CHECKING:
    from softxent import doctor as doctor
    from softxent import learn as learn
    from softxent import nn as nn

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

_ON_FIRST_USE = ("doctor", "learn", "nn")


def __getattr__(name: str) -> _typing.Any:
    if name in _ON_FIRST_USE:
        return _importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_ON_FIRST_USE, "__version__"})
