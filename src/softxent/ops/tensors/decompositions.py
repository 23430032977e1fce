"""The formula composed of torch's own operations: for any device and any derivative.

The class whose logit is largest is kept apart from the others, in the value and in the graph: with
the others' mass `rest`, log p of the largest is -log1p(rest) and its derivative -rest / (1 + rest),
both exact where p itself rounds to 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from softxent.ops import spec

__all__ = [
    "Row",
    "binary_cross_entropy",
    "computed",
    "cross_entropy",
    "cross_entropy_with_stats",
    "dtype_of",
    "expected",
    "logsumexp",
    "pick",
    "reduce",
    "row_losses",
    "scaled",
    "softmax",
]


def computed(x: Tensor) -> Tensor:
    """Half precision is computed in float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def dtype_of(x: Tensor) -> torch.dtype:
    """The dtype in which these logits are computed, which is their loss's."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def softmax(x: Tensor, axis: int, *, log: bool) -> Tensor:
    """Softmax, or its logarithm, over an axis >= 0."""
    if not log and x.device.type != "cpu":
        return torch.softmax(x, axis)  # one kernel; on a CPU it adds up a long row one by one
    u = Row(computed(x.movedim(axis, -1)))
    result = u.below - u.log_sum[..., None] if log else u.below.exp() / (1 + u.rest[..., None])
    return result.movedim(-1, axis).to(x.dtype)


def logsumexp(x: Tensor, axis: int) -> Tensor:
    """Logsumexp over an axis >= 0."""
    u = Row(computed(x.movedim(axis, -1)))
    return torch.where(u.maximum.isfinite(), u.lse, u.maximum).to(x.dtype)


class Row:
    """What a row u comes to: its maximum, u below it, and log sum exp(u - maximum).

    `rest` is that sum without the maximum's own term.
    """

    def __init__(self, u: Tensor) -> None:  # (..., C), float32 or float64
        if u.shape[-1] == 0:
            nothing = u.sum(dim=-1)
            self.maximum = nothing - torch.inf
            self.below = u
            self.rest = self.log_sum = nothing + torch.nan
            return
        maximum, at = u.max(dim=-1, keepdim=True)
        # A row without a finite maximum is NaN, and so is all of its gradient.
        broken = torch.where(maximum.isfinite(), 0.0, torch.nan)
        u = u + broken
        top = torch.arange(u.shape[-1], device=u.device) == at
        # At the top the difference is 0 whatever the logits: it is taken out of the graph, or
        # autograd would add 1 - rest / (1 + rest) to -1 and lose rest.
        self.below = torch.where(top, torch.zeros_like(u), u - maximum)
        rest = torch.where(top, torch.zeros_like(u), self.below.exp()).sum(dim=-1)
        self.maximum = maximum.squeeze(-1)
        self.rest = rest + broken.squeeze(-1)
        self.log_sum = self.rest.log1p()

    @property
    def lse(self) -> Tensor:
        """Log sum exp(u)."""
        return self.maximum + self.log_sum

    @property
    def entropy(self) -> Tensor:
        """-sum p log p."""
        cost = self.log_sum[..., None] - self.below
        return expected((-cost).exp(), self)


def cross_entropy(loss: spec.Loss, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """The reduced loss."""
    losses, _, denominator = row_losses(loss, logits, target, weight)
    return reduce(loss, losses, denominator)


def cross_entropy_with_stats(
    loss: spec.Loss, logits: Tensor, target: Tensor, weight: Tensor | None, k: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The reduced loss; and a row its lse, its entropy, its largest class, and whether it hits."""
    losses, row, denominator = row_losses(loss, logits, target, weight)
    z = logits.detach().movedim(loss.axis, -1)
    kept = None
    if loss.target_kind == "index":
        kept = _kept(loss, target)
        y = torch.where(kept, target, torch.zeros_like(target)).long()
    else:
        y = target.detach().movedim(loss.axis, -1).argmax(dim=-1)
    argmax, hits = z.argmax(dim=-1), _before(z, y) < k
    lse, entropy = row.lse, row.entropy
    if kept is not None:
        zero = torch.zeros_like(lse)
        lse, entropy = torch.where(kept, lse, zero), torch.where(kept, entropy, zero)
        argmax, hits = torch.where(kept, argmax, -1), hits & kept
    return reduce(loss, losses, denominator), lse, entropy, argmax, hits


def _before(z: Tensor, y: Tensor) -> Tensor:
    """How many classes come before class y: larger, or as large and earlier; NaN is the largest."""
    at = z.gather(-1, y[..., None])
    larger = (z > at) | (z.isnan() & ~at.isnan())
    equal = (z == at) | (z.isnan() & at.isnan())
    earlier = torch.arange(z.shape[-1], device=z.device) < y[..., None]
    return (larger | (equal & earlier)).sum(dim=-1)


