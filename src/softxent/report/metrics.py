"""What a classifier got right and wrong on its test rows, from their logits and targets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from softxent.ops import cross_entropy, softmax

__all__ = ["Metrics", "Pair", "measure", "wilson"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_Z95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """So many rows of class `target` were taken for class `predicted`."""

    target: int
    predicted: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """The measures of N rows and C classes.

    Attributes:
        classes: C.
        target: (N,) class indices.
        predicted: (N,) class indices; -1 where a logit isn't finite, so that nothing is predicted.
        confidence: (N,) the predicted class's probability; NaN where nothing is predicted.
        loss: (N,) nats.
        rows: (C,) test rows of each class.
        right: (C,) rows of each class that were predicted to be it.
        named: (C,) rows that were predicted to be of each class.
        mean_loss: (C,) nats; NaN for a class without rows.
    """

    classes: int
    target: Ints
    predicted: Ints
    confidence: Floats
    loss: Floats
    rows: Ints
    right: Ints
    named: Ints
    mean_loss: Floats

    @property
    def precision(self) -> Floats:
        """(C,) of the rows named as the class, how many are; NaN for a class never named."""
        return _divide(self.right, self.named)

    @property
    def recall(self) -> Floats:
        """(C,) of the class's rows, how many were named as it; NaN for a class without rows."""
        return _divide(self.right, self.rows)

    @property
    def f1(self) -> Floats:
        """(C,) harmonic mean of precision and recall; NaN for a class neither named nor there."""
        return _divide(2 * self.right, self.rows + self.named)

    @property
    def most_frequent(self) -> int:
        """The class with the most test rows; the first of them where there are several."""
        return int(np.argmax(self.rows))

    @property
    def unpredicted(self) -> int:
        """Rows with a logit that isn't a finite number."""
        return int(np.count_nonzero(self.predicted < 0))

    def confusion(self) -> Ints:
        """(C, C) counts: the row is the true class, the column the predicted one."""
        matrix = np.zeros((self.classes, self.classes), dtype=np.int64)
        named = self.predicted >= 0
        np.add.at(matrix, (self.target[named], self.predicted[named]), 1)
        return matrix

    def confused_pairs(self) -> list[Pair]:
        """Every pair of classes that was confused, the most rows first; needs no C x C matrix."""
        wrong = (self.predicted >= 0) & (self.predicted != self.target)
        codes, rows = np.unique(
            self.target[wrong] * self.classes + self.predicted[wrong], return_counts=True
        )
        order = np.argsort(-rows, kind="stable")
        return [
            Pair(
                target=int(codes[i]) // self.classes,
                predicted=int(codes[i]) % self.classes,
                rows=int(rows[i]),
            )
            for i in order
        ]


def measure(logits: npt.NDArray[np.float32], target: Ints) -> Metrics:
    """Measure a classifier on its test rows.

    Args:
        logits: (N, C); NaN where the record holds null.
        target: (N,) class indices.
    """
    n, classes = logits.shape
    exact = logits.astype(np.float64)  # or every sure row's probability would be rounded to 1
    finite = np.isfinite(exact).all(axis=1)
    predicted = np.where(finite, exact.argmax(axis=1), -1)
    probabilities = softmax(exact)
    confidence = np.where(finite, probabilities[np.arange(n), predicted], np.nan)
    loss = cross_entropy(exact, target, reduction="none")
    rows = np.bincount(target, minlength=classes)
    return Metrics(
        classes=classes,
        target=target,
        predicted=predicted,
        confidence=confidence,
        loss=loss,
        rows=rows,
        right=np.bincount(target[predicted == target], minlength=classes),
        named=np.bincount(predicted[finite], minlength=classes),
        mean_loss=_divide(np.bincount(target, weights=loss, minlength=classes), rows),
    )


def wilson(right: float, rows: float) -> tuple[float, float]:
    """The 95% confidence interval of a share, after Wilson (1927); (NaN, NaN) for no rows.

    Example:
        >>> low, high = wilson(9696, 10000)
        >>> round(low, 4), round(high, 4)
        (0.9661, 0.9728)
    """
    if not rows > 0:
        return math.nan, math.nan
    share, z2 = right / rows, _Z95 * _Z95
    middle = share + z2 / (2 * rows)
    half = _Z95 * math.sqrt(share * (1 - share) / rows + z2 / (4 * rows * rows))
    scale = 1 + z2 / rows
    # Against the rounding: the share lies in its interval, which for 0 of N begins at 0 itself.
    return min(share, max(0.0, (middle - half) / scale)), max(
        share, min(1.0, (middle + half) / scale)
    )


def _divide(part: Ints | Floats, whole: Ints) -> Floats:
    shares = np.full(len(whole), np.nan)
    np.divide(part, whole, out=shares, where=whole > 0)
    return shares
