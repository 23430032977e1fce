"""The formula decomposed into torch operations: for any device and any derivative.

The class with the largest logit is kept apart from the others, in the value and in the graph: with
the others' tail sum `tail`, log p of the largest is -log1p(tail) and its derivative
-tail / (1 + tail). Both stay exact where p itself rounds to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from softxent.ops.spec import Loss
from softxent.ops.tensors.dtypes import computed
from softxent.ops.tensors.reductions import reduce
from softxent.ops.tensors.routing import is_ordinary, is_traced

__all__ = [
    "Row",
    "RowLosses",
    "binary_cross_entropy",
    "cross_entropy",
    "cross_entropy_with_stats",
    "logsumexp",
    "nll_loss",
    "row_losses",
    "scaled",
    "softmax",
    "softmax_gradient",
    "weighted",
    "z_term",
]


def softmax(x: Tensor, axis: int, *, log: bool) -> Tensor:
    """Softmax, or its logarithm, over an axis >= 0."""
    if not log and x.device.type != "cpu":
        return torch.softmax(x, axis)  # one kernel; on a CPU it sums a long row one by one
    row = Row(computed(x.movedim(axis, -1)))
    if log:
        result = row.below - row.log_sum[..., None]
    else:
        result = row.below.exp() / (1 + row.tail[..., None])
    return result.movedim(-1, axis).to(x.dtype)


def softmax_gradient(
    upstream: Tensor, saved: Tensor, axis: int, *, log: bool, from_result: bool
) -> Tensor:
    """The gradient of softmax or log-softmax from their logits or from their result."""
    g, x = computed(upstream), computed(saved)
    p = x if from_result and not log else softmax(x, axis, log=False)  # of log p it is p
    if log:
        gradient = g - p * g.sum(dim=axis, keepdim=True)
    else:
        g = torch.where(p == 0, torch.zeros_like(g), g)  # a masked class adds nothing
        gradient = p * (g - (g * p).sum(dim=axis, keepdim=True))
    return gradient.to(saved.dtype)


def logsumexp(x: Tensor, axis: int) -> Tensor:
    """Logsumexp over an axis >= 0."""
    row = Row(computed(x.movedim(axis, -1)))
    return torch.where(row.maximum.isfinite(), row.lse, row.maximum).to(x.dtype)


class Row:
    """The sums of rows u (..., C): what softmax, loss and entropy are computed from.

    Attributes:
        maximum: (...), the largest u.
        below: (..., C), u - maximum.
        tail: (...), the sum of exp(below) without the largest class's own term.
        log_sum: (...), log sum exp(below) = log1p(tail).
    """

    def __init__(self, u: Tensor) -> None:  # (..., C), float32 or float64
        if u.shape[-1] == 0:
            nothing = u.sum(dim=-1)
            self.maximum = nothing - torch.inf
            self.below = u
            self.tail = self.log_sum = nothing + torch.nan
            return
        maximum, at = u.max(dim=-1, keepdim=True)
        # A row without a finite maximum is NaN, and so is all of its gradient.
        broken = torch.zeros_like(maximum).masked_fill(~maximum.isfinite(), torch.nan)
        u = u + broken
        largest = _positions(u) == at
        # At the largest class the difference is 0 for any logits. It is taken out of the graph:
        # otherwise autograd would add 1 - tail / (1 + tail) to -1 and lose the tail.
        self.below = torch.where(largest, torch.zeros_like(u), u - maximum)
        tail = torch.where(largest, torch.zeros_like(u), self.below.exp()).sum(dim=-1)
        self.maximum = maximum.squeeze(-1)
        self.tail = tail + broken.squeeze(-1)
        self.log_sum = self.tail.log1p()

    @property
    def lse(self) -> Tensor:
        """Log sum exp(u)."""
        return self.maximum + self.log_sum

    @property
    def entropy(self) -> Tensor:
        """-sum p log p."""
        cost = self.log_sum[..., None] - self.below
        return _expected_cost((-cost).exp(), self)


def cross_entropy(loss: Loss, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """The reduced loss."""
    return row_losses(loss, logits, target, weight).reduced(loss)


def cross_entropy_with_stats(
    loss: Loss, logits: Tensor, target: Tensor, weight: Tensor | None, k: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The reduced loss; per row lse, entropy, argmax, and whether the target is in the top k."""
    losses = row_losses(loss, logits, target, weight)
    z, row = logits.detach().movedim(loss.axis, -1), losses.row
    kept = None
    if loss.target_kind == "index":
        kept = _kept(loss, target)
        y = torch.where(kept, target, torch.zeros_like(target)).long()
    else:
        y = target.detach().movedim(loss.axis, -1).argmax(dim=-1)
    argmax, hits = z.argmax(dim=-1), _rank(z, y) < k
    lse, entropy = row.lse, row.entropy
    if kept is not None:
        zero = torch.zeros_like(lse)
        lse, entropy = torch.where(kept, lse, zero), torch.where(kept, entropy, zero)
        argmax, hits = argmax.masked_fill(~kept, -1), hits & kept
    return losses.reduced(loss), lse, entropy, argmax, hits


