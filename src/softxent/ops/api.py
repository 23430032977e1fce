"""The public functions: arrays or tensors in, the same kind out.

Arrays go to the compiled kernels (`native`), torch tensors to `tensor`, which has them computed by
the same kernels or by torch's operations. What is wrong with the arguments is said by `spec`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from softxent.errors import DTypeError
from softxent.ops import native, spec
from softxent.ops.intake import is_tensor, kind_of, precision, receive, receive_optional

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "cross_entropy_with_grad",
    "log_loss",
    "log_softmax",
    "logsumexp",
    "nll_loss",
    "one_hot",
    "softmax",
    "top_k",
]


def softmax(x: Any, axis: int = -1, *, out: Any = None) -> Any:
    """Softmax: numbers of any size become probabilities that add up to 1.

        p_j = exp(x_j) / sum_k exp(x_k)

    Args:
        x: logits, any shape with at least one axis; real numbers. Integers are taken as float64.
        axis: the class axis.
        out: an array of the result's shape and dtype to write to; it may be `x` itself.

    Returns:
        The probabilities, in x's shape, dtype and kind.

    Raises:
        ShapeError: x has no such axis, or `out` has another shape.
        DTypeError: x isn't made of real numbers, or `out` has another dtype.

    Edge cases: a -inf logit gets exactly 0; a row of only -inf, or with +inf or NaN, becomes NaN.

    Cost: reads x twice and writes the result once; holds nothing else.

    Source: J. S. Bridle, "Probabilistic interpretation of feedforward classification network
    outputs", 1990.

    Example:
        >>> softmax([2.0, -1.0, 0.1]).round(4)
        array([0.8338, 0.0415, 0.1247])
    """
    if is_tensor(x):
        return _tensor().softmax("softmax", x, axis, out, log=False)
    array, export = receive("softmax", "x", x)
    axis = spec.check_axis("softmax", axis, array.ndim)
    return export(native.softmax("softmax", array, axis, out, log=False))


def log_softmax(x: Any, axis: int = -1, *, out: Any = None) -> Any:
    """Logarithm of softmax, without the underflow of `log(softmax(x))`.

        log p_j = x_j - log sum_k exp(x_k)

    Args:
        x: logits, as `softmax`.
        axis: the class axis.
        out: as `softmax`.

    Returns:
        Log-probabilities in nats, <= 0, in x's shape, dtype and kind.

    Raises:
        ShapeError, DTypeError: as `softmax`.

    Edge cases: a -inf logit gets -inf; a row of only -inf, or with +inf or NaN, becomes NaN.

    Cost: as `softmax`.

    Source: as `softmax`.

    Example:
        >>> log_softmax([2.0, -1.0, 0.1]).round(4)
        array([-0.1818, -3.1818, -2.0818])
    """
    if is_tensor(x):
        return _tensor().softmax("log_softmax", x, axis, out, log=True)
    array, export = receive("log_softmax", "x", x)
    axis = spec.check_axis("log_softmax", axis, array.ndim)
    return export(native.softmax("log_softmax", array, axis, out, log=True))


def logsumexp(x: Any, axis: int = -1, *, keepdims: bool = False) -> Any:
    """Logarithm of the sum of exponentials.

        lse = log sum_j exp(x_j)

    Args:
        x: any shape with at least one axis; real numbers.
        axis: the axis to sum over.
        keepdims: keep that axis with length 1.

    Returns:
        x's shape without the axis; x's dtype, float64 for integers.

    Raises:
        ShapeError, DTypeError: as `softmax`.

    Edge cases: -inf over nothing or over only -inf; +inf with one; NaN with one.

    Cost: reads x twice, writes one number a row.

    Example:
        >>> float(logsumexp([0.0, 0.0]).round(4))
        0.6931
    """
    if is_tensor(x):
        return _tensor().logsumexp("logsumexp", x, axis, keepdims)
    array, export = receive("logsumexp", "x", x)
    axis = spec.check_axis("logsumexp", axis, array.ndim)
    result = native.logsumexp("logsumexp", array, axis)
    return export(np.expand_dims(result, axis) if keepdims else result[()])


def top_k(x: Any, k: int, axis: int = -1) -> tuple[Any, Any]:
    """The k largest entries, largest first: top-1 is the prediction, top-N the short list.

    Args:
        x: scores (logits or probabilities: the order is the same); real numbers.
        k: how many, 1 to the length of the axis.
        axis: the class axis.

    Returns:
        (values, indices), each with k entries on the axis. Among equals the lower index comes
        first; NaN counts as the largest, as in torch.

    Raises:
        OptionError: k is less than 1 or more than there are classes.
        ShapeError, DTypeError: as `softmax`.

    Example:
        >>> values, indices = top_k([0.4, 0.1, 0.2, 0.3], 2)
        >>> indices
        array([0, 3])
    """
    if is_tensor(x):
        values, indices = _tensor().top_k("top_k", x, k, axis)
        return values, indices
    array, export = receive("top_k", "x", x)
    axis = spec.check_axis("top_k", axis, array.ndim)
    k = spec.check_k("top_k", k, array.shape[axis])
    # Sorting the reversed axis and reversing the order puts the lower of two equal indices first.
    backwards = np.flip(array, axis)
    order = array.shape[axis] - 1 - np.flip(np.argsort(backwards, axis, kind="stable"), axis)
    indices = np.take(order, range(k), axis)
    return export(np.take_along_axis(array, indices, axis)), export(indices)


def one_hot(target: Any, num_classes: int) -> Any:
    """Class indices as rows of zeros with a single one.

    Args:
        target: class indices in [0, num_classes), any shape, any integer dtype.
        num_classes: C.

    Returns:
        int64, the target's shape with an axis of length C added at the end.

    Raises:
        TargetError: an index outside [0, C).
        DTypeError: not integers.

    Example:
        >>> one_hot([2, 0], 3)
        array([[0, 0, 1],
               [1, 0, 0]])
    """
    num_classes = spec.check_count("one_hot", "num_classes", num_classes)
    if is_tensor(target):
        return _tensor().one_hot("one_hot", target, num_classes)
    array, export = receive("one_hot", "target", target)
    if array.size == 0 and array.dtype.kind == "f":
        array = array.astype(np.int64)  # an empty list
    if array.dtype.kind not in "iu":
        raise DTypeError(f"[one_hot] target has dtype {array.dtype}: class indices are integers.")
    spec.check_indices("one_hot", array, num_classes, None)
    result = np.zeros((*array.shape, num_classes), np.int64)
    np.put_along_axis(result, array[..., None].astype(np.int64), 1, axis=-1)
    return export(result)


def cross_entropy(
    logits: Any,
    target: Any,
    weight: Any = None,
    *,
    axis: int = -1,
    ignore_index: int = spec.IGNORE_INDEX,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
) -> Any:
    """Cross-entropy of softmax(logits) against a target, in nats.

        u    = softcap tanh(z / (temperature softcap)),  lse = log sum_j exp(u_j)
        t    = (1 - e) w_y onehot(y) + (e / C) w         for a class index y
               w ((1 - e) q + e / C)                     for class probabilities q
        loss = sum_j t_j (lse - u_j) + z_loss lse^2

    Give it the raw logits: softmax is part of it. Applied to probabilities it can't fall below
    log(1 + (C - 1) / e), and learning stalls.

    Args:
        logits: z, (..., C) float16, bfloat16, float32 or float64; integers are taken as float64
            in arrays.
        target: class indices, the logits' shape without the class axis, any integer dtype; or class
            probabilities, the logits' shape, >= 0.
        weight: (C,) class weights w, finite, >= 0.
        axis: the class axis, C.
        ignore_index: class indices of this value add nothing, whatever their logits hold.
        reduction: `none` (one loss a row), `sum`, or `mean`. The mean divides by what torch divides
            by: the summed weight of the kept targets for class indices, the number of rows for
            class probabilities.
        label_smoothing: e in [0, 1].
        z_loss: factor of lse^2, which keeps the logits from drifting, >= 0.
        softcap: bound of |u|, > 0; None for none.
        temperature: divides the logits, > 0.

    Returns:
        The loss: a scalar, or one number a row; float32 for half precision, else the logits' dtype.

    Raises:
        TargetError: a class index outside [0, C) that isn't ignore_index; a negative probability.
        ShapeError, DTypeError: shapes or dtypes that don't fit.
        OptionError: an option outside its range.

    Edge cases: a mean over no row is NaN. A -inf logit is a masked class: as the target its loss is
    +inf. A row of only -inf, or with +inf or NaN, is NaN, and only that row. One class: 0.

    Cost: reads the logits twice; holds one number a row.

    Source: I. J. Good, "Rational decisions", 1952; label smoothing: C. Szegedy et al., 2016.

    Example:
        >>> float(cross_entropy([[2.0, -1.0, 0.1]], [2]).round(4))
        2.0818
        >>> sure = cross_entropy(np.array([[20.0, 0.0]]), [0])   # lse - x would give 0
        >>> f"{sure:.9e}"
        '2.061153620e-09'
    """
    op = "cross_entropy"
    options = {
        "axis": axis,
        "ignore_index": ignore_index,
        "reduction": reduction,
        "label_smoothing": label_smoothing,
        "z_loss": z_loss,
        "softcap": softcap,
        "temperature": temperature,
    }
    if is_tensor(logits):
        return _tensor().cross_entropy(op, logits, target, weight, **options)
    array, target, weight, loss, export = _receive_loss(op, logits, target, weight, options)
    value, _ = native.cross_entropy(loss, array, target, weight, with_grad=False)
    return export(value)


def cross_entropy_with_grad(
    logits: Any,
    target: Any,
    weight: Any = None,
    *,
    axis: int = -1,
    ignore_index: int = spec.IGNORE_INDEX,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
    out: Any = None,
) -> tuple[Any, Any]:
    """Cross-entropy and its gradient with respect to the logits, in one go.

        dloss/dz_j = ((s + 2 z_loss lse) p_j - t_j) du_j/dz_j,   s = sum_j t_j

    Args:
        logits, target, weight, axis, ignore_index, reduction, label_smoothing, z_loss, softcap,
            temperature: as `cross_entropy`.
        out: where the gradient goes: an array of the logits' shape and dtype. `out=logits` writes
            it over the logits, and nothing of their size is allocated.

    Returns:
        (loss, gradient). The gradient has the logits' shape and dtype. For `mean` it is that of the
        mean; for `sum` and `none` each row's is that of its own loss.

    Raises:
        TargetError, ShapeError, DTypeError, OptionError: as `cross_entropy`; nothing is written.

    Edge cases: as `cross_entropy`. The gradient of an ignored row is exactly 0. Where the target
    is a masked class the loss is +inf and the gradient finite.

    Cost: reads the logits three times, writes the gradient once; holds one number a row.

    Source: as `cross_entropy`.

    Example:
        >>> loss, grad = cross_entropy_with_grad([[2.0, -1.0, 0.1]], [2])
        >>> grad.round(4)
        array([[ 0.8338,  0.0415, -0.8753]])
    """
    op = "cross_entropy_with_grad"
    options = {
        "axis": axis,
        "ignore_index": ignore_index,
        "reduction": reduction,
        "label_smoothing": label_smoothing,
        "z_loss": z_loss,
        "softcap": softcap,
        "temperature": temperature,
    }
    if is_tensor(logits):
        value, grad = _tensor().cross_entropy_with_grad(op, logits, target, weight, out, **options)
        return value, grad
    array, target, weight, loss, export = _receive_loss(op, logits, target, weight, options)
    value, grad = native.cross_entropy(loss, array, target, weight, with_grad=True, out=out)
    return export(value), export(grad)


def _receive_loss(
    op: str, logits: Any, target: Any, weight: Any, options: dict[str, Any], scores: str = "logits"
) -> Any:
    """Arrays and a checked spec; of logits, signed class indices are left to the kernels' check."""
    array, export = receive(op, scores, logits)
    native.compute_dtype(op, scores, array.dtype)
    target = receive(op, "target", target)[0]
    if target.size == 0 and target.dtype.kind == "f" and target.ndim < array.ndim:
        target = target.astype(np.int64)  # an empty list
    kind = kind_of(target.dtype)
    loss = spec.Loss.of(op, array.shape, target.shape, kind, scores=scores, **options)
    if loss.target_kind == "probabilities":
        spec.check_masses(op, target)
    elif scores != "logits" or kind != "i" or loss.ignore_index is None:
        spec.check_indices(op, target, loss.classes, loss.ignore_index)
    weight = receive_optional(op, "weight", weight)
    if weight is not None:
        spec.check_weight(op, weight.shape, weight, loss.classes)
    return array, target, weight, loss, export


