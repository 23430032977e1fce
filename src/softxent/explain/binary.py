"""Two classes seen as one yes-or-no question."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from softxent.explain import typed
from softxent.ops.api import (
    binary_cross_entropy_with_logits,
)

__all__ = ["Binary", "binary_of"]

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Binary:
    """Two classes seen as one yes-or-no question, whether it is the second.

    Attributes:
        difference: (N,) u_1 - u_0, the only thing that counts.
        probability: (N,) its sigmoid, which is p_1.
        target: (N,) the target's share of the second class, t_1 / s; NaN where s is 0.
        losses: (N,) binary cross-entropy, times s; what `losses` of the trace holds, up to rounding
            and without z_loss. 0 in ignored rows.
    """

    difference: Float64
    probability: Float64
    target: Float64 | None = None
    losses: Float64 | None = None

    def __post_init__(self) -> None:
        typed.freeze(self)


def binary_of(scaled: Float64, mass: Float64 | None, mass_sum: Float64 | None) -> Binary:
    """Two classes, (N, 2) scaled logits, as binary cross-entropy.

    Args:
        scaled: (N, 2) logits after the temperature and the softcap.
        mass: (N, 2) the target's mass, or None without a target.
        mass_sum: (N,) its sum.
    """
    with np.errstate(all="ignore"):
        difference = scaled[:, 1] - scaled[:, 0]
        small = np.exp(-np.abs(difference))  # the sigmoid without overflow
        probability = np.where(difference >= 0, 1 / (1 + small), small / (1 + small))
        if mass is None or mass_sum is None:
            return Binary(difference=difference, probability=probability)
        target = mass[:, 1] / mass_sum
        counts = mass_sum > 0
        share = np.where(counts, target, 0)
        losses = binary_cross_entropy_with_logits(difference, share, reduction="none")
        return Binary(
            difference=difference,
            probability=probability,
            target=target,
            losses=np.where(counts, losses, 0) * mass_sum,
        )