def _rank(z: Tensor, y: Tensor) -> Tensor:
    """How many classes precede class y: larger, or equal and earlier; NaN is the largest."""
    at = z.gather(-1, y[..., None])
    larger = (z > at) | (z.isnan() & ~at.isnan())
    equal = (z == at) | (z.isnan() & at.isnan())
    earlier = _positions(z) < y[..., None]
    return (larger | (equal & earlier)).sum(dim=-1)


def z_term(loss: Loss, target: Tensor, lse: Tensor) -> Tensor:
    """The part of the reduced loss that z_loss adds; `lse` is 0 in ignored rows."""
    if loss.options.z_loss == 0:
        return lse.new_zeros(loss.rows if loss.options.reduction == "none" else ())
    terms = loss.options.z_loss * lse.double() ** 2
    kept = float(terms.numel()) if loss.target_kind != "index" else _kept(loss, target).sum()
    return reduce(loss, terms, kept).to(lse.dtype)


@dataclass(frozen=True, slots=True)
class RowLosses:
    """The losses of rows, unreduced.

    Attributes:
        losses: sum_j t_j (lse - u_j), 0 in ignored rows.
        denominator: what `mean` divides them by.
        z_terms: z_loss lse^2, 0 in ignored rows; None without z_loss.
        kept: the number of kept rows, by which `mean` divides the z terms.
        row: the rows' sums.
    """

    losses: Tensor
    denominator: Tensor | float
    z_terms: Tensor | None
    kept: Tensor | float
    row: Row

    def reduced(self, loss: Loss) -> Tensor:
        """The losses as `reduction` says."""
        z_terms = None if self.z_terms is None else (self.z_terms, self.kept)
        return reduce(loss, self.losses, self.denominator, z_terms)


def row_losses(loss: Loss, logits: Tensor, target: Tensor, weight: Tensor | None) -> RowLosses:
    """The loss of each row of logits."""
    options = loss.options
    z = computed(logits.movedim(loss.axis, -1))
    w = None if weight is None else weight.to(z.dtype)
    kept: Tensor | None = None
    denominator: Tensor | float
    count: Tensor | float
    if loss.target_kind == "index":
        target = target.long()
        kept = _kept(loss, target)
        # An ignored row may hold NaN or inf: it leaves the graph before it is used.
        z = torch.where(kept[..., None], z, torch.zeros_like(z))
        target = torch.where(kept, target, torch.zeros_like(target))
    row = Row(scaled(loss, z))

    e = options.label_smoothing
    if kept is None:
        q = target.movedim(loss.axis, -1).to(z.dtype)
        t = q if e == 0 else (1 - e) * q + e / loss.classes
        losses = _expected_cost(t if w is None else w * t, row)
        count = denominator = losses.numel()
    else:
        w_y = torch.ones_like(row.log_sum) if w is None else _at(w.expand_as(z), target)
        losses = w_y * (row.log_sum - _at(row.below, target))
        # A class of weight 0 costs nothing, even where it is masked.
        losses = losses.masked_fill((w_y == 0) & row.log_sum.isfinite(), 0.0)
        if e != 0:
            uniform = torch.ones_like(z) if w is None else w.expand_as(z)
            losses = (1 - e) * losses + e / loss.classes * _expected_cost(uniform, row)
        denominator = torch.where(kept, w_y, torch.zeros_like(w_y)).sum()
        count = kept.sum()
    z_terms = options.z_loss * row.lse**2 if options.z_loss != 0 else None
    if kept is not None:
        losses = torch.where(kept, losses, torch.zeros_like(losses))
        if z_terms is not None:
            z_terms = torch.where(kept, z_terms, torch.zeros_like(z_terms))
    return RowLosses(losses, denominator, z_terms, count, row)


