"""Every function against 50-digit arithmetic, with the bounds of `tests.support.bounds`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import softxent
from softxent import _native
from softxent.ops import reference
from softxent.ops.options import LossOptions
from tests.support import bounds, logits, oracle

DTYPES = {"float32": np.float32, "float64": np.float64}
FUNCTIONS = ("softmax", "log_softmax", "logsumexp")
Convert = Callable[[Any], Any]


@pytest.fixture(params=[*_native.levels(), "torch", "decomposition"])
def path(request: pytest.FixtureRequest) -> Iterator[tuple[str, Convert]]:
    """What computes: each instruction set's kernels, on tensors too, or torch's operations."""
    if request.param == "torch":
        torch = pytest.importorskip("torch")
        yield "arrays", lambda x: torch.from_numpy(np.array(x))
        return
    if request.param == "decomposition":
        torch = pytest.importorskip("torch")

        class Foreign(torch.Tensor):
            """What the kernels don't take, as they don't take another device's tensors."""

        yield "decomposition", lambda x: torch.from_numpy(np.array(x)).as_subclass(Foreign)
        return
    before = _native.current_level()
    assert _native.select_level(request.param)
    yield "arrays", np.array
    _native.select_level(before)


@pytest.fixture(params=DTYPES)
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@functools.cache
def exact_rows(function: str, case: str, dtype: str) -> list[Any]:
    rows = logits.BATCHES[case](DTYPES[dtype])
    return [getattr(oracle, function)(row) for row in rows]


