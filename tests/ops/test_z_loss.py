"""z_loss in a mean: its terms are averaged over the kept rows, without class weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import softxent
from softxent.ops import reference
from softxent.ops.options import LossOptions
from tests.support import oracle
from tests.support.backends import Backend
from tests.support.oracle import ulps

WEIGHT = np.array([0.25, 1.0, 3.0, 0.0, 7.5])
Z_LOSS = 0.0625
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "smoothing": {"label_smoothing": 0.1},
    "softcap and temperature": {"softcap": 4.0, "temperature": 0.5},
}


def batch(rows: int, classes: int, dtype: Any) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(rows)
    logits = (2 * rng.standard_normal((rows, classes))).astype(dtype)
    target = rng.integers(0, classes, rows)
    target[2] = -100
    target[3] = 3  # of weight 0
    weight = WEIGHT if classes == len(WEIGHT) else rng.uniform(0.1, 9, classes)
    return logits, target, weight.astype(dtype)


# Classes for the kernels of one row to a lane, and for those of one row after another.
@pytest.mark.parametrize("classes", [5, 300])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["index", "probabilities"])
def test_mean_and_gradient(
    backend: Backend, kind: str, case: str, dtype: str, classes: int
) -> None:
    logits, target, weight = batch(6, classes, dtype)
    if kind == "probabilities":
        target = np.random.default_rng(1).dirichlet(np.ones(classes), 6).astype(dtype)
    options = {"z_loss": Z_LOSS, **CASES[case]}
    value, grads = oracle.mean(logits, target, weight, ignore_index=-100, **options)
    given = backend(logits), backend(target), backend(weight)
    loss, grad = backend.take_both(softxent.cross_entropy_with_grad(*given, **options))
    few = 1e-13 if dtype == "float64" else 2e-6
    np.testing.assert_allclose(loss, float(value), rtol=few)
    np.testing.assert_allclose(grad, np.array(grads, float), rtol=few, atol=few / 10)
    alone = backend.take(softxent.cross_entropy(*given, **options))
    np.testing.assert_allclose(alone, loss, rtol=few)


@pytest.mark.parametrize("factor", [10.0, 0.001])
def test_weights_times_a_number_change_nothing(backend: Backend, factor: float) -> None:
    logits, target, weight = batch(6, 5, "float64")
    results = [
        backend.take_both(
            softxent.cross_entropy_with_grad(
                backend(logits), backend(target), backend(w), z_loss=Z_LOSS
            )
        )
        for w in (weight, factor * weight)
    ]
    for before, after in zip(*results, strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-14)


@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_sums_and_rows_have_the_terms_as_they_are(backend: Backend, reduction: Any) -> None:
    logits, target, weight = batch(6, 5, "float64")

    def losses(z_loss: float) -> Any:
        return backend.take(
            softxent.cross_entropy(
                backend(logits), backend(target), backend(weight),
                z_loss=z_loss, reduction=reduction,
            )
        )  # fmt: skip

    terms = Z_LOSS * np.where(target == -100, 0, reference.logsumexp(logits)) ** 2
    want = losses(0.0) + (terms if reduction == "none" else terms.sum())
    np.testing.assert_allclose(losses(Z_LOSS), want, rtol=1e-14)


def test_a_mean_over_weights_of_zero_is_nan(backend: Backend) -> None:
    logits, target = np.zeros((2, 2)), np.array([1, 1])
    loss = softxent.cross_entropy(
        backend(logits), backend(target), backend(np.array([1.0, 0.0])), z_loss=Z_LOSS
    )
    assert np.isnan(backend.take(loss))


def test_a_difference_that_cancels_keeps_its_digits(backend: Backend) -> None:
    """z_loss so that the gradient at a target nearly vanishes, under weights."""
    logits, target = np.array([[1.0, -0.5, 0.25], [0.5, 2.0, -1.0], [0.0, 0.1, 0.2]]), [0, 1, 2]
    weight = np.array([3.0, 5.0, 7.0])
    lse = oracle.logsumexp(logits[0])
    p = oracle.softmax(logits[0])[0]
    # 3 (p - 1) / 15 + 2 z_loss lse p / 3 = 0
    z_loss = float((1 - p) / p * 3 / 15 * 3 / (2 * lse)) * (1 + 2.0**-24)
    _, exact = oracle.mean(logits, np.array(target), weight, z_loss=z_loss)
    _, grad = softxent.cross_entropy_with_grad(
        backend(logits), backend(np.array(target)), backend(weight), z_loss=z_loss
    )
    assert abs(exact[0][0]) < 1e-7
    grad = backend.take(grad)
    assert all(ulps(row, list(want)) <= 4 for row, want in zip(grad, exact, strict=True))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_linear_head(backend: Backend, reduction: Any) -> None:
    rng = np.random.default_rng(5)
    features, classifier = rng.standard_normal((6, 4)), rng.standard_normal((5, 4))
    _, target, weight = batch(6, 5, "float64")
    options = LossOptions(weight=weight, z_loss=Z_LOSS, reduction=reduction)
    losses, grad, denominator = reference.cross_entropy(features @ classifier.T, target, options)
    if reduction == "mean":
        losses, grad = losses.sum() / denominator, grad / denominator
    elif reduction == "sum":
        losses = losses.sum()
    given = (backend(features), backend(classifier), backend(target), None, backend(weight))
    value, grads = softxent.linear_cross_entropy_with_grad(
        *given, z_loss=Z_LOSS, reduction=reduction
    )
    np.testing.assert_allclose(backend.take(value), losses, rtol=1e-13)
    np.testing.assert_allclose(backend.take(grads.features), grad @ classifier, rtol=1e-12)
    np.testing.assert_allclose(backend.take(grads.classifier), grad.T @ features, rtol=1e-12)
    alone = softxent.linear_cross_entropy(*given, z_loss=Z_LOSS, reduction=reduction)
    np.testing.assert_allclose(backend.take(alone), losses, rtol=1e-13)


def test_explain_shows_both_averages() -> None:
    logits, target, weight = batch(6, 5, "float64")
    trace: Any = softxent.explain(logits, target, weight, z_loss=Z_LOSS)
    value, grads = oracle.mean(logits, target, weight, ignore_index=-100, z_loss=Z_LOSS)
    assert trace.value == pytest.approx(float(value), rel=1e-14)
    np.testing.assert_allclose(trace.gradient, np.array(grads, float), rtol=1e-13, atol=1e-15)
    assert trace.z_mean.weight == 5
    assert trace.mean.weight == weight[target[target >= 0]].sum()
    assert trace.mean.value + trace.z_mean.value == pytest.approx(trace.value, rel=1e-14)
    np.testing.assert_allclose(trace.z_terms.sum(), trace.z_mean.total, rtol=1e-14)
    text = " ".join(trace.text().split())
    assert "and the sum of the terms of z_loss over 5 rows that are not ignored" in text
    one: Any = softxent.explain(logits[0], 2, weight, z_loss=Z_LOSS)
    lse = float(oracle.logsumexp(logits[0]))
    assert one.z_terms[0] == pytest.approx(Z_LOSS * lse**2, rel=1e-14)
    assert "but not what z_loss adds" in " ".join(one.text().split())
