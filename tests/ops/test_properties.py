"""Properties of all rows of logits, tested with random ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import softxent
from tests.support.backends import Backend


def holds_for(*strategies: Any) -> Callable[[Any], Any]:
    """The same examples in every run, and as many as fit in a second."""
    run: Any = settings(max_examples=20, deadline=None, derandomize=True)
    examples: Any = given(*strategies)
    return lambda test: run(examples(test))


EPS = np.finfo(np.float64).eps

# Ordinary and hard: ties, whole numbers, masks, logits far apart, confident predictions.
number = st.floats(-30, 30) | st.integers(-5, 5).map(float) | st.floats(-5000, 5000)
logit = number | st.just(-np.inf)


@st.composite
def batches(draw: st.DrawFn, finite: bool = False) -> tuple[Any, Any]:
    """Rows of logits, none of only -inf, and a class index each that isn't masked."""
    rows, classes = draw(st.integers(1, 6)), draw(st.integers(1, 20))
    x = draw(hnp.arrays(np.float64, (rows, classes), elements=number if finite else logit))
    x[~np.isfinite(x).any(axis=1), 0] = 0.5
    best = x.argmax(axis=1)
    y = draw(hnp.arrays(np.int64, rows, elements=st.integers(0, classes - 1)))
    return x, np.where(np.isfinite(x[np.arange(rows), y]), y, best)


@st.composite
def distributions(draw: st.DrawFn, shape: tuple[int, int]) -> Any:
    """Target probabilities, with zeros among them."""
    raw = draw(hnp.arrays(np.float64, shape, elements=st.integers(0, 9).map(float)))
    raw[:, 0] += raw.sum(axis=1) == 0
    return raw / raw.sum(axis=1, keepdims=True)


@pytest.fixture(params=["numpy", "torch"], scope="module")
def kind(request: pytest.FixtureRequest) -> Backend:
    return Backend(request.param)


def close(got: Any, want: Any, *, ulps: float = 8, atol: float = 0.0) -> None:
    np.testing.assert_allclose(got, want, rtol=ulps * EPS, atol=atol)


def spread(x: Any) -> Any:
    """How far apart the finite logits are: what a rounding of one of them is multiplied with."""
    finite = np.abs(x[np.isfinite(x)])
    return 1 + finite.max(initial=0)


@holds_for(batches())
def test_softmax_is_a_distribution(kind: Backend, batch: tuple[Any, Any]) -> None:
    x, _ = batch
    p = kind.take(softxent.softmax(kind(x)))
    assert ((p >= 0) & (p <= 1)).all()
    close(p.sum(axis=1), 1.0, ulps=50)
    assert (p[x == -np.inf] == 0).all()
    order = np.argsort(x, axis=1)
    sorted_p = np.take_along_axis(p, order, 1)
    assert (np.diff(sorted_p, axis=1) >= -4 * EPS * sorted_p[:, 1:]).all()


@holds_for(batches())
def test_log_softmax_is_the_logarithm_of_softmax(kind: Backend, batch: tuple[Any, Any]) -> None:
    x, _ = batch
    log_p = kind.take(softxent.log_softmax(kind(x)))
    assert (log_p <= 0).all()
    p = kind.take(softxent.softmax(kind(x)))
    close(np.exp(log_p), p, ulps=20 * spread(x), atol=1e-307)
    lse = kind.take(softxent.logsumexp(kind(x)))
    close((x - lse[:, None])[np.isfinite(x)], log_p[np.isfinite(x)], atol=20 * EPS * spread(x))


@holds_for(batches(), st.integers(-1000, 1000))
def test_a_common_offset_changes_nothing(
    kind: Backend, batch: tuple[Any, Any], offset: int
) -> None:
    """Logits that are multiples of 1/1024, so that the shift itself is exact."""
    x, y = batch
    x = np.rint(x * 1024) / 1024
    got_loss, got = kind.take_both(softxent.cross_entropy_with_grad(kind(x + offset), kind(y)))
    loss, grad = kind.take_both(softxent.cross_entropy_with_grad(kind(x), kind(y)))
    # A maximum near 0 keeps fewer digits of a far logit.
    close(got_loss, loss, ulps=8 * spread(x) + 8 * abs(offset))
    close(got, grad, ulps=8 * spread(x) + 8 * abs(offset), atol=1e-307)
    lse = kind.take(softxent.logsumexp(kind(x)))
    close(
        kind.take(softxent.logsumexp(kind(x + offset))),
        lse + offset,
        atol=8 * EPS * (spread(x) + abs(offset)),
    )