def nll_loss(
    log_probs: Any,
    target: Any,
    weight: Any = None,
    *,
    axis: int = -1,
    ignore_index: int = spec.IGNORE_INDEX,
    reduction: str = "mean",
) -> Any:
    """Negative log-likelihood of class indices under given log-probabilities, in nats.

        loss = -w_y log p_y

    `nll_loss(log_softmax(z), y)` is `cross_entropy(z, y)`.

    Args:
        log_probs: (..., C) log-probabilities, as `log_softmax` gives them; they aren't checked.
        target: class indices, the shape of log_probs without the class axis.
        weight, axis, ignore_index, reduction: as `cross_entropy`.

    Returns:
        The loss: a scalar, or one number a row.

    Raises:
        TargetError, ShapeError, DTypeError, OptionError: as `cross_entropy`.

    Cost: reads one number a row.

    Example:
        >>> float(nll_loss(log_softmax([[2.0, -1.0, 0.1]]), [2]).round(4))
        2.0818
    """
    op = "nll_loss"
    options = {"axis": axis, "ignore_index": ignore_index, "reduction": reduction}
    if is_tensor(log_probs):
        return _tensor().nll_loss(op, log_probs, target, weight, **options)
    array, target, weight, loss, export = _receive_loss(
        op, log_probs, target, weight, options, scores="log_probs"
    )
    spec.check_is_index(loss)
    return export(_pick(loss, array, target, weight))


