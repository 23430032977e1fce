"""Every function against 50-digit arithmetic, with the bounds of `tests.support.bounds`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import softxent
from softxent import _native
from softxent.ops.options import Reduction
from tests.support import bounds, logits, oracle
from tests.support.targets import OPTIONS, least_likely, likeliest, probabilities, with_weight

DTYPES = {"float32": np.float32, "float64": np.float64}
FUNCTIONS = ("softmax", "log_softmax", "logsumexp")


@dataclass(frozen=True)
class Path:
    """What computes: the compiled kernels, or torch's operations."""

    kernels: bool
    convert: Callable[[Any], Any]  # from NumPy
    bounds: Callable[..., bounds.RowBounds]


@pytest.fixture(params=[*_native.levels(), "torch", "decomposition"])
def path(request: pytest.FixtureRequest) -> Iterator[Path]:
    """The kernels of each instruction set, on tensors too, and the decomposition."""
    if request.param == "torch":
        torch = pytest.importorskip("torch")
        yield Path(True, lambda x: torch.from_numpy(np.array(x)), bounds.kernels)
        return
    if request.param == "decomposition":
        torch = pytest.importorskip("torch")

        class Foreign(torch.Tensor):  # type: ignore[name-defined, misc]
            """The kernels don't take it, as they don't take the tensors of another device."""

        yield Path(
            False,
            lambda x: torch.from_numpy(np.array(x)).as_subclass(Foreign),
            bounds.decomposition,
        )
        return
    before = _native.current_level()
    assert _native.select_level(request.param)
    yield Path(True, np.array, bounds.kernels)
    _native.select_level(before)


@pytest.fixture(params=DTYPES)
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# --- softmax, log-softmax and log-sum-exp --------------------------------------------------------


@functools.cache
def exact_rows(function: str, batch: str, dtype: str) -> list[Any]:
    rows = logits.BATCHES[batch](DTYPES[dtype])
    return [getattr(oracle, function)(row) for row in rows]


def check_row(
    path: Path,
    function: str,
    dtype: str,
    row: Any,
    got: Any,
    exact: Any,
    *,
    near_zero: bool = False,
) -> None:
    if path.kernels and near_zero:
        of = abs(oracle.exact(row.max()))
        assert oracle.ulps(got, exact, of) <= bounds.LSE_NEAR_ZERO
    elif path.kernels:
        assert oracle.ulps(got, exact) <= bounds.ULP
    elif function == "logsumexp":  # the maximum and the logarithm of the rest may cancel
        assert oracle.ulps(got, exact, max(abs(exact), abs(oracle.exact(row.max())))) <= bounds.ULP
    else:
        allowed = path.bounds(row, dtype)
        limit = allowed.loss if function == "log_softmax" else allowed.gradient
        assert oracle.ulps(got, exact) <= limit


