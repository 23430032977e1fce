"""The rows of the contract where nothing is computed from, or where numbers aren't finite."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import softxent
from softxent.ops.options import Reduction
from tests.support.backends import Backend

INF, NAN = np.inf, np.nan
DTYPES = (np.float32, np.float64)
REDUCTIONS: tuple[Reduction, ...] = ("none", "sum", "mean")

OPTIONS: list[dict[str, Any]] = [
    {},
    {"label_smoothing": 0.1},
    {"z_loss": 1e-3},
    {"softcap": 20.0},
    {"temperature": 0.5},
    {"weight": [1.0, 2.0, 0.5, 3.0]},
    {
        "weight": [1.0, 2.0, 0.5, 3.0],
        "label_smoothing": 0.2,
        "z_loss": 1e-3,
        "softcap": 20.0,
        "temperature": 2.0,
    },
]
options = pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "+".join(o) or "plain")
reductions = pytest.mark.parametrize("reduction", REDUCTIONS)
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)

ROWS = np.array([[0.5, -1.0, 2.0, 0.25], [3.0, 3.0, -2.0, 0.0], [-1.0, 0.5, 0.75, 1.5]])


def same(got: Any, want: Any) -> None:
    """Equal, sign of zero and all, NaN to NaN."""
    np.testing.assert_array_equal(np.signbit(got), np.signbit(want))
    np.testing.assert_array_equal(got, want)


# --- ignored rows --------------------------------------------------------------------------------


@options
@reductions
def test_ignored_rows_add_nothing(
    backend: Backend, options: dict[str, Any], reduction: Reduction
) -> None:
    """Ignored rows don't influence the others, for any content."""
    rubbish = [[v] * 4 for v in (0.0, NAN, INF, -INF, 1e300)]
    padded = np.vstack([ROWS[:1], rubbish, ROWS[1:], [[NAN, INF, -INF, 0.0]]])
    target = np.array([2, *[-100] * 5, 0, 3, -100])
    kept, ignored = target != -100, target == -100
    loss, grad = backend.take_both(
        softxent.cross_entropy_with_grad(
            backend(padded), backend(target), reduction=reduction, **options
        )
    )
    alone, alone_grad = backend.take_both(
        softxent.cross_entropy_with_grad(
            backend(ROWS), backend(target[kept]), reduction=reduction, **options
        )
    )
    if reduction == "none":
        same(loss[ignored], np.zeros(6))
        loss = loss[kept]
    np.testing.assert_allclose(loss, alone, rtol=1e-15)
    np.testing.assert_allclose(grad[kept], alone_grad, rtol=1e-14)
    assert (grad[ignored] == 0).all()


