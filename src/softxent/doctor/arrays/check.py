"""`check`: detect classic mistakes in the arguments of a loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from softxent.doctor.arrays.loss_arguments import LossArguments
from softxent.doctor.diagnosis import Diagnosis
from softxent.doctor.selection import RuleNames, RuleSelection
from softxent.ops.options import IGNORE_INDEX, Reduction

__all__ = ["check", "judge_arguments"]


def check(
    scores: Any,
    target: Any = None,
    *,
    loss: str = "cross_entropy",
    axis: int | None = None,
    weight: Any = None,
    ignore_index: int | None = IGNORE_INDEX,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    temperature: float | None = None,
    value: float | None = None,
    select: RuleNames | None = None,
    ignore: RuleNames = (),
) -> Diagnosis:
    """Detect classic mistakes in the arguments of a loss.

    Pass what you pass to the loss, and the name of that loss. Nothing is changed. The more rows,
    the more certain the findings: pass a whole batch.

    Args:
        scores: the first argument of the loss: logits, log-probabilities or probabilities,
            (..., C), an array or a tensor. For the binary losses any shape.
        target: class indices, class probabilities, or for the binary losses numbers in [0, 1];
            None if there is none.
        loss: `cross_entropy` (takes logits), `nll_loss` (log-probabilities), `log_loss`
            (probabilities; from_logits=False in Keras), `binary_cross_entropy` (probabilities) or
            `binary_cross_entropy_with_logits`.
        axis: the class axis; None infers it from the target's shape. A finding says if two fit.
        weight: one weight per class, (C,), as the loss gets it.
        ignore_index: as the loss gets it.
        reduction: `mean`, `sum` or `none`.
        label_smoothing: as the loss gets it.
        temperature: a temperature that was fitted on these logits, to judge the fit.
        value: a loss that was computed elsewhere, in nats, to find what it was divided by.
        select: names of the rules to run, as a list or with commas between them; None for all.
        ignore: names of rules that don't run.

    Returns:
        A `Diagnosis`; print it.

    Raises:
        ShapeError, DTypeError, OptionError: the arguments can't be judged at all, or a name is no
            rule's. Shapes and dtypes that a loss would refuse are findings, not errors.

    Cost: a few passes over the scores; of more than two million numbers, over a sample of rows.

    Example:
        >>> from softxent import softmax
        >>> logits = np.array([[2.0, -1.0, 0.1], [0.3, 0.2, 1.5]])
        >>> check(softmax(logits), [0, 2]).rules
        ('softmax-twice',)
        >>> check(logits, [0, 2]).rules
        ()
        >>> check(softmax(logits), [0, 2], ignore=["softmax-twice"]).rules
        ()

    See Also:
        examine: the same for a torch model and its loss. watch: for a training loop.
    """
    rules = RuleSelection.of("check", "arrays", select=select, ignore=ignore)
    arguments = LossArguments.of(
        scores,
        target,
        loss=loss,
        axis=axis,
        weight=weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
        temperature=temperature,
        value=value,
    )
    return judge_arguments(arguments, rules)


def judge_arguments(arguments: LossArguments, rules: RuleSelection) -> Diagnosis:
    """Run the selected rules on the arguments of a loss."""
    with np.errstate(all="ignore"):  # some rules look for NaN and infinities
        findings, checked = rules.judge("arrays", arguments)
        not_checked = list(_not_checked(arguments, rules))
    shape = " x ".join(map(str, arguments.scores.shape))
    return Diagnosis.of(f"{shape} scores for {arguments.loss}", findings, checked, not_checked)


def _not_checked(case: LossArguments, rules: RuleSelection) -> Iterator[str]:
    """What the selected rules could not judge."""
    if case.target is None:
        yield "the target: none was passed, so neither labels nor losses were checked."
    elif case.target_kind == "unknown":
        yield (
            f"the values of the target: its shape {case.target.shape} doesn't fit scores of shape "
            f"{case.scores.shape} in any way that {case.loss} accepts."
        )
    if "swapped-arguments" in rules and _both_are_probabilities(case):
        yield "the order of the arguments: both are class probabilities."
    if "column-order" in rules and case.column_match is not None:
        match = case.column_match
        if match.verdict == "unclear":
            yield (
                "the order of the columns: in another order the loss falls from "
                f"{match.loss:.4g} to {match.reordered_loss:.4g}. Either that is chance, as before "
                "training, or a weak model's columns are in the wrong order."
            )
        elif match.verdict == "too few rows":
            yield (
                f"the order of the columns: {len(case.rows):,} rows are too few for "
                f"{case.classes:,} classes, and the loss is above that of predicting the class "
                "frequencies."
            )
    if "wrong-denominator" in rules and case.value is None:
        yield "the reduction: pass value= (the loss that you got) to have it recomputed."
    if len(case.sampled) < case.row_count and not case.binary:
        yield f"all scores: {len(case.sampled):,} of {case.row_count:,} rows were sampled."


def _both_are_probabilities(case: LossArguments) -> bool:
    """Whether scores and target are soft class probabilities, so that nothing tells them apart."""
    soft = case.soft_target
    if case.row_kind != "probabilities" or soft is None or not soft.size:
        return False
    one_hot = (soft == 0) | (soft == 1)
    return not one_hot.all() and bool(np.all(soft >= 0) and np.all(soft <= 1))