@pytest.mark.parametrize("batch", logits.BATCHES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_softmax_and_its_logarithms(path: Path, dtype: str, function: str, batch: str) -> None:
    rows = logits.BATCHES[batch](DTYPES[dtype])
    result = np.asarray(getattr(softxent, function)(path.convert(rows)))
    assert result.dtype == DTYPES[dtype]
    near_zero = (function, dtype, batch) == ("logsumexp", "float64", "lse_near_zero")
    for got, exact, row in zip(result, exact_rows(function, batch, dtype), rows, strict=True):
        check_row(path, function, dtype, row, got, exact, near_zero=near_zero)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_million_classes(path: Path, dtype: str, function: str) -> None:
    """Sums don't drift. The classes hold 64 values; one place of each is compared."""
    (row,) = rows = logits.million(DTYPES[dtype])
    got = np.asarray(getattr(softxent, function)(path.convert(rows)))[0]
    values, places, counts = np.unique(row, return_index=True, return_counts=True)
    mp = oracle.mp
    z = [oracle.exact(v) for v in values]
    lse = mp.log(mp.fsum(int(n) * mp.exp(v) for v, n in zip(z, counts, strict=True)))
    if function == "logsumexp":
        check_row(path, function, dtype, row, got, lse)
    else:
        exact = [v - lse if function == "log_softmax" else mp.exp(v - lse) for v in z]
        check_row(path, function, dtype, row, got[places], exact)


# --- losses and gradients ------------------------------------------------------------------------


@functools.cache
def exact_losses(batch: str, dtype: str, target: Any, option: str) -> list[oracle.Result]:
    rows = logits.BATCHES[batch](DTYPES[dtype])
    options = with_weight(OPTIONS[option], rows)
    return [
        oracle.cross_entropy(row, t, **options) for row, t in zip(rows, target(rows), strict=True)
    ]


def losses_and_gradients(
    path: Path, rows: Any, target: Any, options: dict[str, Any]
) -> tuple[Any, Any]:
    if "weight" in options:
        options = {**options, "weight": path.convert(options["weight"])}
    losses, gradients = softxent.cross_entropy_with_grad(
        path.convert(rows), path.convert(target), reduction="none", **options
    )
    assert np.asarray(losses).dtype == np.asarray(gradients).dtype == rows.dtype
    return np.asarray(losses), np.asarray(gradients)


def check(
    path: Path,
    rows: Any,
    losses: Any,
    gradients: Any,
    exact: list[oracle.Result],
    options: dict[str, Any],
) -> None:
    scale = {k: v for k, v in options.items() if k in ("softcap", "temperature")}
    for row, loss, gradient, want in zip(rows, losses, gradients, exact, strict=True):
        allowed = path.bounds(row, rows.dtype.name, **scale)
        assert oracle.ulps(loss, want.loss) <= allowed.loss
        if path.kernels:
            rounded_first = allowed.loss > bounds.ULP
            of = want.terms if rounded_first else None
            assert oracle.ulps(gradient, want.grad, of) <= allowed.gradient
        else:
            check_decomposed(row, gradient, want, allowed)


def check_decomposed(
    row: Any, gradient: Any, want: oracle.Result, allowed: bounds.RowBounds
) -> None:
    """An entry is a difference of two terms; the one of the largest logit, a sum over the others.

    The absolute error of the slope is multiplied by the terms as they are before.
    """
    mp, top = oracle.mp, int(row.argmax())
    terms = list(want.terms_u)
    terms[top] = mp.fsum(abs(g) for j, g in enumerate(want.grad_u) if j != top)
    terms[top] += abs(mp.fsum(want.grad_u))
    for got, exact, term, slope in zip(gradient, want.grad, terms, want.slope, strict=True):
        limit = allowed.gradient * oracle.ulp(term * slope, row.dtype)
        limit += allowed.slope * oracle.ulp(term, row.dtype)
        assert abs(oracle.exact(got) - exact) <= limit


@pytest.mark.parametrize("batch", logits.BATCHES)
def test_loss_and_gradient(path: Path, dtype: str, batch: str) -> None:
    """Of class indices, without options."""
    rows = logits.BATCHES[batch](DTYPES[dtype])
    for target in (likeliest, least_likely):
        losses, gradients = losses_and_gradients(path, rows, target(rows), {})
        check(path, rows, losses, gradients, exact_losses(batch, dtype, target, "none"), {})


@pytest.mark.parametrize(
    "batch", ["ordinary", "confident", "most_confident", "offset", "masked", "ties"]
)
@pytest.mark.parametrize("option", OPTIONS)
def test_options(path: Path, dtype: str, batch: str, option: str) -> None:
    rows = logits.BATCHES[batch](DTYPES[dtype])
    options = with_weight(OPTIONS[option], rows)
    for target in (likeliest, least_likely, probabilities):
        if target is not probabilities and option == "none":
            continue  # that is test_loss_and_gradient
        losses, gradients = losses_and_gradients(path, rows, target(rows), options)
        exact = exact_losses(batch, dtype, target, option)
        check(path, rows, losses, gradients, exact, options)


@pytest.mark.parametrize("classes", [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 129])
def test_every_length_of_a_row(path: Path, dtype: str, classes: int) -> None:
    """Around the widths of vectors, where kernels change from one loop to the next."""
    rows = np.random.default_rng(classes).normal(0, 3, (2, classes)).astype(DTYPES[dtype])
    for function in FUNCTIONS:
        result = np.asarray(getattr(softxent, function)(path.convert(rows)))
        for got, row in zip(result, rows, strict=True):
            check_row(path, function, dtype, row, got, getattr(oracle, function)(row))
    target = rows.argmin(axis=1)
    losses, gradients = losses_and_gradients(path, rows, target, {})
    exact = [oracle.cross_entropy(row, y) for row, y in zip(rows, target, strict=True)]
    check(path, rows, losses, gradients, exact, {})


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weight"])
def test_reductions(path: Path, dtype: str, reduction: Reduction, weighted: bool) -> None:
    """Losses are added in float64, or as torch adds: the sum is as exact as its terms."""
    rows = np.random.default_rng(8).normal(0, 3, (300, 4)).astype(DTYPES[dtype])
    target = np.random.default_rng(9).integers(0, 4, 300)
    weight = np.array([0.1, 1.7, 0.3, 2.9], DTYPES[dtype]) if weighted else np.ones(4)
    exact = [oracle.cross_entropy(row, y, weight).loss for row, y in zip(rows, target, strict=True)]
    in_float64 = path.kernels and dtype == "float32"
    allowed = bounds.REDUCED_FLOAT32 if in_float64 else bounds.ULP
    for count in (300, 299, 170, 53):
        got = softxent.cross_entropy(
            path.convert(rows[:count]),
            path.convert(target[:count]),
            path.convert(weight) if weighted else None,
            reduction=reduction,
        )
        assert np.asarray(got).dtype == DTYPES[dtype]
        want = oracle.mp.fsum(exact[:count])
        if reduction == "mean":
            want /= oracle.mp.fsum(float(weight[y]) for y in target[:count])
        assert oracle.ulps(np.asarray(got), want) <= allowed
