"""Rules on the shape and dtype of the target."""

from __future__ import annotations

from softxent.doctor.arrays.loss_arguments import LossArguments
from softxent.doctor.finding import Evidence
from softxent.doctor.registry import rule

__all__: list[str] = []


@rule("arrays", severity="error")
def one_hot_integers(case: LossArguments) -> Evidence | None:
    """The target is one-hot rows of integers; torch takes class indices, or floats.

    Symptom: "multi-target not supported", or "Expected floating point type for target with class
    probabilities, got Long".

    Cause: one_hot returns integers. softxent takes them as class probabilities; torch refuses them.

    Fix: pass class indices, which are smaller and faster, or convert with `.float()`.

    Source: https://github.com/pytorch/pytorch/issues/3670

    Wrong:
        >>> doctor.check(logits, softxent.one_hot(target, 10)).rules
        ('one-hot-integers',)

    Fixed:
        >>> doctor.check(logits, softxent.one_hot(target, 10).argmax(axis=-1)).rules
        ()
    """
    if (
        case.target_kind != "probabilities"
        or case.target is None
        or case.target.dtype.kind not in "iub"
    ):
        return None
    if case.scores.ndim < 2:
        return None
    return Evidence(
        severity="error" if case.tensor else "note",
        text=(
            f"The target has the shape of the scores, {case.target.shape}, and dtype "
            f"{case.target.dtype}."
        ),
        numbers={"shape": list(case.target.shape), "dtype": str(case.target.dtype)},
        confidence="certain",
        why="torch takes class indices without the class axis, or floats of this shape"
        if case.tensor
        else "softxent takes it; torch would not",
        remedy=f"target = target.argmax({case.axis})",
        not_checked="whether every row has exactly one 1.",
    )


@rule("arrays", severity="error")
def column_target(case: LossArguments) -> Evidence | None:
    """Class indices are a column: (N, 1) instead of (N,).

    Symptom: "multi-target not supported" or "0D or 1D target tensor expected".

    Cause: labels that were read as one column of a table keep their second axis.

    Fix: remove that axis.

    Source: https://github.com/pytorch/pytorch/issues/3670

    Wrong:
        >>> doctor.check(logits, target[:, None]).rules
        ('column-target',)

    Fixed:
        >>> doctor.check(logits, target[:, None].squeeze(1)).rules
        ()
    """
    if case.target_kind != "column" or case.target is None:
        return None
    return Evidence(
        text=(
            f"The target has shape {case.target.shape}; class indices for scores of shape "
            f"{case.scores.shape} need shape {case.row_shape}."
        ),
        numbers={"shape": list(case.target.shape), "wanted": list(case.row_shape)},
        confidence="certain",
        why="there is one axis too many, of length 1",
        remedy="target = target.squeeze()",
        not_checked="whether the column is also compared with (N,) predictions: it broadcasts.",
    )


@rule("arrays", severity="error")
def unfitting_shapes(case: LossArguments) -> Evidence | None:
    """The shapes of the scores and of the target don't match.

    Symptom: "expected input batch_size to match target batch_size", or a loss that broadcasts.

    Cause: another number of classes or rows, or a target that was reshaped.

    Fix: pass one class index for each row, or one probability for each score.

    Source: https://github.com/pytorch/pytorch/issues/139031

    Wrong:
        >>> doctor.check(np.zeros((2, 3)), np.zeros((2, 4))).rules
        ('unfitting-shapes',)

    Fixed:
        >>> doctor.check(logits, target).rules
        ()
    """
    if case.target_kind != "unknown" or case.target is None:
        return None
    shape = case.scores.shape
    wanted = f"{shape}" if case.binary else f"{case.row_shape} or {shape}"
    return Evidence(
        text=(
            f"The target has shape {case.target.shape}; for scores of shape {shape} it needs shape "
            f"{wanted}."
        ),
        numbers={"shape": list(case.target.shape), "scores": list(shape)},
        confidence="certain",
        why="the loss refuses them, or broadcasts one to the other",
        remedy="print(logits.shape, target.shape)",
        not_checked="the values of the target.",
    )


@rule("arrays", severity="error")
def float_indices(case: LossArguments) -> Evidence | None:
    """Class indices are floating-point numbers.

    Symptom: "expected scalar type Long but found Float", or the reverse, depending on the version.

    Cause: labels from a CSV file or from `torch.Tensor(...)` are floats.

    Fix: convert them to int64.

    Source: https://github.com/pytorch/pytorch/issues/118280

    Wrong:
        >>> doctor.check(logits, target.astype(np.float32)).rules
        ('float-indices',)

    Fixed:
        >>> doctor.check(logits, target.astype(np.int64)).rules
        ()
    """
    if case.target_kind not in ("index", "column") or case.target is None:
        return None
    if case.target.dtype.kind != "f":
        return None
    whole = case.index is not None
    return Evidence(
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
        else "what the numbers are: probabilities of one class, or the target of a regression.",
    )


@rule("arrays", severity="warning")
def narrow_indices(case: LossArguments) -> Evidence | None:
    """Class indices are a tensor of int32, int16 or int8, which torch's own losses refuse.

    Symptom: "expected scalar type Long but found Int".

    Cause: labels from NumPy int32 arrays, or labels that were read as bytes, keep their dtype.

    Fix: convert with `.long()`. softxent takes every integer dtype.

    Source: https://github.com/pytorch/pytorch/issues/118280

    Wrong:
        >>> import torch
        >>> short = torch.from_numpy(target.astype(np.int32))
        >>> doctor.check(torch.from_numpy(logits), short).rules
        ('narrow-indices',)

    Fixed:
        >>> doctor.check(torch.from_numpy(logits), short.long()).rules
        ()
    """
    if not case.tensor or case.target_kind not in ("index", "column") or case.target is None:
        return None
    if case.target.dtype.kind not in "iu" or case.target.dtype.name in ("int64", "uint8"):
        return None
    return Evidence(
        text=f"The target has dtype {case.target.dtype}; torch's losses take int64 (or uint8).",
        numbers={"dtype": str(case.target.dtype)},
        confidence="certain",
        why="torch raises an error; softxent's functions take it",
        remedy="target = target.long()",
        not_checked="the loss of which library is called.",
    )
