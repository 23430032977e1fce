"""What trying a model on one batch brings to light: plain numbers, for the rules to judge."""

from __future__ import annotations

from dataclasses import dataclass

from softxent.doctor.cases import LossName

__all__ = ["Fit", "Training", "Trial"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """An attempt to overfit one batch.

    Attributes:
        rows: how many rows of the batch were used.
        steps, rates: Adam steps with each rate, and the rates that were tried.
        lowest: the lowest mean loss that was reached, in nats.
        frequencies: the mean loss of predicting only the class frequencies.
        floor: the lowest mean loss that the targets allow: their own entropy, > 0 for soft targets
            and for equal inputs with different targets.
        labels: how many targets there were to learn.
        learnable: how many numbers the model could change for it.
    """

    rows: int
    steps: int
    rates: tuple[float, ...]
    lowest: float
    frequencies: float
    floor: float
    labels: int
    learnable: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A model on one batch.

    Attributes:
        loss: which loss it is trained with; None for one that isn't known.
        classes: C.
        rows: the batch's rows.
        start: the mean loss before anything was trained; None where it couldn't be computed.
        ending: the class name of the last layer, where its output is the model's.
        constant: whether different inputs gave the same outputs, before and after the fit.
        differentiable: whether the loss had a graph to the parameters.
        parameters: how many parameter tensors want a gradient.
        frozen: how many don't.
        blocked: parameters of layers that ran, and that got no gradient at all.
        silent: parameters whose gradient was 0 before and after the fit.
        input_blocked: whether outputs depend on the inputs but no gradient reaches them; None where
            it wasn't seen.
        mixing: how much the outputs of a row change with the other rows, relative to their size;
            None where it wasn't seen.
        fit: the attempt to overfit; None where it wasn't made.
    """

    loss: LossName | None
    classes: int
    rows: int
    start: float | None
    ending: str | None
    constant: bool
    differentiable: bool
    parameters: int
    frozen: int
    blocked: tuple[str, ...]
    silent: tuple[str, ...]
    input_blocked: bool | None
    mixing: float | None
    fit: Fit | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A watched training loop.

    Attributes:
        steps: how often the loss was computed.
        parameters: the names of the parameters that want a gradient.
        unchanged: those that were the same at the end as at the beginning.
        not_finite: all parameters with a NaN or an infinity at the end.
    """

    steps: int
    parameters: tuple[str, ...]
    unchanged: tuple[str, ...]
    not_finite: tuple[str, ...] = ()
