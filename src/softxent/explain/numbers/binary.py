"""Two classes as binary cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from softxent.explain.numbers.rounding import freeze

__all__ = ["Binary", "as_binary"]

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Binary:
    """Two classes as the question whether it is the second one.

    Attributes:
        difference: (N,) u_1 - u_0, on which alone the loss depends.
        probability: (N,) its sigmoid, which is p_1.
        target: (N,) the target's share of the second class, t_1 / s; NaN where s is 0.
        losses: (N,) binary cross-entropy times s, which equals `losses` of the trace up to rounding
            and without z_loss; 0 in ignored rows.
    """

    difference: Float64
    probability: Float64
    target: Float64 | None = None
    losses: Float64 | None = None

    def __post_init__(self) -> None:
        freeze(self)


def as_binary(scaled: Float64, t: Float64 | None, s: Float64 | None) -> Binary:
    """Two classes as binary cross-entropy.

    Args:
        scaled: (N, 2) logits after the temperature and the softcap.
        t: (N, 2) the target distribution, or None without a target.
        s: (N,) its sum.
    """
    with np.errstate(all="ignore"):
        difference = scaled[:, 1] - scaled[:, 0]
        small = np.exp(-np.abs(difference))  # the sigmoid without overflow
        probability = np.where(difference >= 0, 1 / (1 + small), small / (1 + small))
        if t is None or s is None:
            return Binary(difference=difference, probability=probability)
        target = t[:, 1] / s
        # By the formula: rounding and negative class weights move a share out of [0, 1].
        yes, no = np.logaddexp(0, -difference), np.logaddexp(0, difference)
        losses = np.where(t[:, 1] == 0, 0, t[:, 1] * yes) + np.where(t[:, 0] == 0, 0, t[:, 0] * no)
        return Binary(difference=difference, probability=probability, target=target, losses=losses)