@options
def test_ignored_rows_of_tensors_pass_exact_zeros_back(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    options = {k: torch.tensor(v).double() if k == "weight" else v for k, v in options.items()}
    logits = torch.tensor(ROWS).index_fill(0, torch.tensor([1]), NAN).requires_grad_()
    softxent.cross_entropy(logits, torch.tensor([0, -100, 1]), **options).backward()
    assert (logits.grad[1] == 0).all()
    assert logits.grad[[0, 2]].isfinite().all()
    assert (logits.grad[[0, 2]] != 0).any(dim=1).all()


def test_a_class_can_be_ignored(backend: Backend) -> None:
    target = backend([2, 0, 3])
    loss, grad = backend.take_both(
        softxent.cross_entropy_with_grad(backend(ROWS), target, ignore_index=0, reduction="none")
    )
    assert loss[1] == 0
    assert (grad[1] == 0).all()
    assert (loss[[0, 2]] > 0).all()


def test_ignored_rows_of_nll_loss(backend: Backend) -> None:
    rows = ROWS.copy()
    rows[1] = NAN
    loss = backend.take(softxent.nll_loss(backend(rows), backend([2, -100, 0]), reduction="none"))
    assert loss.tolist() == [-2.0, 0.0, 1.0]
    mean = backend.take(softxent.nll_loss(backend(rows), backend([2, -100, 0])))
    assert mean == -0.5


# --- nothing to average --------------------------------------------------------------------------


@options
def test_mean_over_ignored_rows_only(backend: Backend, options: dict[str, Any]) -> None:
    target = backend(np.full(3, -100))
    loss, grad = backend.take_both(
        softxent.cross_entropy_with_grad(backend(ROWS), target, **options)
    )
    assert np.isnan(loss)
    assert (grad == 0).all()
    total = backend.take(softxent.cross_entropy(backend(ROWS), target, reduction="sum", **options))
    assert total == 0
    assert np.isnan(backend.take(softxent.nll_loss(backend(ROWS), target)))


@pytest.mark.parametrize("target", ["index", "probabilities"])
@options
def test_no_rows(backend: Backend, options: dict[str, Any], target: str) -> None:
    logits = backend(np.zeros((0, 4)))
    y = backend(np.zeros(0, int) if target == "index" else np.zeros((0, 4)))
    checks: dict[Reduction, Any] = {"mean": np.isnan, "sum": lambda v: v == 0}
    for reduction, check in checks.items():
        loss, grad = backend.take_both(
            softxent.cross_entropy_with_grad(logits, y, reduction=reduction, **options)
        )
        assert check(loss)
        assert grad.shape == (0, 4)
        assert check(backend.take(softxent.log_loss(logits, y, reduction=reduction)))
    each = backend.take(softxent.cross_entropy(logits, y, reduction="none", **options))
    assert each.shape == (0,)


def test_an_empty_list_is_an_empty_target(backend: Backend) -> None:
    logits = backend(np.zeros((0, 4)))
    assert np.isnan(backend.take(softxent.cross_entropy(logits, [])))
    assert backend.take(softxent.nll_loss(logits, [], reduction="sum")) == 0


def test_mean_over_weight_zero(backend: Backend) -> None:
    """The kept targets weigh nothing: 0 / 0, as torch."""
    weight = backend([0.0, 1.0, 1.0, 1.0])
    target = backend([0, 0, -100])
    assert np.isnan(backend.take(softxent.cross_entropy(backend(ROWS), target, weight)))
    assert np.isnan(backend.take(softxent.nll_loss(backend(ROWS), target, weight)))


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 0), (0, 3), (2, 0, 3)])
@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("function", ["softmax", "log_softmax", "logsumexp"])
def test_zero_size(backend: Backend, function: str, shape: Any, axis: int) -> None:
    x = np.zeros(shape)
    got = backend.take(getattr(softxent, function)(backend(x), axis=axis))
    if function == "logsumexp":
        # log of an empty sum
        assert got.shape == x.sum(axis=axis).shape
        assert (got == -INF).all()
    else:
        assert got.shape == shape
    assert got.dtype == np.float64


@pytest.mark.parametrize("target", ["ignored", "probabilities"])
def test_no_classes(backend: Backend, target: str) -> None:
    """Rows without a class: their loss isn't a number, unless they're ignored."""
    y = backend(np.full(2, -100) if target == "ignored" else np.zeros((2, 0)))
    loss, grad = backend.take_both(
        softxent.cross_entropy_with_grad(backend(np.zeros((2, 0))), y, reduction="none")
    )
    assert grad.shape == (2, 0)
    assert (loss == 0).all() if target == "ignored" else np.isnan(loss).all()


def test_no_classes_and_a_target(backend: Backend) -> None:
    with pytest.raises(softxent.errors.TargetError) as raised:
        softxent.cross_entropy(backend(np.zeros((2, 0))), backend([-100, 0]))
    assert "target[1] is 0, but there are 0 classes: no target is valid" in str(raised.value)
    assert "start at 1" not in str(raised.value)


@pytest.mark.parametrize("function", ["binary_cross_entropy", "binary_cross_entropy_with_logits"])
def test_no_elements(backend: Backend, function: str) -> None:
    nothing = backend(np.zeros(0))
    assert np.isnan(backend.take(getattr(softxent, function)(nothing, nothing)))
    total = backend.take(getattr(softxent, function)(nothing, nothing, reduction="sum"))
    assert total == 0


# --- masked classes ------------------------------------------------------------------------------