def _pick(loss: spec.Loss, log_probs: Any, target: Any, weight: Any) -> Any:
    """The reduced mean of -w_y log p_y."""
    dtype = native.compute_dtype(loss.op, "log_probs", log_probs.dtype)
    kept = np.full(target.shape, True) if loss.ignore_index is None else target != loss.ignore_index
    index = np.where(kept, target, 0).astype(np.int64)
    if loss.classes == 0:
        picked = np.zeros(loss.rows)
    else:
        picked = np.take_along_axis(log_probs, np.expand_dims(index, loss.axis), loss.axis)
        picked = picked.reshape(loss.rows).astype(np.float64)
    if weight is None or loss.classes == 0:
        w = np.ones(loss.rows)
    else:
        w = np.asarray(weight, np.float64)[index]
    w = np.where(kept, w, 0.0)
    # A row of weight 0 adds nothing, even where its log-probability is -inf.
    losses = 0.0 - w * np.where(w == 0, 0.0, picked)  # 0.0 for a certain row, never -0.0
    return native.reduce(loss, losses, float(w.sum()), dtype)


def log_loss(
    probs: Any, target: Any, weight: Any = None, *, axis: int = -1, reduction: str = "mean"
) -> Any:
    """Cross-entropy of given probabilities against a target, in nats.

        loss = -sum_j t_j log p_j

    For logits use `cross_entropy`, which is exact where probabilities have rounded to 0 or 1.

    Args:
        probs: (..., C) probabilities: each row in [0, 1] and adding up to 1. This is checked.
        target: class indices, the shape of probs without the class axis; or class probabilities
            (one-hot rows, say) of the shape of probs.
        weight, axis, reduction: as `cross_entropy`.

    Returns:
        The loss: a scalar, or one number a row. Nothing is clipped: a target of probability 0
        costs +inf.

    Raises:
        ProbabilityError: a row that can't be probabilities, naming it.
        TargetError, ShapeError, DTypeError, OptionError: as `cross_entropy`.

    Cost: reads probs three times.

    Example:
        >>> float(log_loss([0.7, 0.2, 0.1], [1, 0, 0]))
        0.35667494393873245
    """
    op = "log_loss"
    if is_tensor(probs):
        return _tensor().log_loss(op, probs, target, weight, axis=axis, reduction=reduction)
    options = {"axis": axis, "reduction": reduction, "ignore_index": None}
    array, target, weight, loss, export = _receive_loss(
        op, probs, target, weight, options, scores="probs"
    )
    dtype = native.compute_dtype(op, "probs", array.dtype)
    given = precision(array.dtype)
    array = array.astype(dtype, copy=False)
    spec.check_probabilities(op, array, loss.axis, given)
    if loss.target_kind == "index":
        with np.errstate(divide="ignore"):
            return export(_pick(loss, np.log(array), target, weight))
    mass = np.moveaxis(target, loss.axis, -1).astype(np.float64)
    if weight is not None:
        mass = mass * weight
    with np.errstate(divide="ignore", invalid="ignore"):
        log_probs = np.log(np.moveaxis(array, loss.axis, -1))
        losses = 0.0 - np.where(mass == 0, 0.0, mass * log_probs).sum(axis=-1)
    return export(native.reduce(loss, losses, float(losses.size), dtype))


