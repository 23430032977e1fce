"""What every room's tests share."""

from __future__ import annotations

import os
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

# Set before torch is loaded: its threads would otherwise wait for each other by spinning, and take
# the processors from the tests beside them.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# The core needs NumPy alone. What needs one of these skips where it isn't installed.
OPTIONAL = {"ml_dtypes", "msgspec", "pyarrow", "rich", "safetensors", "scipy", "sklearn", "torch"}
MISSING = {name for name in OPTIONAL if find_spec(name) is None}


def missing_package(error: BaseException | None) -> str | None:
    """The optional package that isn't installed here, where that is what an error comes from."""
    while error is not None:
        name = (getattr(error, "name", None) or "").partition(".")[0]
        if isinstance(error, ImportError) and name in MISSING:
            return name
        error = error.__cause__ or error.__context__
    return None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module of tests that can't be imported without an optional package is skipped whole."""
    report = yield
    call: Any = getattr(report, "call", None)
    if report.failed and call is not None:
        name = missing_package(call.excinfo.value)
        if name is not None:
            report.outcome = "skipped"
            report.longrepr = (str(collector.path), 1, f"Skipped: needs {name}")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """So is a test that meets the lack of one only when it runs."""
    try:
        yield
    except Exception as error:
        name = missing_package(error)
        if name is None:
            raise
        pytest.skip(f"needs {name}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of data sets that are too large, or not free enough, to come with the project."""
    named = os.environ.get("SOFTXENT_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs data sets in {folder}; SOFTXENT_DATA names another folder")
    return folder
