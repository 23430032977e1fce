"""The linear head on torch tensors: autograd, one operator for torch.compile.

CPU tensors go through the loop over chunks. What that loop can't serve (other devices, transforms
of torch.func, forward-mode derivatives, the second derivative, gradients of the target or of the
class weights) is composed of torch's operations.
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
from softxent.ops import spec, tensor
from softxent.ops.head import Gradients, Head, Sums
from softxent.ops.torch_products import TorchProducts, as_array, zeros

__all__ = ["linear_cross_entropy", "linear_cross_entropy_with_grad"]

Wanted = tuple[bool, bool, bool]  # the gradients of features, classifier, bias


@dataclass(frozen=True, slots=True)
class _Problem:
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
            x = x.reshape(_count(self.loss), x.shape[-1])
        if self.loss.target_kind == "index":
            rows = as_array(target.reshape(-1).long().contiguous())
        else:
            rows = as_array(target.detach().reshape(-1, self.loss.classes))
        return Head(
            loss=self.loss,
            products=products,
            features=x,
            classifier=classifier.detach(),
            bias=None if bias is None else bias.detach(),
            target=rows,
            weight=None if weight is None else as_array(weight.detach().to(products.sum_dtype)),
            max_bytes=self.max_bytes,
            skip_below=self.skip_below,
        )


def _count(loss: spec.Loss) -> int:
    return int(np.prod(loss.rows, dtype=np.int64))


def linear_cross_entropy(
    op: str,
    features: Tensor,
    classifier: Tensor,
    target: Any,
    bias: Any,
    weight: Any,
    *,
    options: dict[str, Any],
    max_bytes: int,
    skip_below: float,
) -> Tensor:
    """The reduced loss, differentiable."""
    features, classifier, bias = _autocast(features, classifier, bias)
    if torch.compiler.is_compiling():
        wanted = _wanted(features, classifier, bias)
        results = torch.ops.softxent.linear_cross_entropy(
            features,
            classifier,
            target,
            bias,
            weight,
            *options.values(),
            max_bytes,
            skip_below,
            list(wanted),
        )
        loss: Tensor = results[0]
        return loss
    target, weight, problem = _receive(
        op, features, classifier, target, bias, weight, options, max_bytes, skip_below
    )
    if _must_compose(features, classifier, bias, target, weight):
        return _composed(problem, features, classifier, bias, target, weight)
    wanted = _wanted(features, classifier, bias)
    result: Tensor = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        features, classifier, bias, target, weight, problem, wanted
    )
    return result


def linear_cross_entropy_with_grad(
    op: str,
    features: Tensor,
    classifier: Tensor,
    target: Any,
    bias: Any,
    weight: Any,
    *,
    options: dict[str, Any],
    max_bytes: int,
    skip_below: float,
    wanted: Wanted,
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """The reduced loss and its gradients, none with a graph."""
    target, weight, problem = _receive(
        op, features, classifier, target, bias, weight, options, max_bytes, skip_below
    )
    _check_cpu(op, features)
    wanted = (wanted[0], wanted[1], wanted[2] and bias is not None)
    head = problem.head(features, classifier, bias, target, weight)
    sums, held = _forward(head, wanted)
    return _value(head, sums), _finished(held, head, 1.0)


def _wanted(features: Tensor, classifier: Tensor, bias: Tensor | None) -> Wanted:
    if not torch.is_grad_enabled():
        return False, False, False
    return (
        features.requires_grad,
        classifier.requires_grad,
        bias is not None and bias.requires_grad,
    )


def _autocast(
    features: Tensor, classifier: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What torch's linear does with them under autocast."""
    device = features.device.type
    if not torch.is_autocast_enabled(device) or features.dtype == torch.float64:
        return features, classifier, bias
    dtype = torch.get_autocast_dtype(device)
    return features.to(dtype), classifier.to(dtype), None if bias is None else bias.to(dtype)