def scaled(loss: Loss, z: Tensor) -> Tensor:
    """The logits under temperature and softcap: u; an infinite logit stays infinite."""
    options = loss.options
    u = z if options.temperature == 1 else z / options.temperature
    if options.softcap is None:
        return u
    capped = options.softcap * torch.tanh(u / options.softcap)
    return torch.where(z.isinf(), z.detach(), capped)


def _expected_cost(t: Tensor, row: Row) -> Tensor:
    """sum_j t_j (lse - u_j) of a target distribution t, with 0 log 0 = 0."""
    if t.shape[-1] == 0:
        return row.log_sum
    cost = row.log_sum[..., None] - row.below
    masked = (t == 0) & cost.isposinf()
    return (t * cost.masked_fill(masked, 0.0)).masked_fill(masked, 0.0).sum(dim=-1)


def nll_loss(loss: Loss, log_probs: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """The reduction of -w_y log p_y of log-probabilities (..., C)."""
    target = target.long()
    kept = _kept(loss, target)
    index = torch.where(kept, target, torch.zeros_like(target))
    picked = _at(log_probs, index)
    w = torch.ones_like(picked)
    if weight is not None:
        w = _at(weight.to(log_probs.dtype).expand_as(log_probs), index)
    w = torch.where(kept, w, torch.zeros_like(w))
    picked = torch.where(w == 0, torch.zeros_like(w), picked)
    return reduce(loss, 0 - w * picked, w.sum())  # 0.0 for log p = 0, never -0.0


def binary_cross_entropy(
    loss: Loss,
    logits: Tensor,
    target: Tensor,
    pos_weight: Tensor | None,
    weight: Tensor | None,
) -> Tensor:
    """The reduced loss of two classes: logits [0, x], target distribution [1 - y, v y]."""
    x = computed(logits)
    y = target.to(x.dtype)
    pairs = torch.stack([torch.zeros_like(x), x], -1)
    t = torch.stack([1 - y, weighted(y, pos_weight)], -1)
    losses = weighted(_expected_cost(t, Row(pairs)), weight)
    return reduce(loss, losses, losses.numel())


def weighted(x: Tensor, weight: Tensor | None) -> Tensor:
    """Each element times its weight; 0 where the weight is 0, even of inf."""
    if weight is None:
        return x
    zero = torch.zeros_like(x)
    return torch.where(weight == 0, zero, torch.where(weight == 0, zero, x) * weight)


def _positions(x: Tensor) -> Tensor:
    """0 to C - 1 along the last axis, to be broadcast against x (..., C)."""
    if is_ordinary(x) or is_traced():
        return torch.arange(x.shape[-1], device=x.device)
    # Derived from x, and so of its kind: a DTensor can't be combined with an ordinary tensor.
    return torch.ones_like(x, dtype=torch.int64).cumsum(dim=-1) - 1


def _kept(loss: Loss, target: Tensor) -> Tensor:
    """Which rows aren't ignored."""
    ignore_index = loss.options.ignore_index
    if ignore_index is None:
        return torch.ones_like(target, dtype=torch.bool)
    return target.ne(ignore_index)


def _at(x: Tensor, index: Tensor) -> Tensor:
    """One entry of each row (..., C)."""
    if x.shape[-1] == 0:  # every row is ignored
        return x.sum(dim=-1)
    return x.gather(-1, index[..., None]).squeeze(-1)
