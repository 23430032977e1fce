"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Read no docstrings of scripts and helpers: `--doctest-modules` is for the package."""
    name = collection_path.name
    return True if name.endswith(".py") and not name.startswith(("test_", "conftest")) else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of data sets that are too large, or not free enough, to come with the project."""
    named = os.environ.get("SOFTXENT_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs data sets in {folder}; SOFTXENT_DATA names another folder")
    return folder
