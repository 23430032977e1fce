"""A few thousand random calls in every test run; fuzz.py makes any number."""

from __future__ import annotations

import pytest

from tests.native.fuzz import fuzz


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("seed", range(4))
def test_random_calls(seed: int) -> None:
    answered, refused, shortened = fuzz(1000, seed)
    assert answered > 500
    assert refused > 100
    assert shortened > 10
