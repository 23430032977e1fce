"""The public functions of a linear head and its loss together, without the logits.

Arrays and tensors go through the same loop over chunks (`head`); each brings its own products.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from softxent.errors import OptionError
from softxent.ops import native, spec
from softxent.ops.head import MAX_BYTES, Gradients, Head, Sums
from softxent.ops.intake import is_tensor, kind_of, receive, receive_optional
from softxent.ops.products import NumpyProducts

__all__ = ["LinearGradients", "linear_cross_entropy", "linear_cross_entropy_with_grad"]

_ALL = ("features", "classifier", "bias")


class LinearGradients(NamedTuple):
    """Gradients of a linear head; None for one that isn't wanted, and for a bias there isn't."""

    features: Any
    classifier: Any
    bias: Any


def linear_cross_entropy(
    features: Any,
    classifier: Any,
    target: Any,
    bias: Any = None,
    weight: Any = None,
    *,
    ignore_index: int = spec.IGNORE_INDEX,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
    max_bytes: int = MAX_BYTES,
    skip_below: float = 0.0,
) -> Any:
    """Cross-entropy of features through a linear classifier, without ever holding the logits.

        z    = X W^T + b
        loss = cross_entropy(z, target)

    Args:
        features: X, (..., D) float16, bfloat16, float32 or float64.
        classifier: W, (C, D): one row a class.
        target: class indices, the features' shape without the last axis, any integer dtype; or
            class probabilities, that shape with an axis of C classes at the end.
        bias: b, (C,).
        weight, ignore_index, reduction, label_smoothing, z_loss, softcap, temperature: as
            `cross_entropy`.
        max_bytes: how many bytes may be held beside the arguments and the gradients (and, for half
            precision, a float32 copy of the classifier's); at least one row of logits is.
        skip_below: only for the gradients of tensors; see `linear_cross_entropy_with_grad`.

    Returns:
        The loss: a scalar, or one number a row; float32 for half precision, else the features'
        dtype. That of tensors is differentiable in features, classifier and bias.

    Raises:
        TargetError, ShapeError, DTypeError, OptionError: as `cross_entropy`.

    Edge cases: as `cross_entropy`. Ignored rows are left out of the products, whatever they hold.

    Cost: one matrix product; for tensors that need gradients three with `mean` and `sum`, four with
    `none`. Logits of half-precision tensors are rounded to their dtype, as torch's linear rounds
    them; those of arrays are float32.

    Source: E. Wijmans et al., "Cut your losses in large-vocabulary language models", 2024, for the
    aim; as `cross_entropy` for the loss.

    Example:
        >>> X, W = np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> float(linear_cross_entropy(X, W, [1]).round(4))      # logits 1, 2, 3
        1.4076
    """
    op = "linear_cross_entropy"
    options = {
        "ignore_index": ignore_index,
        "reduction": reduction,
        "label_smoothing": label_smoothing,
        "z_loss": z_loss,
        "softcap": softcap,
        "temperature": temperature,
    }
    limits: dict[str, Any] = {"max_bytes": max_bytes, "skip_below": skip_below}
    if is_tensor(features):
        return _tensor().linear_cross_entropy(
            op, features, classifier, target, bias, weight, options=options, **limits
        )
    call = _Call(op, features, classifier, target, bias, weight, options, **limits)
    return call.value(call.head.reduce())


def linear_cross_entropy_with_grad(
    features: Any,
    classifier: Any,
    target: Any,
    bias: Any = None,
    weight: Any = None,
    *,
    ignore_index: int = spec.IGNORE_INDEX,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
    max_bytes: int = MAX_BYTES,
    skip_below: float = 0.0,
    wanted: Collection[str] = _ALL,
) -> tuple[Any, LinearGradients]:
    """The loss of a linear head and its gradients, in one go.

        G = dloss/dz,   dX = G W,   dW = G^T X,   db = sum_i G_i

    Args:
        features, classifier, target, bias, weight, ignore_index, reduction, label_smoothing,
            z_loss, softcap, temperature, max_bytes: as `linear_cross_entropy`.
        skip_below: a class is left out of dX and dW for the rows of a chunk in all of which its
            probability (more exactly: the absolute value of its entry of G, before `mean` divides)
            is less than this. Then each entry of dW is off by at most skip_below times the mean of
            |X| in its column (the sum for `sum` and `none`), and each row of dX by at most
            skip_below times the sum of |W| over the classes. 0: nothing is left out.
        wanted: the gradients to compute: some of "features", "classifier" and "bias".

    Returns:
        (loss, (dX, dW, db)), each gradient in the shape and dtype of its argument, None where it
        isn't wanted. For `none` they are those of the sum of the losses.

    Raises:
        TargetError, ShapeError, DTypeError, OptionError: as `linear_cross_entropy`.

    Edge cases: as `linear_cross_entropy`. The features' gradient of an ignored row is exactly 0.

    Cost: three matrix products, one less for each of dX and dW that isn't wanted. Half precision
    is multiplied and summed up in float32.

    Source: as `linear_cross_entropy`.

    Example:
        >>> X, W = np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> loss, grads = linear_cross_entropy_with_grad(X, W, [1])
        >>> grads.features.round(4)
        array([[ 0.7553, -0.09  ]])
    """
    op = "linear_cross_entropy_with_grad"
    options = {
        "ignore_index": ignore_index,
        "reduction": reduction,
        "label_smoothing": label_smoothing,
        "z_loss": z_loss,
        "softcap": softcap,
        "temperature": temperature,
    }
    limits: dict[str, Any] = {"max_bytes": max_bytes, "skip_below": skip_below}
    unknown = [name for name in wanted if name not in _ALL]
    if isinstance(wanted, str) or unknown:
        raise OptionError(f"[{op}] wanted is {wanted!r}: pass some of {', '.join(_ALL)}.")
    if is_tensor(features):
        value, grads = _tensor().linear_cross_entropy_with_grad(
            op,
            features,
            classifier,
            target,
            bias,
            weight,
            options=options,
            wanted=tuple(name in wanted for name in _ALL),
            **limits,
        )
        return value, LinearGradients(*grads)
    call = _Call(op, features, classifier, target, bias, weight, options, **limits)
    return call.value_and_gradients(wanted)


class _Call:
    """One call on arrays: checked arguments, and the way back to the caller's kinds."""

    def __init__(
        self,
        op: str,
        features: Any,
        classifier: Any,
        target: Any,
        bias: Any,
        weight: Any,
        options: dict[str, Any],
        *,
        max_bytes: int,
        skip_below: float,
    ) -> None:
        self.features, self._export = receive(op, "features", features)
        self.classifier, self._export_classifier = receive(op, "classifier", classifier)
        self.bias = receive_optional(op, "bias", bias)
        dtype = np.result_type(
            native.compute_dtype(op, "features", self.features.dtype),
            native.compute_dtype(op, "classifier", self.classifier.dtype),
        )
        shape = spec.check_linear(
            op,
            self.features.shape,
            self.classifier.shape,
            None if self.bias is None else self.bias.shape,
        )
        target = receive(op, "target", target)[0]
        if target.size == 0 and target.dtype.kind == "f" and target.ndim < len(shape):
            target = target.astype(np.int64)  # an empty list
        loss = spec.Loss.of(op, shape, target.shape, kind_of(target.dtype), axis=-1, **options)
        if loss.target_kind == "index":
            spec.check_indices(op, target, loss.classes, loss.ignore_index)
            target = np.require(target.reshape(-1), np.int64, ["C", "A"])
        else:
            spec.check_masses(op, target)
            target = native._readable(op, "target", target).reshape(-1, loss.classes)
        weight = receive_optional(op, "weight", weight)
        if weight is not None:
            spec.check_weight(op, weight.shape, weight, loss.classes)
            weight = np.require(weight, dtype, ["C", "A"])
        x = self.features
        if x.ndim < 2 or x.flags.c_contiguous:  # else the rows are fetched a chunk at a time
            x = x.reshape(len(target), x.shape[-1])
        self.dtype = dtype
        self.head = Head(
            loss=loss,
            products=NumpyProducts(dtype, widens=self.classifier.dtype != dtype),
            features=x,
            classifier=self.classifier,
            bias=self.bias,
            target=target,
            weight=weight,
            max_bytes=spec.check_max_bytes(op, max_bytes),
            skip_below=spec.check_skip_below(op, skip_below),
        )

    def value(self, sums: Sums) -> Any:
        """The reduced loss, in the features' kind."""
        head = self.head
        return self._export(native.reduce(head.loss, sums.loss, head.denominator(), self.dtype))

    def value_and_gradients(self, wanted: Collection[str]) -> tuple[Any, LinearGradients]:
        """The reduced loss, and the gradients in their arguments' kinds and dtypes."""
        head, op, products = self.head, self.head.loss.op, self.head.products
        into = Gradients()
        if "features" in wanted:
            dtype = native.result_dtype(op, "features", self.features.dtype)
            into.features = np.zeros((len(head.target), self.features.shape[-1]), dtype)
        if "classifier" in wanted:
            into.classifier = products.zeros(*self.classifier.shape)
        if "bias" in wanted and self.bias is not None:
            into.bias = products.zeros(*self.bias.shape)
        sums = head.reduce_and_differentiate(into, scale=head.scale())

        def finish(gradient: Any, argument: Any) -> Any:
            if gradient is None:
                return None
            dtype = native.result_dtype(op, "classifier", argument.dtype)
            return self._export_classifier(gradient.astype(dtype, copy=False))

        features = into.features
        if features is not None:
            features = self._export(features.reshape(self.features.shape))
        return self.value(sums), LinearGradients(
            features, finish(into.classifier, self.classifier), finish(into.bias, self.bias)
        )


def _tensor() -> Any:
    """The torch backend, loaded when the first tensor comes."""
    from softxent.ops import linear_tensor

    return linear_tensor