@pytest.mark.parametrize("case", logits.BATCHES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_scores(path: Any, dtype: str, function: str, case: str) -> None:
    name, convert = path
    rows = logits.BATCHES[case](DTYPES[dtype])
    got = np.asarray(getattr(softxent, function)(convert(rows)))
    assert got.dtype == DTYPES[dtype]
    allowed, unit = bounds.bound(name, function, dtype, case)
    for result, exact, row in zip(got, exact_rows(function, case, dtype), rows, strict=True):
        of = larger(exact, row) if unit == "terms" else None
        assert oracle.ulps(result, exact, of=of) <= allowed


def larger(lse: Any, row: Any) -> list[Any]:
    """The larger of a log-sum-exp and the maximum that is a part of it."""
    return [max(abs(lse), abs(oracle.mp.mpf(float(row.max()))))]


def probabilities(rows: Any) -> Any:
    """Some target probabilities for rows; none on masked classes."""
    q = np.random.default_rng(2).dirichlet(np.ones(rows.shape[1]), len(rows))
    return np.where(np.isfinite(rows), q, 0).astype(rows.dtype)


def likeliest(rows: Any) -> Any:
    return rows.argmax(axis=1)


def unlikeliest(rows: Any) -> Any:
    return np.where(np.isfinite(rows), rows, np.inf).argmin(axis=1)


def class_weights(rows: Any) -> Any:
    return np.random.default_rng(1).uniform(0.2, 3, rows.shape[1]).astype(rows.dtype)


TARGETS = (likeliest, unlikeliest)


@functools.cache
def exact_losses(case: str, dtype: str, target: Any, option: str) -> list[oracle.Result]:
    rows = logits.BATCHES[case](DTYPES[dtype])
    options = keywords(option, rows)
    return [
        oracle.cross_entropy(row, t, **options) for row, t in zip(rows, target(rows), strict=True)
    ]


def keywords(option: str, rows: Any) -> dict[str, Any]:
    options = dict(OPTIONS[option])
    if "weight" in options:
        options["weight"] = class_weights(rows)
    return options


OPTIONS: dict[str, dict[str, Any]] = {
    "": {},
    "weight": {"weight": ...},
    "label_smoothing": {"label_smoothing": 0.1},
    "z_loss": {"z_loss": 1e-3},
    "softcap": {"softcap": 30.0},
    "temperature": {"temperature": 0.7},
    "everything": {
        "weight": ...,
        "label_smoothing": 0.1,
        "z_loss": 1e-4,
        "softcap": 50.0,
        "temperature": 2.0,
    },
}


def losses_and_gradients(
    convert: Convert, dtype: str, case: str, target: Any, option: str
) -> tuple[Any, Any]:
    rows = logits.BATCHES[case](DTYPES[dtype])
    options = keywords(option, rows)
    if "weight" in options:
        options["weight"] = convert(options["weight"])
    losses, gradients = softxent.cross_entropy_with_grad(
        convert(rows), convert(target(rows)), reduction="none", **options
    )
    assert np.asarray(losses).dtype == np.asarray(gradients).dtype == DTYPES[dtype]
    return np.asarray(losses), np.asarray(gradients)


def check(
    path: str,
    suffix: str,
    dtype: str,
    case: str,
    losses: Any,
    gradients: Any,
    exact: list[oracle.Result],
) -> None:
    allowed, _ = bounds.bound(path, "loss" + suffix, dtype, case)
    assert oracle.ulps(losses, [row.loss for row in exact]) <= allowed
    allowed, unit = bounds.bound(path, "gradient" + suffix, dtype, case)
    for gradient, row in zip(gradients, exact, strict=True):
        of = row.terms if unit == "terms" else None
        assert oracle.ulps(gradient, row.grad, of=of) <= allowed


@pytest.mark.parametrize("case", logits.BATCHES)
def test_loss_and_gradient(path: Any, dtype: str, case: str) -> None:
    """Class indices and no options: each result's own last place is the unit."""
    name, convert = path
    for target in TARGETS:
        losses, gradients = losses_and_gradients(convert, dtype, case, target, "")
        exact = exact_losses(case, dtype, target, "")
        check(name, "", dtype, case, losses, gradients, exact)


@pytest.mark.parametrize(
    "case", ["ordinary", "confident", "most_confident", "offset", "masked", "ties"]
)
@pytest.mark.parametrize("option", OPTIONS)
def test_options(path: Any, dtype: str, case: str, option: str) -> None:
    name, convert = path
    for target in (*TARGETS, probabilities):
        if target is not probabilities and not option:
            continue  # that is test_loss_and_gradient
        losses, gradients = losses_and_gradients(convert, dtype, case, target, option)
        exact = exact_losses(case, dtype, target, option)
        if (name, dtype) == ("arrays", "float64") and option in SCALED:
            check_scaled(option, logits.BATCHES[case](np.float64), losses, gradients, exact)
        else:
            check(name, f", {option or 'probabilities'}", dtype, case, losses, gradients, exact)


SCALED = ("softcap", "temperature", "everything")


def check_scaled(
    option: str, rows: Any, losses: Any, gradients: Any, exact: list[oracle.Result]
) -> None:
    """Float64 can't hold the scaled logits: the bound grows with their size."""
    softcap, temperature = (OPTIONS[option].get(k) for k in ("softcap", "temperature"))
    for x, loss, gradient, want in zip(rows, losses, gradients, exact, strict=True):
        of_loss, of_gradient = bounds.scaled(x, softcap, temperature or 1.0)
        assert oracle.ulps(loss, want.loss) <= of_loss
        assert oracle.ulps(gradient, want.grad, of=want.terms) <= of_gradient


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_million_classes(path: Any, dtype: str, function: str) -> None:
    """Sums don't drift. The classes hold 64 values; one place of each is looked at."""
    name, convert = path
    rows = logits.million(DTYPES[dtype])
    got = np.asarray(getattr(softxent, function)(convert(rows)))[0]
    values, places = np.unique(rows[0], return_index=True)
    counts = np.unique(rows[0], return_counts=True)[1].tolist()
    total = oracle.mp.fsum(
        n * oracle.mp.exp(oracle.mp.mpf(float(v))) for v, n in zip(values, counts, strict=True)
    )
    lse = oracle.mp.log(total)
    exact = {
        "logsumexp": lse,
        "log_softmax": [oracle.mp.mpf(float(v)) - lse for v in values],
        "softmax": [oracle.mp.exp(oracle.mp.mpf(float(v)) - lse) for v in values],
    }[function]
    got = got if function == "logsumexp" else got[places]
    assert oracle.ulps(got, exact) <= bounds.bound(name, function, dtype, "million")[0]


@pytest.mark.parametrize("classes", [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 129])
def test_every_length_of_a_row(path: Any, dtype: str, classes: int) -> None:
    """Around the widths of vectors, where kernels change from one loop to the next."""
    name, convert = path
    rows = np.random.default_rng(classes).normal(0, 3, (2, classes)).astype(DTYPES[dtype])
    for function in FUNCTIONS:
        got = np.asarray(getattr(softxent, function)(convert(rows)))
        allowed, unit = bounds.bound(name, function, dtype, "ordinary")
        for result, row in zip(got, rows, strict=True):
            exact = getattr(oracle, function)(row)
            of = larger(exact, row) if unit == "terms" else None
            assert oracle.ulps(result, exact, of=of) <= allowed
    target = rows.argmin(axis=1)
    losses, gradients = softxent.cross_entropy_with_grad(
        convert(rows), convert(target), reduction="none"
    )
    each = [oracle.cross_entropy(row, y) for row, y in zip(rows, target, strict=True)]
    check(name, "", dtype, "ordinary", np.asarray(losses), np.asarray(gradients), each)


# --- the measuring tools themselves --------------------------------------------------------------


def test_the_table_names_what_exists() -> None:
    functions = {*FUNCTIONS, "loss", "gradient"}
    for suffix in (*OPTIONS, "probabilities"):
        functions |= {f"loss, {suffix}", f"gradient, {suffix}"}
    for group in bounds.GROUPS:
        assert group.path in ("arrays", "decomposition")
        assert group.dtype in DTYPES
        assert group.why
        for function, case in group.bounds:
            assert function in functions
            assert case in (*logits.BATCHES, "million", "*")


def test_ulps_are_counted() -> None:
    one = np.float32(1)
    above = np.nextafter(one, np.float32(2))
    exact = oracle.mp.mpf(1)
    assert oracle.ulps(one, exact) == 0
    assert oracle.ulps(above, exact) == 1
    assert oracle.ulps(np.float64(above), exact) == 2**29
    assert oracle.ulps(np.array([1.0, np.inf]), [exact, exact]) == np.inf
    assert oracle.ulps(np.float64(np.nan), exact) == np.inf
    assert oracle.ulps(np.float64(0), oracle.mp.mpf(2) ** -1074) == 1  # below the smallest normal
    assert oracle.ulps(np.float64(-np.inf), oracle.mp.ninf) == 0


def test_the_oracle_on_what_is_known() -> None:
    """Closed forms, in more digits than a float has."""
    third = oracle.mp.mpf(1) / 3
    assert all(abs(p - third) < 1e-49 for p in oracle.softmax([5.0, 5.0, 5.0]))
    assert abs(oracle.logsumexp([0.0, 0.0]) - oracle.mp.log(2)) < 1e-49
    sure = oracle.cross_entropy([700.0, 0.0], 0)
    rest = oracle.mp.exp(-700)
    assert abs(sure.loss / oracle.mp.log1p(rest) - 1) < 1e-45
    assert abs(sure.grad[0] / (-rest / (1 + rest)) - 1) < 1e-45
    either = [oracle.cross_entropy([1.0, 2.0], y).loss for y in (0, 1)]
    both = oracle.cross_entropy([1.0, 2.0], [0.25, 0.75]).loss
    assert abs(both - (either[0] + 3 * either[1]) / 4) < 1e-49


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("target", [likeliest, probabilities])
def test_the_oracles_gradient_is_its_loss_derived(option: str, target: Any) -> None:
    """Central differences in 50 digits."""
    row = [0.5, -1.25, 2.0, 0.75]
    rows = np.array([row])
    t, options, step = target(rows)[0], keywords(option, rows), 1e-6
    grad = oracle.cross_entropy(row, t, **options).grad
    for j in range(4):
        up, down = ([v + s * (i == j) for i, v in enumerate(row)] for s in (step, -step))
        rise = oracle.cross_entropy(up, t, **options).loss - (
            oracle.cross_entropy(down, t, **options).loss
        )
        assert float(rise / (2 * oracle.mp.mpf(step))) == pytest.approx(float(grad[j]), rel=1e-8)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("target", [likeliest, unlikeliest, probabilities])
def test_the_reference_is_the_formula(option: str, target: Any) -> None:
    """softxent's own float64 reference against the oracle, where nothing cancels."""
    rows = logits.ordinary(np.float64)
    loss, grad, _ = reference.cross_entropy(
        rows, target(rows), LossOptions(**keywords(option, rows))
    )
    exact = exact_losses("ordinary", "float64", target, option)
    np.testing.assert_allclose(loss, [float(e.loss) for e in exact], rtol=1e-14)
    np.testing.assert_allclose(
        grad, [[float(g) for g in e.grad] for e in exact], rtol=1e-12, atol=1e-15
    )


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_reference_of_the_scores(function: str) -> None:
    rows = logits.ordinary(np.float64)
    want = [
        [float(v) for v in np.atleast_1d(e)] for e in exact_rows(function, "ordinary", "float64")
    ]
    got = getattr(reference, function)(rows)
    np.testing.assert_allclose(got.reshape(len(rows), -1), want, rtol=1e-14)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weight"])
def test_reductions(path: Any, dtype: str, reduction: str, weighted: bool) -> None:
    """Rows are added up in float64, or as torch adds: the sum is as sharp as its terms."""
    name, convert = path
    rows = np.random.default_rng(8).normal(0, 3, (300, 4)).astype(DTYPES[dtype])
    target = np.random.default_rng(9).integers(0, 4, 300)
    weight = np.array([0.1, 1.7, 0.3, 2.9], DTYPES[dtype]) if weighted else np.ones(4)
    exact = [oracle.cross_entropy(row, y, weight).loss for row, y in zip(rows, target, strict=True)]
    single = name == "arrays" and dtype == "float32"  # added up in float64, rounded once
    for count in (300, 299, 170, 53):
        got = softxent.cross_entropy(
            convert(rows[:count]),
            convert(target[:count]),
            convert(weight) if weighted else None,
            reduction=reduction,
        )
        assert np.asarray(got).dtype == DTYPES[dtype]
        want = oracle.mp.fsum(exact[:count])
        if reduction == "mean":
            want /= oracle.mp.fsum(float(weight[y]) for y in target[:count])
        assert oracle.ulps(np.asarray(got), want) <= (0.51 if single else bounds.ULP)
