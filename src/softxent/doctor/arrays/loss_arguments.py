"""The arguments of one loss, as the rules see them.

The rules share a few views of the arguments, computed when first used. Large scores are sampled in
evenly spaced rows, so that checking a large batch takes milliseconds; labels are never sampled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from softxent import ops
from softxent.doctor.arrays.classify_rows import RowKind, classify_rows, sum_tolerance
from softxent.doctor.arrays.column_matching import ColumnMatch, match_columns
from softxent.errors import OptionError, ShapeError
from softxent.ops import spec
from softxent.ops.arrays import intake
from softxent.ops.options import IGNORE_INDEX, check_reduction

__all__ = ["LossArguments", "LossName", "TargetKind"]

Array = npt.NDArray[Any]
Values = npt.NDArray[np.float64]

LossName = Literal[
    "cross_entropy",
    "nll_loss",
    "log_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
]
TargetKind = Literal[
    "none", "index", "probabilities", "column", "swapped", "elementwise", "unknown"
]

_MOST_VALUES = 1 << 21  # scores that are read; 16 MB as float64


@dataclass(frozen=True, kw_only=True)
class LossArguments:
    """The arguments of one loss.

    Attributes:
        scores: as passed, in their own dtype (bfloat16 as float32).
        target: as passed, or None.
        loss: the function that they are meant for.
        axis: the class axis, >= 0.
        axes: every axis that fits the target's shape, if the caller named none.
        weight, ignore_index, reduction, label_smoothing, temperature, value: as passed to `check`.
        tensor: whether the scores are a torch tensor, so that torch's rules on dtypes apply.
        epsilon: the precision of the scores' own dtype.
    """

    scores: Array
    target: Array | None
    loss: LossName
    axis: int
    axes: tuple[int, ...]
    weight: Values | None
    ignore_index: int | None
    reduction: str
    label_smoothing: float
    temperature: float | None
    value: float | None
    tensor: bool
    epsilon: float

    @classmethod
    def of(
        cls,
        scores: Any,
        target: Any,
        *,
        loss: str,
        axis: int | None = None,
        weight: Any = None,
        ignore_index: int | None = IGNORE_INDEX,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        temperature: float | None = None,
        value: float | None = None,
    ) -> LossArguments:
        """Refuse what can't be judged, and find the class axis."""
        if loss not in get_args(LossName):
            raise OptionError(
                f"[check] loss is {loss!r}: valid are {', '.join(map(repr, get_args(LossName)))}."
            )
        array, epsilon = _receive("scores", scores)
        if array.ndim == 0:
            raise ShapeError("[check] scores is a single number: pass rows of scores, (N, C).")
        labels = None if target is None else _receive("target", target)[0]
        tensor = intake.is_tensor(scores)
        axes = () if axis is not None else _fitting_axes(array, labels)
        return cls(
            scores=array,
            target=labels,
            loss=cast(LossName, loss),
            axis=_class_axis(array, axis, axes, tensor),
            axes=axes,
            weight=None if weight is None else _receive("weight", weight)[0].astype(np.float64),
            ignore_index=None if ignore_index is None else int(ignore_index),
            reduction=check_reduction("check", "reduction", reduction),
            label_smoothing=float(label_smoothing),
            temperature=None if temperature is None else float(temperature),
            value=None if value is None else float(value),
            tensor=tensor,
            epsilon=epsilon,
        )

    @property
    def binary(self) -> bool:
        """Whether the loss is binary: each score is one decision between two classes."""
        return self.loss.startswith("binary")

    @property
    def classes(self) -> int:
        """C, the length of the class axis; 2 for a binary loss."""
        return 2 if self.binary else self.scores.shape[self.axis]

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of the scores without the class axis."""
        shape = self.scores.shape
        return shape[: self.axis] + shape[self.axis + 1 :]

    @property
    def row_count(self) -> int:
        """The number of all rows."""
        return math.prod(self.row_shape)

    @property
    def tolerance(self) -> float:
        """How far from 1 the sum of a row of probabilities may be in this dtype."""
        return sum_tolerance(self.epsilon)

    @cached_property
    def target_kind(self) -> TargetKind:
        """What the target is, by its shape and dtype."""
        target = self.target
        if target is None:
            return "none"
        if self.binary:
            return "elementwise" if target.shape == self.scores.shape else "unknown"
        if target.shape == self.scores.shape:
            return "probabilities"
        if target.shape == self.row_shape:
            return "index"
        if target.shape in ((*self.row_shape, 1), (1, *self.row_shape)):
            return "column"
        if self._is_index_of(target):
            return "swapped"
        return "unknown"

    def _is_index_of(self, target: Array) -> bool:
        """Whether the scores could be the class indices for that target's rows."""
        shape = self.scores.shape
        rows = (shape, shape[:-1]) if shape[-1:] == (1,) else (shape,)
        if target.ndim < 2 or target.shape[:-1] not in rows or target.shape[-1] < 2:
            return False
        if self.scores.dtype.kind in "iub":
            return True
        whole = self.scores == np.round(self.scores)
        return bool(
            self.scores.dtype.kind == "f"
            and self.scores.size >= 8
            and np.all(whole)
            and self.scores.min() >= 0
            and self.scores.max() < target.shape[-1]
        )

    @cached_property
    def index(self) -> npt.NDArray[np.int64] | None:
        """All class indices, flat; None if the target isn't made of whole numbers."""
        if self.target_kind not in ("index", "column") or self.target is None:
            return None
        flat = self.target.reshape(-1)
        if flat.dtype.kind == "f":
            if not np.all(np.isfinite(flat)) or np.any(flat != np.round(flat)):
                return None
        elif flat.dtype.kind not in "iub":
            return None
        return flat.astype(np.int64)

    @cached_property
    def kept(self) -> npt.NDArray[np.bool_] | None:
        """Which entries of `index` are not ignored."""
        return None if self.index is None else self.index != self.ignore_index

    @cached_property
    def sampled(self) -> npt.NDArray[np.int64]:
        """The numbers of the rows whose scores are read."""
        most = max(256, _MOST_VALUES // max(1, self.classes))
        count = self.row_count
        if count <= most:
            return np.arange(count)
        return np.linspace(0, count - 1, most).astype(np.int64)

    @cached_property
    def rows(self) -> Values:
        """(M, C) scores of the sampled rows, (M, 1) for a binary loss, without ignored rows."""
        if self.binary:
            flat = self.scores.reshape(-1, 1)
        else:
            flat = np.moveaxis(self.scores, self.axis, -1).reshape(self.row_count, self.classes)
        return flat[self.row_numbers].astype(np.float64)

    @cached_property
    def row_numbers(self) -> npt.NDArray[np.int64]:
        """The numbers of the rows in `rows`: sampled, and not ignored."""
        if self.binary:
            count = self.scores.size
            return np.linspace(0, count - 1, min(count, _MOST_VALUES)).astype(np.int64)
        if self.kept is None:
            return self.sampled
        return self.sampled[self.kept[self.sampled]]

    @cached_property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """(M,) class indices of `rows`; None if there are none or one is out of range."""
        if self.index is None:
            return None
        labels = self.index[self.row_numbers]
        if not labels.size or labels.min() < 0 or labels.max() >= self.classes:
            return None
        return labels

    @cached_property
    def soft_target(self) -> Values | None:
        """(M, C) class probabilities of `rows`; None if the target is something else."""
        if self.target_kind != "probabilities" or self.target is None:
            return None
        flat = np.moveaxis(self.target, self.axis, -1).reshape(self.row_count, self.classes)
        return flat[self.row_numbers].astype(np.float64)

    @cached_property
    def row_kind(self) -> RowKind:
        """What the rows of scores consist of."""
        return classify_rows(self.rows, self.tolerance)

    @cached_property
    def column_match(self) -> ColumnMatch | None:
        """How the columns fit the labels in another order; None if the given order fits."""
        if self.labels is None or self.classes < 2 or not np.all(np.isfinite(self.rows)):
            return None
        if self.loss == "cross_entropy" and self.row_kind != "probabilities":
            return match_columns(self.rows, self.labels)
        if self.loss == "log_loss" and self.row_kind == "probabilities":
            return match_columns(np.log(np.maximum(self.rows, 1e-12)), self.labels)
        return None

    @cached_property
    def normalized_axis(self) -> int | None:
        """An axis other than the class axis along which the scores are probabilities."""
        if self.binary or self.scores.ndim < 2 or self.row_kind == "probabilities":
            return None
        whole = self.scores.astype(np.float64)
        if self.loss == "nll_loss":
            with np.errstate(over="ignore"):
                whole = np.exp(whole)
        for axis in range(self.scores.ndim):
            if (
                axis != self.axis
                and self.scores.shape[axis] > 1
                and classify_rows(np.moveaxis(whole, axis, -1), self.tolerance) == "probabilities"
            ):
                return axis
        return None

    def mean_loss(self, rows: Values, labels: npt.NDArray[np.int64] | None = None) -> float:
        """The plain mean of cross_entropy over rows of logits, in nats; NaN without labels."""
        labels = self.labels if labels is None else labels
        if labels is None or not np.all(np.isfinite(rows)):
            return math.nan
        return float(ops.cross_entropy(rows, labels))


def _receive(name: str, x: Any) -> tuple[Array, float]:
    """An array for the rules, and the precision of the dtype in which it was passed."""
    if intake.is_tensor(x) and str(x.dtype) == "torch.bfloat16":
        return x.detach().float().cpu().numpy(), 2.0**-7
    array, _ = intake.receive("check", name, x)
    if array.dtype.name == "bfloat16":
        return array.astype(np.float32), 2.0**-7
    return array, float(np.finfo(array.dtype).eps) if array.dtype.kind == "f" else 0.0


def _fitting_axes(scores: Array, target: Array | None) -> tuple[int, ...]:
    if target is None:
        return ()
    return tuple(
        axis
        for axis in range(scores.ndim)
        if scores.shape[:axis] + scores.shape[axis + 1 :] == target.shape
    )


def _class_axis(scores: Array, axis: int | None, fitting: Sequence[int], tensor: bool) -> int:
    """The axis that was named; or the one that torch (axis 1) or NumPy users (the last) mean."""
    if axis is not None:
        return spec.check_axis("check", axis, scores.ndim, "scores")
    usual = 1 if tensor and scores.ndim > 1 else scores.ndim - 1
    # With (N, N) scores and N labels nobody means any axis but the last.
    if scores.ndim <= 2 or usual in fitting or not fitting:
        return usual
    return fitting[-1]
