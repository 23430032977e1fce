"""Whether the columns of logits would predict the labels better in another order.

One half of the rows chooses the order and the other half judges it, so noise has no order to offer.
An untrained model has one: its logits are a fixed function of the inputs, so some order of its
columns correlates with the labels, and by chance that can resemble a weak model whose columns were
mixed up. The difference is that in a trained model each class stands out in its own column by more
than the largest of so many random numbers would. Where it doesn't, the verdict is "unclear".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from softxent import ops

__all__ = ["ColumnMatch", "match_columns"]

Values = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Verdict = Literal["fit", "another order", "unclear", "too few rows"]

_FEWEST_ROWS = 20
_ROWS_PER_CLASS = 4  # half of them choose the order
_MOST_CLASSES = 256  # above, the best order is not searched for
_STANDARD_ERRORS = 3.5
# Measured on models before and after training, and on random logits of separated classes. The best
# order of small random logits saves up to 0.37 of the loss of a guess, that of large ones 0.83.
_LEAST_GAIN, _GAIN, _CERTAIN_GAIN = 0.15, 0.6, 0.85
_WORSE = 1.2  # times the loss of a guess
_CLASSES_TO_STAND_OUT = 8  # fewer have too few pairs for a standard deviation


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnMatch:
    """The given order of the columns and the best other one, on rows that didn't choose it.

    Attributes:
        order: (C,) the column that stands for each class.
        by_text: whether that is the order of the numbers as text: 1, 10, 11 ..., 2.
        loss, reordered_loss: the mean loss in the given order, and in that one.
        accuracy, reordered_accuracy: likewise.
        guess: the mean loss of predicting the class frequencies.
        errors: by how many standard errors the loss falls.
        standing_out: by how many standard deviations the logits of each class in its own column
            exceed the others.
        verdict: the conclusion.
    """

    order: Labels
    by_text: bool
    loss: float
    reordered_loss: float
    accuracy: float
    reordered_accuracy: float
    guess: float
    errors: float
    standing_out: float
    verdict: Verdict

    @property
    def gain(self) -> float:
        """The share of the loss of a guess that the logits save in that order."""
        return 1 - self.reordered_loss / self.guess if self.guess > 0 else 0.0


def match_columns(logits: Values, labels: Labels) -> ColumnMatch | None:
    """Compare (M, C) finite logits with (M,) labels; None if the given order of columns fits.

    Cost: a few passes over the logits, and over C x C sums of them.
    """
    rows, classes = logits.shape
    if classes < 2 or rows < _FEWEST_ROWS:
        return None
    log_p = ops.log_softmax(logits)
    sums = np.zeros((classes, classes))
    np.add.at(sums, labels[::2], log_p[::2])
    counts = np.bincount(labels[::2], minlength=classes)
    seen = np.flatnonzero(counts)
    if np.all(sums.argmax(axis=1)[seen] == seen):
        return None  # every class is most probable in its own column already
    by_text = np.argsort(np.array(sorted(range(classes), key=str)))
    few = rows < _ROWS_PER_CLASS * classes or classes > _MOST_CLASSES
    order = by_text
    if not few:
        searched = _best_order(sums)
        every = np.arange(classes)
        if sums[every, searched].sum() > sums[every, by_text].sum():
            order = searched
    found = _compare(logits[1::2], log_p[1::2], labels[1::2], order, counts)
    is_by_text = classes > 10 and bool(np.array_equal(order, by_text))
    verdict = _verdict(found, classes, few and not is_by_text)
    return None if verdict == "fit" else replace(found, by_text=is_by_text, verdict=verdict)


def _best_order(sums: Values) -> Labels:
    """An order with nearly the highest sum: greedy by the largest gaps, then exchanges of two."""
    classes = len(sums)
    order = np.full(classes, -1)
    free = np.ones(classes, bool)
    above = sums - sums.mean(axis=1, keepdims=True)
    for pair in np.argsort(-above, axis=None, kind="stable"):
        label, column = divmod(int(pair), classes)
        if order[label] < 0 and free[column]:
            order[label], free[column] = column, False
    for _ in range(4 * classes):
        taken = sums[:, order]  # [i, k]: class i in the column of class k
        own = taken.diagonal()
        better = taken + taken.T - own[:, None] - own
        i, k = divmod(int(better.argmax()), classes)
        if better[i, k] <= 1e-9:
            break
        order[[i, k]] = order[[k, i]]
    return order


def _compare(
    logits: Values, log_p: Values, labels: Labels, order: Labels, counts: npt.NDArray[np.int64]
) -> ColumnMatch:
    """The given order of the columns and another one, on rows that didn't choose it."""
    every = np.arange(len(labels))
    loss, reordered = -log_p[every, labels], -log_p[every, order[labels]]
    frequencies = (counts + 0.5) / (counts + 0.5).sum()
    falls = loss - reordered
    spread = float(falls.std()) / np.sqrt(len(falls))
    top = logits.argmax(axis=1)
    return ColumnMatch(
        order=order,
        by_text=False,
        loss=float(loss.mean()),
        reordered_loss=float(reordered.mean()),
        accuracy=float(np.mean(top == labels)),
        reordered_accuracy=float(np.mean(top == order[labels])),
        guess=float(-np.log(frequencies[labels]).mean()),
        errors=float(falls.mean()) / max(float(spread), 1e-12),
        standing_out=_standing_out(logits, labels, order),
        verdict="fit",
    )


def _standing_out(logits: Values, labels: Labels, order: Labels) -> float:
    """By how many standard deviations each class's mean in its own column exceeds the others."""
    classes = logits.shape[1]
    means = np.zeros((classes, classes))
    np.add.at(means, labels, logits - logits.mean(axis=1, keepdims=True))
    counts = np.bincount(labels, minlength=classes)
    seen = np.flatnonzero(counts)
    means = means[seen] / counts[seen, None]
    means -= means.mean(axis=0)
    own = np.zeros(means.shape, bool)
    own[np.arange(len(seen)), order[seen]] = True
    spread = float(means[~own].std())
    return float(means[own].mean() - means[~own].mean()) / max(spread, 1e-12)


def _verdict(found: ColumnMatch, classes: int, few: bool) -> Verdict:
    if few:
        return "too few rows" if found.loss > found.guess else "fit"
    if found.errors < _STANDARD_ERRORS:
        return "fit"
    if classes < _CLASSES_TO_STAND_OUT:
        # Confident and wrong in the given order: an untrained model is hardly ever confident.
        other = found.gain >= _GAIN and found.loss >= _WORSE * found.guess
    else:
        stands_out = found.standing_out >= _standing_out_by_chance(classes)
        other = found.gain >= (_LEAST_GAIN if stands_out else _CERTAIN_GAIN)
    return "another order" if other else "unclear"


def _standing_out_by_chance(classes: int) -> float:
    """What the best order of random logits exceeds less than once in 100: 2.7 with 8 classes."""
    return 2.3 + 3.5 / classes + 0.1 * math.log(classes / 10)
