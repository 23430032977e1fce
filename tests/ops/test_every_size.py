"""Every family of logits at every number of classes up to a million, on every instruction set.

The bound is 4 ulp of the result, and for half types 1 ulp of their own dtype.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import softxent
from softxent import _native
from tests.support import bounds, long_double
from tests.support.logits import FAMILIES, PUBLISHED, SIZES, logits, places, rows_of, targets

pytestmark = pytest.mark.skipif(
    not long_double.AVAILABLE, reason="the oracle for long rows needs 80-bit long doubles"
)
FLOATS = ("float32", "float64")
HALVES = ("float16", "bfloat16")


def dtype_of(name: str) -> Any:
    return pytest.importorskip("ml_dtypes").bfloat16 if name == "bfloat16" else np.dtype(name).type


@pytest.fixture
def levels() -> Iterator[list[str]]:
    before = _native.current_level()
    yield _native.levels()
    _native.select_level(before)


def check(what: str, errors: Any, allowed: float) -> None:
    error = float(np.max(errors))
    assert error <= allowed, f"{what}: {error} units"


# Half types are computed as float32: some families will do where rows are long.
CASES = [
    (classes, name, family)
    for classes in SIZES
    for name in (*FLOATS, *HALVES)
    for family in (FAMILIES if name in FLOATS and classes <= 1000 else PUBLISHED)
    if name in FLOATS
    or classes <= 1000
    or (classes < 1_000_000 and family in ("randn", "up to 1e4", "masked"))
]


@pytest.mark.parametrize(("classes", "name", "family"), CASES)
def test_scores_and_losses(levels: list[str], classes: int, name: str, family: str) -> None:
    dtype, some = dtype_of(name), places(classes)
    allowed = bounds.HALF_ULP if name in HALVES else bounds.ULP
    wide = np.dtype(name if name in FLOATS else np.float32)
    batch = logits(family, rows_of(classes), classes, dtype)
    weight = np.random.default_rng(1).uniform(0.2, 3, classes).astype(wide)
    options: dict[str, dict[str, Any]] = {
        "": {},
        "weight": {"weight": weight},
        "smoothing": {"label_smoothing": 0.1},
    }
    # A target above 0 on a masked class makes the loss inf, and the oracle is slow for long rows.
    if family == "masked" or (classes > 1000 and family != "ahead of noise"):
        del options["smoothing"]
    exact = [long_double.row(x) for x in batch]
    chosen = np.array([targets(x) for x, row in zip(batch, exact, strict=True)])
    losses = {
        (option, k): [
            long_double.cross_entropy(row, int(y), places=some, **given)
            for row, y in zip(exact, chosen[:, k], strict=True)
        ]
        for option, given in options.items()
        for k in range(chosen.shape[1])
    }
    for level in levels:
        _native.select_level(level)
        p, log_p = softxent.softmax(batch), softxent.log_softmax(batch)
        lse = np.asarray(softxent.logsumexp(batch))
        for i, row in enumerate(exact):
            check("softmax", long_double.ulps(p[i, some], row.p(some)), allowed)
            check("log_softmax", long_double.ulps(log_p[i, some], row.log_p(some)), allowed)
            of = max(abs(row.lse), abs(row.top) / 512)  # the oracle has 2048 times the digits
            check("logsumexp", long_double.ulps(lse[i], row.lse, of), allowed)
        for (option, k), expected in losses.items():
            loss, grad = softxent.cross_entropy_with_grad(
                batch, chosen[:, k], reduction="none", **options[option]
            )
            for i, want in enumerate(expected):
                check(f"loss {option}", long_double.ulps(loss[i], want.loss), bounds.ULP)
                errors = long_double.ulps(grad[i, some], want.grad)
                unit = long_double.unit(want.grad, dtype)
                check(f"gradient {option}", errors - want.doubt / unit, allowed)