def binary_cross_entropy(
    probs: Any, target: Any, weight: Any = None, *, reduction: str = "mean"
) -> Any:
    """Cross-entropy of the probability of one class of two, in nats.

        loss = -w (y log p + (1 - y) log(1 - p))

    Args:
        probs: p, any shape, in [0, 1]; what a sigmoid gives. This is checked.
        target: y, the same shape, in [0, 1].
        weight: w, a weight an element, broadcast against the shape.
        reduction: `none`, `sum`, or `mean` over all elements.

    Returns:
        The loss: a scalar, or one number an element. Nothing is clipped: certainty about the wrong
        class costs +inf (torch's own function clips it to 100).

    Raises:
        ProbabilityError: probs outside [0, 1]: logits, perhaps.
        TargetError: a target outside [0, 1]: class indices of many classes, perhaps.
        ShapeError, DTypeError, OptionError: as `cross_entropy`.

    Example:
        >>> float(binary_cross_entropy([0.9, 0.2], [1, 0]).round(4))
        0.1643
    """
    op = "binary_cross_entropy"
    if is_tensor(probs):
        return _tensor().binary_cross_entropy(op, probs, target, weight, reduction=reduction)
    array, export = receive(op, "probs", probs)
    dtype = native.compute_dtype(op, "probs", array.dtype)
    target = receive(op, "target", target)[0]
    spec.check_binary_target(op, "probs", array.shape, target)
    spec.check_unit_interval(op, array, hint=" Logits? Use binary_cross_entropy_with_logits.")
    p, y = array.astype(np.float64), target.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        yes = np.where(y == 0, 0.0, y * np.log(p))
        no = np.where(y == 1, 0.0, (1 - y) * np.log1p(-p))
    losses = 0.0 - yes - no
    losses = _weigh(op, losses, receive_optional(op, "weight", weight))
    loss = spec.Loss.elementwise(op, array.shape, reduction)
    return export(native.reduce(loss, losses, float(losses.size), dtype))


