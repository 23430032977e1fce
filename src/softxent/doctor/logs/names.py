"""The names of numbers in logs: which are a loss or an accuracy, and of which data split."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from softxent.doctor.logs.log import Split
from softxent.doctor.printed_number import PrintedNumber

__all__ = ["NamedNumber", "meaning_of", "split_in"]

_SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "te"), "test"),
}
_LOSSES = {"loss", "nll", "xent", "logloss", "crossentropy"}
_ACCURACIES = {"accuracy", "acc", "acc1", "top1", "correct"}
_PLAIN_WORDS = {
    *("average", "avg", "mean", "running", "epoch", "step", "total", "batch", "set", "final"),
    *("model", "categorical", "sparse", "binary", "cross", "entropy", "ce", "log", "the"),
    *("overall", "error", "is", "multiclass", "top", "1", "top1"),
}
_WORD = re.compile(r"[a-z]+\d*|\d+")


class NamedNumber(NamedTuple):
    """A number with a known name, before it is known whether accuracies are percentages.

    Attributes:
        line, split, epoch, guessed: as in `Row`.
        what: which of the two it is.
        number: as printed.
        total: of an accuracy like 9696/10000, the second number.
        percent: of an accuracy like 9696/10000 (97%), the percentage.
        percent_sign: whether a percent sign follows the number itself.
        entry: the place among the entries of one line.
    """

    line: int
    split: Split
    epoch: float | None
    what: Literal["loss", "accuracy"]
    number: PrintedNumber
    total: int | None = None
    percent: PrintedNumber | None = None
    percent_sign: bool = False
    guessed: bool = False
    entry: int = 0


def meaning_of(name: str) -> tuple[Literal["loss", "accuracy"], Split] | None:
    """What a name stands for, and its data split; None if that isn't certain."""
    words = _WORD.findall(re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower().replace("@", ""))
    split: Split = ""
    what: Literal["loss", "accuracy"] | None = None
    for word in words:
        if word in _SPLITS:
            split = _SPLITS[word]
        elif word in _LOSSES:
            what = "loss"
        elif word in _ACCURACIES:
            what = "accuracy"
        elif word not in _PLAIN_WORDS:
            return None
    if what is None and {"cross", "entropy"} <= set(words):
        what = "loss"
    return None if what is None else (what, split)


def split_in(text: str) -> Split:
    """The data split that the last matching word of a text names."""
    words = [_SPLITS[word] for word in _WORD.findall(text.lower()) if word in _SPLITS]
    return words[-1] if words else ""
