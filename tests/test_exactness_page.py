"""The page of measured errors is what was measured, and what was measured keeps the promise."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module("benches.exactness")


@pytest.fixture(scope="module")
def stored(script: ModuleType) -> Any:
    return json.loads(script.STORED.read_text(encoding="utf-8"))


def test_the_page_shows_the_stored_numbers(script: ModuleType, stored: Any) -> None:
    assert script.render(stored) in script.PAGE.read_text(encoding="utf-8")


def test_every_cell_was_measured(script: ModuleType, stored: Any) -> None:
    cells = {(c["library"], c["function"], c["dtype"], c["family"]) for c in stored["cells"]}
    assert len(cells) == len(stored["cells"])
    functions = {"softxent": 5, "SciPy": 3, "torch": 5}
    for library, count in functions.items():
        found = sum(cell[0] == library for cell in cells)
        assert found == count * len(script.DTYPES) * len(script.FAMILIES)


def test_the_stored_numbers_keep_the_bound(stored: Any) -> None:
    for cell in stored["cells"]:
        if cell["library"] == "softxent":
            key = (cell["function"], cell["dtype"], cell["family"])
            assert float(cell["ulps"]) <= 4, key


@pytest.mark.parametrize("family", ["randn", "20 ahead", "near ties"])
def test_measured_again(script: ModuleType, stored: Any, family: str) -> None:
    """The stored numbers come from this script: on few classes it finds none that is larger."""
    if not script.long_double.AVAILABLE:
        pytest.skip("the oracle for long rows needs 80-bit long doubles")
    found = {
        c["function"]: float(c["ulps"])
        for c in stored["cells"]
        if (c["library"], c["dtype"], c["family"]) == ("softxent", "float32", family)
    }
    for function, compute in script.softxent_functions().items():
        for error in script.errors(function, compute, family, "float32", 1000):
            assert error <= max(found[function], 2.0)
