"""Stratified choice of held-out rows for the test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from softxent.errors import DataError, OptionError, missing_extra
from softxent.learn.data.names import listing

__all__ = ["Split", "check_draw", "hold_out"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The rows for training and for the test, both increasing, and a description of the choice."""

    train: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]
    description: str


def check_draw(test_size: float, seed: int) -> None:
    """Raise OptionError if the share or the seed is out of range."""
    if not 0 < test_size < 1:
        raise OptionError(
            f"[data] test_size is {test_size}, but it is the share of the rows to hold out. "
            "Pass a number between 0 and 1, such as 0.2."
        )
    if not 0 <= seed < 2**32:
        raise OptionError(f"[data] seed is {seed}. Pass an integer from 0 to {2**32 - 1}.")


def hold_out(
    target: npt.NDArray[np.int64], classes: Sequence[str], *, test_size: float, seed: int
) -> Split:
    """Choose held-out rows, stratified by class.

    The rows are those of scikit-learn's `train_test_split(rows, test_size=test_size,
    random_state=seed, stratify=target)`, with two exceptions so that small tables work as well. A
    class with a single row stays in training. And either side has at least one row per class with
    two rows or more, even if a small table then holds out more than `test_size`.

    Args:
        target: (N,) int64 class indices.
        classes: class names, for messages.
        test_size: the share of the rows to hold out, between 0 and 1.
        seed: 0 to 2**32 - 1.

    Raises:
        DataError: no class has two rows, or a class would have no row in training.
    """
    try:
        from sklearn.model_selection import train_test_split
    except ImportError:
        raise missing_extra("scikit-learn", needed_by="data", extra="learn") from None

    counts = np.bincount(target, minlength=len(classes))
    single = np.flatnonzero(counts == 1)
    shared = np.flatnonzero(counts[target] > 1)
    if len(shared) == 0:
        raise DataError(
            f"[data] each of the {len(target):,} rows has a different class, so no class can be "
            "both trained and tested. If the target is an identifier, name the column with the "
            "classes instead."
        )
    fewest = int(np.count_nonzero(counts > 1))  # either side
    held_out = min(max(math.ceil(test_size * len(shared)), fewest), len(shared) - fewest)
    train, test = train_test_split(
        shared, test_size=held_out, random_state=seed, stratify=target[shared]
    )
    unlearned = np.setdiff1d(target[test], target[train])
    if len(unlearned):
        raise DataError(
            f"[data] test_size={test_size} leaves no training rows of "
            f"{listing([classes[int(index)] for index in unlearned])}. Hold out fewer rows."
        )
    description = (
        f"{held_out:,} of {len(target):,} rows held out, the same share of every class, seed {seed}"
    )
    if len(single):
        names = [classes[int(index)] for index in single]
        description += f"; classes with a single row stay in training: {listing(names)}"
    train = np.union1d(train, np.flatnonzero(counts[target] == 1))
    return Split(train=train, test=np.sort(test), description=description)
