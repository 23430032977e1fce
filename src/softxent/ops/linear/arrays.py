"""The linear head and its loss on arrays."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from softxent.errors import OptionError
from softxent.ops import checks, spec
from softxent.ops.arrays.intake import receive, receive_optional, receive_target
from softxent.ops.arrays.output import readable
from softxent.ops.arrays.reductions import reduce
from softxent.ops.dtypes import compute_dtype, epsilon, kind_of, result_dtype
from softxent.ops.linear.loop import Gradients, LinearHead, RowSums
from softxent.ops.linear.matmuls import NumpyMatmuls
from softxent.ops.options import LossOptions
from softxent.ops.spec import Loss

__all__ = ["linear_cross_entropy", "linear_cross_entropy_with_grad"]


def linear_cross_entropy(
    op: str,
    features: Any,
    classifier: Any,
    target: Any,
    bias: Any,
    options: LossOptions,
    *,
    max_bytes: int,
    skip_below: float,
    logits_dtype: Any,
) -> Any:
    """The reduced loss."""
    call = _Call(op, features, classifier, target, bias, options, max_bytes, skip_below)
    call.check_logits_dtype(logits_dtype)
    return call.value(call.head.reduce())


def linear_cross_entropy_with_grad(
    op: str,
    features: Any,
    classifier: Any,
    target: Any,
    bias: Any,
    options: LossOptions,
    *,
    max_bytes: int,
    skip_below: float,
    logits_dtype: Any,
    wanted: Collection[str],
) -> tuple[Any, tuple[Any, Any, Any]]:
    """The reduced loss and its gradients; `wanted` names them."""
    call = _Call(op, features, classifier, target, bias, options, max_bytes, skip_below)
    call.check_logits_dtype(logits_dtype)
    return call.value_and_gradients(wanted)


class _Call:
    """One call: its checked arguments as a `LinearHead`, and the way back to the caller's kinds."""

    def __init__(
        self,
        op: str,
        features: Any,
        classifier: Any,
        target: Any,
        bias: Any,
        options: LossOptions,
        max_bytes: int,
        skip_below: float,
    ) -> None:
        self.features, self._export = receive(op, "features", features)
        self.classifier, self._export_classifier = receive(op, "classifier", classifier)
        self.bias = receive_optional(op, "bias", bias)
        dtype = np.result_type(
            compute_dtype(op, "features", self.features.dtype),
            compute_dtype(op, "classifier", self.classifier.dtype),
        )
        shape = spec.check_linear(
            op,
            self.features.shape,
            self.classifier.shape,
            None if self.bias is None else self.bias.shape,
        )
        target = receive_target(op, target, len(shape))
        loss = Loss.of(op, shape, target.shape, kind_of(target.dtype), axis=-1, options=options)
        if loss.target_kind == "index":
            target = np.array(target)  # they address memory: nobody may change them after the check
            checks.check_indices(op, target, loss.classes, loss.options.ignore_index)
            target = np.require(target.reshape(-1), np.int64, ["C", "A"])
        else:
            checks.check_soft_target(op, target, loss.axis, epsilon(target.dtype))
            target = readable(op, "target", target).reshape(-1, loss.classes)
        weight = receive_optional(op, "weight", options.weight)
        if weight is not None:
            checks.check_weight(op, weight.shape, weight, loss.classes)
            weight = np.require(weight, dtype, ["C", "A"])
        x = self.features
        if x.ndim < 2 or x.flags.c_contiguous:  # otherwise rows are copied a chunk at a time
            x = x.reshape(len(target), x.shape[-1])
        self.dtype = dtype
        self.head = LinearHead(
            loss=loss,
            matmuls=NumpyMatmuls(dtype, widens=self.classifier.dtype != dtype),
            features=x,
            classifier=self.classifier,
            bias=self.bias,
            target=target,
            weight=weight,
            max_bytes=spec.check_max_bytes(op, max_bytes),
            skip_below=spec.check_skip_below(op, skip_below),
        )

    def check_logits_dtype(self, logits_dtype: Any) -> None:
        """The logits of arrays have the dtype of the computation."""
        op, own = self.head.loss.op, self.dtype.name
        if logits_dtype is not None and spec.dtype_name(op, logits_dtype) != own:
            raise OptionError(
                f"[{op}] logits_dtype is {logits_dtype}, but the logits of these arrays are {own}: "
                "pass None."
            )

    def value(self, sums: RowSums) -> Any:
        """The reduced loss, in the features' kind."""
        head = self.head
        return self._export(reduce(head.loss, sums.loss, head.denominator(), self.dtype))

    def value_and_gradients(self, wanted: Collection[str]) -> tuple[Any, tuple[Any, Any, Any]]:
        """The reduced loss, and the gradients in their arguments' kinds and dtypes."""
        head, op, matmuls = self.head, self.head.loss.op, self.head.matmuls
        into = Gradients()
        if "features" in wanted:
            dtype = result_dtype(op, "features", self.features.dtype)
            into.features = np.zeros((len(head.target), self.features.shape[-1]), dtype)
        if "classifier" in wanted:
            into.classifier = matmuls.zeros(*self.classifier.shape)
        if "bias" in wanted and self.bias is not None:
            into.bias = matmuls.zeros(*self.bias.shape)
        sums = head.reduce_and_differentiate(into, scale=head.scale())

        def finish(gradient: Any, argument: Any) -> Any:
            if gradient is None:
                return None
            dtype = result_dtype(op, "classifier", argument.dtype)
            return self._export_classifier(gradient.astype(dtype, copy=False))

        features = into.features
        if features is not None:
            features = self._export(features.reshape(self.features.shape))
        grads = features, finish(into.classifier, self.classifier), finish(into.bias, self.bias)
        return self.value(sums), grads
