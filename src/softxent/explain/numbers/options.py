"""The options of a loss."""

from __future__ import annotations

from typing import Any, NamedTuple

from softxent.ops.spec import Reduction


class LossOptions(NamedTuple):
    """The options of `cross_entropy`, with their defaults."""

    weight: Any = None
    ignore_index: int | None = -100
    reduction: Reduction = "mean"
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    softcap: float | None = None
    temperature: float = 1.0
