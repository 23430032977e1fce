"""`check`, `check_mean` and `check_predictions`: the rules on arrays and numbers in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from softxent.doctor.cases import Arrays, Batches, Predictions
from softxent.doctor.finding import Diagnosis
from softxent.doctor.printed import Printed
from softxent.doctor.registry import ask
from softxent.errors import ShapeError
from softxent.ops.intake import receive
from softxent.ops.spec import IGNORE_INDEX

__all__ = ["check", "check_mean", "check_predictions"]


def check(
    scores: Any,
    target: Any = None,
    *,
    loss: str = "cross_entropy",
    axis: int | None = None,
    weight: Any = None,
    ignore_index: int = IGNORE_INDEX,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    temperature: float | None = None,
    value: float | None = None,
) -> Diagnosis:
    """Look for classic mistakes in the arguments of a loss.

    Nothing is computed for you and nothing is changed: pass what you pass to the loss, and the name
    of that loss. A whole batch says more than one row.

    Args:
        scores: what the loss gets first: logits, log-probabilities or probabilities, (..., C);
            arrays or tensors. For the binary losses one number an element.
        target: class indices, class probabilities, or for the binary losses 0 to 1; or None.
        loss: `cross_entropy` (takes logits), `nll_loss` (log-probabilities), `log_loss`
            (probabilities; what Keras calls from_logits=False), `binary_cross_entropy`
            (probabilities), `binary_cross_entropy_with_logits`.
        axis: the class axis; None finds it in the target's shape, and says so where two fit.
        weight: one weight a class, (C,), as the loss gets it.
        ignore_index: as the loss gets it.
        reduction: `mean`, `sum` or `none`.
        label_smoothing: as the loss gets it.
        temperature: the temperature that was fitted on these scores, to have it judged.
        value: the loss that came out somewhere else, in nats, to have its denominator found.

    Returns:
        A `Diagnosis`; print it.

    Raises:
        ShapeError, DTypeError, OptionError: what can't be judged at all. Shapes and dtypes that a
            loss would refuse are findings, not errors.

    Cost: reads scores a few times; of more than two million numbers a sample of whole rows.

    Example:
        >>> from softxent import softmax
        >>> logits = np.array([[2.0, -1.0, 0.1], [0.3, 0.2, 1.5]])
        >>> check(softmax(logits), [0, 2]).rules
        ('softmax-twice',)
        >>> check(logits, [0, 2]).rules
        ()
    """
    case = Arrays.of(
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
    with np.errstate(all="ignore"):  # NaN and infinities are what some rules look for
        findings, asked = ask("arrays", case)
    shape = " x ".join(map(str, case.scores.shape))
    return Diagnosis.of(f"{shape} scores for {case.loss}", findings, asked, _not_checked(case))


def _not_checked(case: Arrays) -> list[str]:
    unseen = []
    if case.target is None:
        unseen.append("the target: none was given, so labels and losses were not judged.")
    elif case.kind == "unknown":
        unseen.append(
            f"the target's values: its shape {case.target.shape} fits scores of shape "
            f"{case.scores.shape} in no way that {case.loss} takes."
        )
    if case.look == "probabilities" and case.masses is not None and case.masses.size:
        sure = (case.masses == 0) | (case.masses == 1)
        if not sure.all() and np.all(case.masses >= 0) and np.all(case.masses <= 1):
            unseen.append("the order of the arguments: both are class probabilities.")
    columns = case.columns
    if columns is not None and columns.verdict == "unclear":
        unseen.append(
            f"the order of the columns: in another one the loss falls from {columns.loss:.4g} to "
            f"{columns.reordered_loss:.4g}, which may be chance before training, or a weak model "
            "whose columns stand in the wrong order."
        )
    elif columns is not None and columns.verdict == "too few rows":
        unseen.append(
            f"the order of the columns: {len(case.rows):,} rows are too few for {case.classes:,} "
            "classes, and the loss is above that of the class frequencies."
        )
    if case.value is None:
        unseen.append("the reduction: pass value= (the loss that you got) to have it recomputed.")
    if len(case.sample) < case.row_count and not case.binary:
        unseen.append(
            f"all scores: {len(case.sample):,} of {case.row_count:,} rows were looked at."
        )
    return unseen


def check_mean(reported: float | str, means: Any, counts: Any) -> Diagnosis:
    """Find out what a reported mean was divided by.

    For an epoch's loss made of batches, an accumulated step made of micro-batches, or a mean over
    machines: each has its own mean and its own number of rows (or tokens, or summed weight).

    Args:
        reported: the number in question; as text, its last digit says how exactly it was printed.
        means: the batches' means, (K,).
        counts: what each of them was divided by, (K,), > 0.

    Returns:
        A `Diagnosis`.

    Raises:
        ShapeError: means and counts of different lengths, or none.

    Example:
        >>> check_mean(3.0, means=[2.0, 4.0], counts=[64, 16]).rules
        ('mean-of-means',)
        >>> check_mean((64 * 2.0 + 16 * 4.0) / 80, means=[2.0, 4.0], counts=[64, 16]).rules
        ()
    """
    each = receive("check_mean", "means", means)[0].astype(np.float64)
    sizes = receive("check_mean", "counts", counts)[0].astype(np.float64)
    if each.ndim != 1 or each.shape != sizes.shape or not each.size:
        raise ShapeError(
            f"[check_mean] means has shape {each.shape} and counts {sizes.shape}: pass one mean "
            "and "
            "one count for each batch."
        )
    if not np.all(sizes > 0):
        raise ShapeError("[check_mean] a count is 0 or less: leave empty batches out.")
    printed = Printed.read(reported if isinstance(reported, str) else repr(float(reported)))
    if printed is None:
        raise ShapeError(f"[check_mean] reported is {reported!r}: pass a number.")
    case = Batches(
        reported=printed.value,
        half=max(printed.half, 1e-6 * abs(printed.value)),
        means=each,
        counts=sizes,
    )
    findings, asked = ask("means", case)
    return Diagnosis.of(f"the mean {reported} of {each.size} batches", findings, asked)


def check_predictions(predicted: Any, target: Any, *, correct: float | None = None) -> Diagnosis:
    """Look for a comparison of predictions that counts something else than rows.

    Args:
        predicted: predicted classes, as they are compared with the target.
        target: true classes.
        correct: how many were counted as correct, if known.

    Returns:
        A `Diagnosis`.

    Example:
        >>> check_predictions([[0], [1], [1], [1]], [0, 1, 1, 1]).rules
        ('broadcast-comparison',)
        >>> check_predictions([0, 1, 1, 1], [0, 1, 1, 1]).rules
        ()
    """
    case = Predictions(
        predicted=receive("check_predictions", "predicted", predicted)[0],
        target=receive("check_predictions", "target", target)[0],
        correct=correct,
    )
    findings, asked = ask("predictions", case)
    shapes: Sequence[tuple[int, ...]] = (case.predicted.shape, case.target.shape)
    return Diagnosis.of(f"predictions {shapes[0]} against targets {shapes[1]}", findings, asked)
