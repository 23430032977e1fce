"""Which loss a module or a function is, and what the rules want to know of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from softxent.doctor.cases import LossName
from softxent.ops.spec import IGNORE_INDEX

__all__ = ["Loss", "loss_name", "options_of", "row_mean", "title"]

_NAMES: dict[str, LossName] = {
    "CrossEntropyLoss": "cross_entropy",
    "cross_entropy": "cross_entropy",
    "NLLLoss": "nll_loss",
    "nll_loss": "nll_loss",
    "log_loss": "log_loss",
    "BCELoss": "binary_cross_entropy",
    "binary_cross_entropy": "binary_cross_entropy",
    "BCEWithLogitsLoss": "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits": "binary_cross_entropy_with_logits",
}
Loss = Callable[[Any, Any], Any]


def loss_name(loss: object) -> LossName | None:
    """Which of the known losses a module or function is, by its name."""
    name = getattr(loss, "__name__", None) or type(loss).__name__
    return _NAMES.get(name)


def options_of(loss: object) -> dict[str, Any]:
    """The options of a loss module that the rules want to know."""
    weight = getattr(loss, "weight", None)
    return {
        "weight": weight if isinstance(weight, Tensor) else None,
        "ignore_index": getattr(loss, "ignore_index", IGNORE_INDEX),
        "reduction": getattr(loss, "reduction", "mean"),
        "label_smoothing": getattr(loss, "label_smoothing", 0.0),
    }


def row_mean(loss: Loss, value: Tensor, target: Tensor) -> Tensor:
    """The mean over the rows of what a loss returned, whatever its reduction."""
    if value.ndim:
        return value.mean()
    return value / len(target) if getattr(loss, "reduction", "mean") == "sum" else value


def title(loss: object) -> str:
    """What to call a loss in a sentence."""
    return str(getattr(loss, "__name__", None) or type(loss).__name__)
