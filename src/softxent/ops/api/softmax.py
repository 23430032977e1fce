"""Softmax and its logarithm, logsumexp, top-k and one-hot: the public functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from softxent.ops import spec
from softxent.ops.api.backends import backend_of
from softxent.ops.types import Array, ArrayLike, Axes, Floating, Integers, SupportsDLPack

if TYPE_CHECKING:
    from softxent.ops.types import Tensor

__all__ = ["log_softmax", "logsumexp", "one_hot", "softmax", "top_k"]


@overload
def softmax(x: Tensor, axis: Axes = -1, *, out: Tensor | None = None) -> Tensor: ...
@overload
def softmax(x: ArrayLike, axis: Axes = -1, *, out: Array | None = None) -> Array: ...
@overload
def softmax(x: SupportsDLPack, axis: Axes = -1, *, out: Any = None) -> Any: ...


def softmax(x: Any, axis: Axes = -1, *, out: Any = None) -> Any:
    """Softmax: logits of any size become probabilities that add up to 1.

        p_j = exp(x_j) / sum_k exp(x_k)

    Args:
        x: logits of any shape; real numbers. Integers count as float64.
        axis: the class axis; several axes (or None for all) hold the classes together.
        out: an array of the result's shape and dtype for the result; it may be `x` itself.

    Returns:
        The probabilities, in x's shape, dtype and kind.

    Raises:
        ShapeError: x has no such axis, or `out` has another shape.
        DTypeError: x isn't made of real numbers, or `out` has another dtype.

    Edge cases: a -inf logit has probability exactly 0; a row of only -inf, or with +inf or NaN,
    becomes NaN. A single number is one class, of probability 1.

    Cost: reads x twice and writes the result once; allocates nothing else, but for several axes
    (or none) another array of x's size.

    Source: J. S. Bridle, "Probabilistic interpretation of feedforward classification network
    outputs", 1990.

    Example:
        >>> softmax([2.0, -1.0, 0.1]).round(4)
        array([0.8338, 0.0415, 0.1247])

    See Also: `torch.softmax`, `scipy.special.softmax`, `jax.nn.softmax`.
    """
    return backend_of(x).softmax("softmax", x, axis, out, log=False)


@overload
def log_softmax(x: Tensor, axis: Axes = -1, *, out: Tensor | None = None) -> Tensor: ...
@overload
def log_softmax(x: ArrayLike, axis: Axes = -1, *, out: Array | None = None) -> Array: ...
@overload
def log_softmax(x: SupportsDLPack, axis: Axes = -1, *, out: Any = None) -> Any: ...


def log_softmax(x: Any, axis: Axes = -1, *, out: Any = None) -> Any:
    """Logarithm of softmax, without the underflow of `log(softmax(x))`.

        log p_j = x_j - log sum_k exp(x_k)

    Args:
        x, axis, out: as `softmax`.

    Returns:
        Log-probabilities in nats, <= 0, in x's shape, dtype and kind.

    Raises:
        ShapeError, DTypeError: as `softmax`.

    Edge cases: a -inf logit gives -inf; a row of only -inf, or with +inf or NaN, becomes NaN.

    Cost: as `softmax`.

    Source: as `softmax`.

    Example:
        >>> log_softmax([2.0, -1.0, 0.1]).round(4)
        array([-0.1818, -3.1818, -2.0818])

    See Also: `torch.log_softmax`, `scipy.special.log_softmax`, `jax.nn.log_softmax`.
    """
    return backend_of(x).softmax("log_softmax", x, axis, out, log=True)


@overload
def logsumexp(x: Tensor, axis: Axes = -1, *, keepdims: bool = False) -> Tensor: ...
@overload
def logsumexp(x: ArrayLike, axis: Axes = -1, *, keepdims: Literal[True]) -> Array: ...
@overload
def logsumexp(x: ArrayLike, axis: Axes = -1, *, keepdims: bool = False) -> Array | Floating: ...
@overload
def logsumexp(x: SupportsDLPack, axis: Axes = -1, *, keepdims: bool = False) -> Any: ...


def logsumexp(x: Any, axis: Axes = -1, *, keepdims: bool = False) -> Any:
    """Logarithm of the sum of exponentials, in nats.

        lse = log sum_j exp(x_j)

    Args:
        x: any shape; real numbers.
        axis: the axis to sum over, several axes, or None for all.
        keepdims: keep these axes with length 1.

    Returns:
        x's shape without these axes; x's dtype, float64 for integers.

    Raises:
        ShapeError, DTypeError: as `softmax`.

    Edge cases: -inf for no number or only -inf; +inf with one; NaN with one. A single number is
    its own result.

    Cost: reads x twice, writes one number per row. Several axes that aren't adjacent in memory are
    copied first.

    Source: P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and
    softmax functions", 2021.

    Example:
        >>> float(logsumexp([0.0, 0.0]).round(4))
        0.6931

    See Also: `torch.logsumexp`, `scipy.special.logsumexp`.
    """
    return backend_of(x).logsumexp("logsumexp", x, axis, keepdims)


@overload
def top_k(x: Tensor, k: int, axis: int = -1) -> tuple[Tensor, Tensor]: ...
@overload
def top_k(x: ArrayLike, k: int, axis: int = -1) -> tuple[Array, Integers]: ...
@overload
def top_k(x: SupportsDLPack, k: int, axis: int = -1) -> tuple[Any, Any]: ...


def top_k(x: Any, k: int, axis: int = -1) -> tuple[Any, Any]:
    """The k largest entries, largest first: top-1 is the prediction, top-N the short list.

    Args:
        x: logits or probabilities (their order is the same); real numbers.
        k: how many, 1 to the length of the axis.
        axis: the class axis.

    Returns:
        (values, indices), each with k entries on the axis. Among equals the lower index comes
        first; NaN counts as the largest, as in torch.

    Raises:
        OptionError: k is less than 1 or more than there are classes.
        ShapeError, DTypeError: as `softmax`.

    Edge cases: equal entries keep the order of their indices, which `torch.topk` leaves open.

    Cost: sorts each row.

    Example:
        >>> values, indices = top_k([0.4, 0.1, 0.2, 0.3], 2)
        >>> indices
        array([0, 3])

    See Also: `torch.topk`, `numpy.argsort`, `sklearn.metrics.top_k_accuracy_score`.
    """
    values, indices = backend_of(x).top_k("top_k", x, k, axis)
    return values, indices


@overload
def one_hot(target: Tensor, num_classes: int) -> Tensor: ...
@overload
def one_hot(target: ArrayLike, num_classes: int) -> Integers: ...
@overload
def one_hot(target: SupportsDLPack, num_classes: int) -> Any: ...


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

    Edge cases: an empty target gives no rows; there is no ignore_index.

    Cost: writes N C numbers. Losses take class indices directly and need no one-hot rows.

    Example:
        >>> one_hot([2, 0], 3)
        array([[0, 0, 1],
               [1, 0, 0]])

    See Also: `torch.nn.functional.one_hot`, `sklearn.preprocessing.LabelBinarizer`.
    """
    num_classes = spec.check_count("one_hot", "num_classes", num_classes)
    return backend_of(target).one_hot("one_hot", target, num_classes)
