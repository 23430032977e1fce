"""The names of numbers in logs: which are a loss or an accuracy, and of which data split."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias

from softxent.doctor.logs.log import Split
from softxent.doctor.printed_number import PrintedNumber

__all__ = ["NamedNumber", "Quantity", "meaning_of", "split_in"]

# What a number is. Of losses that may not be cross-entropies only NaN and infinities are kept; a
# missing loss is an empty field or a null where other entries of the same kind have a loss.
Quantity: TypeAlias = Literal["loss", "accuracy", "gradient norm", "other loss", "missing loss"]

_SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "te"), "test"),
}
_LOSSES = {"loss", "nll", "xent", "logloss", "mlogloss", "celoss", "crossentropy"}
_ACCURACIES = {"accuracy", "acc", "acc1", "top1", "correct"}
_PLAIN_WORDS = {
    *("average", "avg", "mean", "running", "epoch", "step", "total", "batch", "set", "final"),
    *("model", "categorical", "sparse", "binary", "cross", "entropy", "ce", "log", "the"),
    *("overall", "error", "is", "multiclass", "multi", "top", "1", "top1"),
    *("metric", "metrics", "monitored"),
}
# Beside "loss" these words name something else than the loss of now, such as `best val loss: inf`
# before the first epoch, or a spread, which is NaN for a single value.
_NO_LOSS = {
    *("best", "min", "minimum", "lowest", "max", "previous", "prev", "old", "initial"),
    *("improved", "decreased", "increased", "from", "to", "than", "target", "patience"),
    *("scale", "scaler", "scaling", "weight", "weights", "coef", "coefficient", "factor", "ratio"),
    *("std", "var", "variance", "stderr", "sem", "delta", "diff", "difference", "change", "gap"),
    *("threshold", "limit", "clip", "smoothing", "zscore", "count", "num", "number"),
}
_GRADIENT_NORMS = {"gnorm", "gradnorm"}
_WORD = re.compile(r"[a-z]+\d*|\d+")


class NamedNumber(NamedTuple):
    """A number with a known name, before it is known whether accuracies are percentages.

    Attributes:
        line, split, epoch, guessed: as in `Row`.
        what: which quantity it is.
        number: as printed.
        total: of an accuracy like 9696/10000, the second number.
        percent: of an accuracy like 9696/10000 (97%), the percentage.
        percent_sign: whether a percent sign follows the number itself.
        entry: the place among the entries of one line.
        name: as printed.
        beside: the names of all numbers in the same entry of a table or dict, its own included.
    """

    line: int
    split: Split
    epoch: float | None
    what: Quantity
    number: PrintedNumber
    total: int | None = None
    percent: PrintedNumber | None = None
    percent_sign: bool = False
    guessed: bool = False
    entry: int = 0
    name: str = ""
    beside: frozenset[str] = frozenset()


def meaning_of(name: str) -> tuple[Quantity, Split] | None:
    """What a name stands for, and its data split; None if that isn't certain.

    A name that contains a loss and unknown words, such as `box_loss`, is an "other loss".
    """
    words = _words(name)
    split: Split = ""
    what: Quantity | None = None
    unknown = False
    for before, word in zip(["", *words], words, strict=False):
        if word in _SPLITS:
            split = _SPLITS[word]
        elif word in _LOSSES:
            what = "loss"
        elif word in _ACCURACIES:
            what = "accuracy"
        elif word not in _PLAIN_WORDS and not (word.isdigit() and before in _SPLITS):
            unknown = True
    if not unknown:
        if what is None and {"cross", "entropy"} <= set(words):
            what = "loss"
        return None if what is None else (what, split)
    if _is_gradient_norm(words):
        return "gradient norm", split
    if any(word.endswith("loss") for word in words) and not _NO_LOSS & set(words):
        return "other loss", split
    return None


def _words(name: str) -> list[str]:
    name = re.sub(r"[/_]dataloader_idx_\d+$", "", name)  # Lightning, with several data loaders
    return _WORD.findall(re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower().replace("@", ""))


def _is_gradient_norm(words: list[str]) -> bool:
    known = set(words)
    return bool(known & _GRADIENT_NORMS) or (
        "norm" in known and bool(known & {"grad", "gradient", "grads", "gradients"})
    )


def split_in(text: str) -> Split:
    """The data split that the last matching word of a text names."""
    words = [_SPLITS[word] for word in _WORD.findall(text.lower()) if word in _SPLITS]
    return words[-1] if words else ""
