"""Several axes, all of them, and single numbers, as SciPy takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special

import softxent
from softxent.errors import OptionError, ShapeError
from tests.support.backends import Backend

FUNCTIONS = ("softmax", "log_softmax", "logsumexp")
X = np.random.default_rng(0).normal(0, 3, (3, 4, 2, 5))
AXES: list[Any] = [
    None,
    (0,),
    (0, 1),
    (1, 2),
    (2, 3),
    (0, 2),
    (3, 1),
    (-1, 0),
    (0, 1, 2, 3),
    (-4, -2, 1),
]

each_function = pytest.mark.parametrize("function", FUNCTIONS)


def ours(function: str, x: Any, axis: Any, **options: Any) -> Any:
    return getattr(softxent, function)(x, axis, **options)


@each_function
@pytest.mark.parametrize("axis", AXES, ids=str)
def test_several_axes(backend: Backend, function: str, axis: Any) -> None:
    want = getattr(scipy.special, function)(X, axis=axis)
    got = backend.take(ours(function, backend(X), axis))
    assert got.shape == np.shape(want)
    np.testing.assert_allclose(got, want, rtol=1e-12)
    for dtype, rtol in (("float32", 2e-5), ("float16", 2e-2)):
        got = backend.take(ours(function, backend(X, dtype), axis))
        assert got.dtype == dtype
        np.testing.assert_allclose(got, want, rtol=rtol, atol=1e-3 if rtol > 1e-3 else 0)


@each_function
@pytest.mark.parametrize("axis", AXES, ids=str)
def test_the_bits_of_one_row(backend: Backend, function: str, axis: Any) -> None:
    """All classes of a row on one axis at the end give the same bits."""
    axes = tuple(range(4)) if axis is None else axis
    rows = np.moveaxis(X, axes, range(-len(axes), 0))
    rows = np.ascontiguousarray(rows).reshape(*rows.shape[: 4 - len(axes)], -1)
    want = backend.take(ours(function, backend(rows), -1))
    got = backend.take(ours(function, backend(X), axis))
    if function != "logsumexp":
        got = np.moveaxis(got, axes, range(-len(axes), 0)).reshape(rows.shape)
    assert np.array_equal(got, want)


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_keepdims(backend: Backend, axis: Any) -> None:
    want = scipy.special.logsumexp(X, axis=axis, keepdims=True)
    got = backend.take(ours("logsumexp", backend(X), axis, keepdims=True))
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-12)


@each_function
@pytest.mark.parametrize("axis", [None, -1, 0, ()], ids=str)
@pytest.mark.parametrize("value", [5.0, -np.inf, np.nan, np.inf])
def test_single_numbers(backend: Backend, function: str, axis: Any, value: float) -> None:
    """One class: of probability 1 where it has one."""
    got = backend.take(ours(function, backend(value), axis))
    assert got.shape == ()
    one = {"softmax": 1.0, "log_softmax": 0.0, "logsumexp": value}[function]
    if function != "logsumexp" and not np.isfinite(value):
        one = np.nan
    np.testing.assert_array_equal(got, one)


@each_function
def test_no_axis_at_all(backend: Backend, function: str) -> None:
    """axis=() makes each number a row of its own, as in NumPy."""
    got = backend.take(ours(function, backend(X), ()))
    want = {"softmax": np.ones_like(X), "log_softmax": np.zeros_like(X), "logsumexp": X}
    assert np.array_equal(got, want[function])


@each_function
def test_masked_rows_and_empty_arrays(backend: Backend, function: str) -> None:
    x = X.copy()
    x[0] = -np.inf
    x[1, 0, 0, 0] = -np.inf
    got = backend.take(ours(function, backend(x), (1, 2, 3)))
    want = {"softmax": np.nan, "log_softmax": np.nan, "logsumexp": -np.inf}[function]
    np.testing.assert_array_equal(got[0], np.broadcast_to(want, got[0].shape))
    assert not np.isnan(got[1]).any()
    empty = backend.take(ours(function, backend(np.zeros((2, 0, 3))), (1, 2)))
    assert empty.shape == ((2,) if function == "logsumexp" else (2, 0, 3))


@pytest.mark.parametrize("function", FUNCTIONS[:2])
@pytest.mark.parametrize("axis", [None, (0, 2), (2, 1), ()], ids=str)
def test_out(function: str, axis: Any) -> None:
    want = ours(function, X, axis)
    for out in (np.empty_like(X), np.empty((5, 2, 4, 3)).T, X.copy()):
        x = out if np.array_equal(out, X) else X
        assert ours(function, x, axis, out=out) is out
        assert np.array_equal(out, want)
    with pytest.raises(ShapeError, match="out has shape"):
        ours(function, X, axis, out=np.empty(3))
    torch = pytest.importorskip("torch")
    out = torch.empty(X.shape, dtype=torch.float64)
    assert ours(function, torch.from_numpy(X), axis, out=out) is out
    assert np.array_equal(out.numpy(), want)


@each_function
def test_refusals(backend: Backend, function: str) -> None:
    with pytest.raises(OptionError, match=rf"^\[{function}\] axis is \(0, -4\), which names an"):
        ours(function, backend(X), (0, -4))
    with pytest.raises(ShapeError, match="axis is 4, but x has 4 axes"):
        ours(function, backend(X), (0, 4))
    with pytest.raises(OptionError, match=r"axis is 0\.5: pass an integer"):
        ours(function, backend(X), (0, 0.5))
    for axis in (1, -2, (0, 0)):
        with pytest.raises(ShapeError, match="x has no axis"):
            ours(function, backend(5.0), axis)
    with pytest.raises(ShapeError, match="has no axis"):  # a loss needs its classes
        softxent.cross_entropy(backend(5.0), backend(0))


@each_function
@pytest.mark.parametrize("axis", [None, (0, 2), (), -1], ids=str)
def test_derivatives_and_compiled_graphs(function: str, axis: Any) -> None:
    torch = pytest.importorskip("torch")
    torch.compiler.reset()
    x = torch.from_numpy(X[0] if axis != -1 else np.array(0.5)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: ours(function, z, axis), x)
    compiled = torch.compile(lambda z: ours(function, z, axis), backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(x), ours(function, x, axis))
    theirs = torch.logsumexp(x, tuple(range(x.ndim)) if axis is None else axis) if axis != () else x
    if function == "logsumexp":
        torch.testing.assert_close(ours(function, x, axis), theirs)
