"""What is known of each row of a linear head besides its loss, without the logits.

    lse      = log sum_j exp(u_j)                        d lse/du_j = p_j
    entropy  = lse - sum_j p_j u_j                       dH/du_j    = -p_j (log p_j + H)
    argmax, and whether the target is among the k largest

All come from the tile of logits that the loss needs anyway, a few rows at a time, in cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from softxent.ops import composed, spec
from softxent.ops import linear_engine as engine
from softxent.ops.head import Chunk, Head, Sums

__all__ = ["linear_stats"]

_IN_CACHE = 2**18  # logits


def linear_stats(
    op: str,
    features: Tensor,
    classifier: Tensor,
    target: Any,
    bias: Any,
    weight: Any,
    *,
    options: dict[str, Any],
    max_bytes: int,
    k: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Loss (reduced), lse, entropy, argmax and hits; the first three are differentiable."""
    target, weight, problem = engine.receive(
        op, features, classifier, target, bias, weight, options, max_bytes, 0.0
    )
    loss = problem.loss
    k = spec.check_k(op, k, loss.classes)
    if engine.must_compose(features, classifier, bias, target, weight):
        return _composed(loss, F.linear(features, classifier, bias), target, weight, k)
    stats = _Stats.apply(features, classifier, bias, target, weight, problem, k)  # type: ignore[no-untyped-call]
    losses, lse, entropy, argmax, hits = stats
    head = problem.head(features, classifier, bias, target, weight)
    return composed.reduce(loss, losses, head.denominator()), lse, entropy, argmax, hits


class _Stats(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        classifier: Tensor,
        bias: Tensor | None,
        target: Tensor,
        weight: Tensor | None,
        problem: engine.Problem,
        k: int,
    ) -> tuple[Tensor, ...]:
        head = problem.head(features, classifier, bias, target, weight)
        ctx.sums, found = _look(head, k)
        ctx.problem, ctx.entropy = problem, found.entropy
        ctx.save_for_backward(features, classifier, bias, target, weight)
        ctx.set_materialize_grads(False)
        dtype, shape = composed.dtype_of(features), problem.loss.rows
        numbers = (torch.from_numpy(ctx.sums.loss), found.lse, found.entropy)
        results = (*(x.to(dtype).view(shape) for x in numbers), found.argmax.view(shape))
        hits = found.hits.view(shape)
        ctx.mark_non_differentiable(results[3], hits)
        return *results, hits

    @staticmethod
    def backward(
        ctx: Any, loss: Tensor | None, lse: Tensor | None, entropy: Tensor | None, *_: Any
    ) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # somebody wants the gradient's own derivative
            grads = _composed_gradients(
                ctx.problem, ctx.saved_tensors, (loss, lse, entropy), wanted
            )
            return *grads, None, None, None, None
        head = ctx.problem.head(*ctx.saved_tensors)
        upstream = [
            np.zeros(len(head.target)) if x is None else x.double().reshape(-1).numpy()
            for x in (loss, lse, entropy)
        ]
        factor = max(float(np.abs(x).max(initial=0)) for x in upstream)
        if not engine.is_half(head) or factor == 0:
            factor = 1.0
        into = engine.zeros_for(head, wanted)
        _differentiate(head, ctx.sums, ctx.entropy, [x / factor for x in upstream], into)
        return *engine.finish(into, head, factor), None, None, None, None


@dataclass(slots=True)
class _Found:
    """What was found of each row; as it stands here for an ignored one."""

    lse: Tensor  # (N,) float64
    entropy: Tensor  # (N,) float64
    argmax: Tensor  # (N,) int64
    hits: Tensor  # (N,) bool

    @classmethod
    def empty(cls, rows: int) -> _Found:
        return cls(
            torch.zeros(rows, dtype=torch.float64),
            torch.zeros(rows, dtype=torch.float64),
            torch.full((rows,), -1),
            torch.zeros(rows, dtype=torch.bool),
        )


def _look(head: Head, k: int) -> tuple[Sums, _Found]:
    sums, found = Sums.empty(len(head.target)), _Found.empty(len(head.target))
    for chunk in head.chunks():
        head.fill(chunk)
        head.reduce_chunk(chunk, sums)
        for part in _in_cache(head, chunk):
            rows, z = part.rows, part.tile
            maximum, ratio = torch.from_numpy(sums.summary[rows]).unbind(-1)
            log_sum = ratio.log1p()
            u = composed.scaled(head.loss, composed.computed(z))
            below = u - maximum.to(u.dtype)[:, None]
            cost = torch.where(below == -torch.inf, 0.0, below * below.exp())
            found.lse[rows] = maximum + log_sum
            found.entropy[rows] = log_sum - cost.sum(-1, dtype=torch.float64) / (1 + ratio)
            found.argmax[rows] = z.argmax(-1)
            found.hits[rows] = _among_largest(z, _target_class(head, rows), k)
    return sums, found


