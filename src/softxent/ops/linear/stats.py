"""What is known of each row of a linear head besides its loss, without the logits.

    lse      = log sum_j exp(u_j)                        d lse/du_j = p_j
    entropy  = lse - sum_j p_j u_j                       dH/du_j    = -p_j (log p_j + H)
    argmax, and whether the target is among the k largest

All come from the kernels' look at the tile of logits that the loss needs anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from softxent.ops import composed, spec
from softxent.ops import linear_engine as engine
from softxent.ops.head import Chunk, Gradients, Head, Stats, Sums

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
        logits = F.linear(features, classifier, bias)
        return composed.cross_entropy_with_stats(loss, logits, target, weight, k)
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
        stats = Stats.empty(len(head.target), k)
        sums = head.reduce(stats)
        lse = sums.summary[:, 0] + np.log1p(sums.summary[:, 1])
        ctx.problem, ctx.sums = problem, sums
        ctx.save_for_backward(features, classifier, bias, target, weight)
        ctx.set_materialize_grads(False)
        dtype, shape = composed.dtype_of(features), problem.loss.rows
        numbers = (torch.from_numpy(x).to(dtype) for x in (sums.loss, lse, stats.entropy))
        found = (torch.from_numpy(x) for x in (stats.argmax, stats.hits))
        losses, lses, entropy, argmax, hits = (x.view(shape) for x in (*numbers, *found))
        ctx.mark_non_differentiable(argmax, hits)
        return losses, lses, entropy, argmax, hits

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
        _differentiate(head, ctx.sums, [x / factor for x in upstream], into)
        return *engine.finish(into, head, factor), None, None, None, None


def _in_cache(head: Head, chunk: Chunk) -> Iterator[Chunk]:
    size = max(1, _IN_CACHE // max(1, head.loss.classes))
    indices = chunk.rows
    if isinstance(indices, slice):
        indices = np.arange(indices.start, indices.stop)
    for begin in range(0, len(indices), size):
        part = slice(begin, begin + size)
        yield Chunk(indices[part], chunk.x[part], chunk.tile[part])


def _differentiate(head: Head, sums: Sums, upstream: list[Any], into: Gradients) -> None:
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
                part.tile.add_(_of_lse_and_entropy(head.loss, z, sums, rows, c, b))
        head.collect(chunk, into)


def _of_lse_and_entropy(
    loss: spec.Loss, z: Tensor, sums: Sums, rows: Any, c: Tensor, b: Tensor
) -> Tensor:
    """The gradient with respect to z of c lse + b H."""
    maximum, ratio = torch.from_numpy(sums.summary[rows])[:, :, None].unbind(1)
    assert sums.stats is not None
    entropy = torch.from_numpy(sums.stats.entropy[rows])[:, None]
    u = composed.scaled(loss, z)
    log_p = (u - maximum.to(u.dtype)) - ratio.log1p().to(u.dtype)
    p = log_p.exp()
    surprise = torch.where(p == 0, 0.0, log_p) + entropy.to(u.dtype)
    slope = 1 / loss.temperature
    grad = p * (c.to(u.dtype) - b.to(u.dtype) * surprise) * slope
    return grad if loss.softcap is None else grad * (1 - (u / loss.softcap) ** 2)


def _composed_gradients(
    problem: engine.Problem,
    saved: tuple[Any, ...],
    upstream: tuple[Tensor | None, ...],
    wanted: engine.Wanted,
) -> tuple[Tensor | None, ...]:
    features, classifier, bias, target, weight = saved
    loss = replace(problem.loss, reduction="none")
    logits = F.linear(features, classifier, bias)
    stats = composed.cross_entropy_with_stats(loss, logits, target, weight, 1)
    given = [(x, up) for x, up in zip(stats, upstream, strict=False) if up is not None]
    inputs = [x for x, is_wanted in zip(saved, wanted, strict=False) if is_wanted]
    values, ups = zip(*given, strict=True)
    grads = iter(torch.autograd.grad(values, inputs, ups, create_graph=True))
    return tuple(next(grads) if is_wanted else None for is_wanted in wanted)
