"""The loop over chunks on torch's CPU tensors, with autograd; and the same composed.

`mean` and `sum` make the gradients together with the loss: three products. `none` has to wait for
its upstream gradients and makes the logits again: four.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from softxent.errors import DTypeError, OptionError
from softxent.ops import composed, native, spec, tensor
from softxent.ops import tensor_intake as intake
from softxent.ops.head import Gradients, Head, Sums
from softxent.ops.torch_products import TorchProducts, as_array, empty, zeros

__all__ = [
    "NOTHING",
    "LinearCrossEntropy",
    "Problem",
    "Wanted",
    "check_cpu",
    "compose",
    "compose_in_chunks",
    "finish",
    "forward",
    "from_sums",
    "is_half",
    "must_compose",
    "receive",
    "value_of",
    "wanted_of",
    "zeros_for",
]

Wanted = tuple[bool, bool, bool]  # the gradients of features, classifier, bias
NOTHING: Wanted = (False, False, False)
_PIECE = 2**18  # numbers


@dataclass(frozen=True, slots=True)
class Problem:
    """A checked loss and its limits."""

    loss: spec.Loss
    max_bytes: int
    skip_below: float

    def head(
        self,
        features: Tensor,
        classifier: Tensor,
        bias: Tensor | None,
        target: Tensor,
        weight: Tensor | None,
    ) -> Head:
        """The loop over these tensors, without autograd."""
        products = TorchProducts(features.dtype)
        x = features.detach()
        if x.ndim < 2 or x.is_contiguous():  # else the rows are fetched a chunk at a time
            x = x.reshape(native.product(self.loss.rows), x.shape[-1])
        if self.loss.target_kind == "index":
            rows = as_array(target.reshape(-1).long().contiguous())
        else:
            if not target.is_floating_point():  # one-hot rows of whole numbers
                target = target.to(products.sum_dtype)
            rows = as_array(target.detach().reshape(-1, self.loss.classes))
        return Head(
            loss=self.loss,
            products=products,
            features=x,
            classifier=classifier.detach(),
            bias=None if bias is None else bias.detach(),
            target=rows,
            weight=None
            if weight is None
            else as_array(weight.detach().to(products.sum_dtype).contiguous()),
            max_bytes=self.max_bytes,
            skip_below=self.skip_below,
        )


def wanted_of(features: Tensor, classifier: Tensor, bias: Tensor | None) -> Wanted:
    """The gradients that autograd will ask for."""
    if not torch.is_grad_enabled():
        return NOTHING
    return (
        features.requires_grad,
        classifier.requires_grad,
        bias is not None and bias.requires_grad,
    )


def receive(
    op: str,
    features: Tensor,
    classifier: Any,
    target: Any,
    bias: Any,
    weight: Any,
    options: dict[str, Any],
    max_bytes: int,
    skip_below: float,
) -> tuple[Tensor, Tensor | None, Problem]:
    """The target and the weight as tensors, and everything checked, values where there are any."""
    for name, x in (("features", features), ("classifier", classifier), ("bias", bias)):
        if x is None and name == "bias":
            continue
        if not isinstance(x, Tensor):
            raise DTypeError(f"[{op}] {name} is a {type(x).__name__}, features are a tensor.")
        intake.check_floating(op, name, x)
        if x.dtype != features.dtype:
            raise DTypeError(
                f"[{op}] {name} has dtype {x.dtype}, features have {features.dtype}: convert one, "
                f"e.g. {name}.to(features.dtype), or use torch.autocast."
            )
    shape = spec.check_linear(
        op, features.shape, classifier.shape, None if bias is None else bias.shape
    )
    logits = features.new_empty(()).expand(shape)  # their shape, without their memory
    target, weight, loss = intake.receive_loss(op, logits, target, weight, {**options, "axis": -1})
    intake.check_target(loss, target)
    if loss.target_kind == "probabilities" and not target.is_floating_point():
        target = target.to(features.dtype)  # one-hot rows of whole numbers
    problem = Problem(
        loss, spec.check_max_bytes(op, max_bytes), spec.check_skip_below(op, skip_below)
    )
    return target, weight, problem


def must_compose(
    features: Tensor,
    classifier: Tensor,
    bias: Tensor | None,
    target: Tensor,
    weight: Tensor | None,
) -> bool:
    """Whether the loop can't serve these."""
    others = any(x is not None and x.requires_grad for x in (target, weight))
    return (others and torch.is_grad_enabled()) or not tensor.kernels_take(
        features, classifier, bias, target, weight
    )


