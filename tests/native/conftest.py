"""Every instruction set that this machine has runs every test of the kernels."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from softxent import _native


@pytest.fixture(params=_native.levels(), autouse=True)
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _native.current_level()
    assert _native.select_level(request.param)
    yield request.param
    _native.select_level(before)


@pytest.fixture
def threads() -> Iterator[None]:
    before = _native.get_num_threads()
    yield
    _native.set_num_threads(before)
