"""The linear head on arrays: the textbook formula, through logits, is the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import softxent
from softxent.errors import DTypeError, OptionError, ShapeError, TargetError
from softxent.ops import reference
from softxent.ops.linear import loop
from softxent.ops.options import LossOptions, Reduction

ROWS, WIDTH, CLASSES = 23, 6, 31
RNG = np.random.default_rng(0)
X = RNG.standard_normal((ROWS, WIDTH))
W = RNG.standard_normal((CLASSES, WIDTH))
B = RNG.standard_normal(CLASSES)
Y = RNG.integers(0, CLASSES, ROWS)
Y[4] = -100
Q = RNG.random((ROWS, CLASSES))
WEIGHT = RNG.random(CLASSES) + 0.5
OPTIONS: list[dict[str, Any]] = [
    {},
    {"label_smoothing": 0.1},
    {"z_loss": 0.01},
    {"softcap": 3.0},
    {"temperature": 1.7},
    {"label_smoothing": 0.2, "z_loss": 0.02, "softcap": 5.0, "temperature": 0.8},
]
TOLERANCE = {"float64": 1e-12, "float32": 5e-6, "float16": 5e-4, "bfloat16": 4e-3}


def expected(
    x: Any, w: Any, b: Any, target: Any, weight: Any, reduction: Reduction, options: dict[str, Any]
) -> tuple[Any, tuple[Any, Any, Any]]:
    """Loss and gradients through all logits."""
    losses, G, denominator = reference.cross_entropy(
        x @ w.T + b, target, LossOptions(weight=weight, reduction=reduction, **options)
    )
    scale = 1 / denominator if reduction == "mean" else 1.0
    value = losses if reduction == "none" else losses.sum() * scale
    G = G * scale
    return value, (G @ w, G.T @ x, G.sum(axis=0))


def with_grad(*args: Any, **options: Any) -> tuple[Any, Any]:
    """Loss and gradients, all of them, as arrays."""
    return softxent.linear_cross_entropy_with_grad(*args, **options)


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 5 rows and blocks of 7 classes, so that small inputs have several."""
    monkeypatch.setattr(loop.LinearHead, "_rows_at_once", lambda self: 5)
    monkeypatch.setattr(loop, "_BLOCK", 7)
    monkeypatch.setattr(loop.LinearHead, "_copied", lambda self, itemsize=None: 7)


def numpy_dtype(name: str) -> Any:
    if name == "bfloat16":
        return np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    return np.dtype(name)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_loss_and_gradients(dtype: str, options: dict[str, Any], reduction: Reduction) -> None:
    x, w, b, q = (a.astype(numpy_dtype(dtype)) for a in (X, W, B, Q))
    wide: tuple[Any, ...] = tuple(a.astype(np.float64) for a in (x, w, b))
    for target, exact in ((Y, Y), (q, q.astype(np.float64))):
        for weight in (None, WEIGHT):
            value, grads = expected(wide[0], wide[1], wide[2], exact, weight, reduction, options)
            every: dict[str, Any] = {**options, "reduction": reduction}
            loss = softxent.linear_cross_entropy(x, w, target, b, weight, **every)
            again, got = softxent.linear_cross_entropy_with_grad(x, w, target, b, weight, **every)
            # Half precision is computed in float32: the loss has no more error than float32's.
            tolerance = max(TOLERANCE["float64" if dtype == "float64" else "float32"], 0)
            np.testing.assert_allclose(loss, value, tolerance, tolerance)
            np.testing.assert_array_equal(again, loss)
            for g, v, given in zip(got, grads, (x, w, b), strict=True):
                assert g.dtype == given.dtype
                assert g.shape == given.shape
                error = np.abs(g.astype(np.float64) - v).max() / np.abs(v).max()
                assert error < TOLERANCE[dtype]


@pytest.mark.parametrize("lead", [(), (4,), (2, 3)])
def test_leading_dimensions_and_layouts(lead: tuple[int, ...]) -> None:
    x = (
        RNG.standard_normal((*lead[::-1], 2 * WIDTH))
        .T[::2]
        .T.transpose(*reversed(range(len(lead))), len(lead))
    )
    y = np.asarray(RNG.integers(0, CLASSES, lead))
    loss, grads = with_grad(x, np.asfortranarray(W), y, B)
    flat = np.ascontiguousarray(x).reshape(-1, WIDTH)
    value, want = expected(flat, W, B, y.reshape(-1), None, "mean", {})
    np.testing.assert_allclose(loss, value, 1e-12)
    np.testing.assert_allclose(grads.features.reshape(-1, WIDTH), want[0], 1e-10, 1e-13)
    np.testing.assert_allclose(grads.classifier, want[1], 1e-10, 1e-13)


def test_only_what_is_wanted() -> None:
    _, full = softxent.linear_cross_entropy_with_grad(X, W, Y, B)
    for name in full._fields:
        _, some = with_grad(X, W, Y, B, wanted=[name])
        for other in full._fields:
            if other == name:
                np.testing.assert_array_equal(getattr(some, name), getattr(full, name))
            else:
                assert getattr(some, other) is None
    assert softxent.linear_cross_entropy_with_grad(X, W, Y)[1].bias is None


