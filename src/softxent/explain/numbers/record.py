"""The record of one loss: every number between the logits and the loss, then the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from softxent.explain.numbers.binary import Binary, as_binary
from softxent.explain.numbers.computed import Computed, compute
from softxent.explain.numbers.formula import loss_numbers, margin, softmax_numbers
from softxent.explain.numbers.plain import Plain, compute_plainly
from softxent.explain.numbers.rounding import freeze
from softxent.ops import Mean
from softxent.ops.options import LossOptions, Reduction

__all__ = ["Numbers"]

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Numbers:
    """Every value on the way from N rows of C logits to a loss and its gradient.

    Arrays are float64 unless stated otherwise, read-only, and always have a row axis: one row of
    logits is a batch of one. Losses are in nats. What needs a target is None without one.

    Attributes:
        dtype: the dtype of the logits: float64 (for integers too), float32, float16 or bfloat16.
        logits: (N, C), as given.
        scaled: (N, C) u, the logits after the temperature and the softcap.
        maximum: (N,) the largest u of a row.
        shifted: (N, C) u - maximum.
        exponentials: (N, C) exp(u); may overflow to inf.
        exponential_sum: (N,) their sum; may overflow to inf.
        shifted_exponentials: (N, C) exp(u - maximum), at most 1.
        shifted_sum: (N,) their sum, from 1 to C.
        lse: (N,) log of the sum of exp(u), without overflow.
        log_probabilities: (N, C) u - lse.
        probabilities: (N, C) p, exp(u - lse).
        target: (N,) int64 class indices, or (N, C) class probabilities, as given.
        ignored: (N,) bool, the rows whose target is `ignore_index`.
        mass: (N, C) t, the target distribution with weights and smoothing; 0 in ignored rows.
        mass_sum: (N,) s, the sum of t.
        target_probability: (N,) p of the target's class, NaN in ignored rows; None where the target
            is class probabilities.
        losses: (N,) each row's loss, s lse - sum_j t_j u_j + z_loss lse^2.
        z_terms: (N,) the part of it that z_loss adds, z_loss lse^2; 0 in ignored rows.
        row_gradient: (N, C) the gradient of each row's loss with respect to its logits.
        mean: the sum of the losses without their z terms, with the denominator of their mean; None
            where negative class weights make it less than 0.
        z_mean: the sum of the z terms with the number of rows that aren't ignored, over which a
            mean averages them without class weights.
        value: the reduced loss; None for reduction "none". For "mean" it is
            mean.value + z_mean.value, for "sum" mean.total + z_mean.total.
        gradient: (N, C) the gradient of `value` with respect to the logits; for reduction "none"
            the same as `row_gradient`.
        classes: (C,) class names; the class indices where no names were given.
        named: whether names were given.
        weight: (C,) class weights, or None for ones.
        ignore_index, reduction, label_smoothing, z_loss, softcap, temperature: as given.
    """

    dtype: str
    logits: Float64
    scaled: Float64
    maximum: Float64
    shifted: Float64
    exponentials: Float64
    exponential_sum: Float64
    shifted_exponentials: Float64
    shifted_sum: Float64
    lse: Float64
    log_probabilities: Float64
    probabilities: Float64
    target: npt.NDArray[Any] | None = None
    ignored: npt.NDArray[np.bool_] | None = None
    mass: Float64 | None = None
    mass_sum: Float64 | None = None
    target_probability: Float64 | None = None
    losses: Float64 | None = None
    z_terms: Float64 | None = None
    row_gradient: Float64 | None = None
    mean: Mean | None = None
    z_mean: Mean | None = None
    value: float | None = None
    gradient: Float64 | None = None
    classes: tuple[str, ...]
    named: bool
    weight: Float64 | None
    ignore_index: int | None
    reduction: Reduction
    label_smoothing: float
    z_loss: float
    softcap: float | None
    temperature: float

    @classmethod
    def of(
        cls,
        logits: Float64,
        target: npt.NDArray[Any] | None,
        options: LossOptions,
        *,
        dtype: str,
        classes: tuple[str, ...],
        named: bool,
    ) -> Self:
        """Compute the record of checked logits (N, C) and a checked target."""
        values: dict[str, Any] = softmax_numbers(logits, options)
        if target is not None:
            values |= loss_numbers(logits, target, values["probabilities"], options)
        return cls(dtype=dtype, classes=classes, named=named, **values, **options._asdict())

    def __post_init__(self) -> None:
        freeze(self)

    def replaced(
        self, logits: Float64, target: npt.NDArray[Any] | None, reduction: Reduction
    ) -> Self:
        """The record of other logits of the same dtype, with the same classes and options."""
        return self.of(
            logits,
            target,
            self.options._replace(reduction=reduction),
            dtype=self.dtype,
            classes=self.classes,
            named=self.named,
        )

    @property
    def options(self) -> LossOptions:
        """The options of the loss."""
        return LossOptions(*(getattr(self, name) for name in LossOptions._fields))

    @property
    def computed(self) -> Computed:
        """The same numbers as softxent computes them in the dtype of the logits."""
        return compute(self.logits, self.dtype, self.target, self.options)

    @property
    def plain(self) -> tuple[Plain, ...]:
        """What three plain formulas give in the dtype of the logits."""
        return compute_plainly(self.logits, self.dtype, self.target, self.options)

    @property
    def binary(self) -> Binary | None:
        """Two classes as binary cross-entropy; None for any other number of classes."""
        if len(self.classes) != 2:
            return None
        return as_binary(self.scaled, self.mass, self.mass_sum)

    @property
    def margin(self) -> Float64:
        """(N, C) how much each logit alone must change to change the prediction.

        The increase that brings a logit level with the highest; for the highest itself the decrease
        to the next one, below 0. Infinite where no finite change is enough; NaN in rows with a NaN.
        """
        return margin(self.logits)
