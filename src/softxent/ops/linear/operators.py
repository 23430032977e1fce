"""The linear head as an operator of torch.library: what torch.compile and torch.export record.

Its gradients are results like any other, made together with the loss; those of a loss a row are
another operator's. Everything is checked when the graph runs, labels included.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from softxent.ops import linear_engine as engine
from softxent.ops.head import Head, Sums

__all__ = ["linear_cross_entropy"]

_SCHEMA = (
    "str op, Tensor features, Tensor classifier, Tensor target, Tensor? bias, Tensor? weight, "
    "int ignore_index, str reduction, float label_smoothing, float z_loss, float? softcap, "
    "float temperature, int max_bytes, float skip_below, bool[] wanted"
)


def linear_cross_entropy(
    op: str,
    features: Tensor,
    classifier: Tensor,
    target: Tensor,
    bias: Tensor | None,
    weight: Tensor | None,
    options: dict[str, Any],
    max_bytes: int,
    skip_below: float,
    wanted: engine.Wanted,
) -> Tensor:
    """The reduced loss, differentiable in features, classifier and bias."""
    results = _forward(
        op,
        features,
        classifier,
        target,
        bias,
        weight,
        options["ignore_index"],
        options["reduction"],
        options["label_smoothing"],
        options["z_loss"],
        options["softcap"],
        options["temperature"],
        max_bytes,
        skip_below,
        list(wanted),
    )
    loss: Tensor = results[0]
    return loss


def _head(
    op: str,
    features: Tensor,
    classifier: Tensor,
    target: Tensor,
    bias: Tensor | None,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    z_loss: float,
    softcap: float | None,
    temperature: float,
    max_bytes: int,
    skip_below: float,
) -> Head:
    options = {
        "ignore_index": ignore_index,
        "reduction": reduction,
        "label_smoothing": label_smoothing,
        "z_loss": z_loss,
        "softcap": softcap,
        "temperature": temperature,
    }
    target, weight, problem = engine.receive(
        op, features, classifier, target, bias, weight, options, max_bytes, skip_below
    )
    engine.check_cpu(op, features)
    return problem.head(features, classifier, bias, target, weight)


@torch.library.custom_op(
    "softxent::linear_cross_entropy",
    mutates_args=(),
    device_types="cpu",
    schema=f"({_SCHEMA}) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _forward(*arguments: Any) -> tuple[Tensor, ...]:
    """The loss, the rows' sums, a factor of the gradients, and these; unwanted ones are empty."""
    *call, wanted = arguments
    head = _head(*call)
    per_row = head.loss.reduction == "none"
    sums, into = engine.forward(head, engine.NOTHING if per_row else wanted)
    rows = torch.from_numpy(np.column_stack([sums.loss, sums.summary]))
    factor = torch.tensor(head.scale() if engine.is_half(head) else 1.0, dtype=torch.float64)
    shaped = engine.finish(into, head, 1.0)[0], into.classifier, into.bias
    return engine.value_of(head, sums), rows, factor, *_present(shaped, head.features)


def _present(grads: tuple[Tensor | None, ...], like: Tensor) -> list[Tensor]:
    return [like.new_empty(0) if gradient is None else gradient for gradient in grads]


@_forward.register_fake
def _(*arguments: Any) -> tuple[Tensor, ...]:
    _, features, classifier, _, _, _, _, reduction = arguments[:8]
    wanted = arguments[-1]
    half = features.dtype in (torch.float16, torch.bfloat16)
    dtype = torch.float32 if half else features.dtype
    rows, classes = features.shape[:-1], classifier.shape[0]
    if reduction == "none":
        wanted = engine.NOTHING
    grads = (
        features.new_empty(features.shape) if wanted[0] else None,
        features.new_empty(classifier.shape, dtype=dtype) if wanted[1] else None,
        features.new_empty((classes,), dtype=dtype) if wanted[2] else None,
    )
    return (
        features.new_empty(rows if reduction == "none" else (), dtype=dtype),
        features.new_empty((rows.numel(), 3), dtype=torch.float64),
        features.new_empty((), dtype=torch.float64),
        *_present(grads, features),
    )


@torch.library.custom_op(
    "softxent::linear_cross_entropy_backward",
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor upstream, Tensor rows, {_SCHEMA}) -> (Tensor, Tensor, Tensor)",
)
def _backward(upstream: Tensor, rows: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    """The gradients of a loss a row; unwanted ones are empty."""
    *call, wanted = arguments
    head = _head(*call)
    kept = rows.numpy()
    sums = Sums(kept[:, 0], np.ascontiguousarray(kept[:, 1:]))
    grads = engine.from_sums(head, sums, upstream, tuple(wanted))
    return tuple(_present(grads, head.features))


@_backward.register_fake
def _(upstream: Tensor, rows: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    features, classifier, wanted = arguments[1], arguments[2], arguments[-1]
    shapes = features.shape, classifier.shape, classifier.shape[:1]
    grads = tuple(
        features.new_empty(shape) if is_wanted else None
        for shape, is_wanted in zip(shapes, wanted, strict=True)
    )
    return tuple(_present(grads, features))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.op, *tensors = inputs[:6]
    ctx.options = inputs[6:]
    ctx.save_for_backward(*tensors, *output[1:])
    ctx.set_materialize_grads(False)


def _operator_gradients(ctx: Any, upstream: Tensor | None, *_: Any) -> tuple[Any, ...]:
    features, classifier, target, bias, weight, rows, factor, *held = ctx.saved_tensors
    wanted = ctx.options[-1]
    nothing = (None,) * len(ctx.options)
    if upstream is None:
        return (None,) * 6 + nothing
    grads: list[Tensor | None]
    if ctx.options[1] == "none":
        made = _backward(
            upstream, rows, ctx.op, features, classifier, target, bias, weight, *ctx.options
        )
        grads = [gradient if w else None for gradient, w in zip(made, wanted, strict=True)]
    else:
        scale = upstream.double() * factor
        grads = [
            (gradient * scale.to(gradient.dtype)).to(features.dtype) if w else None
            for gradient, w in zip(held, wanted, strict=True)
        ]
    return None, grads[0], grads[1], None, grads[2], None, *nothing


_forward.register_autograd(_operator_gradients, setup_context=_keep)
