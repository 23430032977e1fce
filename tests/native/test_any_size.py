"""Logits of any size, up to the largest number of the dtype, beside 50-digit arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from softxent import _native
from tests.support import oracle

LARGEST = float(np.finfo(np.float64).max)
ROWS = {
    "2^64": [0.0, 2.0**64],
    "1e20": [0.0, 1e20],
    "negative": [-1e20, -2e20, -1e20],
    "equal and largest": [LARGEST] * 3,
    "equal and lowest": [-LARGEST] * 3,
    "both ends": [LARGEST, -LARGEST],
    "both ends and between": [-LARGEST, 0.0, 1e300, LARGEST],
    "just apart": [1e17, 1e17 + 16, 1e17 + 32],
    "many": [*(LARGEST * np.linspace(-1, 1, 5).repeat(33))],
    "many near 2^70": [*(2.0**70 + 2.0**18 * np.arange(5.0).repeat(33))],
}
OPTIONS: dict[str, dict[str, Any]] = {
    "index": {},
    "label_smoothing": {"label_smoothing": 0.1},
    "weight": {"weight": ...},
    "probabilities": {"probabilities": ...},
    "softcap": {"softcap": 30.0},
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", ROWS)
def test_float64(name: str, option: str) -> None:
    """A bound that rounds away beside such a logit makes a gradient wrong."""
    x = np.array([ROWS[name]])
    classes, given = x.shape[1], dict(OPTIONS[option])
    weight = q = None
    if "weight" in given:
        weight = given["weight"] = np.linspace(0.1, 1.0, classes)
    if "probabilities" in given:
        q = np.linspace(1.0, 2.0, classes)
        q /= q.sum()
        given["probabilities"] = q[None]
    for y in {0, classes - 1}:
        target = given if q is not None else {**given, "index": np.array([y])}
        loss, grad = np.empty(1), np.empty_like(x)
        _native.cross_entropy(x, **target, loss=loss, grad=grad)
        rest = {k: v for k, v in given.items() if k not in ("weight", "probabilities")}
        want = oracle.cross_entropy(x[0], y if q is None else q, weight, **rest)
        close = 1e-14 if option != "softcap" else 1e-12
        np.testing.assert_allclose(loss, float(want.loss), close)
        terms = np.array([float(t) for t in want.terms])
        error = np.abs(grad[0] - [float(g) for g in want.grad])
        assert (error <= close * terms).all(), (y, grad[0][:5])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_both_ends_of_other_dtypes(dtype: Any) -> None:
    largest = np.finfo(dtype).max
    x = np.array([[largest, -largest, 0], [-largest, -largest, -largest]], dtype)
    y = np.array([0, 2])
    for smoothing in (0.0, 0.1):
        loss, grad = np.empty(2), np.empty_like(x)
        _native.cross_entropy(x, index=y, label_smoothing=smoothing, loss=loss, grad=grad)
        for i in range(2):
            want = oracle.cross_entropy(x[i], y[i], label_smoothing=smoothing)
            np.testing.assert_allclose(loss[i], float(want.loss), 1e-6)
            np.testing.assert_allclose(grad[i], np.array(want.grad, float), 1e-3, 1e-3)


@pytest.mark.parametrize("classes", [2, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_softcap_keeps_a_mask(classes: int, dtype: Any, smoothing: float) -> None:
    """-inf has probability 0 with a softcap too; as a target, the loss is infinite."""
    x = np.zeros((3, classes), dtype)
    x[:, 0] = -np.inf
    x[2, -1] = np.inf
    y = np.array([1, 0, 1])
    loss, grad = np.empty(3), np.empty_like(x)
    options: dict[str, Any] = {"softcap": 30.0, "label_smoothing": smoothing}
    _native.cross_entropy(x, index=y, loss=loss, grad=grad, **options)
    if smoothing == 0:
        np.testing.assert_allclose(loss[0], np.log(classes - 1), 1e-6, 1e-300)
    else:
        assert loss[0] == np.inf
    assert loss[1] == np.inf
    assert np.isfinite(grad[:2]).all()
    assert (grad[:2, 0] == 0).all()
    assert np.isnan(loss[2])
    assert np.isnan(grad[2]).any()
