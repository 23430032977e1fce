"""What watching a training loop measured: plain numbers, for the rules to judge."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LoopMeasurements"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopMeasurements:
    """A watched training loop.

    Attributes:
        steps: how often the loss was computed.
        parameters: the names of the parameters that require a gradient.
        unchanged: those that were the same at the end as at the beginning.
        not_finite: all parameters with a NaN or an infinity at the end.
    """

    steps: int
    parameters: tuple[str, ...]
    unchanged: tuple[str, ...]
    not_finite: tuple[str, ...] = ()
