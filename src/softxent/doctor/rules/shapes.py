"""Rules on the shape and the dtype of the target."""

from __future__ import annotations

from softxent.doctor.cases import Arrays
from softxent.doctor.finding import Evidence
from softxent.doctor.registry import rule

__all__: list[str] = []


@rule("arrays")
def one_hot_integers(case: Arrays) -> Evidence | None:
    """One-hot rows of integers, where torch wants class indices, or probabilities as floats.

    Symptom: "multi-target not supported", or "Expected floating point type for target with class
    probabilities, got Long".

    Cause: one_hot gives integers. softxent takes them as class probabilities; torch refuses.

    Cure: class indices: smaller and faster. Or `.float()`.

    Failing:
        >>> doctor.check(logits, softxent.one_hot(target, 10)).rules
        ('one-hot-integers',)

    Mended:
        >>> doctor.check(logits, softxent.one_hot(target, 10).argmax(axis=-1)).rules
        ()
    """
    if case.kind != "masses" or case.target is None or case.target.dtype.kind not in "iub":
        return None
    if case.scores.ndim < 2:
        return None
    return Evidence(
        level="error" if case.tensor else "note",
        text=(
            f"The target has shape {case.target.shape}, that of the scores, and dtype "
            f"{case.target.dtype}."
        ),
        numbers={"shape": list(case.target.shape), "dtype": str(case.target.dtype)},
        confidence="certain",
        why="torch takes class indices of a smaller shape, or floats of this one"
        if case.tensor
        else "softxent takes it; torch would not",
        remedy=f"target = target.argmax({case.axis})",
        not_checked="whether every row has exactly one 1.",
    )


@rule("arrays")
def column_target(case: Arrays) -> Evidence | None:
    """Class indices come as a column, (N, 1) instead of (N,).

    Symptom: "multi-target not supported" or "0D or 1D target tensor expected".

    Cause: labels read as a table's column keep their second axis.

    Cure: drop it.

    Failing:
        >>> doctor.check(logits, target[:, None]).rules
        ('column-target',)

    Mended:
        >>> doctor.check(logits, target[:, None].squeeze(1)).rules
        ()
    """
    if case.kind != "column" or case.target is None:
        return None
    return Evidence(
        level="error",
        text=(
            f"The target has shape {case.target.shape}; class indices for scores of shape "
            f"{case.scores.shape} have shape {case.row_shape}."
        ),
        numbers={"shape": list(case.target.shape), "wanted": list(case.row_shape)},
        confidence="certain",
        why="the axis of length 1 is one too many",
        remedy="target = target.squeeze()",
        not_checked="where else the column is compared with (N,) predictions: it broadcasts.",
    )


@rule("arrays")
def unfitting_shapes(case: Arrays) -> Evidence | None:
    """The shapes of the scores and of the target don't fit.

    Symptom: "expected input batch_size to match target batch_size", or a broadcast loss.

    Cause: another number of classes or rows, or a target that was reshaped.

    Cure: one class index a row, or one probability for each score.

    Failing:
        >>> doctor.check(np.zeros((2, 3)), np.zeros((2, 4))).rules
        ('unfitting-shapes',)

    Mended:
        >>> doctor.check(logits, target).rules
        ()
    """
    if case.kind != "unknown" or case.target is None:
        return None
    shape = case.scores.shape
    wanted = f"{shape}" if case.binary else f"{case.row_shape} or {shape}"
    return Evidence(
        level="error",
        text=f"The target has shape {case.target.shape}; for scores of shape {shape} it has "
        f"shape {wanted}.",
        numbers={"shape": list(case.target.shape), "scores": list(shape)},
        confidence="certain",
        why="the loss refuses them, or broadcasts one against the other",
        remedy="print(logits.shape, target.shape)",
        not_checked="the values of the target.",
    )


@rule("arrays")
def float_indices(case: Arrays) -> Evidence | None:
    """Class indices are floating-point numbers.

    Symptom: "expected scalar type Long but found Float", or the reverse, depending on the version.

    Cause: labels from a CSV or through `torch.Tensor(...)` are floats.

    Cure: convert them to int64.

    Failing:
        >>> doctor.check(logits, target.astype(np.float32)).rules
        ('float-indices',)

    Mended:
        >>> doctor.check(logits, target.astype(np.int64)).rules
        ()
    """
    if case.kind not in ("index", "column") or case.target is None:
        return None
    if case.target.dtype.kind != "f":
        return None
    whole = case.index is not None
    return Evidence(
        level="error",
        text=(
            f"The target has the shape of class indices, {case.target.shape}, and dtype "
            f"{case.target.dtype}; "
            + ("its numbers are whole." if whole else "not all of its numbers are whole.")
        ),
        numbers={"dtype": str(case.target.dtype), "whole": whole},
        confidence="certain",
        why="class indices are integers",
        remedy="target = target.long()  # NumPy: target.astype(np.int64)",
        not_checked="nothing else."
        if whole
        else "what the numbers are: probabilities of one class? A regression's target?",
    )


@rule("arrays")
def narrow_indices(case: Arrays) -> Evidence | None:
    """Class indices are a tensor of int32, int16 or int8, which torch's own losses refuse.

    Symptom: "expected scalar type Long but found Int".

    Cause: labels made from NumPy int32 arrays or read as bytes keep their dtype.

    Cure: `.long()`. softxent takes every integer dtype.

    Failing:
        >>> import torch
        >>> short = torch.from_numpy(target.astype(np.int32))
        >>> doctor.check(torch.from_numpy(logits), short).rules
        ('narrow-indices',)

    Mended:
        >>> doctor.check(torch.from_numpy(logits), short.long()).rules
        ()
    """
    if not case.tensor or case.kind not in ("index", "column") or case.target is None:
        return None
    if case.target.dtype.kind not in "iu" or case.target.dtype.name in ("int64", "uint8"):
        return None
    return Evidence(
        level="warning",
        text=f"The target has dtype {case.target.dtype}; torch's losses take int64 (or uint8).",
        numbers={"dtype": str(case.target.dtype)},
        confidence="certain",
        why="torch raises; softxent's functions take it",
        remedy="target = target.long()",
        not_checked="which library's loss you call.",
    )
