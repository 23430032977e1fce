"""What running a model on one batch measured: plain numbers, for the rules to judge."""

from __future__ import annotations

from dataclasses import dataclass

from softxent.doctor.arrays.loss_arguments import LossName

__all__ = ["ModelMeasurements", "OverfitAttempt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OverfitAttempt:
    """An attempt to overfit one batch.

    Attributes:
        rows: how many rows of the batch were used.
        steps, rates: Adam steps with each learning rate, and the rates that were tried.
        lowest: the lowest mean loss that was reached, in nats.
        frequencies: the mean loss of predicting only the class frequencies.
        floor: the lowest mean loss that the targets allow, their own entropy: > 0 for soft targets
            and for equal inputs with different targets.
        labels: how many targets there were to learn.
        learnable: how many numbers the model could change to learn them.
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
class ModelMeasurements:
    """A model on one batch.

    Attributes:
        loss: which loss it is trained with; None for an unknown one.
        classes: C.
        rows: the number of rows in the batch.
        initial_loss: the mean loss before training; None if it couldn't be computed.
        last_layer: the class name of the last layer, if its output is the model's output.
        constant_output: whether different inputs gave the same outputs, before and after training.
        has_graph: whether the loss had a graph to the parameters.
        trainable: how many parameter tensors require a gradient.
        without_gradient: parameters of layers that ran but got no gradient.
        zero_gradient: parameters whose gradient was 0 before and after training.
        input_blocked: whether the outputs depend on the inputs but no gradient reaches them; None
            if it wasn't measured.
        batch_dependence: how much the outputs of a row change with the other rows, relative to
            their size; None if it wasn't measured.
        overfit: the attempt to overfit; None if it wasn't made.
    """

    loss: LossName | None
    classes: int
    rows: int
    initial_loss: float | None
    last_layer: str | None
    constant_output: bool
    has_graph: bool
    trainable: int
    without_gradient: tuple[str, ...]
    zero_gradient: tuple[str, ...]
    input_blocked: bool | None
    batch_dependence: float | None
    overfit: OverfitAttempt | None
