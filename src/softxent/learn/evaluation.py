"""Logits and probabilities of a network for given rows, and their loss and accuracy."""

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
from softxent.ops.arrays.intake import receive

__all__ = ["ClassScore", "Evaluation", "evaluate", "predict"]

_ROWS_AT_A_TIME = 2048  # for so many rows, the outputs of the hidden layers fit into the cache


def logits_of(network: Network, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Compute (N, C) float32 logits of (N, D) float32 features, in evaluation mode.

    Raises:
        ShapeError: the features don't have the width of the network's input.
        DTypeError: the features are no numbers, or some are masked.
    """
    width, classes = network.widths[0], network.widths[-1]
    features, _ = receive("predict", "features", features)
    if features.ndim != 2 or features.shape[1] != width:
        raise ShapeError(
            f"[predict] features have the shape {features.shape}; the model takes (N, {width}). "
            "Pass the columns, or images of the size, that it was trained on."
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
    """Predict the probability of each class.

        p = softmax(logits(features))

    Args:
        network: as returned by `train` or `load_model`.
        features: (N, D) float32, unscaled; the network scales them.

    Returns:
        (N, C) float64 probabilities, computed in float64 from the float32 logits; each row sums
        to 1.

    Raises:
        ShapeError: the features don't have the width of the network's input.
        DTypeError: the features are no numbers, or some are masked.

    Example:
        >>> from softxent.learn import Network
        >>> predict(Network([4, 3]), np.zeros((2, 4), np.float32)).shape
        (2, 3)

    See Also:
        `predict_proba` in scikit-learn.
    """
    return probabilities(logits_of(network, features))


def probabilities(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Compute (N, C) float64 probabilities of (N, C) float32 logits."""
    result: npt.NDArray[np.float64] = softmax(logits.astype(np.float64))
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """Precision and recall of one class.

    Attributes:
        name: the class.
        precision: the share of true members among the rows predicted to be of this class.
        recall: the share of the rows of this class that were predicted to be of it.
    """

    name: str
    precision: Mean
    recall: Mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The results of a network on labelled rows.

    Attributes:
        logits: (N, C) float32.
        target: (N,) int64 class indices.
        losses: (N,) float64, -log p of the target of each row, in nats.
    """

    logits: npt.NDArray[np.float32]
    target: npt.NDArray[np.int64]
    losses: npt.NDArray[np.float64]

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """(N,) int64: the class with the highest logit; the first one if several are equal."""
        predicted: npt.NDArray[np.int64] = self.logits.argmax(axis=1)
        return predicted

    @property
    def loss(self) -> Mean:
        """The sum of the losses over the number of rows."""
        return Mean(float(self.losses.sum()), len(self.losses))

    @property
    def accuracy(self) -> Mean:
        """The number of correctly predicted rows over the number of rows."""
        return Mean(int(np.count_nonzero(self.predicted == self.target)), len(self.target))

    def by_class(self, classes: Sequence[str]) -> list[ClassScore]:
        """Compute precision and recall of each class, with their denominators."""
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
    """Compute the logits and the loss of labelled rows.

    Args:
        network: as returned by `train` or `load_model`.
        samples: rows with a target.

    Returns:
        The logits and the loss of each row; its properties are the loss and the accuracy over all
        rows, as sums with their denominators.

    Raises:
        ShapeError: the features don't have the width of the network's input.
        DataError: the rows have no target.
        TargetError: a target is not a class of the network.

    Example:
        >>> from pathlib import Path
        >>> from softxent.learn import data, load_model
        >>> from softxent.record import read
        >>> network = load_model(read(Path("runs/digits-1")))
        >>> evaluate(network, data.load("digits").test).accuracy.weight
        360
    """
    if samples.target is None:
        raise DataError("[evaluate] these rows have no target to compare with: use predict")
    logits = logits_of(network, samples.features)
    losses = cross_entropy(logits.astype(np.float64), samples.target, reduction="none")
    return Evaluation(logits=logits, target=samples.target, losses=losses)