def _receive(
    op: str,
    features: Tensor,
    classifier: Any,
    target: Any,
    bias: Any,
    weight: Any,
    options: dict[str, Any],
    max_bytes: int,
    skip_below: float,
) -> tuple[Tensor, Tensor | None, _Problem]:
    """The target and the weight as tensors, and everything checked."""
    for name, x in (("features", features), ("classifier", classifier), ("bias", bias)):
        if x is None and name == "bias":
            continue
        if not isinstance(x, Tensor):
            raise DTypeError(f"[{op}] {name} is a {type(x).__name__}, features are a tensor.")
        tensor._check_floating(op, name, x)
        if x.dtype != features.dtype:
            raise DTypeError(
                f"[{op}] {name} has dtype {x.dtype}, features have {features.dtype}: convert one, "
                f"e.g. {name}.to(features.dtype), or use torch.autocast."
            )
    shape = spec.check_linear(
        op, features.shape, classifier.shape, None if bias is None else bias.shape
    )
    target = tensor._beside(op, "target", target, features)
    if target.numel() == 0 and target.is_floating_point() and target.ndim < len(shape):
        target = target.long()  # an empty list
    kind = np.dtype(tensor._NUMPY_KIND.get(target.dtype, "c8")).kind
    if target.is_floating_point():
        kind = "f"
    loss = spec.Loss.of(op, shape, target.shape, kind, axis=-1, **options)
    if _readable(target):
        if loss.target_kind == "index":
            spec.check_indices(op, tensor._values(target), loss.classes, loss.ignore_index)
        else:
            spec.check_masses(op, tensor._values(target))
    if weight is not None:
        weight = tensor._beside(op, "weight", weight, features)
        if _readable(weight):
            spec.check_weight(op, weight.shape, tensor._values(weight), loss.classes)
    problem = _Problem(
        loss, spec.check_max_bytes(op, max_bytes), spec.check_skip_below(op, skip_below)
    )
    return target, weight, problem


def _readable(x: Tensor) -> bool:
    """Whether the tensor has numbers to look at."""
    return x.device.type != "meta" and not torch._C._functorch.is_functorch_wrapped_tensor(x)


def _must_compose(*tensors: Tensor | None) -> bool:
    features, classifier, bias, target, weight = tensors
    if torch._C._are_functorch_transforms_active():
        return True
    if torch.is_grad_enabled():
        for x in (target, weight):
            if x is not None and x.requires_grad:
                return True
    for x in tensors:
        if x is None:
            continue
        if x.device.type != "cpu" or type(x) not in (Tensor, torch.nn.Parameter):
            return True
        if torch.autograd.forward_ad.unpack_dual(x).tangent is not None:
            return True
    return False


def _check_cpu(op: str, features: Tensor) -> None:
    if features.device.type != "cpu":
        raise OptionError(
            f"[{op}] features are on {features.device}: only CPU tensors are served here; use "
            "linear_cross_entropy and its backward."
        )


# The loop over chunks. In half precision the factor of the gradients (of `mean`, and from above)
# comes last: in the tile, a small one or a loss scale's large one would leave float16's range.


def _forward(head: Head, wanted: Wanted) -> tuple[Sums, Gradients]:
    """The sums of each row, and the gradients before `_finished`."""
    into = _zeros(head, wanted)
    if not into:
        return head.reduce(), into
    scale = 1.0 if _is_half(head) else head.scale()
    return head.reduce_and_differentiate(into, scale=scale), into


def _zeros(head: Head, wanted: Wanted) -> Gradients:
    products, x = head.products, head.features
    into = Gradients()
    if wanted[0]:
        into.features = zeros((len(head.target), x.shape[-1]), x.dtype)
    if wanted[1]:
        into.classifier = products.zeros(*head.classifier.shape)
    if wanted[2]:
        into.bias = products.zeros(head.loss.classes)
    return into


def _is_half(head: Head) -> bool:
    return head.features.dtype in (torch.float16, torch.bfloat16)


def _finished(into: Gradients, head: Head, factor: float) -> tuple[Tensor | None, ...]:
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
    result = zeros(tuple(gradient.shape), dtype)
    for part, into in zip(gradient.split(1024), result.split(1024), strict=True):
        torch.mul(part, factor, out=into)
    return result


def _from_held(held: Gradients, head: Head, upstream: float) -> tuple[Tensor | None, ...]:
    """The gradients that were made in forward, times what comes from above."""
    return _finished(held, head, upstream * (head.scale() if _is_half(head) else 1.0))


