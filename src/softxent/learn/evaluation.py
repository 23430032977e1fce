"""What a network says about rows, and how right it is: logits, probabilities, loss, accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from softxent.errors import DataError, ShapeError
from softxent.learn.data import Samples
from softxent.learn.model import Network
from softxent.metrics import count_classes
from softxent.ops import Mean, cross_entropy, softmax

__all__ = ["ClassScore", "Evaluation", "evaluate", "predict"]

_ROWS_AT_A_TIME = 2048  # the hidden layers' outputs of so many rows stay in cache


def logits_of(network: Network, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(N, D) float32 features -> (N, C) float32 logits, with the network in evaluation mode.

    Raises:
        ShapeError: the rows don't have the width that the network takes.
    """
    width, classes = network.widths[0], network.widths[-1]
    if features.ndim != 2 or features.shape[1] != width:
        raise ShapeError(
            f"[predict] features have the shape {features.shape}; the model takes (N, {width}). "
            "Give it the columns, or the image size, that it was trained with."
        )
    logits = np.empty((len(features), classes), dtype=np.float32)
    training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(features), _ROWS_AT_A_TIME):
                some = slice(start, start + _ROWS_AT_A_TIME)
                logits[some] = network(torch.tensor(features[some], dtype=torch.float32)).numpy()
    finally:
        network.train(training)
    return logits


def predict(network: Network, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Class probabilities.

    Args:
        network: as `train` or `load_model` gives it.
        features: (N, D) float32, as their source has them.

    Returns:
        (N, C) float64: softmax of the float32 logits, computed in float64; rows add up to 1.

    Raises:
        ShapeError: the rows don't have the width that the network takes.

    Example:
        >>> from softxent.learn import Network
        >>> predict(Network([4, 3]), np.zeros((2, 4), np.float32)).shape
        (2, 3)
    """
    return probabilities(logits_of(network, features))


def probabilities(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """(N, C) float32 logits -> (N, C) float64 probabilities."""
    result: npt.NDArray[np.float64] = softmax(logits.astype(np.float64))
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """How well one class was told from the others.

    Attributes:
        name: the class.
        precision: of the rows that were predicted to be it, the share that is.
        recall: of the rows that are it, the share that was predicted to be.
    """

    name: str
    precision: Mean
    recall: Mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a network says about labelled rows.

    Attributes:
        logits: (N, C) float32.
        target: (N,) int64 class indices.
        losses: (N,) float64, each row's -log p of its target, in nats.
    """

    logits: npt.NDArray[np.float32]
    target: npt.NDArray[np.int64]
    losses: npt.NDArray[np.float64]

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """(N,) the class with the highest logit; the first of them where several are equal."""
        predicted: npt.NDArray[np.int64] = self.logits.argmax(axis=1)
        return predicted

    @property
    def loss(self) -> Mean:
        """The sum of the rows' losses over the number of rows."""
        return Mean(float(self.losses.sum()), len(self.losses))

    @property
    def accuracy(self) -> Mean:
        """The number of rows that are right over the number of rows."""
        return Mean(int(np.count_nonzero(self.predicted == self.target)), len(self.target))

    def by_class(self, classes: Sequence[str]) -> list[ClassScore]:
        """Precision and recall of each class, with their denominators."""
        counts = count_classes(self.target, self.predicted, len(classes))
        return [
            ClassScore(
                name=name,
                precision=Mean(int(correct), int(predicted)),
                recall=Mean(int(correct), int(rows)),
            )
            for name, correct, predicted, rows in zip(
                classes, counts.correct, counts.predicted, counts.rows, strict=True
            )
        ]


def evaluate(network: Network, samples: Samples) -> Evaluation:
    """Compare what a network says with what is true.

    Args:
        network: as `train` or `load_model` gives it.
        samples: rows with their target.

    Returns:
        Each row's logits and loss; loss and accuracy over all rows as sums with their denominators.

    Raises:
        ShapeError: the rows don't have the width that the network takes.
        DataError: the rows have no target.
        TargetError: a target is not among the network's classes.
    """
    if samples.target is None:
        raise DataError("[evaluate] these rows have no target to compare with; predict takes them")
    logits = logits_of(network, samples.features)
    losses = cross_entropy(logits.astype(np.float64), samples.target, reduction="none")
    return Evaluation(logits=logits, target=samples.target, losses=losses)