@holds_for(batches(), st.randoms(use_true_random=False))
def test_permuted_classes(kind: Backend, batch: tuple[Any, Any], random: Any) -> None:
    x, y = batch
    order = list(range(x.shape[1]))
    random.shuffle(order)
    new_place = np.argsort(order)
    loss, grad = kind.take_both(softxent.cross_entropy_with_grad(kind(x), kind(y)))
    got_loss, got = kind.take_both(
        softxent.cross_entropy_with_grad(kind(x[:, order]), kind(new_place[y]))
    )
    close(got_loss, loss, ulps=20)
    close(got, grad[:, order], ulps=20, atol=1e-307)
    close(
        kind.take(softxent.softmax(kind(x[:, order]))),
        kind.take(softxent.softmax(kind(x)))[:, order],
        ulps=20,
        atol=1e-307,
    )


@holds_for(batches(), st.sampled_from([0.0, 0.1, 1.0]), st.data())
def test_gradient_rows_add_up_to_zero(
    kind: Backend, batch: tuple[Any, Any], smoothing: float, data: Any
) -> None:
    """Without z_loss: a shift of the logits costs nothing."""
    x, y = batch
    weight = data.draw(hnp.arrays(np.float64, x.shape[1], elements=st.floats(0.125, 8)))
    for target in (y, data.draw(distributions(x.shape))):
        grad = kind.take(
            softxent.cross_entropy_with_grad(
                kind(x), kind(target), kind(weight), label_smoothing=smoothing, reduction="none"
            )[1]
        )
        size = np.abs(grad).sum(axis=1)
        assert (np.abs(grad.sum(axis=1)) <= 20 * EPS * np.maximum(size, weight.max())).all()


@holds_for(batches(finite=True), st.integers(0, 6), st.booleans())
def test_split_is_whole(kind: Backend, batch: tuple[Any, Any], at: int, weighted: bool) -> None:
    """Sums with their denominators add up; a mean of means would not."""
    x, y = batch
    weight = np.linspace(0.5, 2, x.shape[1]) if weighted else None

    def mean(part: slice) -> softxent.Mean:
        given = None if weight is None else kind(weight)
        total = softxent.cross_entropy(kind(x[part]), kind(y[part]), given, reduction="sum")
        count = len(y[part]) if weight is None else weight[y[part]].sum()
        return softxent.Mean(float(total), float(count))

    parts = mean(slice(0, at)) + mean(slice(at, None))
    whole = softxent.cross_entropy(kind(x), kind(y), None if weight is None else kind(weight))
    close(parts.value, kind.take(whole), ulps=30)


@holds_for(batches(finite=True), st.floats(0, 1))
def test_one_hot_probabilities_are_an_index(
    kind: Backend, batch: tuple[Any, Any], smoothing: float
) -> None:
    x, y = batch
    options: dict[str, Any] = {"label_smoothing": smoothing, "z_loss": 0.01, "reduction": "none"}
    onehot = np.eye(x.shape[1])[y]
    by_index = kind.take_both(softxent.cross_entropy_with_grad(kind(x), kind(y), **options))
    by_probabilities = kind.take_both(
        softxent.cross_entropy_with_grad(kind(x), kind(onehot), **options)
    )
    close(by_probabilities[0], by_index[0], ulps=20)
    close(by_probabilities[1], by_index[1], ulps=20, atol=20 * EPS * spread(x))


@holds_for(batches(), st.floats(0, 1))
def test_weights_of_one_are_none(kind: Backend, batch: tuple[Any, Any], smoothing: float) -> None:
    x, y = batch
    ones = np.ones(x.shape[1])
    for reduction in ("none", "mean"):
        options: dict[str, Any] = {"label_smoothing": smoothing, "reduction": reduction}
        got = softxent.cross_entropy_with_grad(kind(x), kind(y), kind(ones), **options)
        want = softxent.cross_entropy_with_grad(kind(x), kind(y), **options)
        for a, b in zip(kind.take_both(got), kind.take_both(want), strict=True):
            close(a, b)