def check_cpu(op: str, features: Tensor) -> None:
    """The loop is for CPU tensors."""
    if features.device.type != "cpu":
        raise OptionError(
            f"[{op}] features are on {features.device}: only CPU tensors are served here; use "
            "linear_cross_entropy and its backward."
        )


# The loop over chunks. In half precision the factor of the gradients (of `mean`, and from above)
# comes last: in the tile, a small one or a loss scale's large one would leave float16's range.


def forward(head: Head, wanted: Wanted) -> tuple[Sums, Gradients]:
    """The sums of each row, and the gradients before `finish`."""
    into = zeros_for(head, wanted)
    if not into:
        return head.reduce(), into
    scale = 1.0 if is_half(head) else head.scale()
    return head.reduce_and_differentiate(into, scale=scale), into


def zeros_for(head: Head, wanted: Wanted) -> Gradients:
    """The wanted gradients at their start."""
    products, x = head.products, head.features
    into = Gradients()
    if wanted[0]:
        into.features = zeros((len(head.target), x.shape[-1]), x.dtype)
    if wanted[1]:
        into.classifier = products.zeros(*head.classifier.shape)
        if is_half(head):  # its gradient is made of the sums at the end: till then there is room
            head.spare = head.classifier.numel() * head.classifier.element_size()
    if wanted[2]:
        into.bias = products.zeros(head.loss.classes)
    return into


def is_half(head: Head) -> bool:
    """Whether sums are kept in another dtype than the gradients'."""
    return head.features.dtype in (torch.float16, torch.bfloat16)


def finish(into: Gradients, head: Head, factor: float) -> tuple[Tensor | None, ...]:
    """The gradients times a factor, in the arguments' shapes and dtypes.

    They are changed in place: one more copy of the classifier's gradient would be the largest
    tensor of all.
    """
    dtype, features = head.features.dtype, into.features
    if features is not None:
        if factor != 1:
            features.mul_(factor)
        if head.kept is not None and not np.isfinite(factor):
            ignored = np.ones(len(head.target), bool)
            ignored[head.kept] = False
            features[ignored] = 0
        features = features.view(*head.loss.rows, features.shape[-1])
    return features, _times(into.classifier, factor, dtype), _times(into.bias, factor, dtype)


def _times(gradient: Tensor | None, factor: float, dtype: torch.dtype) -> Tensor | None:
    if gradient is None or (factor == 1 and gradient.dtype == dtype):
        return gradient
    if gradient.dtype == dtype:
        return gradient.mul_(factor)
    result = empty(tuple(gradient.shape), dtype)
    flat, out = gradient.view(-1), result.view(-1)
    for begin in range(0, len(flat), _PIECE):  # torch makes a piece in the sums' dtype first
        torch.mul(flat[begin : begin + _PIECE], factor, out=out[begin : begin + _PIECE])
    return result


def from_held(held: Gradients, head: Head, upstream: float) -> tuple[Tensor | None, ...]:
    """The gradients that were made in forward, times what comes from above."""
    return finish(held, head, upstream * (head.scale() if is_half(head) else 1.0))


def from_sums(
    head: Head, sums: Sums, upstream: Tensor, wanted: Wanted
) -> tuple[Tensor | None, ...]:
    """The gradients from the rows' sums: for a loss a row, and for a second backward."""
    into = zeros_for(head, wanted)
    rows = None
    if head.loss.reduction == "none":
        rows = upstream.detach().double().reshape(-1).contiguous().numpy()
        factor = float(np.abs(rows).max(initial=0)) if is_half(head) else 1.0
        rows = rows / factor if factor not in (0, 1) else rows
    else:
        factor = float(upstream) * head.scale()
    if is_half(head):
        head.differentiate(sums, into, upstream=rows)
        return finish(into, head, factor)
    head.differentiate(sums, into, scale=factor, upstream=rows)
    return finish(into, head, 1.0)