@dtypes
def test_masked_class_has_probability_zero(backend: Backend, dtype: Any) -> None:
    x = np.array([[1.0, -INF, 2.0], [-INF, 0.0, -INF]], dtype)
    p = backend.take(softxent.softmax(backend(x)))
    same(p[x == -INF], [0.0, 0.0, 0.0])
    assert p[1, 1] == 1
    same(backend.take(softxent.log_softmax(backend(x)))[1], [-INF, 0.0, -INF])
    np.testing.assert_allclose(p[0, ::2], [1 / (1 + math.e), math.e / (1 + math.e)], rtol=1e-6)


@dtypes
@reductions
def test_masked_class_beside_the_target(backend: Backend, dtype: Any, reduction: Reduction) -> None:
    """A masked class has no influence, and its gradient is 0."""
    x = np.insert(ROWS, 1, -INF, axis=1).astype(dtype)
    loss, grad = backend.take_both(
        softxent.cross_entropy_with_grad(backend(x), backend([0, 2, 4]), reduction=reduction)
    )
    without, grad_without = backend.take_both(
        softxent.cross_entropy_with_grad(
            backend(ROWS.astype(dtype)), backend([0, 1, 3]), reduction=reduction
        )
    )
    np.testing.assert_allclose(loss, without, rtol=1e-6)
    assert (grad[:, 1] == 0).all()
    np.testing.assert_allclose(np.delete(grad, 1, axis=1), grad_without, rtol=1e-5)


@dtypes
@options
@reductions
def test_masked_class_as_the_target(
    backend: Backend, dtype: Any, options: dict[str, Any], reduction: Reduction
) -> None:
    x = np.vstack([[[1.0, -INF, 2.0, 0.5]], ROWS]).astype(dtype)
    loss, grad = backend.take_both(
        softxent.cross_entropy_with_grad(
            backend(x), backend([1, 0, 1, 2]), reduction=reduction, **options
        )
    )
    if reduction == "none":
        assert loss[0] == INF
        assert np.isfinite(loss[1:]).all()
    else:
        assert loss == INF
    assert np.isfinite(grad).all()
    # It pulls the target's logit up, except where the slope of a cap is 0.
    assert grad[0, 1] == 0 if "softcap" in options else grad[0, 1] < 0


def test_masked_class_under_a_softcap(backend: Backend) -> None:
    """It stays masked: the other classes have the results that they have without it."""
    compute = softxent.cross_entropy_with_grad
    loss, grad = backend.take_both(
        compute(backend([[1.0, -INF, 2.0]]), backend([0]), softcap=5.0, reduction="none")
    )
    want, want_grad = backend.take_both(
        compute(backend([[1.0, 2.0]]), backend([0]), softcap=5.0, reduction="none")
    )
    np.testing.assert_allclose(loss, want, rtol=1e-15)
    np.testing.assert_allclose(grad, np.insert(want_grad, 1, 0, axis=1), rtol=1e-14)
    alone = backend.take(softxent.cross_entropy(backend([[-INF, 0.0]]), backend([1]), softcap=30.0))
    assert alone == 0


@pytest.mark.parametrize("function", ["cross_entropy", "log_loss"])
def test_target_0_on_a_masked_class_costs_nothing(backend: Backend, function: str) -> None:
    """0 log 0 = 0, for a class of probability 0 and for one of weight 0."""
    x = [[0.0, -INF, 0.0]] if function == "cross_entropy" else [[0.5, 0.0, 0.5]]
    compute = getattr(softxent, function)
    half = backend([[0.5, 0.0, 0.5]])
    np.testing.assert_allclose(backend.take(compute(backend(x), half)), math.log(2), rtol=1e-15)
    weight = backend([1.0, 0.0, 1.0])
    everywhere = backend([[0.25, 0.5, 0.25]])
    got = backend.take(compute(backend(x), everywhere, weight))
    np.testing.assert_allclose(got, 0.5 * math.log(2), rtol=1e-15)
    got = backend.take(compute(backend(x), backend([1]), weight, reduction="none"))
    assert got.tolist() == [0.0]


def test_label_smoothing_over_a_masked_class(backend: Backend) -> None:
    """Part of the target is on an impossible class: the loss is +inf, as in torch."""
    loss, grad = backend.take_both(
        softxent.cross_entropy_with_grad(
            backend([[1.0, -INF, 0.0]]), backend([0]), label_smoothing=0.3
        )
    )
    assert loss == INF
    np.testing.assert_allclose(grad[0, 1], -0.1, rtol=1e-15)