# Not below 1e-300: divided by the number of classes, the share would lose digits as a subnormal.
@holds_for(batches(finite=True), st.just(0.0) | st.floats(1e-300, 1))
def test_label_smoothing_is_linear(kind: Backend, batch: tuple[Any, Any], smoothing: float) -> None:
    """loss(e) = (1 - e) loss(0) + e loss(1)."""
    x, y = batch

    def loss(e: float) -> Any:
        return kind.take(
            softxent.cross_entropy(kind(x), kind(y), label_smoothing=e, reduction="none")
        )

    close(loss(smoothing), (1 - smoothing) * loss(0) + smoothing * loss(1), ulps=30)


@holds_for(batches(finite=True), st.floats(0.25, 4))
def test_temperature_divides_the_logits(
    kind: Backend, batch: tuple[Any, Any], temperature: float
) -> None:
    x, y = batch
    got = softxent.cross_entropy(kind(x), kind(y), temperature=temperature)
    want = softxent.cross_entropy(kind(x / temperature), kind(y))
    close(kind.take(got), kind.take(want), ulps=10 * spread(x))


@holds_for(hnp.arrays(np.float64, 5, elements=number), st.data())
def test_binary_is_two_classes(kind: Backend, x: Any, data: Any) -> None:
    """The sigmoid's loss is softmax's over [0, x]."""
    pairs = np.stack([np.zeros(5), x], axis=1)
    y = data.draw(hnp.arrays(np.int64, 5, elements=st.integers(0, 1)))
    for target, classes in (
        (y.astype(float), y),
        (y * 0.75, np.stack([1 - y * 0.75, y * 0.75], 1)),
    ):
        got = softxent.binary_cross_entropy_with_logits(kind(x), kind(target), reduction="none")
        want = softxent.cross_entropy(kind(pairs), kind(classes), reduction="none")
        close(kind.take(got), kind.take(want))
    p = kind.take(softxent.softmax(kind(pairs)))[:, 1]
    sigmoid = np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))
    close(p, sigmoid, ulps=20, atol=1e-307)


@holds_for(batches())
def test_nll_of_log_softmax_is_cross_entropy(kind: Backend, batch: tuple[Any, Any]) -> None:
    x, y = batch
    for reduction in ("none", "sum", "mean"):
        got = softxent.nll_loss(softxent.log_softmax(kind(x)), kind(y), reduction=reduction)
        want = softxent.cross_entropy(kind(x), kind(y), reduction=reduction)
        close(kind.take(got), kind.take(want))


@holds_for(batches(), st.data())
def test_log_loss_of_softmax_is_cross_entropy(
    kind: Backend, batch: tuple[Any, Any], data: Any
) -> None:
    """As far as probabilities can say: not where they have rounded to 0 or to 1."""
    x, y = batch
    x = np.clip(x, x.max(axis=1, keepdims=True) - 600, None)
    for target in (y, data.draw(distributions(x.shape))):
        got = softxent.log_loss(softxent.softmax(kind(x)), kind(target))
        want = softxent.cross_entropy(kind(x), kind(target))
        close(kind.take(got), kind.take(want), ulps=500, atol=20 * EPS * x.shape[1])


@holds_for(batches())
def test_a_sharper_dtype_agrees(kind: Backend, batch: tuple[Any, Any]) -> None:
    """float32 is float64's result of the same numbers, rounded."""
    x, y = batch
    x = x.astype(np.float32)
    for function in (softxent.softmax, softxent.log_softmax, softxent.logsumexp):
        got = kind.take(function(kind(x)))
        want = kind.take(function(kind(x.astype(np.float64))))
        largest = 0 if function is softxent.softmax else 1e-6 * spread(x)
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=largest + 1e-37)
    loss = kind.take(softxent.cross_entropy(kind(x), kind(y)))
    want = kind.take(softxent.cross_entropy(kind(x.astype(np.float64)), kind(y)))
    np.testing.assert_allclose(loss, want, rtol=2e-5, atol=1e-37)


@holds_for(batches())
def test_top_one_is_the_prediction(kind: Backend, batch: tuple[Any, Any]) -> None:
    x, _ = batch
    values, indices = kind.take_both(softxent.top_k(kind(x), 1))
    np.testing.assert_array_equal(indices[:, 0], x.argmax(axis=1))
    np.testing.assert_array_equal(values[:, 0], x.max(axis=1))
    of_probabilities = kind.take(softxent.top_k(softxent.softmax(kind(x)), 1)[1])
    # Probabilities may have rounded to a tie, and then the lower index wins.
    np.testing.assert_allclose(
        np.take_along_axis(x, of_probabilities, 1)[:, 0], x.max(axis=1), atol=1e-12
    )