def test_integers_are_float64_and_lists_are_taken() -> None:
    loss, grads = with_grad([[1, 2]], [[1, 0], [0, 1]], [0])
    assert loss == pytest.approx(np.log1p(np.e), rel=1e-14)
    assert grads.classifier.dtype == np.float64


def test_ignored_rows() -> None:
    x = X.copy()
    x[4] = np.nan
    loss, grads = with_grad(x, W, Y, B)
    assert np.isfinite(loss)
    assert (grads.features[4] == 0).all()
    assert np.isfinite(grads.classifier).all()
    nothing = np.full(ROWS, -100)
    assert np.isnan(softxent.linear_cross_entropy(x, W, nothing))
    assert softxent.linear_cross_entropy(x, W, nothing, reduction="sum") == 0


def test_skipping_stays_within_its_bound() -> None:
    w = 2 * RNG.standard_normal((400, WIDTH))
    skip = 1e-3
    _, got = with_grad(X, w, Y, skip_below=skip)
    _, want = with_grad(X, w, Y)
    kept = Y != -100
    assert (np.abs(got.classifier - want.classifier) <= skip * np.abs(X[kept]).mean(0)).all()
    assert (np.abs(got.features - want.features) <= skip / kept.sum() * np.abs(w).sum(0)).all()
    assert not np.array_equal(got.classifier, want.classifier)


@pytest.mark.parametrize("kind", ["array", "tensor"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_which_classes_are_skipped(kind: str, reduction: Any, weighted: bool) -> None:
    """Those whose entries of G are all below the limit, and no others."""
    rng = np.random.default_rng(5)
    w = 2 * rng.standard_normal((400, WIDTH))
    weight = rng.uniform(0.5, 2.0, (400,)) if weighted else None
    _, g = softxent.cross_entropy_with_grad(X @ w.T, Y, weight, reduction="none")
    largest = np.sort(np.abs(g).max(axis=0))
    # Between two classes whose entries differ, with others within a factor of 2 on both sides.
    skip = float(np.sqrt(largest[199] * largest[200]))
    assert ((largest > skip / 2) & (largest < skip)).any()
    assert ((largest > skip) & (largest < 2 * skip)).any()
    of: Any = np.array if kind == "array" else pytest.importorskip("torch").from_numpy
    _, grads = softxent.linear_cross_entropy_with_grad(
        of(X), of(w), of(Y), weight=None if weight is None else of(weight),
        reduction=reduction, skip_below=skip,
    )  # fmt: skip
    left_out = (np.asarray(grads.classifier) == 0).all(axis=1)
    np.testing.assert_array_equal(left_out, np.abs(g).max(axis=0) < skip)


@pytest.mark.parametrize("layout", ["array", "columns"])
@pytest.mark.parametrize("skip", [0.0, 1e-3])
def test_a_target_overwritten_during_the_call(
    skip: float, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is copied before it is checked: what another thread writes then changes nothing."""
    w = 2 * RNG.standard_normal((400, WIDTH))
    weight = RNG.random(400) + 0.5
    want = with_grad(X, w, Y, weight=weight, skip_below=skip)
    target = Y.copy() if layout == "array" else np.stack([Y, Y], 1)[:, 0]
    fill = loop.LinearHead.fill

    def overwrite(head: loop.LinearHead, chunk: loop.Chunk) -> None:
        fill(head, chunk)
        target[...] = 2**30

    monkeypatch.setattr(loop.LinearHead, "fill", overwrite)
    got = with_grad(X, w, target, weight=weight, skip_below=skip)
    assert (target == 2**30).all()
    assert got[0] == want[0]
    for a, b in zip(got[1], want[1], strict=True):
        assert np.array_equal(a, b)


def test_mistakes_are_named() -> None:
    call = softxent.linear_cross_entropy
    with pytest.raises(ShapeError, match=r"have 6 numbers per row, but .* needs 5"):
        call(X, W[:, :5], Y)
    with pytest.raises(ShapeError, match=r"Pass classifier\.T"):
        call(X, W.T, Y)
    with pytest.raises(ShapeError, match=r"bias has shape \(30,\)"):
        call(X, W, Y, B[:30])
    with pytest.raises(TargetError, match=r"target\[0\] is 31, but there are 31 classes"):
        call(X, W, np.where(np.arange(ROWS) == 0, CLASSES, Y))
    with pytest.raises(DTypeError, match="features has dtype complex128"):
        call(X + 0j, W, Y)
    with pytest.raises(OptionError, match="max_bytes is 5"):
        call(X, W, Y, max_bytes=5)
    with pytest.raises(OptionError, match="wanted is 'features'"):
        with_grad(X, W, Y, wanted="features")
    with pytest.raises(OptionError, match=r"wanted is \['weights'\]"):
        with_grad(X, W, Y, wanted=["weights"])