# --- rows that are no rows -----------------------------------------------------------------------

BROKEN = {
    "all -inf": [-INF, -INF, -INF, -INF],
    "+inf": [0.0, INF, 1.0, 2.0],
    "+inf twice": [INF, 0.0, INF, 2.0],
    "+inf and -inf": [INF, 0.0, -INF, 2.0],
    "NaN": [0.0, 1.0, NAN, 2.0],
    "NaN first": [NAN, 1.0, 0.0, 2.0],
    "NaN last": [0.0, 1.0, 2.0, NAN],
    "NaN and +inf": [NAN, INF, 0.0, 2.0],
    "+inf and NaN": [INF, NAN, 0.0, 2.0],
    "NaN and -inf": [-INF, -INF, -INF, NAN],
}


@dtypes
@pytest.mark.parametrize("function", ["softmax", "log_softmax"])
def test_broken_rows_are_nan_alone(backend: Backend, function: str, dtype: Any) -> None:
    compute = getattr(softxent, function)
    want = backend.take(compute(backend(ROWS.astype(dtype))))
    for name, row in BROKEN.items():
        got = backend.take(compute(backend(np.vstack([ROWS[:2], [row], ROWS[2:]]).astype(dtype))))
        assert np.isnan(got[2]).all(), name
        same(got[[0, 1, 3]], want)


@options
@pytest.mark.parametrize("target", ["index", "probabilities"])
def test_broken_rows_lose_nan_alone(backend: Backend, target: str, options: dict[str, Any]) -> None:
    y = np.array([0, 1, 1, 3]) if target == "index" else np.eye(4)[[0, 1, 1, 3]]
    for name, row in BROKEN.items():
        x = np.vstack([ROWS[:2], [row], ROWS[2:]])
        loss, grad = backend.take_both(
            softxent.cross_entropy_with_grad(backend(x), backend(y), reduction="none", **options)
        )
        assert np.isnan(loss[2]), name
        assert np.isnan(grad[2]).all(), name
        assert np.isfinite(loss[[0, 1, 3]]).all(), name
        assert np.isfinite(grad[[0, 1, 3]]).all(), name
        mean = backend.take(softxent.cross_entropy(backend(x), backend(y), **options))
        assert np.isnan(mean), name


@dtypes
def test_logsumexp_of_broken_rows(backend: Backend, dtype: Any) -> None:
    """It has values where softmax has none: the sum of exp(-inf) is 0, that with exp(inf) inf."""
    x = np.array([*BROKEN.values(), *ROWS]).astype(dtype)
    got = backend.take(softxent.logsumexp(backend(x)))
    for name, row, value in zip(BROKEN, BROKEN.values(), got, strict=False):
        if np.isnan(row).any():
            assert np.isnan(value), name
        else:
            assert value == max(row), name
    assert np.isfinite(got[len(BROKEN) :]).all()