def row_losses(
    loss: spec.Loss, logits: Tensor, target: Tensor, weight: Tensor | None
) -> tuple[Tensor, Row, Tensor | float]:
    """Losses a row, what is known of the rows, and what `mean` divides by."""
    z = computed(logits.movedim(loss.axis, -1))
    w = None if weight is None else weight.to(z.dtype)
    kept: Tensor | None = None
    denominator: Tensor | float
    if loss.target_kind == "index":
        target = target.long()
        kept = _kept(loss, target)
        # An ignored row may hold anything: it leaves the graph before it is used.
        z = torch.where(kept[..., None], z, torch.zeros_like(z))
        target = torch.where(kept, target, torch.zeros_like(target))
    row = Row(scaled(loss, z))

    e = loss.label_smoothing
    if kept is None:
        q = target.movedim(loss.axis, -1).to(z.dtype)
        mass = q if e == 0 else (1 - e) * q + e / loss.classes
        losses = expected(mass if w is None else w * mass, row)
        denominator = losses.numel()
    else:
        at_target = torch.ones_like(row.log_sum) if w is None else _at(w.expand_as(z), target)
        losses = at_target * (row.log_sum - _at(row.below, target))
        # A class of weight 0 costs nothing, even where it is masked.
        losses = torch.where((at_target == 0) & row.log_sum.isfinite(), 0.0, losses)
        if e != 0:
            uniform = torch.ones_like(z) if w is None else w.expand_as(z)
            losses = (1 - e) * losses + e / loss.classes * expected(uniform, row)
        denominator = torch.where(kept, at_target, torch.zeros_like(at_target)).sum()
    if loss.z_loss != 0:
        losses = losses + loss.z_loss * row.lse**2
    if kept is not None:
        losses = torch.where(kept, losses, torch.zeros_like(losses))
    return losses, row, denominator


def scaled(loss: spec.Loss, z: Tensor) -> Tensor:
    """The logits under temperature and softcap."""
    u = z if loss.temperature == 1 else z / loss.temperature
    return u if loss.softcap is None else loss.softcap * torch.tanh(u / loss.softcap)


def expected(mass: Tensor, row: Row) -> Tensor:
    """sum_j t_j (lse - u_j), with 0 log 0 = 0."""
    if mass.shape[-1] == 0:
        return row.log_sum
    cost = row.log_sum[..., None] - row.below
    masked = (mass == 0) & cost.isposinf()
    return torch.where(masked, 0.0, mass * torch.where(masked, 0.0, cost)).sum(dim=-1)


def pick(loss: spec.Loss, log_probs: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """The reduced mean of -w_y log p_y, classes last."""
    target = target.long()
    kept = _kept(loss, target)
    index = torch.where(kept, target, torch.zeros_like(target))
    w = torch.ones(loss.rows, dtype=log_probs.dtype, device=log_probs.device)
    if weight is not None:
        w = _at(weight.to(log_probs.dtype).expand_as(log_probs), index)
    w = torch.where(kept, w, torch.zeros_like(w))
    picked = torch.where(w == 0, torch.zeros_like(w), _at(log_probs, index))
    return reduce(loss, 0 - w * picked, w.sum())  # 0.0 for a certain row, never -0.0


def binary_cross_entropy(
    loss: spec.Loss,
    logits: Tensor,
    target: Tensor,
    positive_weight: Tensor | None,
    weight: Tensor | None,
) -> Tensor:
    """The reduced loss of two classes with the logits [0, x] and the mass [1 - y, v y]."""
    x = computed(logits)
    y = target.to(x.dtype)
    pairs = torch.stack([torch.zeros_like(x), x], -1)
    mass = torch.stack([1 - y, weighted(y, positive_weight)], -1)
    losses = weighted(expected(mass, Row(pairs)), weight)
    return reduce(loss, losses, losses.numel())


def weighted(x: Tensor, weight: Tensor | None) -> Tensor:
    """Each element times its weight; 0 where that is 0."""
    if weight is None:
        return x
    zero = torch.zeros_like(x)
    return torch.where(weight == 0, zero, torch.where(weight == 0, zero, x) * weight)


def reduce(loss: spec.Loss, losses: Tensor, denominator: Tensor | float) -> Tensor:
    """Losses a row as the caller wants them: each, their sum, or the sum over a denominator."""
    if loss.reduction == "none":
        return losses
    total = losses.sum()
    if loss.reduction == "sum":
        return total
    # Over nothing: NaN, where Python would refuse to divide by 0.
    return (
        total / denominator if isinstance(denominator, Tensor) or denominator else total * torch.nan
    )


def _kept(loss: spec.Loss, target: Tensor) -> Tensor:
    if loss.ignore_index is None:
        return torch.ones_like(target, dtype=torch.bool)
    return target.ne(loss.ignore_index)


def _at(x: Tensor, index: Tensor) -> Tensor:
    if x.shape[-1] == 0:  # every row is ignored
        return x.sum(dim=-1)
    return x.gather(-1, index[..., None]).squeeze(-1)