def _in_cache(head: Head, chunk: Chunk) -> Iterator[Chunk]:
    size = max(1, _IN_CACHE // max(1, head.loss.classes))
    indices = chunk.rows
    if isinstance(indices, slice):
        indices = np.arange(indices.start, indices.stop)
    for begin in range(0, len(indices), size):
        part = slice(begin, begin + size)
        yield Chunk(indices[part], chunk.x[part], chunk.tile[part])


def _target_class(head: Head, rows: Any) -> Tensor:
    target = head.target[rows]
    if head.loss.target_kind == "index":
        return torch.from_numpy(target)
    return _as_tensor(target).argmax(-1)


def _as_tensor(array: Any) -> Tensor:
    """Class probabilities as they came: uint16 holds the bits of bfloat16."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.view(torch.bfloat16).float() if tensor.dtype == torch.uint16 else tensor


def _among_largest(z: Tensor, y: Tensor, k: int) -> Tensor:
    """Whether z_y is among the k largest of its row: NaN first, then the lower of equals."""
    at_target = z.gather(-1, y[:, None])
    ahead = (z > at_target).sum(-1)
    tied = (z == at_target).sum(-1) > 1
    for i in torch.nonzero(tied | z.sum(-1).isnan()).flatten().tolist():
        order = torch.sort(z[i], descending=True, stable=True).indices
        ahead[i] = (order == y[i]).nonzero().item()
    return ahead < k


def _differentiate(head: Head, sums: Sums, entropy: Tensor, upstream: list[Any], into: Any) -> None:
    of_loss, of_lse, of_entropy = upstream
    others = of_lse.any() or of_entropy.any()
    for chunk in head.chunks():
        head.fill(chunk)
        if not others:
            head.differentiate_chunk(chunk, sums, upstream=of_loss)
        else:
            for part in _in_cache(head, chunk):
                rows = part.rows
                z = composed.computed(part.tile).clone()
                head.differentiate_chunk(part, sums, upstream=of_loss)
                c, b = (torch.from_numpy(x[rows])[:, None] for x in (of_lse, of_entropy))
                part.tile.add_(_of_lse_and_entropy(head.loss, z, sums, entropy, rows, c, b))
        head.collect(chunk, into)


def _of_lse_and_entropy(
    loss: spec.Loss, z: Tensor, sums: Sums, entropy: Tensor, rows: Any, c: Tensor, b: Tensor
) -> Tensor:
    """The gradient with respect to z of c lse + b H."""
    maximum, ratio = torch.from_numpy(sums.summary[rows])[:, :, None].unbind(1)
    u = composed.scaled(loss, z)
    log_p = (u - maximum.to(u.dtype)) - ratio.log1p().to(u.dtype)
    p = log_p.exp()
    surprise = torch.where(p == 0, 0.0, log_p) + entropy[rows][:, None].to(u.dtype)
    slope = 1 / loss.temperature
    grad = p * (c.to(u.dtype) - b.to(u.dtype) * surprise) * slope
    return grad if loss.softcap is None else grad * (1 - (u / loss.softcap) ** 2)


def _composed(
    loss: spec.Loss, logits: Tensor, target: Tensor, weight: Tensor | None, k: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    losses, row, denominator = composed.row_losses(loss, logits, target, weight)
    lse, entropy, argmax = row.lse, row.entropy, logits.argmax(-1)
    y = target.long()
    kept = torch.ones_like(argmax, dtype=torch.bool)
    if loss.target_kind == "probabilities":
        y = target.argmax(-1)
    elif loss.ignore_index is not None:
        kept = y != loss.ignore_index
    order = torch.sort(logits, dim=-1, descending=True, stable=True).indices[..., :k]
    hits = (order == y[..., None]).any(-1) & kept
    zero = torch.zeros_like(lse)
    return (
        composed.reduce(loss, losses, denominator),
        torch.where(kept, lse, zero),
        torch.where(kept, entropy, zero),
        torch.where(kept, argmax, -1),
        hits,
    )


def _composed_gradients(
    problem: engine.Problem,
    saved: tuple[Any, ...],
    upstream: tuple[Tensor | None, ...],
    wanted: engine.Wanted,
) -> tuple[Tensor | None, ...]:
    features, classifier, bias, target, weight = saved
    loss = replace(problem.loss, reduction="none")
    stats = _composed(loss, F.linear(features, classifier, bias), target, weight, 1)
    given = [(x, up) for x, up in zip(stats, upstream, strict=False) if up is not None]
    inputs = [x for x, is_wanted in zip(saved, wanted, strict=False) if is_wanted]
    values, ups = zip(*given, strict=True)
    grads = iter(torch.autograd.grad(values, inputs, ups, create_graph=True))
    return tuple(next(grads) if is_wanted else None for is_wanted in wanted)
