"""Which rows a classifier predicts correctly, by class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from softxent.ops import cross_entropy, softmax

__all__ = ["ClassCounts", "Confusion", "Floats", "Metrics", "count_classes", "measure"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCounts:
    """Rows by class, and the proportions made of them.

    Attributes:
        rows: (C,) rows whose target is the class.
        predicted: (C,) rows predicted as the class.
        correct: (C,) rows whose target is the class and that are predicted as it.
    """

    rows: Ints
    predicted: Ints
    correct: Ints

    @property
    def precision(self) -> Floats:
        """(C,) correct / predicted; NaN for a class that is never predicted."""
        return _divide(self.correct, self.predicted)

    @property
    def recall(self) -> Floats:
        """(C,) correct / rows; NaN for a class without rows."""
        return _divide(self.correct, self.rows)

    @property
    def f1(self) -> Floats:
        """(C,) harmonic mean of precision and recall; NaN for a class without either."""
        return _divide(2 * self.correct, self.rows + self.predicted)


def count_classes(target: Ints, predicted: Ints, classes: int) -> ClassCounts:
    """Count rows by class.

    Args:
        target: (N,) class indices.
        predicted: (N,) class indices; negative where nothing is predicted.
        classes: C.

    Example:
        >>> counts = count_classes(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
        >>> counts.precision, counts.recall
        (array([1. , 0.5]), array([0.5, 1. ]))

    See Also:
        sklearn.metrics.precision_recall_fscore_support
    """
    return ClassCounts(
        rows=np.bincount(target, minlength=classes),
        predicted=np.bincount(predicted[predicted >= 0], minlength=classes),
        correct=np.bincount(target[predicted == target], minlength=classes),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Rows of class `target` that are predicted as class `predicted`."""

    target: int
    predicted: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """The measures of N rows and C classes.

    Attributes:
        target: (N,) class indices.
        predicted: (N,) class indices; -1 where a logit isn't finite, so that nothing is predicted.
        confidence: (N,) probability of the predicted class; NaN where nothing is predicted.
        loss: (N,) nats.
        counts: rows by class.
        mean_loss: (C,) nats; NaN for a class without rows.
    """

    target: Ints
    predicted: Ints
    confidence: Floats
    loss: Floats
    counts: ClassCounts
    mean_loss: Floats

    @property
    def classes(self) -> int:
        """The number of classes, C."""
        return len(self.mean_loss)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """(N,) whether the prediction is the target."""
        correct: npt.NDArray[np.bool_] = self.predicted == self.target
        return correct

    @property
    def most_frequent(self) -> int:
        """The class with the most rows; the first of them where there are several."""
        return int(np.argmax(self.counts.rows))

    @property
    def unpredicted(self) -> int:
        """The number of rows with a logit that isn't finite."""
        return int(np.count_nonzero(self.predicted < 0))

    def confusion_matrix(self) -> Ints:
        """(C, C) counts: the row is the true class, the column the predicted one."""
        matrix = np.zeros((self.classes, self.classes), dtype=np.int64)
        known = self.predicted >= 0
        np.add.at(matrix, (self.target[known], self.predicted[known]), 1)
        return matrix

    def confusions(self) -> list[Confusion]:
        """Every confused pair of classes, the most rows first; builds no C x C matrix."""
        wrong = (self.predicted >= 0) & ~self.correct
        codes, rows = np.unique(
            self.target[wrong] * self.classes + self.predicted[wrong], return_counts=True
        )
        order = np.argsort(-rows, kind="stable")
        return [
            Confusion(
                target=int(codes[i]) // self.classes,
                predicted=int(codes[i]) % self.classes,
                rows=int(rows[i]),
            )
            for i in order
        ]


def measure(logits: npt.NDArray[np.float32], target: Ints) -> Metrics:
    """Measure the predictions for rows with known classes.

    Args:
        logits: (N, C); a row with a NaN or an infinity has no prediction.
        target: (N,) class indices.

    Example:
        >>> logits = np.array([[2, 0], [0, 1], [0, 1]], np.float32)
        >>> measure(logits, np.array([0, 1, 0])).predicted
        array([0, 1, 1])
    """
    n, classes = logits.shape
    exact = logits.astype(np.float64)  # float32 would round confident probabilities to 1
    finite = np.isfinite(exact).all(axis=1)
    predicted = np.where(finite, exact.argmax(axis=1), -1)
    probabilities = softmax(exact)
    loss = cross_entropy(exact, target, reduction="none")
    counts = count_classes(target, predicted, classes)
    return Metrics(
        target=target,
        predicted=predicted,
        confidence=np.where(finite, probabilities[np.arange(n), predicted], np.nan),
        loss=loss,
        counts=counts,
        mean_loss=_divide(np.bincount(target, weights=loss, minlength=classes), counts.rows),
    )


def _divide(part: Ints | Floats, whole: Ints) -> Floats:
    shares = np.full(len(whole), np.nan)
    np.divide(part, whole, out=shares, where=whole > 0)
    return shares