def _from_sums(
    head: Head, sums: Sums, upstream: Tensor, wanted: Wanted
) -> tuple[Tensor | None, ...]:
    """The gradients from the rows' sums: for a loss a row, and for a second backward."""
    into = _zeros(head, wanted)
    rows = None
    if head.loss.reduction == "none":
        rows = upstream.detach().double().reshape(-1).contiguous().numpy()
        factor = float(np.abs(rows).max(initial=0)) if _is_half(head) else 1.0
        rows = rows / factor if factor not in (0, 1) else rows
    else:
        factor = float(upstream) * head.scale()
    if _is_half(head):
        head.differentiate(sums, into, upstream=rows)
        return _finished(into, head, factor)
    head.differentiate(sums, into, scale=factor, upstream=rows)
    return _finished(into, head, 1.0)


def _value(head: Head, sums: Sums) -> Tensor:
    """The reduced loss."""
    dtype = torch.float32 if _is_half(head) else head.features.dtype
    losses = torch.from_numpy(sums.loss)
    if head.loss.reduction == "none":
        return losses.to(dtype).view(head.loss.rows)
    total = losses.sum()
    if head.loss.reduction == "mean":
        denominator = head.denominator()
        total = total / denominator if denominator else total * torch.nan
    return total.to(dtype)


class _LinearCrossEntropy(torch.autograd.Function):
    """The loop with autograd.

    `mean` and `sum` make the gradients together with the loss, and backward hands them over; so
    that they are held once, a second backward makes them anew.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        classifier: Tensor,
        bias: Tensor | None,
        target: Tensor,
        weight: Tensor | None,
        problem: _Problem,
        wanted: Wanted,
    ) -> Tensor:
        head = problem.head(features, classifier, bias, target, weight)
        per_row = problem.loss.reduction == "none"
        ctx.sums, held = _forward(head, (False, False, False) if per_row else wanted)
        ctx.held = held or None
        ctx.problem = problem
        ctx.save_for_backward(features, classifier, bias, target, weight)
        return _value(head, ctx.sums)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        features, classifier, bias, target, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # create_graph: a gradient that has a gradient
            grads = _composed_gradients(ctx.problem, ctx.saved_tensors, upstream, wanted)
            return *grads, None, None, None, None
        head = ctx.problem.head(features, classifier, bias, target, weight)
        held, ctx.held = ctx.held, None
        if held is None:
            grads = _from_sums(head, ctx.sums, upstream, wanted)
        else:
            grads = _from_held(held, head, float(upstream))
        return *grads, None, None, None, None


# torch's own operations.


def _composed(
    problem: _Problem,
    features: Tensor,
    classifier: Tensor,
    bias: Tensor | None,
    target: Tensor,
    weight: Tensor | None,
) -> Tensor:
    """The loss with all logits, or, on other devices, with those of a chunk at a time."""
    loss = problem.loss
    count = _count(loss)
    row = classifier.shape[0] * 4 * max(4, features.element_size())  # what autograd keeps of one
    size = max(1, problem.max_bytes // row)
    transformed = torch._C._are_functorch_transforms_active()
    if features.device.type == "cpu" or transformed or count <= size:
        return tensor._cross_entropy(loss, F.linear(features, classifier, bias), target, weight)
    x = features.reshape(count, -1)
    y = target.reshape(count) if loss.target_kind == "index" else target.reshape(count, -1)

    def losses(x: Tensor, y: Tensor) -> Tensor:
        part = replace(loss, axis=1, rows=(len(x),), reduction="none")
        return tensor._cross_entropy(part, F.linear(x, classifier, bias), y, weight)

    parts = [
        checkpoint(losses, x[i : i + size], y[i : i + size], use_reentrant=False)
        for i in range(0, count, size)
    ]
    denominator: Tensor | float = float(count)
    if loss.target_kind == "index":
        kept = tensor._kept(loss, y)
        denominator = kept.sum() if weight is None else weight[y[kept].long()].sum()
    return tensor._reduce(loss, torch.cat(parts).view(loss.rows), denominator)


def _composed_gradients(
    problem: _Problem, saved: tuple[Any, ...], upstream: Tensor, wanted: Wanted
) -> tuple[Tensor | None, ...]:
    features, classifier, bias, target, weight = saved
    value = _composed(problem, features, classifier, bias, target, weight)
    inputs = [x for x, is_wanted in zip(saved, wanted, strict=False) if is_wanted]
    grads = iter(torch.autograd.grad(value, inputs, upstream, create_graph=True))
    return tuple(next(grads) if is_wanted else None for is_wanted in wanted)


# torch.compile: the loop as one operator, whose gradients are results like any other.

_SCHEMA = (
    "Tensor features, Tensor classifier, Tensor target, Tensor? bias, Tensor? weight, "
    "int ignore_index, str reduction, float label_smoothing, float z_loss, float? softcap, "
    "float temperature, int max_bytes, float skip_below, bool[] wanted"
)


def _operator_head(
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
    op = "linear_cross_entropy"
    options = {
        "ignore_index": ignore_index,
        "reduction": reduction,
        "label_smoothing": label_smoothing,
        "z_loss": z_loss,
        "softcap": softcap,
        "temperature": temperature,
    }
    target, weight, problem = _receive(
        op, features, classifier, target, bias, weight, options, max_bytes, skip_below
    )
    _check_cpu(op, features)
    return problem.head(features, classifier, bias, target, weight)


@torch.library.custom_op(
    "softxent::linear_cross_entropy",
    mutates_args=(),
    schema=f"({_SCHEMA}) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _forward_operator(*arguments: Any) -> tuple[Tensor, ...]:
    """The loss, the rows' sums, a factor of the gradients, and these; unwanted ones are empty."""
    *call, wanted = arguments
    head = _operator_head(*call)
    per_row = head.loss.reduction == "none"
    sums, into = _forward(head, (False, False, False) if per_row else wanted)
    rows = torch.from_numpy(np.column_stack([sums.loss, sums.summary]))
    factor = torch.tensor(head.scale() if _is_half(head) else 1.0, dtype=torch.float64)
    shaped = _finished(into, head, 1.0)[0], into.classifier, into.bias
    return _value(head, sums), rows, factor, *_present(shaped, head.features)