@dtypes
@pytest.mark.parametrize("classes", [17, 100, 700, 5_000])
def test_broken_and_ignored_rows_of_many_classes(
    backend: Backend, dtype: Any, classes: int
) -> None:
    """Wherever in the row it is that a number isn't one."""
    rng = np.random.default_rng(classes)
    places = [0, 1, classes // 2, classes - 2, classes - 1]
    good = rng.normal(0, 3, (2, classes))
    broken = rng.normal(0, 3, (3 * len(places), classes))
    for i, place in enumerate(places):
        broken[i, place] = NAN
        broken[len(places) + i, place] = INF
        broken[2 * len(places) + i] = -INF
        broken[2 * len(places) + i, place] = NAN
    masked = np.full((len(places), classes), -INF)
    masked[range(len(places)), places] = 3.0
    x = np.vstack([good, broken, np.full((1, classes), -INF), masked]).astype(dtype)
    bad = np.s_[2 : 3 + len(broken)]
    first_masked = 3 + len(broken)

    for function in (softxent.softmax, softxent.log_softmax):
        got = backend.take(function(backend(x)))
        assert np.isnan(got[bad]).all()
        assert not np.isnan(got[:2]).any()
        assert not np.isnan(got[first_masked:]).any()
        same(got[:2], backend.take(function(backend(x[:2]))))
    p = backend.take(softxent.softmax(backend(x)))
    np.testing.assert_array_equal(p[first_masked:], np.eye(classes)[places])

    target = np.array([0, classes - 1, *[1] * (len(broken) + 1), *places])
    loss, grad = backend.take_both(
        softxent.cross_entropy_with_grad(backend(x), backend(target), reduction="none")
    )
    assert np.isnan(loss[bad]).all()
    assert np.isnan(grad[bad]).all()
    assert np.isfinite(grad[:2]).all()
    assert (loss[first_masked:] == 0).all()
    assert (grad[first_masked:] == 0).all()

    target[bad] = -100
    loss, grad = backend.take_both(
        softxent.cross_entropy_with_grad(backend(x), backend(target), reduction="none")
    )
    assert (loss[bad] == 0).all()
    assert (grad[bad] == 0).all()

    target[first_masked:] = [(place + 1) % classes for place in places]
    loss, grad = backend.take_both(
        softxent.cross_entropy_with_grad(backend(x), backend(target), reduction="none")
    )
    assert (loss[first_masked:] == INF).all()
    want = np.eye(classes)[places] - np.eye(classes)[target[first_masked:]]
    np.testing.assert_array_equal(grad[first_masked:], want)


# --- one class, and confident predictions ---------------------------------------------------------


@dtypes
@pytest.mark.parametrize("logit", [0.0, 5.0, -1e4, 88.0])
def test_one_class(backend: Backend, dtype: Any, logit: float) -> None:
    x = np.full((3, 1), logit, dtype)
    assert (backend.take(softxent.softmax(backend(x))) == 1).all()
    assert (backend.take(softxent.log_softmax(backend(x))) == 0).all()
    assert backend.take(softxent.logsumexp(backend(x))).tolist() == [logit] * 3
    for y in (np.zeros(3, int), np.ones((3, 1), dtype)):
        loss, grad = backend.take_both(
            softxent.cross_entropy_with_grad(backend(x), backend(y), reduction="none")
        )
        assert (loss == 0).all()
        assert (grad == 0).all()


@dtypes
@pytest.mark.parametrize("logit", [20.0, 40.0, 88.0])
def test_confident_prediction(backend: Backend, dtype: Any, logit: float) -> None:
    """Where lse - x and p - 1 are 0 in every float, loss and gradient keep all their digits."""
    x, tail = backend([[logit, 0.0]], dtype), math.exp(-logit)
    loss, grad = backend.take_both(softxent.cross_entropy_with_grad(x, backend([0])))
    close = {"rtol": 4 * np.finfo(dtype).eps}
    np.testing.assert_allclose(loss, math.log1p(tail), **close)
    np.testing.assert_allclose(grad, [[-tail / (1 + tail), tail / (1 + tail)]], **close)
    log_p = backend.take(softxent.log_softmax(x))
    np.testing.assert_allclose(log_p[0], [-math.log1p(tail), -logit - math.log1p(tail)], **close)
    flipped = backend.take(softxent.cross_entropy(x, backend([1])))
    np.testing.assert_allclose(flipped, logit + math.log1p(tail), **close)


def test_digits_of_a_confident_prediction(backend: Backend) -> None:
    loss, grad = backend.take_both(
        softxent.cross_entropy_with_grad(backend([[20.0, 0.0]]), backend([0]))
    )
    assert f"{loss:.2e} {grad[0, 0]:.2e}" == "2.06e-09 -2.06e-09"


@dtypes
def test_nothing_overflows(backend: Backend, dtype: Any) -> None:
    """Logits as large as they come; exp of any of them would be inf."""
    big = float(np.finfo(dtype).max) / 4
    x = backend([[big, big, -big]], dtype)
    np.testing.assert_allclose(backend.take(softxent.softmax(x)), [[0.5, 0.5, 0.0]])
    loss, grad = backend.take_both(softxent.cross_entropy_with_grad(x, backend([2])))
    np.testing.assert_allclose(loss, 2 * big, rtol=1e-6)
    np.testing.assert_allclose(grad, [[0.5, 0.5, -1.0]])


@dtypes
def test_a_loss_beyond_the_largest_number(backend: Backend, dtype: Any) -> None:
    """It is inf, without a warning."""
    big = float(np.finfo(dtype).max)
    for reduction in REDUCTIONS:
        loss = softxent.cross_entropy(
            backend([[big, -big]], dtype), backend([1]), reduction=reduction
        )
        assert (backend.take(loss) == INF).all()


@pytest.mark.parametrize("function", ["log_loss", "nll_loss", "binary_cross_entropy"])
@reductions
def test_a_right_and_certain_row_costs_plus_zero(
    backend: Backend, function: str, reduction: Reduction
) -> None:
    """A loss of -0.0 would print as -0.0000."""
    x = {"log_loss": [[1.0, 0.0]], "nll_loss": [[0.0, -INF]]}.get(function, [1.0, 0.0])
    y = [1, 0] if function == "binary_cross_entropy" else [0]
    loss = backend.take(getattr(softxent, function)(backend(x), backend(y), reduction=reduction))
    same(loss, np.zeros_like(loss))


def test_certainly_wrong(backend: Backend) -> None:
    """Nothing is clipped."""
    for target in ([1], [[0, 1]], [[0.5, 0.5]]):
        assert backend.take(softxent.log_loss(backend([[1.0, 0.0]]), backend(target))) == INF
    assert backend.take(softxent.nll_loss(backend([[0.0, -INF]]), backend([1]))) == INF
    wrong = softxent.binary_cross_entropy(backend([0.0, 1.0]), backend([1, 0]), reduction="none")
    assert backend.take(wrong).tolist() == [INF, INF]


# --- top_k and one_hot ---------------------------------------------------------------------------


def test_top_k(backend: Backend) -> None:
    x = np.array([[0.4, 0.1, 0.2, 0.3], [1.0, 3.0, 3.0, 3.0]])
    for k in range(1, 5):
        values, indices = backend.take_both(softxent.top_k(backend(x), k))
        assert indices.tolist() == [[0, 3, 2, 1][:k], [1, 2, 3, 0][:k]]  # the first of equals first
        assert values.tolist() == [[0.4, 0.3, 0.2, 0.1][:k], [3.0, 3.0, 3.0, 1.0][:k]]
        assert indices.dtype == np.int64
    first = backend.take(softxent.top_k(backend(x.T), 1, axis=0)[1])
    assert first.tolist() == [[0, 1]]


def test_top_k_nan_and_infinities(backend: Backend) -> None:
    values, indices = backend.take_both(softxent.top_k(backend([1, NAN, INF, NAN, -INF]), 5))
    assert indices.tolist() == [1, 3, 2, 0, 4]
    same(values, [NAN, NAN, INF, 1, -INF])


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint8, np.float16, np.float32])
def test_top_k_keeps_the_dtype(backend: Backend, dtype: Any) -> None:
    values, indices = backend.take_both(softxent.top_k(backend([1, 3, 2, 3], dtype), 2))
    assert values.dtype == dtype
    assert values.tolist() == [3, 3]
    assert indices.tolist() == [1, 3]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.int64, np.uint64])
def test_one_hot(backend: Backend, dtype: Any) -> None:
    target = np.array([[0, 2], [1, 1], [2, 0]], dtype)
    got = backend.take(softxent.one_hot(backend(target), 4))
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, np.eye(4)[target])
    assert backend.take(softxent.one_hot(backend(np.zeros((0, 2), dtype)), 4)).shape == (0, 2, 4)
    assert backend.take(softxent.one_hot(backend(2, dtype), 3)).tolist() == [0, 0, 1]


@dtypes
def test_many_masked_classes_with_target_above_0(backend: Backend, dtype: Any) -> None:
    """Masked classes with a target from smoothing cost +inf, for any number of adjacent ones."""
    x = np.zeros((2, 9000), dtype)
    x[0, 4096:8192] = -INF
    loss, grad = backend.take_both(
        softxent.cross_entropy_with_grad(
            backend(x), backend(np.zeros(2, int)), label_smoothing=0.1, reduction="none"
        )
    )
    assert loss[0] == INF
    assert np.isfinite(loss[1])
    assert np.isfinite(grad).all()
