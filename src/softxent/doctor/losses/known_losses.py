"""Recognize which loss a module or a function is: by its name, or by the value that it returned."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from softxent.doctor.arrays.check import judge_arguments
from softxent.doctor.arrays.loss_arguments import LossArguments, LossName
from softxent.doctor.diagnosis import Diagnosis
from softxent.doctor.selection import RuleSelection
from softxent.ops.options import DEFAULTS, IGNORE_INDEX, NAMES

__all__ = [
    "FUNCTIONS",
    "KnownLoss",
    "Loss",
    "known_loss",
    "loss_by_value",
    "name_of",
    "options_of",
    "with_mean",
]

Loss = Callable[[Any, Any], Any]

# In the order in which a value is compared with theirs. Of log-probabilities nll_loss and
# cross_entropy have the same value, and log-probabilities are meant for nll_loss.
FUNCTIONS: dict[LossName, Callable[..., Tensor]] = {
    "nll_loss": functional.nll_loss,
    "cross_entropy": functional.cross_entropy,
    "binary_cross_entropy": functional.binary_cross_entropy,
    "binary_cross_entropy_with_logits": functional.binary_cross_entropy_with_logits,
}
_SIGNATURES: dict[str, inspect.Signature] = {
    name: inspect.signature(function) for name, function in FUNCTIONS.items()
}
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


# The options that torch's own loss has as well; any other one changes the formula.
_OPTIONS_OF_TORCH = set(NAMES) & set(inspect.signature(torch.nn.CrossEntropyLoss).parameters)
# The rules that compare a loss with 0, with ln C or with the entropy of the targets.
_RULES_ON_SIZE = frozenset(
    {
        "cannot-overfit",
        "loss-floor",
        "start-loss",
        "stuck-loss",
        "worse-than-guessing",
        "zero-loss",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownLoss:
    """A loss whose formula is known.

    Attributes:
        name: which loss it is.
        weight, ignore_index, reduction, label_smoothing: the options that it applies.
        axis: the class axis, if it isn't torch's.
        pos_weight: of a binary loss.
        other_options: the names of its options that change the formula of torch's loss, such as
            z_loss or temperature.
        by_value: whether it was recognized by the value that it returned, not by its name.
    """

    name: LossName
    weight: Tensor | None = None
    ignore_index: int = IGNORE_INDEX
    reduction: str = "mean"
    label_smoothing: float = 0.0
    axis: int | None = None
    pos_weight: Tensor | None = None
    other_options: tuple[str, ...] = ()
    by_value: bool = False

    @property
    def binary(self) -> bool:
        """Whether each score is one decision between two classes."""
        return self.name.startswith("binary")

    def class_axis(self, scores: Tensor) -> int:
        """The class axis of scores, or of target probabilities."""
        return self.axis if self.axis is not None else min(1, scores.ndim - 1)

    def check(self, scores: Tensor, target: Tensor, rules: RuleSelection) -> Diagnosis:
        """Judge its arguments by the rules on arrays, with the classes on its own axis."""
        if self.binary:
            if self.by_value and target.numel() == scores.numel():
                target = target.reshape(scores.shape)
            arguments = LossArguments.of(scores, target, loss=self.name, reduction=self.reduction)
        else:
            arguments = LossArguments.of(
                scores,
                target,
                loss=self.name,
                axis=self.class_axis(scores),
                weight=self.weight,
                ignore_index=self.ignore_index,
                reduction=self.reduction,
                label_smoothing=self.label_smoothing,
            )
        return judge_arguments(arguments, self.rules_for(rules))

    def rules_for(self, rules: RuleSelection) -> RuleSelection:
        """The rules that know its formula: none on its size if an option changes that."""
        return rules.without(_RULES_ON_SIZE) if self.other_options else rules

    @property
    def unjudged_size(self) -> str | None:
        """What `rules_for` leaves out, for `Diagnosis.not_checked`."""
        if not self.other_options:
            return None
        return (
            f"the size of the loss: with {' and '.join(self.other_options)} it can't be compared "
            "with that of a uniform guess."
        )


def known_loss(loss: object, given: Mapping[str, Any] | None = None) -> KnownLoss | None:
    """The loss that a module or function is by its name; None for any other name.

    Args:
        loss: a module, a function, or a `functools.partial` of one.
        given: the options of a call, if the loss is a function.
    """
    options: dict[str, Any] = {}
    loss = getattr(loss, "_orig_mod", loss)  # what torch.compile wraps
    if isinstance(loss, functools.partial):
        options = dict(loss.keywords)
        loss = loss.func
    name = _NAMES.get(name_of(loss))
    if name is None:
        return None
    options |= given or {}

    def option(key: str, default: Any) -> Any:
        return options.get(key, getattr(loss, key, default))

    weight, pos_weight = option("weight", None), option("pos_weight", None)
    ignored = option("ignore_index", IGNORE_INDEX)
    return KnownLoss(
        name=name,
        weight=weight if isinstance(weight, Tensor) else None,
        ignore_index=IGNORE_INDEX if ignored is None else int(ignored),
        reduction=str(option("reduction", "mean")),
        label_smoothing=float(option("label_smoothing", 0.0)),
        axis=option("axis", None),
        pos_weight=pos_weight if isinstance(pos_weight, Tensor) else None,
        other_options=tuple(
            key
            for key, default in DEFAULTS._asdict().items()
            if key not in _OPTIONS_OF_TORCH and not _is(option(key, default), default)
        ),
    )


def _is(value: object, default: object) -> bool:
    """Whether an option has its default; a tensor, such as a learned temperature, hasn't."""
    return not isinstance(value, Tensor) and bool(value == default)


def options_of(loss: Loss, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call of one of torch's functions, or of a drop-in for it, by name."""
    signature = _SIGNATURES.get(getattr(loss, "__name__", ""))
    if signature is None:
        return {}
    known = {key: value for key, value in kwargs.items() if key in signature.parameters}
    return {**signature.bind(*args, **known).arguments, **kwargs}


def loss_by_value(value: Any, scores: Tensor, target: Tensor) -> KnownLoss | None:
    """The loss that returns this value for these arguments; None if none does.

    This recognizes a loss inside a lambda, a method or the user's own module.
    """
    if not isinstance(value, Tensor) or value.ndim:
        return None
    wanted, scores, target = float(value.detach()), scores.detach(), target.detach()
    if not math.isfinite(wanted):
        return None
    with torch.no_grad():
        for name, function in FUNCTIONS.items():
            reshaped = target
            if name.startswith("binary") and target.numel() == scores.numel():
                reshaped = target.reshape(scores.shape)
            for reduction in ("mean", "sum"):
                try:
                    own = float(function(scores, reshaped, reduction=reduction))
                except (RuntimeError, ValueError, IndexError, TypeError):
                    break  # this function refuses these arguments
                if math.isclose(own, wanted, rel_tol=1e-5, abs_tol=1e-9):
                    return KnownLoss(name=name, reduction=reduction, by_value=True)
    return None


def with_mean(loss: Loss, reduction: str) -> Loss:
    """The same loss, averaged over everything that has a target: rows, positions, labels."""

    def mean(scores: Any, target: Any) -> Any:
        value = loss(scores, target)
        if value.ndim:
            return value.mean()
        soft = target.ndim > 1 and target.is_floating_point() and target.shape == scores.shape
        return value / (len(target) if soft else target.numel()) if reduction == "sum" else value

    return mean


def name_of(loss: object) -> str:
    """The name of a loss in a sentence: of a function its own, of a module its class's."""
    return str(getattr(loss, "__name__", None) or type(loss).__name__)