def binary_cross_entropy_with_logits(
    logits: Any,
    target: Any,
    weight: Any = None,
    *,
    pos_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    """Cross-entropy of one logit against a class of two: softmax over [0, x].

        loss = w (v y log(1 + exp(-x)) + (1 - y) log(1 + exp(x)))

    Args:
        logits: x, any shape.
        target: y, the same shape, in [0, 1].
        weight: w, a weight an element, broadcast against the shape.
        pos_weight: v, the positive class's weight, broadcast against the shape.
        reduction: `none`, `sum`, or `mean` over all elements.

    Returns:
        The loss: a scalar, or one number an element.

    Raises:
        TargetError: a target outside [0, 1]: class indices of many classes, perhaps.
        ShapeError, DTypeError, OptionError: as `cross_entropy`.

    Example:
        >>> float(binary_cross_entropy_with_logits([0.0], [1.0]).round(4))
        0.6931
    """
    op = "binary_cross_entropy_with_logits"
    if is_tensor(logits):
        return _tensor().binary_cross_entropy_with_logits(
            op, logits, target, weight, pos_weight=pos_weight, reduction=reduction
        )
    array, export = receive(op, "logits", logits)
    target = receive(op, "target", target)[0]
    spec.check_binary_target(op, "logits", array.shape, target)
    loss = spec.Loss.elementwise(op, array.shape, reduction)
    positive_weight, weight = (
        None if x is None else spec.check_element_weight(op, x, array.shape)
        for x in (
            receive_optional(op, "pos_weight", pos_weight),
            receive_optional(op, "weight", weight),
        )
    )
    return export(native.binary_cross_entropy(loss, array, target, positive_weight, weight))


def _weigh(op: str, losses: Any, weight: Any) -> Any:
    """Losses times a weight that broadcasts to their shape."""
    if weight is None:
        return losses
    wide = spec.check_element_weight(op, weight, losses.shape)
    with np.errstate(invalid="ignore"):
        return np.where(wide == 0, 0.0, losses * wide)


def _tensor() -> Any:
    """The torch backend, loaded when the first tensor comes."""
    from softxent.ops import tensor

    return tensor