def _present(grads: tuple[Tensor | None, ...], like: Tensor) -> list[Tensor]:
    return [like.new_empty(0) if gradient is None else gradient for gradient in grads]


@_forward_operator.register_fake
def _(*arguments: Any) -> tuple[Tensor, ...]:
    features, classifier, *_, reduction = arguments[:7]
    wanted = arguments[-1]
    half = features.dtype in (torch.float16, torch.bfloat16)
    dtype = torch.float32 if half else features.dtype
    rows, classes = features.shape[:-1], classifier.shape[0]
    if reduction == "none":
        wanted = (False, False, False)
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
    schema=f"(Tensor upstream, Tensor rows, {_SCHEMA}) -> (Tensor, Tensor, Tensor)",
)
def _backward_operator(upstream: Tensor, rows: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    """The gradients of a loss a row; unwanted ones are empty."""
    *call, wanted = arguments
    head = _operator_head(*call)
    kept = rows.numpy()
    sums = Sums(kept[:, 0], np.ascontiguousarray(kept[:, 1:]))
    grads = _from_sums(head, sums, upstream, tuple(wanted))
    return tuple(_present(grads, head.features))


@_backward_operator.register_fake
def _(upstream: Tensor, rows: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    features, classifier, wanted = arguments[0], arguments[1], arguments[-1]
    shapes = features.shape, classifier.shape, classifier.shape[:1]
    grads = tuple(
        features.new_empty(shape) if is_wanted else None
        for shape, is_wanted in zip(shapes, wanted, strict=True)
    )
    return tuple(_present(grads, features))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.options = inputs[5:]
    ctx.save_for_backward(*inputs[:5], *output[1:])
    ctx.set_materialize_grads(False)


def _operator_gradients(ctx: Any, upstream: Tensor | None, *_: Any) -> tuple[Any, ...]:
    features, classifier, target, bias, weight, rows, factor, *held = ctx.saved_tensors
    wanted = ctx.options[-1]
    nothing = (None,) * len(ctx.options)
    if upstream is None:
        return (None,) * 5 + nothing
    grads: list[Tensor | None]
    if ctx.options[1] == "none":
        made = torch.ops.softxent.linear_cross_entropy_backward(
            upstream, rows, features, classifier, target, bias, weight, *ctx.options
        )
        grads = [gradient if w else None for gradient, w in zip(made, wanted, strict=True)]
    else:
        scale = upstream.double() * factor
        grads = [
            (gradient * scale.to(gradient.dtype)).to(features.dtype) if w else None
            for gradient, w in zip(held, wanted, strict=True)
        ]
    return grads[0], grads[1], None, grads[2], None, *nothing


_forward_operator.register_autograd(_operator_gradients, setup_context=_keep)
