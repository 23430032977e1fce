"""The PyTorch face: torch's own signatures and modules, computed by softxent.

Change the import and nothing else:

    from softxent import nn                      # was: from torch import nn
    criterion = nn.CrossEntropyLoss()
"""

from softxent.errors import missing_extra

try:
    import torch as _torch  # noqa: F401  (said here once, in softxent's words)
except ImportError:
    raise missing_extra("torch", needed_by="nn", extra="torch") from None

from softxent.nn import functional
from softxent.nn.linear import LinearCrossEntropyLoss
from softxent.nn.modules import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    LogSoftmax,
    NLLLoss,
    Softmax,
)
from softxent.nn.patching import patch
from softxent.nn.stats import LossStats

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "LinearCrossEntropyLoss",
    "LogSoftmax",
    "LossStats",
    "NLLLoss",
    "Softmax",
    "functional",
    "patch",
]
