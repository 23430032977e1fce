"""What the functions hold beside their inputs, as NumPy reports it.

`python -m benches.growth` sees the kernels' own memory too.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import softxent
from softxent.ops.options import Reduction

ROWS, CLASSES = 50_000, 4
SLACK = 100_000  # Python's own, for any number of rows


def most_held(call: Callable[[], Any]) -> int:
    """Bytes at the highest point, the result's among them."""
    call()
    tracemalloc.start()
    try:
        result = call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        del result


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("option", [{}, {"label_smoothing": 0.1}, {"softcap": 30.0}], ids=str)
def test_forward_holds_16_bytes_a_row(reduction: Reduction, option: dict[str, Any]) -> None:
    x = np.random.default_rng(0).standard_normal((ROWS, CLASSES))
    y = np.random.default_rng(1).integers(0, CLASSES, ROWS)
    held = most_held(lambda: softxent.cross_entropy(x, y, reduction=reduction, **option))
    assert held <= 16 * ROWS + SLACK


def test_a_gradient_in_place_holds_no_more() -> None:
    x = np.random.default_rng(0).standard_normal((ROWS, CLASSES)).astype(np.float32)
    y = np.random.default_rng(1).integers(0, CLASSES, ROWS)
    held = most_held(lambda: softxent.cross_entropy_with_grad(x, y, out=x))
    assert held <= 16 * ROWS + SLACK


def test_it_is_seen_where_something_is_held() -> None:
    assert most_held(lambda: np.ones(ROWS)) >= 8 * ROWS
