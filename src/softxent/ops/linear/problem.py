"""A linear head on tensors, checked: what autograd functions and operators pass along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from softxent.errors import DTypeError, OptionError
from softxent.ops import spec
from softxent.ops.linear.loop import LinearHead
from softxent.ops.linear.torch_matmuls import TorchMatmuls
from softxent.ops.options import LossOptions
from softxent.ops.spec import Loss, size_of
from softxent.ops.tensors import intake, operators
from softxent.ops.tensors.dtypes import is_half
from softxent.ops.tensors.kernels import as_array
from softxent.ops.tensors.routing import kernels_take, wants_gradient

__all__ = [
    "NOTHING",
    "Problem",
    "Wanted",
    "autocast",
    "loop_takes",
    "receive",
    "wanted_of",
    "widens",
]

Wanted = tuple[bool, bool, bool]  # the gradients of features, classifier, bias
NOTHING: Wanted = (False, False, False)


@dataclass(frozen=True, slots=True)
class Problem:
    """A checked loss and its limits, and the dtype of its logits."""

    loss: Loss
    max_bytes: int
    skip_below: float
    widens: bool  # whether the logits of half precision are float32

    def head(
        self,
        features: Tensor,
        classifier: Tensor,
        bias: Tensor | None,
        target: Tensor,
        weight: Tensor | None,
    ) -> LinearHead:
        """The loop over these tensors, without autograd."""
        matmuls = TorchMatmuls(features.dtype, widens=self.widens)
        x = features.detach()
        if x.ndim < 2 or x.is_contiguous():  # otherwise rows are copied a chunk at a time
            x = x.reshape(size_of(self.loss.rows), x.shape[-1])
        if self.loss.target_kind == "index":
            rows = as_array(target.reshape(-1).long().contiguous())
        else:
            if not target.is_floating_point():  # one-hot rows of integers
                target = target.to(matmuls.sum_dtype)
            rows = as_array(target.detach().reshape(-1, self.loss.classes))
        if weight is not None:
            weight = weight.detach().to(matmuls.sum_dtype).contiguous()
        return LinearHead(
            loss=self.loss,
            matmuls=matmuls,
            features=x,
            classifier=classifier.detach(),
            bias=None if bias is None else bias.detach(),
            target=rows,
            weight=None if weight is None else as_array(weight),
            max_bytes=self.max_bytes,
            skip_below=self.skip_below,
        )


def receive(
    op: str,
    features: Tensor,
    classifier: Any,
    target: Any,
    bias: Any,
    options: LossOptions,
    max_bytes: int,
    skip_below: float,
    logits_dtype: Any = None,
) -> tuple[Tensor, Tensor | None, Problem]:
    """Target and class weights as tensors, and everything checked, values where there are any."""
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
    target, weight, loss = intake.receive_loss(op, logits, target, options, axis=-1)
    if loss.target_kind == "index":
        target = target.clone()  # they address memory: nobody may change them after the check
    target = operators.check_target(loss, target)
    if loss.target_kind == "probabilities" and not target.is_floating_point():
        target = target.to(features.dtype)  # one-hot rows of integers
    problem = Problem(
        loss,
        spec.check_max_bytes(op, max_bytes),
        spec.check_skip_below(op, skip_below),
        widens(op, logits_dtype, features.dtype),
    )
    return target, weight, problem


def widens(op: str, logits_dtype: Any, dtype: torch.dtype) -> bool:
    """Whether features of this dtype are half precision and their logits are to be float32."""
    if logits_dtype is None or logits_dtype is dtype:
        return False
    if not isinstance(logits_dtype, torch.dtype):
        logits_dtype = getattr(torch, spec.dtype_name(op, logits_dtype))
    if logits_dtype is dtype:
        return False
    if logits_dtype is torch.float32 and is_half(dtype):
        return True
    own = str(dtype).removeprefix("torch.")
    raise OptionError(
        f"[{op}] logits_dtype is {logits_dtype}, but features of dtype {own} have logits of "
        f"{own}{' or float32' if is_half(dtype) else ''}: pass one of these, or None."
    )


def wanted_of(features: Tensor, classifier: Tensor, bias: Tensor | None) -> Wanted:
    """The gradients that autograd will need."""
    if not torch.is_grad_enabled():
        return NOTHING
    return (
        features.requires_grad,
        classifier.requires_grad,
        bias is not None and bias.requires_grad,
    )


def autocast(
    op: str, features: Tensor, classifier: Tensor, bias: Tensor | None, logits_dtype: Any
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The tensors as torch's linear would convert them under autocast.

    Float32 logits need no conversion to half precision: there tensors of several dtypes become
    float32.
    """
    # torch.amp.is_autocast_available isn't used, because torch.compile can't trace it in torch 2.7.
    device = features.device.type
    if device == "meta" or not torch.is_autocast_enabled(device):
        return features, classifier, bias
    if features.dtype == torch.float64:
        return features, classifier, bias
    dtype = torch.get_autocast_dtype(device)
    if logits_dtype is not None and widens(op, logits_dtype, dtype):
        given = {x.dtype for x in (features, classifier, bias) if x is not None}
        if len(given) == 1:
            return features, classifier, bias
        dtype = torch.float32
    return features.to(dtype), classifier.to(dtype), None if bias is None else bias.to(dtype)


def loop_takes(
    features: Tensor,
    classifier: Tensor,
    bias: Tensor | None,
    target: Tensor,
    weight: Tensor | None,
) -> bool:
    """Whether the loop serves these; otherwise the loss is decomposed into torch operations."""
    if torch.is_grad_enabled() and wants_gradient(target, weight):
        return False
    return kernels_take(features, classifier, bias, target, weight)