def value_of(head: Head, sums: Sums) -> Tensor:
    """The reduced loss."""
    dtype = torch.float32 if is_half(head) else head.features.dtype
    losses = torch.from_numpy(sums.loss)
    if head.loss.reduction == "none":
        return losses.to(dtype).view(head.loss.rows)
    total = losses.sum()
    if head.loss.reduction == "mean":
        denominator = head.denominator()
        total = total / denominator if denominator else total * torch.nan
    return total.to(dtype)


class LinearCrossEntropy(torch.autograd.Function):
    """The loop with autograd.

    `mean` and `sum` make the gradients together with the loss, and backward hands them over; so
    that they are held once, a second backward makes them anew.
    """

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        features: Tensor,
        classifier: Tensor,
        bias: Tensor | None,
        target: Tensor,
        weight: Tensor | None,
        problem: Problem,
        wanted: Wanted,
    ) -> Tensor:
        head = problem.head(features, classifier, bias, target, weight)
        per_row = problem.loss.reduction == "none"
        ctx.sums, held = forward(head, NOTHING if per_row else wanted)
        ctx.held = held or None
        ctx.problem = problem
        ctx.save_for_backward(features, classifier, bias, target, weight)
        return value_of(head, ctx.sums)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        features, classifier, bias, target, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # create_graph: a gradient that has a gradient
            grads = composed_gradients(ctx.problem, ctx.saved_tensors, upstream, wanted)
            return *grads, None, None, None, None
        head = ctx.problem.head(features, classifier, bias, target, weight)
        held, ctx.held = ctx.held, None
        if held is None:
            grads = from_sums(head, ctx.sums, upstream, wanted)
        else:
            grads = from_held(held, head, float(upstream))
        return *grads, None, None, None, None


# torch's own operations.


def compose(
    problem: Problem,
    features: Tensor,
    classifier: Tensor,
    bias: Tensor | None,
    target: Tensor,
    weight: Tensor | None,
) -> Tensor:
    """The loss by torch's operations: all logits, or on an accelerator those of a chunk."""
    ordinary = features.device.type not in ("cpu", "meta") and not intake.is_traced()
    if ordinary and not torch._C._are_functorch_transforms_active():
        return compose_in_chunks(problem, features, classifier, bias, target, weight)
    return composed.cross_entropy(
        problem.loss, F.linear(features, classifier, bias), target, weight
    )


def compose_in_chunks(
    problem: Problem,
    features: Tensor,
    classifier: Tensor,
    bias: Tensor | None,
    target: Tensor,
    weight: Tensor | None,
) -> Tensor:
    """The same, with the logits of a chunk at a time, made again in backward."""
    loss = problem.loss
    count = native.product(loss.rows)
    row = loss.classes * 4 * max(4, features.element_size())  # what autograd keeps of a row
    size = max(1, problem.max_bytes // row)
    x = features.reshape(count, features.shape[-1])
    y = target.reshape(count, *target.shape[len(loss.rows) :])

    def losses(x: Tensor, y: Tensor) -> Tensor:
        part = replace(loss, axis=1, rows=(len(x),), reduction="none")
        return composed.cross_entropy(part, F.linear(x, classifier, bias), y, weight)

    parts: list[Tensor] = [
        checkpoint(losses, x[i : i + size], y[i : i + size], use_reentrant=False)
        for i in range(0, max(1, count), size)
    ]
    denominator: Tensor | float = float(count)
    if loss.target_kind == "index":
        kept = y if loss.ignore_index is None else y[y != loss.ignore_index]
        denominator = float(len(kept)) if weight is None else weight[kept.long()].sum()
    return composed.reduce(loss, torch.cat(parts).view(loss.rows), denominator)


def composed_gradients(
    problem: Problem, saved: tuple[Any, ...], upstream: Tensor, wanted: Wanted
) -> tuple[Tensor | None, ...]:
    features, classifier, bias, target, weight = saved
    value = compose(problem, features, classifier, bias, target, weight)
    inputs = [x for x, is_wanted in zip(saved, wanted, strict=False) if is_wanted]
    grads = iter(torch.autograd.grad(value, inputs, upstream, create_graph=True))
    return tuple(next(grads) if is_wanted else None for is_wanted in wanted)
