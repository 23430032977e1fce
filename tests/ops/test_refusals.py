"""What can't be right is refused, in the same words for every kind of array; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import softxent
from softxent.errors import (
    DTypeError,
    OptionError,
    ProbabilityError,
    ShapeError,
    SoftxentError,
    TargetError,
)
from tests.support.backends import Backend

SCORES = ("softmax", "log_softmax", "logsumexp")
LOSSES = ("cross_entropy", "cross_entropy_with_grad", "nll_loss", "log_loss")
WITH_IGNORE_INDEX = ("cross_entropy", "cross_entropy_with_grad", "nll_loss")
WITH_OPTIONS = ("cross_entropy", "cross_entropy_with_grad")
BINARY = ("binary_cross_entropy", "binary_cross_entropy_with_logits")


@contextmanager
def refused(error: type[SoftxentError], function: str, *parts: str) -> Iterator[None]:
    """The block raises this error, in one line that names the function and holds the parts."""
    with pytest.raises(error) as raised:
        yield
    assert type(raised.value) is error
    message = str(raised.value)
    assert message.startswith(f"[{function}] "), message
    assert "\n" not in message
    assert message.endswith((".", ")", "?")), message
    for part in parts:
        assert part in message, message


def uniform(shape: Any, axis: int = -1) -> Any:
    """Scores that will do as logits, log-probabilities and probabilities: each row is 1/C."""
    return np.full(shape, 1 / np.shape(np.empty(shape))[axis])


def call(function: str, *args: Any, **options: Any) -> Any:
    return getattr(softxent, function)(*args, **options)


# --- targets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", LOSSES)
def test_class_index_out_of_range(backend: Backend, function: str) -> None:
    for value in (10, 11, 10**9, -1, -99, -101):
        target = np.array([3, 9, 0, value, 10, -5])
        with refused(TargetError, function, f"target[3] is {value}, but", "10 classes", "0 to 9"):
            call(function, backend(uniform((6, 10))), backend(target))


def test_target_error_is_what_numpy_and_torch_users_catch() -> None:
    for error in (ValueError, IndexError, SoftxentError):
        with pytest.raises(error):
            softxent.cross_entropy(np.zeros((1, 3)), [3])


@pytest.mark.parametrize("function", LOSSES)
def test_position_in_a_grid_of_targets(backend: Backend, function: str) -> None:
    target = np.zeros((2, 3, 4), int)
    target[1, 0, 2] = target[1, 2, 3] = 7
    with refused(TargetError, function, "target[1, 0, 2] is 7, but there are 5 classes"):
        call(function, backend(uniform((2, 5, 3, 4), axis=1)), backend(target), axis=1)


@pytest.mark.parametrize("function", LOSSES)
def test_a_single_target_has_no_position(backend: Backend, function: str) -> None:
    with refused(TargetError, function, "target is 4, but there are 4 classes"):
        call(function, backend(uniform(4)), backend(4))


@pytest.mark.parametrize("function", WITH_IGNORE_INDEX)
def test_the_range_names_ignore_index(backend: Backend, function: str) -> None:
    with refused(TargetError, function, "0 to 2 (or ignore_index=-7)"):
        call(function, backend(uniform((1, 3))), backend([-100]), ignore_index=-7)


def test_log_loss_ignores_nothing(backend: Backend) -> None:
    with refused(TargetError, "log_loss", "target[0] is -100", "valid targets are 0 to 2."):
        softxent.log_loss(backend(uniform((1, 3))), backend([-100]))


def test_one_class_in_the_message(backend: Backend) -> None:
    with refused(TargetError, "cross_entropy", "there is 1 class", "0 to 0"):
        softxent.cross_entropy(backend([[2.0]]), backend([1]))


def test_labels_from_one_are_recognised(backend: Backend) -> None:
    hint = "Labels that start at 1? Subtract 1."
    with refused(TargetError, "cross_entropy", hint):
        softxent.cross_entropy(backend(uniform((3, 3))), backend([1, 2, 3]))
    with pytest.raises(TargetError) as raised:  # with a 0 among them they don't start at 1
        softxent.cross_entropy(backend(uniform((3, 3))), backend([0, 2, 3]))
    assert hint not in str(raised.value)


def test_padding_is_recognised(backend: Backend) -> None:
    with refused(TargetError, "cross_entropy", "Padding? Pass ignore_index=-1."):
        softxent.cross_entropy(backend(uniform((3, 3))), backend([1, -1, 2]))


@pytest.mark.parametrize("function", LOSSES)
def test_values_out_of_range_of_any_integer_dtype(backend: Backend, function: str) -> None:
    for dtype in (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.uint64):
        worst = np.iinfo(dtype).max
        with refused(TargetError, function, f"target[1] is {worst}"):
            call(function, backend(uniform((2, 3))), backend([0, worst], dtype))


def test_one_hot_refuses_what_a_loss_refuses(backend: Backend) -> None:
    with refused(TargetError, "one_hot", "target[1, 0] is 3", "valid targets are 0 to 2."):
        softxent.one_hot(backend([[0, 1], [3, -1]]), 3)
    with refused(TargetError, "one_hot", "target[0] is -100"):
        softxent.one_hot(backend([-100]), 3)
    with refused(DTypeError, "one_hot", "integers"):
        softxent.one_hot(backend([0.0, 1.0]), 3)
    with refused(DTypeError, "one_hot", "integers"):
        softxent.one_hot(backend([True, False]), 3)
    with refused(OptionError, "one_hot", "num_classes is -1"):
        softxent.one_hot(backend([0]), -1)


@pytest.mark.parametrize("function", ["cross_entropy", "cross_entropy_with_grad", "log_loss"])
def test_class_probabilities_are_finite_and_not_negative(backend: Backend, function: str) -> None:
    for bad in (-1e-9, -1.0, np.nan, -np.inf, np.inf):
        target = uniform((2, 3))
        target[1, 2] = bad
        with refused(TargetError, function, "target[1, 2] is "):
            call(function, backend(uniform((2, 3))), backend(target))


@pytest.mark.parametrize("function", WITH_OPTIONS)
def test_probabilities_on_another_axis(backend: Backend, function: str) -> None:
    target = uniform((2, 3, 4), axis=1)
    target[1, 2, 0] = -1
    with refused(TargetError, function, "target[1, 2, 0] is -1"):
        call(function, backend(uniform((2, 3, 4))), backend(target), axis=1)


@pytest.mark.parametrize("function", BINARY)
@pytest.mark.parametrize("bad", [-1, 2, 5, np.nan])
def test_binary_target(backend: Backend, function: str, bad: float) -> None:
    with refused(TargetError, function, "target[2] is ", "[0, 1]"):
        call(function, backend([0.5, 0.5, 0.5, 0.5]), backend([0, 1, bad, 7]))


# --- nothing is written --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ([0, 3], {}),
        ([0, -1], {}),
        ([[0.5, 0.5, 0], [1, -1, 1]], {}),
        ([0], {}),
        ([0.0, 1.0], {}),
        ([0, 1], {"weight": [1.0, 2.0]}),
        ([0, 1], {"weight": [1.0, 2.0, np.nan]}),
        ([0, 1], {"reduction": "average"}),
        ([0, 1], {"temperature": 0.0}),
    ],
)
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_out_is_untouched(kind: str, target: Any, options: dict[str, Any]) -> None:
    backend = Backend(kind)
    logits, out = backend([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), backend(np.full((2, 3), 7.0))
    with pytest.raises(SoftxentError):
        softxent.cross_entropy_with_grad(logits, target, out=out, **options)
    assert (backend.take(out) == 7).all()
    with pytest.raises(SoftxentError):
        softxent.cross_entropy_with_grad(logits, target, out=logits, **options)
    assert backend.take(logits).tolist() == [[1, 2, 3], [4, 5, 6]]


# --- shapes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", LOSSES)
def test_target_of_another_shape(backend: Backend, function: str) -> None:
    for shape in [(5,), (3, 4), (4, 3, 1), (1,), (4, 2)]:
        with refused(ShapeError, function, f"target has shape {shape}", "(4, 3)", "(4,)"):
            call(function, backend(uniform((4, 3))), backend(np.zeros(shape, int)))


def test_hints_of_shapes(backend: Backend) -> None:
    scores = backend(uniform((4, 3)))
    with refused(ShapeError, "cross_entropy", "Drop the axis of length 1"):
        softxent.cross_entropy(scores, backend(np.zeros((4, 1), int)))
    with refused(ShapeError, "cross_entropy", "Pass axis=1"):
        softxent.cross_entropy(backend(uniform((4, 3, 7))), backend(np.zeros((4, 7), int)))


def test_nll_loss_takes_no_probabilities(backend: Backend) -> None:
    with refused(ShapeError, "nll_loss", "Class probabilities? Use log_loss"):
        softxent.nll_loss(backend(uniform((4, 3))), backend(uniform((4, 3))))


@pytest.mark.parametrize("function", BINARY)
def test_binary_broadcasts_nothing(backend: Backend, function: str) -> None:
    with refused(ShapeError, function, "target has shape (4,)", "(4, 1)", "Nothing is broadcast"):
        call(function, backend(np.full((4, 1), 0.5)), backend(np.zeros(4)))


@pytest.mark.parametrize("function", BINARY)
def test_weight_that_does_not_broadcast(backend: Backend, function: str) -> None:
    with refused(ShapeError, function, "(3,)", "(4,)"):
        call(function, backend(np.full(4, 0.5)), backend(np.zeros(4)), backend(np.ones(3)))
    with refused(ShapeError, function, "(2, 4)", "(4,)"):
        call(function, backend(np.full(4, 0.5)), backend(np.zeros(4)), backend(np.ones((2, 4))))


@pytest.mark.parametrize("function", [*SCORES, "top_k", *LOSSES])
def test_axis_that_is_not_there(backend: Backend, function: str) -> None:
    more = {"top_k": (1,)}.get(function, () if function in SCORES else (backend([0, 1]),))
    for axis in (2, -3, 100):
        with refused(ShapeError, function, f"axis is {axis}", "2 axes", "-2 to 1"):
            call(function, backend(uniform((2, 3))), *more, axis=axis)


@pytest.mark.parametrize("function", ["top_k", *LOSSES])
def test_a_single_number_has_no_classes(backend: Backend, function: str) -> None:
    more = {"top_k": (1,)}.get(function, (backend(0),))
    with refused(ShapeError, function, "has no axis"):
        call(function, backend(1.0), *more)


@pytest.mark.parametrize("function", [*SCORES, "top_k", *LOSSES])
def test_an_axis_is_an_integer(backend: Backend, function: str) -> None:
    more = {"top_k": (1,)}.get(function, () if function in SCORES else (backend([0, 1]),))
    with refused(OptionError, function, "axis is 1.5", "integer"):
        call(function, backend(uniform((2, 3))), *more, axis=1.5)


@pytest.mark.parametrize("k", [0, -1, 4, 10**6])
def test_k_out_of_range(backend: Backend, k: int) -> None:
    with refused(OptionError, "top_k", f"k is {k}", "1 to 3"):
        softxent.top_k(backend([1.0, 2.0, 3.0]), k)
    with refused(OptionError, "top_k", "k is 1.5", "integer"):
        softxent.top_k(backend([1.0, 2.0, 3.0]), 1.5)  # type: ignore[call-overload]


# --- dtypes --------------------------------------------------------------------------------------

NOT_REAL = [
    np.array([[1j, 2], [3, 4]]),
    np.array([["a", "b"], ["c", "d"]]),
    np.array([[None, 1], [2, 3]]),
    np.zeros((2, 2), "M8[s]"),
    np.zeros((2, 2), "m8[s]"),
    np.zeros((2, 2), np.longdouble),
]


@pytest.mark.parametrize("values", NOT_REAL, ids=lambda a: str(a.dtype))
@pytest.mark.parametrize("function", [*SCORES, "top_k", *LOSSES, *BINARY])
def test_not_real_numbers(function: str, values: Any) -> None:
    more = {"top_k": (1,)}.get(function, () if function in SCORES else (np.array([0, 1]),))
    if function in BINARY:
        more = (np.zeros((2, 2)),)
    with refused(DTypeError, function, str(values.dtype)):
        call(function, values, *more)


@pytest.mark.parametrize("values", [[["a"]], [[None]], [[1j]], [[2**70]], [["a", 1]]])
@pytest.mark.parametrize("function", SCORES)
def test_lists_of_something_else(function: str, values: Any) -> None:
    with refused(DTypeError, function):
        call(function, values)


@pytest.mark.parametrize("function", SCORES)
def test_ragged_lists(function: str) -> None:
    with refused(ShapeError, function, "rectangular"):
        call(function, [[1, 2], [3]])


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool", "complex64"])
@pytest.mark.parametrize("function", [*SCORES, *LOSSES, *BINARY])
def test_tensors_of_integers(function: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    scores = torch.zeros((2, 2), dtype=getattr(torch, dtype))
    more = () if function in SCORES else (torch.zeros(2, dtype=torch.long),)
    if function in BINARY:
        more = (torch.zeros((2, 2)),)
    with refused(DTypeError, function, f"torch.{dtype}", "floating-point"):
        call(function, scores, *more)


def test_top_k_of_complex_tensors() -> None:
    torch = pytest.importorskip("torch")
    with refused(DTypeError, "top_k", "torch.complex64"):
        softxent.top_k(torch.tensor([1j, 2]), 1)


@pytest.mark.parametrize("function", LOSSES)
def test_class_indices_are_integers(backend: Backend, function: str) -> None:
    with refused(DTypeError, function, "floats in the shape of class indices", "(2,)"):
        call(function, backend(uniform((2, 3))), backend([0.0, 1.0]))
    with refused(DTypeError, function, "booleans, which name no class"):
        call(function, backend(uniform((2, 3))), backend([True, False]))


@pytest.mark.parametrize("values", NOT_REAL[:5], ids=lambda a: str(a.dtype))
@pytest.mark.parametrize("function", [*LOSSES, *BINARY])
def test_targets_that_are_not_real(function: str, values: Any) -> None:
    with refused(DTypeError, function, "target"):
        call(function, np.full((2, 2), 0.5), values)
    pytest.importorskip("torch")
    with refused(DTypeError, function, "target"):
        call(function, Backend("torch")(np.full((2, 2), 0.5)), values)


@pytest.mark.parametrize("weight", [[1j, 1], ["a", "b"], [None, 1]], ids=str)
@pytest.mark.parametrize("function", [*LOSSES, *BINARY])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_weights_that_are_not_real(kind: str, function: str, weight: Any) -> None:
    backend = Backend(kind)
    target = np.zeros((2, 2)) if function in BINARY else [0, 1]
    with refused(DTypeError, function, "weight"):
        call(function, backend(np.full((2, 2), 0.5)), target, np.array(weight))


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[("label_smoothing", v) for v in (-0.1, 1.1, np.nan, np.inf, "much", None)],
        *[("z_loss", v) for v in (-1e-9, np.inf, np.nan, "much", None)],
        *[("softcap", v) for v in (0, -1.0, np.inf, np.nan, "much")],
        *[("temperature", v) for v in (0, -1.0, np.inf, np.nan, "much", None)],
        *[("reduction", v) for v in ("average", "batchmean", None, 1)],
        *[("ignore_index", v) for v in (0.5, "none", 2**63, -(2**63) - 1)],
    ],
    ids=str,
)
@pytest.mark.parametrize("function", WITH_OPTIONS)
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_options_out_of_range(kind: str, function: str, option: str, value: Any) -> None:
    backend = Backend(kind)
    with refused(OptionError, function, f"{option} is "):
        call(function, backend(uniform((2, 3))), backend([0, 1]), **{option: value})


@pytest.mark.parametrize("function", ["nll_loss", "log_loss", *BINARY])
def test_reduction_of_the_others(backend: Backend, function: str) -> None:
    target = [0, 1] if function not in BINARY else np.zeros((2, 3))
    with refused(OptionError, function, "reduction is 'average'", "'none'", "'mean'", "'sum'"):
        call(function, backend(uniform((2, 3))), backend(target), reduction="average")


@pytest.mark.parametrize("function", LOSSES)
def test_class_weights(backend: Backend, function: str) -> None:
    scores, target = backend(uniform((2, 3))), backend([0, 1])
    for shape in [(2,), (4,), (1, 3), ()]:
        with refused(ShapeError, function, f"weight has shape {shape}", "(3,)"):
            call(function, scores, target, backend(np.ones(shape)))
    for bad in (np.nan, np.inf, -np.inf):
        with refused(OptionError, function, "weight[1] is ", "weights are finite"):
            call(function, scores, target, backend([1, bad, 1]))


@pytest.mark.parametrize("option", ["weight", "pos_weight"])
def test_element_weights(backend: Backend, option: str) -> None:
    scores, target = backend(np.full(2, 0.5)), backend([0.0, 1.0])
    for bad in (np.nan, np.inf, -np.inf):
        with refused(OptionError, "binary_cross_entropy_with_logits", f"{option}[1] is "):
            softxent.binary_cross_entropy_with_logits(
                scores, target, **{option: backend([1.0, bad])}
            )
        if option == "weight":
            with refused(OptionError, "binary_cross_entropy", "weight[1] is "):
                softxent.binary_cross_entropy(scores, target, backend([1.0, bad]))


# --- probabilities -------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [1.5, -0.1, np.nan, np.inf])
def test_log_loss_of_logits(backend: Backend, bad: float) -> None:
    probs = uniform((3, 4))
    probs[1, 2] = bad
    with refused(ProbabilityError, "log_loss", "probs[1, 2] is ", "Use cross_entropy"):
        softxent.log_loss(backend(probs), backend([0, 1, 2]))


def test_log_loss_of_rows_that_do_not_add_up(backend: Backend) -> None:
    probs = uniform((3, 4))
    probs[2] = 0.2
    with refused(ProbabilityError, "log_loss", "probs[2]", "0.8"):
        softxent.log_loss(backend(probs), backend([0, 1, 2]))
    with refused(ProbabilityError, "log_loss", "axis="):  # the classes are on the other axis
        softxent.log_loss(backend(uniform((3, 4))), backend([0, 1, 2, 0]), axis=0)


@pytest.mark.parametrize("bad", [1.5, -0.1, np.nan])
def test_binary_cross_entropy_of_logits(backend: Backend, bad: float) -> None:
    hint = "Use binary_cross_entropy_with_logits"
    with refused(ProbabilityError, "binary_cross_entropy", "probs[1] is ", hint):
        softxent.binary_cross_entropy(backend([0.5, bad]), backend([0, 1]))


# --- out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["softmax", "log_softmax", "cross_entropy_with_grad"])
def test_out_that_does_not_fit(function: str) -> None:
    x = np.zeros((2, 3))
    more = ([0, 1],) if function == "cross_entropy_with_grad" else ()
    with refused(ShapeError, function, "out has shape (3, 2)", "(2, 3)"):
        call(function, x, *more, out=np.zeros((3, 2)))
    with refused(DTypeError, function, "out has dtype float32", "float64"):
        call(function, x, *more, out=np.zeros((2, 3), np.float32))
    with refused(DTypeError, function, "out has dtype int64", "float64"):
        call(function, x.astype(int), *more, out=np.zeros((2, 3), int))
    with refused(DTypeError, function, "out is a list"):
        call(function, x, *more, out=[[0, 0, 0]] * 2)
    readonly = np.zeros((2, 3))
    readonly.setflags(write=False)
    with refused(OptionError, function, "read-only"):
        call(function, x, *more, out=readonly)
    stepped = np.lib.stride_tricks.as_strided(np.zeros(8), (2, 3), (16, 8))
    with refused(OptionError, function, "in one place"):
        call(function, x, *more, out=stepped)


@pytest.mark.parametrize("function", ["softmax", "log_softmax", "cross_entropy_with_grad"])
def test_out_tensor_that_does_not_fit(function: str) -> None:
    torch = pytest.importorskip("torch")
    x = torch.zeros((2, 3))
    more = ([0, 1],) if function == "cross_entropy_with_grad" else ()
    with refused(ShapeError, function, "out has shape (3, 2)", "(2, 3)"):
        call(function, x, *more, out=torch.zeros((3, 2)))
    with refused(DTypeError, function, "out has dtype torch.float64"):
        call(function, x, *more, out=torch.zeros((2, 3), dtype=torch.float64))
    with refused(DTypeError, function, "out is a ndarray"):
        call(function, x, *more, out=np.zeros((2, 3), np.float32))
    with refused(OptionError, function, "no gradient"):
        call(function, x, *more, out=torch.zeros((2, 3), requires_grad=True))


# --- threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, -1, 2.5, "2", None, 2**40])
def test_number_of_threads(threads: Any, count: Any) -> None:
    before = softxent.get_num_threads()
    with refused(OptionError, "set_num_threads", "count is "):
        threads(count)
    assert softxent.get_num_threads() == before


# --- integers in the logits' shape ---------------------------------------------------------------


@pytest.mark.parametrize("function", ["cross_entropy", "cross_entropy_with_grad"])
@pytest.mark.parametrize(
    ("target", "axis", "row", "hint"),
    [
        ([[0, 1, 2], [2, 0, 1], [1, 1, 1]], -1, "target[0] adds up to 3", "have shape (3,)"),
        ([[255, 0, 0], [0, 255, 0]], -1, "target[0] adds up to 255", "Divide it by 255"),
        ([[1, 0, 0], [0, 0, 0]], -1, "target[1] adds up to 0", "probabilities as floats"),
        ([[1, 0, 0], [1, 0, 1]], -1, "target[1] adds up to 2", "probabilities as floats"),
        ([[[0], [1]], [[1], [1]]], 2, "target[0, 0] adds up to 0", "with_logits"),
        ([1, 1], -1, "the row target adds up to 2", "Binary labels?"),
    ],
)
def test_integers_that_are_not_one_hot(
    backend: Backend, function: str, target: Any, axis: int, row: str, hint: str
) -> None:
    y = np.array(target)
    with refused(TargetError, function, row, "integers in this shape are one-hot rows", hint):
        call(function, backend(uniform(y.shape, axis)), backend(y), axis=axis)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
def test_one_hot_integers_are_class_probabilities(backend: Backend, dtype: Any) -> None:
    logits, target = np.array([[1.0, 2.0, 4.0], [0.0, 3.0, 1.0]]), np.array([2, 0])
    one_hot = np.eye(3)[target].astype(dtype)
    want = softxent.cross_entropy(logits, target)
    got = backend.take(softxent.cross_entropy(backend(logits), backend(one_hot)))
    np.testing.assert_allclose(got, want, rtol=1e-15)


def test_a_linear_head_and_log_loss_refuse_them_too(backend: Backend) -> None:
    ones = np.ones((2, 3), int)
    with refused(TargetError, "linear_cross_entropy", "target[0] adds up to 3"):
        call("linear_cross_entropy", backend(np.zeros((2, 4))), backend(np.zeros((3, 4))),
             backend(ones))  # fmt: skip
    with refused(TargetError, "log_loss", "the row target adds up to 2", "Binary labels?"):
        call("log_loss", backend([0.6, 0.4]), backend([1, 1]))
