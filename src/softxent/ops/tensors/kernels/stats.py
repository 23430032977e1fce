"""Cross-entropy with the statistics of each row, by the compiled kernels, with autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from softxent.ops.spec import Loss, size_of
from softxent.ops.tensors import decompositions
from softxent.ops.tensors.dtypes import loss_dtype
from softxent.ops.tensors.kernels.cross_entropy import arguments_of, gradients, run
from softxent.ops.tensors.kernels.derivatives import differentiate, independent
from softxent.ops.tensors.reductions import reduce_kernel_losses

__all__ = ["cross_entropy_with_stats"]


def cross_entropy_with_stats(
    loss: Loss,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    dtype: torch.dtype,
    k: int,
) -> tuple[Tensor, ...]:
    """The reduced loss; per row lse, entropy, argmax, and whether the target is in the top k."""
    results: tuple[Tensor, ...] = _CrossEntropyWithStats.apply(  # type: ignore[no-untyped-call]
        logits, target, weight, loss, dtype, k
    )
    return results


class _CrossEntropyWithStats(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None,
        loss: Loss,
        dtype: torch.dtype,
        k: int,
    ) -> tuple[Tensor, ...]:
        arguments = arguments_of(loss, logits, target, weight)
        rows = size_of(loss.rows)
        losses, saved, entropy = np.empty(rows), np.empty((rows, 2)), np.empty(rows)
        argmax, hits = np.empty(rows, np.int64), np.empty(rows, np.bool_)
        buffers: dict[str, Any] = {"loss": losses, "saved": saved, "entropy": entropy}
        buffers |= {"k": k, "argmax": argmax, "hits": hits}
        total = run(loss, target, arguments, buffers)
        lse = saved[:, 0] + np.log1p(saved[:, 1])
        if loss.target_kind == "index":
            lse[arguments["index"] == loss.options.ignore_index] = 0
        ctx.save_for_backward(logits, target, weight)
        ctx.loss, ctx.saved, ctx.inplace_backward = loss, saved, False
        ctx.set_materialize_grads(False)
        own = loss_dtype(logits)
        stats = [
            torch.from_numpy(x).to(own if x.dtype == np.float64 else None).view(loss.rows)
            for x in (lse, entropy, argmax, hits)
        ]
        ctx.mark_non_differentiable(*stats[2:])
        per_row = losses if loss.options.reduction == "none" else None
        return reduce_kernel_losses(loss, per_row, *total, dtype), *stats

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> Any:
        logits, target, weight = ctx.saved_tensors
        grads: list[Tensor | None] = [None, None, None]
        if upstream[0] is not None:
            grads = gradients(ctx, logits, target, weight, upstream[0])
        of_stats = [g for g in upstream[1:3] if g is not None]
        if of_stats and ctx.needs_input_grad[0]:
            with torch.enable_grad():
                z = independent(logits)
                _, *both, _, _ = decompositions.cross_entropy_with_stats(
                    ctx.loss, z, target, weight, 1
                )
                used = [x for x, g in zip(both, upstream[1:3], strict=True) if g is not None]
            (more,) = differentiate(used, [z], of_stats)
            grads[0] = more if grads[0] is None else grads[0] + more
        return *grads, None, None, None
