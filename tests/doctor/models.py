"""A small model that the tests of `examine` and `watch` share."""

from __future__ import annotations

import torch
from torch import nn


def classifier(*more: nn.Module) -> nn.Sequential:
    """Eight features to four classes, then more layers."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 4), *more
    )
