"""Fixtures: every kind of array on every instruction set, and the number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import softxent
from softxent import _native
from tests.support.backends import KINDS, Backend

_, *LOWER = _native.levels()


@pytest.fixture(params=["numpy", *(f"numpy on {level}" for level in LOWER), *KINDS])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Every kind of array; and NumPy's on the lower instruction sets too."""
    kind, _, level = request.param.partition(" on ")
    before = _native.current_level()
    if level:
        assert _native.select_level(level)
    yield Backend(kind)
    _native.select_level(before)


@pytest.fixture
def threads() -> Iterator[Any]:
    """`set_num_threads` for one test."""
    before = softxent.get_num_threads()
    yield softxent.set_num_threads
    softxent.set_num_threads(before)
