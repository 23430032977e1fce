"""Whether the columns of scores would predict the labels better in another order.

An order is read off one half of the rows and judged on the other, so noise has none to offer. An
untrained model has, though: its scores are a fixed function of the inputs, some order of its
columns goes with the labels, and by chance that may look like a weak model whose columns were
mixed. What tells them apart is that in a trained model each class stands out in its own column,
further than the largest of so many random numbers would. Where it doesn't, that is said, and no
more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from softxent import ops

__all__ = ["Columns", "judge_columns"]

Values = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Verdict = Literal["fit", "another order", "unclear", "too few rows"]

_FEWEST_ROWS = 20
_ROWS_A_CLASS = 4  # of which half show the order
_MOST_CLASSES = 256  # of which the best order is searched for
_ERRORS = 3.5  # standard errors
# Measured on models before and after training and on random scores of separated classes. Of small
# random scores the best order saves up to 0.37 of a guess, of large ones up to 0.83.
_LEAST_GAIN, _GAIN, _SURE_GAIN = 0.15, 0.6, 0.85
_WORSE = 1.2  # times a guess
_CLASSES_TO_STAND_OUT = 8  # fewer have too few pairs for a spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Scores as they stand and in the best other order, on rows that didn't choose it.

    Attributes:
        order: (C,) the column that stands for each class.
        by_text: whether that is the order of the numbers as text: 1, 10, 11 ..., 2.
        loss, reordered_loss: the mean loss as they stand, and in that order.
        accuracy, reordered_accuracy: likewise.
        guess: the mean loss of the class frequencies alone.
        errors: by how many standard errors the loss falls.
        standing_out: how far the scores of each class in its own column lie above the others, in
            standard deviations of these.
        verdict: what follows from it.
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
        """The share of the nats of a guess that the scores save in that order."""
        return 1 - self.reordered_loss / self.guess if self.guess > 0 else 0.0


def judge_columns(logits: Values, labels: Labels) -> Columns | None:
    """How the columns of (M, C) finite logits fit (M,) labels; None where they fit as they stand.

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
    few = rows < _ROWS_A_CLASS * classes or classes > _MOST_CLASSES
    order = by_text
    if not few:
        searched = _best_order(sums)
        every = np.arange(classes)
        if sums[every, searched].sum() > sums[every, by_text].sum():
            order = searched
    found = _compare(logits[1::2], log_p[1::2], labels[1::2], order, counts)
    by_name = classes > 10 and bool(np.array_equal(order, by_text))
    verdict = _verdict(found, classes, few and not by_name)
    return None if verdict == "fit" else replace(found, by_text=by_name, verdict=verdict)


def _best_order(sums: Values) -> Labels:
    """The order with about the highest sum: the largest gaps first, then exchanges of two."""
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
) -> Columns:
    """The columns as they stand and in an order, on rows that didn't choose it."""
    every = np.arange(len(labels))
    loss, reordered = -log_p[every, labels], -log_p[every, order[labels]]
    frequencies = (counts + 0.5) / (counts + 0.5).sum()
    falls = loss - reordered
    spread = float(falls.std()) / np.sqrt(len(falls))
    top = logits.argmax(axis=1)
    return Columns(
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
    """How far each class's mean score in its own column lies above the others, in their spreads."""
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


def _verdict(found: Columns, classes: int, few: bool) -> Verdict:
    if few:
        return "too few rows" if found.loss > found.guess else "fit"
    if found.errors < _ERRORS:
        return "fit"
    if classes < _CLASSES_TO_STAND_OUT:
        # Sure and wrong as they stand: untrained scores are hardly sure of anything.
        other = found.gain >= _GAIN and found.loss >= _WORSE * found.guess
    else:
        stands_out = found.standing_out >= _standing_out_by_chance(classes)
        other = found.gain >= (_LEAST_GAIN if stands_out else _SURE_GAIN)
    return "another order" if other else "unclear"


def _standing_out_by_chance(classes: int) -> float:
    """What the best order of random scores doesn't reach in a hundred times: 2.7 of 8 classes."""
    return 2.3 + 3.5 / classes + 0.1 * math.log(classes / 10)
