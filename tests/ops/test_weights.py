"""Weights of any sign, and class probabilities that rounding made negative, as in torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import softxent
from softxent.errors import TargetError
from softxent.ops import reference
from softxent.ops.options import LossOptions
from tests.support import oracle
from tests.support.backends import Backend

WEIGHT = np.array([2.0, -0.5, 1.25])
LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0], [1.0, 1.0, -2.0], [0.3, -0.2, 0.1]])
TARGETS = {
    "index": np.array([1, 0, 2, 1]),
    "probabilities": np.random.default_rng(0).dirichlet(np.ones(3), 4),
}


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1, "z_loss": 0.01}], ids=str)
def test_negative_class_weights(backend: Backend, kind: str, options: Any) -> None:
    target = TARGETS[kind]
    value, grads = oracle.mean(LOGITS, target, WEIGHT, **options)
    given = backend(LOGITS), backend(target), backend(WEIGHT)
    loss, grad = backend.take_both(softxent.cross_entropy_with_grad(*given, **options))
    np.testing.assert_allclose(loss, float(value), rtol=1e-13)
    np.testing.assert_allclose(grad, np.array(grads, float), rtol=1e-12, atol=1e-15)
    alone = backend.take(softxent.cross_entropy(*given, **options))
    np.testing.assert_allclose(alone, loss, rtol=1e-14)
    linear = softxent.linear_cross_entropy(
        given[0], backend(np.eye(3)), given[1], None, given[2], **options
    )
    np.testing.assert_allclose(backend.take(linear), loss, rtol=1e-13)


def test_negative_class_weights_of_given_probabilities(backend: Backend) -> None:
    for kind, target in TARGETS.items():
        want = float(oracle.mean(LOGITS, target, WEIGHT)[0])
        given = backend(target), backend(WEIGHT)
        probs, log_probs = softxent.softmax(LOGITS), softxent.log_softmax(LOGITS)
        loss = softxent.log_loss(backend(probs), *given)
        np.testing.assert_allclose(backend.take(loss), want, rtol=1e-12)
        if kind == "index":
            loss = softxent.nll_loss(backend(log_probs), *given)
            np.testing.assert_allclose(backend.take(loss), want, rtol=1e-13)


@pytest.mark.parametrize("function", ["binary_cross_entropy", "binary_cross_entropy_with_logits"])
def test_negative_weights_of_elements(backend: Backend, function: str) -> None:
    x, y, w = np.array([0.25, 0.5, 0.75]), np.array([0.0, 1.0, 0.5]), np.array([1.0, -2.0, 0.5])
    p = x if function == "binary_cross_entropy" else 1 / (1 + np.exp(-x))
    want = -w * (y * np.log(p) + (1 - y) * np.log1p(-p))
    got = getattr(softxent, function)(backend(x), backend(y), backend(w), reduction="none")
    np.testing.assert_allclose(backend.take(got), want, rtol=1e-14)
    if function == "binary_cross_entropy":
        return
    want = -(-3.0 * y * np.log(p) + (1 - y) * np.log1p(-p))
    got = softxent.binary_cross_entropy_with_logits(
        backend(x), backend(y), pos_weight=backend(-3.0), reduction="none"
    )
    np.testing.assert_allclose(backend.take(got), want, rtol=1e-14)


def test_explain_with_negative_weights() -> None:
    """Where the weights of the targets add up to less than 0, no `Mean` holds them."""
    for target in (TARGETS["index"], np.array([1, 1, 1, 1])):
        trace: Any = softxent.explain(LOGITS, target, WEIGHT, z_loss=0.01)
        value, grads = oracle.mean(LOGITS, target, WEIGHT, z_loss=0.01)
        assert trace.value == pytest.approx(float(value), rel=1e-13)
        np.testing.assert_allclose(trace.gradient, np.array(grads, float), rtol=1e-12, atol=1e-15)
        assert (trace.mean is None) == (WEIGHT[target].sum() < 0)
        assert trace.text()
    assert softxent.explain(LOGITS[0], 1, WEIGHT).text()


def test_classes_below_the_limit_of_a_head_with_negative_weights(backend: Backend) -> None:
    """Then the gradient of every class of a row may be negative: none of them is below 0 unseen."""
    classes, skip = 400, 1e-4
    rng = np.random.default_rng(0)
    features, head = rng.standard_normal((37, 12)), rng.standard_normal((classes, 12))
    target, weight = rng.integers(0, 8, 37), np.full(classes, -1.0)

    def gradient(skip_below: float) -> Any:
        _, grads = softxent.linear_cross_entropy_with_grad(
            backend(features), backend(head), backend(target), None, backend(weight),
            reduction="sum", skip_below=skip_below, max_bytes=2**20,
        )  # fmt: skip
        return backend.take(grads.classifier)

    error = np.abs(gradient(skip) - gradient(0.0))
    assert (error <= skip * np.abs(features).sum(0) + 1e-12).all()


ROUNDED = {"float64": -1e-18, "float32": -6e-8, "float16": -9.8e-4}


@pytest.mark.parametrize("dtype", ROUNDED)
def test_probabilities_that_rounding_made_negative(backend: Backend, dtype: str) -> None:
    target = TARGETS["probabilities"].astype(dtype)
    target[1] = [ROUNDED[dtype], 0.25, 0.75]
    options = LossOptions(reduction="none")
    want, grad, _ = reference.cross_entropy(LOGITS, target, options)
    given = backend(LOGITS), backend(target)
    got, got_grad = backend.take_both(softxent.cross_entropy_with_grad(*given, reduction="none"))
    np.testing.assert_allclose(got, want, rtol=1e-12)
    np.testing.assert_allclose(got_grad, grad, rtol=1e-9, atol=1e-15)
    head = backend(np.eye(3))
    linear = softxent.linear_cross_entropy(given[0], head, given[1], reduction="none")
    np.testing.assert_allclose(backend.take(linear), want, rtol=1e-12)
    loss = softxent.log_loss(backend(softxent.softmax(LOGITS)), given[1], reduction="none")
    np.testing.assert_allclose(backend.take(loss), want, rtol=1e-9)
    trace: Any = softxent.explain(LOGITS, given[1] if backend.tensors else target)
    np.testing.assert_allclose(trace.losses, want, rtol=1e-12)
    target[1, 0] = 40 * ROUNDED[dtype] if dtype != "float64" else -1e-9
    with pytest.raises(TargetError, match=r"target\[1, 0\] is -"):
        softxent.cross_entropy(given[0], backend(target))


@pytest.mark.parametrize("target", [[-1e-17, 1.0], [0.25, 0.75], [1, 0]], ids=str)
@pytest.mark.parametrize("weight", [None, [2.0, -0.5], [-1.0, -2.0], [1.0, 0.0]], ids=str)
def test_explain_two_classes(target: Any, weight: Any) -> None:
    """As binary cross-entropy, whose target then is outside [0, 1]."""
    trace: Any = softxent.explain([2.0, -1.0], target, weight, label_smoothing=0.1)
    assert trace.binary.losses[0] == pytest.approx(trace.losses[0], rel=1e-13)
    assert "binary cross-entropy" in trace.text()


@pytest.mark.parametrize("function", ["binary_cross_entropy", "binary_cross_entropy_with_logits"])
@pytest.mark.parametrize("dtype", ROUNDED)
def test_binary_targets_that_rounding_moved(backend: Backend, function: str, dtype: str) -> None:
    """As an interpolated mask has them, 1.0000001 for example."""
    eps = float(np.finfo(dtype).eps)
    x, y = np.array([0.25, 0.5, 0.75]), np.array([-eps, 1 + eps, 0.5]).astype(dtype)
    p = x if function == "binary_cross_entropy" else 1 / (1 + np.exp(-x))
    wide = y.astype(np.float64)
    want = -(wide * np.log(p) + (1 - wide) * np.log1p(-p))
    got = getattr(softxent, function)(backend(x), backend(y), reduction="none")
    np.testing.assert_allclose(backend.take(got), want, rtol=1e-13)
    total = getattr(softxent, function)(backend(x), backend(y), reduction="sum")
    np.testing.assert_allclose(backend.take(total), want.sum(), rtol=1e-13)
    for bad in (-40 * eps, 1 + 40 * eps):
        with pytest.raises(TargetError, match=r"target\[2\] is .*a binary target is in \[0, 1\]"):
            getattr(softxent, function)(backend(x), backend(np.array([0, 1, bad]).astype(dtype)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_modules_and_compiled_graphs_take_them_too(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    from softxent import nn

    logits = torch.from_numpy(LOGITS).float()
    target = torch.from_numpy(TARGETS["probabilities"]).to(getattr(torch, dtype))
    target[1] = torch.tensor([-6e-8 if dtype == "float32" else -0.01, 0.25, 0.75])
    weight = torch.from_numpy(WEIGHT).float()
    theirs = torch.nn.functional.cross_entropy(logits, target.float(), weight)
    torch.testing.assert_close(nn.CrossEntropyLoss(weight)(logits, target).float(), theirs)
    compiled = torch.compile(
        lambda z: softxent.cross_entropy(z, target, weight), backend="aot_eager", fullgraph=True
    )
    torch.testing.assert_close(compiled(logits), theirs)
    module = nn.LinearCrossEntropyLoss(3, 3, weight=weight)
    with torch.no_grad():
        module.linear.weight.copy_(torch.eye(3))
    torch.testing.assert_close(module(logits, target), theirs)
    index = torch.from_numpy(TARGETS["index"])
    theirs = torch.nn.functional.cross_entropy(logits, index, weight)
    torch.testing.assert_close(nn.functional.cross_entropy(logits, index, weight), theirs)
    torch.testing.assert_close(module(logits, index), theirs)
    stats = nn.functional.linear_cross_entropy_with_stats(
        logits, torch.eye(3), index, weight=weight
    )
    torch.testing.assert_close(stats.loss, theirs)
