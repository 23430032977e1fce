"""Statistics of each row of a linear head beside its loss, without the logits.

    lse      = log sum_j exp(u_j)                        d lse/du_j = p_j
    entropy  = lse - sum_j p_j u_j                       dH/du_j    = -p_j (log p_j + H)
    argmax, and whether the target is among the k largest

The kernels compute all of them from the logits buffer that the loss needs anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from softxent.ops import spec
from softxent.ops.linear import autograd
from softxent.ops.linear.decompositions import logits_of
from softxent.ops.linear.loop import Chunk, Gradients, LinearHead, RowSums, Stats
from softxent.ops.linear.problem import Problem, Wanted, autocast, loop_takes, receive
from softxent.ops.options import LossOptions
from softxent.ops.spec import Loss
from softxent.ops.tensors import decompositions
from softxent.ops.tensors.dtypes import computed, loss_dtype
from softxent.ops.tensors.reductions import reduce
from softxent.ops.tensors.routing import is_traced

__all__ = ["linear_stats"]

_IN_CACHE = 2**18  # logits


def linear_stats(
    op: str,
    features: Tensor,
    classifier: Tensor,
    target: Any,
    bias: Any,
    options: LossOptions,
    *,
    max_bytes: int,
    logits_dtype: Any,
    k: int,
) -> tuple[Tensor, ...]:
    """Loss (reduced), lse, entropy, argmax, hits, and what z_loss adds to the loss.

    All but argmax and hits are differentiable.
    """
    features, classifier, bias = autocast(op, features, classifier, bias, logits_dtype)
    target, weight, problem = receive(
        op, features, classifier, target, bias, options, max_bytes, 0.0, logits_dtype
    )
    loss = problem.loss
    k = spec.check_k(op, k, loss.classes)
    tensors = (features, classifier, bias, target, weight)
    if is_traced() or not loop_takes(*tensors):
        logits = logits_of(problem, features, classifier, bias)
        value, *stats = decompositions.cross_entropy_with_stats(loss, logits, target, weight, k)
        return value, *stats, decompositions.z_term(loss, target, stats[0])
    losses, *stats = _LinearStats.apply(*tensors, problem, k)  # type: ignore[no-untyped-call]
    value = reduce(loss, losses, problem.head(*tensors).denominator())
    return value, *stats, decompositions.z_term(loss, target, stats[0])


class _LinearStats(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        classifier: Tensor,
        bias: Tensor | None,
        target: Tensor,
        weight: Tensor | None,
        problem: Problem,
        k: int,
    ) -> tuple[Tensor, ...]:
        head = problem.head(features, classifier, bias, target, weight)
        stats = Stats.empty(len(head.target), k)
        sums = head.reduce(stats)
        lse = sums.saved[:, 0] + np.log1p(sums.saved[:, 1])
        ctx.problem, ctx.sums = problem, sums
        ctx.save_for_backward(features, classifier, bias, target, weight)
        ctx.set_materialize_grads(False)
        dtype, shape = loss_dtype(features), problem.loss.rows
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
        if torch.is_grad_enabled():  # create_graph: the gradient's own derivative
            grads = _gradients_by_decomposition(
                ctx.problem, ctx.saved_tensors, (loss, lse, entropy), wanted
            )
            return *grads, None, None, None, None
        head = ctx.problem.head(*ctx.saved_tensors)
        upstream = [
            np.zeros(len(head.target)) if x is None else x.double().reshape(-1).numpy()
            for x in (loss, lse, entropy)
        ]
        factor = max(float(np.abs(x).max(initial=0)) for x in upstream)
        if not head.sums_in_float32 or factor == 0:
            factor = 1.0
        into = autograd.zeros_for(head, wanted)
        _differentiate(head, ctx.sums, [x / factor for x in upstream], into)
        return *autograd.finish(into, head, factor), None, None, None, None


def _in_cache(head: LinearHead, chunk: Chunk) -> Iterator[Chunk]:
    """Parts of a chunk whose logits fit in the cache."""
    size = max(1, _IN_CACHE // max(1, head.loss.classes))
    indices = chunk.rows
    if isinstance(indices, slice):
        indices = np.arange(indices.start, indices.stop)
    for begin in range(0, len(indices), size):
        part = slice(begin, begin + size)
        yield Chunk(indices[part], chunk.x[part], chunk.logits[part])


def _differentiate(head: LinearHead, sums: RowSums, upstream: list[Any], into: Gradients) -> None:
    of_loss, of_lse, of_entropy = upstream
    others = of_lse.any() or of_entropy.any()
    for chunk in head.chunks():
        head.fill(chunk)
        if not others:
            head.differentiate_chunk(chunk, sums, upstream=of_loss)
        else:
            for part in _in_cache(head, chunk):
                rows = part.rows
                z = computed(part.logits).clone()
                head.differentiate_chunk(part, sums, upstream=of_loss)
                c, b = (torch.from_numpy(x[rows])[:, None] for x in (of_lse, of_entropy))
                part.logits.add_(_of_lse_and_entropy(head.loss, z, sums, rows, c, b))
        head.collect(chunk, into)


def _of_lse_and_entropy(
    loss: Loss, z: Tensor, sums: RowSums, rows: Any, c: Tensor, b: Tensor
) -> Tensor:
    """The gradient with respect to z of c lse + b H."""
    maximum, tail = torch.from_numpy(sums.saved[rows])[:, :, None].unbind(1)
    assert sums.stats is not None
    entropy = torch.from_numpy(sums.stats.entropy[rows])[:, None]
    u = decompositions.scaled(loss, z)
    log_p = (u - maximum.to(u.dtype)) - tail.log1p().to(u.dtype)
    p = log_p.exp()
    surprise = torch.where(p == 0, 0.0, log_p) + entropy.to(u.dtype)
    options = loss.options
    grad = p * (c.to(u.dtype) - b.to(u.dtype) * surprise) * (1 / options.temperature)
    if options.softcap is None:
        return grad
    return torch.where(u.isinf(), 0.0, grad * (1 - (u / options.softcap) ** 2))


def _gradients_by_decomposition(
    problem: Problem,
    saved: tuple[Any, ...],
    upstream: tuple[Tensor | None, ...],
    wanted: Wanted,
) -> tuple[Tensor | None, ...]:
    features, classifier, bias, target, weight = saved
    options = problem.loss.options._replace(reduction="none", z_loss=problem.head(*saved).z_loss)
    loss = replace(problem.loss, options=options)
    logits = logits_of(problem, features, classifier, bias)
    stats = decompositions.cross_entropy_with_stats(loss, logits, target, weight, 1)
    given = [(x, up) for x, up in zip(stats, upstream, strict=False) if up is not None]
    inputs = [x for x, is_wanted in zip(saved, wanted, strict=False) if is_wanted]
    values, ups = zip(*given, strict=True)
    grads = iter(torch.autograd.grad(values, inputs, ups, create_graph=True))
    return tuple(next(grads) if is_wanted else None for is_wanted in wanted)
